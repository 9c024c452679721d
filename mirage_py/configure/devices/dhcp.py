# SPDX-License-Identifier: MIT
"""The DHCP client (RFC 2131)."""

from mirage_py.configure.device import Device, Kind, Node
from mirage_py.configure.devices import random as random_kind
from mirage_py.configure.devices.signatures import DHCP as OFFERS
from mirage_py.configure.devices.signatures import IPV4, RANDOM, UDP
from mirage_py.configure.keys import Key

DHCP = Kind(
    name="dhcp",
    offers=OFFERS,
    implementation="libos.net.service.dhcp.Dhcp",
    doc="a DHCP client",
    arguments={"ipv4": IPV4, "udp": UDP, "random": RANDOM},
    keys={"hostname": Key("hostname", doc="what to call this machine when asking for an address by DHCP")},
    features=("net",),
)


def dhcp(ipv4: Node, udp: Node, *, group: str = "") -> Device:
    """A DHCP client; its runtime key is --hostname."""
    return DHCP(ipv4, udp, random_kind.random(), group=group)
