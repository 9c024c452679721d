# SPDX-License-Identifier: MIT
"""Random and damaged messages against the vfio-user server: it answers or hangs up, never raises, never leaks."""

import logging
import os
import random
import socket
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from mirage_py.nic.vfio_user.loop import Loop
from mirage_py.nic.vfio_user.server import Server
from tests.nic.client import HEADER, memory_file
from tests.nic.test_vfio_user import Doorbell

STEPS = int(os.environ.get("MIRAGE_PY_FUZZ_STEPS", "15000"))


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


def number(rng: random.Random, bits: int) -> int:
    """Small, a power of two or next to it, or anything."""
    kind = rng.randrange(4)
    if kind == 0:
        return rng.randrange(9)
    if kind == 1:
        return ((1 << rng.randrange(bits + 1)) + rng.randrange(-1, 2)) & ((1 << bits) - 1)
    if kind == 2:
        return rng.choice((0x1000, 0x2000, 0x100, 4092, 4, 8)) & ((1 << bits) - 1)
    return rng.getrandbits(bits)


def body(rng: random.Random, command: int) -> bytes:
    def u32() -> int:
        return number(rng, 32)

    def u64() -> int:
        return number(rng, 64)

    if command == 1:
        return struct.pack("<HH", rng.choice((0, 0, 0, 1)), 0) + rng.choice(
            (b'{"capabilities":{}}\0', b"", b"{[", b"[" * 2000)
        )
    if command == 2:
        return struct.pack("<IIQQQ", u32(), u32(), u64(), u64(), u64())
    if command == 3:
        return struct.pack("<IIQQ", u32(), rng.choice((0, 0, 0, u32())), u64(), u64())
    if command in (4, 7):
        return struct.pack("<IIII", u32(), u32(), u32(), u32())
    if command == 5:
        return struct.pack("<IIIIQQ", u32(), u32(), u32(), u32(), u64(), u64())
    if command == 8:
        return struct.pack(
            "<IIIII", u32(), rng.choice((0x24, 0x21, 0x11, u32())), number(rng, 3), u32(), u32()
        ) + rng.randbytes(4)
    if command in (9, 10):
        data = rng.randbytes(rng.choice((0, 1, 4, 8, 4096))) if command == 10 else b""
        count = len(data) if command == 10 and rng.random() < 0.8 else u32()
        return struct.pack("<QII", rng.choice((u64(), rng.randrange(4096), 0x100)), number(rng, 3), count) + data
    if command == 15:
        count = rng.randrange(4)
        return struct.pack("<Q", count) + rng.randbytes(24 * count)
    return rng.randbytes(rng.randrange(64))


def message(rng: random.Random) -> bytes:
    command = rng.choice((1, 2, 3, 4, 5, 7, 8, 9, 10, 10, 13, 15, rng.randrange(20), rng.getrandbits(16)))
    payload = body(rng, command)
    if rng.random() < 0.1:
        payload = payload[: rng.randrange(len(payload) + 1)]
    if rng.random() < 0.05:
        payload += rng.randbytes(rng.randrange(200))
    size = 16 + len(payload) if rng.random() < 0.995 else number(rng, 32)
    flags = rng.choice((0, 0, 0, 0x10, 0x10, 1, 0x21, rng.getrandbits(32)))
    data = bytearray(
        HEADER.pack(rng.getrandbits(16), command, size, flags, rng.choice((0, rng.getrandbits(32)))) + payload
    )
    if rng.random() < 0.02:
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return bytes(data)


def open_descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


@pytest.mark.parametrize("seed", [1, 2])
def test_random_messages_never_stop_the_server(tmp_path: Path, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mirage_py.nic.vfio_user.connection._CALL_TIMEOUT_SECONDS", 0.0)
    rng = random.Random(seed)
    loop = Loop()
    problems: list[BaseException] = []
    monkeypatch.setattr(loop, "_guarded", lambda callback, events: callback(events))
    device = Doorbell()
    settle = device.settle

    def settle_refused() -> None:
        try:
            settle()
        except Exception as error:
            # A DMA access that the client did not allow: what a device's model has to expect.
            if type(error).__name__ != "DmaError":
                problems.append(error)

    monkeypatch.setattr(device, "settle", settle_refused)
    server = Server(tmp_path / "s", device, loop)
    server.listen()
    extra = [memory_file(8192), os.eventfd(0), os.open("/dev/null", os.O_RDWR)]
    before = open_descriptors()
    client: socket.socket | None = None
    for _ in range(STEPS):
        if client is None:
            client = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
            client.connect(str(tmp_path / "s"))
            loop.step(0)
            client.send(HEADER.pack(1, 1, 16 + 4, 0, 0) + bytes(4))
        fds = rng.choices(extra, k=rng.choice((0, 0, 0, 1, 1, 2, 5)))
        data = b"".join(message(rng) for _ in range(rng.choice((1, 1, 1, 5))))
        cut = rng.randrange(len(data)) if rng.random() < 0.2 else len(data)
        try:
            rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, struct.pack(f"{len(fds)}i", *fds))] if fds else []
            client.sendmsg([data[:cut]] if cut else [data], rights)
            loop.step(0)
            if cut and cut < len(data):
                client.send(data[cut:])
                loop.step(0)
            while len(client.recv(1 << 20)):
                pass
            raise ConnectionResetError
        except BlockingIOError:
            pass
        except OSError:
            client.close()
            client = None
            loop.step(0)
    if client is not None:
        client.close()
    for _ in range(3):
        loop.step(0)
    assert not problems
    assert server.connection is None
    assert open_descriptors() == before
    assert len(device.dma) == 0
    server.close()
    loop.close()
    for fd in extra:
        os.close(fd)
