# SPDX-License-Identifier: MIT
"""What the tests of the ixgbe driver share: packets, sending, receiving, and the account of all buffers."""

from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import Ether
from scapy.packet import Raw, raw

from tests.nic.function import MAC, PEER


def octets(frame):
    return frame.take(0, frame.total())


def drain(driver, limit=64, release=True):
    """Everything that has arrived, as octets; released again."""
    out = []
    frames = [None] * limit
    while True:
        count = driver.rx_batch(frames, limit)
        if not count:
            return out
        for frame in frames[:count]:
            out.append(octets(frame))
            if release:
                frame.release()


def make(driver, payload):
    frame = driver.alloc(len(payload))
    frame.put(0, payload, 0, len(payload))
    frame.length = len(payload)
    return frame


def send(driver, *payloads):
    frames = [make(driver, payload) for payload in payloads]
    return driver.tx_batch(frames, len(frames))


def packet(*layers, payload=b"x" * 100, dst=MAC, src=PEER):
    frame = Ether(src=src, dst=dst)
    for layer in layers:
        frame = frame / layer
    return raw(frame / Raw(payload))


UDP_PACKET = packet(IP(src="10.0.0.1", dst="10.0.0.2"), UDP(sport=1, dport=2))


def free_buffers(driver):
    pools = [driver._small, driver._large] + [ring._pool for ring in driver._rings]
    return sum(pool.free for pool in pools), sum(pool.count for pool in pools)


def assert_nothing_lost(driver):
    """Every buffer is in a pool or out at the device."""
    driver._tx.clean()
    free, count = free_buffers(driver)
    tx = driver._tx
    span = range(tx.clean_index, tx.tx_index + (tx.size if tx.tx_index < tx.clean_index else 0))
    out = sum(tx._slots[index % tx.size] is not None for index in span)
    assert free + out + sum(ring.posted for ring in driver._rings) == count


def idle(driver, function, rounds=40, step_ms=100):
    """The loop with nothing to do but timers."""
    for _ in range(rounds):
        driver.arm()
        function.timers.advance(step_ms * 1_000_000)
        driver.disarm()
