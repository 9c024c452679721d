# SPDX-License-Identifier: MIT
"""A cable between two stacks in one process."""

from libos.app.stack import Stack
from libos.hal.dma import Dma, FramePool
from libos.hal.random import Random
from libos.net.ip.icmp import Icmp
from libos.net.ip.ipv4 import Ipv4
from libos.net.link.arp import Arp
from libos.net.link.ethernet import Ethernet
from libos.net.stack import NetStack
from libos.net.tcp import Tcp
from libos.net.tcp.cubic import Cubic
from libos.net.udp import Udp


class Link:
    """One end of a cable, as a network device. With offloads, frames cross it uncut and unsummed, as over a TAP."""

    def __init__(self, dma, mac, has_offloads):
        self.name = "link"
        self.mac = mac
        self.mtu = 1500
        self.features = 31 if has_offloads else 0
        self.max_gso_bytes = 65549
        self.link_up = True
        self.counters = {}
        self.peer = None
        self.is_cut = False
        self.waiting = []
        self._pool = FramePool(dma, 66048 if has_offloads else 2048, 24, 16)

    def rx_batch(self, frames, limit):
        count = min(limit, len(self.waiting))
        for index in range(count):
            frames[index] = self.waiting[index]
        self.waiting = self.waiting[count:]
        return count

    def tx_batch(self, frames, count):
        for index in range(count):
            frame = frames[index]
            if self.peer.is_cut:
                frame.release()
            else:
                frame.flags = 1 if frame.flags & 2 else 0
                self.peer.waiting.append(frame)
        return count

    def join(self, mac):
        pass

    def leave(self, mac):
        pass

    def alloc(self, length):
        return self._pool.alloc()

    def arm(self):
        return bool(self.waiting)

    def disarm(self):
        pass


def _host(loop, log, dma, address, mac, has_offloads):
    ethernet = Ethernet(Link(dma, mac, has_offloads))
    arp = Arp(ethernet, Random())
    ipv4 = Ipv4(ethernet, arp, Random(), address=address)
    netstack = NetStack(ethernet, Tcp(Random(), Cubic(), ipv4), Udp(ipv4), Icmp(ipv4))
    loop.attach(netstack)
    return Stack(netstack, loop, log)


def pair(loop, log, has_offloads):
    """Two stacks with a cable between them: 10.0.0.1 and 10.0.0.2."""
    dma = Dma()
    stacks = [
        _host(loop, log, dma, "10.0.0.%d/24" % number, b"\x02\0\0\0\0" + bytes([number]), has_offloads)
        for number in (1, 2)
    ]
    links = [stack.netstack.ethernet.device for stack in stacks]
    links[0].peer = links[1]
    links[1].peer = links[0]
    return stacks
