# SPDX-License-Identifier: MIT
"""Addresses, routes and name servers from radvd's router advertisements, and their ends; somebody else's address.

The lifetimes are real time, so the stories are told at once, each in a namespace of its own.
"""

from __future__ import annotations

import ipaddress
import re
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.interop import guest as guest_module
from tests.interop import marks, servers
from tests.interop.capture import Capture, capturing
from tests.interop.guest import Builds, Guest
from tests.interop.network import IPV4, IPV6, Network, wait_until
from tests.interop.peer import mac_of
from tests.interop.stories import telling, told
from tests.interop.witness import Witness

pytestmark = marks.UNIX
PREFIX = ipaddress.IPv6Network("fd98:1::/64")
OTHER_PREFIX = ipaddress.IPv6Network("fd98:7::/64")
VALID_S, PREFERRED_S = 12, 8
CONFIGURATION = """
interface tap0 {{
    AdvSendAdvert on; MinRtrAdvInterval 3; MaxRtrAdvInterval 4; AdvDefaultLifetime {router};
    {prefixes}
    RDNSS {server} {{ AdvRDNSSLifetime 60; }};
}};
"""


@dataclass
class Outcome:
    """What became of a story."""

    faults: list[str]
    counts: dict[str, int]
    console: str
    notes: dict[str, object] = field(default_factory=dict)


def addresses(text: str, network: ipaddress.IPv6Network = PREFIX) -> list[str]:
    """The addresses of a network that the console tells of, in their order."""
    found = re.findall(r"[0-9a-f:]*::?[0-9a-f:]+(?=[/\s])", text)
    return [word for word in found if _is_address(word) and ipaddress.IPv6Address(word) in network]


def _is_address(word: str) -> bool:
    try:
        ipaddress.IPv6Address(word)
    except ValueError:
        return False
    return True


class Stage:
    """A story under way."""

    def __init__(self, network: Network, builds: Builds, capture: Capture, folder: Path) -> None:
        self.network, self.builds, self.capture, self.folder = network, builds, capture, folder
        self.notes: dict[str, object] = {}
        self.console = ""

    def radvd(self, *prefixes: str, router_s: int = 60) -> AbstractContextManager[subprocess.Popen[bytes]]:
        """radvd with these prefixes, each with what it says of it."""
        text = CONFIGURATION.format(router=router_s, prefixes="\n".join(prefixes), server=IPV6.near)
        return servers.radvd(self.network.near, self.folder, text)

    def guest(self, *arguments: str) -> AbstractContextManager[Guest]:
        """The guest, which has its address of IPv4 as well: it may be asked by that."""
        return guest_module.started(
            self.builds.get("unix"), self.network.near, "--ipv4", f"{IPV4.guest}/24", *arguments
        )

    def wait_for_address(self, guest: Guest, network: ipaddress.IPv6Network = PREFIX, timeout_s: float = 20) -> str:
        """The address that the guest tells of."""
        wait_until(lambda: addresses(guest.text(), network), timeout_s, f"an address:\n{guest.text()}")
        return addresses(guest.text(), network)[-1]

    def answers(self, ip: str, far: bool = False) -> bool:
        """Whether somebody answers a ping to `ip`, from near or from far."""
        where = self.network.far if far else self.network.near
        return where.run("ping", "-6", "-c", "1", "-W", "1", "-w", "3", ip).returncode == 0


def prefix(network: ipaddress.IPv6Network, valid_s: int = 600, preferred_s: int = 300) -> str:
    """A prefix in radvd's configuration."""
    flags = f"AdvOnLink on; AdvAutonomous on; AdvValidLifetime {valid_s}; AdvPreferredLifetime {preferred_s};"
    return f"prefix {network} {{ {flags} }};"


def router_comes_and_goes(stage: Stage) -> None:
    """An address, a route and a name server; the router says good-bye, and the route goes, the address stays."""
    with stage.radvd(prefix(PREFIX)), stage.guest() as guest:
        stage.notes["ip"] = ip = stage.wait_for_address(guest)
        stage.notes["mac"] = mac_of(stage.network.near, IPV4.guest)
        wait_until(lambda: stage.answers(ip), 15, "an answer")
        wait_until(lambda: stage.answers(ip, far=True), 15, "an answer to far")
        with servers.dnsmasq(stage.network.near, stage.folder, f"host-record=one.test,{IPV6.near}", dns=True):
            stage.notes["resolved"] = guest.order("resolve", "one.test")["addresses"]
        with servers.listening(stage.network.far, ["nc", "-6", "-l", IPV6.far, "4100"], 4100, stage.folder / "nc"):
            stage.notes["sent"] = guest.order("send", IPV6.far, 4100, 1000)["sent"]
    stage.console = guest.text()


def router_says_good_bye(stage: Stage) -> None:
    """radvd ends, and says that it is no router any more."""
    with stage.guest() as guest:
        with stage.radvd(prefix(PREFIX)):
            ip = stage.wait_for_address(guest)
            wait_until(lambda: stage.answers(ip, far=True), 15, "an answer to far")
        wait_until(lambda: not stage.answers(ip, far=True), 10, "no route any more")
        stage.notes["near"] = stage.answers(ip)
    stage.console = guest.text()


