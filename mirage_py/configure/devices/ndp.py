# SPDX-License-Identifier: MIT
"""Neighbour Discovery (RFC 4861)."""

from mirage_py.configure.device import Device, Kind, Node
from mirage_py.configure.devices import random as random_kind
from mirage_py.configure.devices.signatures import ETHERNET, RANDOM
from mirage_py.configure.devices.signatures import NDP as OFFERS

NDP = Kind(
    name="ndp",
    offers=OFFERS,
    implementation="libos.net.link.ndp.Ndp",
    doc="IPv6 addresses to Ethernet addresses",
    arguments={"ethernet": ETHERNET, "random": RANDOM},
    features=("net",),
)


def ndp(ethernet: Node, random: Node | None = None) -> Device:
    """Neighbour Discovery on Ethernet."""
    return NDP(ethernet, random or random_kind.random())
