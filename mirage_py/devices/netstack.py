# SPDX-License-Identifier: MIT
"""The protocols of one network, put together: what the event loop polls."""

from mirage_py.device import Device, Kind, Node
from mirage_py.devices.arp import arp
from mirage_py.devices.ethernet import ethernet
from mirage_py.devices.icmp import icmp
from mirage_py.devices.ipv4 import ipv4
from mirage_py.devices.signatures import ETHERNET, ICMP, TCP, UDP
from mirage_py.devices.signatures import NETSTACK as OFFERS
from mirage_py.devices.tcp import tcp
from mirage_py.devices.udp import udp

NETSTACK = Kind(
    name="netstack",
    offers=OFFERS,
    implementation="libos.net.stack.NetStack",
    doc="our own network stack",
    arguments={"ethernet": ETHERNET, "tcp": TCP, "udp": UDP, "icmp": ICMP},
    features=("net",),
    is_service=True,
)


def netstack(network: Node, *, group: str = "") -> Device:
    """Every protocol on one network device, with the keys of IPv4."""
    link = ethernet(network)
    internet = ipv4(link, arp(link), group=group)
    return NETSTACK(link, tcp(internet, group=group), udp(internet), icmp(internet))


def netstack_of(ethernet: Node, tcp: Node, udp: Node, icmp: Node) -> Device:
    """The stack made of these protocols, for a config.py that replaces one of them."""
    return NETSTACK(ethernet, tcp, udp, icmp)
