# SPDX-License-Identifier: MIT
"""Nothing changes before a segment's ACK has passed (RFC 9293 section 3.10.7.4, fifth; RFC 5961 section 5.2).

And what is answered where there is no connection (section 3.10.7.1 to .3), not yet, or no more.
"""

import pytest

from libos.net.tcp.engine import Way
from libos.wire import tcp
from libos.wire.tcp import ACK, FIN, PSH, RST, SYN
from tests.net.peer import Peer

URG = 0x20
# What must not move when a segment is dropped or challenged.
STATE = (
    *("state", "snd_una", "snd_nxt", "snd_wnd", "snd_wl1", "max_wnd", "rcv_nxt", "rcv_adv", "rx_octets", "ooo"),
    *("ts_recent", "ts_recent_ms", "heard_ms", "keepalives", "stalled_ms", "dup_acks", "sacked_octets"),
    *("fin_seq", "is_fin_received", "error", "persists", "dsack"),
)  # fmt: skip
BAD = {
    "ack of what was not sent": (ACK | PSH, 0, 9999),
    "ack of what was not sent, fin": (ACK | FIN, 0, 9999),
    "ack too old": (ACK | PSH, 0, -(1 << 30)),
    "ack just too old": (ACK | PSH, 0, -(0xFFFF << 7)),
    "no ack": (PSH, 0, None),
    "no ack, fin": (FIN, 0, None),
    "no flags": (0, 0, None),
    "syn": (SYN, 0, None),
    "syn in the window": (SYN, 500, None),
    "syn with ack": (SYN | ACK, 0, 1),
    "syn with fin": (SYN | FIN, 0, None),
    "reset in the window": (RST, 500, None),
    "reset in the window, with ack": (RST | ACK, 500, 1),
    "reset beyond": (RST, 1 << 30, None),
    "beyond the window": (ACK, 1 << 30, 1),
    "beyond the window, fin": (ACK | FIN, 1 << 30, 1),
    "urgent beyond the window": (ACK | URG, 1 << 30, 1),
}


def state_of(conn):
    return {name: list(value) if isinstance(value := getattr(conn, name), list) else value for name in STATE}


@pytest.mark.parametrize("what", BAD)
@pytest.mark.parametrize("data", [b"", b"evil"])
@pytest.mark.parametrize("is_idle", [True, False])
def test_what_is_dropped_or_challenged_changes_nothing(world, ends, what, data, is_idle):
    flags, ahead, ack = BAD[what]
    peer = ends.stamped()
    conn = peer.flow.conn
    peer.send(ACK, data=b"1", options=ends.stamp(peer, 10))
    world.run(for_ms=100)
    if not is_idle:
        conn.write(b"outstanding")
        world.settle()
    peer.take()
    before = state_of(conn)
    options = ends.stamp(peer, 0x40000000)
    world.now_ms += 50
    peer.send(flags, seq=2 + ahead, ack=ack, data=data, options=options)
    assert state_of(conn) == before
    peer.take()
    # And the connection goes on.
    peer.send(ACK, seq=2, data=b"good", options=ends.stamp(peer, 20))
    peer.flow.reads = True
    peer.flow.step()
    assert bytes(peer.flow.received) == b"1good"
    assert ends.count("PAWSEstab") == 0


def test_ack_of_the_largest_window_ago_still_brings_its_data(ends):
    """RFC 5961 section 5.2: SND.UNA - MAX.SND.WND is the last that is believed."""
    peer = ends.connected(window=1000)
    for old, octets in ((-1000, 0), (-999, 3)):
        peer.send(ACK, seq=1, ack=old, data=b"old", window=1000)
        assert peer.flow.conn.rx_octets == octets
    assert ends.count("TCPAckOutOfWindow") == 1


def test_guessed_segments_do_not_keep_a_dead_peer_alive(world, ends):
    """A keepalive is for the peer: who guesses an address and a port does not answer for it."""
    peer = ends.connected()
    conn = peer.flow.conn
    conn.set_keepalive(10_000)
    for _ in range(60):
        world.run(for_ms=5000)
        if conn.error is not None:
            break
        peer.send(ACK, seq=1, ack=5000)
        peer.send(RST, seq=400)
        peer.send(SYN, seq=400)
        peer.send(FIN, seq=1)
    assert conn.error is not None


