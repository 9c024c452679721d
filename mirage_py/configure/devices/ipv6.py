# SPDX-License-Identifier: MIT
"""IPv6 (RFC 8200)."""

from mirage_py.configure.device import Device, Kind, Node
from mirage_py.configure.devices import ndp as ndp_kind
from mirage_py.configure.devices import random as random_kind
from mirage_py.configure.devices.signatures import ETHERNET, NDP, RANDOM
from mirage_py.configure.devices.signatures import IPV6 as OFFERS
from mirage_py.configure.keys import Key

IPV6 = Kind(
    name="ipv6",
    offers=OFFERS,
    implementation="libos.net.ip.ipv6.Ipv6",
    doc="IPv6 with addresses of its own and from routers",
    arguments={"ethernet": ETHERNET, "ndp": NDP, "random": RANDOM},
    keys={
        "address": Key(
            "ipv6", type="ipv6_cidr", doc="an IPv6 address and its prefix length, beside those that routers give"
        ),
        "gateway": Key("ipv6-gateway", type="ipv6", doc="the router to other networks, instead of advertised ones"),
        "accept_router_advertisements": Key(
            "accept-router-advertisements",
            type="bool",
            default=True,
            doc="take IPv6 addresses, routes and name servers from routers",
        ),
        "stable_secret": Key(
            "ipv6-secret", doc="a text that makes the IPv6 addresses the same at each boot (RFC 7217)"
        ),
        "ipv4_only": Key("ipv4-only", type="bool", default=False, doc="no IPv6 at all"),
    },
    features=("net",),
)


def ipv6(ethernet: Node, ndp: Node | None = None, random: Node | None = None, *, group: str = "") -> Device:
    """IPv6 on Ethernet; its runtime keys are --ipv6, --ipv6-gateway, --accept-router-advertisements, --ipv6-secret and
    --ipv4-only.
    """
    random = random or random_kind.random()
    return IPV6(ethernet, ndp or ndp_kind.ndp(ethernet, random), random, group=group)
