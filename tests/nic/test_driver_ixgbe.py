# SPDX-License-Identifier: MIT
"""The guest's ixgbe driver against the model in the same process: bring-up, rings, offloads, wake-ups, recovery."""

import random

import _mirage
import pytest
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Ether

from libos.driver import ixgbe_regs, ixgbe_rx, ixgbe_tx
from libos.driver.ixgbe import Ixgbe
from libos.hal import dma as hal_dma
from libos.hal.dma import Dma
from libos.hal.mmio import DeviceError
from libos.hal.pci import PciBus
from mirage_py.nic.ixgbe import registers
from tests.fakes.machine import Machine
from tests.nic.driver_helpers import UDP_PACKET, assert_nothing_lost, drain, idle, octets, packet, send
from tests.nic.function import MAC, PEER, IxgbeFunction, bring_up

# --- names ---


def test_registers_have_the_models_numbers():
    """Two files, written apart: a name that both have means the same."""
    common = [name for name in vars(ixgbe_regs) if name.isupper() and hasattr(registers, name)]
    assert len(common) > 60
    for name in common:
        if name in ("RAL", "RAH"):
            # They stand at two places; the driver uses the one that has them all.
            assert getattr(ixgbe_regs, name) - getattr(registers, name) == registers.RAL_HIGH - registers.RAL
        else:
            assert getattr(ixgbe_regs, name) == getattr(registers, name), name


def test_re_declared_numbers_are_equal():
    for module in (ixgbe_rx, ixgbe_tx):
        for name, value in (("_HOLDER", 0), ("_POOL", 1), ("_DEVICE", 2), ("_CSUM_VALID", 1), ("_CSUM_PARTIAL", 2)):
            assert getattr(module, name, value) == value
    assert (ixgbe_tx._GSO_TCPV4, ixgbe_tx._GSO_TCPV6) == (hal_dma.GSO_TCPV4, hal_dma.GSO_TCPV6)
    assert (hal_dma.OWNER_HOLDER, hal_dma.OWNER_POOL, hal_dma.OWNER_DEVICE) == (0, 1, 2)
    assert ixgbe_rx._DONE == ixgbe_regs.RXD_DD | ixgbe_regs.RXD_EOP
    assert ixgbe_rx._RXE == ixgbe_regs.RXD_RXE
    assert ixgbe_rx._RSCCNT_MASK == ixgbe_regs.RXD_RSCCNT_MASK
    assert ixgbe_rx._CHECK_MASK == ixgbe_regs.RXD_RXE | ixgbe_regs.RXD_L4E | ixgbe_regs.RXD_IPE | ixgbe_regs.RXD_L4I
    for ours, theirs in (
        ("_EOP", "TXD_EOP"),
        ("_RS", "TXD_RS"),
        ("_TSE", "TXD_TSE"),
        ("_TXSM", "TXD_TXSM"),
        ("_IXSM", "TXD_IXSM"),
        ("_CC", "TXD_CC"),
        ("_IPV4", "TXC_IPV4"),
        ("_L4T_TCP", "TXC_L4T_TCP"),
        ("_MSS_SHIFT", "TXC_MSS_SHIFT"),
        ("_L4LEN_SHIFT", "TXC_L4LEN_SHIFT"),
        ("_PAYLEN_SHIFT", "TXD_PAYLEN_SHIFT"),
    ):
        assert getattr(ixgbe_tx, ours) == getattr(ixgbe_regs, theirs)
    assert ixgbe_tx._DATA == ixgbe_regs.TXD_DEXT | ixgbe_regs.TXD_DTYP_DATA | ixgbe_regs.TXD_IFCS


# --- bring-up ---


def test_bring_up_takes_what_the_device_says():
    driver, function, _ = bring_up()
    assert driver.mac == MAC
    assert driver.mtu == 1500
    assert driver.features == 31
    assert driver.link_up
    assert driver.speed_mbps == 10000
    assert driver.max_gso_bytes == 65549
    assert function.model.regs.store[registers.CTRL_EXT >> 2] & registers.CTRL_EXT_DRV_LOAD


def test_bring_up_touches_no_register_that_the_model_does_not_know(caplog):
    caplog.set_level("INFO")
    driver, _, _ = bring_up(mtu=9000, queues=4)
    driver.counters  # noqa: B018
    driver.join(bytes.fromhex("01005e0000fb"))
    driver.stop()
    assert [record.message for record in caplog.records if "not modelled" in record.message] == []


