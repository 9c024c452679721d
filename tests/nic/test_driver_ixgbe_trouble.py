# SPDX-License-Identifier: MIT
"""The guest's ixgbe driver against the model in the same process: wake-ups, faults, recovery, hostility."""

import random

import _mirage
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scapy.layers.inet import IP, TCP, UDP

from libos.net.ip.ipv4 import Ipv4
from libos.net.link.arp import Arp
from libos.net.link.ethernet import Ethernet
from libos.net.stack import NetStack
from libos.net.tcp import Tcp
from libos.net.tcp.cubic import Cubic
from libos.net.udp import Udp
from mirage_py.nic.faults import SWITCHES
from mirage_py.nic.ixgbe import registers
from tests.net.world import Entropy
from tests.nic.driver_helpers import UDP_PACKET, assert_nothing_lost, drain, idle, octets, packet, send
from tests.nic.function import bring_up

# --- waking ---


def armed(driver):
    """What the event loop does before it sleeps."""
    return driver.arm()


def test_frame_wakes_the_sleeper():
    for has_msix in (True, False):
        driver, function, world = bring_up(has_msix=has_msix)
        for _ in range(5):
            assert not armed(driver)
            assert world.pending == 0
            function.arrive(UDP_PACKET)
            assert _mirage.wait(-1), "at once, or when the moderation interval is over"
            driver.disarm()
            assert len(drain(driver)) == 1


def test_sleeping_again_without_disarming_wakes_once_for_each_frame():
    """The loop leaves wake-ups on between two sleeps: a pin that is still up must not end the next one."""
    for has_msix in (True, False):
        driver, function, world = bring_up(has_msix=has_msix)
        for _ in range(5):
            assert not armed(driver)
            assert world.pending == 0
            assert not function.pin
            function.arrive(UDP_PACKET)
            assert _mirage.wait(-1)
            assert len(drain(driver)) == 1


def test_no_interrupt_while_polling():
    driver, function, _ = bring_up()
    armed(driver)
    function.arrive(UDP_PACKET)
    driver.disarm()
    drain(driver)
    before = len(function.messages)
    for _ in range(50):
        function.arrive(UDP_PACKET)
        drain(driver)
    assert len(function.messages) == before


def test_frame_that_comes_just_before_arming_is_not_slept_over():
    for moment in ("before", "while masked"):
        driver, function, world = bring_up()
        armed(driver)
        function.arrive(UDP_PACKET)
        _mirage.wait(0)
        driver.disarm()
        drain(driver)
        function.arrive(UDP_PACKET)
        if moment == "before":
            assert armed(driver) or world.pending
        else:
            drain(driver)
            armed(driver)
            function.arrive(UDP_PACKET)
            world.pending or function.timers.advance(1_000_000)
            assert world.pending or driver._rings[0].has_work


@settings(max_examples=100)
@given(st.lists(st.sampled_from(["arrive", "poll", "sleep"]), max_size=60), st.booleans())
def test_no_wake_up_is_ever_lost(steps, has_msix):
    driver, function, world = bring_up(has_msix=has_msix)
    sent = got = 0
    for step in steps:
        if step == "arrive":
            function.arrive(UDP_PACKET)
            sent += 1
        elif step == "poll":
            got += len(drain(driver))
        else:
            if not driver.arm():
                # Asleep: whatever has arrived, or arrives now, ends the sleep.
                if got < sent:
                    assert world.pending or function.timers._queue
                else:
                    function.arrive(UDP_PACKET)
                    sent += 1
                    assert _mirage.wait(-1)
            driver.disarm()
    assert got + len(drain(driver)) == sent


def test_waiting_for_buffers_is_woken_by_transmission():
    driver, function, world = bring_up()
    function.model.tx.is_stalled = True
    frames = []
    while True:
        frame = driver.alloc(100)
        if frame is None:
            break
        frame.length = 100
        frames.append(frame)
    assert driver.tx_batch(frames, len(frames)) == len(frames)
    assert driver.alloc(100) is None
    assert not driver.arm()
    function.model.tx.is_stalled = False
    function.model.tx.kick()
    assert _mirage.wait(world.now_ns + 1_000_000)
    driver.disarm()
    assert driver.alloc(100) is not None


def test_link_change_wakes_and_is_noticed():
    driver, function, _ = bring_up()
    told = []
    driver.notify(lambda why: told.append((why, driver.link_up)))
    armed(driver)
    function.model.faults.set("link-down", 1)
    assert _mirage.wait(-1)
    driver.disarm()
    assert driver.arm()  # who was told has something to do
    driver.disarm()
    armed(driver)
    assert not driver.link_up
    function.model.faults.set("link-down", 0)
    assert _mirage.wait(-1)
    driver.disarm()
    armed(driver)
    assert driver.link_up
    assert driver.counters["link_changes"] >= 2
    assert told == [(None, False), (None, True)]


# --- trouble ---


def assert_works(driver, function):
    function.arrive(UDP_PACKET)
    assert UDP_PACKET in drain(driver)
    function.sent()
    assert send(driver, UDP_PACKET) == 1
    assert function.sent() == [UDP_PACKET]
    assert_nothing_lost(driver)


def test_stalled_transmitter_is_reset():
    driver, function, _ = bring_up()
    held = [None]
    function.arrive(UDP_PACKET)
    driver.rx_batch(held, 1)
    function.model.faults.set("tx-stall", 1)
    send(driver, UDP_PACKET)
    assert function.sent() == []
    idle(driver, function)
    assert driver.counters["resets"] == 1
    assert driver.trouble is None
    assert octets(held[0]) == UDP_PACKET, "what the layers above hold stays theirs"
    held[0].release()
    assert_works(driver, function)


