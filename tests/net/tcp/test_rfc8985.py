# SPDX-License-Identifier: MIT
"""RACK: what was sent earlier than something that has come, and is late, is lost; tail loss probes (RFC 8985)."""

import random

import pytest

from libos.net.tcp import rack
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
    conn.rto.min_ms = RTT_MS
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
    world.run(for_ms=RTT_MS)
    assert ack(peer, 2, (5, 6)) == [2]
    assert ack(peer, 3, (5, 6)) == [3, 4]
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


# --- RACK ---


def overtaken(world, segments=10, **options):
    """A connection that has sent so many segments 100 ms ago."""
    host, peer, conn = sending(world, segments, **options)
    world.run(for_ms=RTT_MS)
    return host, peer, conn


def test_one_segment_overtaken_is_given_a_quarter_of_a_round_trip(world):
    host, peer, conn = overtaken(world)
    assert ack(peer, 0, (1, 2)) == []
    world.run(for_ms=RTT_MS // 4 - 1)
    peer.quiet()
    assert conn.recovery == 0
    world.run(for_ms=1)
    assert numbers(peer.take()) == [0]
    assert (conn.recovery, host.tcp.fast_recoveries) == (1, 1)


def test_segment_that_comes_late_begins_no_recovery(world):
    host, peer, conn = overtaken(world)
    ack(peer, 0, (1, 2))
    world.run(for_ms=RTT_MS // 4 - 1)
    ack(peer, 2)
    world.run(for_ms=RTT_MS)
    peer.quiet()
    assert (host.tcp.fast_recoveries, host.tcp.retrans_segs) == (0, 0)
    assert conn.rack.is_reordering
    assert conn.cc.cwnd == 10 * MSS


def test_three_segments_show_a_loss_at_once_where_nothing_was_ever_reordered(world):
    _host, peer, _conn = overtaken(world)
    assert ack(peer, 0, (1, 4)) == [0]


def test_where_there_is_reordering_three_segments_show_nothing(world):
    _host, peer, conn = overtaken(world, 40)
    ack(peer, 0, (1, 2))
    ack(peer, 2)
    world.run(for_ms=RTT_MS)
    assert conn.snd_nxt > conn.iss + 1 + 10 * MSS  # later ones, of which nothing is known
    assert 2 not in ack(peer, 2, (3, 10))
    world.run(for_ms=RTT_MS // 4)
    assert 2 in numbers(peer.take())


def test_what_was_sent_after_the_segment_that_came_is_not_lost(world):
    _host, peer, conn = overtaken(world, 12)
    ack(peer, 1)  # two more go out, 100 ms later than the others
    assert conn.snd_nxt == conn.iss + 1 + 12 * MSS
    ack(peer, 1, (9, 10))
    world.run(for_ms=RTT_MS // 4)
    assert conn.lost_below == conn.iss + 1 + 10 * MSS
    peer.take()
    ack(peer, 10)
    world.run(for_ms=RTT_MS)
    assert conn.lost_below == conn.iss + 1 + 10 * MSS  # 10 and 11 are waited for
    assert not {10, 11} & set(numbers(peer.take()))


def test_segment_sent_much_earlier_is_lost_at_once(world):
    """The times are what counts: 0 was sent 60 ms before 1, and a quarter of a round trip is 25 ms."""
    host, peer, conn = sending(world, 1)
    world.run(for_ms=60)
    conn.set_no_delay(True)
    conn.write(pattern(MSS))
    world.settle()
    assert numbers(peer.take()) == [1]
    world.run(for_ms=RTT_MS)
    assert ack(peer, 0, (1, 2)) == [0]
    assert host.tcp.fast_recoveries == 1


def test_dsack_makes_it_wait_longer_and_sixteen_recoveries_make_it_forget(world):
    _host, peer, conn = overtaken(world)
    assert ack(peer, 0, (1, 4)) == [0]
    ack(peer, 4)
    ack(peer, 4, (0, 1))
    assert conn.rack.steps == 2
    ack(peer, 4, (0, 1))  # not twice in a round trip
    assert conn.rack.steps == 2
    conn.rack.is_reordering = True
    assert rack.window_ms(conn) == RTT_MS // 2
    for _ in range(500):
        conn.rack.dsack_round = conn.snd_una
        rack.on_dsack(conn)
    assert rack.window_ms(conn) == RTT_MS  # not more than a round trip
    for _ in range(rack.PERSIST):
        assert conn.rack.steps > 1
        rack.on_recovered(conn)
    assert conn.rack.steps == 1


def test_dsack_of_a_probe_is_no_sign_of_reordering(world):
    host, peer, conn = sending(world, 5)
    world.run(for_ms=2 * RTT_MS + 1)
    ack(peer, 5)
    ack(peer, 5, (4, 5))
    assert host.tcp.dsacks == 1
    assert conn.rack is None or conn.rack.steps == 1


def test_repetition_that_is_lost_is_repeated_again(world):
    """New data that was sent after it has come: no timeout is needed to know."""
    host, peer, _conn = overtaken(world, 40)
    assert ack(peer, 0, (1, 4)) == [0]
    sent = []
    for end in range(5, 11):
        world.run(for_ms=2)
        sent += ack(peer, 0, (1, end))
    assert sent
    assert min(sent) >= 10
    world.run(for_ms=RTT_MS)
    again = []
    for end in range(11, 15):
        again += ack(peer, 0, (1, end))
    assert again.count(0) == 1
    assert host.tcp.lost_retransmits == 1
    assert host.tcp.rto_timeouts == 0


def test_repetition_that_is_lost_is_repeated_as_often_as_that_happens(world):
    """Five times, each found out by what was sent after it."""
    host, peer, conn = overtaken(world, 60)
    ack(peer, 0, (1, 4))
    repetitions = 1
    for _ in range(8):
        world.run(for_ms=RTT_MS)
        repetitions += ack(peer, 0, (1, (conn.snd_nxt - conn.iss - 1) // MSS)).count(0)
    assert repetitions >= 5
    assert host.tcp.lost_retransmits == repetitions - 1
    assert host.tcp.rto_timeouts == 0


def test_repetition_in_the_middle_that_is_lost_is_found_out_too(world):
    host, peer, conn = overtaken(world, 40)
    sent = ack(peer, 0, (1, 3), (4, 8))
    world.run(for_ms=1)
    sent += ack(peer, 0, (1, 3), (4, 10))
    world.run(for_ms=RTT_MS)
    assert 0 in sent
    assert 3 in sent
    ack(peer, 3, (4, 10))  # the repetition of 0 has come, that of 3, sent later, has not
    world.run(for_ms=RTT_MS)
    again = ack(peer, 3, (4, (conn.snd_nxt - conn.iss - 1) // MSS))
    assert again.count(3) == 1
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
    assert numbers(peer.take()) == [5, 6, 7, 8]  # as many as have arrived: RFC 9937
    assert conn.lost_below == conn.snd_nxt
    assert host.tcp.rto_timeouts == 0


def test_first_answer_to_what_was_sent_twice_shows_nothing(world):
    """It came sooner than the repetition could have: RFC 8985 section 6.2, step 1."""
    _host, peer, conn = overtaken(world)
    assert ack(peer, 0, (1, 4)) == [0]
    world.run(for_ms=10)
    ack(peer, 4)
    assert conn.rack.end == conn.iss + 1 + 4 * MSS
    assert conn.lost_below < conn.iss + 1 + 5 * MSS


def test_timeout_takes_only_what_is_old_for_lost(world):
    """Section 6.3: what was sent a moment ago may be on its way."""
    host, peer, conn = sending(world, 40)
    world.run(for_ms=990)
    peer.take()
    conn.rtx_deadline = conn.rto_deadline = world.now_ms + 10
    conn.arm(conn.rtx_deadline)
    conn.cc.cwnd = 12 * MSS
    conn.want_output()
    world.settle()
    assert numbers(peer.take()) == [11]  # the probe was 10
    world.run(for_ms=10)
    assert host.tcp.rto_timeouts == 1
    assert numbers(peer.take())[:1] == [0]
    assert conn.lost_below == conn.iss + 1 + 11 * MSS


def test_times_of_sending_are_bounded_and_right():
    """Against a list of everything that was sent, with acknowledgements in between."""

    class Conn:
        log = None
        log_from = 0
        log_ms = -1
        rtt_ms = -1
        snd_una = 0

    chance = random.Random(5)
    conn = Conn()
    sent = []
    for now_ms in range(3000):
        if chance.random() < 0.6:
            rack.note_sent(conn, len(sent), now_ms)
            sent += [now_ms] * chance.randrange(1, 20)
        if chance.random() < 0.1:
            conn.snd_una += chance.randrange((len(sent) - conn.snd_una) // (1 if now_ms % 700 < 100 else 20) + 1)
        assert len(conn.log or ()) <= 2 * rack.LOG_PAIRS
        for seq in range(conn.snd_una, len(sent), 37):
            found = rack.sent_ms(conn, seq)
            assert sent[seq] <= found <= now_ms
            if len(conn.log or ()) < rack.LOG_PAIRS:
                assert found - sent[seq] < 200
    assert conn.snd_una > 1000


def test_nothing_of_it_is_kept_where_nothing_was_lost():
    world = World(seed=1, delay_ms=5)
    a, b = world.host("10.0.0.1/24"), world.host("10.0.0.2/24")
    b.echo(7)
    flow = a.connect(b, 7)
    for number in range(1, 20):
        flow.send(b"x" * 100)
        world.run(until=lambda count=number: len(flow.received) == 100 * count)
    assert flow.conn.rack is None
    assert flow.conn.log is None


def lossy(**options):
    """3 MB from one stack to the other; returns the sender."""
    world = World(**options)
    tcp = {"buffer_bytes": 1 << 20, "memory_bytes": 64 << 20}
    a, b = world.host("10.0.0.1/24", tcp=tcp), world.host("10.0.0.2/24", tcp=tcp)
    b.listen(9)
    data = pattern(3_000_000)
    flow = a.connect(b, 9)
    flow.send(data, close=True)
    bounds = {"resent": 0, "log": 0}

    def is_done():
        state = flow.conn.rack
        bounds["resent"] = max(bounds["resent"], len(state.resent) if state else 0)
        bounds["log"] = max(bounds["log"], len(flow.conn.log or ()))
        return b.accepted and b.accepted[0].is_eof

    world.run(until=is_done)
    assert bytes(b.accepted[0].received) == data
    assert bounds["resent"] <= 128
    assert bounds["log"] <= 2 * rack.LOG_PAIRS
    world.took_ms = world.now_ms - 1000
    return world, a


@pytest.mark.parametrize("seed", range(3))
def test_reordering_of_many_segments_costs_next_to_nothing(seed):
    """Each tenth segment is up to 5 ms late at 100 Mbit/s: overtaken by 40. Three duplicates were 80 recoveries."""
    world, a = lossy(seed=seed, rate=12500.0, delay_ms=10, reorder=0.1, jitter_ms=5, queue_bytes=625_000)
    assert a.tcp.retrans_segs < 60
    assert a.tcp.rto_timeouts == 0
    assert world.took_ms < 500


@pytest.mark.parametrize("seed", range(3))
def test_lost_repetitions_cost_few_timeouts(seed):
    _world, a = lossy(seed=seed, rate=1250.0, delay_ms=10, loss=0.05)
    assert a.tcp.lost_retransmits >= 1
    assert a.tcp.rto_timeouts <= 4


@pytest.mark.parametrize("offloads", [0, 31])
def test_loss_reordering_and_repetition_together(offloads):
    world = World(seed=7, loss=0.02, reorder=0.05, duplicate=0.02, damage=0.01, delay_ms=8, jitter_ms=20)
    a = world.host("10.0.0.1/24", features=offloads)
    b = world.host("10.0.0.2/24", features=offloads)
    b.listen(9)
    flow = a.connect(b, 9)
    flow.send(pattern(1_000_000), close=True)
    world.run(until=lambda: b.accepted and b.accepted[0].is_eof)
    assert bytes(b.accepted[0].received) == pattern(1_000_000)


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
    assert world.now_ms - start_ms < 300


def test_connection_that_ends_while_something_may_be_late(world):
    """Both timers fire in the same millisecond, and the first one gives up."""
    host, peer, conn = overtaken(world)
    ack(peer, 0, (1, 2))
    assert conn.reo_deadline
    conn.rtx_deadline = conn.rto_deadline = conn.reo_deadline
    conn.stalled_ms = 1
    conn.user_timeout_ms = 1
    world.run(for_ms=RTT_MS)
    assert conn.state_name == "CLOSED"
    assert not host.tcp.by_key
