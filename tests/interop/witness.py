# SPDX-License-Identifier: MIT
"""scapy as a witness of what the guest sent: every header read again, every length and checksum computed again."""

from __future__ import annotations

import struct

from scapy.layers.dhcp import DHCP
from scapy.layers.dns import DNS
from scapy.layers.igmp import IGMP
from scapy.layers.inet import ICMP, IP, TCP, UDP, IPOption
from scapy.layers.inet6 import (
    ICMPv6DestUnreach,
    ICMPv6PacketTooBig,
    ICMPv6ParamProblem,
    ICMPv6TimeExceeded,
    IPv6,
    IPv6ExtHdrFragment,
)
from scapy.layers.l2 import ARP, Ether
from scapy.packet import NoPayload, Packet, Padding, Raw
from scapy.utils import checksum

from tests.interop.capture import GSO_ECN, GSO_TCPV4, GSO_TCPV6, Captured

ETHERNET_BYTES = 14
ETHERNET_MIN = 60
_TRANSPORT = {6: TCP, 17: UDP, 1: ICMP}
_CSUM_OFFSET = {6: 16, 17: 6, 58: 2, 1: 2}


class Witness:
    """What was in the frames: counts by name, and faults as text."""

    def __init__(self, mtu: int = 1500) -> None:
        self.mtu = mtu
        self.counts: dict[str, int] = {}
        self.faults: list[str] = []

    def hear(self, frames: list[Captured]) -> None:
        """Reads the frames; what is wrong with them is in `faults` afterwards."""
        for number, frame in enumerate(frames):
            try:
                self._frame(frame)
            except (AssertionError, struct.error, IndexError, ValueError) as error:
                self.faults.append(f"frame {number}: {type(error).__name__}: {error}\n{frame.data[:120].hex()}")

    def _count(self, name: str) -> None:
        self.counts[name] = self.counts.get(name, 0) + 1

    def _frame(self, frame: Captured) -> None:
        ether = Ether(frame.data)
        assert ether.src != "00:00:00:00:00:00"
        assert not int(ether.src[:2], 16) & 1, "a group address as source"
        for layer in layers(ether):
            assert not isinstance(layer, Raw) or layer.underlayer is None or is_payload(layer), (
                f"not understood after {layer.underlayer.name}: {bytes(layer)[:40].hex()}"
            )
            self._count(layer.name)
        if ether.type == 0x0806:
            self._arp(ether)
        elif ether.type == 0x0800:
            self._ipv4(frame, ether)
        elif ether.type == 0x86DD:
            self._ipv6(frame, ether)
        else:
            raise AssertionError(f"ethertype {ether.type:#06x}")

    def _arp(self, ether: Packet) -> None:
        arp = ether[ARP]
        assert (arp.hwtype, arp.ptype, arp.hwlen, arp.plen) == (1, 0x0800, 6, 4)
        assert arp.hwsrc == ether.src
        padding(bytes(ether), 28)

    def _ipv4(self, frame: Captured, ether: Packet) -> None:
        ip = ether[IP]
        raw = frame.data[ETHERNET_BYTES:]
        header_len = ip.ihl * 4
        assert header_len >= 20
        assert checksum(raw[:header_len]) == 0, "IPv4 header checksum"
        assert not ip.flags & 4, "the reserved flag"
        assert not (ip.flags & 2 and (ip.frag or ip.flags & 1)), "a fragment that must not be one"
        assert ip.ttl > 0
        assert all(isinstance(option, IPOption) for option in ip.options)
        padding(frame.data, ip.len)
        body = raw[header_len : ip.len]
        if ip.flags & 1 or ip.frag:
            self._count("IPv4 fragment")
            assert ip.len <= self.mtu
            assert not ip.flags & 1 or len(body) % 8 == 0, "a fragment in the middle of uneven length"
            return
        pseudo = raw[12:20] + struct.pack(">HH", ip.proto, len(body))
        self._transport(frame, ip, ip.proto, pseudo, body, ETHERNET_BYTES + header_len)
        if ip.proto == 1 and ip[ICMP].type in (3, 11, 12):
            quoted = bytes(ip[ICMP])[8:]
            assert len(quoted) >= 28, "an error quotes the IP header and eight octets at least"
            assert quoted[0] >> 4 == 4

    def _ipv6(self, frame: Captured, ether: Packet) -> None:
        ip = ether[IPv6]
        raw = frame.data[ETHERNET_BYTES:]
        assert ip.version == 6
        assert ip.hlim > 0
        padding(frame.data, 40 + ip.plen)
        start, number = 40, ip.nh
        destination = raw[24:40]
        while number in (0, 43, 44, 60):
            if number == 44:
                self._count("IPv6 fragment")
                fragment = ip[IPv6ExtHdrFragment]
                assert 40 + ip.plen <= self.mtu
                assert not fragment.m or (ip.plen + 40 - start - 8) % 8 == 0
                return
            number, start = raw[start], start + 8 + raw[start + 1] * 8
        body = raw[start : 40 + ip.plen]
        pseudo = raw[8:24] + destination + struct.pack(">IxxxB", len(body), number)
        self._transport(frame, ip, number, pseudo, body, ETHERNET_BYTES + start)

    def _transport(self, frame: Captured, ip: Packet, number: int, pseudo: bytes, body: bytes, start: int) -> None:
        """Checks the checksum, complete or left to the device; then what the protocol asks for."""
        if frame.needs_csum:
            assert frame.csum_start == start, f"checksum from {frame.csum_start}, the header is at {start}"
            assert frame.csum_offset == _CSUM_OFFSET[number]
            at = frame.csum_offset
            assert body[at : at + 2] == struct.pack(">H", ~checksum(pseudo) & 0xFFFF), "the pseudo-header's sum"
        elif number in (1, 2):
            assert checksum(body) == 0, f"checksum of protocol {number}"
        elif not (number == 17 and ip.version == 4 and body[6:8] == b"\0\0"):
            assert checksum(pseudo + body) == 0, f"checksum of protocol {number}"
        if number == 2:
            assert ip.ttl == 1, "IGMP stays on the link (RFC 2236 section 2)"
            assert ip[IGMP].gaddr == ip.dst or ip[IGMP].type == 0x17
            assert ip.ihl == 6, "IGMP has a router alert"
        elif number == 58:
            self._icmpv6(ip, body)
        elif number == 17:
            assert struct.unpack_from(">H", body, 4)[0] == len(body), "UDP length"
            assert ip.len <= self.mtu if ip.version == 4 else ip.plen + 40 <= self.mtu
        elif number == 6:
            self._tcp(frame, ip, body)

    def _icmpv6(self, ip: Packet, body: bytes) -> None:
        kind = body[0]
        if 133 <= kind <= 137:
            assert ip.hlim == 255, "neighbour discovery goes over no router (RFC 4861)"
            at = {133: 8, 134: 16, 135: 24, 136: 24, 137: 40}[kind]
            while at < len(body):
                assert body[at + 1], "an option without length"
                at += body[at + 1] * 8
            assert at == len(body), "an option beyond the end"
            if kind == 135 and ip.src == "::":
                assert len(body) == 24, "a probe for a duplicate has no link-layer address (RFC 4861 section 4.3)"
        elif kind in (130, 131, 132, 143):
            assert ip.hlim == 1, "MLD stays on the link (RFC 3810 section 5)"
            assert ip.nh == 0, "MLD has a router alert"
            assert ip.src == "::" or ip.src.startswith("fe80:"), "MLD comes from a link-local address"
        elif kind in (1, 2, 3, 4):
            assert ip.plen <= 1240, "an error is no longer than the smallest MTU (RFC 4443 section 2.4)"
            assert len(body) >= 48
            assert body[8] >> 4 == 6

    def _tcp(self, frame: Captured, ip: Packet, body: bytes) -> None:
        tcp = ip[TCP]
        header_len = tcp.dataofs * 4
        assert 20 <= header_len <= len(body)
        assert not tcp.reserved
        options = {name if isinstance(name, str) else f"option {name}": value for name, value in tcp.options}
        known = {"MSS", "NOP", "EOL", "WScale", "SAckOK", "SAck", "Timestamp"}
        assert options.keys() <= known, f"options {options}"
        for name in options:
            self._count(f"TCP {name}")
        if tcp.flags.S:
            assert options["MSS"] >= 536
            assert options.get("WScale", 0) <= 14
        else:
            assert not options.keys() & {"MSS", "WScale", "SAckOK"}
        assert tcp.flags.U or tcp.urgptr == 0
        assert tcp.flags.A or tcp.ack == 0, "an acknowledgement number without its flag"
        size = len(body) - header_len
        if frame.gso_size:
            self._count("TCP to be segmented")
            assert frame.needs_csum
            assert frame.gso_type & ~GSO_ECN == (GSO_TCPV4 if ip.version == 4 else GSO_TCPV6)
            assert frame.gso_size + header_len + (40 if ip.version == 6 else ip.ihl * 4) <= self.mtu
            assert size > frame.gso_size
        else:
            assert len(frame.data) <= ETHERNET_BYTES + self.mtu, f"{len(frame.data)} octets and no segmentation"


