# SPDX-License-Identifier: MIT
"""What the receive path finds out about a frame: layers, addresses, ports (82599 datasheet section 7.1.1)."""

from __future__ import annotations

from mirage_py.nic.frame import Octets

ETHERTYPE_IPV4 = 0x0800
ETHERTYPE_IPV6 = 0x86DD
ETHERTYPE_VLAN = 0x8100
TCP, UDP, SCTP = 6, 17, 132

# Packet types as the advanced receive descriptor has them, in its bits 16:4 (7.1.6.2).
TYPE_IPV4 = 0x010
TYPE_IPV4_OPTIONS = 0x020
TYPE_IPV6 = 0x040
TYPE_IPV6_EXTENSIONS = 0x080
TYPE_TCP = 0x100
TYPE_UDP = 0x200
TYPE_SCTP = 0x400

_EXTENSIONS = frozenset((0, 43, 60))
_FRAGMENT = 44
_MAX_EXTENSIONS = 8


class Packet:
    """data: the frame; l3, l4: offsets of the IP and the transport header, 0 when there is none that is whole.

    end: the end of the IP datagram, where padding of a short frame begins.
    """

    __slots__ = ("data", "end", "ethertype", "is_fragment", "kind", "l3", "l4", "protocol", "vlan")

    def __init__(self, data: Octets) -> None:
        self.data = data
        self.vlan: int | None = None
        self.kind = 0
        self.l3 = 0
        self.l4 = 0
        self.end = len(data)
        self.protocol = 0
        self.is_fragment = False
        ethertype = data[12] << 8 | data[13]
        offset = 14
        if ethertype == ETHERTYPE_VLAN and len(data) >= 18:
            self.vlan = data[14] << 8 | data[15]
            ethertype = data[16] << 8 | data[17]
            offset = 18
        self.ethertype = ethertype
        if ethertype == ETHERTYPE_IPV4:
            self._parse_ipv4(data, offset)
        elif ethertype == ETHERTYPE_IPV6:
            self._parse_ipv6(data, offset)

    def _parse_ipv4(self, data: Octets, offset: int) -> None:
        if len(data) < offset + 20 or data[offset] >> 4 != 4:
            return
        header_len = (data[offset] & 0xF) * 4
        total = data[offset + 2] << 8 | data[offset + 3]
        if header_len < 20 or total < header_len or offset + total > len(data):
            return
        self.l3 = offset
        self.end = offset + total
        self.kind = TYPE_IPV4 if header_len == 20 else TYPE_IPV4 | TYPE_IPV4_OPTIONS
        self.protocol = data[offset + 9]
        self.is_fragment = bool(data[offset + 6] & 0x3F or data[offset + 7])
        if not self.is_fragment:
            self._parse_transport(offset + header_len)

    def _parse_ipv6(self, data: Octets, offset: int) -> None:
        if len(data) < offset + 40 or data[offset] >> 4 != 6:
            return
        end = offset + 40 + (data[offset + 4] << 8 | data[offset + 5])
        if end > len(data):
            return
        self.l3 = offset
        self.end = end
        self.kind = TYPE_IPV6
        protocol = data[offset + 6]
        offset += 40
        for _ in range(_MAX_EXTENSIONS):
            if protocol == _FRAGMENT:
                self.is_fragment = True
            elif protocol not in _EXTENSIONS:
                break
            self.kind = TYPE_IPV6 | TYPE_IPV6_EXTENSIONS
            if self.is_fragment or offset + 8 > end:
                return
            protocol, offset = data[offset], offset + 8 + data[offset + 1] * 8
        self.protocol = protocol
        self._parse_transport(offset)

    def _parse_transport(self, offset: int) -> None:
        data, room = self.data, self.end - offset
        if self.protocol == TCP and room >= 20 and 20 <= (data[offset + 12] >> 4) * 4 <= room:
            self.kind |= TYPE_TCP
        elif self.protocol == UDP and room >= 8 and 8 <= (data[offset + 4] << 8 | data[offset + 5]) <= room:
            self.kind |= TYPE_UDP
        elif self.protocol == SCTP and room >= 12:
            self.kind |= TYPE_SCTP
        else:
            return
        self.l4 = offset

    @property
    def header_end(self) -> int:
        """The end of the TCP header."""
        return self.l4 + (self.data[self.l4 + 12] >> 4) * 4
