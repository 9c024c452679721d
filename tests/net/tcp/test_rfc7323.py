# SPDX-License-Identifier: MIT
"""RFC 7323: window scaling, timestamps, PAWS."""

import pytest

from libos.wire import tcp
from libos.wire.tcp import ACK, FIN, RST, SYN
from tests.net.peer import Peer
from tests.net.world import World, pattern

DAY_MS = 24 * 3600 * 1000


@pytest.fixture
def host(world):
    host = world.host("10.0.0.2/24")
    host.listen(7)
    return host


@pytest.fixture
def peer(world, host):
    peer = Peer(world, host)
    peer.answer = peer.connect(options=tcp.syn_options(1000, 7, True, 1))
    return peer


def stamp(peer, value, echo=0):
    return tcp.timestamps_option(value, echo)


def test_scaling_applies_to_all_but_the_syn(world, host):
    peer = Peer(world, host)
    peer.connect(options=tcp.syn_options(1000, 7), window=1000)
    conn = host.accepted[0].conn
    assert conn.snd_wnd == 1000 << 7  # of the ACK
    peer.send(ACK, data=b"x")
    world.run(for_ms=50)
    assert peer.take()[-1].window << conn.rcv_wscale <= conn.rcv_buf


def test_scaling_is_off_unless_both_offer_it(world, host):
    peer = Peer(world, host)
    peer.connect(options=tcp.syn_options(1000))
    conn = host.accepted[0].conn
    assert (conn.snd_wscale, conn.rcv_wscale) == (0, 0)
    assert conn.rcv_buf <= 0xFFFF


def test_scale_above_14_is_taken_as_14(world, host):
    peer = Peer(world, host)
    peer.connect(options=tcp.syn_options(1000, 200))
    assert host.accepted[0].conn.snd_wscale == 14


def test_timestamps_are_on_every_segment_and_echo_the_peers(world, host, peer):
    host.accepted[0].echoes = True
    peer.send(ACK, data=b"abc", options=stamp(peer, 77))
    segment = peer.expect("PA")
    assert segment.ts_ecr == 77
    assert segment.ts_val == (peer.answer.ts_val + world.now_ms - 1000) & 0xFFFFFFFF


def test_timestamps_echo_the_segment_that_the_ack_is_for(world, host, peer):
    """Section 4.3: with a delayed ACK, the earlier of two; after a gap, the one before the gap."""
    peer.send(ACK, data=b"1", options=stamp(peer, 10))
    peer.send(ACK, data=b"2", options=stamp(peer, 20))
    world.run(for_ms=50)
    assert peer.take()[-1].ts_ecr == 10
    peer.send(ACK, seq=100, data=b"3", options=stamp(peer, 30))
    assert peer.take()[-1].ts_ecr in (10, 20)


def test_timestamps_differ_between_connections(world, host, peer):
    other = Peer(world, host, port=5001, resolve=False)
    assert other.connect(options=tcp.syn_options(1000, 7, True, 1)).ts_val != peer.answer.ts_val


def test_paws_drops_an_old_duplicate(world, host, peer):
    peer.send(ACK, data=b"new", options=stamp(peer, 1000))
    world.run(for_ms=50)
    peer.take()
    peer.send(ACK, data=b"old", options=stamp(peer, 900))
    assert bytes(host.accepted[0].received) == b"new"
    peer.expect("A", ack=4)
    assert host.tcp.counters["PAWSEstab"] == 1


def test_paws_is_over_after_24_days(world, host, peer):
    peer.send(ACK, data=b"new", options=stamp(peer, 1000))
    world.run(for_ms=50)
    world.now_ms += 25 * 24 * 3600 * 1000
    peer.send(ACK, data=b"old", options=stamp(peer, 900))
    assert bytes(host.accepted[0].received) == b"newold"


