# SPDX-License-Identifier: MIT
"""UDP (RFC 768)."""

from mirage_py.configure.device import Device, Kind, Node, optional
from mirage_py.configure.devices.signatures import IPV4, IPV6
from mirage_py.configure.devices.signatures import UDP as OFFERS

UDP = Kind(
    name="udp",
    offers=OFFERS,
    implementation="libos.net.udp.Udp",
    doc="UDP over IPv4, or over both",
    arguments={"ipv4": IPV4, "ipv6": optional(IPV6)},
    features=("net",),
)


def udp(ipv4: Node, ipv6: Node | None = None) -> Device:
    """UDP on IPv4, or on both."""
    return UDP(ipv4, ipv6)
