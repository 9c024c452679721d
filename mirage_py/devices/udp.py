# SPDX-License-Identifier: MIT
"""UDP (RFC 768)."""

from mirage_py.device import Device, Kind, Node
from mirage_py.devices.signatures import IPV4
from mirage_py.devices.signatures import UDP as OFFERS

UDP = Kind(
    name="udp",
    offers=OFFERS,
    implementation="libos.net.udp.Udp",
    doc="UDP",
    arguments={"ipv4": IPV4},
    features=("net",),
)


def udp(ipv4: Node) -> Device:
    """UDP on IPv4."""
    return UDP(ipv4)
