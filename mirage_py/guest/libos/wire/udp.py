# SPDX-License-Identifier: MIT
"""UDP headers (RFC 768): bytes <-> values. No I/O."""

import struct

HEADER_BYTES = 8
CHECKSUM_OFFSET = 6


def parse(buf, start, length):
    """(src_port, dst_port, datagram_len, checksum) at `start`, or None when short or self-contradictory.

    datagram_len: header and data; at most `length`. checksum: as it stands there, 0 for none.
    """
    if length < HEADER_BYTES:
        return None
    header = struct.unpack_from(">HHHH", buf, start)
    if not HEADER_BYTES <= header[2] <= length:
        return None
    return header


def emit(buf, start, src_port, dst_port, datagram_len, checksum):
    """Writes the 8 octets of a header at `start`. A computed checksum of 0 is to be given as 0xFFFF."""
    struct.pack_into(">HHHH", buf, start, src_port, dst_port, datagram_len, checksum)