def test_bring_up_in_the_datasheets_order():
    _, function, _ = bring_up()
    order = [offset for offset, _ in function.writes]

    def first(offset):
        return order.index(offset)

    def last(offset):
        return len(order) - 1 - order[::-1].index(offset)

    assert first(registers.EIMC) < first(registers.CTRL), "interrupts off before the reset (4.6.3.1)"
    assert last(registers.CTRL) < first(registers.AUTOC) < first(registers.FCTRL)
    assert first(registers.RDLEN) < first(registers.RXDCTL) < last(registers.RDT) < last(registers.RXCTRL)
    assert first(registers.DMATXCTL) < first(registers.TXDCTL)
    assert first(registers.EIMS) > last(registers.RXCTRL), "interrupts last (4.6.6)"
    writes = dict(function.writes)
    assert not writes[registers.RXDCTL] & registers.RXDCTL_VME, "VLAN stripping is off, explicitly"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: setattr(f.model.regs, "dead", True), "all ones"),
        (lambda f: f.model.regs.on_read(registers.CTRL, lambda: registers.CTRL_RST), "global reset: no answer"),
        (lambda f: f.model.regs.on_read(registers.EEC, lambda: 0), "EEPROM auto-read: no answer"),
        (lambda f: f.model.regs.on_read(registers.RDRXCTL, lambda: 0), "DMA initialisation: no answer"),
        (lambda f: f.model.regs.on_read(registers.RXDCTL, lambda: 0), "receive queue 0: no answer"),
        (lambda f: f.model.regs.on_read(registers.TXDCTL, lambda: 0), "transmit queue 0: no answer"),
    ],
)
def test_device_that_cannot_be_used_is_named(change, message):
    function = IxgbeFunction()
    world = _mirage.reset(machine=Machine({0x10: function}))
    function.timers.attach(world)
    change(function)
    clock = _mirage.monotonic_ns

    def ticking():
        world.now_ns += 20_000
        return clock()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_mirage, "monotonic_ns", ticking)
        with pytest.raises(DeviceError, match=message):
            Ixgbe(PciBus().find(vendor=0x8086), Dma())


def test_master_that_does_not_stop_is_reset_all_the_same():
    function = IxgbeFunction()
    world = _mirage.reset(machine=Machine({0x10: function}))
    function.timers.attach(world)
    function.model.regs.on_read(registers.STATUS, lambda: registers.STATUS_MASTER_ENABLE)
    clock = _mirage.monotonic_ns

    def ticking():
        world.now_ns += 20_000
        return clock()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_mirage, "monotonic_ns", ticking)
        assert Ixgbe(PciBus().find(vendor=0x8086), Dma()).link_up


def test_mac_comes_from_the_eeprom_when_the_register_has_none():
    function = IxgbeFunction()
    world = _mirage.reset(machine=Machine({0x10: function}))
    function.timers.attach(world)
    reset = function.model.filters.reset
    function.model.filters.reset = lambda mac: reset(bytes(6))
    driver = Ixgbe(PciBus().find(vendor=0x8086), Dma())
    assert driver.mac == MAC
    assert function.model.regs.store[registers.SW_FW_SYNC >> 2] == 0, "the semaphore is given back"
    function.arrive(UDP_PACKET)
    assert drain(driver) == [UDP_PACKET]


def test_semaphore_that_is_never_free_is_named():
    driver, function, _ = bring_up()
    function.model.regs.store[registers.SW_FW_SYNC >> 2] = 1 << 5
    with pytest.raises(DeviceError, match="semaphore for resource 0x1: not free within 3000 ms"):
        driver._hw.acquire(1)
    function.model.regs.store[registers.SW_FW_SYNC >> 2] = 0
    driver._hw.acquire(1)
    with pytest.raises(DeviceError):
        driver._hw.acquire(1)
    driver._hw.release(1)
    assert function.model.regs.store[registers.SWSM >> 2] & 3 == 0, "the register's own semaphore is given back"
    driver._hw.acquire(1)


