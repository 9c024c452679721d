# SPDX-License-Identifier: MIT
"""ARP (RFC 826)."""

from mirage_py.configure.device import Device, Kind, Node
from mirage_py.configure.devices import random as random_kind
from mirage_py.configure.devices.signatures import ARP as OFFERS
from mirage_py.configure.devices.signatures import ETHERNET, RANDOM

ARP = Kind(
    name="arp",
    offers=OFFERS,
    implementation="libos.net.link.arp.Arp",
    doc="IPv4 addresses to Ethernet addresses",
    arguments={"ethernet": ETHERNET, "random": RANDOM},
    features=("net",),
)


def arp(ethernet: Node, random: Node | None = None) -> Device:
    """ARP on Ethernet."""
    return ARP(ethernet, random or random_kind.random())
