# SPDX-License-Identifier: MIT
"""Names, from dnsmasq: addresses, aliases, answers too large for a datagram, and how long they are remembered."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.interop import guest as guest_module
from tests.interop import marks, pattern, servers
from tests.interop.capture import capturing
from tests.interop.guest import Builds, Guest
from tests.interop.network import IPV4, Network, wait_until
from tests.interop.witness import Witness

pytestmark = marks.UNIX
MANY = [f"10.98.7.{number}" for number in range(1, 201)]
TTL_S = 3
RECORDS = [
    f"host-record=one.test,{IPV4.near}",
    "cname=alias.test,one.test",
    "cname=second.test,alias.test",
    "cname=third.test,second.test",
    "address=/other.test/10.98.7.7",
    *[f"host-record=many.test,{ip}" for ip in MANY],
    f"host-record=brief.test,10.98.7.8,{TTL_S}",
    "local=/test/",
    "edns-packet-max=512",
]


@pytest.fixture(scope="module")
def log(network: Network, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A name server, and its log of questions."""
    with servers.dnsmasq(network.near, tmp_path_factory.mktemp("dns"), *RECORDS, dns=True) as running:
        yield running


@pytest.fixture(scope="module")
def guest(builds: Builds, network: Network, log: Path) -> Iterator[Guest]:
    """The application, told of the name server by a boot argument."""
    with guest_module.started(
        builds.get("unix"), network.near, *guest_module.static(), "--resolver", IPV4.near
    ) as running:
        yield running


def questions(log: Path, name: str) -> int:
    """How often the server was asked for an IPv4 address of `name`."""
    return len(re.findall(rf"query\[A\] {re.escape(name)} from", servers.text(log)))


def ipv4_of(guest: Guest, name: str) -> list[str]:
    """The IPv4 addresses that the application gets."""
    return sorted(ip for ip in guest.order("resolve", name)["addresses"] if ":" not in ip)


@pytest.mark.parametrize("name", ["one.test", "ONE.test", "one.test.", "alias.test", "second.test", "third.test"])
def test_name_and_its_aliases_lead_to_the_address(guest: Guest, name: str) -> None:
    assert ipv4_of(guest, name) == [IPV4.near]


def test_answer_beyond_a_datagram_comes_by_tcp(guest: Guest, log: Path) -> None:
    with capturing(guest.near) as capture:
        found = ipv4_of(guest, "many.test")
    # Sixteen addresses are as many as are kept.
    assert len(found) == 16
    assert set(found) <= set(MANY)
    witness = Witness()
    witness.hear(capture.ours)
    assert not witness.faults, "\n".join(witness.faults[:5])
    assert witness.counts.get("TCP MSS"), witness.counts


def test_name_is_remembered_for_its_time_and_no_longer(guest: Guest, log: Path) -> None:
    assert ipv4_of(guest, "brief.test") == ["10.98.7.8"]
    first = questions(log, "brief.test")
    assert first >= 1
    started_s = time.monotonic()
    while time.monotonic() - started_s < TTL_S - 1.5:
        assert ipv4_of(guest, "brief.test") == ["10.98.7.8"]
    assert questions(log, "brief.test") == first
    time.sleep(TTL_S + 0.5 - (time.monotonic() - started_s))
    assert ipv4_of(guest, "brief.test") == ["10.98.7.8"]
    assert questions(log, "brief.test") > first


def test_name_that_is_not_there_is_said_to_be_missing(guest: Guest) -> None:
    with pytest.raises(AssertionError, match="there is no such name"):
        guest.order("resolve", "missing.test")


def test_every_question_comes_from_another_port_with_another_number(guest: Guest, log: Path) -> None:
    with capturing(guest.near) as capture:
        for number in range(10):
            ipv4_of(guest, f"n{number}.other.test")
    datagrams = [frame.data for frame in capture.ours if frame.data[23] == 17 and frame.data[36:38] == b"\x00\x35"]
    assert len({data[34:36] for data in datagrams}) >= 10, "ports"
    assert len({data[42:44] for data in datagrams}) >= 10, "numbers"


def test_body_is_fetched_from_a_name(guest: Guest, tmp_path: Path) -> None:
    pattern.file(tmp_path / "file", 100_000)
    with servers.http(guest.near, tmp_path, IPV4.near) as port:
        got = guest.order("fetch", "alias.test", port, "/file")
    assert got == {"status": 200, "octets": 100_000, "sha256": pattern.digest(100_000)}


def test_second_name_server_is_asked_when_the_first_is_silent(builds: Builds, log: Path, network: Network) -> None:
    network.near.sh(
        "ip tuntap add tap1 mode tap vnet_hdr",
        "ip link set tap1 up",
        "ip address add 10.98.3.1/24 dev tap1",
    )
    arguments = ["--ipv4", "10.98.3.2/24", "--ipv4-gateway", "10.98.3.1", "--resolver", f"10.98.3.77,{IPV4.near}"]
    with guest_module.started(builds.get("unix"), network.near, *arguments, tap="tap1", ip="10.98.3.2") as running:
        assert ipv4_of(running, "one.test") == [IPV4.near]


def test_name_server_that_dhcp_names_is_asked(builds: Builds, tmp_path: Path) -> None:
    options = ["dhcp-range=10.98.1.50,10.98.1.59,2m", *RECORDS]
    with (
        Network() as network,
        servers.dnsmasq(network.near, tmp_path, *options, dns=True),
        guest_module.started(builds.get("unix"), network.near, "--dhcp") as running,
    ):
        wait_until(lambda: "by DHCP" in running.text(), 20, "an address")
        running.ip = str(re.search(r"10\.98\.1\.\d+", running.text())[0])  # type: ignore[index]
        assert ipv4_of(running, "third.test") == [IPV4.near]
