# SPDX-License-Identifier: MIT
"""Configuration space of a PCI Express device: type 0 header, capability lists, a write mask for every bit.

Source: PCI Local Bus 3.0 chapter 6; PCI Express Base 3.0 chapter 7.
"""

from __future__ import annotations

import struct
from collections.abc import Callable

from mirage_py.nic.vfio_user.device import Region
from mirage_py.nic.vfio_user.irq import Irqs

CONFIG_BYTES = 4096
EXTENDED_START = 0x100

VENDOR_ID = 0x00
COMMAND = 0x04
STATUS = 0x06
REVISION = 0x08
CACHE_LINE = 0x0C
BAR0 = 0x10
SUBSYSTEM_VENDOR = 0x2C
CAPABILITY_POINTER = 0x34
INTERRUPT_LINE = 0x3C
INTERRUPT_PIN = 0x3D

COMMAND_IO = 1 << 0
COMMAND_MEMORY = 1 << 1
COMMAND_MASTER = 1 << 2
COMMAND_INTX_DISABLE = 1 << 10
STATUS_INTERRUPT = 1 << 3
STATUS_CAPABILITIES = 1 << 4

CAP_POWER = 0x01
CAP_MSI = 0x05
CAP_EXPRESS = 0x10
CAP_MSIX = 0x11

BAR_IO = 1
BAR_MEMORY_64 = 4
BAR_PREFETCHABLE = 8

_COMMAND_WRITABLE = COMMAND_IO | COMMAND_MEMORY | COMMAND_MASTER | COMMAND_INTX_DISABLE | 0x0140


class PciConfig(Region):
    """The configuration space as a region: reads give the octets, writes change the bits whose mask is set."""

    def __init__(
        self, vendor: int, device: int, class_code: int, revision: int, subsystem: tuple[int, int], intx: bool = True
    ) -> None:
        super().__init__(CONFIG_BYTES)
        self._bytes = bytearray(CONFIG_BYTES)
        self._mask = bytearray(CONFIG_BYTES)
        self._initial = b""
        self._watchers: list[Callable[[int, int], None]] = []
        self._irqs: Irqs | None = None
        self.set(VENDOR_ID, struct.pack("<HH", vendor, device))
        self.set(COMMAND, bytes(2), struct.pack("<H", _COMMAND_WRITABLE))
        self.set(REVISION, bytes([revision]) + class_code.to_bytes(3, "little"))
        self.set(CACHE_LINE, bytes(2), b"\xff\xff")
        self.set(SUBSYSTEM_VENDOR, struct.pack("<HH", *subsystem))
        self.set(INTERRUPT_LINE, bytes([0xFF, int(intx)]), b"\xff\x00")
        self._last_capability = CAPABILITY_POINTER
        self._last_extended = 0

    def set(self, offset: int, value: bytes, mask: bytes | None = None) -> None:
        """Puts octets as the device presents them; with a mask, the bits that software may change."""
        self._bytes[offset : offset + len(value)] = value
        if mask is not None:
            self._mask[offset : offset + len(mask)] = mask

    def add_bar(self, index: int, size: int, flags: int) -> None:
        """A base address register for `size` octets (a power of two); a 64-bit one takes the next index too."""
        address_mask = ~(size - 1) & (0xFFFF_FFFF_FFFF_FFFF if flags & BAR_MEMORY_64 else 0xFFFF_FFFF)
        length = 8 if flags & BAR_MEMORY_64 else 4
        address_mask &= ~(0x3 if flags & BAR_IO else 0xF)
        self.set(BAR0 + 4 * index, flags.to_bytes(length, "little"), address_mask.to_bytes(length, "little"))

    def add_capability(self, offset: int, kind: int, body: bytes, mask: bytes = b"") -> None:
        """A capability; `body` and `mask` begin behind its two octets of id and next pointer."""
        self._bytes[STATUS] |= STATUS_CAPABILITIES
        self._bytes[self._last_capability] = offset
        self.set(offset, bytes([kind, 0]) + body)
        self._mask[offset + 2 : offset + 2 + len(mask)] = mask
        self._last_capability = offset + 1

    def add_extended_capability(self, offset: int, kind: int, version: int, body: bytes, mask: bytes = b"") -> None:
        """An extended capability; the first one stands at 0x100. `body` and `mask` begin behind its header."""
        if self._last_extended:
            head = int.from_bytes(self._bytes[self._last_extended : self._last_extended + 4], "little")
            self.set(self._last_extended, (head | offset << 20).to_bytes(4, "little"))
        self.set(offset, (kind | version << 16).to_bytes(4, "little") + body)
        self._mask[offset + 4 : offset + 4 + len(mask)] = mask
        self._last_extended = offset

    def seal(self) -> None:
        """What stands here now is what a reset brings back."""
        self._initial = bytes(self._bytes)

    def reset(self) -> None:
        self._bytes[:] = self._initial
        self._changed(COMMAND, 2)

    def attach(self, irqs: Irqs) -> None:
        """Ties the INTx pin to its bits: pending in the status register, disabled in the command register."""
        self._irqs = irqs
        self._changed(COMMAND, 2)

    def on_write(self, callback: Callable[[int, int], None]) -> None:
        """`callback(offset, length)` runs after each write."""
        self._watchers.append(callback)

    def word(self, offset: int) -> int:
        """A 16-bit field."""
        return self._bytes[offset] | self._bytes[offset + 1] << 8

    @property
    def is_bus_master(self) -> bool:
        return bool(self._bytes[COMMAND] & COMMAND_MASTER)

    def read(self, offset: int, length: int) -> bytes:
        data = self._bytes[offset : offset + length]
        if offset <= STATUS < offset + length and self._irqs is not None and self._irqs.is_pending:
            data[STATUS - offset] |= STATUS_INTERRUPT
        return bytes(data)

    def write(self, offset: int, data: memoryview) -> None:
        store, masks = self._bytes, self._mask
        for index, value in enumerate(data, offset):
            mask = masks[index]
            store[index] = store[index] & ~mask | value & mask
        self._changed(offset, len(data))

    def _changed(self, offset: int, length: int) -> None:
        if offset <= COMMAND + 1 < offset + length and self._irqs is not None:
            self._irqs.disable_pin(bool(self.word(COMMAND) & COMMAND_INTX_DISABLE))
        for callback in self._watchers:
            callback(offset, length)