def lifetime_ends(stage: Stage) -> None:
    """radvd is killed and says nothing: the address ends with its valid lifetime."""
    with stage.guest() as guest:
        with stage.radvd(prefix(PREFIX, VALID_S, PREFERRED_S)) as process:
            ip = stage.wait_for_address(guest)
            wait_until(lambda: stage.answers(ip), 15, "an answer")
            process.kill()
        started_s = time.monotonic()
        wait_until(lambda: "is ours no more" in guest.text(), VALID_S + 10, "the end of the address")
        stage.notes["lived"] = time.monotonic() - started_s
        stage.notes["answers"] = stage.answers(ip)
    stage.console = guest.text()


def two_prefixes(stage: Stage) -> None:
    """An address of each network."""
    with stage.radvd(prefix(PREFIX), prefix(OTHER_PREFIX)), stage.guest() as guest:
        found = [stage.wait_for_address(guest, network) for network in (PREFIX, OTHER_PREFIX)]
        stage.network.near.sh("ip -6 address add fd98:7::1/64 dev tap0 nodad")
        for ip in found:
            wait_until(lambda ip=ip: stage.answers(ip), 15, f"an answer of {ip}")  # type: ignore[misc]
        stage.notes["found"] = found
    stage.console = guest.text()


def advertisements_are_not_wanted(stage: Stage) -> None:
    """--no-accept-router-advertisements: no address but the link's."""
    with stage.radvd(prefix(PREFIX)), stage.guest("--no-accept-router-advertisements") as guest:
        time.sleep(8)
        stage.notes["found"] = addresses(guest.text())
    stage.console = guest.text()


def address_is_taken(stage: Stage) -> None:
    """A fixed address that near has: duplicate address detection finds out."""
    with stage.guest("--ipv6", f"{IPV6.near}/64") as guest:
        wait_until(lambda: "somebody else's" in guest.text(), 10, "a warning")
    stage.console = guest.text()


STORIES: list[Callable[[Stage], None]] = [
    router_comes_and_goes,
    router_says_good_bye,
    lifetime_ends,
    two_prefixes,
    advertisements_are_not_wanted,
    address_is_taken,
]


def tell(story: Callable[[Stage], None], builds: Builds, folder: Path) -> Outcome:
    """Runs one story."""
    with Network(routed=True) as network, capturing(network.near) as capture:
        stage = Stage(network, builds, capture, folder)
        story(stage)
    witness = Witness()
    witness.hear(capture.ours)
    return Outcome(witness.faults, witness.counts, stage.console, stage.notes)


@pytest.fixture(scope="module")
def outcomes(builds: Builds, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Future[Outcome]]]:
    """All stories, told at once."""
    with telling(tell, STORIES, builds, tmp_path_factory) as futures:
        yield futures


@pytest.mark.parametrize("story", STORIES, ids=lambda story: story.__name__)
def test_story_is_told_with_right_packets_only(
    outcomes: dict[str, Future[Outcome]], story: Callable[[Stage], None]
) -> None:
    outcome = told(outcomes, story)
    assert not outcome.faults, "\n".join(outcome.faults[:5])
    # Each address is looked for before it is used (RFC 4862 section 5.4), and its group joined (RFC 3810).
    assert outcome.counts["ICMPv6 Neighbor Discovery - Neighbor Solicitation"] >= 1
    assert outcome.counts["MLDv2 - Multicast Listener Report"] >= 1


def test_router_gives_address_route_and_name_server(outcomes: dict[str, Future[Outcome]]) -> None:
    outcome = told(outcomes, router_comes_and_goes)
    assert IPV6.near in str(outcome.notes["resolved"])
    assert outcome.notes["sent"] == 1000
    octets = bytes.fromhex(str(outcome.notes["mac"]).replace(":", ""))
    # RFC 7217: the address does not tell the MAC.
    eui64 = bytes([octets[0] ^ 2]) + octets[1:3] + b"\xff\xfe" + octets[3:]
    assert ipaddress.IPv6Address(str(outcome.notes["ip"])).packed[8:] != eui64


def test_router_that_says_good_bye_is_no_route(outcomes: dict[str, Future[Outcome]]) -> None:
    assert told(outcomes, router_says_good_bye).notes["near"] is True


def test_address_ends_with_its_lifetime(outcomes: dict[str, Future[Outcome]]) -> None:
    outcome = told(outcomes, lifetime_ends)
    lived_s = outcome.notes["lived"]
    assert isinstance(lived_s, float)
    assert VALID_S - 5 < lived_s < VALID_S + 2
    assert outcome.notes["answers"] is False


def test_each_prefix_gives_an_address(outcomes: dict[str, Future[Outcome]]) -> None:
    found = told(outcomes, two_prefixes).notes["found"]
    assert isinstance(found, list)
    assert len(set(found)) == 2


def test_unwanted_advertisements_are_ignored(outcomes: dict[str, Future[Outcome]]) -> None:
    assert told(outcomes, advertisements_are_not_wanted).notes["found"] == []


def test_address_of_somebody_else_is_not_used(outcomes: dict[str, Future[Outcome]]) -> None:
    assert f"{IPV6.near} is somebody else's" in told(outcomes, address_is_taken).console
