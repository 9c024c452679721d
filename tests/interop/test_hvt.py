# SPDX-License-Identifier: MIT
"""The image in a machine, virtio-net on a TAP, with the same clients and servers: a few of each."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import need
from tests.interop import guest as guest_module
from tests.interop import marks, pattern, servers
from tests.interop.capture import capturing
from tests.interop.guest import Builds, Guest
from tests.interop.network import IPV4, Family, Network, wait_until
from tests.interop.witness import Witness

pytestmark = marks.HVT
COUNT = 8_000_000


@pytest.fixture(scope="module")
def guest(builds: Builds, network: Network) -> Iterator[Guest]:
    """The application with fixed addresses, in a virtual machine."""
    with guest_module.started(builds.get("hvt"), network.near, *guest_module.static()) as running:
        guest_module.wait_until_it_answers(running)
        yield running


def test_curl_downloads_and_uploads(guest: Guest, family: Family, tmp_path: Path) -> None:
    url, body = f"http://{family.in_url}", tmp_path / "body"
    command = [need("curl", "curl"), "-sS", "--max-time", "60"]
    guest.near.run(*command, "-o", str(body), f"{url}/pattern/{COUNT}", check=True, timeout_s=70)
    assert body.read_bytes() == pattern.octets(COUNT)
    done = guest.near.run(*command, "-T", str(body), f"{url}/upload", check=True, timeout_s=70)
    assert json.loads(done.stdout) == {"octets": COUNT, "sha256": pattern.digest(COUNT)}


@pytest.mark.parametrize("flags", [(), ("-R",)], ids=["to-us", "from-us"])
def test_iperf3_is_the_client(guest: Guest, family: Family, flags: tuple[str, ...]) -> None:
    command = [need("iperf3", "iperf3"), "-c", family.guest, "-J", "-n", str(COUNT), "-P", "2", *flags]
    end = json.loads(guest.near.run(*command, check=True, timeout_s=90).stdout)["end"]
    sent, received = end["sum_sent"]["bytes"], end["sum_received"]["bytes"]
    assert sent >= received >= COUNT
    assert flags or sent == received


@pytest.mark.parametrize("direction", ["forward", "reverse"])
def test_we_are_iperf3s_client(guest: Guest, family: Family, tmp_path: Path, direction: str) -> None:
    with servers.iperf3(guest.near, family.near, tmp_path) as port:
        result = guest.order("iperf3", family.near, port, COUNT, direction, 1)
    assert result["ours"][0] >= COUNT
    assert result["theirs"] == result["ours"] or direction == "reverse"


def test_every_header_that_we_send_is_right(guest: Guest, family: Family) -> None:
    guest.near.sh("ip neigh flush dev tap0")
    with capturing(guest.near) as capture:
        guest.near.run("curl", "-sS", "-o", "/dev/null", f"http://{family.in_url}/pattern/300000", check=True)
        for size in (0, 17, 18, 1400):
            guest.near.run("ping", "-c", "1", "-W", "2", "-s", str(size), family.guest, check=True)
        guest.near.run("nc", "-u", "-w", "1", family.guest, "4102", stdin=b"to nobody")
        guest.near.run("nc", "-w", "2", family.guest, "4101")
    witness = Witness()
    witness.hear(capture.ours)
    assert not witness.faults, "\n".join(witness.faults[:5])
    assert {"ARP", "TCP", "ICMP", "TCP to be segmented"} <= witness.counts.keys() or ":" in family.guest


def test_image_asks_a_server_for_one_address_and_a_router_for_the_other(builds: Builds, tmp_path: Path) -> None:
    advertisements = (
        "interface tap0 { AdvSendAdvert on; MinRtrAdvInterval 3; MaxRtrAdvInterval 4;\n"
        "    prefix fd98:1::/64 { AdvOnLink on; AdvAutonomous on; };\n};\n"
    )
    lease = "dhcp-range=10.98.1.50,10.98.1.59,2m"
    with (
        Network() as network,
        servers.dnsmasq(network.near, tmp_path, lease, f"host-record=one.test,{IPV4.near}", dns=True),
        guest_module.started(builds.get("hvt"), network.near, "--dhcp") as running,
    ):
        network.near.set("net/ipv6/conf/all/forwarding", 1)
        with servers.radvd(network.near, tmp_path, advertisements):
            for wanted in (r"10\.98\.1\.5\d", r"fd98:1::[0-9a-f:]+"):
                wait_until(lambda wanted=wanted: re.search(wanted, running.text()), 30, wanted)  # type: ignore[misc]
                ip = re.search(wanted, running.text())[0]  # type: ignore[index]
                # Of IPv6, when nobody else turns out to have it.
                wait_until(lambda ip=ip: network.near.run("ping", "-c", "1", "-w", "1", ip).returncode == 0, 10, ip)  # type: ignore[misc]
                assert running.order("resolve", "one.test", ip=ip)["addresses"] == [IPV4.near]
