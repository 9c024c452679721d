# SPDX-License-Identifier: MIT
"""Through a router: losses, repetitions and damaged frames under transfers that end intact; a narrower path; hops."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import need
from tests.interop import marks, pattern, servers
from tests.interop.guest import Guest
from tests.interop.impair import Impaired, Impairment
from tests.interop.network import Family, Network

pytestmark = marks.UNIX
COUNT = 4_000_000
HARSH = Impairment(drops=20, duplicates=20, flips=10)


@pytest.fixture(scope="module")
def network() -> Iterator[Network]:
    """A router between the guest and far."""
    with Network(routed=True) as made:
        yield made


def tcp_counters(guest: Guest) -> dict[str, int]:
    return guest.counters()["tcp"]


def risen(guest: Guest, before: dict[str, int], name: str) -> int:
    return tcp_counters(guest)[name] - before[name]


def test_far_downloads_over_a_bad_path(guest: Guest, network: Network, family: Family, tmp_path: Path) -> None:
    before = tcp_counters(guest)
    with Impaired(network, family, HARSH) as impaired:
        command = [need("curl", "curl"), "-sS", "--max-time", "100", "-o", str(tmp_path / "body")]
        network.far.run(*command, f"http://{family.in_url}/pattern/{COUNT}", check=True, timeout_s=110)
        hits = impaired.hits()
    assert (tmp_path / "body").read_bytes() == pattern.octets(COUNT)
    assert all(hits.values()), hits
    assert risen(guest, before, "RetransSegs") > 10


def test_far_uploads_over_a_bad_path(guest: Guest, network: Network, family: Family, tmp_path: Path) -> None:
    before = tcp_counters(guest)
    file = pattern.file(tmp_path / "file", COUNT)
    with Impaired(network, family, HARSH) as impaired:
        command = [need("curl", "curl"), "-sS", "--max-time", "100", "-T", str(file)]
        done = network.far.run(*command, f"http://{family.in_url}/upload", check=True, timeout_s=110)
        hits = impaired.hits()
    assert json.loads(done.stdout) == {"octets": COUNT, "sha256": pattern.digest(COUNT)}
    assert all(hits.values()), hits
    # What was lost came later, and what was damaged was noticed here, not believed.
    assert risen(guest, before, "TCPOFOQueue") > 10
    assert risen(guest, before, "InCsumErrors") > 1


def test_we_are_the_client_over_a_bad_path(guest: Guest, network: Network, family: Family, tmp_path: Path) -> None:
    pattern.file(tmp_path / "file", COUNT)
    with servers.http(network.far, tmp_path, family.far) as port, Impaired(network, family, HARSH) as impaired:
        got = guest.order("get", family.far, port, "/file", timeout_s=100)
        hits = impaired.hits()
    assert got == {"status": 200, "octets": COUNT, "sha256": pattern.digest(COUNT)}
    assert all(hits.values()), hits


@pytest.mark.parametrize("direction", ["forward", "reverse"])
def test_iperf3_over_a_bad_path(guest: Guest, network: Network, family: Family, tmp_path: Path, direction: str) -> None:
    with servers.iperf3(network.far, family.far, tmp_path) as port, Impaired(network, family, HARSH):
        result = guest.order("iperf3", family.far, port, COUNT, direction, 2, timeout_s=100)
    assert sum(result["ours"]) >= 2 * COUNT
    if direction == "forward":
        # iperf3 counts what it has read when the test ends; over such a path the last octets may come later.
        assert sum(result["theirs"]) <= sum(result["ours"]) == 2 * COUNT


def test_connections_survive_when_half_is_lost(guest: Guest, network: Network, family: Family, tmp_path: Path) -> None:
    with Impaired(network, family, Impairment(drops=300)) as impaired:
        command = [need("curl", "curl"), "-sS", "--max-time", "100", "-o", str(tmp_path / "body")]
        network.far.run(*command, f"http://{family.in_url}/pattern/20000", check=True, timeout_s=110)
        assert impaired.hits()["drop"] > 1
    assert (tmp_path / "body").read_bytes() == pattern.octets(20_000)


def test_path_with_a_smaller_mtu_is_discovered(guest: Guest, network: Network, family: Family, tmp_path: Path) -> None:
    is_ipv6 = ":" in family.far
    route = "ip -6 route change fd98:2::/64 dev to-far proto kernel metric 256"
    if not is_ipv6:
        route = f"ip route change 10.98.2.0/24 dev to-far proto kernel scope link src {family.router_far}"
    network.near.sh(f"{route} mtu lock 1400")
    try:
        for count in (1_000_000, 20_000):
            command = [need("curl", "curl"), "-sS", "--max-time", "30", "-o", str(tmp_path / "body")]
            network.far.run(*command, f"http://{family.in_url}/pattern/{count}", check=True, timeout_s=40)
            assert (tmp_path / "body").read_bytes() == pattern.octets(count)
        said = network.near.run("nstat", "-az", "Icmp6OutPktTooBigs" if is_ipv6 else "IcmpOutDestUnreachs").stdout
        assert int(said.split()[-2]) > 0, f"the router had nothing to say:\n{said}"
    finally:
        network.near.sh(f"{route} mtu 1500")


@pytest.mark.parametrize("flag", ["-U", "-I", "-T"])
def test_traceroute_shows_the_router_and_us(guest: Guest, network: Network, family: Family, flag: str) -> None:
    version = "-6" if ":" in family.guest else "-4"
    extra = ["-p", "80"] if flag == "-T" else []
    program = need("traceroute", "traceroute")
    done = network.far.run(program, version, flag, "-n", "-q", "2", "-w", "2", *extra, family.guest, check=True)
    hops = [line.split()[:2] for line in done.stdout.splitlines() if re.match(r" *\d+ ", line)]
    assert hops == [["1", family.router_far], ["2", family.guest]], done.stdout
