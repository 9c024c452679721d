# SPDX-License-Identifier: MIT
"""Fast retransmit and recovery: NewReno (RFC 6582), SACK (RFC 2018, 2883, 6675), limited transmit (RFC 3042)."""

from libos.net.tcp.newreno import NewReno
from libos.wire import tcp
from libos.wire.tcp import ACK
from tests.net.peer import Peer
from tests.net.world import pattern

MSS = 1000


def connected(world, sack):
    host = world.host("10.0.0.2/24", tcp={"congestion": NewReno()})
    host.listen(7)
    peer = Peer(world, host)
    peer.connect(options=tcp.syn_options(MSS, 4, sack))
    conn = host.accepted[0].conn
    conn.rto.sample(1000)
    return host, peer, conn


def numbers(segments):
    """Which segments those are: 0 for the first of the connection."""
    return [(s.seq - 1) // MSS for s in segments if s.data]


def sack(*ranges):
    """A SACK option for segments [first, end)."""
    return lambda peer: tcp.sack_option(
        [((peer.irs + 1 + first * MSS) & 0xFFFFFFFF, (peer.irs + 1 + end * MSS) & 0xFFFFFFFF) for first, end in ranges]
    )


def ack(peer, number, *ranges):
    peer.send(ACK, ack=1 + number * MSS, options=sack(*ranges)(peer) if ranges else b"")
    return numbers(peer.take())


def test_initial_window_is_ten_segments(world):
    _, peer, conn = connected(world, False)
    conn.write(pattern(50 * MSS))
    world.settle()
    assert numbers(peer.take()) == list(range(10))


def test_slow_start_doubles_the_window(world):
    _, peer, conn = connected(world, False)
    conn.write(pattern(100 * MSS))
    world.settle()
    peer.take()
    assert len(ack(peer, 5)) == 10
    assert len(ack(peer, 10)) == 10
    assert conn.cc.cwnd == 20 * MSS


def test_congestion_avoidance_adds_a_segment_for_a_window(world):
    _, peer, conn = connected(world, False)
    conn.cc.ssthresh = 5 * MSS
    conn.write(pattern(100 * MSS))
    world.settle()
    peer.take()
    ack(peer, 5)
    assert conn.cc.cwnd == 10 * MSS
    ack(peer, 10)
    assert conn.cc.cwnd == 11 * MSS


def test_an_application_that_does_not_fill_the_window_does_not_grow_it(world):
    _, peer, conn = connected(world, False)
    for number in range(50):
        conn.write(pattern(MSS))
        world.settle()
        ack(peer, number + 1)
    assert conn.cc.cwnd == 10 * MSS


def test_newreno_limited_transmit_fast_retransmit_and_partial_ack(world):
    host, peer, conn = connected(world, False)
    conn.write(pattern(60 * MSS))
    world.settle()
    assert numbers(peer.take()) == list(range(10))
    # 0 and 4 are lost. The first two duplicates let new data out (RFC 3042), the third repeats the first segment.
    assert ack(peer, 0) == [10]
    assert ack(peer, 0) == [11]
    assert ack(peer, 0)[0] == 0
    assert conn.recovery == 1
    assert conn.cc.ssthresh == 6 * MSS
    for _ in range(7):
        ack(peer, 0)
    # A partial acknowledgement repeats the next hole at once.
    assert ack(peer, 4)[0] == 4
    assert conn.recovery == 1
    ack(peer, (conn.snd_nxt - conn.iss) // MSS)
    assert conn.recovery == 0
    assert conn.cc.cwnd <= 7 * MSS
    assert host.tcp.counters["TCPFastRecoveries"] == 1
    assert host.tcp.counters["TCPTimeouts"] == 0


def test_newreno_duplicates_after_recovery_begin_no_second_one(world):
    host, peer, conn = connected(world, False)
    conn.write(pattern(30 * MSS))
    world.settle()
    peer.take()
    for _ in range(3):
        ack(peer, 0)
    ack(peer, 5)
    for _ in range(6):
        ack(peer, 5)
    assert host.tcp.counters["TCPFastRecoveries"] == 1


def test_a_window_update_is_no_duplicate(world):
    _, peer, conn = connected(world, False)
    conn.write(pattern(10 * MSS))
    world.settle()
    peer.take()
    for window in (4000, 4100, 4200, 4300):
        peer.send(ACK, ack=1, window=window)
    assert conn.dup_acks == 0
    assert conn.recovery == 0


def test_sack_repeats_exactly_the_holes(world):
    host, peer, conn = connected(world, True)
    conn.write(pattern(10 * MSS))
    world.settle()
    assert numbers(peer.take()) == list(range(10))
    sent = []
    # 0, 3 and 4 are lost.
    sent += ack(peer, 0, (1, 2))
    sent += ack(peer, 0, (1, 3))
    sent += ack(peer, 0, (5, 6), (1, 3))
    sent += ack(peer, 0, (5, 8), (1, 3))
    sent += ack(peer, 0, (5, 10), (1, 3))
    assert sorted(sent) == [0, 3, 4]
    assert ack(peer, 10) == []
    assert conn.recovery == 0
    assert not conn.sacked
    assert host.tcp.counters["RetransSegs"] == 3


def test_sack_of_more_than_two_segments_counts_as_loss_without_three_duplicates(world):
    _, peer, conn = connected(world, True)
    conn.write(pattern(10 * MSS))
    world.settle()
    peer.take()
    assert ack(peer, 0, (1, 10)) == [0]  # one ACK, as after receive offload


def test_sack_of_what_was_not_sent_is_ignored(world):
    _, peer, conn = connected(world, True)
    conn.write(pattern(5 * MSS))
    world.settle()
    peer.take()
    ack(peer, 0, (3, 9))
    ack(peer, 0, (20, 30))
    ack(peer, 2, (0, 1))
    assert not conn.sacked
    for number in range(500):  # and a flood of single octets stays bounded
        left = (peer.irs + 2 + 2 * MSS + 4 * number) & 0xFFFFFFFF
        peer.send(ACK, ack=1 + 2 * MSS, options=tcp.sack_option([(left, left + 1)]))
    assert len(conn.sacked) <= 128


def test_sack_reneging_is_survived(world):
    _, peer, conn = connected(world, True)
    data = pattern(10 * MSS)
    conn.write(data)
    world.settle()
    peer.take()
    ack(peer, 0, (2, 10))
    seen = set()
    for _ in range(100):  # the peer forgot everything: timeouts must bring all of it again
        world.run(for_ms=2000)
        seen.update(numbers(peer.take()))
    assert 0 in seen
    received = {}
    for _ in range(200):
        world.run(for_ms=3000)
        for segment in peer.take():
            received[segment.seq] = segment.data
        at = 1
        while at in received:
            at += len(received[at])
        peer.send(ACK, ack=at)
        if at == 1 + len(data):
            break
    assert b"".join([received[seq] for seq in sorted(received)]) == data


def test_sack_blocks_report_the_latest_first(world):
    _, peer, _ = connected(world, True)
    peer.send(ACK, seq=1001, data=bytes(500))
    assert blocks(peer) == [(1001, 1501)]
    peer.send(ACK, seq=3001, data=bytes(500))
    assert blocks(peer) == [(3001, 3501), (1001, 1501)]
    peer.send(ACK, seq=1501, data=bytes(500))
    assert blocks(peer) == [(1001, 2001), (3001, 3501)]
    for number in range(5, 10):
        peer.send(ACK, seq=1001 * number, data=bytes(10))
    segments = peer.take()
    assert len(segments[-1].sack) == 4
    assert blocks_of(peer, segments[-1])[0] == (9009, 9019)


def test_sack_blocks_leave_room_for_timestamps(world):
    host = world.host("10.0.0.2/24")
    host.listen(7)
    peer = Peer(world, host)
    answer = peer.connect(options=tcp.syn_options(MSS, 4, True, 1))
    for number in range(1, 7):
        peer.send(ACK, seq=1 + 2000 * number, data=bytes(10), options=peer.ts_options(answer))
    segment = peer.take()[-1]
    assert len(segment.sack) == 3
    assert segment.header_len == 20 + 12 + 28


def test_dsack_reports_a_duplicate(world):
    _, peer, _ = connected(world, True)
    peer.send(ACK, data=bytes(500))
    peer.send(ACK, data=bytes(500))
    peer.take()
    peer.send(ACK, seq=1, data=bytes(500))
    assert blocks(peer) == [(1, 501)]
    peer.send(ACK, seq=2001, data=bytes(500))
    peer.take()
    peer.send(ACK, seq=2001, data=bytes(500))
    assert blocks(peer)[0] == (2001, 2501)


def test_no_sack_blocks_for_a_peer_that_did_not_agree(world):
    _, peer, _ = connected(world, False)
    peer.send(ACK, seq=1001, data=bytes(500))
    assert peer.expect("A").sack == ()


def blocks_of(peer, segment):
    return [((left - peer.iss) & 0xFFFFFFFF, (right - peer.iss) & 0xFFFFFFFF) for left, right in segment.sack]


def blocks(peer):
    return blocks_of(peer, peer.take()[-1])


def test_segments_out_of_order_are_bounded_in_number(world):
    host, peer, conn = connected(world, True)
    for number in range(600):
        peer.send(ACK, seq=2 + 2 * number, data=b"x")
    assert len(conn.ooo) == 256
    assert host.tcp.counters["TCPOFODrop"] > 300


def test_lost_fin_is_repeated(world):
    _, peer, conn = connected(world, True)
    conn.write(pattern(3 * MSS))
    conn.close()
    world.settle()
    segments = peer.take()
    assert "F" in segments[-1].names
    peer.send(ACK, ack=1 + 3 * MSS)
    again = []
    while not again:
        world.run(for_ms=500)
        again = peer.take()
    assert ("F" in again[0].names, again[0].data) == (True, b"")


def test_idle_connection_begins_with_the_initial_window_again(world):
    _, peer, conn = connected(world, False)
    conn.cc.cwnd = 200 * MSS
    world.run(for_ms=100_000)
    conn.write(pattern(100 * MSS))
    world.settle()
    assert numbers(peer.take()) == list(range(10))
