# SPDX-License-Identifier: MIT
"""A QEMU to measure in: the same machine for every guest, its console watched, its processor time counted."""

from __future__ import annotations

import errno
import os
import selectors
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Interface
from pathlib import Path
from typing import Self

from mirage_py.run import vfio_user
from mirage_py.run.network import Network

START_TIMEOUT_S = 60.0
CLIENT_TIMEOUT_S = 300.0
RETRY_S = 0.1
LISTENING = b"listening on tcp port 7"
QEMU = "qemu-system-x86_64"
MAC = "52:54:00:12:34:56"
USER_GUEST = "10.0.2.15"
VCPU_THREAD = "CPU 0/TCG"  # its name with debug-threads


class GuestError(Exception):
    """The guest did not do what was measured; the text says what it said."""


@dataclass(frozen=True)
class Tap:
    """An interface of the network namespace: its name, its address, and that of the guest on it."""

    name: str
    host: str
    guest: str


TAPS = Tap("tap0", "10.0.0.1", "10.0.0.2"), Tap("tap1", "10.0.1.1", "10.0.1.2")


@dataclass(frozen=True)
class Guest:
    """Something to boot that echoes on `ports` and says so. memory_mb: what it is measured with."""

    name: str
    kernel: Path
    memory_mb: int
    append: str
    initrd: Path | None = None
    ports: tuple[int, ...] = (7,)


@dataclass(frozen=True)
class Setup:
    """What a guest is booted in.

    network: "user", or "tap" for the interface `tap`, with its offloads. card: "virtio", or "ixgbe" for the emulated
    82599 (which takes a QEMU that knows vfio-user). arguments: more, for QEMU.
    """

    network: str = "user"
    tap: Tap = TAPS[0]
    card: str = "virtio"
    qemu: str = QEMU
    arguments: tuple[str, ...] = ()


def _thread_seconds(task: Path) -> float:
    # utime and stime count in ticks of 10 ms; this is in nanoseconds. A thread may end while it is looked at.
    with suppress(OSError):
        return int((task / "schedstat").read_text().split()[0]) / 1e9
    return 0.0


def cpu_seconds(pid: int) -> float:
    """Processor time of all threads of process `pid`, to the nanosecond."""
    return sum(map(_thread_seconds, Path(f"/proc/{pid}/task").iterdir()))


