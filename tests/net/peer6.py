# SPDX-License-Identifier: MIT
"""A neighbour over IPv6 that says exactly what a test wants, frame by frame, written with scapy."""

from scapy.layers.inet6 import (
    ICMPv6ND_NA,
    ICMPv6ND_NS,
    ICMPv6NDOptDstLLAddr,
    ICMPv6NDOptSrcLLAddr,
    IPv6,
)
from scapy.layers.l2 import Ether

from libos.wire import ethernet, ipv6
from tests.net.world import fast_checksum

MAC = "52:54:00:00:00:99"
EVIL_MAC = "52:54:00:00:00:66"
IP = "fd00::9"


class Peer6:
    """Speaks to `host` from IP and MAC. Frames that the host sends are in host.device.tx_log."""

    def __init__(self, world, host):
        self.world = world
        self.host = host
        host.device.tx_log = []
        self.link_local = ipv6.format_address(host.ipv6.addresses.link_local() or bytes(16))

    def ether(self, dst=None, src=MAC):
        return Ether(dst=dst or self.host.device.mac, src=src)

    def ip(self, **fields):
        return self.ether() / IPv6(**{"src": IP, "dst": self.host.ip, **fields})

    def send(self, packet, settle=True):
        """A scapy packet or octets, into the host's device."""
        self.world.inject(self.host, bytes(packet))
        if settle:
            self.world.settle()

    def learn(self):
        """The host knows our MAC, and has it confirmed."""
        self.host.udp.write(b"", IP, 9, 9, self.world.now_ms)
        self.world.settle()
        self.advertise()
        self.take()

    def solicit(self, target=None, src=IP, mac=MAC, settle=True, **fields):
        packet = self.ip(src=src, hlim=255, **fields) / ICMPv6ND_NS(tgt=target or self.host.ip)
        if mac is not None:
            packet = packet / ICMPv6NDOptSrcLLAddr(lladdr=mac)
        self.send(packet, settle)

    def advertise(self, target=IP, mac=MAC, solicited=1, override=1, router=0, settle=True, **fields):
        body = ICMPv6ND_NA(tgt=target, S=solicited, O=override, R=router)
        packet = self.ip(**{"src": target, "hlim": 255, **fields}) / body
        if mac is not None:
            packet = packet / ICMPv6NDOptDstLLAddr(lladdr=mac)
        self.send(packet, settle)

    def message(self, data, src=IP, dst=None, hop_limit=255):
        """The frame of an ICMPv6 message given in octets, whatever they are, with the right checksum."""
        src_ip, dst_ip = ipv6.parse_address(src), ipv6.parse_address(dst or self.host.ip)
        packet = bytearray(54) + data
        packet[56:58] = b"\0\0"
        total = fast_checksum(packet, 54, len(data), ipv6.pseudo_sum(src_ip, dst_ip, 58, len(data)))
        packet[56:58] = (total ^ 0xFFFF).to_bytes(2, "big")
        ethernet.emit(packet, 0, self.host.device.mac, ethernet.parse_mac(MAC), ethernet.ETHERTYPE_IPV6)
        ipv6.emit(packet, 14, len(data), 58, hop_limit, src_ip, dst_ip)
        return bytes(packet)

    def take(self, layer=None):
        """What the host sent since the last time, as scapy packets; with a layer, those that have it."""
        seen = [Ether(packet) for packet in self.host.device.tx_log]
        self.host.device.tx_log.clear()
        seen = [packet for packet in seen if IPv6 in packet]
        return [packet for packet in seen if layer in packet] if layer is not None else seen
