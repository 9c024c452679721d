# SPDX-License-Identifier: MIT
"""The protocols of one network, put together: what the event loop polls."""

from mirage_py.device import Device, Kind, Node
from mirage_py.devices.arp import arp
from mirage_py.devices.ethernet import ethernet
from mirage_py.devices.icmp import icmp
from mirage_py.devices.ipv4 import ipv4
from mirage_py.devices.signatures import ARP, ETHERNET, ICMP, IPV4, TCP, UDP
from mirage_py.devices.signatures import NETSTACK as OFFERS
from mirage_py.devices.tcp import tcp
from mirage_py.devices.udp import udp

NETSTACK = Kind(
    name="netstack",
    offers=OFFERS,
    implementation="libos.net.stack.NetStack",
    doc="our own network stack",
    arguments={"ethernet": ETHERNET, "arp": ARP, "ipv4": IPV4, "icmp": ICMP, "udp": UDP, "tcp": TCP},
    features=("net",),
    is_service=True,
)


def netstack(network: Node, *, group: str = "") -> Device:
    """Every protocol on one network device, with the keys of IPv4."""
    link = ethernet(network)
    resolution = arp(link)
    internet = ipv4(link, resolution, group=group)
    return NETSTACK(link, resolution, internet, icmp(internet), udp(internet), tcp(internet))


def netstack_of(ethernet: Node, arp: Node, ipv4: Node, icmp: Node, udp: Node, tcp: Node) -> Device:
    """The stack made of these protocols, for a config.py that replaces one of them."""
    return NETSTACK(ethernet, arp, ipv4, icmp, udp, tcp)
