# SPDX-License-Identifier: MIT
"""Addresses by DHCP as clouds and odd servers give them, and the ways that lead out of there."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.interop import guest as guest_module
from tests.interop import marks, servers
from tests.interop.guest import Builds, Guest
from tests.interop.network import IPV4, Network, wait_until

pytestmark = marks.UNIX
SERVER = Path(__file__).with_name("odd_dhcp.py")
CLOUD = {"server": "169.254.169.254", "address": "10.128.0.7", "mask": "255.255.255.255", "router": "10.128.0.1"}
# RFC 3442: 10.128.0.1/32 on the link, everything else by way of it.
CLOUD_ROUTES = "200a800001" + "00000000" + "00" + "0a800001"


@contextmanager
def asking(builds: Builds, network: Network, folder: Path, how: dict[str, object]) -> Iterator[Guest]:
    """The guest asks, and the server answers so."""
    log = folder / "server.log"
    with ExitStack() as undo:
        process = network.near.popen([sys.executable, str(SERVER), json.dumps(how)], log)
        undo.callback(servers.end, process)
        servers.wait_for_text(log, "ready", 30)
        arguments = ["--dhcp", "--logs", "*:debug"]
        yield undo.enter_context(guest_module.started(builds.get("unix"), network.near, *arguments))


@pytest.fixture
def network() -> Iterator[Network]:
    with Network() as made:
        yield made


def says(guest: Guest, text: str) -> None:
    try:
        wait_until(lambda: text in guest.text(), 15, repr(text))
    except AssertionError as error:
        raise AssertionError(f"{error} in\n{guest.text()}") from None


@pytest.mark.parametrize(
    "how",
    [
        CLOUD,
        {**CLOUD, "options": {"121": CLOUD_ROUTES}},
        {**CLOUD, "router": "0.0.0.0", "options": {"121": CLOUD_ROUTES}},
        {**CLOUD, "options": {"121": CLOUD_ROUTES}, "unicast": True},
        {
            **CLOUD,
            "options": {"121": CLOUD_ROUTES + "180b0000" * 0 + "".join(f"180b{n:02x}000a800001" for n in range(40))},
        },
        {**CLOUD, "tags": 6, "unicast": True},
    ],
    ids=["router", "routes", "only routes", "unicast", "many routes", "tagged"],
)
def test_router_off_the_link_leads_out(
    builds: Builds, network: Network, tmp_path: Path, how: dict[str, object]
) -> None:
    near = network.near
    # The cloud's router: it is nobody's neighbour by any mask, and knows its guests one by one.
    near.sh(
        "ip address flush dev tap0",
        "ip address add 10.128.0.1/32 dev tap0",
        "ip route add 10.128.0.7/32 dev tap0",
        "ip address add 192.0.2.8/32 dev lo",
    )
    with asking(builds, network, tmp_path, how) as guest:
        says(guest, "10.128.0.7/32 by DHCP, gateway 10.128.0.1")
        assert near.run("ping", "-I", "192.0.2.8", "-c", "2", "-i", "0.2", "-W", "2", "10.128.0.7").returncode == 0
        with servers.http(near, tmp_path, "192.0.2.8") as port:
            (tmp_path / "hello").write_text("from beyond the router")
            guest.ip = "10.128.0.7"
            found = guest.order("get", "192.0.2.8", port, "/hello", ip="10.128.0.7")
        assert "error" not in found, found


def test_static_32_with_a_gateway_leads_out(builds: Builds, network: Network) -> None:
    near = network.near
    near.sh(
        "ip address add 10.128.0.1/32 dev tap0",
        "ip route add 10.128.0.7/32 dev tap0",
        "ip address add 192.0.2.8/32 dev lo",
    )
    arguments = ["--ipv4", "10.128.0.7/32", "--ipv4-gateway", "10.128.0.1"]
    with guest_module.started(builds.get("unix"), near, *arguments, ip="10.128.0.7"):
        assert near.run("ping", "-I", "192.0.2.8", "-c", "2", "-i", "0.2", "-W", "2", "10.128.0.7").returncode == 0


def test_routes_of_dnsmasq_are_used(builds: Builds, network: Network, tmp_path: Path) -> None:
    near = network.near
    near.sh("ip address add 192.0.2.8/32 dev lo", "ip address add 10.98.1.77/24 dev tap0")
    routes = f"dhcp-option=121,0.0.0.0/0,{IPV4.near},192.0.2.0/24,10.98.1.77"
    with (
        servers.dnsmasq(near, tmp_path, "dhcp-range=10.98.1.50,10.98.1.59,2m", routes),
        guest_module.started(builds.get("unix"), near, "--dhcp", "--logs", "*:debug") as guest,
    ):
        says(guest, f"/24 by DHCP, gateway {IPV4.near}, 1 other route")
        address = guest.text().split("/24 by DHCP")[0].split()[-1]
        assert near.run("ping", "-I", "192.0.2.8", "-c", "2", "-i", "0.2", "-W", "2", address).returncode == 0


@pytest.mark.parametrize(
    ("how", "why"),
    [
        ({"options": {"51": "00000000"}}, "10.98.1.1: a lease of 0 s"),
        ({"options": {"51": ""}}, "10.98.1.1: no lease time"),
        ({"options": {"54": ""}}, "no server identifier"),
        ({"mask": "255.0.255.0"}, "10.98.1.1: the netmask 255.0.255.0"),
        ({"address": "10.98.1.255"}, "10.98.1.1: 10.98.1.255/24 is no host's address"),
    ],
)
def test_refused_offer_is_said_with_its_reason(
    builds: Builds, network: Network, tmp_path: Path, how: dict[str, object], why: str
) -> None:
    offer = {"server": IPV4.near, "address": "10.98.1.50", "mask": "255.255.255.0", "router": IPV4.near, **how}
    with asking(builds, network, tmp_path, offer) as guest:
        says(guest, f"warning: an answer by DHCP is refused: {why}")
        says(guest, f"no usable answer by DHCP ({why}): falling back")
        assert guest.text().count("an answer by DHCP is refused") == 1


@pytest.mark.parametrize(
    ("how", "line", "ignored"),
    [
        ({"router": "0.0.0.0"}, "10.98.1.50/24 by DHCP", "the router 0.0.0.0"),
        ({"router": "10.98.1.50"}, "10.98.1.50/24 by DHCP", "the router 10.98.1.50"),
        ({"options": {"26": "0010"}}, "10.98.1.50/24 by DHCP, gateway 10.98.1.1", "an MTU of 16"),
        ({"options": {"121": "21ff"}}, "10.98.1.50/24 by DHCP, gateway 10.98.1.1", "damaged routes"),
    ],
)
def test_what_is_wrong_with_a_lease_costs_only_that(
    builds: Builds, network: Network, tmp_path: Path, how: dict[str, object], line: str, ignored: str
) -> None:
    offer = {"server": IPV4.near, "address": "10.98.1.50", "mask": "255.255.255.0", "router": IPV4.near, **how}
    with asking(builds, network, tmp_path, offer) as guest:
        says(guest, line)
        assert f"warning: not used of what DHCP says: {ignored}\n" in guest.text(), guest.text()
        assert network.near.run("ping", "-c", "1", "-W", "2", "10.98.1.50").returncode == 0
