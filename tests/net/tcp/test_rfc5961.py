# SPDX-License-Identifier: MIT
"""RFC 5961: blind attacks by RST, SYN and data, in and out of the window."""

import pytest

from libos.wire.tcp import ACK, PSH, RST, SYN
from tests.net.peer import Peer
from tests.net.world import World


@pytest.fixture
def host(world):
    host = world.host("10.0.0.2/24")
    host.listen(7)
    return host


@pytest.fixture
def peer(world, host):
    peer = Peer(world, host)
    peer.connect()
    return peer


def test_reset_with_the_exact_number_resets(host, peer):
    peer.send(RST, seq=1)
    assert host.accepted[0].is_closed
    peer.quiet()


@pytest.mark.parametrize("seq", [2, 1000, 60000])
def test_reset_in_the_window_is_challenged(host, peer, seq):
    peer.send(RST, seq=seq)
    assert not host.accepted[0].is_closed
    peer.expect("A", seq=1, ack=1)
    assert host.tcp.counters["TCPChallengeACK"] == 1


@pytest.mark.parametrize("seq", [0, -1, -70000, 1 << 30, 1 << 31])
def test_reset_outside_of_the_window_is_ignored(host, peer, seq):
    peer.send(RST, seq=seq)
    assert not host.accepted[0].is_closed
    peer.quiet()
    assert host.tcp.counters["TCPInUnacceptable"] == 1


@pytest.mark.parametrize("seq", [1, 2, 60000])
@pytest.mark.parametrize("flags", [SYN, SYN | ACK])
def test_syn_in_the_window_is_challenged(host, peer, flags, seq):
    peer.send(flags, seq=seq)
    assert not host.accepted[0].is_closed
    peer.expect("A", seq=1, ack=1)


@pytest.mark.parametrize("seq", [0, -5000, 1 << 30])
def test_syn_outside_of_the_window_is_answered_with_an_ack(host, peer, seq):
    peer.send(SYN, seq=seq)
    assert not host.accepted[0].is_closed
    peer.expect("A", seq=1, ack=1)


def test_syn_of_a_peer_that_lost_the_connection_leads_to_a_new_one(world, host, peer):
    """The peer restarted: its RST to the challenge ends the old connection, its next SYN opens a new one."""
    peer.send(SYN, seq=500_000)
    challenge = peer.expect("A")
    peer.send(RST, seq=challenge.ack)
    assert host.accepted[0].is_closed
    peer.send(SYN, seq=500_000)
    peer.expect("SA", ack=500_001)


@pytest.mark.parametrize("ack", [2, 100_000, 1 << 31])
def test_ack_of_what_was_not_sent_is_challenged(host, peer, ack):
    peer.send(PSH | ACK, seq=1, ack=ack, data=b"blind")
    assert not host.accepted[0].received
    peer.expect("A", seq=1, ack=1)
    assert host.tcp.counters["TCPAckOutOfWindow"] == 1


def test_ack_that_is_too_old_is_challenged(world, host, peer):
    peer.send(PSH | ACK, seq=1, ack=1 - (1 << 30), data=b"blind")
    assert not host.accepted[0].received
    peer.expect("A", seq=1, ack=1)


def test_ack_that_is_old_but_not_too_old_brings_its_data(host, peer):
    host.accepted[0].conn.write(b"x" * 100)
    peer.world.settle()
    peer.ack_data(peer.take())
    peer.send(PSH | ACK, ack=1, data=b"reordered")
    assert bytes(host.accepted[0].received) == b"reordered"


def test_challenges_are_limited_in_rate(world, host, peer):
    for _ in range(50):
        peer.send(RST, seq=100)
    assert len(peer.take()) == 1
    assert host.tcp.counters["TCPACKSkippedChallenge"] == 49
    world.now_ms += 600
    peer.send(RST, seq=100)
    assert len(peer.take()) == 1


def test_two_confused_ends_do_not_answer_each_other_for_ever():
    world = World(seed=4)
    a = world.host("10.0.0.1/24")
    b = world.host("10.0.0.2/24")
    b.listen(7)
    flow = a.connect(b, 7)
    world.run(until=lambda: b.accepted)
    flow.conn.rcv_nxt += 100_000  # what no peer can bring about: both find the other's numbers wrong
    flow.conn.rcv_adv += 100_000
    flow.conn.is_fast = b.accepted[0].conn.is_fast = False
    before = a.device.counters["tx_packets"] + b.device.counters["tx_packets"]
    flow.conn.write(b"x")
    world.run(for_ms=10_000)
    assert a.device.counters["tx_packets"] + b.device.counters["tx_packets"] - before < 100