@pytest.mark.parametrize(
    ("dma_bytes", "queues"),
    [(256 << 10, 1), *((size, queues) for size in (1 << 20, 3 << 19, 4 << 20, 16 << 20) for queues in (1, 4))],
)
def test_buffers_fit_the_memory(dma_bytes, queues):
    driver, function, _ = bring_up(dma_bytes=dma_bytes, queues=queues)
    function.arrive(UDP_PACKET)
    assert drain(driver) == [UDP_PACKET]
    assert driver.alloc(driver.max_gso_bytes) is not None
    assert driver.alloc(driver.max_gso_bytes + 1) is None


def test_too_little_memory_and_wrong_arguments_are_errors():
    with pytest.raises(DeviceError, match="too few"):
        bring_up(dma_bytes=64 << 10)
    for options in ({"mtu": 9001}, {"mtu": 60}, {"queues": 0}, {"queues": 17}):
        with pytest.raises(DeviceError, match=r"net0: .*; it has"):
            bring_up(**options)


# --- both ways ---


@pytest.mark.parametrize("has_msix", [True, False])
def test_both_ways(has_msix):
    driver, function, _ = bring_up(has_msix=has_msix)
    function.arrive(UDP_PACKET)
    assert drain(driver) == [UDP_PACKET]
    data = [b"\2" * 12 + bytes([n]) * 100 for n in range(10)]
    function.writes.clear()
    assert send(driver, *data) == 10
    assert function.sent() == data
    assert [offset for offset, _ in function.writes] == [registers.TDT], "one doorbell for the batch"
    assert send(driver, b"\2" * 20) == 1
    assert function.sent() == [b"\2" * 20 + bytes(40)], "padded"


def test_data_path_reads_no_register():
    driver, function, _ = bring_up()
    function.reads = 0
    for _ in range(20):
        function.arrive(*[UDP_PACKET] * 20)
        assert len(drain(driver)) == 20
        send(driver, *[UDP_PACKET] * 20)
    assert function.reads == 0


def test_ring_wraps_many_times_and_loses_nothing():
    driver, function, _ = bring_up()
    rng = random.Random(3)
    number = 0
    for _ in range(200):
        expected = []
        for _ in range(rng.randrange(1, 40)):
            number += 1
            expected.append(MAC + PEER + b"\x88\xb5" + number.to_bytes(4, "big") + bytes(rng.randrange(1, 400)))
        function.arrive(*expected)
        assert drain(driver, rng.randrange(1, 33)) == [data.ljust(60, b"\0") for data in expected]
        send(driver, *expected)
        assert function.sent() == [data.ljust(60, b"\0") for data in expected]
    assert_nothing_lost(driver)


def test_burst_beyond_the_buffers_waits_in_the_device():
    driver, function, _ = bring_up()
    frames = [packet(IP(), UDP(), payload=n.to_bytes(4, "big") * 20) for n in range(700)]
    function.arrive(*frames)
    assert drain(driver) == frames


def test_all_buffers_held_at_once_come_back_without_a_sleep():
    """A busy image polls and never arms."""
    driver, function, _ = bring_up(dma_bytes=256 << 10)
    count = driver._rings[0]._pool.count
    data = [packet(IP(), UDP(), payload=number.to_bytes(4, "big") * 20) for number in range(count + 5)]
    function.arrive(*data)
    held = [None] * count
    assert driver.rx_batch(held, count) == count
    for frame in held:
        frame.release()
    assert drain(driver) == data[count:]


def test_frames_held_above_are_not_overwritten():
    driver, function, _ = bring_up()
    held = [None] * 64
    function.arrive(*[packet(IP(), UDP(), payload=bytes([n]) * 64) for n in range(60)])
    count = driver.rx_batch(held, 60)
    before = [octets(frame) for frame in held[:count]]
    for _ in range(20):
        function.arrive(*[UDP_PACKET] * 20)
        drain(driver)
    assert [octets(frame) for frame in held[:count]] == before
    for frame in held[:count]:
        frame.release()
    assert_nothing_lost(driver)
    with pytest.raises(ValueError, match="released"):
        held[0].release()


@pytest.mark.parametrize("length", [1500, 2034, 2048, 2049, 4096, 9000])
def test_jumbo_frames_over_several_descriptors(length):
    driver, function, _ = bring_up(mtu=9000)
    data = b"\2" * 12 + bytes(range(256)) * 40
    data = data[: length + 14]
    function.arrive(b"\2\xaa\xbb\xcc\xdd\1" + data[6:])
    assert drain(driver) == [b"\2\xaa\xbb\xcc\xdd\1" + data[6:]]
    send(driver, data)
    assert function.sent() == [data]
    assert_nothing_lost(driver)


