# SPDX-License-Identifier: MIT
"""What SACK reports, and what is made of it: RFC 2018 section 4, RFC 2883 section 4, RFC 6675 section 4."""

import random

import pytest

from libos.wire import tcp
from libos.wire.tcp import ACK
from tests.net.peer import Peer
from tests.net.tcp.test_loss_recovery import MSS, ack, numbers
from tests.net.world import pattern


def receiving(world, timestamps=False):
    """A peer that sends to the host; SACK is agreed."""
    host = world.host("10.0.0.2/24")
    host.listen(7)
    peer = Peer(world, host)
    peer.answer = peer.connect(options=tcp.syn_options(1460, None, True, 1 if timestamps else None))
    peer.conn = host.accepted[0].conn
    return peer


def arrives(peer, left, right):
    """[left, right) arrives; returns the blocks of the answers, one after the other."""
    peer.send(ACK, seq=left, data=bytes(right - left), options=peer.ts_options(peer.answer))
    return [[((a - peer.iss) & 0xFFFFFFFF, (b - peer.iss) & 0xFFFFFFFF) for a, b in s.sack] for s in peer.take()]


def test_latest_blocks_come_first_in_the_order_of_their_reports(world):
    peer = receiving(world)
    for left in (201, 401, 601):
        blocks = arrives(peer, left, left + 100)[-1]
    assert blocks == [(601, 701), (401, 501), (201, 301)]
    # One in the middle grows: it is the latest, the others keep their order.
    assert arrives(peer, 501, 551)[-1] == [(401, 551), (601, 701), (201, 301)]


@pytest.mark.parametrize("timestamps", [False, True])
def test_each_block_is_in_at_least_three_reports(world, timestamps):
    peer = receiving(world, timestamps)
    reports = {}
    for number in range(12):
        left = 101 + 200 * number
        for blocks in arrives(peer, left, left + 100):
            for block in blocks:
                reports[block] = reports.get(block, 0) + 1
    assert [reports[101 + 200 * number, 201 + 200 * number] >= 3 for number in range(10)] == [True] * 10


def test_holes_in_any_order(world):
    """Those that arrived last are reported, wherever they lie."""
    peer = receiving(world)
    order = [1601, 201, 1001, 601, 1401, 401, 1201, 801]
    for number, left in enumerate(order):
        blocks = arrives(peer, left, left + 100)[-1]
        latest = order[max(number - 3, 0) : number + 1][::-1]
        assert [block[0] for block in blocks] == latest


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("timestamps", [False, True])
def test_ten_holes_at_random(world, seed, timestamps):
    """Newest first, each block in as many reports as one has room for; then the holes are filled from behind."""
    peer = receiving(world, timestamps)
    lefts = [101 + 200 * number for number in range(11)]
    random.Random(seed).shuffle(lefts)
    latest = []
    for left in lefts:
        (blocks,) = arrives(peer, left, left + 100)
        latest.insert(0, (left, left + 100))
        assert blocks == latest[: 3 if timestamps else 4]
    for left in range(2001, 200, -200):
        blocks = arrives(peer, left, left + 100)[-1]
        assert blocks[0] == (left - 100, 2201)
        assert len(set(blocks)) == len(blocks)


def test_blocks_that_become_one_are_reported_once(world):
    peer = receiving(world)
    for left in (201, 401, 601):
        arrives(peer, left, left + 100)
    arrives(peer, 301, 401)
    assert arrives(peer, 501, 601)[-1] == [(201, 701)]


# --- RFC 2883 ---


def test_duplicate_of_what_is_queued_in_a_segment_that_is_due(world):
    peer = receiving(world)
    arrives(peer, 101, 201)
    assert arrives(peer, 1, 201) == [[(101, 201)]]
    assert arrives(peer, 201, 301) in ([], [[]])


def test_duplicate_that_goes_over_several_pieces(world):
    """Section 4.2: the whole of a contiguous duplicate, as one block."""
    peer = receiving(world)
    arrives(peer, 101, 201)
    arrives(peer, 201, 301)
    arrives(peer, 501, 601)
    assert arrives(peer, 1, 251) == [[(101, 251), (501, 601)]]


def test_duplicate_within_what_is_out_of_order(world):
    """Section 4: first the duplicate, then the block that it is part of."""
    peer = receiving(world)
    arrives(peer, 201, 401)
    arrives(peer, 601, 701)
    assert arrives(peer, 251, 351) == [[(251, 351), (201, 401), (601, 701)]]


def test_segment_from_a_hole_over_what_is_queued(world):
    peer = receiving(world)
    arrives(peer, 401, 501)
    arrives(peer, 601, 701)
    assert arrives(peer, 301, 801) == [[(401, 501), (301, 801)]]


def test_segment_that_begins_in_what_is_queued(world):
    peer = receiving(world)
    arrives(peer, 201, 301)
    arrives(peer, 301, 401)
    assert arrives(peer, 251, 501) == [[(251, 401), (201, 501)]]


