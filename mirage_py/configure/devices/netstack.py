# SPDX-License-Identifier: MIT
"""The protocols of one network, put together: what the event loop polls."""

from typing import NamedTuple

from mirage_py.configure.device import Device, Kind, Node, optional
from mirage_py.configure.devices.addressing import addressing
from mirage_py.configure.devices.arp import arp
from mirage_py.configure.devices.ethernet import ethernet
from mirage_py.configure.devices.icmp import icmp
from mirage_py.configure.devices.icmp6 import icmp6
from mirage_py.configure.devices.ipv4 import ipv4, unnumbered_ipv4
from mirage_py.configure.devices.ipv6 import ipv6
from mirage_py.configure.devices.ndp import ndp
from mirage_py.configure.devices.signatures import ETHERNET, ICMP, ICMP6, TCP, UDP
from mirage_py.configure.devices.signatures import NETSTACK as OFFERS
from mirage_py.configure.devices.tcp import tcp
from mirage_py.configure.devices.udp import udp

NETSTACK = Kind(
    name="netstack",
    offers=OFFERS,
    implementation="libos.net.stack.NetStack",
    doc="our own network stack, with IPv4 or both",
    arguments={"ethernet": ETHERNET, "tcp": TCP, "udp": UDP, "icmp": ICMP, "icmp6": optional(ICMP6)},
    features=("net",),
    is_service=True,
)


def netstack(network: Node, *, group: str = "") -> Device:
    """Every protocol on one network device, with a static address: the keys are those of IPv4 and IPv6."""
    link = ethernet(network)
    return _put_together(link, ipv4(link, arp(link), group=group), group).stack


def addressed_netstack(network: Node, *, group: str = "") -> tuple[Device, Device]:
    """The same, and where its addresses come from: (netstack, addressing), with the keys of `addressing` and IPv6."""
    link = ethernet(network)
    internet = unnumbered_ipv4(link, arp(link), group=group)
    made = _put_together(link, internet, group)
    return made.stack, addressing(internet, made.ipv6, made.udp, group=group)


class _Made(NamedTuple):
    """A stack, and those of its parts that others are built on."""

    stack: Device
    ipv6: Device
    udp: Device


def _put_together(link: Device, internet: Device, group: str) -> _Made:
    """Every protocol on `link`, with IPv4 as it is given."""
    internet6 = ipv6(link, ndp(link), group=group)
    datagrams = udp(internet, internet6)
    segments = tcp(internet, internet6, group=group)
    return _Made(netstack_of(link, segments, datagrams, icmp(internet), icmp6(internet6)), internet6, datagrams)


def netstack_of(ethernet: Node, tcp: Node, udp: Node, icmp: Node, icmp6: Node | None = None) -> Device:
    """The stack made of these protocols, for a config.py that replaces one of them. icmp6: of a stack with IPv6."""
    return NETSTACK(ethernet, tcp, udp, icmp, icmp6)
