# SPDX-License-Identifier: MIT
"""Addresses by DHCP from dnsmasq and from Kea: leases renewed, rebound, refused and lost.

Leases of 20 seconds take real time, so all stories are told at once, each in a namespace of its own; the tests then
look at what was said on the wire and on the console.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from scapy.layers.dhcp import BOOTP, DHCP
from scapy.layers.inet import IP
from scapy.layers.l2 import Ether

from tests.interop import guest as guest_module
from tests.interop import marks, servers
from tests.interop.capture import Capture, capturing
from tests.interop.guest import Builds, Guest
from tests.interop.network import IPV4, Network, wait_until
from tests.interop.stories import telling, told
from tests.interop.witness import Witness

pytestmark = marks.UNIX
TYPES = {1: "discover", 2: "offer", 3: "request", 4: "decline", 5: "ack", 6: "nak", 7: "release"}
BOUND = re.compile(r"(10\.98\.1\.\d+)/24 by DHCP")
ROUTER = {"name": "routers", "data": IPV4.near}
KEA_POOL = "10.98.1.100 - 10.98.1.109"


@dataclass(frozen=True)
class Message:
    """One DHCP message on the wire."""

    kind: str
    is_ours: bool
    is_broadcast: bool
    client: str  # ciaddr
    given: str  # yiaddr
    when_s: float
    options: dict[str, object]


@dataclass
class Story:
    """What happened, as seen from outside. notes: what was measured on the way, by name."""

    messages: list[Message] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    console: str = ""
    notes: dict[str, object] = field(default_factory=dict)

    def kinds(self, ours_only: bool = False) -> list[str]:
        """The messages' types in their order."""
        return [message.kind for message in self.messages if message.is_ours or not ours_only]


def read_messages(capture: Capture) -> list[Message]:
    """The DHCP messages in a capture, by scapy."""
    found = []
    for frame in list(capture.frames):
        packet = Ether(frame.data)
        if DHCP not in packet:
            continue
        options = {option[0]: option[1] for option in packet[DHCP].options if isinstance(option, tuple)}
        bootp, is_broadcast = packet[BOOTP], packet[IP].dst == "255.255.255.255"
        kind = TYPES[options["message-type"]]
        found.append(Message(kind, frame.is_ours, is_broadcast, bootp.ciaddr, bootp.yiaddr, frame.when_s, options))
    return found


class Stage:
    """A story under way: a network, a guest that asks, and what is recorded of it."""

    def __init__(self, network: Network, guest: Guest, capture: Capture, folder: Path) -> None:
        self.network, self.guest, self.capture, self.folder = network, guest, capture, folder
        self.notes: dict[str, object] = {}

    def address(self, timeout_s: float = 20.0, count: int = 1) -> str:
        """The address of the guest, once it has got its `count`th by DHCP."""
        wait_until(lambda: len(BOUND.findall(self.guest.text())) >= count, timeout_s, f"bound:\n{self.guest.text()}")
        return BOUND.findall(self.guest.text())[-1]

    def count(self, kind: str) -> int:
        """How many messages of a type there were."""
        return sum(message.kind == kind for message in read_messages(self.capture))

    def wait_for(self, kind: str, count: int, timeout_s: float) -> None:
        """Waits until there were `count` messages of a type."""
        wait_until(lambda: self.count(kind) >= count, timeout_s, f"{count} times {kind}:\n{self.guest.text()}")

    def answers(self, ip: str) -> bool:
        """Whether somebody answers a ping to `ip`."""
        self.network.near.run("ip", "neigh", "flush", "dev", "tap0")
        return self.network.near.run("ping", "-c", "1", "-W", "1", "-w", "2", ip).returncode == 0


def dnsmasq_renews_and_rebinds(stage: Stage) -> None:
    """Renewed twice; then nothing reaches the server that is for it alone: what is for everybody does."""
    near = stage.network.near
    options = ["dhcp-range=10.98.1.50,10.98.1.59,2m", "dhcp-option=option:T1,4", "dhcp-option=option:T2,8"]
    with servers.dnsmasq(near, stage.folder, *options):
        stage.notes["ip"] = ip = stage.address()
        stage.notes["answers"] = stage.answers(ip)
        stage.wait_for("ack", 3, 15)
        stage.notes["server went"] = time.monotonic()
        near.sh(
            "nft add table netdev t",
            "nft 'add chain netdev t c { type filter hook ingress device tap0 priority 0; }'",
            f"nft add rule netdev t c ip daddr {IPV4.near} udp dport 67 drop",
        )
        stage.wait_for("ack", 4, 15)
        stage.notes["still answers"] = stage.answers(ip)


def kea_goes_and_the_lease_ends(stage: Stage) -> None:
    """A lease of 20 seconds, renewed once; then nobody is there, until it is over; then somebody is, again."""
    settings = {"valid-lifetime": 20, "renew-timer": 5, "rebind-timer": 12, "option-data": [ROUTER]}
    near = stage.network.near
    with servers.kea(near, stage.folder, KEA_POOL, **settings):
        stage.notes["ip"] = ip = stage.address()
        stage.wait_for("ack", 2, 15)
        stage.notes["last ack"] = read_messages(stage.capture)[-1].when_s
    wait_until(lambda: "is lost" in stage.guest.text(), 30, "the end of the lease")
    stage.notes["lost"] = time.monotonic()
    stage.notes["answers after"] = stage.answers(ip)
    with servers.kea(near, stage.folder, KEA_POOL, **settings):
        stage.notes["ip again"] = again = stage.address(70, count=2)
        stage.notes["answers again"] = stage.answers(again)


