# SPDX-License-Identifier: MIT
"""Throughput against loss, over the link in virtual time: the same table whenever the code is the same.

    PYTHONPATH=.:mirage_py/guest:tests/fakes .venv/bin/python -m tests.net.tcp.throughput [SEEDS]

A row is a link, a column an algorithm; a cell is the rate in KiB/s at which 2 MiB went, or what went in 20 s, of
several seeds the mean, and how many retransmission timeouts there were.
"""

import sys

from libos.net.tcp.cubic import Cubic
from libos.net.tcp.newreno import NewReno
from tests.net.world import World, pattern

ALGORITHMS = {"newreno": NewReno, "cubic": Cubic}
LOSSES = (0.0, 0.001, 0.01, 0.03, 0.1)
# Octets per millisecond (125 are 1 Mbit/s), and milliseconds one way.
LINKS = ((125.0, 25.0), (1250.0, 10.0), (1250.0, 50.0), (12500.0, 2.0), (12500.0, 25.0))
SIZE = 2 << 20
LIMIT_MS = 20_000


def measure(algorithm, loss, rate, delay_ms, seed, **options):
    """(octets that arrived, milliseconds, timeouts) of one transfer over one link."""
    # The queue holds what 50 ms bring, or eight packets: a short one for a long path.
    queue = max(int(rate * 50), 12_000)
    world = World(seed=seed, loss=loss, rate=rate, delay_ms=delay_ms, queue_bytes=queue)
    tcp = {"congestion": algorithm(), "buffer_bytes": 1 << 20, "memory_bytes": 64 << 20, **options}
    a = world.host("10.0.0.1/24", tcp=tcp)
    b = world.host("10.0.0.2/24", tcp=tcp)
    b.listen(9, keeps=False)
    flow = a.connect(b, 9)
    flow.send(pattern(SIZE), close=True)
    world.run(until=lambda: b.accepted)
    start_ms = world.now_ms
    other = b.accepted[0]
    world.end_ms = start_ms + LIMIT_MS
    world.run(until=lambda: other.received_octets >= SIZE or world.now_ms >= world.end_ms)
    return (other.received_octets, world.now_ms - start_ms, a.tcp.rto_timeouts)


def cell(algorithm, loss, rate, delay_ms, seeds, **options):
    results = [measure(algorithm, loss, rate, delay_ms, seed, **options) for seed in range(seeds)]
    octets = sum(result[0] for result in results)
    total_ms = sum(result[1] for result in results)
    return (octets * 1000 // max(total_ms, 1) >> 10, sum(result[2] for result in results))


def table(seeds, losses=LOSSES, links=LINKS):
    """Yields the lines of the table."""
    yield "loss %  Mbit/s  delay ms  " + "".join(f"{name + ' KiB/s':>16}{'timeouts':>9}" for name in ALGORITHMS)
    for loss in losses:
        for rate, delay_ms in links:
            line = f"{loss * 100:6.1f}{rate * 8 / 1000:8.0f}{delay_ms:10.0f}  "
            for algorithm in ALGORITHMS.values():
                speed, timeouts = cell(algorithm, loss, rate, delay_ms, seeds)
                line += f"{speed:16}{timeouts:9}"
            yield line


if __name__ == "__main__":
    for text in table(int(sys.argv[1]) if len(sys.argv) > 1 else 1):
        print(text, flush=True)
