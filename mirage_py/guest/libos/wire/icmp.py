# SPDX-License-Identifier: MIT
"""ICMP for IPv4 (RFC 792): bytes <-> values. No I/O."""

import struct

HEADER_BYTES = 8
ECHO_REPLY = 0
DESTINATION_UNREACHABLE = 3
SOURCE_QUENCH = 4
REDIRECT = 5
ECHO_REQUEST = 8
TIME_EXCEEDED = 11
PARAMETER_PROBLEM = 12
TIMESTAMP_REQUEST = 13
TIMESTAMP_REPLY = 14

NET_UNREACHABLE = 0
HOST_UNREACHABLE = 1
PROTOCOL_UNREACHABLE = 2
PORT_UNREACHABLE = 3
FRAGMENTATION_NEEDED = 4
REASSEMBLY_TIME_EXCEEDED = 1  # of TIME_EXCEEDED; 0 is the time to live


def parse(buf, start, length):
    """(type, code, rest) of the message at `start`, or None when it is shorter than 8 octets.

    rest: the second 32-bit word: identifier and sequence number of an echo, the next-hop MTU (RFC 1191) in its low half
    with "fragmentation needed". The checksum is the caller's to verify.
    """
    if length < HEADER_BYTES:
        return None
    return struct.unpack_from(">BBxxI", buf, start)


def emit(buf, start, kind, code, rest):
    """Writes the 8 octets of a header at `start`, the checksum zero; it covers the data that follows."""
    struct.pack_into(">BBHI", buf, start, kind, code, 0, rest)


def is_error(kind):
    """True for the messages about a packet, which must never be answered with another error (RFC 1122 3.2.2)."""
    return kind in (DESTINATION_UNREACHABLE, SOURCE_QUENCH, REDIRECT, TIME_EXCEEDED, PARAMETER_PROBLEM)
