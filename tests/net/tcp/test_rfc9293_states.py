# SPDX-License-Identifier: MIT
"""RFC 9293: the states and their transitions, a section per state, against a scripted peer."""

from errno import EADDRINUSE, ECONNABORTED, ECONNREFUSED, ECONNRESET, EHOSTUNREACH, ETIMEDOUT

import pytest

from libos.wire import tcp
from libos.wire.tcp import ACK, FIN, PSH, RST, SYN, URG
from tests.net.peer import Peer
from tests.net.world import Flow, World


@pytest.fixture
def host(world):
    return world.host("10.0.0.2/24")


@pytest.fixture
def peer(world, host):
    """A peer with an established connection to port 7 of the host, which collects what comes."""
    host.listen(7)
    peer = Peer(world, host)
    peer.connect()
    assert state(host) == "ESTABLISHED"
    return peer


def state(host, index=0):
    return host.accepted[index].conn.state_name


# --- CLOSED and LISTEN ---


@pytest.mark.parametrize("flags", [SYN, ACK, FIN | ACK, SYN | ACK, PSH | ACK, 0])
def test_closed_segment_is_answered_with_reset(world, host, flags):
    peer = Peer(world, host)
    peer.send(flags, seq=5, ack=0 if not flags & ACK else 77, data=b"ab")
    if flags & ACK:
        reset = peer.take()[0]
        assert (reset.names, (reset.seq + (peer.irs or 0)) & 0xFFFFFFFF) == ("R", 77)
    else:
        peer.expect("RA", ack=5 + 2 + (1 if flags & SYN else 0))
    assert host.tcp.counters["OutRsts"] == 1


def test_closed_reset_is_ignored(world, host):
    peer = Peer(world, host)
    peer.send(RST, seq=5)
    peer.send(RST | ACK, seq=5, ack=9)
    peer.quiet()


def test_listen_ack_is_answered_with_reset(world, host):
    host.listen(7)
    peer = Peer(world, host)
    peer.send(ACK, seq=5, ack=9)
    assert peer.take()[0].names == "R"


def test_listen_syn_is_answered(world, host):
    host.listen(7)
    peer = Peer(world, host)
    peer.send(SYN, options=tcp.syn_options(1200, 2, True, 5))
    answer = peer.expect("SA", ack=1, mss=1460, sack_permitted=True, ts_ecr=5)
    assert answer.window_scale is not None
    assert not host.accepted


def test_listen_syn_without_options_is_answered_without(world, host):
    host.listen(7)
    peer = Peer(world, host)
    peer.send(SYN)
    peer.expect("SA", mss=1460, window_scale=None, sack_permitted=False, ts_val=None)


def test_listen_reset_and_fin_are_ignored(world, host):
    host.listen(7)
    peer = Peer(world, host)
    peer.send(RST, seq=0)
    peer.quiet()
    peer.send(FIN, seq=0)
    assert not host.accepted
    assert not host.tcp.half_open


def test_listen_port_taken_or_wrong_is_refused(host):
    host.listen(7)
    with pytest.raises(OSError, match=str(EADDRINUSE)):
        host.listen(7)
    for port in (0, 65536):
        with pytest.raises(ValueError, match="not a TCP port"):
            host.listen(port)


def test_unlisten_drops_half_open_and_keeps_connections(world, host, peer):
    other = Peer(world, host, port=5001, resolve=False)
    other.send(SYN)
    host.tcp.unlisten(7)
    assert not host.tcp.half_open
    peer.take()
    peer.send(PSH | ACK, data=b"still here")
    assert bytes(host.accepted[0].received) == b"still here"
    other.send(SYN, seq=100)
    assert other.take()[-1].names == "RA"


# --- SYN-SENT ---


def connecting(world, host):
    peer = Peer(world, host, to=0)
    flow = host.connect("10.0.0.9", 5000)
    world.settle()
    syn = peer.expect("S")
    peer.to = syn.src_port
    return peer, flow, syn