def test_keepalive_counts_from_what_was_heard_by_header_prediction(world, ends):
    peer = ends.connected()
    conn = peer.flow.conn
    conn.set_keepalive(10_000)
    for _ in range(10):
        world.run(for_ms=9000)
        peer.send(ACK, data=b"x")
        world.run(for_ms=100)
        assert {segment.ack for segment in peer.take()} == {peer.seq}
    hits = ends.count("TCPHPHits")
    assert hits >= 10
    world.run(for_ms=10_050)
    assert [(segment.seq, segment.data) for segment in peer.take()] == [(0, b"")]


# --- RST (RFC 5961 section 3): by its number alone ---


@pytest.mark.parametrize("flags", [RST, RST | ACK, RST | FIN, RST | SYN, RST | PSH | URG])
@pytest.mark.parametrize("data", [b"", b"shutting down"])
@pytest.mark.parametrize("is_closed", [False, True])
def test_reset_with_the_exact_number_and_anything_else(ends, flags, data, is_closed):
    peer = ends.connected()
    if is_closed:
        ends.close_window(peer)
    peer.send(flags, seq=peer.seq, ack=1 if flags & ACK else None, data=data)
    assert peer.flow.conn.state_name == "CLOSED"
    peer.quiet()


@pytest.mark.parametrize(("seq", "flags", "data"), [(0, RST | FIN, b""), (-3, RST, b"reasons"), (0, RST, b"x")])
def test_reset_that_begins_below_the_window_is_ignored(ends, seq, flags, data):
    """Its number is outside, wherever its text may end."""
    peer = ends.connected()
    peer.send(flags, seq=seq, data=data)
    peer.quiet()
    assert peer.flow.conn.state_name == "ESTABLISHED"
    assert ends.count("TCPInUnacceptable") == 1


def test_reset_at_the_edges_of_the_window(world, ends):
    peer = ends.connected()
    conn = peer.flow.conn
    size = conn.rcv_adv - conn.rcv_nxt
    peer.send(RST, seq=1 + size)
    peer.quiet()
    peer.send(RST, seq=size)
    peer.expect("A", ack=1)


def test_closed_window_reset_that_is_not_exact_is_ignored(ends):
    peer = ends.connected()
    ends.close_window(peer)
    for ahead in (-1, 1, 2, 100):
        peer.send(RST, seq=peer.seq + ahead)
    peer.quiet()
    assert peer.flow.conn.state_name == "ESTABLISHED"


def test_closed_window_urgent_pointer_and_ack_count(world, ends):
    peer = ends.connected()
    peer.flow.conn.write(b"x" * 100)
    world.settle()
    ends.close_window(peer)
    peer.send(ACK | URG, seq=peer.seq, ack=101, data=b"!")
    assert peer.flow.conn.snd_una - peer.flow.conn.iss == 101
    peer.expect("A", ack=peer.seq, window=0)


# --- SYN, with more than it should have ---


@pytest.mark.parametrize("flags", [SYN, SYN | FIN, SYN | PSH])
@pytest.mark.parametrize("data", [b"", b"x" * 100])
@pytest.mark.parametrize("seq", [1, 5000, -100, 1 << 30])
def test_syn_of_any_kind_is_challenged_and_not_often(ends, flags, data, seq):
    peer = ends.connected(tcp.syn_options(1460, None, True))
    for _ in range(20):
        peer.send(flags, seq=seq, data=data)
    assert peer.expect("A", seq=1, ack=1).sack == ()
    assert ends.count("TCPACKSkippedChallenge") == 19


# --- LISTEN ---


@pytest.mark.parametrize("flags", [0, FIN, PSH, FIN | PSH, URG, FIN | PSH | URG])
@pytest.mark.parametrize("data", [b"", b"abc"])
def test_listen_drops_what_has_neither_syn_nor_ack_nor_rst(ends, flags, data):
    peer = ends.peer()
    peer.send(flags, seq=5, data=data)
    peer.quiet()
    assert ends.count("TCPInUnacceptable") == 1
    assert ends.count("OutRsts") == 0


