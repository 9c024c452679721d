# SPDX-License-Identifier: MIT
"""The 82599 as a PCI Express device of the vfio-user library: BARs, capabilities, interrupts, the wire in its loop."""

from __future__ import annotations

import struct
import time

from mirage_py.nic.backends.base import Backend
from mirage_py.nic.faults import Faults
from mirage_py.nic.ixgbe import registers as r
from mirage_py.nic.ixgbe.device import Ixgbe82599
from mirage_py.nic.ixgbe.timers import LoopTimers
from mirage_py.nic.vfio_user import pci_config
from mirage_py.nic.vfio_user.device import Device, Region
from mirage_py.nic.vfio_user.irq import Irqs
from mirage_py.nic.vfio_user.loop import ERROR, READ, WRITE, Loop
from mirage_py.nic.vfio_user.pci_config import PciConfig
from mirage_py.nic.vfio_user.protocol import PCI_CONFIG_REGION, PCI_INTX_IRQ, PCI_MSI_IRQ, PCI_MSIX_IRQ

VENDOR_INTEL = 0x8086
DEVICE_82599_SFP = 0x10FB
SUBSYSTEM_82599_SFP = 0x000C
CLASS_ETHERNET = 0x020000

_IO_BAR_BYTES = 32
_MSIX_BAR_BYTES = 16 * 1024
_MSIX_PBA = 0x2000
_EXPRESS_CAP = 0xA0
_DEVICE_CONTROL = _EXPRESS_CAP + 8
_INITIATE_FLR = 1 << 15
# How often a wire that is down (a TAP interface without `ip link set up`) is tried again.
_RETRY_NS = 100_000_000
_MSI_CAP, _MSIX_CAP, _POWER_CAP = 0x50, 0x70, 0x40


def config_space(mac: bytes) -> PciConfig:
    """The configuration space (datasheet chapter 9)."""
    config = PciConfig(VENDOR_INTEL, DEVICE_82599_SFP, CLASS_ETHERNET, 1, (VENDOR_INTEL, SUBSYSTEM_82599_SFP))
    config.add_bar(0, r.BAR_BYTES, pci_config.BAR_MEMORY_64 | pci_config.BAR_PREFETCHABLE)
    config.add_bar(2, _IO_BAR_BYTES, pci_config.BAR_IO)
    config.add_bar(4, _MSIX_BAR_BYTES, pci_config.BAR_MEMORY_64 | pci_config.BAR_PREFETCHABLE)
    config.add_capability(_POWER_CAP, pci_config.CAP_POWER, struct.pack("<HI", 0x4823, 0x2008), b"\0\0\x03\x81\0\0")
    # One vector, 64-bit address, maskable.
    msi = struct.pack("<HIIHHII", 0x0180, 0, 0, 0, 0, 0, 0)
    msi_mask = struct.pack("<HIIHHII", 0x0001, 0xFFFF_FFFC, 0xFFFF_FFFF, 0xFFFF, 0, 1, 0)
    config.add_capability(_MSI_CAP, pci_config.CAP_MSI, msi, msi_mask)
    msix = struct.pack("<HII", r.MSIX_VECTORS - 1, 4, _MSIX_PBA | 4)
    config.add_capability(_MSIX_CAP, pci_config.CAP_MSIX, msix, b"\x00\xc0")
    # Endpoint, version 2; 512 octets of payload, FLR; 5 GT/s by 8 lanes.
    express = struct.pack("<HIHHIHH", 0x0002, 0x1000_8CC2, 0x2810, 0, 0x0003_F482, 0, 0x1082) + bytes(0x28)
    express_mask = struct.pack("<HIHHIHH", 0, 0, 0xFFFF, 0, 0, 0x0DFB, 0)
    config.add_capability(_EXPRESS_CAP, pci_config.CAP_EXPRESS, express, express_mask)
    serial = mac[:3] + b"\xff\xff" + mac[3:]
    config.add_extended_capability(0x100, 0x0001, 2, bytes(0x34), b"\0" * 4 + b"\xff" * 12)
    config.add_extended_capability(0x140, 0x0003, 1, serial[::-1])
    config.seal()
    return config


class RegisterBar(Region):
    """BAR 0. Software accesses whole words; anything else is put together from them."""

    def __init__(self, model: Ixgbe82599) -> None:
        super().__init__(r.BAR_BYTES)
        self._regs = model.regs
        self._faults = model.faults

    def read(self, offset: int, length: int) -> bytes:
        if delay_ms := self._faults.read_delay_ms():
            time.sleep(delay_ms / 1000)
        if length == 4 and not offset & 3:
            return self._regs[offset >> 2].to_bytes(4, "little")
        first, last = offset >> 2, offset + length + 3 >> 2
        words = b"".join(self._regs[index].to_bytes(4, "little") for index in range(first, last))
        return words[offset & 3 : (offset & 3) + length]

    def write(self, offset: int, data: memoryview) -> None:
        if len(data) & 3 or offset & 3:
            # Smaller writes are not supported by the device (8.1.1): they have no effect.
            return
        for index in range(len(data) >> 2):
            self._regs[(offset >> 2) + index] = int.from_bytes(data[4 * index : 4 * index + 4], "little")


