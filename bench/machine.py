# SPDX-License-Identifier: MIT
"""A QEMU to measure in: the same machine for every guest, its console watched, its processor time counted."""

from __future__ import annotations

import os
import selectors
import socket
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

START_TIMEOUT_S = 60.0
CLIENT_TIMEOUT_S = 300.0
LISTENING = b"listening on tcp port 7"
MACHINE = [
    *("qemu-system-x86_64", "-machine", "q35", "-accel", "tcg", "-cpu", "max"),
    *("-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-serial", "stdio"),
    *("-device", "isa-debug-exit,iobase=0xf4,iosize=4"),
]


class GuestError(Exception):
    """The guest did not do what was measured; the text says what it said."""


@dataclass(frozen=True)
class Guest:
    """Something to boot that echoes on `ports` and says so. memory_mb: what it is measured with."""

    name: str
    kernel: Path
    memory_mb: int
    append: str
    initrd: Path | None = None
    ports: tuple[int, ...] = (7,)


def cpu_seconds(pid: int) -> float:
    """Processor time of all threads of process `pid`, to the nanosecond (utime and stime count in ticks of 10 ms)."""
    nanoseconds = sum(int((task / "schedstat").read_text().split()[0]) for task in Path(f"/proc/{pid}/task").iterdir())
    return nanoseconds / 1e9


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody listens on."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


@dataclass
class Machine:
    """A booted guest, until the end of the `with`.

    ports: the guest's, and where on 127.0.0.1 each is. start_s: from starting QEMU to the first echoed octet.
    """

    guest: Guest
    memory_mb: int
    ports: dict[int, int] = field(default_factory=dict)
    start_s: float = 0.0
    output: bytearray = field(default_factory=bytearray)

    @classmethod
    def boot(cls, guest: Guest, memory_mb: int | None = None) -> Self:
        """Prepare to boot `guest`, with its own amount of memory unless said otherwise."""
        return cls(guest, memory_mb or guest.memory_mb)

    def command(self) -> list[str]:
        """QEMU's command line."""
        line = [*MACHINE, "-m", f"{self.memory_mb}M"]
        forwards = [f"hostfwd=tcp:127.0.0.1:{host}-10.0.2.15:{guest}" for guest, host in self.ports.items()]
        line += ["-netdev", ",".join(["user,id=net0", *forwards])]
        line += ["-device", "virtio-net-pci,netdev=net0,disable-legacy=on,romfile="]
        line += ["-kernel", str(self.guest.kernel), "-append", self.guest.append]
        return line + (["-initrd", str(self.guest.initrd)] if self.guest.initrd else [])

    def __enter__(self) -> Self:
        self.ports = {port: free_port() for port in self.guest.ports}
        started = time.monotonic()
        try:
            self.process = subprocess.Popen(
                self.command(), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
            )
        except OSError as error:
            raise GuestError(f"{MACHINE[0]}: {error.strerror}; sudo apt install qemu-system-x86") from None
        try:
            self._wait_listening(started + START_TIMEOUT_S)
            with socket.create_connection(("127.0.0.1", self.ports[7]), timeout=START_TIMEOUT_S) as sock:
                sock.sendall(b"!")
                if sock.recv(1) != b"!":
                    raise GuestError(f"{self.guest.name}: no echo")
            self.start_s = time.monotonic() - started
        except (OSError, GuestError) as error:
            self.__exit__()
            said = self.output.decode(errors="replace").strip().splitlines()[-3:]
            raise GuestError(
                f"{self.guest.name} with {self.memory_mb} MB: {error}; it said: {' | '.join(said)}"
            ) from None
        return self

    def _wait_listening(self, deadline: float) -> None:
        assert self.process.stdout is not None
        os.set_blocking(self.process.stdout.fileno(), False)
        with selectors.DefaultSelector() as selector:
            selector.register(self.process.stdout, selectors.EVENT_READ)
            while LISTENING not in self.output:
                if not selector.select(max(0.0, deadline - time.monotonic())):
                    raise GuestError("does not listen in time")
                data = os.read(self.process.stdout.fileno(), 65536)
                if not data:
                    raise GuestError(f"ended with {self.process.wait(START_TIMEOUT_S)}")
                self.output += data

    def cpu_of(self, client: Path, *arguments: str, port: int = 7) -> float:
        """QEMU's processor time, in seconds, while the client runs with `arguments`."""
        before = cpu_seconds(self.process.pid)
        run_client(client, "127.0.0.1", self.ports[port], *arguments)
        return cpu_seconds(self.process.pid) - before

    def __exit__(self, *exc: object) -> None:
        self.process.kill()
        self.process.wait(START_TIMEOUT_S)
        assert self.process.stdout is not None
        self.process.stdout.close()


def run_client(client: Path, host: str, port: int, *arguments: str) -> float:
    """Run the client; the seconds that it took. Raises GuestError when not every octet came back."""
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