def test_stalled_receiver_is_reset():
    driver, function, _ = bring_up()
    function.model.faults.set("rx-stall", 1)
    for _ in range(40):
        function.arrive(UDP_PACKET)
        idle(driver, function, 1)
        drain(driver)
    assert driver.counters["resets"] >= 1
    function.model.faults.set("rx-stall", 0)
    drain(driver)
    assert_works(driver, function)


def test_link_that_is_down_is_no_stall():
    driver, function, _ = bring_up()
    function.model.faults.set("link-down", 1)
    send(driver, UDP_PACKET)
    idle(driver, function, 100)
    assert driver.counters["resets"] == 0
    function.model.faults.set("link-down", 0)
    assert function.sent() == [UDP_PACKET]
    idle(driver, function, 2)
    assert driver.link_up


def test_device_that_falls_off_the_bus_comes_back():
    driver, function, _ = bring_up()
    told = []
    driver.notify(told.append)
    function.model.faults.set("dead", 1)
    idle(driver, function, 20)
    assert "all ones" in driver.trouble
    assert not driver.link_up
    assert send(driver, UDP_PACKET) == 1
    assert driver.counters["tx_dropped"] == 1
    function.model.faults.set("dead", 0)
    assert "all ones" in told[0]
    idle(driver, function, 200)
    assert driver.trouble is None
    assert told[-1] is None
    assert_works(driver, function)


def test_lost_interrupts_do_not_lose_frames():
    driver, function, world = bring_up()
    function.model.faults.set("lost-interrupt", 1)
    armed(driver)
    function.arrive(UDP_PACKET)
    assert not world.pending
    # Any other wake-up finds it.
    function.timers.advance(10_000_000)
    driver.disarm()
    assert drain(driver) == [UDP_PACKET]


def test_stack_with_nothing_to_do_is_not_deaf_after_a_lost_interrupt():
    driver, function, world = bring_up()
    ethernet = Ethernet(driver)
    entropy = Entropy(random.Random(1))
    ipv4 = Ipv4(ethernet, Arp(ethernet, entropy), entropy, "10.0.0.2/24")
    stack = NetStack(ethernet, Tcp(entropy, Cubic(), ipv4), Udp(ipv4))
    while stack.poll(_mirage.now_ms()) or len(ethernet.timers):
        _mirage.wait((_mirage.now_ms() + 10) * 1_000_000)
    function.model.faults.set("lost-interrupt", 1)
    stack.arm()
    function.arrive(UDP_PACKET)
    assert not world.pending
    slept_at = _mirage.now_ms()
    assert stack.next_deadline_ms() <= slept_at + 1000
    _mirage.wait(stack.next_deadline_ms() * 1_000_000)
    stack.disarm()
    assert stack.poll(_mirage.now_ms())
    assert driver.counters["rx_packets"] == 1


@pytest.mark.parametrize(
    "fault", ["wrong-length", "zero-length", "no-data", "bad-index", "no-end", "replay", "bit-flip", "drop"]
)
@pytest.mark.parametrize("every", [1, 3])
@pytest.mark.parametrize("mtu", [1500, 9000])
def test_hostile_write_backs_are_counted_and_dropped(fault, every, mtu):
    driver, function, _ = bring_up(mtu=mtu)
    rng = random.Random(every)
    function.model.faults.set(fault, every)
    original = set()
    got = []
    for number in range(120):
        data = packet(IP(), UDP(sport=number), payload=rng.randbytes(rng.randrange(1, mtu - 40)))
        data = data.ljust(60, b"\0")
        original.add(data)
        function.arrive(data)
        got += drain(driver)
    assert function.model.faults.counts[fault] > 0
    if mtu == 1500:
        assert len(got) <= 120
    # A later piece that was not written cannot be told from one that was.
    if fault in ("wrong-length", "zero-length", "bad-index", "drop") or (fault == "no-data" and mtu == 1500):
        assert set(got) <= original, "nothing wrong gets through"
    if fault not in ("drop", "bit-flip", "replay", "no-end"):
        assert driver.counters["rx_errors"] > 0
    function.model.faults.set(fault, 0)
    for _ in range(4):
        function.arrive(UDP_PACKET)
        drain(driver)
    assert_works(driver, function)


def test_every_fault_one_after_the_other_under_traffic():
    driver, function, _ = bring_up(dma_bytes=4 << 20)
    for name in SWITCHES:
        if name == "slow":
            continue  # the transport's, not the model's
        function.model.faults.set(name, 1 if name in ("dead", "link-down", "tx-stall", "rx-stall") else 3)
        for _ in range(40):
            function.arrive(UDP_PACKET, packet(IP(), TCP(), payload=bytes(1000)))
            drain(driver)
            frame = driver.alloc(len(UDP_PACKET))
            if frame is not None:
                frame.put(0, UDP_PACKET, 0, len(UDP_PACKET))
                frame.length = len(UDP_PACKET)
                if not driver.tx_batch([frame], 1):
                    frame.release()
            idle(driver, function, 1)
        function.model.faults.set(name, 0)
        idle(driver, function, 250)
        drain(driver)
        function.sent()
        assert driver.trouble is None, name


def test_stop_is_orderly_and_final():
    driver, function, _ = bring_up()
    send(driver, UDP_PACKET)
    driver.stop()
    assert not function.is_master
    assert not function.model.regs.store[registers.RXCTRL >> 2] & registers.RXCTRL_RXEN
    assert not function.model.regs.store[registers.CTRL_EXT >> 2] & registers.CTRL_EXT_DRV_LOAD
    assert driver.trouble == "stopped"
    assert_nothing_lost(driver)
    assert send(driver, UDP_PACKET) == 1
    idle(driver, function, 3)
    assert driver.trouble == "stopped"
