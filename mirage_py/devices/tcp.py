# SPDX-License-Identifier: MIT
"""TCP (RFC 9293)."""

from mirage_py.device import Device, Kind, Node
from mirage_py.devices import random as random_kind
from mirage_py.devices.signatures import IPV4, RANDOM
from mirage_py.devices.signatures import TCP as OFFERS

TCP = Kind(
    name="tcp",
    offers=OFFERS,
    implementation="libos.net.tcp.Tcp",
    doc="TCP",
    arguments={"random": RANDOM, "ipv4": IPV4},
    features=("net",),
)


def tcp(ipv4: Node, random: Node | None = None) -> Device:
    """TCP on IPv4."""
    return TCP(random or random_kind.random(), ipv4)
