# SPDX-License-Identifier: MIT
"""Windows and when to send: silly windows, Nagle, delayed ACK, persist, keepalive (RFC 9293 section 3.8, RFC 1122)."""

from errno import ETIMEDOUT
from itertools import pairwise

import pytest

from libos.wire import tcp
from libos.wire.tcp import ACK, PSH
from tests.net.peer import Peer
from tests.net.world import ALL_OFFLOADS, World, pattern


@pytest.fixture
def host(world):
    host = world.host("10.0.0.2/24")
    host.listen(7)
    return host


@pytest.fixture
def peer(world, host):
    peer = Peer(world, host)
    peer.connect(options=tcp.syn_options(1000))
    return peer


@pytest.fixture
def conn(host, peer):
    return host.accepted[0].conn


# --- acknowledging ---


def test_ack_of_one_segment_is_delayed(world, peer):
    peer.send(PSH | ACK, data=b"x")
    world.run(for_ms=39)
    peer.quiet()
    world.run(for_ms=2)
    peer.expect("A", ack=2)


def test_ack_of_two_full_segments_is_not_delayed(world, peer):
    peer.send(ACK, data=bytes(1000))
    peer.quiet()
    peer.send(ACK, data=bytes(1000))
    peer.expect("A", ack=2001)


def test_ack_rides_on_the_answer(world, host, peer, conn):
    peer.send(PSH | ACK, data=b"ping", settle=False)
    host.accepted[0].echoes = True
    world.settle()
    peer.expect("PA", ack=5, data=b"ping")
    world.run(for_ms=100)
    assert [s.ack for s in peer.take() if not s.data] == []


def test_ack_of_a_gap_is_immediate_and_one_for_each_segment(peer):
    for number in range(1, 5):
        peer.send(ACK, seq=1 + 1000 * number, data=bytes(1000))
        peer.expect("A", ack=1)
    peer.send(ACK, seq=1, data=bytes(1000))
    peer.expect("A", ack=5001)


# --- receiving windows ---


