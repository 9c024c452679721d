# SPDX-License-Identifier: MIT
"""Ethernet."""

from mirage_py.configure.device import Device, Kind, Node
from mirage_py.configure.devices.signatures import ETHERNET as OFFERS
from mirage_py.configure.devices.signatures import NETWORK

ETHERNET = Kind(
    name="ethernet",
    offers=OFFERS,
    implementation="libos.net.link.ethernet.Ethernet",
    doc="Ethernet frames",
    arguments={"device": NETWORK},
    features=("net",),
)


def ethernet(network: Node) -> Device:
    """Ethernet on a network device."""
    return ETHERNET(network)
