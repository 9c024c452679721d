# SPDX-License-Identifier: MIT
"""Packetization layer path MTU discovery (RFC 4821): paths that swallow large packets, told from paths that lose."""

import pytest

from libos.net.tcp import plpmtud
from libos.net.tcp.newreno import NewReno
from tests.net.world import ALL_OFFLOADS, World, pattern

FAMILIES = {4: ("10.0.0.1/24", "10.0.0.2/24"), 6: ("fd00::1/64", "fd00::2/64")}
AGAIN_MS = plpmtud.AGAIN_MS


class Path:
    """Two stacks, a to b; packets of more than `limit` octets vanish, by default in a's direction only."""

    def __init__(self, limit, family=4, both_ways=False, features=0, mtu=1500, tcp=None, **world):
        self.world = World(**{"seed": 1, "delay_ms": 10, **world})
        address_a, address_b = FAMILIES[family]
        options = {"features": features, "mtu": mtu, "tcp": tcp}
        if mtu > 1500:
            options["device"] = {"buffer_bytes": 10_000}
        self.a = self.world.host(address_a, **options)
        self.b = self.world.host(address_b, **options)
        self.limit = limit
        self.both_ways = both_ways
        self.swallowed = 0
        self.largest = 0
        self.world.filter = self.carry
        self.b.listen(9)

    def carry(self, device, packet):
        if not self.both_ways and device is not self.a.device:
            return None
        if len(packet) - 14 > self.limit:
            self.swallowed += 1
            return False
        self.largest = max(self.largest, len(packet) - 14)
        return None

    def connect(self):
        count = len(self.b.accepted)
        self.flow = self.a.connect(self.b, 9)
        self.world.run(until=lambda: len(self.b.accepted) > count)

    def send(self, count, limit_ms=60_000):
        """Sends so much to b; returns the milliseconds that it took."""
        other = self.b.accepted[-1]
        before = other.received_octets
        start_ms = self.world.now_ms
        self.flow.send(pattern(count))
        self.world.run(until=lambda: other.received_octets - before >= count, limit_ms=limit_ms)
        assert bytes(other.received[-count:]) == pattern(count)
        return self.world.now_ms - start_ms

    @property
    def size(self):
        return plpmtud.size_of(self.flow.conn)


@pytest.mark.parametrize("features", [0, ALL_OFFLOADS])
@pytest.mark.parametrize("limit", [1280, 1340, 1420, 1492])
@pytest.mark.parametrize("family", [4, 6])
def test_black_hole_is_found_and_measured(family, limit, features):
    path = Path(limit, family, features=features)
    path.connect()
    first_ms = path.send(20_000)
    assert first_ms < 2000
    path.send(400_000)
    assert limit - plpmtud.NEAR <= path.size <= limit
    assert path.largest <= limit
    counters = path.a.tcp.counters
    assert counters["TCPMTUPSuspicions"] == 1
    assert counters["TCPMTUPFail"] <= 6
    # From now on nothing is swallowed.
    before = path.swallowed
    path.send(400_000)
    assert path.swallowed == before
    assert path.a.is_clean() is False
    assert path.a.tcp.counters["TCPMTUPSuspicions"] == 1


@pytest.mark.parametrize("limit", [576, 1000, 1279])
def test_ipv4_below_the_first_base(limit):
    path = Path(limit)
    path.connect()
    assert path.send(20_000) < 3000
    path.send(600_000)
    assert limit - plpmtud.NEAR <= path.size <= limit


def test_without_sack_and_timestamps():
    for options in ({"sack": False}, {"timestamps": False}, {"sack": False, "timestamps": False}):
        path = Path(1400, tcp={"congestion": NewReno(), **options})
        path.connect()
        assert path.send(20_000) < 3000
        path.send(600_000)
        assert 1400 - plpmtud.NEAR <= path.size <= 1400


def test_both_directions():
    path = Path(1400, both_ways=True)
    path.b.echo(7)
    flow = path.a.connect(path.b, 7)
    flow.send(pattern(300_000))
    path.world.run(until=lambda: len(flow.received) == 300_000, limit_ms=60_000)
    assert bytes(flow.received) == pattern(300_000)
    assert 1384 <= plpmtud.size_of(flow.conn) <= 1400


def test_large_answer_to_a_small_question():
    """Each connection has a few segments: the first pays, the second knows."""
    path = Path(1400)
    took = []
    for _ in range(3):
        path.connect()
        took.append(path.send(8000))
        path.flow.send(b"", close=True)
    assert took[0] < 2000
    assert took[1] < 100
    assert took[2] < 100


def test_jumbo_frames_over_a_path_of_1500():
    path = Path(1500, mtu=9000, features=ALL_OFFLOADS)
    path.connect()
    assert path.size == 9000
    path.send(20_000)
    path.send(3_000_000)
    assert path.size == 1500


