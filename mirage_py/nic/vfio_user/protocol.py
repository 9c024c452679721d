# SPDX-License-Identifier: MIT
"""vfio-user on the wire: numbers, structures, and the cutting of a byte stream into messages. No I/O.

Source: QEMU's docs/interop/vfio-user.rst (protocol 0.0) and <linux/vfio.h>. All fields are in the host's byte
order, and the server runs on the client's host; little-endian is what both of ours are.
"""

from __future__ import annotations

import errno
import struct
from collections.abc import Iterator
from dataclasses import dataclass

# Commands.
VERSION = 1
DMA_MAP = 2
DMA_UNMAP = 3
DEVICE_GET_INFO = 4
DEVICE_GET_REGION_INFO = 5
DEVICE_GET_REGION_IO_FDS = 6
DEVICE_GET_IRQ_INFO = 7
DEVICE_SET_IRQS = 8
REGION_READ = 9
REGION_WRITE = 10
DMA_READ = 11
DMA_WRITE = 12
DEVICE_RESET = 13
REGION_WRITE_MULTI = 15

# Header flags.
TYPE_MASK = 0xF
TYPE_COMMAND = 0
TYPE_REPLY = 1
NO_REPLY = 0x10
ERROR = 0x20

# <linux/vfio.h>.
DEVICE_FLAGS_RESET = 1 << 0
DEVICE_FLAGS_PCI = 1 << 1
REGION_FLAG_READ = 1 << 0
REGION_FLAG_WRITE = 1 << 1
REGION_FLAG_MMAP = 1 << 2
REGION_FLAG_CAPS = 1 << 3
REGION_CAP_SPARSE_MMAP = 1
IRQ_INFO_EVENTFD = 1 << 0
IRQ_INFO_MASKABLE = 1 << 1
IRQ_INFO_AUTOMASKED = 1 << 2
IRQ_INFO_NORESIZE = 1 << 3
IRQ_SET_DATA_NONE = 1 << 0
IRQ_SET_DATA_BOOL = 1 << 1
IRQ_SET_DATA_EVENTFD = 1 << 2
IRQ_SET_ACTION_MASK = 1 << 3
IRQ_SET_ACTION_UNMASK = 1 << 4
IRQ_SET_ACTION_TRIGGER = 1 << 5
DMA_FLAG_READ = 1 << 0
DMA_FLAG_WRITE = 1 << 1
DMA_UNMAP_FLAG_ALL = 1 << 1

# Region and interrupt numbers of a PCI device.
PCI_BAR0_REGION = 0
PCI_ROM_REGION = 6
PCI_CONFIG_REGION = 7
PCI_NUM_REGIONS = 9
PCI_INTX_IRQ = 0
PCI_MSI_IRQ = 1
PCI_MSIX_IRQ = 2
PCI_ERR_IRQ = 3
PCI_REQ_IRQ = 4
PCI_NUM_IRQS = 5

# Message id, command, message size, flags, error.
HEADER = struct.Struct("<HHIII")
VERSION_HEAD = struct.Struct("<HH")
# argsz, flags, file offset, address, size.
DMA_MAP_BODY = struct.Struct("<IIQQQ")
# argsz, flags, address, size.
DMA_UNMAP_BODY = struct.Struct("<IIQQ")
# argsz, flags, regions, interrupts.
DEVICE_INFO_BODY = struct.Struct("<IIII")
# argsz, flags, index, offset of the capabilities, size, file offset.
REGION_INFO_BODY = struct.Struct("<IIIIQQ")
# argsz, flags, index, count.
IRQ_INFO_BODY = struct.Struct("<IIII")
# argsz, flags, index, start, count.
IRQ_SET_BODY = struct.Struct("<IIIII")
# offset, region, count.
REGION_ACCESS = struct.Struct("<QII")
# address, count.
DMA_ACCESS = struct.Struct("<QQ")
# writes in the message; then per write: offset, region, count, data (8 octets).
WRITE_MULTI_HEAD = struct.Struct("<Q")
WRITE_MULTI_ENTRY = struct.Struct("<QII8s")
# capability id, version, offset of the next; areas, reserved; then per area: offset, size.
SPARSE_HEAD = struct.Struct("<HHIII")
SPARSE_AREA = struct.Struct("<QQ")

HEADER_BYTES = HEADER.size
# The specification's default for `max_data_xfer_size`; more is refused, so that one message cannot take all memory.
MAX_TRANSFER_BYTES = 1 << 20
MAX_MESSAGE_BYTES = HEADER_BYTES + REGION_ACCESS.size + MAX_TRANSFER_BYTES
# QEMU's client refuses an answer above 16; DEVICE_SET_IRQS carries one per vector, so QEMU sends several messages.
MAX_MESSAGE_FDS = 16