@pytest.mark.parametrize("flags", [0, FIN, PSH])
def test_closed_answers_the_same_with_reset(ends, flags):
    peer = ends.peer(to=9)
    peer.send(flags, seq=5, data=b"abc")
    peer.expect("RA", ack=8 + (1 if flags & FIN else 0))


@pytest.mark.parametrize("flags", [SYN, SYN | FIN, SYN | PSH])
def test_listen_text_with_a_syn_is_not_acknowledged(world, ends, flags):
    """It is not kept, so that a flood costs nothing: the peer sends it again behind the handshake."""
    peer = ends.peer()
    peer.send(flags, seq=0, data=b"early")
    assert peer.expect("SA").ack == 1
    peer.send(ACK | PSH, seq=1, data=b"early")
    assert ends.host.accepted[0].conn.rx_octets == 5
    world.run(for_ms=50)
    peer.expect("A", ack=6)


# --- SYN-RECEIVED ---


def half_open(ends, options=b""):
    peer = ends.peer()
    peer.send(SYN, options=options)
    peer.answer = peer.expect("SA")
    peer.seq = 1
    return peer


@pytest.mark.parametrize("seq", [2, 1000, 65_000])
def test_syn_received_reset_in_the_window_is_challenged(ends, seq):
    peer = half_open(ends)
    peer.send(RST, seq=seq)
    peer.expect("A", seq=1, ack=1)
    peer.send(ACK)
    assert ends.host.accepted[0].conn.state_name == "ESTABLISHED"


@pytest.mark.parametrize("seq", [0, -1000, 70_000, 1 << 31])
def test_syn_received_reset_outside_of_the_window_is_ignored(ends, seq):
    peer = half_open(ends)
    peer.send(RST, seq=seq)
    peer.quiet()
    assert ends.count("HalfOpen") == 1


@pytest.mark.parametrize("flags", [ACK, ACK | PSH, FIN | ACK, FIN, 0])
@pytest.mark.parametrize("seq", [-100, 70_000, 1 << 31])
@pytest.mark.parametrize("ack", [1, 500])
def test_syn_received_unacceptable_is_answered_with_an_ack(ends, flags, seq, ack):
    """First the sequence number, then everything else: whatever it acknowledges, it is not answered with RST."""
    peer = half_open(ends)
    for _ in range(5):
        peer.send(flags, seq=seq, ack=ack, data=b"x" if flags & PSH else b"")
    peer.expect("A", seq=1, ack=1)
    assert ends.count("HalfOpen") == 1
    assert ends.count("TCPACKSkippedChallenge") == 4


def test_syn_received_challenge_has_the_timestamps_and_the_scaled_window(ends):
    peer = half_open(ends, tcp.syn_options(1000, 7, True, 55))
    peer.send(RST, seq=1000, options=tcp.timestamps_option(54, 0))
    segment = peer.expect("A", seq=1, ack=1, ts_ecr=55)
    assert segment.window << peer.answer.window_scale <= 0xFFFF


def test_syn_received_old_timestamp_is_challenged_and_does_not_complete(ends):
    peer = half_open(ends, tcp.syn_options(1000, 7, True, 55))
    peer.send(ACK, options=tcp.timestamps_option(54, peer.answer.ts_val))
    peer.expect("A", seq=1, ack=1)
    assert ends.count("HalfOpen") == 1
    assert ends.count("PAWSEstab") == 1


@pytest.mark.parametrize("ack", [0, 2, 9999, -1])
def test_syn_received_wrong_ack_is_reset_with_timestamps(ends, ack):
    peer = half_open(ends, tcp.syn_options(1000, 7, True, 55))
    peer.send(ACK, ack=ack, options=tcp.timestamps_option(56, 0))
    assert peer.expect("R", seq=ack & 0xFFFFFFFF).ts_ecr == 55
    assert ends.count("HalfOpen") == 1


