# SPDX-License-Identifier: MIT
"""A peer beside the kernel, for what a kernel would never send: scapy's packets over a packet socket on the TAP."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager

from scapy.layers.inet import IP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Ether
from scapy.packet import Packet

from tests.interop.capture import VNET, open_in
from tests.interop.guest import Guest
from tests.interop.network import Family, Namespace


class RawPeer:
    """Sends packets in near's name, and from any other address that is wanted."""

    def __init__(self, sock: socket.socket, src_mac: str, dst_mac: str, family: Family) -> None:
        self._sock = sock
        self.src_mac, self.dst_mac, self.family = src_mac, dst_mac, family

    def ip(self, **fields: object) -> Packet:
        """An IP header from near to the guest."""
        layer = IPv6 if ":" in self.family.near else IP
        return layer(**{"src": self.family.near, "dst": self.family.guest, **fields})

    def send(self, packet: Packet) -> None:
        """Sends a packet that begins with its IP header."""
        self.send_frame(bytes(Ether(src=self.src_mac, dst=self.dst_mac) / packet))

    def send_frame(self, frame: bytes) -> None:
        """Sends a frame as it is."""
        # Nothing is left to offloads.
        self._sock.send(bytes(VNET.size) + frame)


def mac_of(near: Namespace, ip: str, interface: str = "tap0") -> str:
    """The guest's MAC, from the kernel's table of neighbours after a ping."""
    near.run("ping", "-c", "1", "-w", "5", ip, check=True)
    words = near.run("ip", "neigh", "show", ip, "dev", interface, check=True).stdout.split()
    return words[words.index("lladdr") + 1]


@contextmanager
def raw_peer(guest: Guest, family: Family, interface: str = "tap0") -> Iterator[RawPeer]:
    """A RawPeer on the guest's TAP."""
    dst_mac = mac_of(guest.near, family.guest, interface)
    words = guest.near.run("ip", "link", "show", "dev", interface, check=True).stdout.split()
    with open_in(guest.near, interface) as sock:
        yield RawPeer(sock, words[words.index("link/ether") + 1], dst_mac, family)
