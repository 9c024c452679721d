# SPDX-License-Identifier: MIT
"""Guest memory as the rings and buffers use it: the interface of a DMA space, and descriptor rings as words."""

from __future__ import annotations

import struct
from typing import Protocol

from mirage_py.nic.frame import Octets
from mirage_py.nic.vfio_user.dma import DmaError

DESCRIPTOR_BYTES = 16
# What a ring looks like when the guest writes to memory of its own, and the file that came here stays as it was.
ZEROS = "a descriptor reads as zeros: is the guest's memory shared with this process (share=on)?"


class Dma(Protocol):
    """What the model needs of guest memory; `vfio_user.dma.DmaSpace` is one. Every access may raise DmaError."""

    def view(self, address: int, length: int, write: bool = False) -> memoryview | None: ...

    def read(self, address: int, length: int) -> bytes: ...

    def write(self, address: int, data: Octets) -> None: ...


class MemoryDma:
    """One piece of memory at one address: for a driver in the same process."""

    def __init__(self, memory: bytearray | memoryview, address: int) -> None:
        self._memory = memoryview(memory)
        self._address = address

    def view(self, address: int, length: int, write: bool = False) -> memoryview | None:
        start = address - self._address
        if start < 0 or start + length > len(self._memory):
            return None
        return self._memory[start : start + length]

    def read(self, address: int, length: int) -> bytes:
        view = self.view(address, length)
        if view is None:
            raise DmaError(address, length, "outside the memory")
        return bytes(view)

    def write(self, address: int, data: Octets) -> None:
        view = self.view(address, len(data), True)
        if view is None:
            raise DmaError(address, len(data), "outside the memory")
        view[:] = data


class RemoteWords:
    """A ring that does not lie in one shared piece: every word goes through the DMA space."""

    def __init__(self, dma: Dma, address: int) -> None:
        self._dma = dma
        self._address = address

    def __getitem__(self, index: int) -> int:
        value: int = struct.unpack("<Q", self._dma.read(self._address + 8 * index, 8))[0]
        return value

    def __setitem__(self, index: int, value: int) -> None:
        self._dma.write(self._address + 8 * index, struct.pack("<Q", value))


Words = memoryview | RemoteWords


def ring_words(dma: Dma, address: int, length: int) -> Words:
    """A descriptor ring as 64-bit words, two to a descriptor: the memory itself where that is possible."""
    view = dma.view(address, length, True)
    if view is not None:
        return view.cast("Q")
    return RemoteWords(dma, address)


def octets(dma: Dma, address: int, length: int) -> Octets:
    """A buffer to read: without a copy where that is possible. Raises DmaError."""
    view = dma.view(address, length)
    return view if view is not None else dma.read(address, length)
