# SPDX-License-Identifier: MIT
"""TCP (RFC 9293)."""

from mirage_py.device import Device, Kind, Node
from mirage_py.devices import random as random_kind
from mirage_py.devices.congestion import default_congestion
from mirage_py.devices.signatures import CONGESTION, IPV4, RANDOM
from mirage_py.devices.signatures import TCP as OFFERS

TCP = Kind(
    name="tcp",
    offers=OFFERS,
    implementation="libos.net.tcp.Tcp",
    doc="TCP",
    arguments={"random": RANDOM, "congestion": CONGESTION, "ipv4": IPV4},
    features=("net",),
)


def tcp(ipv4: Node, random: Node | None = None, congestion: Node | None = None, *, group: str = "") -> Device:
    """TCP on IPv4.

    congestion: cubic() or newreno(); by default what `--congestion` says. group: prefix of that key.
    """
    return TCP(random or random_kind.random(), congestion or default_congestion(group), ipv4)
