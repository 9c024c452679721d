# SPDX-License-Identifier: MIT
"""The Internet checksum (RFC 1071), in plain Python: the reference for the C helper, and for headers of a few octets.

A *sum* is the folded one's-complement sum of big-endian 16-bit words, not inverted; the *checksum* in a header is its
inverse. Since 2**16 is 1 modulo 0xFFFF, a 32-bit number may be added where its two words are meant, and `% 0xFFFF`
folds.
"""

import struct

_PIECE_BYTES = 1024  # of what becomes one number: even


def checksum(buf, start, length, initial=0):
    """The sum of `length` octets of `buf` from `start`, an odd tail padded with zero, plus `initial`."""
    total = initial
    end = start + (length & ~1)
    while start < end:
        total += buf[start] << 8 | buf[start + 1]
        start += 2
    if length & 1:
        total += buf[start] << 8
    return fold(total)


def total(data, start, length):
    """The same sum over a bytes object, without a loop over octets: for data that is in no frame.

    2**16 is 1 modulo 0xFFFF, so the octets as one number have the sum as their remainder.
    """
    end = start + length
    number = 0
    while start < end:
        part = data[start : min(end, start + _PIECE_BYTES)]
        number += int.from_bytes(part, "big") << (8 if len(part) & 1 else 0)
        number = number % 0xFFFF or (0xFFFF if number else 0)
        start += _PIECE_BYTES
    return number


def fold(total):
    """Folds the carries of a sum back into 16 bits."""
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total


def pseudo_sum(src_ip, dst_ip, protocol, length):
    """The sum over the IPv4 pseudo-header (RFC 9293 section 3.1). Addresses as 32-bit numbers."""
    return fold(src_ip + dst_ip + protocol + length)


def patch(buf, start, length, at):
    """Writes the checksum of `length` octets from `start` into the 16-bit field at `at`, which held zero or a sum."""
    struct.pack_into(">H", buf, at, checksum(buf, start, length) ^ 0xFFFF)
