# SPDX-License-Identifier: MIT
"""Where an interface has its IPv4 address from: boot arguments, DHCP, or a default."""

from mirage_py.configure.device import ORDER, TARGET, Device, Kind, Node, optional
from mirage_py.configure.devices.dhcp import dhcp
from mirage_py.configure.devices.ipv4 import IPV6_ONLY
from mirage_py.configure.devices.log import log
from mirage_py.configure.devices.signatures import ADDRESSING as OFFERS
from mirage_py.configure.devices.signatures import DHCP, IPV4, IPV6, LOG
from mirage_py.configure.keys import Key

_IPV4_DOC = "the IPv4 address and its prefix length (default: 10.%d.0.2/24 without DHCP, or when it has no answer)"

ADDRESSING = Kind(
    name="addressing",
    offers=OFFERS,
    implementation="libos.app.addressing.Addressing",
    doc="the IPv4 address: static, or by DHCP",
    arguments={"ipv4": IPV4, "client": DHCP, "log": LOG, "ipv6": optional(IPV6)},
    keys={
        "dhcp": Key(
            "dhcp",
            type="bool",
            doc="ask for the IPv4 address by DHCP (default: on hvt, and there unless --ipv4 is given)",
        ),
        "address": Key(
            "ipv4",
            type="ipv4_cidr",
            doc=_IPV4_DOC % 0,
            further=lambda number: {"doc": _IPV4_DOC % number},
        ),
        "gateway": Key("ipv4-gateway", type="ipv4", doc="the router to other networks, with --ipv4"),
        "ipv6_only": IPV6_ONLY,
    },
    derived={"target": TARGET, "order": ORDER},
    features=("net",),
)


def addressing(ipv4: Node, ipv6: Node | None, udp: Node, *, group: str = "") -> Device:
    """Who gives an unnumbered IPv4 its address; keys: --dhcp, --ipv4, --ipv4-gateway, --ipv6-only and --hostname."""
    return ADDRESSING(ipv4, dhcp(ipv4, udp, group=group), log(), ipv6, group=group)