def test_relay_sends_foreign_frames_and_chains_from_where_they_are():
    left, right = IxgbeFunction(), IxgbeFunction(mac=PEER)
    world = _mirage.reset(machine=Machine({0x10: left, 0x18: right}), dma_bytes=4 << 20)
    left.timers.attach(world)
    right.timers.attach(world)
    bus, dma = PciBus(), Dma(2)
    one = Ixgbe(bus.find(vendor=0x8086, index=0), dma, "net0", 9000)
    two = Ixgbe(bus.find(vendor=0x8086, index=1), dma, "net1", 9000)
    assert (one.mac, two.mac) == (MAC, PEER)
    data = [MAC + bytes([n]) * 8000 for n in range(100)]
    frames = [None] * 32
    got = []
    for start in range(0, 100, 10):
        left.arrive(*data[start : start + 10])
        count = one.rx_batch(frames, 32)
        assert two.tx_batch(frames[:count], count) == count
        got += right.sent()
    assert got == data
    two._tx.clean()
    assert_nothing_lost(one)
    assert_nothing_lost(two)


# --- filters, queues, statistics ---


MDNS, MDNS6, SOLICITED = (bytes.fromhex(mac) for mac in ("01005e0000fb", "3333000000fb", "3333ff123456"))
STRANGE = bytes.fromhex("01005e00ffff")


def groups_received(driver, function):
    """Which of these groups' frames come through the filter."""
    found = []
    for group in (MDNS, MDNS6, SOLICITED, STRANGE):
        function.arrive(packet(dst=group))
        if drain(driver):
            found.append(group)
    return found


def test_only_what_is_ours_arrives():
    driver, function, _ = bring_up()
    function.arrive(packet(dst=PEER), packet(dst=b"\xff" * 6), packet(dst=MDNS))
    assert len(drain(driver)) == 1
    assert groups_received(driver, function) == []


def test_groups_are_received_from_join_to_leave():
    driver, function, _ = bring_up()
    driver.join(SOLICITED)
    assert groups_received(driver, function) == [SOLICITED]
    driver.join(bytearray(MDNS6))
    driver.join(MDNS6)
    # MDNS and MDNS6 end in the same two octets: one bit of the table stands for both.
    assert groups_received(driver, function) == [MDNS, MDNS6, SOLICITED]
    driver.leave(SOLICITED)
    driver.leave(SOLICITED)
    assert groups_received(driver, function) == [MDNS, MDNS6]
    driver.leave(MDNS6)
    driver.leave(STRANGE)
    assert groups_received(driver, function) == []
    with pytest.raises(ValueError, match="net0: not a multicast address"):
        driver.join(PEER)


def test_leaving_a_group_keeps_the_one_that_shares_its_bit():
    driver, function, _ = bring_up()
    driver.join(MDNS)
    driver.join(MDNS6)
    driver.leave(MDNS)
    assert MDNS6 in groups_received(driver, function)


def test_groups_survive_a_reset_and_are_changed_while_the_device_is_gone():
    driver, function, _ = bring_up()
    driver.join(MDNS)
    driver.join(SOLICITED)
    function.model.faults.set("dead", 1)
    idle(driver, function, 20)
    assert driver.trouble is not None
    driver.leave(MDNS)
    driver.join(STRANGE)
    function.model.faults.set("dead", 0)
    idle(driver, function, 200)
    assert driver.trouble is None
    assert groups_received(driver, function) == [SOLICITED, STRANGE]


def test_promiscuous_takes_everything_even_after_a_reset():
    driver, function, _ = bring_up()
    driver.set_promiscuous(True)
    function.arrive(packet(dst=PEER), packet(dst=bytes.fromhex("01005e00ffff")))
    assert len(drain(driver)) == 2
    driver._hw.reset()
    driver._start()
    function.arrive(packet(dst=PEER))
    assert len(drain(driver)) == 1
    driver.set_promiscuous(False)
    function.arrive(packet(dst=PEER))
    assert drain(driver) == []


