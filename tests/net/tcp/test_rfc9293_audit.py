# SPDX-License-Identifier: MIT
"""RFC 9293 section by section, where test_rfc9293_states.py does not go: what an audit against the text asked for."""

import pytest

from libos.wire import tcp
from libos.wire.tcp import ACK, FIN, PSH, RST, SYN
from tests.net.peer import Peer
from tests.net.world import pattern


@pytest.fixture
def host(world):
    host = world.host("10.0.0.2/24")
    host.listen(7, reads=False)
    return host


def connected(world, host, options=b""):
    peer = Peer(world, host)
    peer.answer = peer.connect(options=options)
    return peer, host.accepted[-1].conn


def close_our_window(peer, conn):
    while conn.rcv_adv > conn.rcv_nxt:
        peer.send(ACK, data=bytes(min(1400, conn.rcv_adv - conn.rcv_nxt)))
    peer.world.run(for_ms=50)
    assert peer.take()[-1].window == 0


# --- 3.4: sequence numbers ---


@pytest.mark.parametrize("seq", [0, -1, -70_000])
def test_empty_segment_below_the_window_is_answered(world, host, seq):
    peer, _conn = connected(world, host)
    peer.send(ACK, seq=seq)
    peer.expect("A", seq=1, ack=1)


# --- 3.7.1: the maximum segment size ---


@pytest.mark.parametrize(("offer", "mss"), [(None, 536), (0, 536), (1, 48), (1460, 1460), (65535, 1460)])
def test_segment_size_that_the_peer_offers(world, host, offer, mss):
    _peer, conn = connected(world, host, b"" if offer is None else tcp.syn_options(offer))
    assert conn.mss == mss


# --- 3.8.6: windows ---


def test_window_taken_back_to_nothing_is_probed_for_ever(world, host):
    """MUST-34 to MUST-36: with data outstanding the peer shrinks its window to 0, and answers all that it gets."""
    peer, conn = connected(world, host)
    conn.write(pattern(5000))
    world.settle()
    peer.take()
    peer.send(ACK, ack=1, window=0)
    probes = 0
    for _ in range(200):
        world.run(for_ms=5000)
        if peer.take():
            probes += 1
            peer.send(ACK, ack=1, window=0)
    assert conn.error is None
    assert 10 < probes < 60
    peer.window = 10_000
    received = b""
    for _ in range(50):
        peer.send(ACK, ack=1 + len(received))
        world.run(for_ms=5000)
        for segment in peer.take():
            if segment.seq == 1 + len(received):
                received += segment.data
        if len(received) == 5000:
            break
    assert received == pattern(5000)


def test_window_taken_back_and_silence_time_out(world, host):
    peer, conn = connected(world, host)
    conn.write(pattern(5000))
    world.settle()
    peer.send(ACK, ack=1, window=0)
    world.run(for_ms=400_000)
    assert conn.error is not None


def test_nothing_new_is_sent_beyond_a_window_taken_back(world, host):
    peer, conn = connected(world, host)
    conn.write(pattern(30_000))
    world.settle()
    sent = peer.take()[-1]
    edge = sent.seq + len(sent.data)
    peer.send(ACK, ack=1, window=1000)
    world.run(for_ms=3000)
    assert all(segment.seq + len(segment.data) <= edge for segment in peer.take())


def test_silly_window_of_ours_is_never_announced(world, host):
    """3.8.6.2.2: the edge moves by a segment, or by half of the buffer."""
    peer, conn = connected(world, host, tcp.syn_options(1000))
    close_our_window(peer, conn)
    for _ in range(50):
        conn.read(10)
        peer.send(ACK, seq=peer.seq - 1)
        world.run(for_ms=50)
        assert all(segment.window == 0 for segment in peer.take())
    conn.read(2000)
    peer.send(ACK, seq=peer.seq - 1)
    world.run(for_ms=50)
    assert peer.take()[-1].window >= 1000


# --- 3.10.7.4: our window is closed ---


def test_closed_window_acknowledgement_with_data_that_does_not_fit_counts(world, host):
    peer, conn = connected(world, host)
    conn.write(pattern(1000))
    world.settle()
    close_our_window(peer, conn)
    peer.send(PSH | ACK, seq=peer.seq, ack=1001, data=b"x")
    assert conn.snd_una - conn.iss == 1001
    segments = peer.take()
    assert (segments[-1].ack, segments[-1].window) == (peer.seq, 0)
    assert conn.rx_octets == conn.rcv_buf