@pytest.mark.parametrize("flags", [PSH, FIN, 0])
def test_syn_received_without_ack_is_dropped(ends, flags):
    peer = half_open(ends)
    peer.send(flags, seq=1)
    peer.quiet()
    assert ends.count("HalfOpen") == 1


def test_accepted_and_aborted_at_once_sends_nothing_more(world, ends):
    ends.host.tcp.unlisten(7)
    ends.host.tcp.listen(7, lambda conn: conn.abort())
    peer = half_open(ends)
    peer.send(ACK | FIN, data=b"x")
    world.run(for_ms=1000)
    peer.expect("RA")
    assert ends.host.is_clean()


# --- SYN-SENT, and SYN-RECEIVED by it ---


@pytest.mark.parametrize("seq", [2, 1000, 65_000])
def test_simultaneous_open_reset_in_the_window_is_challenged(ends, seq):
    peer = ends.calling()
    peer.take()
    peer.send(SYN, seq=0)
    peer.expect("SA")
    peer.send(RST, seq=seq)
    peer.expect("A", seq=1, ack=1)
    peer.send(RST, seq=1)
    assert peer.conn.state_name == "CLOSED"


@pytest.mark.parametrize("fin", [0, FIN])
@pytest.mark.parametrize("is_again", [False, True])
def test_syn_sent_text_with_a_simultaneous_syn_is_kept(world, ends, fin, is_again):
    peer = ends.calling()
    peer.take()
    peer.send(SYN | fin, seq=0, data=b"early")
    peer.expect("SA", ack=1)
    if is_again:
        peer.send(SYN | ACK | fin, seq=0, ack=1, data=b"early")
    else:
        peer.send(ACK, seq=6 + (fin and 1), ack=1)
    world.run(for_ms=50)
    assert peer.take()[-1].ack == 6 + (fin and 1)
    assert peer.conn.read(100) == b"early"
    assert peer.conn.state_name == ("CLOSE-WAIT" if fin else "ESTABLISHED")
    assert peer.conn.is_eof == bool(fin)
    assert not peer.conn.ooo


def test_syn_sent_text_with_a_simultaneous_syn_is_cut_at_the_window(world, ends):
    peer = ends.calling()
    peer.take()
    peer.conn.rcv_buf = 1000
    peer.send(SYN | FIN, seq=0, data=bytes(1200))
    assert peer.conn.fin_seq is None
    peer.send(ACK, seq=1, ack=1)
    assert peer.conn.rx_octets == 1000
    assert peer.take()[-1].window == 0


@pytest.mark.parametrize("fin", [0, FIN])
def test_syn_sent_text_with_syn_and_ack_is_taken(world, ends, fin):
    peer = ends.calling()
    peer.take()
    peer.send(SYN | ACK | fin, seq=0, ack=1, data=b"early")
    assert peer.conn.read(100) == b"early"
    assert peer.take()[-1].ack == 6 + (fin and 1)


@pytest.mark.parametrize("ack", [0, 2, 5000])
def test_simultaneous_open_wrong_ack_is_reset(ends, ack):
    peer = ends.calling()
    peer.take()
    peer.send(SYN, seq=0, options=tcp.syn_options(1000, 7, True, 55))
    peer.expect("SA")
    peer.send(ACK, seq=1, ack=ack, options=tcp.timestamps_option(1 << 30, 0))
    assert peer.expect("R", seq=ack).ts_ecr == 55
    assert peer.conn.state_name == "SYN-RECEIVED"
    assert peer.conn.ts_recent == 55


def test_syn_sent_reset_for_a_wrong_ack_has_no_timestamps_yet(ends):
    peer = ends.calling()
    peer.take()
    peer.send(ACK, seq=0, ack=500)
    assert peer.expect("R", seq=500).ts_val is None


# --- TIME-WAIT ---


def in_time_wait(ends, options=b""):
    peer = ends.connected(options)
    peer.flow.conn.close()
    ends.world.settle()
    peer.ack_data(peer.take(), options=ends.stamp(peer))
    peer.send(FIN | ACK, options=ends.stamp(peer))
    peer.take()
    assert ends.count("TimeWait") == 1
    return peer


