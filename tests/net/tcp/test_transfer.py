# SPDX-License-Identifier: MIT
"""Bytes arrive as they were sent, whatever the link does. Every world prints its seed when it fails."""

import pytest

from tests.net.world import ALL_OFFLOADS, RX_CSUM, TX_CSUM, World, pattern

OPTIONS = {
    "all": {},
    "no timestamps": {"timestamps": False},
    "plain": {"timestamps": False, "sack": False},
}


def echo(world, data, features=0, tcp=None, other=None, limit_ms=3_600_000, calm_start=False):
    """Sends data through an echo server and back; returns the flow. Both stacks must be empty in the end."""
    a = world.host("10.0.0.1/24", features=features, tcp=tcp)
    b = world.host("10.0.0.2/24", features=features if other is None else other, tcp=tcp)
    b.echo(7)
    a.tcp.user_timeout_ms = b.tcp.user_timeout_ms = 1_000_000
    flow = a.connect(b, 7)
    if calm_start:
        # Seven lost SYNs in a row are bad luck, not a fault: with so many seeds it happens.
        bad = (world.loss, world.damage)
        world.loss = world.damage = 0
        world.run(until=lambda: b.accepted)
        world.loss, world.damage = bad
    flow.send(data, close=True)
    world.run(until=lambda: flow.is_closed and b.accepted and b.accepted[0].is_closed, limit_ms=limit_ms)
    assert flow.error is None, (flow.error, world)
    assert bytes(flow.received) == data, world
    assert flow.is_eof
    world.run()
    assert a.is_clean(), world
    assert b.is_clean(), world
    return flow


@pytest.mark.parametrize(
    "size", [1, 2, 3, 63, 64, 535, 536, 537, 1447, 1448, 1449, 1460, 1461, 2920, 65535, 65536, 200_000]
)
@pytest.mark.parametrize("features", [0, ALL_OFFLOADS], ids=["plain", "offloads"])
def test_established_data_of_any_size(size, features):
    echo(World(seed=size), pattern(size), features)


@pytest.mark.parametrize("features", [TX_CSUM, RX_CSUM, TX_CSUM | RX_CSUM, ALL_OFFLOADS])
@pytest.mark.parametrize("other", [0, ALL_OFFLOADS])
def test_established_offloads_of_any_combination(features, other):
    echo(World(seed=features), pattern(300_000), features, other=other)


@pytest.mark.slow
def test_established_100_megabytes_over_1_percent_loss_with_offloads():
    world = World(seed=1, loss=0.01)
    flow = echo(world, pattern(100_000_000), ALL_OFFLOADS)
    assert flow.conn.tcp.retrans_segs > 100


@pytest.mark.nightly
@pytest.mark.parametrize("tcp", OPTIONS.values(), ids=OPTIONS)
def test_established_100_megabytes_over_1_percent_loss(tcp):
    echo(World(seed=2, loss=0.01), pattern(100_000_000), tcp=tcp)


@pytest.mark.parametrize("tcp", OPTIONS.values(), ids=OPTIONS)
def test_established_10_megabytes_over_1_percent_loss(tcp):
    echo(World(seed=2, loss=0.01), pattern(10_000_000), tcp=tcp)


@pytest.mark.parametrize("features", [0, ALL_OFFLOADS], ids=["plain", "offloads"])
@pytest.mark.parametrize("tcp", OPTIONS.values(), ids=OPTIONS)
@pytest.mark.parametrize("seed", range(3))
def test_established_heavy_loss_damage_and_reordering(seed, tcp, features):
    world = World(seed=seed, loss=0.15, damage=0.15, reorder=0.15, delay_ms=5)
    echo(world, pattern(1_000_000), features, tcp)


@pytest.mark.nightly
@pytest.mark.parametrize("features", [0, ALL_OFFLOADS], ids=["plain", "offloads"])
@pytest.mark.parametrize("tcp", OPTIONS.values(), ids=OPTIONS)
@pytest.mark.parametrize("seed", range(10, 60))
def test_established_heavy_loss_damage_and_reordering_many_seeds(seed, tcp, features):
    world = World(seed=seed, loss=0.15, damage=0.15, reorder=0.15, duplicate=0.05, delay_ms=5)
    echo(world, pattern(1_000_000), features, tcp, calm_start=True)


