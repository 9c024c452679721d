# SPDX-License-Identifier: MIT
"""The C module `_mirage`, emulated for CPython over bytearrays and a machine that tests assemble.

What the C module promises is promised here too, and what it refuses is refused with the same exceptions (tests/contract
compares both). Tests call `reset()` first and steer the rest through the module's `world`: virtual time, console
input, interrupts, a `machine` with PCI functions (tests/fakes/machine.py), file descriptors.
"""

import mmap
from errno import EINVAL, ENODEV, EPERM

TARGET = "hvt"
PAGE_BYTES = 4096
_ITEM_BYTES = {"B": 1, "H": 2, "I": 4, "Q": 8}
SOURCE_CONSOLE = 0
SOCK_SOURCE = 31


class Exit(BaseException):
    """What exit() raises here, since a test must go on."""

    def __init__(self, code):
        super().__init__(code)
        self.code = code


class Terminated(SystemExit):
    """What wait() raises for an event loop that asked for it, when the machine is asked to end."""


class World:
    """Everything a test can look at or change behind the C module's functions."""

    def __init__(self, dma_bytes, dma_phys_addr, machine, arguments):
        # mmap, not bytearray: page-aligned as the platform's memory is, so that alignment means the same here.
        self.dma = memoryview(mmap.mmap(-1, dma_bytes))
        self.dma_phys_addr = dma_phys_addr
        self.machine = machine
        self.arguments = tuple(arguments)
        self.now_ns = 1_000_000_000
        self.tick_ns = 10_000  # what reading the nanosecond clock costs, so that a polling loop meets its timeout
        self.wall_offset_ns = 1_700_000_000_000_000_000
        self.console_out = bytearray()
        self.console_in = bytearray()
        self.console_end = False
        self.pending = 0  # interrupt sources that fired and that wait() has not reported
        self.sources = 0
        self.legacy_masked = set()
        self.legacy_unmasked = []
        self.on_wait = None  # called with the deadline when wait() would sleep; may fire() or advance the time
        self.waits = []  # the deadlines of all sleeps
        self.entropy_seed = 1
        self.fence_count = 0
        self.fds = {}  # fd -> object with read(memoryview) -> n | None | 0 and write(memoryview) -> n | None
        self.taps = {}  # interface name -> (fd, mtu, features) or an errno
        self.tap_maker = None  # what tap_create() calls with the address and the netmask; None: not permitted
        self.watched = {}
        if machine is not None:
            machine.world = self

    def fire(self, source):
        """Raises an interrupt source; wait() reports it once."""
        self.pending |= 1 << source

    def read_physical(self, phys_addr, len_bytes):
        """What a device reads by DMA. Outside the DMA region it is a test failure."""
        start = self._dma_offset(phys_addr, len_bytes)
        return bytes(self.dma[start : start + len_bytes])

    def write_physical(self, phys_addr, data):
        start = self._dma_offset(phys_addr, len(data))
        self.dma[start : start + len(data)] = data

    def _dma_offset(self, phys_addr, len_bytes):
        start = phys_addr - self.dma_phys_addr
        if start < 0 or len_bytes < 0 or start + len_bytes > len(self.dma):
            raise AssertionError(f"DMA outside the region: {phys_addr:#x}+{len_bytes}")
        return start


world = World(1 << 20, 0x200000, None, ())


def reset(dma_bytes=1 << 20, dma_phys_addr=0x200000, machine=None, arguments=()):
    """A fresh world; returns it. Frames and views of an earlier world stay readable but belong to nothing."""
    global world  # noqa: PLW0603
    world = World(dma_bytes, dma_phys_addr, machine, arguments)
    return world


# --- all targets ------------------------------------------------------------------------------------------------


def args():
    return world.arguments


def console_write(data):
    world.console_out += data.encode() if isinstance(data, str) else bytes(data)


def console_read(buf):
    count = min(len(buf), len(world.console_in))
    if count == 0:
        return -1 if world.console_end else 0
    buf[0:count] = world.console_in[:count]
    del world.console_in[:count]
    return count


def monotonic_ns():
    world.now_ns += world.tick_ns
    return world.now_ns


def now_ms():
    return world.now_ns // 1_000_000


def wall_ns():
    return world.wall_offset_ns + world.now_ns


def wait(deadline_ns):
    """Reports what fired; else lets virtual time pass up to the deadline. A wait that nothing can end is a failure."""
    while True:
        ready = world.pending
        for fd, (source, events) in world.watched.items():
            if world.fds[fd].ready() & events:
                ready |= 1 << source
        if world.console_in:
            ready |= 1 << SOURCE_CONSOLE
        world.pending = 0
        if ready or 0 <= deadline_ns <= world.now_ns:
            return ready
        world.waits.append(deadline_ns)
        before = (world.now_ns, world.pending)
        if world.on_wait is not None:
            world.on_wait(deadline_ns)
        if (world.now_ns, world.pending) == before:
            if deadline_ns < 0:
                raise AssertionError("wait() without a deadline, and nothing that could end it")
            world.now_ns = max(world.now_ns, deadline_ns)


def pause(deadline_ns):
    """For drivers: no request to end arrives there."""
    return wait(deadline_ns)


def defer_stop(is_deferred):
    pass


def entropy(buf):
    for index in range(len(buf)):
        world.entropy_seed = (world.entropy_seed * 6364136223846793005 + 1442695040888963407) % (1 << 64)
        buf[index] = world.entropy_seed >> 56


def exit(code):
    raise Exit(code)


def memory():
    return (16 << 20, 8 << 20, len(world.dma))


# --- net: buffers -----------------------------------------------------------------------------------------------


def _range(buf, start, len_bytes):
    # Octets, whatever the view's item: as C's buffer protocol has it.
    if start < 0 or len_bytes < 0 or start + len_bytes > memoryview(buf).nbytes:
        raise ValueError("out of bounds")


