# SPDX-License-Identifier: MIT
"""A FIN is an octet (RFC 9293 sections 3.4, 3.8.6, 3.10.7.4; RFC 5681 section 4.2).

It has a place in windows, in the order of what comes, in SACK blocks, and has to be acknowledged like one.
"""

import pytest

from libos.wire import tcp
from libos.wire.tcp import ACK, FIN, PSH
from tests.net.world import ALL_OFFLOADS, World, pattern

SACK = tcp.syn_options(1460, None, True)


def end_of(segment):
    return segment.seq + len(segment.data) + (1 if segment.flags & FIN else 0)


def blocks(peer, segment):
    return [((left - peer.iss) & 0xFFFFFFFF, (right - peer.iss) & 0xFFFFFFFF) for left, right in segment.sack]


# --- receiving: where a window ends ---


@pytest.mark.parametrize("options", [b"", SACK, tcp.syn_options(1460, 7, True, 1)], ids=["plain", "SACK", "all"])
def test_data_and_fin_that_fill_the_window_exactly(world, ends, options):
    peer = ends.connected(options)
    conn = peer.flow.conn
    first = True
    while True:
        room = conn.rcv_adv - conn.rcv_nxt
        count = min(1400, room)
        is_last = count == room
        peer.send(ACK | (FIN if is_last else 0), data=bytes(count), options=ends.stamp(peer))
        assert first or conn.rcv_nxt <= conn.rcv_adv
        first = False
        if is_last:
            break
    world.run(for_ms=50)
    last = peer.take()[-1]
    assert (last.ack, last.window) == (peer.seq, 0)
    assert conn.state_name == "CLOSE-WAIT"
    peer.flow.reads = True
    peer.flow.on_readable()
    world.run(for_ms=50)
    assert peer.flow.is_eof
    # What the host says from now on still has a window that is right.
    peer.flow.send(b"bye", close=True)
    world.settle()
    assert peer.take()[-1].ack == peer.seq


def test_fin_alone_at_a_closed_window_is_taken(world, ends):
    """It needs no room, and some stacks repeat it until they see it acknowledged."""
    peer = ends.connected()
    ends.close_window(peer)
    peer.send(ACK | FIN)
    segment = peer.expect("A", ack=peer.seq, window=0)
    peer.send(ACK | FIN, seq=peer.seq - 1)
    assert peer.expect("A", ack=segment.ack).window == 0
    assert peer.flow.conn.state_name == "CLOSE-WAIT"


def test_octet_at_a_closed_window_is_not_taken_nor_is_its_fin(world, ends):
    peer = ends.connected()
    ends.close_window(peer)
    peer.send(ACK | FIN, seq=peer.seq, data=b"x")
    peer.expect("A", ack=peer.seq, window=0)
    assert peer.flow.conn.state_name == "ESTABLISHED"
    assert peer.flow.conn.fin_seq is None


@pytest.mark.parametrize("beyond", [1, 2, 1000])
def test_fin_beyond_the_window_is_not_remembered(world, ends, beyond):
    peer = ends.connected()
    conn = peer.flow.conn
    edge = conn.rcv_adv - conn.irs
    peer.send(ACK | FIN, seq=edge + beyond)
    assert conn.fin_seq is None
    peer.take()
    peer.send(ACK | FIN, seq=edge - 10, data=bytes(10 + beyond))
    assert conn.fin_seq is None


def test_fin_right_behind_the_window_waits_for_the_data(world, ends):
    peer = ends.connected()
    conn = peer.flow.conn
    edge = conn.rcv_adv - conn.irs
    peer.send(ACK | FIN, seq=edge - 100, data=bytes(100))
    assert peer.expect("A", ack=1)
    while peer.seq < edge - 100:
        peer.send(ACK, data=bytes(min(1400, edge - 100 - peer.seq)))
    world.run(for_ms=50)
    last = peer.take()[-1]
    assert (last.ack, last.window) == (edge + 1, 0)
    assert conn.state_name == "CLOSE-WAIT"


# --- receiving: out of order ---


@pytest.mark.parametrize("options", [b"", SACK], ids=["plain", "SACK"])
@pytest.mark.parametrize("data", [b"", b"end"])
def test_fin_out_of_order_is_acknowledged_at_once(ends, options, data):
    peer = ends.connected(options)
    peer.send(ACK | FIN, seq=1001, data=data)
    segment = peer.expect("A", ack=1)
    assert blocks(peer, segment) == ([(1001, 1002 + len(data))] if options else [])


def test_fin_out_of_order_again_is_a_duplicate(ends):
    peer = ends.connected(SACK)
    peer.send(ACK | FIN, seq=1001)
    peer.take()
    peer.send(ACK | FIN, seq=1001)
    assert blocks(peer, peer.expect("A", ack=1)) == [(1001, 1002), (1001, 1002)]


