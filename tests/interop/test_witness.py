# SPDX-License-Identifier: MIT
"""A capture of everything that the guest sends in a busy minute, read by scapy: no header that is not right."""

from __future__ import annotations

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


def test_every_header_that_we_send_is_right(capture: Capture) -> None:
    assert not capture.missed
    witness = Witness()
    witness.hear(capture.ours)
    assert not witness.faults, "\n".join(witness.faults[:5])
    expected = {"ARP", "IP", "TCP", "UDP", "ICMP", "TCP MSS", "TCP Timestamp", "TCP WScale", "TCP to be segmented"}
    assert expected <= witness.counts.keys(), witness.counts


@pytest.mark.parametrize(
    ("offset", "what"),
    [(16, "the packet's length"), (24, "the IP header's checksum"), (34, "a port"), (46, "the TCP header's length")],
)
def test_a_header_that_is_wrong_is_noticed(capture: Capture, offset: int, what: str) -> None:
    frames = [frame for frame in capture.ours if frame.data[12:14] == b"\x08\x00" and frame.data[23] == 6]
    plain = [frame for frame in frames if not frame.needs_csum]
    assert plain, "no frame with a complete checksum"
    frame = plain[0]
    damaged = bytearray(frame.data)
    damaged[offset] ^= 0x10
    witness = Witness()
    witness.hear([type(frame)(**{**vars(frame), "data": bytes(damaged)})])
    assert witness.faults, what