def _octets(buf):
    view = memoryview(buf)
    return view if view.format == "B" else view.cast("B")


def checksum(buf, start, len_bytes, initial):
    _range(buf, start, len_bytes)
    data = bytes(_octets(buf)[start : start + len_bytes])
    if len_bytes & 1:
        data += b"\0"
    total = initial
    for index in range(0, len(data), 2):
        total += data[index] << 8 | data[index + 1]
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total


def copy(dst, dst_start, src, src_start, len_bytes):
    _range(dst, dst_start, len_bytes)
    _range(src, src_start, len_bytes)
    target = _octets(dst)
    if target.readonly:
        raise TypeError("object with writable buffer required")
    target[dst_start : dst_start + len_bytes] = bytes(_octets(src)[src_start : src_start + len_bytes])


def take(src, start, len_bytes):
    _range(src, start, len_bytes)
    return bytes(_octets(src)[start : start + len_bytes])


def dma_region():
    return (world.dma, world.dma_phys_addr)


def _virt_addr(buf):
    import ctypes

    return ctypes.addressof(ctypes.c_char.from_buffer(buf)) if len(buf) else 0


def view(buf, start, len_bytes, typecode):
    item = _ITEM_BYTES.get(typecode)
    if item is None:
        raise ValueError("typecode")
    _range(buf, start, len_bytes)
    octets = _octets(buf)
    if len_bytes % item or (_virt_addr(octets) + start) % item:
        raise ValueError("alignment")
    part = octets[start : start + len_bytes]
    return part if typecode == "B" else part.cast(typecode)


def fence():
    world.fence_count += 1


# --- hvt: PCI, device memory, interrupts --------------------------------------------------------------------------


def pci_read(bdf, offset, size):
    _check_config(bdf, offset, size)
    if world.machine is None:
        return (1 << 8 * size) - 1
    return world.machine.pci_read(bdf, offset, size)


def pci_write(bdf, offset, size, value):
    _check_config(bdf, offset, size)
    if world.machine is not None:
        world.machine.pci_write(bdf, offset, size, value & (1 << 8 * size) - 1)


def _check_config(bdf, offset, size):
    if size not in (1, 2, 4) or offset % size or not 0 <= offset <= 4096 - size or not 0 <= bdf < 65536:
        raise ValueError("PCI configuration access")


def pci_last_bus():
    return -1 if world.machine is None else world.machine.last_bus


def pci_window(index):
    return None if world.machine is None else world.machine.windows.get(index)


class _Mmio:
    """A typed view of device memory: every item access is one access of the device model."""

    def __init__(self, machine, phys_addr, len_bytes, typecode):
        self._machine = machine
        self._phys_addr = phys_addr
        self._item = _ITEM_BYTES[typecode]
        self._count = len_bytes // self._item

    def __len__(self):
        return self._count

    def __getitem__(self, index):
        if not isinstance(index, int):
            raise TypeError("device memory is read item by item")
        if not 0 <= index < self._count:
            raise IndexError("device memory")
        return self._machine.mmio_read(self._phys_addr + index * self._item, self._item)

    def __setitem__(self, index, value):
        if not isinstance(index, int):
            raise TypeError("device memory is written item by item")
        if not 0 <= index < self._count:
            raise IndexError("device memory")
        if not 0 <= value < 1 << 8 * self._item:
            raise ValueError("register value out of range")
        self._machine.mmio_write(self._phys_addr + index * self._item, self._item, value)


def map_mmio(phys_addr, len_bytes, typecode):
    item = _ITEM_BYTES.get(typecode)
    if item is None:
        raise ValueError("typecode")
    if len_bytes <= 0 or phys_addr % item or len_bytes % item:
        raise OSError(EINVAL)
    dma_end = world.dma_phys_addr + len(world.dma)
    if phys_addr < dma_end and phys_addr + len_bytes > world.dma_phys_addr:
        raise OSError(EINVAL)
    return _Mmio(world.machine, phys_addr, len_bytes, typecode)


def irq_alloc():
    if world.sources >= 30:
        return None
    world.sources += 1
    return (world.sources, 0xFEE00000, 0x40 + world.sources)


def irq_legacy(line):
    if line == 0 or line >= 24:
        return None
    world.sources += 1
    world.legacy_masked.add(world.sources)
    return world.sources


def irq_legacy_unmask(source):
    world.legacy_masked.discard(source)
    world.legacy_unmasked.append(source)


# --- unix: TAP and file descriptors -------------------------------------------------------------------------------


def tap_open(name, vnet_header_bytes):
    if name not in world.taps:
        raise OSError(ENODEV)
    if isinstance(world.taps[name], int):
        raise OSError(world.taps[name])
    return world.taps[name]


def tap_create(name, vnet_header_bytes, host_address, host_netmask):
    if world.tap_maker is None:
        raise OSError(EPERM)
    world.taps[name] = world.tap_maker(host_address, host_netmask)
    return world.taps[name]


def fd_read(fd, buf, start, len_bytes):
    _range(buf, start, len_bytes)
    return world.fds[fd].read(_octets(buf)[start : start + len_bytes])


def fd_write(fd, buf, start, len_bytes):
    _range(buf, start, len_bytes)
    return world.fds[fd].write(bytes(_octets(buf)[start : start + len_bytes]))


def fd_close(fd):
    del world.fds[fd]
    world.watched.pop(fd, None)


def fd_watch(fd, events):
    if events == 0:
        source, _ = world.watched.pop(fd, (0, 0))
        return source
    source = world.watched.get(fd, (None, 0))[0]
    if source is None:
        world.sources += 1
        source = world.sources
    world.watched[fd] = (source, events)
    return source