def test_every_part_of_a_gap_before_a_fin_is_acknowledged_at_once(ends):
    peer = ends.connected(SACK)
    peer.send(ACK | FIN, seq=301)
    peer.take()
    for seq in (1, 101):
        peer.send(ACK, seq=seq, data=bytes(100))
        assert blocks(peer, peer.expect("A", ack=seq + 100)) == [(301, 302)]
    peer.send(ACK, seq=201, data=bytes(100))
    assert peer.expect("A", ack=302).sack == ()
    assert peer.flow.conn.state_name == "CLOSE-WAIT"


def test_data_and_fin_that_close_a_gap_beside_what_is_queued(ends):
    peer = ends.connected(SACK)
    peer.send(ACK, seq=101, data=bytes(100))
    peer.send(ACK | FIN, seq=1, data=bytes(300))
    assert peer.take()[-1].ack == 302
    assert peer.flow.conn.rx_octets == 300


@pytest.mark.parametrize("fin_at", [51, 101, 151, 200])
def test_fin_before_what_is_queued_ends_the_stream_there(world, ends, fin_at):
    """A peer that contradicts itself: nothing is behind a FIN, and the connection does not hang."""
    peer = ends.connected(SACK)
    conn = peer.flow.conn
    peer.send(ACK, seq=101, data=b"y" * 100)
    peer.send(ACK | FIN, seq=fin_at)
    peer.send(ACK, seq=1, data=b"x" * (fin_at - 1))
    world.run(for_ms=100)
    assert peer.take()[-1].ack == fin_at + 1
    assert (conn.state_name, conn.rx_octets, conn.ooo) == ("CLOSE-WAIT", fin_at - 1, [])


def test_repeated_fin_is_told_as_duplicate(ends):
    """RFC 2883: the FIN is part of what came twice; who sent it again to probe looks for it (RFC 8985 7.4.2)."""
    peer = ends.connected(SACK)
    peer.send(ACK | FIN, data=b"end")
    peer.take()
    peer.send(ACK | FIN, seq=1, data=b"end")
    assert blocks(peer, peer.expect("A", ack=5)) == [(1, 5)]
    peer.send(ACK | FIN, seq=4)
    assert blocks(peer, peer.expect("A", ack=5)) == [(4, 5)]


def test_fin_without_ack_is_nothing(world, ends):
    peer = ends.connected()
    peer.send(FIN, seq=1)
    peer.send(FIN | PSH, seq=1, data=b"x")
    world.run(for_ms=100)
    peer.quiet()
    assert (peer.flow.conn.fin_seq, peer.flow.conn.rx_octets) == (None, 0)


def test_fin_with_the_ack_of_the_handshake(ends):
    peer = ends.peer()
    peer.send(tcp.SYN)
    peer.take()
    peer.send(ACK | FIN)
    peer.expect("A", ack=2)
    assert ends.host.accepted[0].conn.state_name == "CLOSE-WAIT"


def test_fin_out_of_order_in_syn_received(ends):
    peer = ends.peer()
    peer.send(tcp.SYN, options=SACK)
    peer.take()
    peer.send(ACK | FIN, seq=4)
    assert blocks(peer, peer.expect("A", ack=1)) == [(4, 5)]
    peer.send(ACK, seq=1, data=b"abc")
    peer.expect("A", ack=5)
    assert ends.host.accepted[0].conn.state_name == "CLOSE-WAIT"


# --- sending ---


def closed_by_slow_reader(pause_ms, address, extra=0):
    """How late the end is that was sent while the other side did not read."""
    world = World(seed=1, delay_ms=5)
    prefix, bits = ("fd00::", 64) if address == 6 else ("10.0.0.", 24)
    a, b = world.host(f"{prefix}1/{bits}"), world.host(f"{prefix}2/{bits}")
    b.listen(9, reads=False)
    flow = a.connect(b, 9)
    world.run(until=lambda: b.accepted)
    other = b.accepted[0]
    size = other.conn.rcv_buf + extra
    flow.send(pattern(size))
    world.run(for_ms=2000)
    flow.send(b"", close=True)
    world.run(for_ms=pause_ms)
    other.reads = True
    read_ms = world.now_ms
    other.on_readable()
    world.run(until=lambda: other.is_eof, limit_ms=300_000)
    assert bytes(other.received) == pattern(size)
    return world.now_ms - read_ms


@pytest.mark.parametrize("address", [4, 6])
@pytest.mark.parametrize("extra", [0, 1, 5000])
@pytest.mark.parametrize("pause_ms", [0, 1000, 20_000, 200_000])
def test_end_comes_as_soon_as_there_is_room(pause_ms, extra, address):
    assert closed_by_slow_reader(pause_ms, address, extra=extra) < 300