def test_segments_stay_apart_where_coalescing_is_off():
    function = IxgbeFunction()
    world = _mirage.reset(machine=Machine({0x10: function}), dma_bytes=1 << 20)
    function.timers.attach(world)
    driver = Ixgbe(PciBus().find(vendor=0x8086), Dma(), coalesce=False)
    assert driver.features == 15
    frames = [packet(IP(), TCP(seq=n * 1000, flags="A"), payload=bytes(1000)) for n in range(5)]
    function.arrive(*frames)
    assert drain(driver) == frames


def flows(count, layer, **addresses):
    """One packet of each of `count` flows."""
    return [packet(layer(**addresses), TCP(sport=number, dport=80, flags="S")) for number in range(1, count + 1)]


V4_FLOWS = flows(400, IP, src="10.0.0.1", dst="10.0.0.2")
V6_FLOWS = flows(400, IPv6, src="fd00::1", dst="fd00::2")


@pytest.mark.parametrize("queues", [2, 3, 4, 8, 16])
@pytest.mark.parametrize("frames", [V4_FLOWS, V6_FLOWS], ids=["v4", "v6"])
def test_several_queues_share_the_flows(queues, frames):
    driver, function, _ = bring_up(dma_bytes=8 << 20, queues=queues)
    got = []
    for start in range(0, len(frames), 20):
        function.arrive(*frames[start : start + 20])
        got += drain(driver)
    assert sorted(got) == sorted(frames)
    counters = driver.counters
    shares = [counters[f"rx_queue_{queue}_packets"] for queue in range(queues)]
    assert sum(shares) == counters["rx_packets"] == len(frames)
    assert min(shares) > len(frames) / queues / 2, shares
    assert max(shares) < len(frames) / queues * 2, shares
    assert_nothing_lost(driver)


def test_flow_stays_in_its_queue_and_in_order():
    driver, function, _ = bring_up(dma_bytes=4 << 20, queues=4)
    for number in range(50):
        function.arrive(packet(IP(), TCP(sport=7, flags="S", seq=number)), packet(IP(), TCP(sport=8, flags="S")))
    assert sum(ring.has_work for ring in driver._rings) <= 2
    sequence = [Ether(data)[TCP].seq for data in drain(driver) if Ether(data)[TCP].sport == 7]
    assert sequence == list(range(50))


def test_queue_that_fills_every_batch_does_not_starve_the_others():
    driver, function, _ = bring_up(dma_bytes=4 << 20, queues=4)
    function.arrive(*V4_FLOWS[:40])
    busy = [ring.has_work for ring in driver._rings]
    assert busy == [True] * 4
    frames = [None] * 2
    for _ in range(4):
        assert driver.rx_batch(frames, 2) == 2
        for frame in frames:
            frame.release()
    assert all(ring.rx_index for ring in driver._rings), "each had its turn"


def test_stop_ends_every_queue():
    driver, function, _ = bring_up(dma_bytes=4 << 20, queues=4)
    driver.stop()
    store = function.model.regs.store
    for queue in range(4):
        assert not store[registers.RXDCTL + 0x40 * queue >> 2] & registers.RXDCTL_ENABLE
    assert not store[registers.TXDCTL >> 2] & registers.TXDCTL_ENABLE
    assert not function.is_master


def test_stop_of_a_device_that_is_gone_lets_go_of_it():
    driver, function, world = bring_up()
    function.model.faults.set("dead", 1)
    clock = _mirage.monotonic_ns

    def ticking():
        world.now_ns += 20_000
        return clock()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_mirage, "monotonic_ns", ticking)
        driver.stop()
    assert driver.trouble == "stopped"
    assert not function.is_master
    assert_nothing_lost(driver)


def test_counters_have_names_that_an_operator_knows():
    driver, function, _ = bring_up()
    function.arrive(UDP_PACKET, UDP_PACKET, bytes(1600))
    drain(driver)
    send(driver, UDP_PACKET)
    counters = driver.counters
    assert (counters["rx_packets"], counters["rx_bytes"], counters["tx_packets"]) == (2, 2 * len(UDP_PACKET), 1)
    assert (counters["rx_pkts_nic"], counters["rx_oversize"], counters["tx_pkts_nic"]) == (2, 1, 1)
    assert driver.counters["rx_pkts_nic"] == 2, "added up, although a read clears"
