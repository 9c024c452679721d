# SPDX-License-Identifier: MIT
"""Tail loss probes (RFC 8985 section 7), and what arrives later telling of what is lost (the idea of RACK)."""

from libos.wire import tcp
from libos.wire.tcp import ACK
from tests.net.peer import Peer
from tests.net.tcp.test_loss_recovery import MSS, ack, numbers
from tests.net.world import World, pattern

RTT_MS = 100


def sending(world, segments, sack_on=True, window=None):
    """A connection that has sent so many segments, with a round-trip time of 100 ms."""
    host = world.host("10.0.0.2/24")
    host.listen(7)
    peer = Peer(world, host)
    peer.connect(options=tcp.syn_options(MSS, 4, sack_on), window=window)
    conn = host.accepted[0].conn
    conn.rto.srtt_8 = 0
    for _ in range(30):
        conn.rto.sample(RTT_MS)
    conn.rto.base_ms = 1000
    conn.rto.restart()
    conn.write(pattern(segments * MSS))
    world.settle()
    assert numbers(peer.take()) == list(range(min(segments, 10)))
    return host, peer, conn


def test_probe_repeats_the_last_segment_after_two_round_trips(world):
    host, peer, _conn = sending(world, 5)
    world.run(for_ms=2 * RTT_MS - 1)
    peer.quiet()
    world.run(for_ms=2)
    assert numbers(peer.take()) == [4]
    world.run(for_ms=900)
    peer.quiet()  # one probe, and then the timeout counts from it
    world.run(for_ms=110)
    assert numbers(peer.take()) == [0]
    assert (host.tcp.loss_probes, host.tcp.rto_timeouts) == (1, 1)


def test_probe_is_new_data_where_there_is_some(world):
    _host, peer, conn = sending(world, 12)
    world.run(for_ms=2 * RTT_MS + 1)
    assert numbers(peer.take()) == [10]
    assert conn.cc.cwnd == 10 * MSS


def test_probe_keeps_to_the_window(world):
    _host, peer, conn = sending(world, 12, window=10 * MSS >> 4)
    conn.snd_wnd = 10 * MSS
    world.run(for_ms=2 * RTT_MS + 1)
    assert numbers(peer.take()) == [9]


def test_answer_to_a_probe_shows_the_lost_tail(world):
    """Segments 2, 3 and 4 are lost; without a probe that is a timeout, and with it a fast recovery."""
    host, peer, conn = sending(world, 6)
    ack(peer, 2)
    world.run(for_ms=2 * RTT_MS + 1)
    assert numbers(peer.take()) == [5]
    assert ack(peer, 2, (5, 6)) == [2, 3]
    assert ack(peer, 4, (5, 6)) == [4]
    ack(peer, 6)
    assert (host.tcp.rto_timeouts, host.tcp.fast_recoveries) == (0, 1)
    assert conn.recovery == 0


def test_probe_that_made_good_a_loss_reduces_the_window(world):
    host, peer, conn = sending(world, 5)
    world.run(for_ms=2 * RTT_MS + 1)
    peer.take()
    conn.write(pattern(MSS))
    world.settle()
    assert numbers(peer.take()) == [5]
    ack(peer, 6)
    assert host.tcp.loss_probe_recoveries == 1
    assert conn.cc.cwnd < 10 * MSS


def test_probe_that_was_not_needed_reduces_nothing(world):
    host, peer, conn = sending(world, 5)
    world.run(for_ms=2 * RTT_MS + 1)
    peer.take()
    ack(peer, 5)  # the answer to all, late
    ack(peer, 5, (4, 5))  # and a D-SACK for the probe
    conn.write(pattern(MSS))
    world.settle()
    ack(peer, 6)
    assert host.tcp.loss_probe_recoveries == 0
    assert host.tcp.dsacks == 1
    assert conn.cc.cwnd == 10 * MSS
    assert conn.is_fast


def test_no_probe_for_a_single_segment(world):
    """The peer may be delaying its ACK."""
    host, peer, _conn = sending(world, 1)
    world.run(for_ms=990)
    peer.quiet()
    world.run(for_ms=20)
    assert numbers(peer.take()) == [0]
    assert host.tcp.loss_probes == 0


def test_no_probe_without_sack(world):
    host, peer, _conn = sending(world, 5, sack_on=False)
    world.run(for_ms=1010)
    assert numbers(peer.take()) == [0]
    assert host.tcp.loss_probes == 0


def test_no_probe_in_recovery(world):
    host, peer, _conn = sending(world, 10)
    assert ack(peer, 0, (1, 5)) == [0]
    world.run(for_ms=900)
    peer.quiet()
    assert host.tcp.loss_probes == 0


def test_probe_of_a_lost_fin(world):
    _host, peer, conn = sending(world, 3)
    conn.close()
    world.settle()
    ack(peer, 1)
    world.run(for_ms=2 * RTT_MS + 1)
    assert "F" in peer.take()[-1].names


def test_repetition_that_is_lost_is_repeated_again(world):
    """New data that was sent after it has come: no timeout is needed to know."""
    host, peer, _conn = sending(world, 40)
    assert ack(peer, 0, (1, 4)) == [0]
    sent = []
    for end in range(5, 11):
        sent += ack(peer, 0, (1, end))
    assert sent
    assert min(sent) >= 10
    again = []
    for end in range(11, 15):
        again += ack(peer, 0, (1, end))
    assert 0 in again
    assert host.tcp.lost_retransmits == 1
    assert host.tcp.rto_timeouts == 0


def test_repetition_that_arrives_shows_what_else_is_lost(world):
    """0 is repeated and arrives; what was sent before it and is not there, 5 to 9, is not waited for."""
    host = world.host("10.0.0.2/24")
    host.listen(7)
    peer = Peer(world, host)
    peer.connect(options=tcp.syn_options(MSS + 12, 4, True, 1))
    conn = host.accepted[0].conn
    conn.write(pattern(10 * MSS))
    world.settle()
    first = peer.take()[-1].ts_val
    world.run(for_ms=10)
    block = tcp.sack_option([(peer.irs + 1 + MSS, peer.irs + 1 + 5 * MSS)])
    peer.send(ACK, ack=1, options=tcp.timestamps_option(1, first) + block)
    again = peer.take()
    assert numbers(again) == [0]
    world.run(for_ms=10)
    peer.send(ACK, ack=1 + 5 * MSS, options=tcp.timestamps_option(1, again[0].ts_val))
    assert numbers(peer.take()) == [5, 6, 7, 8, 9]
    assert host.tcp.rto_timeouts == 0


def test_lost_tail_costs_two_round_trips_and_no_timeout():
    world = World(seed=3, delay_ms=20)
    a = world.host("10.0.0.1/24")
    b = world.host("10.0.0.2/24")
    b.echo(7)
    flow = a.connect(b, 7)
    flow.send(pattern(20_000))
    world.run(until=lambda: len(flow.received) == 20_000)
    start_ms = world.now_ms
    dropped = []

    def drop(device, packet):
        if device is a.device and len(packet) > 1000 and len(dropped) < 3 and world.now_ms == start_ms:
            drop.seen += 1
            if drop.seen > 5:
                dropped.append(packet)
                return False
        return None

    drop.seen = 0
    world.filter = drop
    flow.send(pattern(8 * 1448))
    world.run(until=lambda: len(flow.received) == 20_000 + 8 * 1448)
    assert len(dropped) == 3
    assert a.tcp.rto_timeouts == 0
    assert a.tcp.loss_probes == 1
    assert world.now_ms - start_ms < 250
