# SPDX-License-Identifier: MIT
"""Finishing frames: transport checksums, and the cutting of large segments (82599 datasheet section 7.2.4)."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from mirage_py.nic.checksum import ones_sum, pseudo_header, put16
from mirage_py.nic.frame import GSO_UDP, Frame, Octets

_TCP, _UDP = 6, 17
_UDP_HEADER_BYTES = 8
# Where the checksum stands in the transport header.
TCP_CHECKSUM, UDP_CHECKSUM = 16, 6
FLAGS_FIRST = 0xFF6  # without FIN and PSH
FLAGS_MIDDLE = 0xFF6
FLAGS_LAST = 0xF7F  # without CWR


def fill_checksum(frame: Frame) -> None:
    """Puts the transport checksum that the frame lacks into it; the frame is then in one writable piece."""
    start = frame.csum_start
    if not start:
        return
    frame.csum_start = 0
    field = start + frame.csum_offset
    if field + 2 > frame.length:
        return
    data = bytearray(frame.joined())
    value = ~ones_sum(memoryview(data)[start:]) & 0xFFFF
    # A UDP checksum of zero would say that there is none (RFC 768).
    put16(data, field, value or (0xFFFF if frame.csum_offset == UDP_CHECKSUM else 0))
    frame.parts = [data]
    frame.is_checked = True


def cut(
    frame: Frame, size: int, flags: tuple[int, int, int] = (FLAGS_FIRST, FLAGS_MIDDLE, FLAGS_LAST)
) -> Iterator[Frame]:
    """The segments, or datagrams, of a frame with gso_size, each with at most `size` octets of payload.

    flags: masks of the TCP flags for the first, the middle and the last segment. Checksums are filled in, and segments
    that are still larger than the frame's own gso_size keep it (large receive).
    """
    data = memoryview(frame.joined())
    hdr_len, l3 = frame.hdr_len, 14
    if data[12] == 0x81 and data[13] == 0:
        l3 = 18
    header = bytearray(data[:hdr_len])
    l4 = frame.csum_start or _transport_offset(header, l3)
    is_v4 = header[l3] >> 4 == 4
    is_udp = frame.gso_type == GSO_UDP
    field = l4 + (UDP_CHECKSUM if is_udp else TCP_CHECKSUM)
    identification = header[l3 + 4] << 8 | header[l3 + 5]
    addresses = frame.seed
    if addresses < 0:
        addresses = pseudo_header(memoryview(header)[l3:], 0, _UDP if is_udp else _TCP)
    if is_v4:
        header[l3 + 10 : l3 + 12] = b"\0\0"
    header[field : field + 2] = b"\0\0"
    sequence = tcp_flags = offset_bits = 0
    if not is_udp:
        sequence = int.from_bytes(header[l4 + 4 : l4 + 8], "big")
        tcp_flags = (header[l4 + 12] << 8 | header[l4 + 13]) & 0xFFF
        offset_bits = header[l4 + 12] & 0xF0
    payload_end = frame.length
    number = 0
    for start in range(hdr_len, payload_end, size):
        payload = data[start : start + size]
        segment = bytearray(header)
        ip_len = hdr_len - l3 + len(payload)
        if is_v4:
            struct.pack_into(">HH", segment, l3 + 2, ip_len, identification + number & 0xFFFF)
            put16(segment, l3 + 10, ~ones_sum(memoryview(segment)[l3:l4], frame.ip_seed) & 0xFFFF)
        else:
            put16(segment, l3 + 4, ip_len - 40)
        if is_udp:
            put16(segment, l4 + 4, _UDP_HEADER_BYTES + len(payload))
        else:
            is_last = start + size >= payload_end
            mask = 0xFFF if is_last and not number else flags[2] if is_last else flags[1] if number else flags[0]
            struct.pack_into(">I", segment, l4 + 4, sequence + start - hdr_len & 0xFFFF_FFFF)
            bits = tcp_flags & mask
            segment[l4 + 12] = offset_bits | bits >> 8
            segment[l4 + 13] = bits & 0xFF
        result = Frame([segment, payload], hdr_len + len(payload))
        result.hdr_len = hdr_len
        result.is_checked = True
        if len(payload) > frame.gso_size:
            result.gso_size, result.gso_type = frame.gso_size, frame.gso_type
        else:
            length = hdr_len - l4 + len(payload)
            total = ones_sum(payload, ones_sum(memoryview(segment)[l4:], addresses + length))
            # A header's length is even: the payload's words are not shifted against it.
            put16(segment, field, ~total & 0xFFFF or (0xFFFF if is_udp else 0))
        number += -(-len(payload) // frame.gso_size) if frame.gso_size else 1
        yield result


def _transport_offset(header: Octets, l3: int) -> int:
    return l3 + (40 if header[l3] >> 4 == 6 else (header[l3] & 0xF) * 4)