def test_syn_sent_offers_options(world, host):
    _, flow, syn = connecting(world, host)
    assert (syn.mss, syn.sack_permitted) == (1460, True)
    assert syn.window_scale >= 2
    assert syn.ts_val is not None
    assert flow.conn.state_name == "SYN-SENT"


def test_syn_sent_syn_ack_establishes(world, host):
    peer, flow, _ = connecting(world, host)
    peer.send(SYN | ACK)
    peer.expect("A", seq=1, ack=1)
    assert flow.conn.state_name == "ESTABLISHED"


def test_syn_sent_ack_of_nothing_is_reset(world, host):
    peer, flow, _ = connecting(world, host)
    peer.send(ACK, ack=5)
    peer.expect("R", seq=5)
    peer.send(SYN | ACK, ack=0)
    peer.expect("R", seq=0)
    assert flow.conn.state_name == "SYN-SENT"


def test_syn_sent_reset_refuses(world, host):
    peer, flow, _ = connecting(world, host)
    peer.send(RST | ACK)
    assert flow.error == ECONNREFUSED
    assert flow.is_closed
    assert host.is_clean()
    assert host.tcp.counters["AttemptFails"] == 1


@pytest.mark.parametrize(("flags", "ack"), [(RST, 0), (RST | ACK, 0), (RST | ACK, 2)])
def test_syn_sent_wrong_reset_is_ignored(world, host, flags, ack):
    peer, flow, _ = connecting(world, host)
    peer.send(flags, ack=ack)
    assert flow.conn.state_name == "SYN-SENT"


def test_syn_sent_syn_is_a_simultaneous_open(world, host):
    peer, flow, _ = connecting(world, host)
    peer.send(SYN)
    peer.expect("SA", seq=0, ack=1)
    assert flow.conn.state_name == "SYN-RECEIVED"
    peer.send(ACK)
    assert flow.conn.state_name == "ESTABLISHED"
    peer.send(PSH | ACK, data=b"hello")
    assert bytes(flow.received) == b"hello"


def test_syn_sent_simultaneous_open_of_two_stacks():
    world = World(seed=2, delay_ms=10)
    a = world.host("10.0.0.1/24")
    b = world.host("10.0.0.2/24")
    a.tcp._choose_port = lambda ip, port: (key(b, a, port), 6000)
    b.tcp._choose_port = lambda ip, port: (key(a, b, port), 5000)
    first = a.connect(b, 5000)
    second = b.connect(a, 6000)
    world.run(until=lambda: first.conn.state_name == second.conn.state_name == "ESTABLISHED")
    first.send(b"one", close=True)
    second.send(b"two", close=True)
    world.run(until=lambda: first.is_closed and second.is_closed)
    assert (bytes(first.received), bytes(second.received)) == (b"two", b"one")
    world.run()
    assert a.is_clean()
    assert b.is_clean()


def key(remote, local, port):
    own = 11000 - port
    return (
        remote.ipv4.ip.to_bytes(4, "big")
        + local.ipv4.ip.to_bytes(4, "big")
        + bytes([port >> 8, port & 255, own >> 8, own & 255])
    )


def test_syn_sent_silence_times_out(world, host):
    _, flow, _ = connecting(world, host)
    start_ms = world.now_ms
    world.run(until=lambda: flow.is_closed, limit_ms=300_000)
    assert flow.error == ETIMEDOUT
    assert 120_000 <= world.now_ms - start_ms <= 190_000
    assert host.is_clean()


def test_syn_sent_to_a_neighbour_that_is_not_there_fails_soon(world, host):
    flow = host.connect("10.0.0.77", 5000)
    established = Peer(world, host)
    host.listen(7)
    established.connect()
    start_ms = world.now_ms
    world.run(until=lambda: flow.is_closed)
    assert flow.error == EHOSTUNREACH
    assert world.now_ms - start_ms <= 3100
    assert state(host) == "ESTABLISHED"


