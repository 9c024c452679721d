# SPDX-License-Identifier: MIT
"""The model of the 82599 as a PCI function of the fake machine: the guest's driver runs on it in this process.

DMA outside the region that the guest gave is a test failure, and so is DMA without bus mastering.
"""

import heapq

import _mirage

from libos.driver.ixgbe import Ixgbe
from libos.hal.dma import Dma
from libos.hal.pci import PciBus
from mirage_py.nic.backends.pair import pair
from mirage_py.nic.frame import Frame
from mirage_py.nic.ixgbe import registers as r
from mirage_py.nic.ixgbe.device import Ixgbe82599
from tests.fakes.machine import COMMAND_INTX_DISABLE, Machine, PciFunction

MAC = bytes.fromhex("02aabbccdd01")
PEER = bytes.fromhex("02aabbccdd02")


class WorldDma:
    """The guest's DMA region as the device reaches it."""

    def __init__(self, function):
        self._function = function

    def view(self, address, length, write=False):
        world = self._function.machine.world
        start = address - world.dma_phys_addr
        if start < 0 or start + length > len(world.dma):
            return None
        assert self._function.is_master, "DMA without bus mastering"
        return world.dma[start : start + length]

    def read(self, address, length):
        return self._function.dma_read(address, length)

    def write(self, address, data):
        self._function.dma_write(address, bytes(data))


class WorldTimers:
    """The fake machine's time; what is due is done when time moves on."""

    def __init__(self):
        self.world = None
        self._queue = []
        self._count = 0

    def attach(self, world):
        self.world = world
        world.on_wait = self.on_wait

    def now_ns(self):
        return self.world.now_ns if self.world is not None else 0

    def call_at(self, deadline_ns, callback):
        self._count += 1
        heapq.heappush(self._queue, (deadline_ns, self._count, callback))

    def on_wait(self, deadline_ns):
        """The guest sleeps: time passes to the next timer, or to its deadline."""
        queue = self._queue
        if queue and (deadline_ns < 0 or queue[0][0] <= deadline_ns):
            self.world.now_ns = max(self.world.now_ns, queue[0][0])
        elif deadline_ns >= 0:
            self.world.now_ns = max(self.world.now_ns, deadline_ns)
        self.run()

    def run(self):
        while self._queue and self._queue[0][0] <= self.world.now_ns:
            heapq.heappop(self._queue)[2]()

    def advance(self, delta_ns):
        end = self.world.now_ns + delta_ns
        while self._queue and self._queue[0][0] <= end:
            self.world.now_ns = max(self.world.now_ns, self._queue[0][0])
            self.run()
        self.world.now_ns = end


class IxgbeFunction(PciFunction):
    """One card. `far` is the other end of its wire, unless `wire` is given; has_msix: else it has the pin only."""

    def __init__(self, has_msix=True, offloads=False, mac=MAC, wire=None):
        super().__init__(
            0x8086,
            0x10FB,
            bars={0: (r.BAR_BYTES, 12), 4: (16384, 12)},
            msix=(64, 4, 0) if has_msix else None,
        )
        self.config[0x3C] = 11
        self.timers = WorldTimers()
        self.wire, self.far = pair(offloads) if wire is None else (wire, None)
        self.pin = False
        self.messages = []
        self.reads = 0
        self.writes = []
        self.model = Ixgbe82599(mac, WorldDma(self), self, self.wire, self.timers, is_bus_master=lambda: self.is_master)

    # The model's interrupts.

    @property
    def mode(self):
        return "msix" if self.has_msix_enabled else "intx"

    def message(self, vector):
        self.messages.append(vector)
        self.interrupt(vector)

    def level(self, asserted):
        self.pin = asserted
        self._raise_pin()

    def _raise_pin(self):
        world = self.machine.world if self.machine is not None else None
        if world is None or not self.pin or self.command & COMMAND_INTX_DISABLE:
            return
        for source in range(1, world.sources + 1):
            if source not in world.legacy_masked:
                world.legacy_masked.add(source)
                world.fire(source)

    # The guest's accesses.

    def mmio_read(self, index, offset, size):
        assert (index, size, offset & 3) == (0, 4, 0), "a register is a word"
        self.reads += 1
        return self.model.regs[offset >> 2]

    def mmio_write(self, index, offset, size, value):
        assert (index, size, offset & 3) == (0, 4, 0), "a register is a word"
        self.writes.append((offset, value))
        self.model.regs[offset >> 2] = value

    # The far end.

    def arrive(self, *frames):
        self.far.send([f if isinstance(f, Frame) else Frame([f], len(f)) for f in frames])

    def sent(self):
        return [bytes(frame.joined()) for frame in self.far.receive(10000)]


def bring_up(dma_bytes=1 << 20, mtu=1500, queues=1, has_msix=True, offloads=False):
    """(driver, function, world) of a fresh machine."""
    function = IxgbeFunction(has_msix, offloads)
    world = _mirage.reset(machine=Machine({0x10: function}), dma_bytes=dma_bytes)
    function.timers.attach(world)
    driver = Ixgbe(PciBus().find(vendor=0x8086, device=0x10FB), Dma(), "net0", mtu, queues)
    return driver, function, world