@pytest.mark.parametrize(
    ("flags", "seq"), [(ACK, -100), (ACK, 1), (ACK, 100_000), (0, -100), (SYN, -100), (SYN | ACK, 2)]
)
def test_time_wait_answers_the_unacceptable_and_not_often(ends, flags, seq):
    peer = in_time_wait(ends)
    for _ in range(10):
        peer.send(flags, seq=seq)
    peer.expect("A", seq=2, ack=2)
    assert ends.count("TCPACKSkippedChallenge") == 9
    ends.world.run(for_ms=600)
    peer.send(flags, seq=seq)
    peer.expect("A", seq=2, ack=2)


@pytest.mark.parametrize("seq", [2, 3, 60_000])
def test_time_wait_acceptable_acks_are_not_answered(ends, seq):
    peer = in_time_wait(ends)
    peer.send(ACK, seq=seq)
    peer.quiet()


def test_time_wait_old_timestamp_is_answered_and_does_not_wait_again(world, ends):
    peer = in_time_wait(ends, tcp.syn_options(1000, 7, True, 1))
    world.run(for_ms=50_000)
    peer.send(FIN | ACK, seq=1, options=tcp.timestamps_option(0, 0))
    assert peer.expect("A", seq=2, ack=2).ts_ecr == 1
    peer.send(ACK, seq=2, options=tcp.timestamps_option(0, 0))
    peer.expect("A", seq=2, ack=2)
    world.run(for_ms=15_000)
    assert ends.count("TimeWait") == 0


def test_two_in_time_wait_do_not_answer_each_other_for_ever(world):
    a, b = world.host("10.0.0.1/24"), world.host("10.0.0.2/24")
    b.listen(7)
    flow = a.connect(b, 7)
    world.run(until=lambda: b.accepted)
    flow.conn.close()
    b.accepted[0].conn.close()
    world.run(for_ms=100)
    assert a.tcp.counters["TimeWait"] == b.tcp.counters["TimeWait"] == 1
    for host in (b, a):
        ((key, (snd_nxt, rcv_nxt, *others)),) = host.tcp.time_waits.by_key.items()
        host.tcp.time_waits.by_key[key] = (snd_nxt, rcv_nxt + 100_000, *others)
    before = a.device.counters["tx_packets"] + b.device.counters["tx_packets"]
    way = Way(a.ipv4, a.ipv4.parse_address("10.0.0.2"))
    a.tcp.send_segment(way, flow.conn.local_port, 7, snd_nxt, rcv_nxt + 100_000, ACK, 100, b"", world.now_ms)
    world.run(for_ms=30_000)
    assert a.device.counters["tx_packets"] + b.device.counters["tx_packets"] - before < 10


# --- RFC 7323 section 3.2: timestamps on RST ---


@pytest.mark.parametrize("how", ["abort", "data for nobody", "unread data", "time-out"])
def test_reset_of_a_connection_carries_timestamps(world, ends, how):
    peer = ends.stamped()
    conn = peer.flow.conn
    if how == "abort":
        conn.abort()
    elif how == "data for nobody":
        conn.detach()
        peer.send(ACK, data=b"x", options=ends.stamp(peer))
    elif how == "unread data":
        peer.send(ACK, data=b"x", options=ends.stamp(peer))
        conn.detach()
    else:
        conn.set_user_timeout(1000)
        conn.write(b"x")
        world.run(for_ms=5000)
    world.settle()
    segment = peer.take()[-1]
    assert segment.flags & RST
    assert segment.ts_ecr == 1
    assert (segment.ts_val - peer.answer.ts_val) & 0xFFFFFFFF == world.now_ms - 1000 or how == "time-out"


def test_reset_outside_of_a_connection_has_none(ends):
    peer = Peer(ends.world, ends.host, ip=ends.ip, to=9)
    peer.send(ACK, ack=5, options=tcp.timestamps_option(1, 2))
    assert peer.expect("R", seq=5).ts_val is None


def test_reset_of_a_connection_without_has_none(world, ends):
    peer = ends.connected()
    peer.flow.conn.abort()
    world.settle()
    assert peer.expect("RA").ts_val is None
