# SPDX-License-Identifier: MIT
"""Random and damaged messages, and random register traffic, against the vfio-user server: over a small device, and over
the 82599.

It answers or hangs up. At no time is there an exception that nobody expected, in the server or in the device behind it
(what the server catches of it, it logs as an error), and every access to the client's memory that is granted lies in
what the client has mapped just then, with that right: a table of the test's own says so. At the end no descriptor has
leaked, nothing is mapped, and the octets beside what was mapped are untouched.

A failure names its seed and step: `run(DEVICE, SEED, STEPS)` does the same again, but for how messages are cut.
"""

import gc
import logging
import os
import random
import socket
import struct
import tempfile
from collections.abc import Callable, Iterator
from mmap import mmap
from pathlib import Path

import pytest

from mirage_py.nic.backends.pair import PairEnd, pair
from mirage_py.nic.pci import IxgbePci
from mirage_py.nic.vfio_user.device import Device
from mirage_py.nic.vfio_user.dma import DmaError, DmaSpace
from mirage_py.nic.vfio_user.loop import Loop
from mirage_py.nic.vfio_user.server import Server
from tests.nic import test_fuzz_ixgbe as model
from tests.nic.client import HEADER, memory_file
from tests.nic.host import MAC
from tests.nic.test_vfio_user import Doorbell

STEPS = int(os.environ.get("MIRAGE_PY_FUZZ_STEPS", "15000"))
NIGHTLY_STEPS = 1_000_000
READABLE, WRITABLE = 1, 2
POSTED = 0x10
DMA_MAP, DMA_UNMAP, REGION_READ, REGION_WRITE = 2, 3, 9, 10
CONFIG_REGION = 7


class Errors(logging.Handler):
    """Every error that is logged while it is in place, but for what the small device is there to raise."""

    def __init__(self, expected: tuple[type[Exception], ...]) -> None:
        super().__init__(logging.ERROR)
        self.expected = expected
        self.found: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        if not isinstance(error, self.expected):
            self.found.append(f"{record.getMessage()}: {error!r}")


class Audited(DmaSpace):
    """The client's memory, and a second table of what is mapped, in the plainest form."""

    def __init__(self) -> None:
        super().__init__()
        self.mapped: dict[int, tuple[int, int]] = {}
        self.granted = self.refused = 0

    def map(self, start: int, size: int, flags: int, fd: int | None = None, offset: int = 0) -> None:
        super().map(start, size, flags, fd, offset)
        assert all(end <= start or start + size <= begin for begin, (end, _) in self.mapped.items())
        self.mapped[start] = start + size, flags

    def unmap(self, start: int, size: int) -> int:
        gone = super().unmap(start, size)
        end, before = start + size, self.mapped
        self.mapped = {}
        for begin, (stop, flags) in before.items():
            if begin < min(start, stop):
                self.mapped[begin] = min(start, stop), flags
            if max(end, begin) < stop:
                self.mapped[max(end, begin)] = stop, flags
        assert gone == sum(e - s for s, (e, _) in before.items()) - sum(e - s for s, (e, _) in self.mapped.items())
        assert len(self) == len(self.mapped)
        return gone

    def clear(self) -> int:
        self.mapped.clear()
        return super().clear()

    def _check(self, address: int, length: int, right: int) -> None:
        end = address + length
        while address < end:
            piece = next((e for s, (e, rights) in self.mapped.items() if s <= address < e and rights & right), None)
            assert piece is not None, f"{length} octets at {address:#x} are not mapped with right {right}"
            address = piece
        self.granted += 1

    def view(self, address: int, length: int, write: bool = False) -> memoryview | None:
        view = super().view(address, length, write)
        if view is not None:
            assert len(view) == length
            self._check(address, length, WRITABLE if write else READABLE)
        return view

    def read(self, address: int, length: int) -> bytes:
        try:
            data = super().read(address, length)
        except DmaError:
            self.refused += 1
            raise
        self._check(address, length, READABLE)
        return data

    def write(self, address: int, data: bytes | bytearray | memoryview) -> None:
        try:
            super().write(address, data)
        except DmaError:
            self.refused += 1
            raise
        self._check(address, len(data), WRITABLE)


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


def pack(command: int, body: bytes, flags: int = POSTED) -> bytes:
    return HEADER.pack(0, command, 16 + len(body), flags, 0) + body


