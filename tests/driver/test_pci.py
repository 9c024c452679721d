# SPDX-License-Identifier: MIT
"""hal.pci over the fake machine: enumeration, sizing, assigning, MSI-X."""

import _mirage
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from libos.hal.mmio import DeviceError
from libos.hal.pci import PciBus
from tests.fakes.machine import Machine, PciBridge, PciFunction

NIC = {0: (1 << 17, 4), 3: (1 << 14, 4)}


def nic(**more):
    return PciFunction(0x8086, 0x10FB, bars=NIC, msix=(64, 3, 0), **more)


def test_bus_without_pci_is_empty():
    _mirage.reset(machine=None)
    bus = PciBus()
    assert bus.devices == []
    with pytest.raises(DeviceError, match="no PCI device 1af4:1041 or 1af4:1000"):
        bus.find(vendor=0x1AF4, device=(0x1041, 0x1000))


def test_bus_finds_functions_and_counts_equal_ones():
    host = PciFunction(0x8086, 0x29C0, 0x0600)
    many = PciFunction(0x8086, 0x2918, 0x0601)
    many.config[0x0E] = 0x80
    machine = Machine({0x00: host, 0x08: nic(), 0x10: nic(), 0xF8: many, 0xFA: PciFunction(0x8086, 0x2922, 0x0106)})
    # A second function of a device that does not say "multifunction" is not there (PCI 3.0, section 3.2.2.3.4).
    machine.add(0x09, nic())
    _mirage.reset(machine=machine)
    bus = PciBus()
    assert [device.slot for device in bus.devices] == ["00:00.0", "00:01.0", "00:02.0", "00:1f.0", "00:1f.2"]
    assert bus.find(vendor=0x8086, device=0x10FB).slot == "00:01.0"
    assert bus.find(vendor=0x8086, device=0x10FB, index=1).slot == "00:02.0"
    assert bus.find(class_code=0x0106).slot == "00:1f.2"
    assert bus.find(slot="00:02.0").device == 0x10FB
    with pytest.raises(DeviceError, match="8086:10fb number 2"):
        bus.find(vendor=0x8086, device=0x10FB, index=2)


def test_enumeration_alone_enables_nothing():
    machine = Machine({0x08: nic(), 0x10: nic()})
    _mirage.reset(machine=machine)
    bus = PciBus()
    assert all(not function.config_writes for function in machine.every())
    bus.find(slot="00:02.0").enable()
    assert machine.functions[0x08].command == 0
    assert machine.functions[0x10].command & 7 == 6


def test_firmware_assigned_bars_are_kept():
    card = nic()
    card.set_bar(0, 0xFEB00000)
    card.set_bar(3, 0xFEB40000)
    _mirage.reset(machine=Machine({0x08: card}))
    device = PciBus().find(vendor=0x8086)
    device.enable()
    assert [bar and (bar.size, bar.phys_addr, bar.is_64bit) for bar in device.bars()] == [
        (1 << 17, 0xFEB00000, True),
        None,
        None,
        (1 << 14, 0xFEB40000, True),
        None,
        None,
    ]
    assert card.bar_address(0) == 0xFEB00000


def test_partly_assigned_bars_do_not_collide():
    taken = nic()
    taken.set_bar(0, 0xC0000000)
    taken.set_bar(3, 0xC0020000)
    card = nic()
    _mirage.reset(machine=Machine({0x08: taken, 0x10: card}))
    PciBus().find(slot="00:02.0").enable()
    assert card.bar_address(0) == 0xC0040000
    assert card.bar_address(3) == 0xC0024000


def test_device_too_large_for_window_is_named_and_others_work():
    huge = PciFunction(0x10DE, 0x1234, 0x0300, bars={0: (1 << 30, 0)})
    card = nic()
    _mirage.reset(machine=Machine({0x08: huge, 0x10: card}))
    bus = PciBus()
    bus.find(slot="00:02.0").enable()
    with pytest.raises(DeviceError, match=r"00:01\.0: no room for BAR 0 of 1073741824 octets"):
        bus.find(slot="00:01.0").enable()


def test_large_64bit_bar_goes_above_4g():
    card = PciFunction(0x10DE, 0x1234, 0x0300, bars={0: (1 << 30, 12)})
    _mirage.reset(machine=Machine({0x08: card}))
    PciBus().find(vendor=0x10DE).enable()
    assert card.bar_address(0) == 1 << 36