class IoBar(Region):
    """BAR 2: IOADDR and IODATA, a window to the registers through I/O ports (8.1.2.1)."""

    def __init__(self, model: Ixgbe82599) -> None:
        super().__init__(_IO_BAR_BYTES)
        self._regs = model.regs
        self._address = 0

    def read(self, offset: int, length: int) -> bytes:
        value = self._address if offset < 4 else self._regs[self._address >> 2] if offset < 8 else 0
        return (value >> 8 * (offset & 3)).to_bytes(4, "little")[:length].ljust(length, b"\0")

    def write(self, offset: int, data: memoryview) -> None:
        if len(data) != 4 or offset & 3:
            return
        value = int.from_bytes(data, "little")
        if offset == 0:
            self._address = value & (r.BAR_BYTES - 4)
        elif offset == 4:
            self._regs[self._address >> 2] = value


class MsixBar(Region):
    """BAR 4: the MSI-X table and pending bits. QEMU keeps a table of its own; this one is storage."""

    def __init__(self) -> None:
        super().__init__(_MSIX_BAR_BYTES)
        self._store = bytearray(_MSIX_BAR_BYTES)

    def read(self, offset: int, length: int) -> bytes:
        return bytes(self._store[offset : offset + length])

    def write(self, offset: int, data: memoryview) -> None:
        if offset + len(data) <= 16 * r.MSIX_VECTORS:
            self._store[offset : offset + len(data)] = data


class IrqSink:
    """Interrupts of the model through the vfio-user client, by the mechanism that it has set up."""

    def __init__(self, irqs: Irqs) -> None:
        self._irqs = irqs

    @property
    def mode(self) -> str:
        if self._irqs.is_enabled(PCI_MSIX_IRQ):
            return "msix"
        if self._irqs.is_enabled(PCI_MSI_IRQ):
            return "msi"
        return "intx" if self._irqs.is_enabled(PCI_INTX_IRQ) else "none"

    def message(self, vector: int) -> None:
        self._irqs.trigger(PCI_MSIX_IRQ if self._irqs.is_enabled(PCI_MSIX_IRQ) else PCI_MSI_IRQ, vector)

    def level(self, asserted: bool) -> None:
        self._irqs.set_level(asserted)


class IxgbePci(Device):
    """The device that a vfio-user server offers, with its backend served by the same loop."""

    def __init__(self, mac: bytes, backend: Backend, loop: Loop, faults: Faults | None = None) -> None:
        super().__init__(Irqs(intx=1, msi=1, msix=r.MSIX_VECTORS))
        self._loop = loop
        self._backend = backend
        self._events = 0
        self.config = config_space(mac)
        self.config.attach(self.irqs)
        self.model = Ixgbe82599(
            mac,
            self.dma,
            IrqSink(self.irqs),
            backend,
            LoopTimers(loop),
            schedule=self._schedule,
            is_bus_master=lambda: self.config.is_bus_master,
            faults=faults,
        )
        self._is_scheduled = False
        self._is_down = False
        self.regions[0] = RegisterBar(self.model)
        self.regions[2] = IoBar(self.model)
        self.regions[4] = MsixBar()
        self.regions[PCI_CONFIG_REGION] = self.config
        self.config.on_write(self._config_written)
        self.dma.on_change(self.model.forget_memory)
        self.model.on_room = self._watch
        self._watch()

    def _config_written(self, offset: int, length: int) -> None:
        if offset <= pci_config.COMMAND < offset + length and self.config.is_bus_master:
            self.model.tx.kick()
        if offset <= _DEVICE_CONTROL + 1 < offset + length and self.config.word(_DEVICE_CONTROL) & _INITIATE_FLR:
            self.config.set(_DEVICE_CONTROL, struct.pack("<H", self.config.word(_DEVICE_CONTROL) & ~_INITIATE_FLR))
            self.model.reset()

    def reset(self) -> None:
        self.config.reset()
        self.model.reset()
        self._watch()

    def settle(self) -> None:
        self.model.run()
        self._watch()

    def _schedule(self) -> None:
        """Work that does not come from a message: it is done in the loop's next turn."""
        if not self._is_scheduled:
            self._is_scheduled = True
            self._loop.call_later(0, self._run_scheduled)

    def _run_scheduled(self) -> None:
        self._is_scheduled = False
        self.settle()

    def _watch(self) -> None:
        """Listens to the backend for what the model can use now: frames when there is room, room when frames wait."""
        fd = self._backend.fileno()
        if fd < 0 or self._is_down:
            return
        events = (READ if self.model.wants_frames else 0) | (WRITE if self.model.tx.has_backlog else 0)
        if events != self._events:
            self._events = events
            self._loop.watch(fd, events, self._backend_ready)

    def _backend_ready(self, events: int) -> None:
        if events & ERROR and not events & (READ | WRITE):
            # A TAP that is down, or gone, is "ready" at once and for ever.
            self._is_down = True
            self._loop.unwatch(self._backend.fileno())
            self._events = 0
            self._loop.call_later(_RETRY_NS, self._try_again)
            return
        if events & WRITE:
            self.model.tx.resume()
            self.model.run()
        if events & READ:
            self.model.poll_backend()
        self._watch()

    def _try_again(self) -> None:
        self._is_down = False
        self._watch()

    def disconnected(self) -> None:
        self.model.reset()

    def close(self) -> None:
        """Lets go of the backend."""
        fd = self._backend.fileno()
        if fd >= 0 and self._events:
            self._loop.unwatch(fd)
        self._backend.close()
