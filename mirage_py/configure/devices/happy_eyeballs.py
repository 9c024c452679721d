# SPDX-License-Identifier: MIT
"""Connecting to names (RFC 8305)."""

from mirage_py.configure.device import Device, Kind, Node
from mirage_py.configure.devices.dns import dns_client
from mirage_py.configure.devices.signatures import DNS, STACK
from mirage_py.configure.devices.signatures import HAPPY_EYEBALLS as OFFERS

HAPPY_EYEBALLS = Kind(
    name="happy_eyeballs",
    offers=OFFERS,
    implementation="libos.app.happy_eyeballs.HappyEyeballs",
    doc="connections to names, by whichever address answers first",
    arguments={"stack": STACK, "dns": DNS},
)


def happy_eyeballs(stack: Node, dns: Node | None = None) -> Device:
    """What connects to names over a stack: await connect(host, port). dns: dns_client(stack) unless given."""
    return HAPPY_EYEBALLS(stack, dns or dns_client(stack))