def layers(packet: Packet) -> list[Packet]:
    """The packet's layers, from outside to inside; an ICMP error's quotation is not the guest's, and not there."""
    found = []
    while not isinstance(packet, NoPayload):
        found.append(packet)
        if isinstance(packet, ICMP) and packet.type in (3, 11, 12):
            break
        if isinstance(packet, ICMPv6DestUnreach | ICMPv6PacketTooBig | ICMPv6TimeExceeded | ICMPv6ParamProblem):
            break
        packet = packet.payload
    return found


def is_payload(layer: Packet) -> bool:
    """Whether octets without a dissector may stand where this one is."""
    under = layer.underlayer
    fragment = isinstance(under, IP) and (under.frag or under.flags & 1)
    named = isinstance(under, TCP | UDP | ICMP | IPv6ExtHdrFragment | DNS | DHCP)
    return bool(fragment) or named or isinstance(layer, Padding) or "Echo" in under.name


def padding(frame: bytes, packet_len: int) -> None:
    """What follows a packet is what Ethernet needs to be long enough, and zero (RFC 1042, and nobody's secrets)."""
    rest = frame[ETHERNET_BYTES + packet_len :]
    assert ETHERNET_BYTES + packet_len <= len(frame), "the frame ends before its packet"
    assert not any(rest), "padding that is not zero"
    assert not rest or len(frame) <= ETHERNET_MIN, "more padding than Ethernet asks for"
