# SPDX-License-Identifier: MIT
"""RFC 6298: the retransmission timer."""

from itertools import pairwise

import pytest

from libos.net.tcp.newreno import NewReno
from libos.net.tcp.rto import MAX_MS, MIN_MS, Rto
from libos.wire.tcp import ACK, syn_options
from tests.net.peer import Peer
from tests.net.world import pattern


def test_first_sample_sets_srtt_and_half_of_it_as_variance():
    rto = Rto()
    assert rto.rto_ms == 1000
    rto.sample(400)
    assert rto.srtt_8 == 3200
    assert rto.rttvar_4 == 800
    assert rto.rto_ms == 400 + 4 * 200


def test_later_samples_are_smoothed():
    rto = Rto()
    rto.sample(400)
    rto.sample(480)
    assert rto.srtt_8 >> 3 == 410  # 7/8 * 400 + 1/8 * 480
    assert rto.rttvar_4 == 4 * 170  # 3/4 * 200 + 1/4 * 80


def test_steady_round_trips_bring_the_timeout_down_to_the_floor():
    rto = Rto()
    for _ in range(100):
        rto.sample(20)
    assert rto.rto_ms == MIN_MS


def test_long_round_trips_are_bounded():
    rto = Rto()
    rto.sample(10_000_000)
    assert rto.rto_ms == MAX_MS


def test_backing_off_doubles_up_to_the_bound():
    rto = Rto()
    seen = []
    for _ in range(8):
        rto.back_off()
        seen.append(rto.rto_ms)
    assert seen == [2000, 4000, 8000, 16000, 32000, 60000, 60000, 60000]
    rto.sample(100)
    assert rto.rto_ms == rto.base_ms == 300


@pytest.fixture
def conn(world):
    host = world.host("10.0.0.2/24", tcp={"congestion": NewReno()})
    host.listen(7)
    world.peer = Peer(world, host)
    world.peer.connect(options=syn_options(1460))
    return host.accepted[0].conn


def retransmissions(world, for_ms):
    """Times of what the host sends, in steps of 10 ms."""
    times = []
    for at in range(0, for_ms, 10):
        world.run(for_ms=10)
        times.extend([at + 10 for _ in world.peer.take()])
    return times


def test_silence_leads_to_retransmissions_that_back_off(world, conn):
    conn.rto.sample(100)
    first = conn.rto.rto_ms
    conn.write(b"x")
    times = retransmissions(world, 20 * first)
    gaps = [after - before for before, after in pairwise(times)]
    assert times[0] == 10
    for gap, factor in zip(gaps, (1, 2, 4, 8), strict=False):
        assert abs(gap - first * factor) <= 20


def test_acknowledgement_of_everything_stops_the_timer(world, conn):
    conn.write(b"x")
    world.settle()
    world.peer.ack_data(world.peer.take())
    assert not conn.rtx_deadline
    assert retransmissions(world, 5000) == []


def test_acknowledgement_of_a_part_restarts_the_timer(world, conn):
    conn.rto.sample(100)
    conn.write(pattern(2920))
    world.settle()
    segments = world.peer.take()
    assert len(segments) == 2
    world.run(for_ms=conn.rto.rto_ms - 20)
    world.peer.ack_data(segments[:1])
    world.run(for_ms=100)
    assert world.peer.take() == []


def test_karn_a_segment_sent_twice_is_no_sample(world, conn):
    conn.rto.sample(50)
    before = conn.rto.srtt_8
    conn.write(b"x")
    world.run(for_ms=5000)
    world.peer.ack_data(world.peer.take()[:1])
    assert conn.rto.srtt_8 == before
    assert conn.rto.rto_ms == conn.rto.base_ms


def test_timeout_sends_one_segment_and_starts_slowly(world, conn):
    conn.write(pattern(14600))
    world.settle()
    assert len(world.peer.take()) == 10
    while not (again := world.peer.take()):
        world.run(for_ms=50)
    assert len(again) == 1
    assert conn.cc.cwnd == conn.mss
    assert conn.cc.ssthresh == 7300
    world.peer.send(ACK, ack=1 + 1460)
    assert len(world.peer.take()) == 2


def test_syn_that_was_lost_makes_the_first_timeout_three_seconds(world):
    host = world.host("10.0.0.3/24")
    world.is_silent = True
    other = world.host("10.0.0.4/24")
    other.listen(7)
    flow = host.connect(other, 7)
    world.run(for_ms=1500)
    world.is_silent = False
    world.run(until=lambda: flow.conn.state_name == "ESTABLISHED")
    if flow.conn.syn_tries:
        assert flow.conn.rto.rto_ms == 3000
        assert flow.conn.cc.cwnd == flow.conn.mss