def server_refuses(stage: Stage) -> None:
    """A server that comes back with other addresses says no to the old one: another is asked for at once."""
    near, common = stage.network.near, ["dhcp-authoritative", "dhcp-option=option:T1,4", "dhcp-option=option:T2,8"]
    with servers.dnsmasq(near, stage.folder, "dhcp-range=10.98.1.50,10.98.1.59,2m", *common):
        stage.notes["ip"] = stage.address()
    (stage.folder / "dnsmasq.leases").unlink()
    with servers.dnsmasq(near, stage.folder, "dhcp-range=10.98.1.150,10.98.1.159,2m", *common):
        stage.notes["other ip"] = stage.address(25, count=2)
        stage.notes["answers"] = stage.answers(str(stage.notes["other ip"]))


def address_is_taken(stage: Stage) -> None:
    """The server offers what somebody has already: the guest finds out, declines, and gets another."""
    stage.network.near.sh("ip address add 10.98.1.100/32 dev tap0")
    with servers.kea(stage.network.near, stage.folder, KEA_POOL, **{"valid-lifetime": 20, "option-data": [ROUTER]}):
        stage.notes["ip"] = stage.address(40)


def nobody_is_there_at_first(stage: Stage) -> None:
    """No server: the guest says so, takes the default, asks on; and obeys a server that comes later."""
    wait_until(lambda: "falling back" in stage.guest.text(), 15, "the fallback")
    with servers.kea(stage.network.near, stage.folder, KEA_POOL, **{"valid-lifetime": 20, "option-data": [ROUTER]}):
        stage.notes["ip"] = ip = stage.address(70)
        stage.notes["answers"] = stage.answers(ip)


STORIES: list[Callable[[Stage], None]] = [
    dnsmasq_renews_and_rebinds,
    kea_goes_and_the_lease_ends,
    server_refuses,
    address_is_taken,
    nobody_is_there_at_first,
]


def tell(story: Callable[[Stage], None], builds: Builds, folder: Path) -> Story:
    """Runs one story from the guest's start to its end."""
    with Network() as network, capturing(network.near) as capture:
        built = builds.get("unix")
        with guest_module.started(
            built, network.near, "--dhcp", "--logs", "*:debug", "--hostname", "storyteller"
        ) as guest:
            stage = Stage(network, guest, capture, folder)
            story(stage)
            console = guest.text()
    witness = Witness()
    witness.hear(capture.ours)
    return Story(read_messages(capture), witness.faults, console, stage.notes)


@pytest.fixture(scope="module")
def stories(builds: Builds, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Future[Story]]]:
    """All stories, told at once."""
    with telling(tell, STORIES, builds, tmp_path_factory) as futures:
        yield futures


@pytest.mark.parametrize("story", STORIES, ids=lambda story: story.__name__)
def test_story_is_told_with_right_packets_only(
    stories: dict[str, Future[Story]], story: Callable[[Stage], None]
) -> None:
    outcome = told(stories, story)
    assert not outcome.faults, "\n".join(outcome.faults[:5])
    first = outcome.messages[0]
    assert (first.kind, first.is_ours, first.is_broadcast) == ("discover", True, True)
    assert first.options["hostname"] == b"storyteller"


def test_lease_is_renewed_with_its_server_and_rebound_with_any(stories: dict[str, Future[Story]]) -> None:
    story = told(stories, dnsmasq_renews_and_rebinds)
    assert story.notes["answers"]
    assert story.notes["still answers"]
    # The first question may have been asked before the server was there.
    kinds = story.kinds()
    at = kinds.index("offer")
    assert kinds[at - 1 : at + 3] == ["discover", "offer", "request", "ack"]
    ip, went_s = story.notes["ip"], story.notes["server went"]
    assert isinstance(went_s, float)
    renewals = [m for m in story.messages if m.is_ours and m.kind == "request" and m.client == ip]
    assert all(not message.is_broadcast for message in renewals[:2]), "a renewal goes to the server alone"
    rebinding = [message for message in renewals if message.is_broadcast]
    assert rebinding, "nobody else was asked"
    assert all(message.when_s > went_s for message in rebinding)
    assert all("server_id" not in message.options for message in renewals), "RFC 2131 section 4.3.2"
    assert "is lost" not in story.console


def test_lease_that_ends_takes_the_address_with_it(stories: dict[str, Future[Story]]) -> None:
    story = told(stories, kea_goes_and_the_lease_ends)
    lost_s, ack_s = story.notes["lost"], story.notes["last ack"]
    assert isinstance(lost_s, float)
    assert isinstance(ack_s, float)
    assert 18 < lost_s - ack_s < 23
    assert story.notes["answers after"] is False
    assert story.notes["answers again"] is True


def test_refused_renewal_leads_to_another_address(stories: dict[str, Future[Story]]) -> None:
    story = told(stories, server_refuses)
    assert story.notes["answers"]
    assert story.notes["other ip"] != story.notes["ip"]
    kinds = story.kinds()
    assert kinds[kinds.index("nak") + 1] == "discover", kinds


def test_address_that_somebody_has_is_declined(stories: dict[str, Future[Story]]) -> None:
    story = told(stories, address_is_taken)
    assert "decline" in story.kinds(ours_only=True)
    assert story.notes["ip"] != "10.98.1.100"


def test_without_a_server_the_fallback_is_loud_and_not_final(stories: dict[str, Future[Story]]) -> None:
    story = told(stories, nobody_is_there_at_first)
    assert "falling back to the default address 10.0.0.2/24" in story.console
    assert story.notes["answers"]