@pytest.mark.parametrize("has_numbers", [False, True])
def test_functions_behind_nested_bridges(has_numbers):
    machine = Machine({0x00: PciFunction(0x8086, 0x29C0, 0x0600)})
    outer = machine.add(0x18, PciBridge())
    other = machine.add(0x20, PciBridge())
    inner = machine.add(0x00, PciBridge(), outer)
    deep = machine.add(0x00, nic(), inner)
    beside = machine.add(0x00, nic(), other)
    big = machine.add(0x08, PciFunction(0x10DE, 0x1234, 0x0300, bars={0: (1 << 29, 12)}), other)
    if has_numbers:
        for bridge, numbers in ((outer, (0, 5, 6)), (inner, (5, 6, 6)), (other, (0, 7, 7))):
            bridge.config[0x18:0x1B] = bytes(numbers)
    _mirage.reset(machine=machine)
    bus = PciBus()
    slots = [device.slot for device in bus.devices]
    numbers = ("05", "06", "07") if has_numbers else ("01", "02", "03")
    behind = [f"{number}:00.0" for number in numbers] + [f"{numbers[2]}:01.0"]
    assert slots == ["00:00.0", "00:03.0", "00:04.0", *behind]
    for index in range(2):
        device = bus.find(vendor=0x8086, device=0x10FB, index=index)
        device.enable()
        # Reaches the model only when every window on the way is right.
        assert device.map_bar(0, 0, 1 << 17, "I")[5] == 0
    device = bus.find(vendor=0x10DE)
    device.enable()
    assert big.bar_address(0) >= 1 << 36
    assert device.map_bar(0, 0, 4096, "I")[0] == 0
    assert deep.bar_address(0) >> 20 != beside.bar_address(0) >> 20


def test_unassigned_device_in_firmware_window():
    machine = Machine()
    bridge = machine.add(0x18, PciBridge())
    bridge.config[0x18:0x1B] = bytes((0, 1, 1))
    bridge._put(0x20, 0xFE00, 2)
    bridge._put(0x22, 0xFE10, 2)
    first = machine.add(0x00, nic(), bridge)
    first.set_bar(0, 0xFE000000)
    first.set_bar(3, 0xFE020000)
    card = machine.add(0x08, nic(), bridge)
    _mirage.reset(machine=machine)
    device = PciBus().find(slot="01:01.0")
    device.enable()
    assert device.map_bar(3, 0x2000, 64, "I")[0] == 0
    assert 0xFE024000 <= card.bar_address(3) < 0xFE200000


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_any_set_of_bars_is_assigned_aligned_and_apart(data):
    """The fake machine asserts on each access that no two functions decode it."""
    machine = Machine()
    bridges = [None]
    for number in range(data.draw(st.integers(0, 3))):
        parent = data.draw(st.sampled_from(bridges))
        bridges.append(machine.add(number << 3, PciBridge(), parent))
    base = 0xC0000000
    for number in range(data.draw(st.integers(1, 6))):
        bars = {}
        index = 0
        while index < 6:
            flags = data.draw(st.sampled_from((None, 0, 8, 1, 4, 12)))
            if flags is None or (flags & 4 and index == 5):
                index += 1
                continue
            size = 1 << data.draw(st.integers(4, 5) if flags & 1 else st.integers(4, 21))
            bars[index] = (size, flags)
            index += 2 if flags & 4 else 1
        bridge = data.draw(st.sampled_from(bridges))
        function = machine.add((8 + number) << 3, PciFunction(0x1234, number, bars=bars), bridge)
        if bridge is None and data.draw(st.booleans()):
            for index, (size, flags) in bars.items():
                if not flags & 1:
                    base = base + size - 1 & -size
                    function.set_bar(index, base)
                    base += size
    world = _mirage.reset(machine=machine)
    bus = PciBus()
    kept = {
        (function, index): function.bar_address(index)
        for function in machine.every()
        for index in function.bar_sizes
        if function.bar_address(index)
    }
    for device in bus.devices:
        device.enable()
    for (function, index), phys_addr in kept.items():
        assert function.bar_address(index) == phys_addr
    for device in bus.devices:
        for bar in device.bars():
            if bar is not None and not bar.is_io:
                assert bar.phys_addr
                assert bar.phys_addr % bar.size == 0
                for offset in (0, bar.size - 4):
                    assert machine.mmio_read(bar.phys_addr + offset, 4) == 0
    assert world.machine is machine


def test_capability_list_with_loop_ends():
    card = nic()
    card.config[card.msix_offset + 1] = card.msix_offset
    _mirage.reset(machine=Machine({0x08: card}))
    assert len(PciBus().find(vendor=0x8086).capabilities()) == 48


def test_device_in_low_power_state_is_woken():
    card = nic(power_state=3)
    _mirage.reset(machine=Machine({0x08: card}))
    PciBus().find(vendor=0x8086).enable()
    assert card.config[card.power_offset + 4] & 3 == 0


