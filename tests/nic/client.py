# SPDX-License-Identifier: MIT
"""A small vfio-user client for the tests: it speaks the protocol from the specification, not from the server's code."""

import array
import json
import os
import select
import socket
import struct
import threading
from pathlib import Path

from mirage_py.nic.vfio_user.device import Device
from mirage_py.nic.vfio_user.loop import Loop
from mirage_py.nic.vfio_user.server import Server

HEADER = struct.Struct("<HHIII")


class Refused(Exception):
    """An error reply; `code` is the errno."""

    def __init__(self, code: int) -> None:
        super().__init__(f"errno {code}")
        self.code = code


class Client:
    """Blocking requests over one socket. `memory` maps addresses to what DMA_READ and DMA_WRITE of the server reach."""

    def __init__(self, path: Path, version: bool = True) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(10)
        self.sock.connect(str(path))
        self.memory: dict[int, bytearray] = {}
        self._id = 0
        if version:
            self.version()

    def close(self) -> None:
        self.sock.close()

    def send(self, data: bytes, fds: list[int] | None = None) -> None:
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
        sent = self.sock.sendmsg([data], rights)
        while sent < len(data):
            sent += self.sock.send(data[sent:])

    def pack(self, command: int, body: bytes = b"", flags: int = 0) -> bytes:
        self._id = (self._id + 1) & 0xFFFF
        return HEADER.pack(self._id, command, 16 + len(body), flags, 0) + body

    def _exactly(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            part = self.sock.recv(count - len(data))
            if not part:
                raise ConnectionError("the server closed the connection")
            data += part
        return data

    def reply(self) -> tuple[int, int, bytes]:
        """(id, command, body) of the next reply; the server's own requests are answered on the way."""
        while True:
            number, command, size, flags, error = HEADER.unpack(self._exactly(16))
            body = self._exactly(size - 16)
            if flags & 0xF == 0:
                self._serve(number, command, body)
                continue
            if flags & 0x20:
                raise Refused(error)
            return number, command, body

    def _serve(self, number: int, command: int, body: bytes) -> None:
        address, count = struct.unpack_from("<QQ", body)
        for start, memory in self.memory.items():
            if start <= address and address + count <= start + len(memory):
                where = slice(address - start, address - start + count)
                answer = body[:16]
                if command == 11:
                    answer += bytes(memory[where])
                else:
                    memory[where] = body[16:]
                self.sock.send(HEADER.pack(number, command, 16 + len(answer), 1, 0) + answer)
                return
        self.sock.send(HEADER.pack(number, command, 16, 0x21, 14))

    def call(self, command: int, body: bytes = b"", fds: list[int] | None = None) -> bytes:
        self.send(self.pack(command, body), fds)
        number, got, answer = self.reply()
        assert (number, got) == (self._id, command)
        return answer

    def version(self, **capabilities: object) -> dict[str, object]:
        wanted = {"max_msg_fds": 8, "max_data_xfer_size": 1048576, "write_multiple": True, **capabilities}
        text = json.dumps({"capabilities": wanted}).encode() + b"\0"
        answer = self.call(1, struct.pack("<HH", 0, 0) + text)
        assert struct.unpack_from("<HH", answer) == (0, 0)
        assert len(answer) <= 4 + len(text)
        return json.loads(answer[4:].rstrip(b"\0"))["capabilities"]

    def map(self, address: int, size: int, fd: int | None, offset: int = 0, flags: int = 3) -> None:
        self.call(2, struct.pack("<IIQQQ", 32, flags, offset, address, size), None if fd is None else [fd])

    def unmap(self, address: int, size: int) -> None:
        self.call(3, struct.pack("<IIQQ", 24, 0, address, size))

    def read(self, region: int, offset: int, count: int) -> bytes:
        answer = self.call(9, struct.pack("<QII", offset, region, count))
        assert struct.unpack_from("<QII", answer) == (offset, region, count)
        return answer[16:]

    def write(self, region: int, offset: int, data: bytes) -> None:
        answer = self.call(10, struct.pack("<QII", offset, region, len(data)) + data)
        assert answer == struct.pack("<QII", offset, region, len(data))

    def posted(self, region: int, offset: int, data: bytes) -> bytes:
        """A posted write as octets, to be sent."""
        return self.pack(10, struct.pack("<QII", offset, region, len(data)) + data, flags=0x10)

    def read32(self, offset: int, region: int = 0) -> int:
        return int.from_bytes(self.read(region, offset, 4), "little")

    def write32(self, offset: int, value: int, region: int = 0) -> None:
        self.write(region, offset, value.to_bytes(4, "little"))

    def set_irqs(self, flags: int, index: int, start: int, count: int, fds: list[int] | None = None) -> None:
        self.call(8, struct.pack("<IIIII", 20, flags, index, start, count), fds)


class Serving:
    """A server for a device in a thread of its own."""

    def __init__(self, path: Path, device: Device) -> None:
        self.path = path
        self.loop = Loop()
        self.server = Server(path, device, self.loop)
        self.server.listen()
        self._thread = threading.Thread(target=self.loop.run, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self.loop.stop()
        self._thread.join(10)
        assert not self._thread.is_alive()
        self.server.close()
        self.loop.close()


def memory_file(size: int) -> int:
    """A shared-memory file of `size` octets; its descriptor."""
    fd = os.memfd_create("guest")
    os.truncate(fd, size)
    return fd


def is_signalled(fd: int, timeout: float = 2.0) -> bool:
    """Whether an eventfd gets signalled within `timeout` seconds; takes the signal."""
    if not select.select([fd], [], [], timeout)[0]:
        return False
    os.eventfd_read(fd)
    return True
