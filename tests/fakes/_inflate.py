# SPDX-License-Identifier: MIT
"""The C module `_inflate` (targets/common/mod_inflate.c) for CPython, over zlib."""

import zlib


class Inflate:
    def __init__(self, check):
        if not 0 <= check <= 2:
            raise ValueError("out of bounds")
        self._zlib = zlib.decompressobj(-15)
        self._check = check
        self._checksum = 1 if check == 1 else 0
        self._position = 0

    def run(self, data, start, out):
        if not 0 <= start <= len(data):
            raise ValueError("out of bounds")
        if self._zlib.eof or not out:
            self._position = start
            return 0
        try:
            made = self._zlib.decompress(bytes(data[start:]), len(out))
        except zlib.error as error:
            raise ValueError("not deflated") from error
        out[: len(made)] = made
        # At the end the tail may have what unused_data has as well.
        self._position = len(data) - len(self._zlib.unused_data if self._zlib.eof else self._zlib.unconsumed_tail)
        if self._check:
            self._checksum = (zlib.adler32 if self._check == 1 else zlib.crc32)(made, self._checksum)
        return len(made)

    def position(self):
        return self._position

    def is_done(self):
        return self._zlib.eof

    def checksum(self):
        return self._checksum