def test_device_that_stays_asleep_is_an_error():
    card = nic(power_state=3)
    card.writable[card.power_offset + 4] = 0
    _mirage.reset(machine=Machine({0x08: card}))
    with pytest.raises(DeviceError, match="low-power"):
        PciBus().find(vendor=0x8086).enable()


def test_msix_fires_its_own_source_and_mask_defers_it():
    card = nic()
    world = _mirage.reset(machine=Machine({0x08: card}))
    device = PciBus().find(vendor=0x8086)
    device.enable()
    first, second = device.enable_msix(2)
    card.interrupt(1)
    assert _mirage.wait(0) == 1 << second
    device.mask_msix(0, True)
    card.interrupt(0)
    assert world.pending == 0
    device.mask_msix(0, False)
    assert _mirage.wait(0) == 1 << first
    assert card.command & 0x400
    assert device.enable_msix(65) is None


def test_map_bar_outside_is_refused():
    _mirage.reset(machine=Machine({0x08: nic()}))
    device = PciBus().find(vendor=0x8086)
    device.enable()
    for index, offset, length in ((0, 0, (1 << 17) + 4), (0, -4, 8), (1, 0, 4), (6, 0, 4), (3, 1 << 14, 4)):
        with pytest.raises(DeviceError):
            device.map_bar(index, offset, length, "I")


def machine_with_other_roots():
    """Bus 0 with a card, root 8 with one, and root 32 with one behind a bridge that the firmware numbered."""
    machine = Machine({0x00: PciFunction(0x8086, 0x29C0, 0x0600), 0x08: nic()})
    machine.add(0x800, nic())
    bridge = machine.add(0x2000, PciBridge())
    bridge.config[0x18:0x1B] = bytes((32, 33, 33))
    machine.add(0x00, nic(), bridge)
    return machine


def test_other_root_buses_are_found_after_bus_0():
    machine = machine_with_other_roots()
    _mirage.reset(machine=machine)
    bus = PciBus()
    reads = machine.reads
    assert bus.find(vendor=0x8086, device=0x10FB).slot == "00:01.0"
    # They cost a machine that has what is wanted on bus 0 nothing.
    assert machine.reads == reads
    assert [bus.find(vendor=0x8086, device=0x10FB, index=n).slot for n in (1, 2)] == ["08:00.0", "21:00.0"]
    assert bus.find(slot="21:00.0").parent.slot == "20:00.0"
    with pytest.raises(DeviceError, match="number 3"):
        bus.find(vendor=0x8086, device=0x10FB, index=3)
    for index in range(3):
        device = bus.find(vendor=0x8086, device=0x10FB, index=index)
        device.enable()
        assert device.map_bar(0, 0, 1 << 17, "I")[5] == 0
    assert len({function.bar_address(0) for function in machine.every() if function.bar_sizes}) == 3


def test_addresses_of_other_roots_are_kept_free():
    machine = machine_with_other_roots()
    here = machine.functions[0x08]
    # The firmware had room for the card on root 8 only, and at the very place that comes first.
    base = machine.windows[0][0]
    machine.roots[8][0].set_bar(0, base)
    machine.add(0x10, PciFunction(0x1234, 0x1111, 0x0300, bars={0: (4096, 0)})).set_bar(0, base + (1 << 24))
    _mirage.reset(machine=machine)
    PciBus().find(vendor=0x8086, device=0x10FB).enable()
    assert here.bar_address(0) >= base + (1 << 17)


def test_unnumbered_bridge_does_not_take_the_number_of_another_root():
    machine = Machine({0x00: PciFunction(0x8086, 0x29C0, 0x0600)})
    machine.add(0x100, nic())
    bridge = machine.add(0x18, PciBridge())
    machine.add(0x00, nic(), bridge)
    _mirage.reset(machine=machine)
    bus = PciBus()
    assert [bus.find(vendor=0x8086, device=0x10FB, index=n).slot for n in (0, 1)] == ["02:00.0", "01:00.0"]


@pytest.mark.parametrize("numbers", [(0, 3, 3), (0, 0, 0)])
def test_two_bridges_with_one_number_do_not_make_a_circle(numbers):
    machine = Machine({0x00: PciFunction(0x8086, 0x29C0, 0x0600)})
    for devfn in (0x18, 0x20):
        machine.add(0x00, nic(), machine.add(devfn, PciBridge())).config[0x3C] = 0
        machine.functions[devfn].config[0x18:0x1B] = bytes(numbers)
    _mirage.reset(machine=machine)
    assert len(PciBus().devices) == (4 if numbers[1] else 5)
