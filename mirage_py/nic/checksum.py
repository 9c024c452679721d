# SPDX-License-Identifier: MIT
"""The Internet checksum (RFC 1071), fast enough for an interpreter: one big number, one remainder."""

from __future__ import annotations

import struct

from mirage_py.nic.frame import Octets

_CRC32C_POLYNOMIAL = 0x82F6_3B78
_CRC32C: list[int] = []  # made at its first use: SCTP is rare


def ones_sum(data: Octets, initial: int = 0) -> int:
    """The one's-complement sum of big-endian 16-bit words (0 to 0xFFFF, not inverted); an odd tail is zero-padded.

    A number modulo 0xFFFF is the sum of its 16-bit digits with the carries added in; only zero and 0xFFFF, which are
    the same number to the checksum, have to be told apart: a sum is zero for zeros alone.
    """
    value = int.from_bytes(data, "big")
    if len(data) & 1:
        value <<= 8
    value += initial
    return value % 0xFFFF or (0xFFFF if value else 0)


def pseudo_header(ip_header: Octets, length: int, protocol: int) -> int:
    """The pseudo-header's sum for a transport packet of `length` octets (RFC 9293 3.1, RFC 8200 8.1)."""
    addresses = ip_header[8:40] if ip_header[0] >> 4 == 6 else ip_header[12:20]
    return ones_sum(addresses, length + protocol)


def ip_header_checksum(header: Octets) -> int:
    """What belongs into the checksum field of an IPv4 header whose field holds zero."""
    return ~ones_sum(header) & 0xFFFF


def crc32c(data: Octets) -> int:
    """The CRC32c of an SCTP packet whose checksum field holds zero (RFC 9260 appendix A)."""
    if not _CRC32C:
        for value in range(256):
            for _ in range(8):
                value = value >> 1 ^ (_CRC32C_POLYNOMIAL if value & 1 else 0)
            _CRC32C.append(value)
    crc = 0xFFFF_FFFF
    for octet in data:
        crc = crc >> 8 ^ _CRC32C[crc & 0xFF ^ octet]
    return crc ^ 0xFFFF_FFFF


def put16(buffer: bytearray | memoryview, offset: int, value: int) -> None:
    struct.pack_into(">H", buffer, offset, value)