def test_duplicate_is_reported_once(world):
    peer = receiving(world)
    arrives(peer, 201, 301)
    assert arrives(peer, 201, 301) == [[(201, 301), (201, 301)]]
    assert arrives(peer, 401, 501) == [[(401, 501), (201, 301)]]


def test_no_duplicate_is_reported_without_sack(world):
    host = world.host("10.0.0.2/24")
    host.listen(7)
    peer = Peer(world, host)
    peer.connect()
    peer.answer = peer
    peer.ts_val = None
    arrives(peer, 101, 201)
    assert arrives(peer, 1, 201) == [[]]


# --- RFC 6675 ---


def sending(world):
    host = world.host("10.0.0.2/24")
    host.listen(7)
    peer = Peer(world, host)
    peer.connect(options=tcp.syn_options(MSS, None, True), window=60000)
    conn = host.accepted[0].conn
    conn.write(pattern(10 * MSS))
    world.settle()
    assert numbers(peer.take()) == list(range(10))
    return peer, conn


def test_report_of_an_overtaken_acknowledgement_counts(world):
    peer, conn = sending(world)
    ack(peer, 2)
    ack(peer, 1, (5, 7))
    assert conn.sacked_octets == 2 * MSS
    assert conn.snd_una == conn.iss + 1 + 2 * MSS


def test_overtaken_acknowledgement_shows_a_loss(world):
    peer, conn = sending(world)
    ack(peer, 2)
    assert ack(peer, 1, (5, 10)) == [2, 3, 4]
    assert conn.recovery == 1


def test_overtaken_acknowledgement_says_nothing_of_what_is_acknowledged(world):
    peer, conn = sending(world)
    ack(peer, 6)
    ack(peer, 1, (2, 5))
    assert not conn.sacked
    assert conn.dup_acks == 0
    assert conn.is_fast


def test_duplicate_in_an_overtaken_acknowledgement_is_counted(world):
    peer, conn = sending(world)
    ack(peer, 6)
    ack(peer, 4, (0, 1))
    assert conn.tcp.dsacks == 1
    assert not conn.sacked


# --- an acknowledgement that PAWS drops, for it was overtaken (RFC 7323 section 5.3) ---


def stamped(world):
    """The same with timestamps, the peer's last one 1000: it was sent with the acknowledgement of two segments."""
    host = world.host("10.0.0.2/24")
    host.listen(7)
    peer = Peer(world, host)
    peer.answer = peer.connect(options=tcp.syn_options(MSS + 12, None, True, 1), window=60000)
    conn = host.accepted[0].conn
    conn.write(pattern(10 * MSS))
    world.settle()
    assert numbers(peer.take()) == list(range(10))
    late(peer, 1000, ack=2)
    return peer, conn


def late(peer, ts_val, *ranges, ack=1, data=b"", flags=ACK, seq=1):
    """An acknowledgement of the peer with a timestamp and blocks, both in segments; returns what is sent again."""
    blocks = [((peer.irs + 1 + MSS * a) & 0xFFFFFFFF, (peer.irs + 1 + MSS * b) & 0xFFFFFFFF) for a, b in ranges]
    options = tcp.timestamps_option(ts_val, peer.answer.ts_val) + (tcp.sack_option(blocks) if blocks else b"")
    peer.send(flags, seq=seq, ack=1 + MSS * ack, data=data, options=options)
    return numbers([segment for segment in peer.take() if segment.data])


def test_report_with_an_older_timestamp_shows_a_loss(world):
    peer, conn = stamped(world)
    assert late(peer, 995, (5, 10), ack=2) == [2, 3, 4]
    assert conn.ts_recent == 1000
    assert conn.tcp.counters["PAWSEstab"] == 1


def test_duplicate_with_an_older_timestamp_is_counted(world):
    peer, conn = stamped(world)
    late(peer, 995, (0, 1))
    assert conn.tcp.dsacks == 1
    assert conn.snd_una == conn.iss + 1 + 2 * MSS
    assert not conn.sacked


@pytest.mark.parametrize("what", ["too old", "data", "FIN", "another number", "acknowledges", "without SACK"])
def test_what_else_paws_drops_says_nothing(world, what):
    peer, conn = stamped(world)
    before = (conn.snd_una, conn.snd_wnd, conn.rcv_nxt, conn.ts_recent, conn.heard_ms)
    world.run(for_ms=5)
    how = {"data": {"data": b"x"}, "FIN": {"flags": ACK | tcp.FIN}, "another number": {"seq": 2}}
    ts_val = 1000 - 5000 if what == "too old" else 995
    conn.sack_on = what != "without SACK"
    late(peer, ts_val & 0xFFFFFFFF, (5, 10), ack=4 if what == "acknowledges" else 2, **how.get(what, {}))
    assert not conn.sacked
    assert before == (conn.snd_una, conn.snd_wnd, conn.rcv_nxt, conn.ts_recent, conn.heard_ms)
    assert conn.tcp.counters["PAWSEstab"] == 1
