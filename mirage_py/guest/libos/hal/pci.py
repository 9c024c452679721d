# SPDX-License-Identifier: MIT
"""PCI (PCI Local Bus 3.0, PCI Express Base): functions, capabilities, BARs, interrupts.

`PciBus` enumerates and touches nothing else. A function's memory decoding and bus mastering are switched on by
`PciDevice.enable()`, which a driver calls for the one device that it was given: no other device can do DMA.
"""

import _mirage
from micropython import const

from .mmio import DeviceError

# Configuration space header (PCI 3.0, section 6.1).
VENDOR_ID = const(0x00)
DEVICE_ID = const(0x02)
COMMAND = const(0x04)
STATUS = const(0x06)
REVISION_ID = const(0x08)
CLASS = const(0x0A)
HEADER_TYPE = const(0x0E)
BAR0 = const(0x10)
SUBSYSTEM_VENDOR_ID = const(0x2C)
SUBSYSTEM_ID = const(0x2E)
CAPABILITIES = const(0x34)
INTERRUPT_LINE = const(0x3C)
INTERRUPT_PIN = const(0x3D)
PRIMARY_BUS = const(0x18)
SECONDARY_BUS = const(0x19)
SUBORDINATE_BUS = const(0x1A)

COMMAND_IO = const(0x001)
COMMAND_MEMORY = const(0x002)
COMMAND_MASTER = const(0x004)
COMMAND_INTX_DISABLE = const(0x400)
STATUS_CAPABILITIES = const(0x10)
HEADER_MULTIFUNCTION = const(0x80)

# Capability identifiers.
CAP_POWER = const(0x01)
CAP_MSI = const(0x05)
CAP_VENDOR = const(0x09)
CAP_PCIE = const(0x10)
CAP_MSIX = const(0x11)

MSIX_ENABLE = const(0x8000)
MSIX_FUNCTION_MASK = const(0x4000)
MSIX_VECTOR_MASKED = const(1)

_POWER_STATE_MASK = const(3)
_POWER_UP_US = const(10000)  # PCI Power Management 1.2, table 5-6: D3hot to D0


def slot_name(bdf):
    """A bus/device/function number as people write it: "00:02.0"."""
    return "%02x:%02x.%d" % (bdf >> 8, bdf >> 3 & 31, bdf & 7)


class Bar:
    """A base address register that is there. size in octets; phys_addr 0 where nobody assigned one yet."""

    def __init__(self, index, size, phys_addr, is_io, is_64bit, is_prefetchable):
        self.index = index
        self.size = size
        self.phys_addr = phys_addr
        self.is_io = is_io
        self.is_64bit = is_64bit
        self.is_prefetchable = is_prefetchable


