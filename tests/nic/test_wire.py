# SPDX-License-Identifier: MIT
"""Two guests' drivers back to back, through two models and a wire between them, in one process."""

import random

import _mirage
import pytest

from libos.driver.ixgbe import Ixgbe
from libos.hal.dma import Dma
from libos.hal.pci import PciBus
from mirage_py.nic.backends.pair import pair
from tests.fakes.machine import Machine
from tests.nic.driver_helpers import assert_nothing_lost, drain, make
from tests.nic.function import MAC, PEER, IxgbeFunction


def back_to_back(dma_bytes=4 << 20, **options):
    """Two drivers in one machine, their cards wired to each other."""
    ends = pair(takes_offloads=True)
    cards = [IxgbeFunction(mac=mac, wire=end) for mac, end in zip((MAC, PEER), ends, strict=True)]
    world = _mirage.reset(machine=Machine({0x10: cards[0], 0x18: cards[1]}), dma_bytes=dma_bytes)
    for card in cards:
        card.timers.attach(world)
    bus, dma = PciBus(), Dma(2)
    drivers = [Ixgbe(bus.find(vendor=0x8086, index=n), dma, f"net{n}", **options) for n in range(2)]
    return drivers, cards, world


@pytest.mark.parametrize("mtu", [1500, 9000])
def test_random_frames_cross_both_ways_and_none_is_lost(mtu):
    (left, right), _, _ = back_to_back(mtu=mtu)
    rng = random.Random(mtu)
    waiting = {left: [], right: []}
    for _ in range(300):
        for ours, theirs in ((left, right), (right, left)):
            frames = []
            for _ in range(rng.randrange(20)):
                data = theirs.mac + ours.mac + b"\x88\xb5" + rng.randbytes(rng.randrange(46, mtu))
                if ours._small.free < 4 or ours._large.free < 4:
                    break
                frames.append(make(ours, data))
                waiting[theirs].append(data)
            assert ours.tx_batch(frames, len(frames)) == len(frames)
        for driver in (left, right):
            got = drain(driver, rng.randrange(1, 65))
            assert got == waiting[driver][: len(got)]
            del waiting[driver][: len(got)]
            if driver._small.free < 8 or driver._large.free < 8:
                driver._tx.clean()
    for driver in (left, right):
        assert drain(driver) == waiting[driver]
        assert_nothing_lost(driver)
        assert driver.counters["rx_missed_errors"] == 0


def test_full_wire_holds_the_sender_back():
    (left, right), cards, _ = back_to_back()
    sent = 0
    data = right.mac + left.mac + b"\x88\xb5" + bytes(500)
    while True:
        frame = left.alloc(len(data))
        if frame is None:
            break
        frame.put(0, data, 0, len(data))
        frame.put(14, sent.to_bytes(4, "big"), 0, 4)
        frame.length = len(data)
        if not left.tx_batch([frame], 1):
            frame.release()
            break
        sent += 1
        assert sent < 10_000
    assert sent > 1000, "the wire, the packet buffer and both rings hold that much"
    got = [int.from_bytes(one[14:18], "big") for one in drain(right)]
    assert got == list(range(sent))
    assert not cards[0].model.tx.has_backlog
    assert_nothing_lost(left)
    assert_nothing_lost(right)