class RemoteRegisters:
    """Registers behind the server: accesses become messages, and nobody waits for what a read answers."""

    def __init__(self) -> None:
        self.out = bytearray()

    def __getitem__(self, index: int) -> int:
        self.out += pack(REGION_READ, struct.pack("<QII", 4 * index, 0, 4), 0)
        return 0

    def __setitem__(self, index: int, value: int) -> None:
        self.out += pack(REGION_WRITE, struct.pack("<QIII", 4 * index, 0, 4, value))


class NoTime:
    def advance(self, delta_ns: int) -> None:
        """The server's timers go by the clock."""


class RegisterTraffic(model.Fuzzer):
    """What the model's own fuzzer does to it, through the server."""

    def __init__(self, rng: random.Random, memory: memoryview, device: IxgbePci, far: PairEnd) -> None:
        self.rng = rng
        self.sent = self.stored = 0
        self.memory = memory
        self.timers = NoTime()
        self.far = far
        self.nic = device.model
        self.regs = self.remote = RemoteRegisters()

    def messages(self) -> bytes:
        # Among messages that reset everything, the rings have to be set up often.
        if self.rng.random() < 0.15:
            self.sensible()
            self.frames()
        self.step()
        data = bytes(self.remote.out)
        self.remote.out.clear()
        return data


class Guarded:
    """A file whose middle is mapped for the device; what is around it has to stay as it is."""

    def __init__(self) -> None:
        self.fd = memory_file(model.MEMORY + 2 * model.GUARD)
        self._map = mmap(self.fd, 0)
        self._map[:] = b"\xa5" * len(self._map)
        self.memory = memoryview(self._map)[model.GUARD : model.GUARD + model.MEMORY]

    def map_message(self) -> bytes:
        body = struct.pack("<IIQQQ", 32, READABLE | WRITABLE, model.GUARD, model.BASE, model.MEMORY)
        return pack(DMA_MAP, body)

    @staticmethod
    def unmap_message() -> bytes:
        return pack(DMA_UNMAP, struct.pack("<IIQQ", 24, 0, model.BASE, model.MEMORY))

    def close(self) -> None:
        guard = b"\xa5" * model.GUARD
        assert self._map[: model.GUARD] == self._map[model.GUARD + model.MEMORY :] == guard
        self.memory.release()
        self._map.close()
        os.close(self.fd)


class Attacker:
    """A client that sends anything, loses its connection over it, and comes back."""

    def __init__(self, path: Path, loop: Loop, rng: random.Random, guarded: Guarded) -> None:
        self.path = path
        self.loop = loop
        self.rng = rng
        self.guarded = guarded
        self.extra = [memory_file(8192), os.eventfd(0), os.open("/dev/null", os.O_RDWR)]
        self.sock: socket.socket | None = None

    def connect(self) -> socket.socket:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        sock.connect(str(self.path))
        self.loop.step(0)
        self._send(sock, HEADER.pack(1, 1, 16 + 4, 0, 0) + bytes(4), [])
        self._send(sock, self.guarded.map_message(), [self.guarded.fd])
        # Bus mastering and memory decoding on.
        self._send(sock, pack(REGION_WRITE, struct.pack("<QIIH", 4, CONFIG_REGION, 2, 6)), [])
        return sock

    def _send(self, sock: socket.socket, data: bytes, fds: list[int]) -> None:
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, struct.pack(f"{len(fds)}i", *fds))] if fds else []
        sock.sendmsg([data], rights)
        self.loop.step(0)

    def send(self, data: bytes, fds: list[int]) -> None:
        """All of it, in one or two pieces; a connection that does not survive it is opened again."""
        if self.sock is None:
            self.sock = self.connect()
        cut = self.rng.randrange(1, len(data)) if len(data) > 1 and self.rng.random() < 0.2 else len(data)
        try:
            self._send(self.sock, data[:cut], fds)
            if cut < len(data):
                self._send(self.sock, data[cut:], [])
            while self.sock.recv(1 << 20):
                pass
            raise ConnectionResetError
        except BlockingIOError:
            pass
        except OSError:
            self.close()

    def step(self) -> None:
        rng = self.rng
        data = b"".join(message(rng) for _ in range(rng.choice((1, 1, 1, 5))))
        self.send(data, rng.choices(self.extra, k=rng.choice((0, 0, 0, 1, 1, 2, 5))))

    def remap(self) -> None:
        """The memory goes while it is in use, and comes back."""
        self.send(self.guarded.unmap_message(), [])
        self.send(self.guarded.map_message(), [self.guarded.fd])

    def neighbours(self) -> None:
        """Small pieces right behind the memory, with any rights, come and go: accesses span them, or may not."""
        rng = self.rng
        start = model.BASE + model.MEMORY + 4096 * rng.randrange(4)
        if rng.random() < 0.6:
            self.send(pack(DMA_MAP, struct.pack("<IIQQQ", 32, rng.randrange(4), 0, start, 4096)), self.extra[:1])
        else:
            self.send(pack(DMA_UNMAP, struct.pack("<IIQQ", 24, 0, start, 4096)), [])

    def ring(self) -> None:
        """The small device's doorbell, with an address in what is mapped or near it."""
        rng = self.rng
        around = (0, model.MEMORY, model.MEMORY + 4096 * rng.randrange(5), rng.randrange(model.MEMORY))
        address = (
            model.BASE + rng.choice(around) + rng.choice((-0x108, -0x104, -0x100, -8, -4, 0, 4, rng.randrange(64)))
        )
        self.send(pack(REGION_WRITE, struct.pack("<QIIQ", 0x100, 0, 8, address)), [])

    def close(self) -> None:
        if self.sock is not None:
            self.sock.close()
            self.sock = None
            self.loop.step(0)

    def end(self) -> None:
        self.close()
        for _ in range(3):
            self.loop.step(0)
        for fd in self.extra:
            os.close(fd)


