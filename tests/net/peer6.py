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

from libos.wire import ipv6

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

    def take(self, layer=None):
        """What the host sent since the last time, as scapy packets; with a layer, those that have it."""
        seen = [Ether(packet) for packet in self.host.device.tx_log]
        self.host.device.tx_log.clear()
        seen = [packet for packet in seen if IPv6 in packet]
        return [packet for packet in seen if layer in packet] if layer is not None else seen
