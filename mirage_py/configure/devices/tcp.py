# SPDX-License-Identifier: MIT
"""TCP (RFC 9293)."""

from mirage_py.configure.device import Device, Kind, Node, optional
from mirage_py.configure.devices import random as random_kind
from mirage_py.configure.devices.congestion import default_congestion
from mirage_py.configure.devices.signatures import CONGESTION, IPV4, IPV6, RANDOM
from mirage_py.configure.devices.signatures import TCP as OFFERS

TCP = Kind(
    name="tcp",
    offers=OFFERS,
    implementation="libos.net.tcp.Tcp",
    doc="TCP over IPv4, or over both",
    arguments={"random": RANDOM, "congestion": CONGESTION, "ipv4": IPV4, "ipv6": optional(IPV6)},
    features=("net",),
)


def tcp(
    ipv4: Node,
    ipv6: Node | None = None,
    *,
    random: Node | None = None,
    congestion: Node | None = None,
    group: str = "",
) -> Device:
    """TCP on IPv4, or on both.

    congestion: cubic() or newreno(); by default what `--congestion` says. group: prefix of that key.
    """
    return TCP(random or random_kind.random(), congestion or default_congestion(group), ipv4, ipv6)
