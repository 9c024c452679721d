# SPDX-License-Identifier: MIT
"""The memory of the virtual machine, as the device reaches it: pieces that the client maps and unmaps.

A piece with a descriptor is mapped into this process; a piece without one (a ROM, or a client that does not share its
memory) is reached by messages. An access may span pieces, as a guest's RAM arrives in several.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import mmap
import os
from bisect import bisect_left, bisect_right
from collections.abc import Callable
from typing import Protocol

from mirage_py.nic.vfio_user.protocol import DMA_FLAG_READ, DMA_FLAG_WRITE, ProtocolError

log = logging.getLogger(__name__)

MAX_PIECES = 65535
# What is smaller may be a ROM's or a screen's memory, which no driver names to a device.
_RAM_BYTES = 1 << 20
ADDRESS_LIMIT = 1 << 64


class DmaError(Exception):
    """An access by the device to memory that it was not given."""

    def __init__(self, address: int, length: int, reason: str) -> None:
        super().__init__(f"DMA of {length} octets at {address:#x}: {reason}")
        self.address = address
        self.length = length


class Remote(Protocol):
    """Reaches memory that is not mapped here, by DMA_READ and DMA_WRITE messages."""

    def dma_read(self, address: int, length: int) -> bytes: ...

    def dma_write(self, address: int, data: bytes | memoryview) -> None: ...


class Piece:
    """One mapping: addresses [start, end) with their rights, and its memory where the client shares it."""

    __slots__ = ("end", "memory", "readable", "start", "view", "writable")

    def __init__(self, start: int, size: int, readable: bool, writable: bool) -> None:
        self.start = start
        self.end = start + size
        self.readable = readable
        self.writable = writable
        self.memory: mmap.mmap | None = None
        self.view: memoryview | None = None

    def share(self, fd: int, offset: int) -> None:
        """Maps the client's file. Raises ProtocolError when the file does not hold the whole piece."""
        size = self.end - self.start
        if os.fstat(fd).st_size < offset + size:
            # Touching a page past the end of the file would be a SIGBUS, which Python cannot survive.
            raise ProtocolError(f"the file of the mapping at {self.start:#x} is too short")
        prot = mmap.PROT_READ | (mmap.PROT_WRITE if self.writable else 0)
        slack = offset % mmap.ALLOCATIONGRANULARITY
        try:
            self.memory = mmap.mmap(fd, size + slack, mmap.MAP_SHARED, prot, offset=offset - slack)
        except (OSError, ValueError, OverflowError) as error:
            code = getattr(error, "errno", None) or errno.EINVAL
            raise ProtocolError(f"mapping {size} octets at {self.start:#x}: {error}", code) from error
        self.view = memoryview(self.memory)[slack:]

    def rest(self, start: int, end: int) -> Piece:
        """A part of this piece, as a piece that stays when this one goes."""
        piece = Piece(start, end - start, self.readable, self.writable)
        if self.view is not None:
            # The view keeps the mapping.
            piece.view = self.view[start - self.start : end - self.start]
        return piece

    def close(self) -> None:
        """Gives the mapping back; a view that someone still holds keeps it alive until that one goes."""
        if self.view is not None:
            self.view.release()
        if self.memory is not None:
            with contextlib.suppress(BufferError):
                self.memory.close()
        self.view = self.memory = None