def test_syn_sent_close_forgets(world, host):
    _, flow, _ = connecting(world, host)
    flow.conn.close()
    assert flow.is_closed
    assert host.is_clean()


def test_syn_sent_data_with_the_answer_is_kept(world, host):
    peer, flow, _ = connecting(world, host)
    peer.send(SYN | ACK, data=b"early")
    peer.seq = 6
    world.settle()
    assert bytes(flow.received) == b"early"


# --- SYN-RECEIVED ---


def test_syn_received_ack_establishes(world, host):
    host.listen(7)
    peer = Peer(world, host)
    peer.send(SYN)
    peer.expect("SA")
    peer.send(ACK)
    assert state(host) == "ESTABLISHED"
    assert host.tcp.counters["PassiveOpens"] == 1


def test_syn_received_data_with_the_ack_is_delivered(world, host):
    host.listen(7)
    peer = Peer(world, host)
    peer.send(SYN)
    peer.expect("SA")
    peer.send(PSH | ACK | FIN, data=b"all at once")
    assert bytes(host.accepted[0].received) == b"all at once"
    assert state(host) == "CLOSE-WAIT"


def test_syn_received_wrong_ack_is_reset(world, host):
    host.listen(7)
    peer = Peer(world, host)
    peer.send(SYN)
    peer.expect("SA")
    peer.send(ACK, seq=1, ack=2)
    peer.expect("R", seq=2)
    assert host.tcp.half_open


def test_syn_received_syn_again_is_answered_again_but_not_often(world, host):
    host.listen(7)
    peer = Peer(world, host)
    peer.send(SYN)
    peer.expect("SA")
    peer.send(SYN, seq=0)
    peer.quiet()
    world.now_ms += 600
    peer.send(SYN, seq=0)
    peer.expect("SA")


def test_syn_received_reset_returns_to_listen(world, host):
    host.listen(7)
    peer = Peer(world, host)
    peer.send(SYN)
    peer.expect("SA")
    peer.send(RST, seq=50)
    assert host.tcp.half_open
    peer.send(RST, seq=1)
    assert host.is_clean()


def test_syn_received_silence_is_given_up(world, host):
    host.listen(7)
    peer = Peer(world, host)
    peer.send(SYN)
    world.run(limit_ms=200_000)
    assert [s.names for s in peer.take()] == ["SA"] * 6
    assert host.is_clean()


# --- ESTABLISHED ---


def test_established_data_is_delivered_and_acknowledged(world, host, peer):
    peer.send(PSH | ACK, data=b"hello")
    assert bytes(host.accepted[0].received) == b"hello"
    world.run(for_ms=50)
    peer.expect("A", ack=6)


def test_established_urgent_data_is_data(world, host, peer):
    peer.send(PSH | ACK | URG, data=b"urgent")
    assert bytes(host.accepted[0].received) == b"urgent"


def test_established_without_ack_is_dropped(world, host, peer):
    peer.send(PSH, data=b"hello")
    assert not host.accepted[0].received
    peer.quiet()


def test_established_old_and_new_data_overlap(world, host, peer):
    peer.send(ACK, data=b"0123456789")
    peer.send(ACK, seq=6, data=b"56789abc")
    assert bytes(host.accepted[0].received) == b"0123456789abc"


def test_established_data_out_of_order_with_overlaps(world, host, peer):
    text = b"abcdefghijklmnopqrstuvwxyz"
    for start, end in ((20, 26), (10, 15), (12, 22), (5, 6), (4, 11), (9, 21), (3, 8)):
        peer.send(ACK, seq=1 + start, data=text[start:end])
        assert not host.accepted[0].received
    peer.send(ACK, seq=1, data=text[:4])
    assert bytes(host.accepted[0].received) == text


