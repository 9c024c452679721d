# SPDX-License-Identifier: MIT
"""One client of a vfio-user server: its socket, and what each of its commands does."""

from __future__ import annotations

import array
import contextlib
import errno
import json
import logging
import os
import select
import socket
import struct
import time
from collections import deque
from collections.abc import Callable

from mirage_py.nic.vfio_user import protocol
from mirage_py.nic.vfio_user.device import Device, Region
from mirage_py.nic.vfio_user.dma import DmaError
from mirage_py.nic.vfio_user.loop import READ, WRITE, Loop
from mirage_py.nic.vfio_user.protocol import (
    DEVICE_INFO_BODY,
    DMA_ACCESS,
    DMA_MAP_BODY,
    DMA_UNMAP_BODY,
    HEADER,
    HEADER_BYTES,
    IRQ_INFO_BODY,
    IRQ_SET_BODY,
    NO_REPLY,
    REGION_ACCESS,
    REGION_INFO_BODY,
    TYPE_COMMAND,
    TYPE_MASK,
    Assembler,
    Message,
    ProtocolError,
    StreamError,
    pack_error,
    pack_reply,
)

log = logging.getLogger(__name__)

# A client that does not read its replies is not read from either, beyond this backlog.
_BACKLOG_BYTES = 4 << 20
# How long a request of ours (DMA_READ, DMA_WRITE) may take before the access fails.
_CALL_TIMEOUT_SECONDS = 2.0
# How long commands of the client wait for that before they are carried out.
_PATIENCE_SECONDS = 0.01
_FD_BYTES = array.array("i").itemsize

Reply = tuple[bytes, int | None]


