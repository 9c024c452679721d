# SPDX-License-Identifier: MIT
"""IPv4 (RFC 791)."""

from mirage_py.configure.device import Device, Kind, Node
from mirage_py.configure.devices import arp as arp_kind
from mirage_py.configure.devices import random as random_kind
from mirage_py.configure.devices.signatures import ARP, ETHERNET, RANDOM
from mirage_py.configure.devices.signatures import IPV4 as OFFERS
from mirage_py.configure.keys import Key

IPV6_ONLY = Key("ipv6-only", type="bool", default=False, doc="no IPv4 at all")

IPV4 = Kind(
    name="ipv4",
    offers=OFFERS,
    implementation="libos.net.ip.ipv4.Ipv4",
    doc="IPv4 with one address and a gateway",
    arguments={"ethernet": ETHERNET, "arp": ARP, "random": RANDOM},
    keys={
        "address": Key("ipv4", type="ipv4_cidr", default="10.0.0.2/24", doc="the IPv4 address and its prefix length"),
        "gateway": Key("ipv4-gateway", type="ipv4", doc="the router to other networks"),
        "ipv6_only": IPV6_ONLY,
    },
    features=("net",),
)


def ipv4(ethernet: Node, arp: Node | None = None, random: Node | None = None, *, group: str = "") -> Device:
    """IPv4 on Ethernet; its runtime keys are --ipv4, --ipv4-gateway and --ipv6-only."""
    random = random or random_kind.random()
    return IPV4(ethernet, arp or arp_kind.arp(ethernet, random), random, group=group)


def unnumbered_ipv4(ethernet: Node, arp: Node | None = None, random: Node | None = None, *, group: str = "") -> Device:
    """IPv4 on Ethernet without an address: `addressing` gives it one, whose group this is."""
    random = random or random_kind.random()
    arp = arp or arp_kind.arp(ethernet, random)
    return IPV4(ethernet, arp, random, group=group, address=None, gateway=None, ipv6_only=None)
