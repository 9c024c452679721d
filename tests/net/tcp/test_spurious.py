# SPDX-License-Identifier: MIT
"""Recoveries by mistake are taken back: Eifel (RFC 3522, RFC 4015) and D-SACK (RFC 3708)."""

import pytest

from libos.wire import tcp
from libos.wire.tcp import ACK
from tests.net.peer import Peer
from tests.net.tcp.test_loss_recovery import MSS, ack, numbers
from tests.net.world import World, pattern


def connected(world, timestamps):
    host = world.host("10.0.0.2/24")
    host.listen(7)
    peer = Peer(world, host)
    peer.connect(options=tcp.syn_options(MSS + 12 * timestamps, 4, True, 1 if timestamps else None))
    conn = host.accepted[0].conn
    conn.write(pattern(40 * MSS))
    world.settle()
    return host, peer, conn


def test_reordering_is_found_out_by_dsack(world):
    host, peer, conn = connected(world, False)
    peer.take()
    assert 0 in ack(peer, 0, (1, 5))
    assert conn.cc.cwnd == 7 * MSS
    assert 5 not in ack(peer, 5)  # nothing shows that it is lost
    ack(peer, 9, (0, 1))
    assert host.tcp.counters["TCPDSACKUndo"] == 1
    assert conn.cc.cwnd >= 10 * MSS
    assert conn.recovery == 0


def test_dsack_for_a_part_of_what_was_repeated_is_not_enough(world):
    host, peer, _conn = connected(world, False)
    peer.take()
    assert ack(peer, 0, (2, 7))[:2] == [0, 1]
    ack(peer, 7, (0, 1))
    assert host.tcp.counters["TCPDSACKRecv"] == 1
    assert host.tcp.counters["TCPDSACKUndo"] == 0


def test_forged_dsacks_gain_nothing(world):
    host, peer, conn = connected(world, False)
    peer.take()
    for number in range(20):
        ack(peer, 5, (number, number + 1))
    assert host.tcp.counters["TCPDSACKUndo"] == 0
    assert conn.cc.cwnd <= 15 * MSS


def stamped(peer, number, ts_ecr, *ranges):
    options = tcp.timestamps_option(1, ts_ecr)
    if ranges:
        options += tcp.sack_option([(peer.irs + 1 + a * MSS, peer.irs + 1 + b * MSS) for a, b in ranges])
    peer.send(ACK, ack=1 + number * MSS, options=options)
    return numbers(peer.take())


@pytest.mark.parametrize("is_spurious", [True, False])
def test_timestamp_tells_which_of_two_was_answered(world, is_spurious):
    host, peer, conn = connected(world, True)
    first = peer.take()[-1].ts_val
    world.run(for_ms=50)
    assert 0 in stamped(peer, 0, first, (1, 5))
    world.run(for_ms=50)
    stamped(peer, 5, first if is_spurious else first + 50)
    assert host.tcp.counters["TCPFullUndo"] == int(is_spurious)
    assert (conn.cc.cwnd >= 10 * MSS) == is_spurious


@pytest.mark.parametrize("is_spurious", [True, False])
def test_timeout_that_was_only_a_delay(world, is_spurious):
    host, peer, conn = connected(world, True)
    first = peer.take()[-1].ts_val
    world.run(until=lambda: host.tcp.rto_timeouts == 1)
    world.settle()
    again = peer.take()[-1]
    assert again.ts_val != first
    stamped(peer, 10, first if is_spurious else again.ts_val)
    assert host.tcp.counters["TCPLossUndo"] == int(is_spurious)
    assert (conn.cc.cwnd >= 10 * MSS) == is_spurious


def test_a_path_that_reorders_keeps_its_window():
    world = World(seed=4, delay_ms=10, reorder=0.02, jitter_ms=8)
    a = world.host("10.0.0.1/24")
    b = world.host("10.0.0.2/24")
    b.listen(9)
    flow = a.connect(b, 9)
    flow.send(pattern(3_000_000), close=True)
    world.run(until=lambda: b.accepted and b.accepted[0].is_eof)
    assert bytes(b.accepted[0].received) == pattern(3_000_000)
    # Of 40 segments that are overtaken hardly any is taken for lost, and what is for it is taken back.
    assert a.tcp.retrans_segs < 20
    assert a.tcp.fast_recoveries - a.tcp.dsack_undos - a.tcp.full_undos < 4
    assert a.tcp.rto_timeouts == 0
