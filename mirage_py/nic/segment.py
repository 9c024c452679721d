# SPDX-License-Identifier: MIT
"""Finishing frames: transport checksums, and the cutting of large TCP segments (82599 datasheet section 7.2.4)."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from mirage_py.nic.checksum import ip_header_checksum, ones_sum, pseudo_header, put16
from mirage_py.nic.frame import GSO_TCPV4, Frame, Octets

_TCP = 6
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
    put16(data, field, value or (0xFFFF if frame.csum_offset == 6 else 0))
    frame.parts = [data]
    frame.is_checked = True


def cut(
    frame: Frame, size: int, flags: tuple[int, int, int] = (FLAGS_FIRST, FLAGS_MIDDLE, FLAGS_LAST)
) -> Iterator[Frame]:
    """The segments of a frame with gso_size, each with at most `size` octets of payload.

    flags: masks of the TCP flags for the first, the middle and the last segment. Checksums are filled in, and segments
    that are still larger than the frame's own gso_size keep it (large receive).
    """
    data = memoryview(frame.joined())
    hdr_len, l3 = frame.hdr_len, 14
    if data[12] == 0x81 and data[13] == 0:
        l3 = 18
    header = bytearray(data[:hdr_len])
    l4 = frame.csum_start or _transport_offset(header, l3)
    is_v4 = frame.gso_type == GSO_TCPV4
    identification, sequence = struct.unpack_from(">H", header, l3 + 4)[0], struct.unpack_from(">I", header, l4 + 4)[0]
    tcp_flags = (header[l4 + 12] << 8 | header[l4 + 13]) & 0xFFF
    offset_bits = header[l4 + 12] & 0xF0
    if is_v4:
        header[l3 + 10 : l3 + 12] = b"\0\0"
    header[l4 + 16 : l4 + 18] = b"\0\0"
    addresses = pseudo_header(memoryview(header)[l3:], 0, _TCP)
    payload_end = frame.length
    number = 0
    for start in range(hdr_len, payload_end, size):
        payload = data[start : start + size]
        is_last = start + size >= payload_end
        mask = flags[2] if is_last else flags[1] if number else flags[0]
        if is_last and not number:
            mask = 0xFFF
        segment = bytearray(header)
        ip_len = hdr_len - l3 + len(payload)
        if is_v4:
            struct.pack_into(">HH", segment, l3 + 2, ip_len, identification + number & 0xFFFF)
            put16(segment, l3 + 10, ip_header_checksum(memoryview(segment)[l3:l4]))
        else:
            put16(segment, l3 + 4, ip_len - 40)
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
            tcp_len = hdr_len - l4 + len(payload)
            total = ones_sum(payload, ones_sum(memoryview(segment)[l4:], addresses + tcp_len))
            # A header's length is a multiple of four: the payload's words are not shifted against it.
            put16(segment, l4 + 16, ~total & 0xFFFF)
        number += -(-len(payload) // frame.gso_size) if frame.gso_size else 1
        yield result


def _transport_offset(header: Octets, l3: int) -> int:
    return l3 + (40 if header[l3] >> 4 == 6 else (header[l3] & 0xF) * 4)
