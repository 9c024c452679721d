# SPDX-License-Identifier: MIT
"""net.link.neighbours: what is the same for ARP and Neighbour Discovery, over both."""

import pytest

from libos.net.link import arp, ndp, neighbours
from libos.net.link.neighbours import DELAY, PROBE, REACHABLE, STALE


@pytest.mark.parametrize(
    ("ours", "silent", "other"), [("10.0.0.2/24", "10.0.0.7", "10.0.0.8"), ("fd00::2/64", "fd00::7", "fd00::8")]
)
def test_failed_that_makes_its_listener_ask_another_leaves_that_its_deadline(world, ours, silent, other):
    host = world.host(ours)
    ip = host.ipv6 if ":" in ours else host.ipv4
    table = ip.neighbours
    world.run(for_ms=20_000)  # what is said at the start is over
    lost = []

    def on_failure(neighbour, now_ms):
        lost.append(ip.format_address(neighbour))
        if len(lost) == 1:
            host.udp.write(b"x", other, 9, 9, now_ms)

    table.on_failure = on_failure
    host.udp.write(b"x", silent, 9, 9, world.now_ms)
    world.run(for_ms=2 * neighbours.TRIES * neighbours.RETRANS_MS + 100)
    assert lost == [silent, other]
    world.run(for_ms=neighbours.FAILED_MS)
    assert table.entries() == []
    assert not host.device.in_use
    assert not host.ethernet.held


# --- what TCP knows of a neighbour: RFC 4861 section 7.3.1, RFC 1122 section 2.3.2.1 (4) ---

FAMILIES = pytest.mark.parametrize("prefix", ["10.0.0.", "fd00::"], ids=["ipv4", "ipv6"])
STALE_AFTER_MS = max(arp.FRESH_MS, ndp.REACHABLE_MS * 3 // 2) + 100


class Pair:
    """A host with a connection to a friend, both silent until the host's entry for the friend is stale."""

    def __init__(self, world, prefix):
        size = "/64" if ":" in prefix else "/24"
        self.world = world
        self.host = world.host(prefix + "2" + size)
        self.friend = world.host(prefix + "3" + size)
        self.layer = self.host.ipv6 or self.host.ipv4
        self.table = self.layer.neighbours
        self.friend.listen(7)
        self.flow = self.host.connect(self.friend, 7)
        self.flow.send(b"x")
        world.run(until=lambda: self.friend.accepted and self.friend.accepted[0].received)
        self.conn = self.flow.conn
        self.back = self.friend.accepted[0]
        # The friend asks the host once, too, five seconds after its first word.
        world.run(for_ms=neighbours.DELAY_FIRST_PROBE_MS + STALE_AFTER_MS)
        assert self.state() == STALE
        self.host.device.tx_log = []

    def state(self):
        friend_ip = self.layer.parse_address(self.friend.ip)
        return next((state for ip, state, _ in self.table.entries() if ip == friend_ip), None)

    def asked(self):
        """The questions for a MAC that the host sent."""
        return [
            packet for packet in self.host.device.tx_log if packet[12:14] == b"\x08\x06" or packet[54:55] == b"\x87"
        ]

    def delay_ends(self):
        assert self.state() == DELAY
        self.world.run(for_ms=neighbours.DELAY_FIRST_PROBE_MS + 1)


@FAMILIES
def test_stale_neighbour_that_acknowledges_data_is_not_asked(world, prefix):
    pair = Pair(world, prefix)
    pair.flow.send(b"y")
    world.settle()
    pair.delay_ends()
    assert pair.state() == REACHABLE
    assert pair.asked() == []


@FAMILIES
def test_stale_neighbour_that_acknowledges_nothing_is_asked(world, prefix):
    pair = Pair(world, prefix)
    pair.host.udp.write(b"x", pair.friend.ip, 9, 9, world.now_ms)  # TCP's last word is older than the doubt
    pair.delay_ends()
    assert len(pair.asked()) == 1
    assert pair.state() == PROBE
    world.run(for_ms=10)
    assert pair.state() == REACHABLE


@FAMILIES
def test_stale_neighbour_that_sends_data_within_the_window_is_asked_and_beyond_it_is_not(world, prefix):
    """Only beyond the window it must have got an acknowledgement of ours."""
    for octets, questions in ((1000, 1), (400_000, 0)):
        pair = Pair(world, prefix)
        pair.back.send(bytes(octets))
        world.settle()
        world.run(until=lambda pair=pair: pair.state() == DELAY)
        pair.delay_ends()
        assert len(pair.flow.received) == octets
        assert len(pair.asked()) == questions
        world.hosts.clear()


@FAMILIES
def test_stale_router_through_which_data_went_is_not_asked_and_another_is(world, prefix):
    pair = Pair(world, prefix)
    layer = pair.layer
    layer.next_hop = lambda ip: layer.parse_address(prefix + "3")  # everybody is behind the friend
    pair.flow.send(b"y")
    world.run(for_ms=100)
    generation = pair.table.generation
    assert pair.host.tcp.confirms(layer, layer.parse_address(prefix + "3"), generation)
    assert not pair.host.tcp.confirms(layer, layer.parse_address(prefix + "4"), generation)
    assert not pair.host.tcp.confirms(pair.friend, layer.parse_address(prefix + "3"), generation)


@FAMILIES
def test_progress_of_before_the_doubt_is_none(world, prefix):
    pair = Pair(world, prefix)
    hop = pair.layer.parse_address(pair.friend.ip)
    pair.flow.send(b"y")
    world.run(for_ms=100)
    assert pair.host.tcp.confirms(pair.layer, hop, pair.table.generation)
    assert not pair.host.tcp.confirms(pair.layer, hop, pair.table.generation + 1)


@FAMILIES
def test_many_connections_are_not_searched_and_none_is_kept(world, prefix):
    pair = Pair(world, prefix)
    pair.friend.listen(8, closes_at_eof=True)
    flows = [pair.host.connect(pair.friend, 8) for _ in range(200)]
    for flow in flows:
        flow.send(b"y")
    world.run(for_ms=100)
    slots = pair.host.tcp.progress.slots
    assert len(slots) == 32
    assert None not in slots
    looked = []
    next_hop = pair.layer.next_hop
    pair.layer.next_hop = lambda ip: looked.append(ip) or next_hop(ip)
    assert not pair.host.tcp.confirms(pair.layer, pair.layer.parse_address(prefix + "4"), pair.table.generation)
    assert len(looked) <= 32
    for flow in flows:
        flow.conn.abort()
    world.run(for_ms=100)
    assert [noted[0] for noted in slots if noted is not None] in ([], [pair.conn])