def test_fin_does_not_go_beyond_the_window(world, ends):
    peer = ends.connected(window=1000)
    peer.flow.send(bytes(1000), close=True)
    world.settle()
    segments = peer.take()
    for _ in range(20):
        world.run(for_ms=1000)
        segments += peer.take()
    assert max(map(end_of, segments)) == 1001
    assert any(segment.data for segment in segments)
    # All of it is acknowledged, the window stays closed: the FIN is asked for room like an octet.
    peer.rcv_nxt = 1001
    peer.send(ACK, window=0)
    for _ in range(20):
        world.run(for_ms=1000)
        for segment in peer.take():
            assert end_of(segment) <= 1001
            peer.send(ACK, window=0)
    assert ends.count("TCPWinProbe") > 3
    peer.send(ACK, window=1)
    peer.expect("FPA", seq=1001)


def test_window_of_data_and_fin_exactly(world, ends):
    peer = ends.connected(window=1000)
    peer.flow.send(bytes(999), close=True)
    world.settle()
    assert end_of(peer.take()[-1]) == 1001


@pytest.mark.parametrize("window", [1, 2, 100])
def test_fin_goes_with_a_window_update_that_acknowledges_nothing(world, ends, window):
    peer = ends.connected(window=1000)
    peer.flow.send(bytes(1000), close=True)
    world.settle()
    peer.take()
    peer.send(ACK, window=1000 + window)
    peer.expect("FPA", seq=1001)


def test_silence_at_a_closed_window_ends_a_closing_connection(world, ends):
    peer = ends.connected(window=1000)
    peer.flow.send(bytes(1000), close=True)
    world.settle()
    peer.ack_data(peer.take(), window=0)
    world.run(for_ms=500_000)
    assert peer.flow.conn.error is not None
    assert ends.host.is_clean()


def test_fin_needs_no_room_in_the_congestion_window(world, ends):
    peer = ends.connected()
    conn = peer.flow.conn
    conn.cc.cwnd = 1000
    peer.flow.send(bytes(1000))
    world.settle()
    peer.take()
    peer.flow.send(b"", close=True)
    world.settle()
    peer.expect("FPA", seq=1001)


@pytest.mark.parametrize("end", ["our last octets", "nothing"])
def test_fin_in_the_window_that_is_taken_back_goes_when_it_opens_again(world, ends, end):
    peer = ends.connected(window=5000)
    peer.flow.send(b"x" * 100, close=True)
    world.settle()
    segments = peer.take()
    if end == "nothing":
        peer.rcv_nxt = 101
    peer.send(ACK, window=0)
    for _ in range(60):
        world.run(for_ms=1000)
        if peer.take():
            peer.send(ACK, window=0)
    peer.send(ACK, window=5000)
    world.run(for_ms=5)
    segments = peer.take()
    assert segments
    assert max(map(end_of, segments)) == 102


@pytest.mark.parametrize("state", ["CLOSING", "LAST-ACK"])
def test_fin_that_found_no_room_in_closing_states(world, ends, state):
    peer = ends.connected(window=1000)
    peer.flow.send(bytes(1000), close=state == "CLOSING")
    world.settle()
    segments = peer.take()
    peer.rcv_nxt = 1001
    peer.send(ACK | FIN, window=0)
    if state == "LAST-ACK":
        peer.flow.conn.close()
    world.settle()
    assert peer.flow.conn.state_name == state
    world.run(for_ms=3000)
    segments += peer.take()
    assert max(map(end_of, segments)) == 1001
    peer.send(ACK, window=1)
    assert end_of(peer.take()[-1]) == 1002
    peer.rcv_nxt = 1002
    peer.send(ACK)
    assert peer.flow.conn.state_name == "CLOSED"
    assert ends.count("TimeWait") == (1 if state == "CLOSING" else 0)


@pytest.mark.parametrize("features", [0, ALL_OFFLOADS])
@pytest.mark.parametrize("loss", [0.0, 0.05])
def test_both_close_with_full_windows(features, loss):
    """Neither reads, both close: each FIN waits behind a closed window. When they read, both ends come."""
    world = World(seed=3, delay_ms=3, loss=loss)
    a, b = world.host("10.0.0.1/24", features=features), world.host("10.0.0.2/24", features=features)
    b.listen(9, reads=False)
    flow = a.connect(b, 9)
    flow.reads = False
    world.run(until=lambda: b.accepted)
    other = b.accepted[0]
    there, back = pattern(other.conn.rcv_buf, 1), pattern(flow.conn.rcv_buf, 2)
    flow.send(there, close=True)
    other.send(back, close=True)
    world.run(for_ms=60_000)
    flow.reads = other.reads = True
    flow.on_readable()
    other.on_readable()
    start_ms = world.now_ms
    world.run(until=lambda: flow.is_eof and other.is_eof, limit_ms=200_000)
    assert (bytes(other.received), bytes(flow.received)) == (there, back)
    if not loss:
        assert world.now_ms - start_ms < 300
    world.run(for_ms=200_000)
    assert a.is_clean()
    assert b.is_clean()
