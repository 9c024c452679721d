# SPDX-License-Identifier: MIT
"""The collector's two traps, a long run, and frozen machine code: printed are facts and milliseconds."""

import gc
import time

import _mirage
import micropython


def timed(label, function, *args):
    gc.collect()
    start = time.ticks_us()
    result = function(*args)
    print("time", label, time.ticks_diff(time.ticks_us(), start))
    return result


def fill():
    """A third of the heap in triples, which the stock allocator needs minutes for."""
    keep = []
    for n in range(300000):
        keep.append((n, n, n))
    return keep


def long_run(region):
    """Packets' worth of garbage of every size, with some of it kept for a while."""
    recent = [None] * 64
    low, high = None, 0
    for n in range(60000):
        recent[n & 63] = {"data": _mirage.take(region, 0, (n * 7919) % 1500), "n": (n, str(n))}
        if n % 500 == 0:
            recent[(n >> 3) & 63] = _mirage.take(region, 0, 65000)
        if n % 10000 == 9999:
            gc.collect()
            used = gc.mem_alloc()
            low = used if low is None else min(low, used)
            high = max(high, used)
    return high - low


def sum_bytecode(data, count):
    total = 0
    for index in range(count):
        total += data[index]
    return total


@micropython.native
def sum_native(data, count):
    total = 0
    for index in range(count):
        total += data[index]
    return total


@micropython.viper
def sum_viper(data, count: int) -> int:
    octets = ptr8(data)  # noqa: F821
    total = 0
    index = 0
    while index < count:
        total += octets[index]
        index += 1
    return total


@micropython.viper
def big_constants(value: int) -> int:
    return (value + 0x123456789AB) & 0x7FFFFFFFFFFF


keep = timed("fill", fill)
timed("collect", gc.collect)
print("intact", sum(item[0] for item in keep) == 300000 * 299999 // 2)
keep = None
gc.collect()

nest = None
for n in range(50000):
    nest = (n, nest)
gc.collect()
depth = 0
while nest is not None:
    depth += 1
    nest = nest[1]
print("chain", depth)

table = {n: [n] for n in range(30000)}
wide = [table, [[n, [n]] for n in range(30000)]]
timed("collect wide", gc.collect)
print("wide", all(table[n] == [n] for n in range(0, 30000, 7)), all(wide[1][n][1][0] == n for n in range(30000)))
table = wide = None

region, _ = _mirage.dma_region()
spread = timed("long run", long_run, region)
print("flat", spread < 300000)

gc.disable()
blocks = gc.mem_free() // 65536
for n in range(blocks * 3):
    scrap = bytearray(65000)
    scrap.extend(b"")
    del scrap
    if n % (blocks // 2) == 0:
        gc.collect()
gc.enable()
print("disabled and back")

data = bytearray(bytes(range(256)) * 256)
expected = 255 * 128 * 256
print("sums", sum_bytecode(data, 65536) == sum_native(data, 65536) == sum_viper(data, 65536) == expected)
print("constants", big_constants(5) == 0x123456789AB + 5)
timed("bytecode", sum_bytecode, data, 65536)
timed("native", sum_native, data, 65536)
timed("viper", sum_viper, data, 65536)
timed("checksum", _mirage.checksum, data, 0, 65536, 0)
timed("copy", _mirage.copy, data, 0, region, 0, 65536)
timed("take", _mirage.take, data, 0, 65536)
