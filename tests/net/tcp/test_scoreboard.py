# SPDX-License-Identifier: MIT
"""The scoreboard by itself, against sets of octets; and what must hold of it on paths that do everything at once."""

import itertools
import random

import pytest

from libos.net.tcp.cubic import Cubic
from libos.net.tcp.newreno import NewReno
from libos.net.tcp.rack import LOG_PAIRS, Rack
from libos.net.tcp.scoreboard import MAX_RESENT, MAX_SACKED, insert, next_hole, pipe, recount, unsacked
from tests.net.world import ALL_OFFLOADS, World, pattern


class Conn:
    """What the scoreboard looks at."""

    def __init__(self):
        self.snd_una = 0
        self.snd_nxt = 60
        self.sacked = []
        self.sacked_octets = 0
        self.dup_octets = 0
        self.lost_below = 0
        self.rtx_next = 0
        self.rack = Rack()


def test_ranges_are_what_a_set_would_be():
    chance = random.Random(3)
    for _ in range(2000):
        ranges, octets = [], set()
        for _ in range(chance.randrange(1, 12)):
            left = chance.randrange(60)
            right = left + chance.randrange(1, 12)
            new = set(range(left, right)) - octets
            assert insert(ranges, left, right) == (min(new) if new else None)
            octets |= new
            assert [octet for a, b in ranges for octet in range(a, b)] == sorted(octets)
            assert all(before[1] < after[0] for before, after in itertools.pairwise(ranges))


def test_ranges_are_bounded():
    ranges = []
    for number in range(2 * MAX_SACKED):
        insert(ranges, 2 * number, 2 * number + 1)
    assert len(ranges) == MAX_SACKED
    assert insert(ranges, 5000, 5001) is None
    assert insert(ranges, 1, 2) == 1  # closing a hole needs no room
    assert len(ranges) == MAX_SACKED - 1


def test_holes_and_pipe_are_what_sets_would_give():
    chance = random.Random(4)
    for _ in range(1000):
        conn = Conn()
        for _ in range(chance.randrange(5)):
            left = chance.randrange(1, 55)
            insert(conn.sacked, left, left + chance.randrange(1, 6))
        conn.snd_una = conn.rtx_next = chance.randrange(10)
        recount(conn)
        conn.lost_below = chance.randrange(conn.snd_una, 61)
        sacked = {octet for a, b in conn.sacked for octet in range(a, b)}
        assert conn.sacked_octets == len(sacked)
        assert unsacked(conn, 5, 50) == len(set(range(5, 50)) - sacked)
        expected = set(range(conn.snd_una, conn.lost_below)) - sacked
        found = set()
        hole = next_hole(conn)
        while hole is not None:
            start, end = hole
            count = min(end - start, 4)
            assert not found & set(range(start, start + count))
            found |= set(range(start, start + count))
            conn.rack.resent.append([start, start + count, 1])
            conn.rtx_next = chance.choice((start + count, conn.snd_una))
            hole = next_hole(conn)
        assert found == expected
        assert pipe(conn) == len(set(range(conn.snd_una, 60)) - sacked)  # all of it is on its way, once or again


def test_repetitions_under_way_are_bounded():
    conn = Conn()
    conn.lost_below = 60
    conn.rack.resent = [[0, 1, number] for number in range(MAX_RESENT)]
    assert next_hole(conn) is None


@pytest.mark.parametrize("seed", range(24))
def test_whatever_a_path_does(seed):
    """Loss, reordering, repetition, damage, a black hole, with and without SACK, timestamps and offloads."""
    chance = random.Random(seed)
    world = World(
        seed=seed,
        loss=chance.choice((0, 0.01, 0.05, 0.15)),
        reorder=chance.choice((0, 0.05, 0.3)),
        duplicate=chance.choice((0, 0.05)),
        damage=chance.choice((0, 0.01)),
        delay_ms=chance.choice((0, 1, 10, 60)),
        jitter_ms=chance.choice((2, 20, 100)),
    )
    addresses = chance.choice((("10.0.0.1/24", "10.0.0.2/24"), ("fd00::1/64", "fd00::2/64")))
    hosts = [
        world.host(
            address,
            features=chance.choice((0, ALL_OFFLOADS)),
            tcp={
                "congestion": chance.choice((NewReno, Cubic))(),
                "sack": chance.random() < 0.8,
                "timestamps": chance.random() < 0.7,
            },
        )
        for address in addresses
    ]
    limit = chance.choice((1500, 1400, 1280))
    world.filter = lambda device, packet: len(packet) - 14 <= limit
    hosts[1].echo(7)
    flow = hosts[0].connect(hosts[1], 7)
    data = pattern(chance.choice((3000, 60_000, 150_000)), seed)
    flow.send(data, close=True)

    def is_done():
        for host in hosts:
            for conn in host.tcp.by_key.values():
                if conn.rack is not None:
                    assert len(conn.rack.resent) <= MAX_RESENT
                    assert all(conn.snd_una <= end <= conn.snd_nxt for _, end, _ in conn.rack.resent)
                assert len(conn.log or ()) <= 2 * LOG_PAIRS
                assert len(conn.sacked) <= MAX_SACKED
                assert conn.lost_below <= conn.snd_nxt
        return flow.is_eof and len(flow.received) == len(data)

    world.run(until=is_done, limit_ms=1_000_000)
    assert bytes(flow.received) == data
    world.run(for_ms=200_000)
    assert all(host.is_clean() for host in hosts)