def test_black_hole_that_comes_later():
    """The path changes: segments of that size came through before."""
    path = Path(1500)
    path.connect()
    path.send(200_000)
    path.limit = 1300
    assert path.send(20_000) < 4000
    path.send(300_000)
    assert 1284 <= path.size <= 1300


@pytest.mark.parametrize("features", [0, ALL_OFFLOADS])
@pytest.mark.parametrize("both_ways", [False, True])
@pytest.mark.parametrize(
    ("family", "limit"), [(4, 1499), (4, 1300), (4, 1006), (4, 600), (4, 577), (6, 1499), (6, 1300), (6, 1281)]
)
def test_black_hole_of_any_size_begins_and_ends(family, limit, both_ways, features):
    path = Path(1500, family, both_ways, features)
    path.connect()
    path.send(100_000)
    path.limit = limit
    assert path.send(100_000) < 4000
    path.send(500_000)
    assert limit - 2 * plpmtud.NEAR < path.size <= limit
    path.limit = 1500
    path.world.run(for_ms=AGAIN_MS)
    path.send(200_000)
    assert path.size == 1500


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("window", [1300, 1400, 1500, 2800, 5000])
def test_window_smaller_than_a_probe(family, window):
    """Segments are as large as the window has room for, and that may be too large, too."""
    path = Path(1300, family)
    path.b.tcp.buffer_bytes = lambda *_: window
    path.connect()
    path.send(60_000)
    assert path.send(60_000) < 3000
    assert 1280 <= path.size <= 1300


@pytest.mark.parametrize("count", [1261, 1300, 1400])
@pytest.mark.parametrize("family", [4, 6])
def test_message_of_less_than_a_segment(family, count):
    path = Path(1300, family, both_ways=True)
    path.connect()
    assert path.send(count) < 4000
    assert path.size == 1280
    path.send(100_000)
    assert 1280 <= path.size <= 1300


def test_message_that_an_outage_swallows_is_no_black_hole_in_the_end():
    path = Path(1500)
    path.connect()
    path.world.is_silent = True
    path.flow.send(b"x" * 1400)
    path.world.run(for_ms=10_000)
    path.world.is_silent = False
    path.world.run(for_ms=20_000)
    path.send(100_000)
    assert path.size == 1500
    assert path.a.ipv4.path_mtu(path.b.ipv4.ip) == 1500


def test_probe_that_is_lost_does_not_make_the_window_smaller():
    path = Path(1300, tcp={"buffer_bytes": 1 << 20, "memory_bytes": 64 << 20})
    path.connect()
    path.send(20_000)
    conn = path.flow.conn
    recoveries = path.a.tcp.fast_recoveries
    ssthresh = conn.cc.ssthresh
    path.send(600_000)
    assert path.a.tcp.counters["TCPMTUPFail"] >= 3
    assert path.a.tcp.fast_recoveries == recoveries
    assert conn.cc.ssthresh == ssthresh
    assert path.a.tcp.rto_timeouts <= 3


def test_next_connection_begins_with_what_was_found():
    path = Path(1400)
    path.connect()
    path.send(20_000)
    path.send(600_000)
    found = path.size
    assert path.a.ipv4.path_mtu(path.b.ipv4.ip) == found
    assert not path.a.ipv4.is_path_guessed(path.b.ipv4.ip)
    before = path.swallowed
    path.connect()
    path.send(200_000)
    assert path.size == found
    assert path.swallowed == before


def test_guess_of_another_connection_is_tried():
    """The first one was too short to find out that it was only loss."""
    path = Path(1500)
    path.world.is_silent = False
    path.connect()
    path.limit = 1400
    path.send(3000)
    assert path.size == 1280
    path.limit = 1500
    path.connect()
    assert path.size == 1280
    path.send(100_000)
    assert path.size == 1500
    assert path.a.ipv4.path_mtu(path.b.ipv4.ip) == 1500


@pytest.mark.parametrize("family", [4, 6])
def test_path_that_becomes_wider_is_found_out_after_ten_minutes(family):
    path = Path(1400, family)
    path.connect()
    path.send(600_000)
    assert path.size <= 1400
    path.limit = 1500
    path.send(200_000)
    assert path.size <= 1400
    path.world.run(for_ms=AGAIN_MS + 1)
    path.send(200_000)
    assert path.size == 1500
    assert path.flow.conn.search is None


def test_search_that_finds_the_same_again_rests_again():
    path = Path(1400)
    path.connect()
    path.send(600_000)
    for _ in range(3):
        before = path.swallowed
        path.world.run(for_ms=AGAIN_MS + 1)
        path.send(600_000)
        assert 1384 <= path.size <= 1400
        assert 0 < path.swallowed - before <= 2 * 6