def test_closed_window_reset_is_believed(world, host):
    peer, conn = connected(world, host)
    close_our_window(peer, conn)
    peer.send(RST, seq=peer.seq)
    assert conn.state_name == "CLOSED"


def test_closed_window_both_ways_opens_again(world):
    """Neither side reads until both are full; nothing may be stuck."""
    a, b = world.host("10.0.0.1/24"), world.host("10.0.0.2/24")
    b.listen(9, reads=False)
    flow = a.connect(b, 9)
    flow.reads = False
    world.run(until=lambda: b.accepted)
    other = b.accepted[0]
    there, back = pattern(1_500_000, 1), pattern(1_500_000, 2)
    flow.send(there)
    other.send(back)
    world.run(for_ms=100_000)
    flow.reads = other.reads = True
    flow.on_readable()
    other.on_readable()
    world.run(until=lambda: len(flow.received) == len(other.received) == 1_500_000)
    assert (bytes(other.received), bytes(flow.received)) == (there, back)


# --- 3.10.7.4: SYN in a synchronized state ---


@pytest.mark.parametrize("seq", [1, 500_000])
def test_syn_without_timestamps_of_a_peer_that_started_again(world, host, seq):
    """RFC 7323 section 3.2 drops what lacks them, RFC 5961 section 4 answers a SYN: or the old connection stays."""
    peer, conn = connected(world, host, tcp.syn_options(1000, 2, True, 1))
    peer.send(SYN, seq=seq)
    challenge = peer.expect("A")
    peer.send(RST, seq=challenge.ack)
    assert conn.state_name == "CLOSED"


# --- 3.10.7.4: FIN ---


def test_fin_beyond_the_window_is_not_remembered(world, host):
    peer, conn = connected(world, host)
    edge = conn.rcv_adv - conn.irs
    peer.send(ACK, data=bytes(1000))
    peer.send(ACK | FIN, seq=edge - 10, data=bytes(500))
    assert conn.fin_seq is None


@pytest.mark.parametrize("extra", [0, 1, 500])
def test_data_behind_a_fin_is_dropped(world, host, extra):
    peer, conn = connected(world, host)
    peer.send(ACK | FIN, seq=11, data=b"")
    peer.send(ACK, seq=1, data=b"0123456789" + b"x" * extra)
    assert conn.read(1000) == b"0123456789"
    assert conn.state_name == "CLOSE-WAIT"


# --- 3.9.1.8: user timeout ---


@pytest.mark.parametrize("timeout_ms", [1000, 5000, 30_000, 100_000])
def test_user_timeout_is_kept_to(world, host, timeout_ms):
    _peer, conn = connected(world, host)
    conn.set_user_timeout(timeout_ms)
    start_ms = world.now_ms
    conn.write(b"nobody answers")
    world.run(until=lambda: conn.state_name == "CLOSED", limit_ms=400_000)
    assert timeout_ms <= world.now_ms - start_ms <= timeout_ms + 400
    assert host.tcp.counters["TCPAbortOnTimeout"] == 1


def test_user_timeout_of_nothing_is_the_default(world, host):
    _peer, conn = connected(world, host)
    conn.set_user_timeout(1000)
    conn.set_user_timeout(0)
    assert conn.user_timeout_ms == host.tcp.user_timeout_ms


# --- linger ---


def test_flushed_is_told_when_the_peer_has_everything(world, host):
    peer, conn = connected(world, host)
    told = []
    conn.on_flushed = lambda: told.append(conn.state_name)
    conn.write(b"last words")
    conn.detach()
    world.settle()
    segment = peer.take()[0]
    peer.send(ACK, ack=1 + len(segment.data))
    assert not told
    peer.send(ACK, ack=2 + len(segment.data))
    assert len(told) == 1
    peer.send(RST)
    assert len(told) == 1


def test_flushed_is_told_when_the_connection_ends_otherwise(world, host):
    peer, conn = connected(world, host)
    told = []
    conn.on_flushed = lambda: told.append(conn.error)
    conn.write(b"last words")
    conn.close()
    world.settle()
    peer.send(RST)
    assert told == [104]


def test_giving_up_resets_and_is_counted(world, host):
    peer, conn = connected(world, host)
    conn.write(b"last words")
    conn.detach()
    world.settle()
    peer.take()
    conn.give_up()
    world.settle()
    peer.expect("RA")
    conn.give_up()
    assert host.tcp.counters["TCPAbortOnLinger"] == 1
    assert host.is_clean()