class DmaSpace:
    """All pieces that the client has mapped, by address."""

    def __init__(self) -> None:
        self._starts: list[int] = []
        self._pieces: list[Piece] = []
        self._last: Piece | None = None
        self._watchers: list[Callable[[], None]] = []
        self._has_warned = False
        self.remote: Remote | None = None

    def __len__(self) -> int:
        return len(self._pieces)

    def on_change(self, callback: Callable[[], None]) -> None:
        """`callback()` runs before a piece goes away: whoever keeps views drops them there."""
        self._watchers.append(callback)

    def map(self, start: int, size: int, flags: int, fd: int | None = None, offset: int = 0) -> None:
        """Adds a piece; the descriptor stays the caller's. Raises ProtocolError (EEXIST on an overlap)."""
        if not 0 < size <= ADDRESS_LIMIT - start or flags & ~(DMA_FLAG_READ | DMA_FLAG_WRITE):
            raise ProtocolError(f"a mapping of {size} octets at {start:#x} with flags {flags:#x}")
        if len(self._pieces) >= MAX_PIECES:
            raise ProtocolError("too many mappings", errno.ENOSPC)
        index = bisect_right(self._starts, start)
        below = self._pieces[index - 1].end if index else 0
        above = self._starts[index] if index < len(self._starts) else ADDRESS_LIMIT
        if below > start or above < start + size:
            raise ProtocolError(f"a mapping of {size} octets at {start:#x} over another", errno.EEXIST)
        piece = Piece(start, size, bool(flags & DMA_FLAG_READ), bool(flags & DMA_FLAG_WRITE))
        if fd is not None:
            piece.share(fd, offset)
        elif piece.writable and size >= _RAM_BYTES:
            self._warn(start, size)
        self._starts.insert(index, start)
        self._pieces.insert(index, piece)

    def unmap(self, start: int, size: int) -> int:
        """Takes a range back, be it one mapping, several, part of one, or none; returns the octets that went.

        Whatever lies inside is out of reach from here on: the client gives it to somebody else. What sticks out stays.
        Raises ProtocolError for a range that is none.
        """
        if not 0 < size <= ADDRESS_LIMIT - start:
            raise ProtocolError(f"taking back {size} octets at {start:#x}")
        end = start + size
        first = max(0, bisect_right(self._starts, start) - 1)
        if first < len(self._pieces) and self._pieces[first].end <= start:
            first += 1
        last = bisect_left(self._starts, end)
        gone = self._pieces[first:last]
        if not gone:
            return 0
        self._changing()
        rest = [piece.rest(piece.start, start) for piece in gone[:1] if piece.start < start]
        rest += [piece.rest(end, piece.end) for piece in gone[-1:] if piece.end > end]
        self._pieces[first:last] = rest
        self._starts[first:last] = [piece.start for piece in rest]
        for piece in gone:
            piece.close()
        return sum(min(piece.end, end) - max(piece.start, start) for piece in gone)

    def clear(self) -> int:
        """Removes all pieces; returns how many octets they were."""
        self._changing()
        self._has_warned = False
        size = sum(piece.end - piece.start for piece in self._pieces)
        self._starts.clear()
        for piece in self._pieces:
            piece.close()
        self._pieces.clear()
        return size

    def _warn(self, start: int, size: int) -> None:
        """Once for a client: what works slowly, or not at all, should not do so without a word."""
        if not self._has_warned:
            self._has_warned = True
            log.warning(
                "the memory of %d octets at %#x comes without a descriptor: every access is a message to the client, "
                "which is slow; QEMU shares memory with memory-backend-memfd,share=on",
                size,
                start,
            )

    def _changing(self) -> None:
        self._last = None
        for callback in self._watchers:
            callback()

    def _find(self, address: int) -> Piece | None:
        index = bisect_right(self._starts, address) - 1
        if index < 0 or self._pieces[index].end <= address:
            return None
        return self._pieces[index]

    def view(self, address: int, length: int, write: bool = False) -> memoryview | None:
        """The memory itself, where it lies in one shared piece with the right; else None.

        The view holds until the piece is unmapped (`on_change`).
        """
        piece = self._last
        if piece is None or not piece.start <= address < piece.end:
            piece = self._find(address)
            if piece is None:
                return None
            self._last = piece
        offset = address - piece.start
        memory = piece.view
        if memory is None or address + length > piece.end or not (piece.writable if write else piece.readable):
            return None
        return memory[offset : offset + length]

    def read(self, address: int, length: int) -> bytes:
        """Reads guest memory. Raises DmaError."""
        direct = self.view(address, length)
        if direct is not None:
            return bytes(direct)
        parts = []
        for piece, start, count in self._span(address, length):
            if not piece.readable:
                raise DmaError(address, length, "not readable")
            if piece.view is not None:
                parts.append(bytes(piece.view[start - piece.start : start - piece.start + count]))
            elif self.remote is not None:
                self._warn(piece.start, piece.end - piece.start)
                parts.append(self.remote.dma_read(start, count))
            else:
                raise DmaError(address, length, "not shared")
        return b"".join(parts)

    def write(self, address: int, data: bytes | bytearray | memoryview) -> None:
        """Writes guest memory: all of it or nothing. Raises DmaError."""
        length = len(data)
        direct = self.view(address, length, True)
        if direct is not None:
            direct[:] = data
            return
        pieces = list(self._span(address, length))
        if not all(piece.writable for piece, _, _ in pieces):
            raise DmaError(address, length, "not writable")
        if self.remote is None and any(piece.view is None for piece, _, _ in pieces):
            raise DmaError(address, length, "not shared")
        source = memoryview(data)
        for piece, start, count in pieces:
            part = source[start - address : start - address + count]
            if piece.view is not None:
                piece.view[start - piece.start : start - piece.start + count] = part
            elif self.remote is not None:
                self._warn(piece.start, piece.end - piece.start)
                self.remote.dma_write(start, part)

    def _span(self, address: int, length: int) -> list[tuple[Piece, int, int]]:
        """The pieces under an access, each with the part of it: (piece, address, octets)."""
        parts = []
        start, end = address, address + length
        while start < end:
            piece = self._find(start)
            if piece is None:
                raise DmaError(address, length, f"nothing is mapped at {start:#x}")
            count = min(end, piece.end) - start
            parts.append((piece, start, count))
            start += count
        return parts