@pytest.mark.parametrize("seed", range(4))
def test_lossy_path_keeps_its_segments_large(seed):
    """One in ten is lost, for long enough that some are lost three times in a row."""
    path = Path(1500, seed=seed, loss=0.15)
    path.connect()
    path.send(600_000, limit_ms=600_000)
    path.world.loss = 0.0
    path.send(100_000)
    assert path.size == 1500
    assert path.flow.conn.search is None
    assert path.a.ipv4.path_mtu(path.b.ipv4.ip) == 1500


@pytest.mark.parametrize("outage_ms", [300, 1000, 3000, 20_000])
def test_outage_is_no_black_hole_in_the_end(outage_ms):
    path = Path(1500)
    path.connect()
    path.send(100_000)
    path.world.is_silent = True
    path.flow.send(pattern(200_000))
    path.world.run(for_ms=outage_ms)
    path.world.is_silent = False
    other = path.b.accepted[0]
    path.world.run(until=lambda: other.received_octets == 300_000, limit_ms=120_000)
    path.send(200_000)
    assert path.size == 1500
    assert path.a.ipv4.path_mtu(path.b.ipv4.ip) == 1500


def test_delay_is_no_black_hole():
    """The answer is to what was sent before the timeouts: so large ones came through."""
    path = Path(1500)
    path.connect()
    path.send(100_000)
    path.world.delay_ms = 1500
    path.send(200_000)
    path.world.delay_ms = 10
    path.send(300_000)
    assert path.size == 1500


def test_lossy_black_hole():
    path = Path(1400, loss=0.02)
    path.connect()
    path.send(1_000_000, limit_ms=200_000)
    assert 1280 <= path.size <= 1400


def test_small_segments_that_are_not_answered_are_no_black_hole():
    path = Path(1500)
    path.connect()
    path.world.is_silent = True
    path.flow.send(b"x" * 500)
    path.world.run(for_ms=20_000)
    assert path.size == 1500
    assert path.flow.conn.search is None


def test_closing_in_the_middle_of_a_search_leaves_nothing():
    path = Path(1400)
    path.connect()
    path.send(20_000)
    assert path.flow.conn.search is not None
    path.flow.conn.abort()
    path.world.run(for_ms=1000)
    assert path.flow.conn.search is None
    assert not [owner for owner in path.a.tcp.timers.owners() if isinstance(owner, plpmtud.Search)]


def test_what_icmp_made_smaller_becomes_larger_again():
    path = Path(1500)
    path.connect()
    conn = path.flow.conn
    path.send(20_000)
    path.flow.send(pattern(1000))
    path.world.settle()
    path.a.tcp.input_error(path.a.ipv4, conn.local_ip, conn.remote_ip, quoted(conn), 0, 1000, path.world.now_ms)
    assert path.size == 1000
    path.world.run(for_ms=1000)
    path.send(100_000)
    assert path.size == 1000
    path.world.run(for_ms=AGAIN_MS)
    path.send(100_000)
    assert path.size == 1500


def quoted(conn):
    ports = conn.local_port.to_bytes(2, "big") + conn.remote_port.to_bytes(2, "big")
    return ports + (conn.snd_una & 0xFFFFFFFF).to_bytes(4, "big")


def test_icmp_makes_everything_outstanding_go_out_again_at_once():
    """It was all too large, and its loss says nothing of congestion."""
    path = Path(1400, tcp={"buffer_bytes": 1 << 20, "memory_bytes": 64 << 20})
    path.connect()
    conn = path.flow.conn
    path.flow.send(pattern(14_000))
    path.world.run(for_ms=5)
    ssthresh = conn.cc.ssthresh
    start_ms = path.world.now_ms
    path.a.tcp.input_error(path.a.ipv4, conn.local_ip, conn.remote_ip, quoted(conn), 0, 1400, start_ms)
    path.world.run(until=lambda: path.b.accepted[0].received_octets == 14_000, limit_ms=10_000)
    assert path.world.now_ms - start_ms < 100
    assert path.a.tcp.rto_timeouts == 0
    assert conn.cc.ssthresh == ssthresh
    assert path.a.tcp.fast_recoveries == 0


def test_search_ends():
    """Whatever the limit, the probes are few."""
    for limit in range(1281, 1500, 9):
        path = Path(limit)
        path.connect()
        path.send(20_000)
        path.send(600_000)
        counters = path.a.tcp.counters
        assert limit - plpmtud.NEAR <= path.size <= limit, limit
        assert counters["TCPMTUPSuccess"] + counters["TCPMTUPFail"] <= 6
        assert not path.flow.conn.search.size
        assert path.flow.conn.is_fast