def vcpu_seconds(pid: int) -> float:
    """Processor time of the thread of QEMU that runs the guest."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return sum(_thread_seconds(task) for task in tasks if (task / "comm").read_text().strip() == VCPU_THREAD)


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody listens on."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


@dataclass(frozen=True)
class Spent:
    """Seconds. wall: by the clock; of processor time: qemu (all of it), guest (the part that ran the guest), model."""

    wall: float
    qemu: float
    guest: float
    model: float


@dataclass
class Machine:
    """A booted guest, until the end of the `with`.

    ports: the guest's, and where on `host` each is. start_s: from starting QEMU to the first echoed octet.
    """

    guest: Guest
    memory_mb: int
    setup: Setup = Setup()
    host: str = "127.0.0.1"
    ports: dict[int, int] = field(default_factory=dict)
    start_s: float = 0.0
    output: bytearray = field(default_factory=bytearray)
    process: subprocess.Popen[bytes] | None = None
    model: subprocess.Popen[bytes] | None = None

    @classmethod
    def boot(cls, guest: Guest, memory_mb: int | None = None, setup: Setup | None = None) -> Self:
        """Prepare to boot `guest`, with its own amount of memory unless said otherwise."""
        return cls(guest, memory_mb or guest.memory_mb, setup or Setup())

    def command(self, sockets: vfio_user.Sockets | None = None) -> list[str]:
        """QEMU's command line. sockets: where it meets the emulated card."""
        kind = "q35" if sockets is None else "q35,memory-backend=mem"
        line = [self.setup.qemu, "-name", "bench,debug-threads=on", "-machine", kind, "-accel", "tcg", "-cpu", "max"]
        line += ["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-serial", "stdio"]
        line += ["-device", "isa-debug-exit,iobase=0xf4,iosize=4", "-m", f"{self.memory_mb}M"]
        if self.setup.network == "tap":
            line += ["-netdev", f"tap,id=net0,ifname={self.setup.tap.name},script=no,downscript=no,vnet_hdr=on"]
        else:
            forwards = [f"hostfwd=tcp:127.0.0.1:{host}-{USER_GUEST}:{guest}" for guest, host in self.ports.items()]
            line += ["-netdev", ",".join(["user,id=net0", *forwards])]
        if sockets is None:
            line += ["-device", f"virtio-net-pci,netdev=net0,mac={MAC},disable-legacy=on,romfile="]
        else:
            line += [*vfio_user.cable_options(sockets), *vfio_user.qemu_options(sockets, self.memory_mb)]
        line += ["-kernel", str(self.guest.kernel), "-append", self.guest.append]
        if self.guest.initrd is not None:
            line += ["-initrd", str(self.guest.initrd)]
        return [*line, *self.setup.arguments]

    def __enter__(self) -> Self:
        self._folder = tempfile.TemporaryDirectory(prefix="mirage-bench-")
        if self.setup.network == "tap":
            self.host, self.ports = self.setup.tap.guest, {port: port for port in self.guest.ports}
        else:
            self.ports = {port: free_port() for port in self.guest.ports}
        started = time.monotonic()
        try:
            sockets = self._start_model() if self.setup.card == "ixgbe" else None
            started = time.monotonic()
            self.process = _start(self.command(sockets))
            self._wait_for(self.process, LISTENING, self.output, started + START_TIMEOUT_S)
            with self._connect(started + START_TIMEOUT_S) as sock:
                sock.sendall(b"!")
                if sock.recv(1) != b"!":
                    raise GuestError("no echo")
            self.start_s = time.monotonic() - started
        except (OSError, GuestError) as error:
            self.__exit__()
            said = self.output.decode(errors="replace").strip().splitlines()[-3:]
            raise GuestError(
                f"{self.guest.name} with {self.memory_mb} MB: {error}; it said: {' | '.join(said)}"
            ) from None
        return self

    def _start_model(self) -> vfio_user.Sockets:
        sockets = vfio_user.Sockets(Path(self._folder.name))
        network = Network(IPv4Interface(f"{USER_GUEST}/24"), IPv4Address("10.0.2.2"), MAC)
        self.model = _start(vfio_user.model_command(sockets, network, None))
        self._wait_for(self.model, b"ready", bytearray(), time.monotonic() + START_TIMEOUT_S)
        return sockets

    def _wait_for(self, process: subprocess.Popen[bytes], text: bytes, output: bytearray, deadline: float) -> None:
        assert process.stdout is not None
        os.set_blocking(process.stdout.fileno(), False)
        with selectors.DefaultSelector() as selector:
            selector.register(process.stdout, selectors.EVENT_READ)
            while text not in output:
                if not selector.select(max(0.0, deadline - time.monotonic())):
                    raise GuestError(f"does not say {text.decode()!r} in time")
                data = os.read(process.stdout.fileno(), 65536)
                if not data:
                    raise GuestError(f"ended with {process.wait(START_TIMEOUT_S)}")
                output += data

    def _connect(self, deadline: float) -> socket.socket:
        """A connection to port 7. On a TAP, a guest that came up late may have missed the question for its address."""
        while True:
            try:
                return socket.create_connection((self.host, self.ports[7]), timeout=START_TIMEOUT_S)
            except OSError as error:
                if error.errno != errno.EHOSTUNREACH or time.monotonic() > deadline:
                    raise
                time.sleep(RETRY_S)

    def spent(self, client: Path, *arguments: str, port: int = 7) -> Spent:
        """What it took to run the client with `arguments`."""
        before = self._processor_times()
        wall = run_client(client, self.host, self.ports[port], *arguments)
        after = self._processor_times()
        return Spent(wall, *(new - old for new, old in zip(after, before, strict=True)))

    def spent_on(self, work: Callable[[], None]) -> float:
        """QEMU's processor time, in seconds, while `work` talks to the guest."""
        before_s = self._processor_times()[0]
        work()
        return self._processor_times()[0] - before_s

    def _processor_times(self) -> tuple[float, float, float]:
        assert self.process is not None
        model = cpu_seconds(self.model.pid) if self.model is not None else 0.0
        return cpu_seconds(self.process.pid), vcpu_seconds(self.process.pid), model

    def __exit__(self, *exc: object) -> None:
        for process in (self.process, self.model):
            if process is not None:
                process.kill()
                process.wait(START_TIMEOUT_S)
                assert process.stdout is not None
                process.stdout.close()
        self._folder.cleanup()


def _start(command: list[str]) -> subprocess.Popen[bytes]:
    try:
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    except OSError as error:
        raise GuestError(f"{command[0]}: {error.strerror}; sudo apt install qemu-system-x86") from None


def run_client(client: Path, host: str, port: int, *arguments: str) -> float:
    """Run the client; the number that it prints. Raises GuestError when not every octet came back."""
    try:
        done = subprocess.run(
            [str(client), host, str(port), *arguments],
            capture_output=True,
            text=True,
            timeout=CLIENT_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise GuestError(f"the client did not finish in {CLIENT_TIMEOUT_S:.0f} s") from None
    if done.returncode != 0:
        raise GuestError(done.stderr.strip())
    return float(done.stdout)
