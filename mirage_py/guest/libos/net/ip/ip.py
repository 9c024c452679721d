# SPDX-License-Identifier: MIT
"""What IPv4 and IPv6 have in common: the protocols above them, and what these are told. No I/O, no clock."""

from libos.net.ip.fragmenter import Idents


class IpLayer:
    """Base of Ipv4 and Ipv6. neighbours: a net.neighbours.Neighbours. counters: the subclass's own."""

    def __init__(self, ethernet, neighbours, random, counters):
        self.ethernet = ethernet
        self.neighbours = neighbours
        self.random = random
        self.mtu = ethernet.mtu
        self.counters = counters
        self.icmp = None  # who reports errors to senders
        self._protocols = {}
        self._idents = Idents(random)
        neighbours.on_failure = self._neighbour_lost
        neighbours.confirms = self._confirms

    def register(self, number, protocol):
        """Sends packets of a protocol number to `protocol`, a net.transport.Transport."""
        self._protocols[number] = protocol

    def protocol(self, number):
        """Who is registered for a protocol number, or None."""
        return self._protocols.get(number)

    def _neighbour_lost(self, hop, now_ms):
        for protocol in self._protocols.values():
            protocol.neighbour_lost(self, hop, now_ms)

    def _confirms(self, hop, generation):
        for protocol in self._protocols.values():
            if protocol.confirms(self, hop, generation):
                return True
        return False

    def _lose_address(self, ip):
        """An address of ours is ours no more."""
        for protocol in self._protocols.values():
            protocol.address_lost(self, ip)
