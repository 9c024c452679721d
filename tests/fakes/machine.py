# SPDX-License-Identifier: MIT
"""A machine for CPython tests: PCI functions and bridges, configuration space with its write masks, BARs, MSI-X.

A device model derives from PciFunction and implements mmio_read/mmio_write (and bar sizes and capabilities through the
constructor). What a guest must not do is an AssertionError: two functions decoding one address, DMA without bus
mastering, device memory accessed with decoding off.
"""

COMMAND = 0x04
COMMAND_MEMORY = 2
COMMAND_MASTER = 4
COMMAND_INTX_DISABLE = 0x400


class PciFunction:
    """One function. bars: {index: (size, flags)}; flags: 0 for 32-bit memory, 4 64-bit, 8 prefetchable, 1 I/O.

    msix: (vectors, bar index, table offset) or None. vendor_capabilities: bodies behind the two generic octets.
    """

    def __init__(
        self, vendor, device, class_code=0x0200, bars=None, msix=None, vendor_capabilities=(), power_state=None, pin=1
    ):
        self.machine = None
        self.config = bytearray(256)
        self.writable = bytearray(256)  # the bits that a write changes
        self.bar_sizes = dict(bars or {})
        self.msix = msix
        self.msix_offset = None
        self.power_offset = None
        self.config_writes = []
        self._put(0x00, vendor, 2)
        self._put(0x02, device, 2)
        self._put(0x0A, class_code, 2)
        self._put(0x3D, pin, 1)
        self.writable[0x3C] = 0xFF
        self.writable[COMMAND] = 0x07
        self.writable[COMMAND + 1] = 0x04
        for index, (size, flags) in self.bar_sizes.items():
            self._put(0x10 + 4 * index, flags, 4)
            mask = (1 << 64) - size
            self._allow(0x10 + 4 * index, mask & 0xFFFFFFFF & ~(3 if flags & 1 else 15), 4)
            if flags & 4:
                self._allow(0x14 + 4 * index, mask >> 32, 4)
        self._tail = 0x34
        self._next = 0x40
        if power_state is not None:
            self.power_offset = self.add_capability(0x01, bytes((3, 0, power_state, 0, 0, 0)))
            self.writable[self.power_offset + 4] = 3
        if msix is not None:
            vectors, bar, offset = msix
            body = (vectors - 1).to_bytes(2, "little") + (offset | bar).to_bytes(4, "little")
            body += (offset + 16 * vectors | bar).to_bytes(4, "little")
            self.msix_offset = self.add_capability(0x11, body)
            self.writable[self.msix_offset + 3] = 0xC0
            self.msix_table = bytearray(16 * vectors)
            self.msix_pending = set()
            for vector in range(vectors):
                self.msix_table[16 * vector + 12] = 1
        for body in vendor_capabilities:
            self.add_capability(0x09, body)

    def _put(self, offset, value, size):
        self.config[offset : offset + size] = value.to_bytes(size, "little")

    def _allow(self, offset, mask, size):
        self.writable[offset : offset + size] = mask.to_bytes(size, "little")

    def add_capability(self, identifier, body):
        offset = self._next
        self.config[self._tail] = offset
        self.config[offset] = identifier
        self.config[offset + 1] = 0
        self.config[offset + 2 : offset + 2 + len(body)] = body
        self.config[0x06] |= 0x10
        self._tail = offset + 1
        self._next = offset + 2 + len(body) + 3 & ~3
        return offset

    # --- configuration space ---

    def config_read(self, offset, size):
        if offset + size > 256:
            return 0
        return int.from_bytes(self.config[offset : offset + size], "little")

    def config_write(self, offset, size, value):
        self.config_writes.append((offset, size, value))
        for index, octet in enumerate(value.to_bytes(size, "little")):
            if offset + index < 256:
                mask = self.writable[offset + index]
                self.config[offset + index] = self.config[offset + index] & ~mask | octet & mask
        if self.msix_offset is not None:
            self._deliver_pending()

    @property
    def command(self):
        return self.config_read(COMMAND, 2)

    @property
    def is_master(self):
        return bool(self.command & COMMAND_MASTER)

    # --- BARs ---

    def bar_address(self, index):
        _, flags = self.bar_sizes[index]
        value = self.config_read(0x10 + 4 * index, 4) & ~15
        if flags & 4:
            value |= self.config_read(0x14 + 4 * index, 4) << 32
        return value

    def set_bar(self, index, phys_addr):
        """What firmware does."""
        self._put(0x10 + 4 * index, phys_addr & 0xFFFFFFFF | self.bar_sizes[index][1], 4)
        if self.bar_sizes[index][1] & 4:
            self._put(0x14 + 4 * index, phys_addr >> 32, 4)

    def decodes(self, phys_addr):
        """(bar index, offset) when the function answers at that address, else None."""
        if not self.command & COMMAND_MEMORY:
            return None
        for index, (size, flags) in self.bar_sizes.items():
            base = self.bar_address(index)
            if not flags & 1 and base <= phys_addr < base + size:
                return (index, phys_addr - base)
        return None

    def access_read(self, index, offset, size):
        if self.msix and index == self.msix[1] and 0 <= offset - self.msix[2] < len(self.msix_table):
            start = offset - self.msix[2]
            return int.from_bytes(self.msix_table[start : start + size], "little")
        return self.mmio_read(index, offset, size)

    def access_write(self, index, offset, size, value):
        if self.msix and index == self.msix[1] and 0 <= offset - self.msix[2] < len(self.msix_table):
            start = offset - self.msix[2]
            self.msix_table[start : start + size] = value.to_bytes(size, "little")
            self._deliver_pending()
            return
        self.mmio_write(index, offset, size, value)

    def mmio_read(self, index, offset, size):
        return 0

    def mmio_write(self, index, offset, size, value):
        pass

    # --- what a device does on its own ---

    def dma_read(self, phys_addr, len_bytes):
        assert self.is_master, "DMA without bus mastering"
        return self.machine.world.read_physical(phys_addr, len_bytes)

    def dma_write(self, phys_addr, data):
        assert self.is_master, "DMA without bus mastering"
        self.machine.world.write_physical(phys_addr, data)

    @property
    def has_msix_enabled(self):
        return self.msix_offset is not None and bool(self.config[self.msix_offset + 3] & 0x80)

    def interrupt(self, vector):
        """Raises an MSI-X vector, or stays pending while it is masked."""
        if not self.has_msix_enabled or vector >= self.msix[0]:
            return
        if self.config[self.msix_offset + 3] & 0x40 or self.msix_table[16 * vector + 12] & 1:
            self.msix_pending.add(vector)
            return
        assert self.is_master, "MSI-X without bus mastering"
        data = int.from_bytes(self.msix_table[16 * vector + 8 : 16 * vector + 12], "little")
        address = int.from_bytes(self.msix_table[16 * vector : 16 * vector + 8], "little")
        self.machine.message(address, data)

    def _deliver_pending(self):
        if not self.has_msix_enabled:
            return
        pending, self.msix_pending = self.msix_pending, set()
        for vector in pending:
            self.interrupt(vector)


