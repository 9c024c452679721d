# SPDX-License-Identifier: MIT
"""The protocols of one network, put together: what the event loop polls."""

from mirage_py.configure.device import Device, Kind, Node
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
    doc="our own network stack, with IPv4",
    arguments={"ethernet": ETHERNET, "tcp": TCP, "udp": UDP, "icmp": ICMP},
    features=("net",),
    is_service=True,
)

DUAL_NETSTACK = Kind(
    name="netstack",
    offers=OFFERS,
    implementation=NETSTACK.implementation,
    doc="our own network stack, with IPv4 and IPv6",
    arguments={**NETSTACK.arguments, "icmp6": ICMP6},
    features=("net",),
    is_service=True,
)


def netstack(network: Node, *, group: str = "") -> Device:
    """Every protocol on one network device, with a static address: the keys are those of IPv4 and IPv6."""
    link = ethernet(network)
    internet = ipv4(link, arp(link), group=group)
    internet6 = ipv6(link, ndp(link), group=group)
    return DUAL_NETSTACK(
        link, tcp(internet, internet6, group=group), udp(internet, internet6), icmp(internet), icmp6(internet6)
    )  # fmt: skip


def addressed_netstack(network: Node, *, group: str = "") -> tuple[Device, Device]:
    """The same, and where its addresses come from: (netstack, addressing), with the keys of `addressing` and IPv6."""
    link = ethernet(network)
    internet = unnumbered_ipv4(link, arp(link), group=group)
    internet6 = ipv6(link, ndp(link), group=group)
    datagrams = udp(internet, internet6)
    stack = DUAL_NETSTACK(link, tcp(internet, internet6, group=group), datagrams, icmp(internet), icmp6(internet6))
    return stack, addressing(internet, internet6, datagrams, group=group)


def netstack_of(ethernet: Node, tcp: Node, udp: Node, icmp: Node, icmp6: Node | None = None) -> Device:
    """The stack made of these protocols, for a config.py that replaces one of them. icmp6: of a stack with IPv6."""
    if icmp6 is None:
        return NETSTACK(ethernet, tcp, udp, icmp)
    return DUAL_NETSTACK(ethernet, tcp, udp, icmp, icmp6)