def small_device(loop: Loop) -> tuple[Device, PairEnd | None]:
    return Doorbell(), None


def card(loop: Loop) -> tuple[Device, PairEnd | None]:
    wire, far = pair()
    return IxgbePci(MAC, wire, loop), far


def run(make: Callable[[Loop], tuple[Device, PairEnd | None]], seed: int, steps: int) -> None:
    rng = random.Random(seed)
    # The small device fails on purpose, and lets refused accesses to memory through.
    errors = Errors((RuntimeError, DmaError) if make is small_device else ())
    log = logging.getLogger("mirage_py.nic")
    log.addHandler(errors)
    log.propagate = False
    guarded = Guarded()
    loop = Loop()
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as directory:
        patch.setattr("mirage_py.nic.vfio_user.connection._CALL_TIMEOUT_SECONDS", 0.0)
        patch.setattr("mirage_py.nic.vfio_user.device.DmaSpace", Audited)
        patch.setattr("mirage_py.nic.pci.time.sleep", lambda seconds: None)  # a fault switch makes reads slow
        gc.collect()  # sockets that other tests left open are closed now, not while these are counted
        before = len(os.listdir("/proc/self/fd"))
        device, far = make(loop)
        assert isinstance(device.dma, Audited)
        traffic = RegisterTraffic(rng, guarded.memory, device, far) if isinstance(device, IxgbePci) and far else None
        server = Server(Path(directory) / "s", device, loop)
        server.listen()
        attacker = Attacker(Path(directory) / "s", loop, rng, guarded)
        for number in range(steps):
            try:
                if traffic is not None and rng.random() < 0.85:
                    if data := traffic.messages():
                        attacker.send(data, [])
                elif traffic is None and rng.random() < 0.2:
                    attacker.ring()
                elif rng.random() < 0.01:
                    attacker.remap()
                elif rng.random() < 0.05:
                    attacker.neighbours()
                else:
                    attacker.step()
            except Exception as error:
                raise AssertionError(f"seed {seed}, step {number}: {error!r}") from error
            assert not errors.found, f"seed {seed}, step {number}: {errors.found}"
        attacker.end()
        assert server.connection is None
        assert len(device.dma) == len(device.dma.mapped) == 0
        server.close()
        assert len(os.listdir("/proc/self/fd")) == before
    loop.close()
    guarded.close()
    log.removeHandler(errors)
    log.propagate = True
    assert device.dma.refused > steps // 5000, "accesses outside were tried"
    assert device.dma.granted > steps // 100
    if traffic is not None:
        assert traffic.stored > 10, "the data path was reached"
        assert traffic.sent > 10


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    logging.disable(logging.WARNING)
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("make", [small_device, card])
def test_random_messages_never_stop_the_server(
    make: Callable[[Loop], tuple[Device, PairEnd | None]], seed: int
) -> None:
    run(make, seed, STEPS)


@pytest.mark.nightly
@pytest.mark.parametrize("make", [small_device, card])
def test_a_million_random_messages(make: Callable[[Loop], tuple[Device, PairEnd | None]]) -> None:
    for _ in range(10):
        run(make, random.SystemRandom().randrange(1 << 32), NIGHTLY_STEPS // 10)