class PciBridge(PciFunction):
    """A PCI-to-PCI bridge. has_high: its prefetchable window reaches above 4 GiB."""

    def __init__(self, has_high=True):
        super().__init__(0x1B36, 0x000C, 0x0604, pin=0)
        self.config[0x0E] = 1
        self.functions = {}  # device << 3 | function -> PciFunction
        for offset in (0x18, 0x19, 0x1A):
            self.writable[offset] = 0xFF
        for offset in (0x20, 0x22, 0x24, 0x26):
            self._allow(offset, 0xFFF0, 2)
        self._put(0x20, 0xFFF0, 2)  # base above limit: closed
        self._put(0x24, 0xFFF0, 2)
        if has_high:
            self.config[0x24] |= 1
            self.config[0x26] |= 1
            self._allow(0x28, 0xFFFFFFFF, 4)
            self._allow(0x2C, 0xFFFFFFFF, 4)

    def passes(self, phys_addr):
        if not self.command & COMMAND_MEMORY:
            return False
        base = (self.config_read(0x20, 2) & 0xFFF0) << 16
        limit = (self.config_read(0x22, 2) & 0xFFF0) << 16 | 0xFFFFF
        if base <= phys_addr <= limit:
            return True
        base = (self.config_read(0x24, 2) & 0xFFF0) << 16 | self.config_read(0x28, 4) << 32
        limit = (self.config_read(0x26, 2) & 0xFFF0) << 16 | 0xFFFFF | self.config_read(0x2C, 4) << 32
        return base <= phys_addr <= limit