def test_established_data_beyond_the_window_is_cut(world, host, peer):
    flow = host.accepted[0]
    edge = flow.conn.rcv_adv - flow.conn.irs
    flow.reads = False
    at = 1
    while at < edge - 1000:
        peer.send(ACK, seq=at, data=bytes(1000))
        at += 1000
    peer.take()
    peer.send(ACK, seq=at, data=b"x" * 1400)
    assert flow.conn.rx_octets == edge - 1
    world.run(for_ms=100)
    assert peer.take()[-1].window == 0


def test_established_reset_ends_it(world, host, peer):
    peer.send(ACK, data=b"last words")
    peer.send(RST)
    flow = host.accepted[0]
    assert bytes(flow.received) == b"last words"
    assert flow.error == ECONNRESET
    assert flow.is_closed
    assert host.is_clean()
    assert host.tcp.counters["EstabResets"] == 1
    with pytest.raises(OSError, match=r"10[34]"):
        flow.conn.write(b"x")


def test_established_abort_sends_reset(world, host, peer):
    flow = host.accepted[0]
    flow.conn.abort()
    world.settle()
    peer.expect("RA", seq=1, ack=1)
    assert flow.error == ECONNABORTED
    assert host.is_clean()


def test_established_detach_with_unread_data_sends_reset(world, host, peer):
    flow = host.accepted[0]
    flow.reads = False
    peer.send(ACK, data=b"never read")
    flow.conn.detach()
    world.settle()
    assert peer.take()[-1].names == "RA"
    assert host.is_clean()


# --- closing: FIN-WAIT-1, FIN-WAIT-2, CLOSING, TIME-WAIT ---


def test_fin_wait_1_then_2_then_time_wait(world, host, peer):
    flow = host.accepted[0]
    flow.conn.close()
    world.settle()
    fin = peer.take()[-1]
    assert "F" in fin.names
    assert state(host) == "FIN-WAIT-1"
    peer.rcv_nxt = 2
    peer.send(ACK)
    assert state(host) == "FIN-WAIT-2"
    peer.send(PSH | ACK, data=b"half-closed")
    assert bytes(flow.received) == b"half-closed"
    peer.send(FIN | ACK)
    assert peer.take()[-1].ack == 13
    assert flow.is_closed
    assert flow.is_eof
    assert flow.error is None
    assert len(host.tcp.time_waits.by_key) == 1
    world.run(for_ms=60_100)
    assert not host.tcp.time_waits.by_key
    assert host.is_clean()


def test_fin_wait_1_fin_without_ack_is_closing(world, host, peer):
    host.accepted[0].conn.close()
    world.settle()
    peer.take()
    peer.send(FIN | ACK)
    assert state(host) == "CLOSING"
    peer.expect("A", seq=2, ack=2)
    peer.rcv_nxt = 2
    peer.send(ACK)
    assert host.accepted[0].is_closed
    assert len(host.tcp.time_waits.by_key) == 1


def test_fin_wait_1_fin_with_ack_is_time_wait(world, host, peer):
    host.accepted[0].conn.close()
    world.settle()
    peer.take()
    peer.rcv_nxt = 2
    peer.send(FIN | ACK)
    peer.expect("A", seq=2, ack=2)
    assert len(host.tcp.time_waits.by_key) == 1


def test_fin_wait_1_fin_is_repeated(world, host, peer):
    host.accepted[0].conn.close()
    world.settle()
    assert "F" in peer.take()[0].names
    world.run(for_ms=1500)
    assert all("F" in s.names for s in peer.take())


def test_fin_wait_2_of_a_detached_application_ends(world, host, peer):
    host.accepted[0].conn.detach()
    world.settle()
    peer.take()
    peer.rcv_nxt = 2
    peer.send(ACK)
    assert state(host) == "FIN-WAIT-2"
    world.run(for_ms=61_000)
    assert host.is_clean()