class PciDevice:
    """One function. vendor, device, class_code (class << 8 | subclass), prog_if, revision: what its header says."""

    def __init__(self, bus, bdf, parent):
        self._bus = bus
        self.bdf = bdf
        self.parent = parent  # the bridge above, or None
        self.slot = slot_name(bdf)
        self.vendor = self.read(VENDOR_ID, 2)
        self.device = self.read(DEVICE_ID, 2)
        self.class_code = self.read(CLASS, 2)
        self.prog_if = self.read(REVISION_ID + 1, 1)
        self.revision = self.read(REVISION_ID, 1)
        self.is_bridge = self.read(HEADER_TYPE, 1) & 0x7F == 1
        self._bars = None
        self._msix_table = None

    def read(self, offset, size):
        """Reads configuration space: 1, 2 or 4 octets at an offset aligned to that."""
        return _mirage.pci_read(self.bdf, offset, size)

    def write(self, offset, size, value):
        _mirage.pci_write(self.bdf, offset, size, value)

    # --- capabilities ---

    def capabilities(self):
        """[(identifier, offset)] in the order of the list. A list that loops or leaves its space is cut there."""
        found = []
        if not self.read(STATUS, 2) & STATUS_CAPABILITIES:
            return found
        offset = self.read(CAPABILITIES, 1) & 0xFC
        # 48 capabilities of 4 octets fill the space behind the header: more is a loop.
        while offset >= 0x40 and len(found) < 48:
            found.append((self.read(offset, 1), offset))
            offset = self.read(offset + 1, 1) & 0xFC
        return found

    def capability(self, identifier):
        """The offset of the first capability of that kind, or None."""
        for cap_id, offset in self.capabilities():
            if cap_id == identifier:
                return offset
        return None

    # --- base address registers ---

    def bars(self):
        """A list of six: Bar, or None where there is no register (also the upper half of a 64-bit one).

        Sizing writes ones into the registers, so decoding is off meanwhile (PCI 3.0, section 6.2.5.1).
        """
        if self._bars is not None:
            return self._bars
        command = self.read(COMMAND, 2)
        self.write(COMMAND, 2, command & ~(COMMAND_IO | COMMAND_MEMORY))
        bars = [None] * 6
        index = 0
        end = 2 if self.is_bridge else 6
        while index < end:
            bar, used = self._size_bar(index, end)
            bars[index] = bar
            index += used
        self.write(COMMAND, 2, command)
        self._bars = bars
        return bars

    def _size_bar(self, index, end):
        """(Bar or None, registers used)."""
        offset = BAR0 + 4 * index
        value = self.read(offset, 4)
        self.write(offset, 4, 0xFFFFFFFF)
        mask = self.read(offset, 4)
        self.write(offset, 4, value)
        if mask in (0, 0xFFFFFFFF):
            return None, 1
        if mask & 1:
            size = -(mask & 0xFFFC) & 0xFFFF
            return Bar(index, size, value & 0xFFFC, True, False, False), 1
        is_64bit = mask & 6 == 4 and index + 1 < end
        mask &= 0xFFFFFFF0
        phys_addr = value & 0xFFFFFFF0
        width = 32
        if is_64bit:
            high = self.read(offset + 4, 4)
            self.write(offset + 4, 4, 0xFFFFFFFF)
            mask |= self.read(offset + 4, 4) << 32
            self.write(offset + 4, 4, high)
            phys_addr |= high << 32
            width = 64
        size = -mask & (1 << width) - 1
        return Bar(index, size, phys_addr, False, is_64bit, bool(value & 8)), 2 if is_64bit else 1

    def assign_bar(self, bar, phys_addr):
        """Writes a base address. Decoding is off meanwhile: half an address may be somebody else's."""
        command = self.read(COMMAND, 2)
        self.write(COMMAND, 2, command & ~(COMMAND_IO | COMMAND_MEMORY))
        self.write(BAR0 + 4 * bar.index, 4, phys_addr & 0xFFFFFFFF)
        if bar.is_64bit:
            self.write(BAR0 + 4 * bar.index + 4, 4, phys_addr >> 32)
        self.write(COMMAND, 2, command)
        bar.phys_addr = phys_addr

    def map_bar(self, index, offset, len_bytes, typecode):
        """A typed view ('B', 'H', 'I', 'Q') of a range of BAR `index`: device memory, item by item.

        Raises DeviceError when the range is not inside the BAR, or cannot be mapped.
        """
        bar = self.bars()[index] if 0 <= index < 6 else None
        if bar is None or bar.is_io or not bar.phys_addr:
            raise DeviceError("%s: BAR %d is no memory" % (self.slot, index))
        if offset < 0 or len_bytes <= 0 or offset + len_bytes > bar.size:
            raise DeviceError("%s: %d octets at 0x%x are outside BAR %d" % (self.slot, len_bytes, offset, index))
        try:
            return _mirage.map_mmio(bar.phys_addr + offset, len_bytes, typecode)
        except OSError as error:
            raise DeviceError("%s: BAR %d cannot be mapped: %s" % (self.slot, index, error))

    # --- switching on and off ---

    def enable(self):
        """Wakes the function up, sees to its addresses, and lets it decode memory and do DMA."""
        self._power_on()
        if self._unassigned() is not None:
            self._bus.assign_addresses()
            bar = self._unassigned()
            if bar is not None:
                raise DeviceError("%s: no room for BAR %d of %d octets" % (self.slot, bar.index, bar.size))
        bridge = self.parent
        while bridge is not None:
            bridge.write(COMMAND, 2, bridge.read(COMMAND, 2) | COMMAND_MEMORY | COMMAND_MASTER)
            bridge = bridge.parent
        self.write(COMMAND, 2, self.read(COMMAND, 2) & ~COMMAND_IO | COMMAND_MEMORY | COMMAND_MASTER)

    def _unassigned(self):
        for bar in self.bars():
            if bar is not None and not bar.is_io and not bar.phys_addr:
                return bar
        return None

    def disable(self):
        """Ends DMA and decoding."""
        self.write(COMMAND, 2, self.read(COMMAND, 2) & ~(COMMAND_MEMORY | COMMAND_MASTER))

    def _power_on(self):
        offset = self.capability(CAP_POWER)
        if offset is None:
            return
        state = self.read(offset + 4, 2)
        if state & _POWER_STATE_MASK == 0:
            return
        self.write(offset + 4, 2, state & ~_POWER_STATE_MASK)
        end_ns = _mirage.monotonic_ns() + _POWER_UP_US * 1000
        while _mirage.monotonic_ns() < end_ns:
            pass
        if self.read(offset + 4, 2) & _POWER_STATE_MASK:
            raise DeviceError("%s: stays in a low-power state" % self.slot)

    # --- interrupts ---

    def enable_msix(self, count=1):
        """Gives MSI-X vectors 0 to count - 1 an interrupt source each and switches MSI-X on (PCI 3.0, section 6.8.2).

        Returns the list of sources for the platform's wait, or None when the function has no MSI-X, has fewer
        vectors, or the platform has no sources left.
        """
        offset = self.capability(CAP_MSIX)
        if offset is None:
            return None
        control = self.read(offset + 2, 2)
        if (control & 0x7FF) + 1 < count:
            return None
        location = self.read(offset + 4, 4)
        table = self.map_bar(location & 7, location & ~7, 16 * count, "I")
        sources = []
        # Masked as a whole while the table is half written.
        self.write(offset + 2, 2, control | MSIX_ENABLE | MSIX_FUNCTION_MASK)
        for vector in range(count):
            irq = _mirage.irq_alloc()
            if irq is None:
                self.write(offset + 2, 2, control & ~MSIX_ENABLE)
                return None
            source, address, data = irq
            table[4 * vector] = address & 0xFFFFFFFF
            table[4 * vector + 1] = address >> 32
            table[4 * vector + 2] = data
            table[4 * vector + 3] = 0
            sources.append(source)
        self.write(COMMAND, 2, self.read(COMMAND, 2) | COMMAND_INTX_DISABLE)
        self.write(offset + 2, 2, control & ~MSIX_FUNCTION_MASK | MSIX_ENABLE)
        self._msix_table = table
        return sources

    def mask_msix(self, vector, is_masked):
        """Masks or unmasks one vector at the table; what fires meanwhile stays pending in the function."""
        self._msix_table[4 * vector + 3] = MSIX_VECTOR_MASKED if is_masked else 0

    def enable_intx(self):
        """The interrupt source of the function's INTx pin, or None. The source starts masked: see unmask_intx()."""
        if not self.read(INTERRUPT_PIN, 1):
            return None
        source = _mirage.irq_legacy(self.read(INTERRUPT_LINE, 1))
        if source is not None:
            self.write(COMMAND, 2, self.read(COMMAND, 2) & ~COMMAND_INTX_DISABLE)
        return source

    def unmask_intx(self, source):
        """Lets the line fire again; the driver has quieted the device before."""
        _mirage.irq_legacy_unmask(source)