class Machine:
    """PCI functions by bdf on bus 0; bridges hold those behind them. windows: {index: (base, len)} for pci_window().

    roots: {number: {devfn: function}}, buses that no bridge leads to. reads: how often configuration space was read.
    """

    def __init__(self, functions=None, last_bus=255, windows=None):
        self.world = None
        self.functions = {}
        self.roots = {}
        self.reads = 0
        self.last_bus = last_bus
        self.windows = windows if windows is not None else {0: (0xC0000000, 0x20000000), 1: (1 << 36, 1 << 36)}
        for bdf, function in (functions or {}).items():
            self.add(bdf, function)

    def add(self, bdf, function, bridge=None):
        own = bridge.functions if bridge is not None else self.roots.setdefault(bdf >> 8, {})
        if bridge is None and bdf >> 8 == 0:
            own = self.functions
        own[bdf & 0xFF] = function
        function.machine = self
        return function

    def every(self, functions=None):
        if functions is None:
            for others in self.roots.values():
                yield from self.every(others)
        for function in list((self.functions if functions is None else functions).values()):
            yield function
            if isinstance(function, PciBridge):
                yield from self.every(function.functions)

    def _find(self, bus, devfn, functions=None, own_bus=0):
        if functions is None:
            for number, others in self.roots.items():
                found = self._find(bus, devfn, others, number)
                if found is not None:
                    return found
        functions = self.functions if functions is None else functions
        if bus == own_bus:
            return functions.get(devfn)
        for function in functions.values():
            if isinstance(function, PciBridge):
                secondary, subordinate = function.config[0x19], function.config[0x1A]
                if secondary and secondary <= bus <= subordinate:
                    return self._find(bus, devfn, function.functions, secondary)
        return None

    def pci_read(self, bdf, offset, size):
        self.reads += 1
        function = self._find(bdf >> 8, bdf & 0xFF)
        return (1 << 8 * size) - 1 if function is None else function.config_read(offset, size)

    def pci_write(self, bdf, offset, size, value):
        function = self._find(bdf >> 8, bdf & 0xFF)
        if function is not None:
            function.config_write(offset, size, value)

    def _decode(self, phys_addr, functions=None):
        hits = []
        if functions is None:
            for others in self.roots.values():
                hits += self._decode(phys_addr, others)
        for function in (self.functions if functions is None else functions).values():
            hit = function.decodes(phys_addr)
            if hit is not None:
                hits.append((function, *hit))
            if isinstance(function, PciBridge) and function.passes(phys_addr):
                hits += self._decode(phys_addr, function.functions)
        assert len(hits) < 2, f"{len(hits)} functions decode {phys_addr:#x}"
        return hits

    def mmio_read(self, phys_addr, size):
        hits = self._decode(phys_addr)
        assert hits, f"nothing decodes {phys_addr:#x}"
        function, index, offset = hits[0]
        return function.access_read(index, offset, size)

    def mmio_write(self, phys_addr, size, value):
        hits = self._decode(phys_addr)
        assert hits, f"nothing decodes {phys_addr:#x}"
        function, index, offset = hits[0]
        function.access_write(index, offset, size, value)

    def message(self, address, data):
        """An MSI on its way to the processor: irq_alloc() of the fake hands out data 0x40 + source."""
        assert (address, 0x40 < data < 0x80) == (0xFEE00000, True), "MSI that nobody allocated"
        self.world.fire(data - 0x40)