def test_fin_wait_2_data_for_a_detached_application_is_reset(world, host, peer):
    host.accepted[0].conn.detach()
    world.settle()
    peer.take()
    peer.rcv_nxt = 2
    peer.send(ACK)
    peer.send(ACK, data=b"into the void")
    assert peer.take()[-1].names == "RA"
    assert host.is_clean()
    assert host.tcp.counters["TCPAbortOnData"] == 1


def test_fin_wait_2_half_closed_lasts(world, host, peer):
    host.accepted[0].conn.close()
    world.settle()
    peer.rcv_nxt = 2
    peer.send(ACK)
    world.run(for_ms=600_000)
    assert state(host) == "FIN-WAIT-2"


def test_simultaneous_close_of_two_stacks():
    world = World(seed=3, delay_ms=10)
    a = world.host("10.0.0.1/24")
    b = world.host("10.0.0.2/24")
    b.listen(7)
    flow = a.connect(b, 7)
    world.run(until=lambda: b.accepted)
    flow.conn.close()
    b.accepted[0].conn.close()
    world.run(until=lambda: flow.is_closed and b.accepted[0].is_closed)
    assert len(a.tcp.time_waits.by_key) == len(b.tcp.time_waits.by_key) == 1


def test_close_behind_queued_data_sends_the_data_first(world, host, peer):
    flow = host.accepted[0]
    flow.conn.write(bytes(5000))
    flow.conn.close()
    with pytest.raises(OSError, match=r"10[34]"):
        flow.conn.write(b"x")
    received = b""
    for _ in range(5):
        world.settle()
        segments = peer.take()
        received += peer.ack_data(segments)
    assert len(received) == 5000
    assert peer.rcv_nxt == 5002
    assert state(host) == "FIN-WAIT-2"


# --- CLOSE-WAIT and LAST-ACK ---


def test_close_wait_then_last_ack_then_closed(world, host, peer):
    flow = host.accepted[0]
    peer.send(FIN | ACK)
    peer.expect("A", ack=2)
    assert state(host) == "CLOSE-WAIT"
    assert flow.is_eof
    flow.conn.write(b"still talking")
    world.settle()
    assert peer.ack_data(peer.take()) == b"still talking"
    flow.conn.close()
    assert state(host) == "LAST-ACK"
    world.settle()
    peer.ack_data(peer.take())
    assert flow.is_closed
    assert flow.error is None
    assert host.is_clean()
    assert not host.tcp.time_waits.by_key


def test_close_wait_fin_again_is_acknowledged_again(world, host, peer):
    peer.send(FIN | ACK)
    peer.expect("A", ack=2)
    peer.send(FIN | ACK, seq=1)
    peer.expect("A", ack=2)


def test_close_wait_data_beyond_fin_is_ignored(world, host, peer):
    peer.send(FIN | ACK)
    peer.take()
    peer.send(ACK, data=b"too late")
    assert not host.accepted[0].received


def test_fin_out_of_order_waits_for_the_data(world, host, peer):
    flow = host.accepted[0]
    peer.send(FIN | ACK, seq=6, data=b"world")
    assert state(host) == "ESTABLISHED"
    peer.send(ACK, seq=1, data=b"hello")
    assert bytes(flow.received) == b"helloworld"
    assert flow.is_eof
    assert state(host) == "CLOSE-WAIT"
    assert peer.take()[-1].ack == 12


def test_callback_that_aborts_is_survived(world, host):
    def on_accept(conn):
        flow = Flow(host, conn)
        conn.on_readable = conn.abort
        host.accepted.append(flow)

    host.tcp.listen(7, on_accept)
    peer = Peer(world, host)
    peer.connect()
    peer.send(ACK, seq=6, data=b"world")
    peer.send(FIN | ACK, seq=1, data=b"hello")
    assert host.is_clean()
    world.run(for_ms=1000)
    assert host.is_clean()
