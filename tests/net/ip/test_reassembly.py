# SPDX-License-Identifier: MIT
"""net.ip.reassembly by itself: any order, repetitions, overlaps, and every bound."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from libos.hal import dma
from libos.net.ip import reassembly
from libos.net.ip.reassembly import Reassembled, Reassembly
from libos.net.timers import Timers
from libos.wire import checksum as wire_checksum
from tests.net.world import Memory, pattern

START = 34
MAX_BYTES = 14 + 65535
HEAD = bytes(range(START))
TIMEOUT_MS = 30_000


class Bench:
    """A Reassembly, and frames to give it."""

    def __init__(self):
        self.timers = Timers()
        self.counters = {}
        self.table = Reassembly(self.timers, self.counters, START, MAX_BYTES, TIMEOUT_MS)
        self.pool = dma.FramePool(Memory(), 66_000, 1, 16)
        self.told = []
        self.table.on_timeout = lambda whole, now_ms: self.told.append(bytes(whole.take(0, whole.total())))

    def put(self, offset, data, has_more, key=b"key", now_ms=0, head=HEAD):
        frame = self.pool.alloc()
        frame.put(0, HEAD + data, 0, START + len(data))
        frame.length = START + len(data)
        whole = self.table.input(key, head if offset == 0 else None, offset, has_more, frame, START, len(data), now_ms)
        frame.buf[: 16 + frame.length] = b"\xa5" * (
            16 + frame.length
        )  # the frame goes back: nothing may still refer to it
        frame.release()
        return whole

    def expire(self, now_ms=TIMEOUT_MS):
        self.timers.poll(now_ms, 64)

    def is_clean(self):
        return not len(self.table) and not self.table._cost and not len(self.timers)


@pytest.fixture
def bench():
    return Bench()


def cut(data, sizes):
    """[(offset, octets, has_more)]"""
    parts = []
    at = 0
    for size in sizes:
        if at + size >= len(data):
            break
        parts.append((at, data[at : at + size], True))
        at += size
    parts.append((at, data[at:], False))
    return parts


def payload(whole):
    return whole.take(START, whole.total() - START)


sizes = st.lists(st.integers(6, 40).map(lambda n: 8 * n), min_size=1, max_size=40)


# A busy machine is no failure.
@given(st.binary(min_size=1, max_size=6000), sizes, st.randoms(use_true_random=False))
def test_any_order_with_repetitions_is_intact(data, sizes, rng):
    bench = Bench()
    parts = cut(data, sizes)
    if len(parts) == 1:
        return
    sequence = parts + rng.sample(parts, rng.randrange(len(parts)))
    rng.shuffle(sequence)
    seen = set()
    for part in sequence:
        whole = bench.put(*part)
        seen.add(part[0])
        assert (whole is not None) == (len(seen) == len(parts))
        if whole is not None:
            break
    assert payload(whole) == data
    assert whole.take(0, START) == HEAD
    assert whole.length >= min(START + len(data), START + 128)
    assert bench.is_clean()
    assert bench.counters["ReasmOKs"] == 1
    assert bench.counters["ReasmFails"] == 0


@given(st.binary(min_size=300, max_size=3000), sizes, st.data())
def test_overlap_drops_the_datagram(data, sizes, draw):
    bench = Bench()
    parts = cut(data, sizes)
    if len(parts) < 2:
        return
    missing = parts.pop(draw.draw(st.integers(0, len(parts) - 1)))
    # A fragment that shares octets with one that came, without being that one.
    offset, its_data, _ = draw.draw(st.sampled_from(parts))
    offset += 8 * draw.draw(st.integers(0, (len(its_data) - 1) // 8))
    forged = (offset, b"\xee" * 8 * draw.draw(st.integers(6, 60)), draw.draw(st.booleans()))
    if forged in parts:
        return
    for part in [*parts, forged, missing]:
        assert bench.put(*part) is None
    assert bench.counters["ReasmFails"] == 1
    assert bench.counters["ReasmOKs"] == 0
    bench.expire()
    assert bench.told == []
    assert bench.is_clean()


@given(st.binary(min_size=200, max_size=3000), sizes, st.data())
@settings(max_examples=200)
def test_checksum_and_take_of_any_range(data, sizes, draw):
    parts = [(at, part, wire_checksum.checksum(part, 0, len(part))) for at, part, _ in cut(data, sizes)]
    whole = Reassembled(HEAD, parts)
    octets = HEAD + data
    start = draw.draw(st.integers(0, len(octets)))
    length = draw.draw(st.integers(0, len(octets) - start))
    assert whole.total() == len(octets)
    assert whole.take(start, length) == octets[start : start + length]
    assert whole.checksum(start, length, 77) % 0xFFFF == wire_checksum.checksum(octets, start, length, 77) % 0xFFFF
    for bad in ((-1, 1), (0, len(octets) + 1), (len(octets), 1), (1, -1)):
        with pytest.raises(ValueError, match="out of bounds"):
            whole.take(*bad)
        with pytest.raises(ValueError, match="out of bounds"):
            whole.checksum(*bad, 0)


def test_checksum_of_the_whole_looks_at_no_octet(bench, monkeypatch):
    data = pattern(20_001)
    for part in cut(data, [1480] * 20):
        whole = bench.put(*part)

    def refuse(*_args):
        raise AssertionError("a loop over octets")

    expected = wire_checksum.checksum(data, 0, len(data))
    monkeypatch.setattr(wire_checksum, "checksum", refuse)
    assert whole.checksum(START, len(data), 0) % 0xFFFF == expected % 0xFFFF


def test_largest_datagram(bench):
    data = pattern(65_515)
    for part in cut(data, [552] * 200):
        whole = bench.put(*part)
    assert payload(whole) == data


def test_one_octet_more_than_the_largest_is_refused(bench):
    assert bench.put(65_512, bytes(4), False) is None
    assert bench.counters["ReasmFails"] == 1
    assert bench.is_clean()


def test_options_in_the_first_header_count(bench):
    data = pattern(65_515)
    parts = cut(data, [1480] * 60)
    for number, part in enumerate(parts):
        whole = bench.put(*part, head=bytes(START + 4) if number == 0 else None)
    assert whole is None
    assert bench.counters["ReasmFails"] == 1
    assert bench.is_clean()


@pytest.mark.parametrize(
    ("offset", "length", "has_more"),
    [(0, 0, True), (8, 0, False), (0, 40, True), (0, 8, True), (0, 100, True), (65_528, 100, True)],
)
def test_fragment_that_no_sender_makes_is_refused(bench, offset, length, has_more):
    assert bench.put(offset, bytes(length), has_more) is None
    assert bench.counters["ReasmFails"] == 1
    assert bench.is_clean()


@pytest.mark.parametrize(
    "second", [(0, b"\x01" * 48, True), (0, bytes(56), True), (96, bytes(10), False), (144, bytes(8), False)]
)
def test_contradictions_are_overlaps(bench, second):
    bench.put(0, bytes(48), True)
    bench.put(96, bytes(48), False)
    assert bench.put(*second) is None
    assert bench.counters["ReasmOverlaps"] == 1
    # What was missing comes too late, and so does a repetition of all.
    assert bench.put(48, bytes(48), True) is None
    assert bench.put(0, bytes(48), True) is None
    assert len(bench.table) == 1
    bench.expire()
    assert bench.is_clean()
    assert bench.counters["ReasmFails"] == 1


def test_end_before_what_came_is_refused(bench):
    bench.put(480, bytes(48), True)
    assert bench.put(48, bytes(48), False) is None
    assert bench.counters["ReasmOverlaps"] == 1


def test_time_runs_out(bench):
    bench.put(480, b"z" * 48, True, b"without the first", now_ms=4)
    bench.put(0, b"a" * 48, True, now_ms=5)
    bench.put(48, b"b" * 48, True, now_ms=10)
    bench.put(480, b"z" * 48, True, now_ms=20_000)
    bench.expire(TIMEOUT_MS + 4)
    assert len(bench.table) == 1
    assert bench.told == []
    bench.expire(TIMEOUT_MS + 5)
    assert bench.told == [HEAD + b"a" * 48 + b"b" * 48]
    assert bench.counters["ReasmTimeout"] == bench.counters["ReasmFails"] == 2
    assert bench.is_clean()


def test_flood_of_datagrams_is_bounded_and_a_new_one_gets_through(bench):
    for number in range(10_000):
        bench.put(0, bytes(48), True, number.to_bytes(4, "big"))
    assert len(bench.table) == reassembly.MAX_DATAGRAMS
    assert bench.counters["ReasmFails"] == 10_000 - reassembly.MAX_DATAGRAMS
    bench.put(0, b"x" * 48, True)
    assert payload(bench.put(48, b"y", False)) == b"x" * 48 + b"y"
    bench.expire()
    assert bench.is_clean()


def test_endless_fragments_of_one_datagram_are_bounded(bench):
    for number in range(1364):
        bench.put(48 * number, bytes(48), True)
    assert bench.counters["ReasmFails"] == 1
    assert bench.table._cost == reassembly.FRAGMENT_COST
    bench.expire()
    assert bench.is_clean()


def test_octets_of_all_are_bounded(bench):
    for number in range(60):
        for part in cut(bytes(60_000), [1480] * 60)[:-1]:
            bench.put(*part, key=bytes([number]))
            assert bench.table._cost <= reassembly.MAX_OCTETS
    assert bench.counters["ReasmFails"] >= 55
    data = pattern(60_000)
    for part in cut(data, [1480] * 60):
        whole = bench.put(*part)
    assert payload(whole) == data
    bench.expire()
    assert bench.is_clean()


def test_memory_that_runs_out_leaves_the_table_right(bench, monkeypatch):
    class Full(dma.Frame):
        def take(self, start, length):
            raise MemoryError

    frame = Full(None, 0, memoryview(bytearray(2000)), 0)
    frame.length = 1514
    with pytest.raises(MemoryError):
        bench.table.input(b"key", HEAD, 0, True, frame, START, 1480, 0)
    data = pattern(3000)
    for part in cut(data, [1480] * 3):
        whole = bench.put(*part)
    assert payload(whole) == data
    bench.put(0, bytes(48), True)

    def full(*_args):
        raise MemoryError

    monkeypatch.setattr(reassembly, "Reassembled", full)
    with pytest.raises(MemoryError):
        bench.put(48, bytes(48), False)
    assert bench.counters["ReasmFails"] == 1
    assert bench.is_clean()


def test_timer_that_was_lost_is_set_again(bench):
    bench.put(0, bytes(48), True)
    bench.timers.cancel(bench.table)
    for restore in bench.timers.restorers:
        restore(0)
    bench.expire()
    assert bench.is_clean()


@pytest.mark.parametrize("seed", range(20))
def test_mess_of_fragments_of_many_datagrams(seed):
    rng = random.Random(seed)
    bench = Bench()
    for _ in range(2000):
        length = rng.choice([8, 48, 56, 480, 1480])
        bench.put(8 * rng.randrange(40), bytes(length), rng.random() < 0.8, bytes([rng.randrange(100)]))
        assert bench.table._cost <= reassembly.MAX_OCTETS
        assert len(bench.table) <= reassembly.MAX_DATAGRAMS
    bench.expire()
    assert bench.is_clean()
