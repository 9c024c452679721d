# SPDX-License-Identifier: MIT
"""Ethernet."""

from mirage_py.device import Device, Kind, Node
from mirage_py.devices.signatures import ETHERNET as OFFERS
from mirage_py.devices.signatures import NETWORK

ETHERNET = Kind(
    name="ethernet",
    offers=OFFERS,
    implementation="libos.net.ethernet.Ethernet",
    doc="Ethernet frames",
    arguments={"device": NETWORK},
    features=("net",),
)


def ethernet(network: Node) -> Device:
    """Ethernet on a network device."""
    return ETHERNET(network)