def at(days, tick_ms=1):
    """What the clock of a peer says that said 10 when the days began."""
    return (10 + int(days * DAY_MS) // tick_ms) & 0xFFFFFFFF


DAYS = [1, 2, 5, 10, 20, 23, 24, 24.5, 24.8, 24.9, 25, 26, 30, 37, 45, 49, 49.7, 49.8, 51, 60, 74, 75, 90, 99, 100, 120]


@pytest.mark.parametrize("days", DAYS)
@pytest.mark.parametrize("who", ["we", "the peer", "the peer, out of order", "both"])
def test_answer_after_days_of_silence(world, ends, days, who):
    """Section 5.5: TS.Recent counts for 24 days from when it was set, whoever says something in between."""
    peer = ends.stamped()
    peer.flow.reads = True
    peer.send(ACK, data=b"1", options=ends.stamp(peer, 10))
    world.run(for_ms=int(days * DAY_MS))
    peer.take()
    now = at(days)
    if who in ("we", "both"):
        peer.flow.send(b"hello")
        world.settle()
        peer.rcv_nxt = 6
    if who == "we":
        peer.send(ACK, options=ends.stamp(peer, now))
    elif who == "the peer, out of order":
        peer.send(ACK, seq=5, data=b"5", options=ends.stamp(peer, now))
        peer.send(ACK, seq=2, data=b"234", options=ends.stamp(peer, now))
    else:
        peer.send(ACK, data=b"2345", options=ends.stamp(peer, now))
    conn = peer.flow.conn
    assert conn.snd_una == conn.snd_nxt
    assert bytes(peer.flow.received) == (b"1" if who == "we" else b"12345")
    assert conn.ts_recent == now
    assert ends.count("PAWSEstab") == 0


@pytest.mark.parametrize("who", ["we", "the peer"])
@pytest.mark.parametrize("every", [1, 12, 24, 24.9, 25, 30, 45, 50])
def test_traffic_one_way_every_so_many_days(world, ends, who, every):
    peer = ends.stamped()
    peer.flow.reads = True
    peer.send(ACK, data=b"1", options=ends.stamp(peer, 10))
    for number in range(1, 6):
        world.run(for_ms=int(every * DAY_MS))
        peer.take()
        options = ends.stamp(peer, at(int(every * DAY_MS) * number / DAY_MS))
        if who == "we":
            peer.flow.send(b"x")
            world.settle()
            peer.ack_data(peer.take(), options=options)
        else:
            peer.send(ACK, data=b"x", options=options)
    assert peer.flow.conn.snd_una == peer.flow.conn.snd_nxt
    assert len(peer.flow.received) == (1 if who == "we" else 6)
    assert ends.count("PAWSEstab") == 0


@pytest.mark.parametrize("tick_ms", [1, 10, 1000])
def test_keepalives_of_the_peer_do_not_make_the_last_one_younger(world, ends, tick_ms):
    """They stand one octet before the window, so they set nothing, and are answered: which is no word of the peer's."""
    peer = ends.stamped()
    peer.flow.reads = True
    peer.send(ACK, data=b"1", options=ends.stamp(peer, 10))
    for half_days in range(1, 60):
        world.run(for_ms=DAY_MS // 2)
        peer.take()
        peer.send(ACK, seq=1, options=ends.stamp(peer, at(half_days / 2, tick_ms)))
        peer.expect("A", ack=2)
    peer.send(ACK, data=b"2", options=ends.stamp(peer, at(30, tick_ms)))
    assert bytes(peer.flow.received) == b"12"


def test_old_timestamp_within_24_days_is_dropped_whatever_we_sent(world, ends):
    peer = ends.stamped()
    peer.flow.reads = True
    peer.send(ACK, data=b"1", options=ends.stamp(peer, 1000))
    for days in range(1, 24):
        world.run(for_ms=DAY_MS)
        peer.send(ACK, seq=2, data=b"old", options=ends.stamp(peer, 999))
        assert ends.count("PAWSEstab") == days
    assert bytes(peer.flow.received) == b"1"
    world.run(for_ms=DAY_MS)
    peer.send(ACK, seq=2, data=b"new", options=ends.stamp(peer, 999))
    assert bytes(peer.flow.received) == b"1new"


def test_two_stacks_after_weeks():
    for days in (24.9, 30, 45, 80):
        world = World(seed=1)
        a, b = world.host("10.0.0.1/24"), world.host("10.0.0.2/24")
        b.listen(7)
        flow = a.connect(b, 7)
        world.run(until=lambda host=b: host.accepted)
        for sender, receiver in ((flow, b.accepted[0]), (b.accepted[0], flow)) * 2:
            before = len(receiver.received)
            sender.send(b"x" * 3000)
            world.run(until=lambda end=receiver, octets=before + 3000: len(end.received) == octets, limit_ms=1000)
            world.run(for_ms=int(days * DAY_MS))
        assert a.tcp.counters["PAWSEstab"] == b.tcp.counters["PAWSEstab"] == 0
        assert a.tcp.counters["RetransSegs"] == b.tcp.counters["RetransSegs"] == 0


def test_paws_compares_modulo_2_32(world, host, peer):
    peer.send(ACK, data=b"1", options=stamp(peer, 0x7FFFFFFF))
    world.run(for_ms=50)
    peer.send(ACK, data=b"2", options=stamp(peer, 0xFFFFFFF0))
    world.run(for_ms=50)
    peer.send(ACK, data=b"3", options=stamp(peer, 5))
    assert bytes(host.accepted[0].received) == b"123"


def test_segment_without_timestamps_is_taken_and_counted(world, host, peer):
    """Section 3.2 says that it should be dropped: then a peer that leaves them out would never be heard again."""
    peer.send(ACK, data=b"none")
    peer.send(ACK | FIN, data=b"too")
    assert bytes(host.accepted[0].received) == b"nonetoo"
    assert host.accepted[0].is_eof
    assert host.tcp.counters["TCPTimestampMissing"] == 2
    assert peer.take()[-1].ts_ecr == 1  # ours go on, and say what the peer said last


def test_handshake_whose_ack_has_no_timestamps_is_completed(world, host):
    peer = Peer(world, host)
    peer.send(SYN, options=tcp.syn_options(1000, 7, True, 1))
    peer.expect("SA")
    peer.send(ACK, data=b"none")
    assert bytes(host.accepted[0].received) == b"none"


def test_segments_without_timestamps_do_not_make_the_last_one_younger(world, host, peer):
    peer.send(ACK, data=b"1", options=stamp(peer, 1000))
    for _ in range(25):
        world.run(for_ms=DAY_MS)
        peer.send(ACK, data=b"2")
    peer.send(ACK, data=b"3", options=stamp(peer, 900))
    assert bytes(host.accepted[0].received) == b"1" + b"2" * 25 + b"3"


def test_reset_needs_no_timestamp(host, peer):
    peer.send(RST)
    assert host.accepted[0].is_closed


def test_segment_out_of_the_window_does_not_poison_the_timestamp(host, peer):
    peer.send(ACK, seq=1 << 30, data=b"blind", options=stamp(peer, 0x70000000))
    assert host.accepted[0].conn.ts_recent < 1000
    peer.send(ACK, data=b"fine", options=stamp(peer, 2))
    assert bytes(host.accepted[0].received) == b"fine"


def test_options_in_another_order_take_the_plain_way(world, host, peer):
    before = host.tcp.counters["TCPHPHits"]
    odd = b"\x08\x0a" + (5).to_bytes(4, "big") + bytes(4) + b"\x01\x01"
    peer.send(ACK, data=b"odd", options=odd)
    assert bytes(host.accepted[0].received) == b"odd"
    assert host.tcp.counters["TCPHPHits"] == before
    peer.send(ACK | FIN, options=stamp(peer, 6))
    assert host.accepted[0].is_eof


def test_mss_leaves_room_for_the_option(world, host, peer):
    host.accepted[0].conn.write(pattern(5000))
    world.settle()
    assert {len(s.data) for s in peer.take()[:-1]} == {1000 - 12}


@pytest.mark.parametrize("timestamps", [True, False])
@pytest.mark.parametrize("days", [25, 49, 50, 60])
def test_half_closed_for_months(days, timestamps):
    """One side has said its last word; the other speaks now and then, and at last closes too."""
    world = World(seed=3)
    tcp = {"timestamps": timestamps}
    a, b = world.host("10.0.0.1/24", tcp=tcp), world.host("10.0.0.2/24", tcp=tcp)
    b.listen(7)
    flow = a.connect(b, 7)
    world.run(until=lambda: b.accepted)
    other = b.accepted[0]
    flow.send(b"question", close=True)
    world.run(until=lambda: other.is_eof)
    for count in range(1, 4):
        world.run(for_ms=days * 86_400_000)
        other.send(bytes(100_000))
        world.run(for_ms=3000)
        assert len(flow.received) == count * 100_000
    world.run(for_ms=days * 86_400_000)
    other.send(b"", close=True)
    world.run(for_ms=3000)
    assert flow.is_eof
    assert flow.conn.state_name == other.conn.state_name == "CLOSED"
    assert flow.error is other.error is None


def test_timestamps_that_stop_after_a_gigabyte_and_come_back(world, ends):
    """As of a load balancer that takes the connection over: the numbers have gone round a quarter since TS.Recent."""
    peer = ends.stamped()
    conn = peer.flow.conn
    peer.flow.reads = True
    peer.send(ACK, data=b"x", options=ends.stamp(peer, 500))
    world.run(for_ms=50)
    for name in ("rcv_nxt", "rcv_adv", "rcv_acked", "update_at"):
        setattr(conn, name, getattr(conn, name) + (1 << 30))
    peer.seq += 1 << 30
    for _ in range(50):
        peer.send(ACK, data=bytes(1000))
        world.run(for_ms=45)
        assert peer.take()[-1].ack == peer.seq
    assert ends.count("TCPTimestampMissing") == 50
    conn.write(b"answer")
    world.settle()
    peer.ack_data(peer.take())
    assert conn.snd_una == conn.snd_nxt
    peer.send(ACK, data=b"x", options=ends.stamp(peer, 5000))
    world.run(for_ms=45)
    assert peer.take()[-1].ts_ecr == 5000
    peer.send(ACK, data=b"x", options=ends.stamp(peer, 4000))
    assert peer.take()[-1].ack == peer.seq - 1
    assert ends.count("PAWSEstab") == 1
