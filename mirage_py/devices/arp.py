# SPDX-License-Identifier: MIT
"""ARP (RFC 826)."""

from mirage_py.device import Device, Kind, Node
from mirage_py.devices.signatures import ARP as OFFERS
from mirage_py.devices.signatures import ETHERNET

ARP = Kind(
    name="arp",
    offers=OFFERS,
    implementation="libos.net.arp.Arp",
    doc="IPv4 addresses to Ethernet addresses",
    arguments={"ethernet": ETHERNET},
    features=("net",),
)


def arp(ethernet: Node) -> Device:
    """ARP on Ethernet."""
    return ARP(ethernet)
