# SPDX-License-Identifier: MIT
"""Multicast groups and broadcasts: what the kernel sends to them reaches the application; memberships are told."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.interop import marks
from tests.interop.capture import Captured, capturing
from tests.interop.guest import Guest
from tests.interop.network import Family
from tests.interop.witness import Witness

pytestmark = marks.UNIX
GROUPS = {"ipv4": "239.98.1.1", "ipv6": "ff15::98:1"}
# Sends to a group, out of tap0; prints who answers within a second.
CLIENT = """
import socket, sys
group, own = sys.argv[1:]
is_ipv6 = ":" in group
sock = socket.socket(socket.AF_INET6 if is_ipv6 else socket.AF_INET, socket.SOCK_DGRAM)
sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
if is_ipv6:
    sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, socket.if_nametoindex("tap0"))
else:
    sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(own))
sock.bind((own, 0))
sock.settimeout(1)
sock.sendto(b"anybody?", (group, 7))
try:
    data, peer = sock.recvfrom(1000)
    print(peer[0], data.decode())
except TimeoutError:
    print("nobody")
"""


def ask(guest: Guest, family: Family, group: str) -> str:
    """Who answers what near sends to `group`."""
    done = subprocess.run(
        [*guest.near.prefix, sys.executable, "-c", CLIENT, group, family.near],
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    return done.stdout.strip()


@pytest.fixture
def route(guest: Guest) -> Iterator[None]:
    """near's way to the groups."""
    guest.near.sh("ip route add 239.98.0.0/16 dev tap0")
    yield
    guest.near.sh("ip route delete 239.98.0.0/16 dev tap0")


def reports(frames: list[Captured], family: Family) -> list[int]:
    """The types of the membership messages that the guest sent."""
    if family.name == "ipv4":
        return [frame.data[14 + (frame.data[14] & 15) * 4] for frame in frames if frame.data[23] == 2]
    bodies = [frame.data[62:] for frame in frames if frame.data[12:14] == b"\x86\xdd" and frame.data[20] == 0]
    return [body[0] for body in bodies]


@pytest.mark.usefixtures("route")
def test_group_is_heard_from_joining_to_leaving(guest: Guest, family: Family) -> None:
    group = GROUPS[family.name]
    with capturing(guest.near) as capture:
        assert ask(guest, family, group) == "nobody"
        guest.order("join", group)
        assert ask(guest, family, group) == f"{family.guest} anybody?"
        guest.order("leave", group)
        assert ask(guest, family, group) == "nobody"
    witness = Witness()
    witness.hear(capture.ours)
    assert not witness.faults, "\n".join(witness.faults[:5])
    # A report of version 2 each (RFC 2236, RFC 3810), and the end of the membership: by IGMP with a type of its own.
    kinds = reports(capture.ours, family)
    assert (0x16 if family.name == "ipv4" else 143) in kinds
    assert (0x17 if family.name == "ipv4" else 143) in kinds


def test_what_is_for_everybody_is_heard(guest: Guest, family: Family) -> None:
    everybody = "255.255.255.255" if family.name == "ipv4" else "ff02::1"
    heard = guest.counters()["udp"]["InDatagrams"]
    ask(guest, family, everybody)
    assert guest.counters()["udp"]["InDatagrams"] == heard + 1
