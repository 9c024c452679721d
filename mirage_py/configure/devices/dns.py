# SPDX-License-Identifier: MIT
"""Names to addresses (RFC 1035)."""

from mirage_py.configure.device import Device, Kind, Node
from mirage_py.configure.devices import random as random_kind
from mirage_py.configure.devices.signatures import DNS as OFFERS
from mirage_py.configure.devices.signatures import RANDOM, RESOLVER, STACK
from mirage_py.configure.keys import Key

DNS_RESOLVER = Kind(
    name="dns_resolver",
    local="resolver",
    offers=RESOLVER,
    implementation="libos.net.service.dns.Resolver",
    doc="a stub resolver and its cache",
    arguments={"random": RANDOM},
)

DNS_CLIENT = Kind(
    name="dns_client",
    local="dns",
    offers=OFFERS,
    implementation="libos.app.dns.DnsClient",
    doc="names to addresses",
    arguments={"stack": STACK, "resolver": RESOLVER, "random": RANDOM},
    keys={
        "servers": Key(
            "resolver",
            type="ip_list",
            doc="the name servers to ask (default: those that the network names, as by DHCP)",
        )
    },
)


def dns_client(stack: Node, *, group: str = "") -> Device:
    """What resolves names over a stack; its runtime key is --resolver."""
    random = random_kind.random()
    return DNS_CLIENT(stack, DNS_RESOLVER(random), random, group=group)
