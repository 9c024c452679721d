# SPDX-License-Identifier: MIT
"""pcap files (draft-ietf-opsawg-pcap), with times in nanoseconds: values -> bytes. No I/O."""

import struct

HEADER_BYTES = 24
RECORD_BYTES = 16
SNAP_BYTES = 65535  # of a frame that are kept

_MAGIC_NS = 0xA1B23C4D
_LINKTYPE_ETHERNET = 1


def emit_header():
    """What a file of Ethernet frames begins with."""
    return struct.pack("<IHHiIII", _MAGIC_NS, 2, 4, 0, 0, SNAP_BYTES, _LINKTYPE_ETHERNET)


def emit_record(data, length, time_ns):
    """A frame of `length` octets, of which `data` has the first ones, that passed at time_ns since 1970."""
    return struct.pack("<IIII", time_ns // 1000000000, time_ns % 1000000000, len(data), length) + data
