# SPDX-License-Identifier: MIT
"""Receive side coalescing: TCP segments of one flow that follow each other become one large packet.

Source: 82599 datasheet section 7.11. The device keeps a context open until its interrupt fires; here that is the end of
a batch. A large segment from a backend that does not cut (a TAP with offloads) is a context that arrives filled.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from mirage_py.nic.checksum import ip_header_checksum, put16
from mirage_py.nic.frame import GSO_TCPV4, GSO_TCPV6, Frame, Octets
from mirage_py.nic.ixgbe.packet import TYPE_IPV4, TYPE_IPV4_OPTIONS, TYPE_IPV6_EXTENSIONS, TYPE_TCP, Packet

_ACK, _PSH = 0x10, 0x08
_TIMESTAMP_ONLY = b"\x01\x01\x08\x0a"
_MAX_CONTEXTS = 32
_MAX_IP_BYTES = 0xFFFF


class Flow(NamedTuple):
    """What a frame means to coalescing."""

    key: bytes
    sequence: int
    payload: int
    is_pushed: bool


def flow_of(packet: Packet) -> Flow | None:
    """The flow of a frame that may be coalesced, else None: plain TCP data, no flag but ACK and PSH, no odd options."""
    kind = packet.kind
    if not kind & TYPE_TCP or kind & (TYPE_IPV4_OPTIONS | TYPE_IPV6_EXTENSIONS) or packet.vlan is not None:
        return None
    data, l4 = packet.data, packet.l4
    flags = (data[l4 + 12] << 8 | data[l4 + 13]) & 0xFFF
    if flags & ~_PSH != _ACK:
        return None
    end = packet.header_end
    if end != l4 + 20 and not (end == l4 + 32 and data[l4 + 20 : l4 + 24] == _TIMESTAMP_ONLY):
        return None
    payload = packet.end - end
    if payload <= 0:
        return None
    addresses = data[26:34] if kind & TYPE_IPV4 else data[22:54]
    key = bytes(addresses) + bytes(data[l4 : l4 + 4])
    return Flow(key, int.from_bytes(data[l4 + 4 : l4 + 8], "big"), payload, bool(flags & _PSH))


class Context:
    """A large packet under construction."""

    __slots__ = ("count", "delivery", "frame", "header_end", "is_v4", "l4", "last", "mss", "next", "payload", "size")

    def __init__(self, packet: Packet, frame: Frame, flow: Flow, delivery: object) -> None:
        self.delivery = delivery
        self.frame = frame
        self.l4 = packet.l4
        self.header_end = packet.header_end
        self.is_v4 = bool(packet.kind & TYPE_IPV4)
        self.next = flow.sequence + flow.payload & 0xFFFF_FFFF
        self.payload: list[Octets] = [memoryview(packet.data)[self.header_end : packet.end]]
        self.size = flow.payload
        self.mss = frame.gso_size or flow.payload
        self.count = -(-flow.payload // self.mss)
        self.last = packet.data

    def accepts(self, packet: Packet, flow: Flow, limit: int) -> bool:
        """Whether the frame continues this packet, which may have `limit` octets with its headers."""
        return (
            flow.sequence == self.next
            and packet.header_end == self.header_end
            and self.header_end + self.size + flow.payload <= limit
            and self.header_end - 14 + self.size + flow.payload <= _MAX_IP_BYTES
        )

    def add(self, packet: Packet, frame: Frame, flow: Flow) -> None:
        self.payload.append(memoryview(packet.data)[self.header_end : packet.end])
        self.size += flow.payload
        self.next = self.next + flow.payload & 0xFFFF_FFFF
        self.count += -(-flow.payload // (frame.gso_size or flow.payload))
        self.last = packet.data

    def large(self) -> Frame:
        """The packet: the first header with the length, acknowledgement, window, flags and timestamp of the last.

        The TCP checksum is not brought up to date, as on the device.
        """
        l4, last = self.l4, self.last
        header = bytearray(memoryview(self.frame.joined())[: self.header_end])
        flags = header[l4 + 13] | last[l4 + 13]
        header[l4 + 8 : l4 + 12] = last[l4 + 8 : l4 + 12]
        header[l4 + 13] = flags
        header[l4 + 14 : l4 + 16] = last[l4 + 14 : l4 + 16]
        header[l4 + 20 :] = last[l4 + 20 : self.header_end]
        ip_len = self.header_end - 14 + self.size
        if self.is_v4:
            put16(header, 16, ip_len)
            put16(header, 24, 0)
            put16(header, 24, ip_header_checksum(memoryview(header)[14:l4]))
        else:
            struct.pack_into(">H", header, 18, ip_len - 40)
        frame = Frame([header, *self.payload], self.header_end + self.size)
        frame.gso_size, frame.hdr_len = self.mss, self.header_end
        frame.gso_type = GSO_TCPV4 if self.is_v4 else GSO_TCPV6
        frame.is_checked = True
        return frame


class Coalescer:
    """The open contexts of one batch, by flow."""

    def __init__(self) -> None:
        self.contexts: dict[bytes, Context] = {}

    @property
    def is_full(self) -> bool:
        return len(self.contexts) >= _MAX_CONTEXTS