def test_window_closes_and_opens_when_it_is_worth_it(world, host, peer, conn):
    flow = host.accepted[0]
    flow.reads = False
    size = conn.rcv_buf
    sent = 0
    while sent < size:
        count = min(1000, size - sent)
        peer.send(ACK, data=bytes(count))
        sent += count
    world.run(for_ms=50)
    assert peer.take()[-1].window == 0
    conn.read(1000)
    world.run(for_ms=50)
    peer.quiet()  # RFC 9293 section 3.8.6.2.2: not for a little
    conn.read(size // 2)
    world.run(for_ms=50)
    assert peer.take()[-1].window >= size // 2


def test_window_probe_is_answered(world, host, peer, conn):
    host.accepted[0].reads = False
    while conn.rcv_adv > conn.rcv_nxt:
        peer.send(ACK, data=bytes(min(1000, conn.rcv_adv - conn.rcv_nxt)))
    world.run(for_ms=50)
    peer.take()
    peer.send(ACK, seq=peer.seq, data=b"x")
    peer.expect("A", ack=peer.seq, window=0)
    peer.send(ACK, seq=peer.seq - 1, data=b"")
    peer.expect("A", ack=peer.seq, window=0)


def test_window_never_moves_back(world, host, peer, conn):
    edges = []
    host.accepted[0].reads = False
    for number in range(60):
        peer.send(ACK, data=bytes(number * 20 + 1))
        world.run(for_ms=45)
        if number % 7 == 0:
            conn.read(700)
        edges.extend([s.ack + s.window for s in peer.take()])
    assert edges == sorted(edges)


def test_many_tiny_segments_do_not_cost_an_object_each(world, host, peer, conn):
    host.accepted[0].reads = False
    text = pattern(3000)
    for at in range(len(text)):
        peer.send(ACK, data=text[at : at + 1])
        if at == 100:
            assert conn.read(10) == text[:10]
    assert len(conn.rx_chunks) < 130
    assert b"".join(iter(lambda: conn.read(7), b"")) == text[10:]


# --- sending windows ---


def test_zero_window_is_probed_with_backing_off(world, host, peer, conn):
    peer.send(ACK, window=0)
    conn.write(b"waiting")
    times = []
    start_ms = world.now_ms
    for _ in range(400):
        world.run(for_ms=100)
        for segment in peer.take():
            assert not segment.data
            times.append(world.now_ms - start_ms)
            peer.send(ACK, window=0)
    gaps = [after - before for before, after in pairwise(times)]
    assert times[0] <= 300
    assert gaps == sorted(gaps)
    assert gaps[-1] >= 8000
    assert host.tcp.counters["TCPWinProbe"] == len(times)
    peer.send(ACK, window=1000)
    assert peer.expect("PA").data == b"waiting"


@pytest.mark.parametrize("delay_ms", [0, 50, 400, 2000])
@pytest.mark.parametrize("how", ["closed with what it acknowledges", "closed before"])
def test_zero_window_is_probed_first_after_the_retransmission_timeout(delay_ms, how):
    """RFC 9293 SHLD-29."""
    world = World(seed=1)
    host = world.host("10.0.0.2/24")
    host.listen(7)
    peer = Peer(world, host)
    peer.connect(options=tcp.syn_options(1460), window=1000)
    conn = host.accepted[-1].conn
    for _ in range(5):
        conn.rto.sample(delay_ms)
    if how == "closed before":
        peer.send(ACK, window=0)
        conn.write(b"y" * 1500)
        world.settle()
    else:
        conn.write(b"y" * 1500)
        world.settle()
        peer.ack_data(peer.take(), window=0)
    rto_ms = conn.rto.rto_ms
    start_ms = world.now_ms
    assert rto_ms >= min(delay_ms, 1000)
    while not peer.take():
        world.run(for_ms=5)
    assert world.now_ms - start_ms <= rto_ms + 10
    assert world.now_ms - start_ms >= rto_ms


def test_probes_far_apart_do_not_make_the_retransmission_timeout_longer(world, host, peer, conn):
    """What is lost right after the window opened is sent again as soon as ever."""
    peer.send(ACK, window=0)
    conn.write(b"waiting")
    for _ in range(100):
        world.run(for_ms=1000)
        if peer.take():
            peer.send(ACK, window=0)
    peer.send(ACK, window=1000)
    peer.expect("PA")
    world.run(for_ms=400)
    assert [segment.data for segment in peer.take()] == [b"waiting"]


def test_window_that_opens_with_data_does_not_make_the_retransmission_timeout_longer(world, host, peer, conn):
    """The same by header prediction."""
    peer.send(ACK, window=0)
    conn.write(b"waiting")
    for _ in range(100):
        world.run(for_ms=1000)
        if peer.take():
            peer.send(ACK, window=0)
    hits = host.tcp.counters["TCPHPHits"]
    peer.send(ACK, data=b"x", window=1000)
    assert host.tcp.counters["TCPHPHits"] == hits + 1
    peer.expect("PA")
    world.run(for_ms=400)
    assert [segment.data for segment in peer.take()] == [b"waiting"]


def test_zero_window_lasts_for_ever_while_probes_are_answered(world, host, peer, conn):
    peer.send(ACK, window=0)
    conn.write(b"waiting")
    for _ in range(200):
        world.run(for_ms=20_000)
        if peer.take():
            peer.send(ACK, window=0)
    assert conn.error is None
    assert conn.state_name == "ESTABLISHED"


def test_zero_window_and_silence_time_out(world, host, peer, conn):
    peer.send(ACK, window=0)
    conn.write(b"waiting")
    world.run(for_ms=500_000)
    assert conn.error == ETIMEDOUT


def test_small_window_is_not_filled_at_once(world, host, peer, conn):
    peer.send(ACK, window=300)
    conn.write(pattern(5000))
    world.run(for_ms=400)
    peer.quiet()  # much less than the peer could take before: worth waiting for more
    world.run(for_ms=600)
    assert len(peer.take()[0].data) == 300  # but not for ever


def test_window_of_one_octet_carries_everything(world, host, peer, conn):
    data = pattern(40)
    peer.send(ACK, window=1)
    conn.write(data)
    received = b""
    for _ in range(400):
        world.run(for_ms=500)
        segments = peer.take()
        if segments:
            assert all(len(s.data) <= 1 for s in segments)
            received += peer.ack_data(segments, window=1)
        if len(received) == len(data):
            break
    assert received == data


def test_window_that_shrinks_is_survived(world, host, peer, conn):
    data = pattern(60_000)
    conn.write(data)
    received = b""
    for window in (5000, 1000, 300, 0, 2000, 100, 8000) * 60:
        world.run(for_ms=700)
        received += peer.ack_data(peer.take(), window=window)
        if len(received) == len(data):
            break
    assert received == data


def test_window_is_never_exceeded(world, host, peer, conn):
    data = pattern(100_000)
    conn.write(data)
    edge = 1 + 0xFFFF
    received = b""
    while len(received) < len(data):
        world.run(for_ms=60)
        segments = peer.take()
        assert all(s.seq + len(s.data) <= edge for s in segments)
        window = world.random.randrange(500, 20_000)
        received += peer.ack_data(segments, window=window)
        edge = max(edge, peer.rcv_nxt + window)
    assert received == data


def test_largest_window_of_the_peer_is_used_with_scaling(world, host):
    peer = Peer(world, host)
    peer.connect(options=tcp.syn_options(1460, 14))
    conn = host.accepted[-1].conn
    peer.send(ACK, window=0xFFFF)
    assert conn.snd_wnd == 0xFFFF << 14


# --- Nagle ---


def test_nagle_holds_small_segments_until_the_ack(world, peer, conn):
    conn.write(b"a")
    world.settle()
    peer_segment = peer.expect("PA", data=b"a")
    for letter in (b"b", b"c", b"d"):
        conn.write(letter)
        world.settle()
    peer.quiet()
    assert peer.ack_data([peer_segment]) == b"a"
    peer.expect("PA", data=b"bcd")


def test_no_delay_sends_small_segments_at_once(world, peer, conn):
    conn.set_no_delay(True)
    for letter in (b"a", b"b", b"c"):
        conn.write(letter)
        world.settle()
        peer.expect("PA", data=letter)


def test_close_sends_what_nagle_held(world, peer, conn):
    conn.write(b"a")
    world.settle()
    conn.write(b"b")
    world.settle()
    peer.take()
    conn.close()
    world.settle()
    segment = peer.take()[0]
    assert (segment.data, segment.names) == (b"b", "FPA")


# --- keepalive ---


def test_keepalive_is_off_by_default(world, peer, conn):
    world.run(for_ms=10_000_000)
    peer.quiet()
    assert conn.state_name == "ESTABLISHED"


def test_keepalive_asks_and_believes_an_answer(world, host, peer, conn):
    conn.set_keepalive(10_000)
    for _ in range(20):
        world.run(for_ms=10_100)
        probes = peer.take()
        assert [(s.names, s.seq, s.data) for s in probes] == [("A", 0, b"")]
        peer.send(ACK)
    assert conn.error is None


def test_keepalive_gives_up_on_silence(world, host, peer, conn):
    conn.set_keepalive(10_000)
    world.run(for_ms=120_000)
    assert conn.error == ETIMEDOUT
    assert peer.take()[-1].names == "RA"
    assert host.is_clean()


def test_keepalive_probe_of_the_peer_is_answered(world, peer):
    peer.send(ACK, seq=0)
    peer.expect("A", seq=1, ack=1)


# --- backpressure ---


@pytest.mark.parametrize("features", [0, ALL_OFFLOADS], ids=["plain", "offloads"])
def test_peer_that_never_reads_stops_the_sender(features):
    world = World(seed=2)
    a = world.host("10.0.0.1/24", features=features)
    b = world.host("10.0.0.2/24", features=features)
    b.listen(9, reads=False)
    flow = a.connect(b, 9)
    data = pattern(3_000_000)
    flow.send(data)
    world.run(for_ms=100_000)
    conn = b.accepted[0].conn
    assert conn.rx_octets <= conn.rcv_buf
    assert flow.conn.tx_end - flow.conn.snd_una <= flow.conn.snd_buf
    assert not a.device.in_use
    assert not b.device.in_use
    assert flow.conn.tx_end - flow.conn.snd_una > flow.conn.snd_buf // 2
    other = a.connect(b, 9)
    b.accepted[-1].reads = True
    world.run(until=lambda: len(b.accepted) == 2)
    b.accepted[1].reads = True
    other.send(b"a second connection goes on")
    world.run(for_ms=1000)
    assert bytes(b.accepted[1].received) == b"a second connection goes on"
    b.accepted[0].reads = True
    b.accepted[0].on_readable()
    world.run(until=lambda: len(b.accepted[0].received) == len(data))
    assert bytes(b.accepted[0].received) == data


def test_device_that_takes_one_frame_at_a_time_loses_nothing():
    world = World(seed=3)
    device = {"tx_frames": 8, "tx_limit": 1}
    a = world.host("10.0.0.1/24", device=device)
    b = world.host("10.0.0.2/24", device=device)
    b.echo(7)
    flow = a.connect(b, 7)
    data = pattern(300_000)
    flow.send(data, close=False)
    world.run(until=lambda: len(flow.received) == len(data))
    assert bytes(flow.received) == data
    assert flow.conn.tcp.retrans_segs == 0


def test_device_without_free_frames_is_tried_again():
    world = World(seed=4)
    a = world.host("10.0.0.1/24", device={"tx_frames": 2})
    b = world.host("10.0.0.2/24", device={"tx_frames": 2})
    b.echo(7)
    flow = a.connect(b, 7)
    data = pattern(300_000)
    flow.send(data)
    world.run(until=lambda: len(flow.received) == len(data))
    assert bytes(flow.received) == data
    assert a.ethernet.counters["OutNoBuffer"] == 0 or flow.conn.tcp.retrans_segs < 50