class Connection:
    """A client. on_close: called once, when it is gone for whatever reason."""

    def __init__(self, sock: socket.socket, device: Device, loop: Loop, on_close: Callable[[], None]) -> None:
        sock.setblocking(False)
        self._socket = sock
        self._device = device
        self._loop = loop
        self._on_close = on_close
        self._assembler = Assembler()
        self._deferred: deque[Message] = deque()
        self._output = bytearray()
        self._agreed = False
        self._closed = False
        self._calls = 0
        self._answers: dict[int, Message | None] = {}
        self._handlers: dict[int, Callable[[memoryview, list[int]], Reply]] = {
            protocol.DMA_MAP: self._dma_map,
            protocol.DMA_UNMAP: self._dma_unmap,
            protocol.DEVICE_GET_INFO: self._get_info,
            protocol.DEVICE_GET_REGION_INFO: self._get_region_info,
            protocol.DEVICE_GET_IRQ_INFO: self._get_irq_info,
            protocol.DEVICE_SET_IRQS: self._set_irqs,
            protocol.REGION_READ: self._region_read,
            protocol.REGION_WRITE: self._region_write,
            protocol.REGION_WRITE_MULTI: self._region_write_multi,
            protocol.DEVICE_RESET: self._reset,
        }
        loop.watch(sock.fileno(), READ, self._ready)

    # The socket.

    def _ready(self, events: int) -> None:
        if events & WRITE:
            self._flush()
        if events & ~WRITE and not self._closed:
            self._receive()

    def poll(self) -> None:
        """Carries out what has arrived, the client's leaving included."""
        if not self._closed:
            self._receive()

    def _receive(self) -> None:
        try:
            alive = self._read_socket()
        except BlockingIOError:
            return
        except OSError as error:
            log.info("the client's socket: %s", error)
            alive = False
        if alive:
            self._receive_buffered()
        else:
            self.close()

    def _receive_buffered(self) -> None:
        try:
            for message in self._assembler.messages():
                self._handle(message)
                self._handle_deferred()
                if self._closed:
                    return
            self._assembler.compact()
        except StreamError as error:
            log.warning("the stream is out of step: %s", error)
            self._send(pack_error(0, 0, error.code))
            self.close()
        self._device.settle()

    def _read_socket(self) -> bool:
        """Reads once; False at the end of the stream."""
        room = self._assembler.free()
        space = socket.CMSG_SPACE(protocol.MAX_MESSAGE_FDS * _FD_BYTES)
        length, ancillary, flags, _ = self._socket.recvmsg_into([room], space, socket.MSG_CMSG_CLOEXEC)
        fds = array.array("i")
        for level, kind, data in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                fds.frombytes(data[: len(data) - len(data) % _FD_BYTES])
        if flags & socket.MSG_CTRUNC:
            log.warning("more descriptors than a message may carry")
        self._assembler.received(length, fds.tolist())
        return length > 0

    def _send(self, data: bytes, fd: int | None = None) -> None:
        if self._closed:
            return
        sent = 0
        if not self._output:
            rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [fd]))] if fd is not None else []
            try:
                sent = self._socket.sendmsg([data], rights, socket.MSG_NOSIGNAL)
            except BlockingIOError:
                pass
            except OSError as error:
                log.info("the client's socket: %s", error)
                self.close()
                return
        if sent < len(data):
            self._output += memoryview(data)[sent:]
            # Without reading on, the backlog stays bounded by what one read can ask for.
            reading = READ if len(self._output) < _BACKLOG_BYTES else 0
            self._loop.watch(self._socket.fileno(), reading | WRITE, self._ready)

    def _flush(self) -> None:
        try:
            sent = self._socket.send(self._output, socket.MSG_NOSIGNAL)
        except BlockingIOError:
            return
        except OSError as error:
            log.info("the client's socket: %s", error)
            self.close()
            return
        del self._output[:sent]
        if not self._output:
            self._loop.watch(self._socket.fileno(), READ, self._ready)

    def close(self) -> None:
        """Ends the connection: memory is unmapped and descriptors are closed; the device keeps its state."""
        if self._closed:
            return
        self._closed = True
        self._loop.unwatch(self._socket.fileno())
        self._socket.close()
        for fd in self._assembler.drop_fds():
            os.close(fd)
        device = self._device
        device.dma.remote = None
        device.dma.clear()
        device.irqs.close()
        device.disconnected()
        self._on_close()

    # Commands.

    def _handle(self, message: Message) -> None:
        try:
            if message.flags & TYPE_MASK != TYPE_COMMAND:
                log.warning("a reply to nothing that was asked")
                return
            self._answer(message)
        finally:
            # Whatever a handler has not taken.
            for fd in message.fds:
                with contextlib.suppress(OSError):
                    os.close(fd)

    def _answer(self, message: Message) -> None:
        fd = None
        try:
            if message.command == protocol.VERSION:
                body = self._version(message.payload)
            elif not self._agreed:
                raise ProtocolError("a command before the version is agreed on")
            else:
                handler = self._handlers.get(message.command)
                if handler is None:
                    raise ProtocolError(f"command {message.command}", errno.ENOTSUP)
                body, fd = handler(message.payload, message.fds)
        except (ProtocolError, DmaError) as error:
            log.warning("command %d refused: %s", message.command, error)
            if not message.flags & NO_REPLY:
                self._send(pack_error(message.id, message.command, getattr(error, "code", errno.EFAULT)))
        except Exception:
            # A fault of the device's model is not the end of the server; the client sees an error.
            log.exception("command %d failed", message.command)
            if not message.flags & NO_REPLY:
                self._send(pack_error(message.id, message.command, errno.EIO))
        else:
            if not message.flags & NO_REPLY:
                self._send(pack_reply(message.id, message.command, body), fd)

    def _version(self, payload: memoryview) -> bytes:
        if self._agreed:
            raise ProtocolError("the version is agreed on already")
        if len(payload) < protocol.VERSION_HEAD.size:
            raise ProtocolError("a version without numbers")
        major, _ = protocol.VERSION_HEAD.unpack_from(payload)
        if major != 0:
            raise ProtocolError(f"protocol version {major}", errno.ENOTSUP)
        wanted = _capabilities(bytes(payload[protocol.VERSION_HEAD.size :]))
        ours: dict[str, object] = {"max_msg_fds": protocol.MAX_MESSAGE_FDS}
        if wanted.get("write_multiple") is True:
            ours["write_multiple"] = True
        answer = json.dumps({"capabilities": ours}, separators=(",", ":")).encode() + b"\0"
        if len(answer) > len(payload) - protocol.VERSION_HEAD.size:
            # QEMU's client reserves no more for the answer than its request took.
            answer = b'{"capabilities":{}}\0'
        self._agreed = True
        self._device.dma.remote = self
        self._device.connected()
        return protocol.VERSION_HEAD.pack(0, 0) + answer

    def _dma_map(self, payload: memoryview, fds: list[int]) -> Reply:
        _, flags, offset, address, size = _unpack(DMA_MAP_BODY, payload)
        if len(fds) > 1:
            raise ProtocolError("several descriptors for one mapping")
        self._device.dma.map(address, size, flags, fds[0] if fds else None, offset)
        return b"", None

    def _dma_unmap(self, payload: memoryview, fds: list[int]) -> Reply:
        argsz, flags, address, size = _unpack(DMA_UNMAP_BODY, payload)
        dma = self._device.dma
        gone = dma.clear() if flags & protocol.DMA_UNMAP_FLAG_ALL else dma.unmap(address, size)
        return DMA_UNMAP_BODY.pack(argsz, flags, address, gone), None

    def _get_info(self, payload: memoryview, fds: list[int]) -> Reply:
        _unpack(DEVICE_INFO_BODY, payload)
        flags = protocol.DEVICE_FLAGS_RESET | protocol.DEVICE_FLAGS_PCI
        size = DEVICE_INFO_BODY.size
        return DEVICE_INFO_BODY.pack(size, flags, protocol.PCI_NUM_REGIONS, protocol.PCI_NUM_IRQS), None

    def _get_region_info(self, payload: memoryview, fds: list[int]) -> Reply:
        argsz, _, index, _, _, _ = _unpack(REGION_INFO_BODY, payload)
        if index >= protocol.PCI_NUM_REGIONS:
            raise ProtocolError(f"there is no region {index}")
        region = self._device.regions[index]
        if region is None:
            return REGION_INFO_BODY.pack(REGION_INFO_BODY.size, 0, index, 0, 0, 0), None
        flags, areas = region.flags, b""
        if region.fd is not None:
            flags |= protocol.REGION_FLAG_MMAP
            if region.areas:
                flags |= protocol.REGION_FLAG_CAPS
                areas = protocol.SPARSE_HEAD.pack(protocol.REGION_CAP_SPARSE_MMAP, 1, 0, len(region.areas), 0)
                areas += b"".join(protocol.SPARSE_AREA.pack(*area) for area in region.areas)
        size = REGION_INFO_BODY.size + len(areas)
        fits = argsz >= size
        capabilities = REGION_INFO_BODY.size if areas and fits else 0
        body = REGION_INFO_BODY.pack(size, flags, index, capabilities, region.size, 0)
        return body + (areas if fits else b""), region.fd

    def _get_irq_info(self, payload: memoryview, fds: list[int]) -> Reply:
        _, _, index, _ = _unpack(IRQ_INFO_BODY, payload)
        flags, count = self._device.irqs.info(index)
        return IRQ_INFO_BODY.pack(IRQ_INFO_BODY.size, flags, index, count), None

    def _set_irqs(self, payload: memoryview, fds: list[int]) -> Reply:
        _, flags, index, start, count = _unpack(IRQ_SET_BODY, payload)
        self._device.irqs.set_irqs(flags, index, start, count, payload[IRQ_SET_BODY.size :], fds)
        return b"", None

    def _region(self, index: int, offset: int, count: int, right: int) -> Region:
        region = self._device.regions[index] if index < protocol.PCI_NUM_REGIONS else None
        if region is None or offset + count > region.size or not region.flags & right:
            raise ProtocolError(f"an access of {count} octets at {offset:#x} of region {index}")
        return region

    def _region_read(self, payload: memoryview, fds: list[int]) -> Reply:
        offset, index, count = _unpack(REGION_ACCESS, payload)
        if count > protocol.MAX_TRANSFER_BYTES:
            raise ProtocolError(f"a read of {count} octets")
        region = self._region(index, offset, count, protocol.REGION_FLAG_READ)
        return REGION_ACCESS.pack(offset, index, count) + region.read(offset, count), None

    def _region_write(self, payload: memoryview, fds: list[int]) -> Reply:
        offset, index, count = _unpack(REGION_ACCESS, payload)
        data = payload[REGION_ACCESS.size :]
        if len(data) != count:
            raise ProtocolError(f"a write of {count} octets that carries {len(data)}")
        self._region(index, offset, count, protocol.REGION_FLAG_WRITE).write(offset, data)
        return REGION_ACCESS.pack(offset, index, count), None

    def _region_write_multi(self, payload: memoryview, fds: list[int]) -> Reply:
        (writes,) = _unpack(protocol.WRITE_MULTI_HEAD, payload)
        entries = payload[protocol.WRITE_MULTI_HEAD.size :]
        if len(entries) != writes * protocol.WRITE_MULTI_ENTRY.size:
            raise ProtocolError(f"{writes} writes in {len(entries)} octets")
        for offset, index, count, data in protocol.WRITE_MULTI_ENTRY.iter_unpack(entries):
            if count > len(data):
                raise ProtocolError(f"a write of {count} octets among several")
            self._region(index, offset, count, protocol.REGION_FLAG_WRITE).write(offset, memoryview(data)[:count])
        return protocol.WRITE_MULTI_HEAD.pack(writes), None

    def _reset(self, payload: memoryview, fds: list[int]) -> Reply:
        self._device.irqs.reset()
        self._device.reset()
        return b"", None

    # Requests of ours.

    def dma_read(self, address: int, length: int) -> bytes:
        """Reads memory that the client does not share. Raises DmaError."""
        parts = []
        while length:
            count = min(length, protocol.MAX_TRANSFER_BYTES)
            answer = self._call(protocol.DMA_READ, DMA_ACCESS.pack(address, count), address, count)
            if len(answer) != DMA_ACCESS.size + count:
                raise DmaError(address, count, "the client's answer is too short")
            parts.append(answer[DMA_ACCESS.size :])
            address, length = address + count, length - count
        return b"".join(parts)

    def dma_write(self, address: int, data: bytes | memoryview) -> None:
        """Writes memory that the client does not share. Raises DmaError."""
        for start in range(0, len(data), protocol.MAX_TRANSFER_BYTES):
            part = bytes(data[start : start + protocol.MAX_TRANSFER_BYTES])
            body = DMA_ACCESS.pack(address + start, len(part)) + part
            self._call(protocol.DMA_WRITE, body, address + start, len(part))

    def _call(self, command: int, body: bytes, address: int, length: int) -> bytes:
        """Sends a command and waits for its reply.

        Commands of the client that arrive meanwhile wait, but not for long: a processor of QEMU's that waits for a
        register holds the lock without which QEMU does not answer us. So the device may find itself written to in the
        middle of an access.
        """
        self._calls = call = self._calls + 1 & 0xFFFF
        self._answers[call] = None
        try:
            answer = self._await(call, command, body)
        finally:
            del self._answers[call]
        if answer is None:
            raise DmaError(address, length, "the client does not answer")
        if answer.flags & protocol.ERROR:
            raise DmaError(address, length, f"the client refuses: error {answer.error}")
        return bytes(answer.payload)

    def _await(self, call: int, command: int, body: bytes) -> Message | None:
        self._assembler.renew()  # a caller further up may still hold the payload of its message
        self._send(HEADER.pack(call, command, HEADER_BYTES + len(body), TYPE_COMMAND, 0) + body)
        deadline = time.monotonic() + _CALL_TIMEOUT_SECONDS
        poll = select.poll()
        while not self._closed:
            poll.register(self._socket, select.POLLIN | (select.POLLOUT if self._output else 0))
            left = deadline - time.monotonic()
            if left <= 0:
                break
            if not poll.poll(1000 * (min(left, _PATIENCE_SECONDS) if self._deferred else left)):
                self._handle_deferred()
                continue
            if self._output:
                self._flush()
            try:
                if not self._read_socket():
                    break
            except BlockingIOError:
                continue
            except OSError:
                break
            self._sort()
            answer = self._answers[call]
            if answer is not None:
                self._loop.call_later(0, self._drain)
                return answer
        return None

    def _sort(self) -> None:
        """Everything that has arrived: replies to whom they are for, commands into the line."""
        try:
            for message in self._assembler.messages():
                message.payload = memoryview(bytes(message.payload))
                if message.is_reply and message.id in self._answers:
                    self._answers[message.id] = message
                else:
                    self._deferred.append(message)
        except StreamError as error:
            log.warning("the stream is out of step: %s", error)
            self._loop.call_later(0, self.close)

    def _drain(self) -> None:
        """Carries out what came with the reply to a request of ours."""
        self._handle_deferred()
        if not self._closed:
            self._receive_buffered()

    def _handle_deferred(self) -> None:
        while self._deferred and not self._closed:
            self._handle(self._deferred.popleft())


def _unpack(layout: struct.Struct, payload: memoryview) -> tuple[int, ...]:
    if len(payload) < layout.size:
        raise ProtocolError(f"{len(payload)} octets of payload where {layout.size} are needed")
    return layout.unpack_from(payload)


def _capabilities(text: bytes) -> dict[str, object]:
    """The client's capabilities. Raises ProtocolError for what is not the JSON that the specification wants."""
    if not text:
        return {}
    try:
        document = json.loads(text.rstrip(b"\0") or b"{}")
    except (ValueError, RecursionError) as error:
        raise ProtocolError(f"the version's capabilities: {error}") from error
    capabilities = document.get("capabilities", {}) if isinstance(document, dict) else None
    if not isinstance(capabilities, dict):
        raise ProtocolError("the version's capabilities are not an object")
    return capabilities
