# SPDX-License-Identifier: MIT
"""Addresses for BARs that the firmware left without one.

BARs go below 4 GiB, except large 64-bit ones. Behind a bridge they must lie in its windows: those that the firmware
set are used as they are; others are cut here, one stretch per bridge that holds all that is below it. What has an
address already is never moved, and nothing is put on top of it.
"""

import _mirage
from micropython import const

_LOW = const(0)  # below 4 GiB: any BAR; a bridge's memory window
_HIGH = const(1)  # above: 64-bit BARs; a bridge's prefetchable window
_LARGE = const(0x10000000)  # a 64-bit BAR from this size on goes above 4 GiB
_WINDOW_UNIT = const(0x100000)  # bridge windows come in MiB (PCI-to-PCI Bridge 1.2, section 3.2.5.8)

_MEMORY_BASE = const(0x20)
_PREFETCHABLE_BASE = const(0x24)
_PREFETCHABLE_BASE_UPPER = const(0x28)
_PREFETCHABLE_LIMIT_UPPER = const(0x2C)


class _Space:
    """A range of addresses with what is taken in it."""

    def __init__(self, base, len_bytes):
        self.end = base + len_bytes
        self.base = base
        self.taken = []  # (base, end), sorted

    def reserve(self, base, end):
        if base < end:
            self.taken.append((base, end))
            self.taken.sort()

    def take(self, size, align):
        """The lowest free address for `size` octets, or None."""
        candidate = self.base + align - 1 & ~(align - 1)
        for base, end in self.taken:
            if candidate + size <= base:
                break
            if candidate < end:
                candidate = end + align - 1 & ~(align - 1)
        if candidate + size > self.end:
            return None
        self.reserve(candidate, candidate + size)
        return candidate


def assign(devices):
    """Assigns the memory BARs of `devices` (PciDevice) that have no address; those without room stay as they are."""
    for kind in (_LOW, _HIGH):
        window = _mirage.pci_window(kind)
        if window is None:
            continue
        space = _Space(window[0], window[1])
        # Zero is "nothing", to a BAR and to us.
        space.reserve(0, 4096)
        _reserve_assigned(space, devices)
        _fill(space, devices, None, kind)


def is_any_assigned(devices):
    """Whether a memory BAR of `devices` has an address."""
    for device in devices:
        for bar in device.bars():
            if bar is not None and not bar.is_io and bar.phys_addr:
                return True
    return False


def _reserve_assigned(space, devices):
    for device in devices:
        for bar in device.bars():
            if bar is not None and not bar.is_io and bar.phys_addr:
                space.reserve(bar.phys_addr, bar.phys_addr + bar.size)
        if device.is_bridge:
            for kind in (_LOW, _HIGH):
                base, end = _bridge_window(device, kind)
                space.reserve(base, end)


def _kind(bar):
    return _HIGH if bar.is_64bit and bar.is_prefetchable and bar.size >= _LARGE else _LOW


def _wanting(devices, parent, kind):
    """What wants addresses directly below `parent`: [(align, size, device, bar or None for a bridge's window)],
    the largest alignment first, so that packing leaves no holes.
    """
    wanting = []
    for device in devices:
        if device.parent is not parent:
            continue
        for bar in device.bars():
            if bar is not None and not bar.is_io and not bar.phys_addr and _kind(bar) == kind:
                wanting.append((bar.size, bar.size, device, bar))
        if device.is_bridge and _bridge_window(device, kind)[1] == 0:
            align = _WINDOW_UNIT
            size = 0
            for part_align, part_size, _, _ in _wanting(devices, device, kind):
                align = max(align, part_align)
                size += part_size
            if size:
                size = size + align - 1 & ~(align - 1)
                wanting.append((align, size, device, None))
    wanting.sort(key=lambda entry: -entry[0])
    return wanting


def _fill(space, devices, parent, kind):
    """Places what is below `parent` into `space`, and then what is below its bridges."""
    for align, size, device, bar in _wanting(devices, parent, kind):
        if bar is None and not _can_open_window(device, kind):
            continue
        address = space.take(size, align)
        if address is None:
            continue
        if bar is not None:
            device.assign_bar(bar, address)
        else:
            _set_bridge_window(device, kind, address, size)
    for device in devices:
        if device.parent is parent and device.is_bridge:
            base, end = _bridge_window(device, kind)
            if end:
                below = _Space(base, end - base)
                _reserve_assigned(below, [other for other in devices if _is_below(other, device)])
                _fill(below, devices, device, kind)


def _is_below(device, bridge):
    parent = device.parent
    while parent is not None and parent is not bridge:
        parent = parent.parent
    return parent is bridge


def _bridge_window(device, kind):
    """(base, end) of a bridge's window; (0, 0) when it is closed."""
    offset = _PREFETCHABLE_BASE if kind == _HIGH else _MEMORY_BASE
    base_register = device.read(offset, 2)
    limit_register = device.read(offset + 2, 2)
    base = (base_register & 0xFFF0) << 16
    limit = (limit_register & 0xFFF0) << 16
    if kind == _HIGH and base_register & 0xF == 1:
        base |= device.read(_PREFETCHABLE_BASE_UPPER, 4) << 32
        limit |= device.read(_PREFETCHABLE_LIMIT_UPPER, 4) << 32
    if base == 0 or limit < base:
        return (0, 0)
    return (base, limit + _WINDOW_UNIT)


def _can_open_window(device, kind):
    return kind == _LOW or device.read(_PREFETCHABLE_BASE, 2) & 0xF == 1


def _set_bridge_window(device, kind, base, size):
    limit = base + size - _WINDOW_UNIT
    offset = _PREFETCHABLE_BASE if kind == _HIGH else _MEMORY_BASE
    if kind == _HIGH:
        device.write(_PREFETCHABLE_BASE_UPPER, 4, base >> 32)
        device.write(_PREFETCHABLE_LIMIT_UPPER, 4, limit >> 32)
    device.write(offset, 2, base >> 16 & 0xFFF0)
    device.write(offset + 2, 2, limit >> 16 & 0xFFF0)
