# SPDX-License-Identifier: MIT
"""A capture of everything that the guest sends in a busy minute, read by scapy: no header that is not right."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.conftest import need
from tests.interop import marks, servers
from tests.interop.capture import Capture, capturing
from tests.interop.guest import Guest
from tests.interop.network import Family
from tests.interop.witness import Witness

pytestmark = marks.UNIX


def traffic(guest: Guest, family: Family, folder: Path) -> None:
    """Something of everything: both ends of TCP, refused and reset ones, UDP, ICMP with its errors."""
    near, ip = guest.near, family.guest
    near.run(
        "curl", "-sS", "-o", "/dev/null", "-o", "/dev/null", f"http://{family.in_url}/pattern/[70000-70001]", check=True
    )
    near.run("curl", "-sS", "-T", "/proc/self/maps", f"http://{family.in_url}/upload", check=True)
    with servers.iperf3(near, family.near, folder) as port:
        guest.order("iperf3", family.near, port, 2_000_000, "forward", 2)
        guest.order("iperf3", family.near, port, 1_000_000, "reverse", 1)
    near.run(need("iperf3", "iperf3"), "-c", ip, "-R", "-n", "2M", check=True)
    near.run("nc", "-w", "2", ip, "4101")
    guest.order("refused", family.near, 4101)
    near.run("nc", "-u", "-w", "1", ip, "7", stdin=b"to echo" * 100)
    near.run("nc", "-u", "-w", "1", ip, "4102", stdin=b"to nobody")
    for size in (0, 1, 55, 56, 1472):
        near.run("ping", "-c", "1", "-W", "2", "-s", str(size), ip, check=True)


@pytest.fixture(scope="module")
def capture(guest: Guest, family: Family, tmp_path_factory: pytest.TempPathFactory) -> Capture:
    """The frames of `traffic`, after the neighbours have forgotten each other: address resolution is in it."""
    guest.near.sh("ip neigh flush dev tap0")
    with capturing(guest.near) as running:
        traffic(guest, family, tmp_path_factory.mktemp("capture"))
    return running


def test_every_header_that_we_send_is_right(capture: Capture, family: Family) -> None:
    assert not capture.missed
    witness = Witness()
    witness.hear(capture.ours)
    assert not witness.faults, "\n".join(witness.faults[:5])
    expected = {"TCP", "UDP", "TCP MSS", "TCP Timestamp", "TCP WScale", "TCP to be segmented"}
    if ":" in family.guest:
        expected |= {"IPv6", "ICMPv6 Echo Reply", "ICMPv6 Neighbor Discovery - Neighbor Advertisement"}
        expected |= {"ICMPv6 Destination Unreachable"}
    else:
        expected |= {"ARP", "IP", "ICMP"}
    assert expected <= witness.counts.keys(), witness.counts


@pytest.mark.parametrize("what", ["the packet's length", "an address", "a port", "the TCP header's length"])
def test_a_header_that_is_wrong_is_noticed(capture: Capture, family: Family, what: str) -> None:
    is_ipv6 = ":" in family.guest
    offset = {
        "the packet's length": 18 if is_ipv6 else 16,
        "an address": 50 if is_ipv6 else 30,
        "a port": 54 if is_ipv6 else 34,
        "the TCP header's length": 66 if is_ipv6 else 46,
    }[what]
    frames = [frame for frame in capture.ours if frame.data[20 if is_ipv6 else 23] == 6 and not frame.needs_csum]
    assert frames, "no frame of TCP with a complete checksum"
    damaged = bytearray(frames[0].data)
    damaged[offset] ^= 0x10
    witness = Witness()
    witness.hear([replace(frames[0], data=bytes(damaged))])
    assert witness.faults, what
