# SPDX-License-Identifier: MIT
"""RFC 7323: window scaling, timestamps, PAWS."""

import pytest

from libos.wire import tcp
from libos.wire.tcp import ACK, FIN, RST
from tests.net.peer import Peer
from tests.net.world import pattern


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


def test_paws_compares_modulo_2_32(world, host, peer):
    peer.send(ACK, data=b"1", options=stamp(peer, 0x7FFFFFFF))
    world.run(for_ms=50)
    peer.send(ACK, data=b"2", options=stamp(peer, 0xFFFFFFF0))
    world.run(for_ms=50)
    peer.send(ACK, data=b"3", options=stamp(peer, 5))
    assert bytes(host.accepted[0].received) == b"123"


def test_segment_without_timestamps_is_dropped(world, host, peer):
    peer.send(ACK, data=b"none")
    assert not host.accepted[0].received
    assert host.tcp.counters["TCPTimestampMissing"] == 1


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
