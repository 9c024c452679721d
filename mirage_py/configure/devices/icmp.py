# SPDX-License-Identifier: MIT
"""ICMP (RFC 792)."""

from mirage_py.configure.device import Device, Kind, Node
from mirage_py.configure.devices.signatures import ICMP as OFFERS
from mirage_py.configure.devices.signatures import IPV4

ICMP = Kind(
    name="icmp",
    offers=OFFERS,
    implementation="libos.net.ip.icmp.Icmp",
    doc="answers to ping, and errors",
    arguments={"ipv4": IPV4},
    features=("net",),
)


def icmp(ipv4: Node) -> Device:
    """ICMP on IPv4."""
    return ICMP(ipv4)