@pytest.mark.parametrize(
    "link",
    [
        {"duplicate": 0.2},
        {"reorder": 0.3, "jitter_ms": 30.0},
        {"damage": 0.1},
        {"delay_ms": 300.0, "loss": 0.005},
        {"rate": 125.0, "queue_bytes": 20_000},  # 1 Mbit/s with a short queue
        {"rate": 1250.0, "queue_bytes": 1_000_000, "delay_ms": 20.0},
        {"delay_ms": 0.0},
        {"loss": 0.02, "duplicate": 0.02, "reorder": 0.1, "damage": 0.02, "delay_ms": 20.0},
    ],
    ids=str,
)
@pytest.mark.parametrize("features", [0, ALL_OFFLOADS], ids=["plain", "offloads"])
def test_established_link_of_any_kind(link, features):
    echo(World(seed=5, **link), pattern(1_000_000), features)


def test_established_data_survives_a_second_of_silence():
    world = World(seed=6)
    a = world.host("10.0.0.1/24")
    b = world.host("10.0.0.2/24")
    b.echo(7)
    flow = a.connect(b, 7)
    data = pattern(3_000_000)
    flow.send(data, close=True)
    world.run(until=lambda: len(flow.received) > 1_000_000)
    world.is_silent = True
    world.run(for_ms=1000)
    assert len(flow.received) < 3_000_000
    world.is_silent = False
    start_ms = world.now_ms
    world.run(until=lambda: flow.is_closed)
    assert bytes(flow.received) == data
    assert world.now_ms - start_ms < 3000  # not more than the backed-off timeout later


def test_sequence_numbers_wrap():
    world = World(seed=7, loss=0.02)
    a = world.host("10.0.0.1/24")
    b = world.host("10.0.0.2/24")
    for host in (a, b):
        host.tcp._secrets.isn = lambda key, now_ms: 0xFFFFFFFF - 50_000
        host.tcp._secrets.timestamp_offset = lambda key: 0xFFFFFFFF - world.now_ms - 100
    b.echo(7)
    flow = a.connect(b, 7)
    data = pattern(500_000)
    flow.send(data, close=True)
    world.run(until=lambda: flow.is_closed)
    assert bytes(flow.received) == data
    assert flow.conn.snd_nxt > 1 << 32
    assert flow.conn.rcv_nxt > 1 << 32


def test_both_ways_at_once():
    world = World(seed=8, loss=0.01)
    a = world.host("10.0.0.1/24", features=ALL_OFFLOADS)
    b = world.host("10.0.0.2/24")
    b.listen(9)
    flow = a.connect(b, 9)
    world.run(until=lambda: b.accepted)
    other = b.accepted[0]
    there, back = pattern(2_000_000, 1), pattern(3_000_000, 2)
    flow.send(there, close=True)
    other.send(back, close=True)
    world.run(until=lambda: flow.is_closed and other.is_closed)
    assert bytes(other.received) == there
    assert bytes(flow.received) == back
    world.run()
    assert a.is_clean()
    assert b.is_clean()


def test_small_writes_of_every_size_arrive_in_order():
    world = World(seed=9, loss=0.05)
    a = world.host("10.0.0.1/24")
    b = world.host("10.0.0.2/24")
    b.echo(7)
    flow = a.connect(b, 7)
    data = pattern(150_000)
    at = 0
    while at < len(data):
        count = min(world.random.choice((1, 2, 7, 64, 300, 511, 512, 513, 2000, 5000)), len(data) - at)
        flow.send(data[at : at + count])
        at += count
        if world.random.random() < 0.2:
            world.run(for_ms=world.random.randrange(1, 50))
    flow.send(b"", close=True)
    world.run(until=lambda: flow.is_closed)
    assert bytes(flow.received) == data, world


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_a_buffer_that_changes_after_write_was_copied(kind):
    world = World(seed=10)
    a = world.host("10.0.0.1/24")
    b = world.host("10.0.0.2/24")
    b.echo(7)
    flow = a.connect(b, 7)
    world.run(until=lambda: flow.conn.state_name == "ESTABLISHED")
    for size in (10, 600, 3000):
        original = bytearray(pattern(size))
        buffer = original if kind is bytearray else kind(bytes(original)) if kind is bytes else memoryview(original)
        expected = bytes(flow.received) + bytes(original)
        assert flow.conn.write(buffer) == size
        if kind is not bytes:
            original[:] = bytes(size)
        world.run(until=lambda expected=expected: bytes(flow.received) == expected)
