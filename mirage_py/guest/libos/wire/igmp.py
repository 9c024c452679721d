# SPDX-License-Identifier: MIT
"""IGMP version 2 (RFC 2236): bytes <-> values. No I/O.

A message of version 1 has the same eight octets; a query of version 3 (RFC 3376) begins with them.
"""

import struct

MESSAGE_BYTES = 8
QUERY = 0x11
REPORT_V1 = 0x12
REPORT = 0x16
LEAVE = 0x17

ALL_SYSTEMS = 0xE0000001
ALL_ROUTERS = 0xE0000002

# The Router Alert option (RFC 2113): routers look at the packet though it is not to them.
ROUTER_ALERT = b"\x94\x04\x00\x00"


def parse(buf, start, length):
    """(type, max_response, group) at `start`, or None when short. max_response: tenths of a second, 0 in version 1.

    The checksum, over all of the message, is the caller's to verify.
    """
    if length < MESSAGE_BYTES:
        return None
    return struct.unpack_from(">BBxxI", buf, start)


def emit(buf, start, kind, group):
    """Writes the 8 octets of a report or leave at `start`, its checksum included."""
    struct.pack_into(">HHI", buf, start, kind << 8, -((kind << 8) + group) % 0xFFFF, group)
