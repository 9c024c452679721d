# SPDX-License-Identifier: MIT
"""Deflate's octets (RFC 1951) become what they were: uzlib in C, piece by piece."""

from _inflate import Inflate as _Inflate


class Inflate:
    """A device that makes decompressors; each has 34 KB of its own."""

    def new(self, check):
        """check: 0 for none, 1 for Adler-32, 2 for CRC-32. Returns an object with

        run(data, start, out) -> n      out[0:n] was written, n <= len(out); ValueError for what is not deflated
        position()                      data[position():] was not used: at most a block's header, unless out was full
        is_done()                       the last block has ended
        checksum()                      of all that came out
        """
        return _Inflate(check)
