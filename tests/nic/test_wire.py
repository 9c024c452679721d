# SPDX-License-Identifier: MIT
"""Two guests' drivers back to back, through two models and a wire between them, in one process."""

import random

import _mirage
import pytest

from libos.driver.ixgbe import Ixgbe
from libos.hal.dma import Dma
from libos.hal.pci import PciBus
from mirage_py.nic.backends.pair import pair
from mirage_py.nic.ixgbe import registers as r
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


def test_full_receiver_never_holds_the_sender_back():
    """A cable does not push back: what does not fit the far card's packet buffer is lost there, and counted."""
    (left, right), cards, _ = back_to_back()
    data = right.mac + left.mac + b"\x88\xb5" + bytes(500)
    sent = 5000
    for number in range(sent):
        frame = left.alloc(len(data))
        assert frame is not None, "the sender's card gives its buffers back"
        frame.put(0, data, 0, len(data))
        frame.put(14, number.to_bytes(4, "big"), 0, 4)
        frame.length = len(data)
        assert left.tx_batch([frame], 1) == 1
    assert not cards[0].model.tx.has_backlog
    got = [int.from_bytes(one[14:18], "big") for one in drain(right)]
    missed = sum(cards[1].model.stats.mpc)
    assert got == list(range(len(got))), "the first ones, in order"
    assert len(got) * len(data) > 512 * 1024
    assert missed == sent - len(got) > 0
    assert_nothing_lost(left)
    assert_nothing_lost(right)


def test_link_state_crosses_the_wire():
    _, cards, _ = back_to_back()
    for broken, other in ((0, 1), (1, 0)):
        cards[broken].model.faults.set("link-down", 1)
        assert not cards[broken].model.phy.is_up
        assert not cards[other].model.phy.is_up, "no light comes from there"
        assert cards[other].model.regs[r.LINKS >> 2] & r.LINKS_UP == 0
        cards[broken].model.faults.set("link-down", 0)
        assert cards[0].model.phy.is_up
        assert cards[1].model.phy.is_up
    # The driver's own laser, and a reset, which lights it again.
    regs = cards[0].model.regs
    regs[r.ESDP >> 2] |= r.ESDP_SDP3
    assert not cards[1].model.phy.is_up
    cards[0].model.reset()
    assert cards[1].model.phy.is_up
