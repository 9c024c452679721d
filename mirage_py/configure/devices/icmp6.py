# SPDX-License-Identifier: MIT
"""ICMPv6 (RFC 4443)."""

from mirage_py.configure.device import Device, Kind, Node
from mirage_py.configure.devices.signatures import ICMP6 as OFFERS
from mirage_py.configure.devices.signatures import IPV6

ICMP6 = Kind(
    name="icmp6",
    offers=OFFERS,
    implementation="libos.net.ip.icmp6.Icmp6",
    doc="answers to ping over IPv6, errors, and what Neighbour Discovery and MLD come by",
    arguments={"ipv6": IPV6},
    features=("net",),
)


def icmp6(ipv6: Node) -> Device:
    """ICMPv6 on IPv6."""
    return ICMP6(ipv6)
