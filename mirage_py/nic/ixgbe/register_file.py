# SPDX-License-Identifier: MIT
"""The register BAR: storage with writable bits, hooks where an access does something, a log line per surprise.

It is indexed by 32-bit word, as the typed memoryview of a mapped BAR is: `regs[CTRL >> 2]`. So a driver runs on it in
the same process exactly as it runs on a device.
"""

from __future__ import annotations

import logging
from array import array
from collections.abc import Callable

from mirage_py.nic.ixgbe.registers import BAR_BYTES, REGISTERS

log = logging.getLogger(__name__)

_ALL = 0xFFFF_FFFF

ReadHook = Callable[[], int]
WriteHook = Callable[[int], None]


class RegisterFile:
    """32-bit registers of one device. `dead`: every read gives all ones, as of a device that fell off the bus."""

    def __init__(self) -> None:
        words = BAR_BYTES // 4
        self.store = array("I", bytes(BAR_BYTES))
        self._writable = array("I", b"\xff" * BAR_BYTES)
        self._names: dict[int, str] = {}
        self._reset: list[tuple[int, int]] = []
        self._reads: dict[int, ReadHook] = {}
        self._writes: dict[int, WriteHook] = {}
        self._strange = bytearray(b"\1" * words)
        self.dead = False
        for spec in REGISTERS:
            for number in range(spec.number):
                index = spec.offset + number * spec.stride >> 2
                self._names[index] = spec.name if spec.number == 1 else f"{spec.name}[{number}]"
                self._writable[index] = spec.writable
                self._strange[index] = 0
                self._reset.append((index, spec.reset))
        self.reset()

    def __len__(self) -> int:
        return len(self.store)

    def reset(self) -> None:
        """Every modelled register to its reset value. Hooks are not asked."""
        store = self.store
        for index, value in self._reset:
            store[index] = value

    def name(self, index: int) -> str:
        """The datasheet's name of a word, or its offset."""
        return self._names.get(index) or f"{index * 4:#07x}"

    def on_read(self, offset: int, hook: ReadHook, name: str | None = None) -> None:
        """`hook()` gives the value that a read of this register returns."""
        self._reads[offset >> 2] = hook
        self._known(offset, name)

    def on_write(self, offset: int, hook: WriteHook, name: str | None = None) -> None:
        """`hook(value)` runs after a write; the register holds the writable bits of it already."""
        self._writes[offset >> 2] = hook
        self._known(offset, name)

    def _known(self, offset: int, name: str | None) -> None:
        self._strange[offset >> 2] = 0
        if name is not None:
            self._names[offset >> 2] = name

    def __getitem__(self, index: int) -> int:
        if self.dead:
            return _ALL
        if index < 0:
            raise IndexError("register index out of range")
        hook = self._reads.get(index)
        if hook is not None:
            return hook()
        if self._strange[index]:
            self._wonder(index, "read")
        return self.store[index]

    def __setitem__(self, index: int, value: int) -> None:
        if self.dead:
            return
        if index < 0 or value & ~_ALL:
            raise IndexError("register index or value out of range")
        if self._strange[index]:
            self._wonder(index, f"written with {value:#x}")
        writable = self._writable[index]
        self.store[index] = value & writable | self.store[index] & ~writable
        hook = self._writes.get(index)
        if hook is not None:
            hook(value)

    def _wonder(self, index: int, what: str) -> None:
        self._strange[index] = 0
        log.info("register %#07x is not modelled: %s; it behaves as storage", index * 4, what)