class ProtocolError(Exception):
    """A request that cannot be carried out. It becomes an error reply with the errno; the connection goes on."""

    def __init__(self, message: str, code: int = errno.EINVAL) -> None:
        super().__init__(message)
        self.code = code


class StreamError(ProtocolError):
    """The stream cannot be cut into messages any more: after the error reply the connection ends."""


@dataclass(slots=True)
class Message:
    """One message. `payload` is a view of the receive buffer: it is valid until the next `Assembler.compact`."""

    id: int
    command: int
    flags: int
    error: int
    payload: memoryview
    fds: list[int]

    @property
    def is_reply(self) -> bool:
        return self.flags & TYPE_MASK == TYPE_REPLY


def pack_reply(message_id: int, command: int, payload: bytes | memoryview = b"") -> bytes:
    """A successful reply."""
    return HEADER.pack(message_id, command, HEADER_BYTES + len(payload), TYPE_REPLY, 0) + payload


def pack_error(message_id: int, command: int, code: int) -> bytes:
    """An error reply: the header alone, with the errno."""
    return HEADER.pack(message_id, command, HEADER_BYTES, TYPE_REPLY | ERROR, code)


class Assembler:
    """Cuts what a stream socket delivers into messages: several in one read, one over several reads.

    `free()` is where the next read goes; `received(n, fds)` says what came; `messages()` takes what is complete;
    `compact()` then makes room. A descriptor travels with the first octet of its message, and a read never goes on past
    data that brought descriptors: so they belong to the last message that begins in the read (unix(7), SCM_RIGHTS).
    """

    def __init__(self, capacity: int = 256 * 1024) -> None:
        self._view = memoryview(bytearray(capacity))
        self._start = 0
        self._end = 0
        self._fds: dict[int, list[int]] = {}

    def free(self) -> memoryview:
        """The room for the next read; never empty after `compact()`."""
        return self._view[self._end :]

    def received(self, length: int, fds: list[int]) -> None:
        """`length` octets were read into `free()`, and descriptors came with them."""
        before = self._end
        self._end += length
        if fds:
            self._fds.setdefault(self._last_start(before), []).extend(fds)

    def _last_start(self, before: int) -> int:
        """Where the last message begins that begins at or after `before`, or else the one that is under way."""
        start = self._start
        while start + HEADER_BYTES <= self._end:
            size = HEADER.unpack_from(self._view, start)[2]
            if size < HEADER_BYTES or start + size >= self._end:
                break
            start += size
        return start

    def messages(self) -> Iterator[Message]:
        """The complete messages, in order.

        Raises StreamError when a header gives an impossible size: what follows cannot be made sense of.
        """
        while self._end - self._start >= HEADER_BYTES:
            start = self._start
            message_id, command, size, flags, error = HEADER.unpack_from(self._view, start)
            if size < HEADER_BYTES or size > MAX_MESSAGE_BYTES:
                raise StreamError(f"message {message_id} of command {command} says it is {size} octets long")
            if start + size > self._end:
                return
            fds = self._fds.pop(start, []) if self._fds else []
            self._start = start + size
            yield Message(message_id, command, flags, error, self._view[start + HEADER_BYTES : self._start], fds)

    def compact(self) -> None:
        """Moves the incomplete rest to the front, and grows the buffer to hold the message that it belongs to."""
        rest = self._end - self._start
        if self._start:
            if rest:
                self._view[:rest] = self._view[self._start : self._end]
            self._fds = {start - self._start: fds for start, fds in self._fds.items()}
            self._start, self._end = 0, rest
        if rest >= HEADER_BYTES and len(self._view) < HEADER.unpack_from(self._view, 0)[2] <= MAX_MESSAGE_BYTES:
            self.renew()

    def renew(self) -> None:
        """Makes room without touching what is there, by a new buffer: earlier payloads stay as they are."""
        rest = self._end - self._start
        fresh = memoryview(bytearray(MAX_MESSAGE_BYTES + len(self._view)))
        fresh[:rest] = self._view[self._start : self._end]
        self._fds = {start - self._start: fds for start, fds in self._fds.items()}
        self._view, self._start, self._end = fresh, 0, rest

    def drop_fds(self) -> list[int]:
        """The descriptors that no message has taken; the caller closes them."""
        left = [fd for fds in self._fds.values() for fd in fds]
        self._fds.clear()
        return left