class PciBus:
    """All functions that the platform's configuration access reaches.

    devices: those of bus 0 and behind its bridges, in the order of their addresses; then those of other root buses,
    which no bridge leads to (QEMU's pxb and pxb-pcie, one for each NUMA node). Numbers of such have to be tried, 32
    reads for each: this is done when something is looked for that is not below bus 0.
    """

    def __init__(self):
        self.devices = []
        self._last_bus = _mirage.pci_last_bus()
        self._highest_bus = 0
        self._seen = bytearray(256)  # by bus number: 1 when it was scanned
        self._is_complete = self._last_bus < 0
        if self._last_bus >= 0:
            self._scan(0, None)

    def find(self, vendor=None, device=None, class_code=None, slot=None, index=0):
        """The index-th function that matches.

        device: a number, or a tuple of several; class_code: class << 8 | subclass; slot: "00:02.0".
        Returns a PciDevice. Raises DeviceError, naming what was looked for, when there is none.
        """
        left = index
        at = 0
        while at < len(self.devices) or self._scan_other_roots():
            found = self.devices[at]
            at += 1
            if vendor is not None and found.vendor != vendor:
                continue
            if (
                device is not None
                and found.device != device
                and not (isinstance(device, tuple) and found.device in device)
            ):
                continue
            if class_code is not None and found.class_code != class_code:
                continue
            if slot is not None and found.slot != slot:
                continue
            if left == 0:
                return found
            left -= 1
        raise DeviceError("no PCI device %s" % _describe(vendor, device, class_code, slot, index))

    def _scan_other_roots(self):
        """Adds the functions of the root buses besides bus 0. True when there are some, and it was not done before."""
        count = len(self.devices)
        if self._is_complete:
            return False
        self._is_complete = True
        for bus in range(1, self._last_bus + 1):
            if not self._seen[bus] and self._answers(bus):
                self._scan(bus, None)
        return len(self.devices) > count

    def _answers(self, bus):
        for bdf in range(bus << 8, bus + 1 << 8, 8):
            if _mirage.pci_read(bdf, VENDOR_ID, 2) != 0xFFFF:
                return True
        return False

    def _scan(self, bus, parent):
        self._seen[bus] = 1
        self._highest_bus = max(self._highest_bus, bus)
        bridges = []
        for slot in range(32):
            bdf = bus << 8 | slot << 3
            if _mirage.pci_read(bdf, VENDOR_ID, 2) == 0xFFFF:
                continue
            functions = 8 if _mirage.pci_read(bdf, HEADER_TYPE, 1) & HEADER_MULTIFUNCTION else 1
            for function in range(functions):
                if function and _mirage.pci_read(bdf + function, VENDOR_ID, 2) == 0xFFFF:
                    continue
                found = PciDevice(self, bdf + function, parent)
                self.devices.append(found)
                if found.is_bridge:
                    bridges.append(found)
                    self._highest_bus = max(self._highest_bus, found.read(SUBORDINATE_BUS, 1))
        for bridge in bridges:
            self._scan_behind(bridge)

    def _scan_behind(self, bridge):
        secondary = bridge.read(SECONDARY_BUS, 1)
        if secondary:
            # A number that does not lead down would lead in a circle.
            if bridge.bdf >> 8 < secondary <= self._last_bus and not self._seen[secondary]:
                self._scan(secondary, bridge)
            return
        # The firmware left the bridge unnumbered: the next bus is its, and all below it for now.
        secondary = self._highest_bus + 1
        while secondary <= self._last_bus and self._answers(secondary):
            secondary += 1  # another root has that number
        if secondary > self._last_bus:
            return
        self._highest_bus = secondary
        bridge.write(PRIMARY_BUS, 1, bridge.bdf >> 8)
        bridge.write(SECONDARY_BUS, 1, secondary)
        bridge.write(SUBORDINATE_BUS, 1, 255)
        self._scan(secondary, bridge)
        bridge.write(SUBORDINATE_BUS, 1, self._highest_bus)

    def assign_addresses(self):
        """Gives every memory BAR without an address one. Nothing that has one is moved."""
        from .pci_assign import assign, is_any_assigned

        # Where a firmware was at work, it may have been on other roots too.
        if is_any_assigned(self.devices):
            self._scan_other_roots()
        assign(self.devices)


def _describe(vendor, device, class_code, slot, index):
    words = []
    if vendor is not None:
        devices = device if isinstance(device, tuple) else (device,)
        words.append(" or ".join("%04x:%s" % (vendor, "*" if one is None else "%04x" % one) for one in devices))
    if class_code is not None:
        words.append("of class %04x" % class_code)
    if slot is not None:
        words.append("at %s" % slot)
    if index:
        words.append("number %d" % index)
    return " ".join(words)
