# SPDX-License-Identifier: MIT
"""Builds an application as a user would, through the command, starts it, and waits for its own word that it listens."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

HERE = Path(__file__).resolve().parent
EXAMPLES = HERE.parent.parent / "examples"
APPS = HERE / "apps"
TOOL = [sys.executable, "-m", "mirage_py"]
LISTENING = re.compile(r"listening on tcp port (\d+)")
FORWARDING = re.compile(r"forwarding (\S+):(\d+) -> guest (\d+)/tcp")
START_TIMEOUT_S = 60.0
GUEST_IP, HOST_IP = "10.99.0.2", "10.99.0.1"


def tool(*args: str, cwd: Path, timeout_s: float = 600.0, env: dict[str, str] | None = None) -> str:
    """Run mirage-py; its output. Fails the test, with that output, when it fails."""
    done = subprocess.run(
        [*TOOL, *args],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=timeout_s,
        env={**os.environ, **(env or {})},
        stdin=subprocess.DEVNULL,
        check=False,
    )
    assert done.returncode == 0, f"mirage-py {' '.join(args)}: exit {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def build(source: Path, directory: Path, *configure: str) -> Path:
    """Configure and build a copy of the application at `source` in `directory`; the path of what was built."""
    shutil.copytree(source, directory, ignore=shutil.ignore_patterns("mirage", "dist", "Makefile"))
    tool("configure", *configure, cwd=directory)
    tool("build", cwd=directory)
    config = json.loads((directory / "mirage" / "config.json").read_text())
    suffix = ".hvt" if config["target"] == "hvt" else ""
    built = directory / "dist" / (config["name"] + suffix)
    assert built.exists()
    return built


@dataclass
class Guest:
    """A running application: where its ports are, what it printed, and how to ask it."""

    process: subprocess.Popen[bytes]
    host: str
    ports: dict[int, int]
    prefix: list[str] = field(default_factory=list)
    output: list[str] = field(default_factory=list)

    def client(self, scenario: str, port: int = 7, *, timeout_s: float = 300.0, **options: object) -> dict[str, object]:
        """Run the client's `scenario` against guest port `port`; its result."""
        flags = [f"--{name}={value}" for name, value in options.items()]
        done = subprocess.run(
            [*self.prefix, sys.executable, str(HERE / "client.py"), scenario, self.host, str(self.ports[port]), *flags],
            capture_output=True,
            text=True,
            timeout=timeout_s,
            stdin=subprocess.DEVNULL,
            check=False,
        )
        assert done.stdout, done.stderr
        result: dict[str, object] = json.loads(done.stdout)
        assert "error" not in result, f"{result}\nguest said:\n{self.text()}"
        return result

    def order(self, command: str) -> None:
        """Give the probe's control port a command whose answer does not matter: the guest may end over it."""
        with suppress(AssertionError):
            self.client("ask", port=9, text=command, timeout=3)

    def text(self) -> str:
        """All that the guest printed so far."""
        return "".join(self.output)

    def wait(self, timeout_s: float = 30.0) -> int:
        """The exit code, once the guest has ended."""
        return self.process.wait(timeout_s)


def run_beside(guest: Guest, *command: str, timeout_s: float = 60.0) -> subprocess.CompletedProcess[str]:
    """Run `command` where the guest's network is."""
    return subprocess.run([*guest.prefix, *command], capture_output=True, text=True, timeout=timeout_s, check=False)


def collect(guest: Guest) -> threading.Thread:
    """Read the guest's output as it comes, so that it never blocks on a full pipe."""

    def read() -> None:
        assert guest.process.stdout is not None
        for line in guest.process.stdout:
            guest.output.append(line.decode(errors="replace"))

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    return reader


def wait_saying(guest: Guest, words: str) -> None:
    """Wait until the guest has printed `words`."""
    deadline = time.monotonic() + START_TIMEOUT_S
    while words not in guest.text():
        assert guest.process.poll() is None, f"ended with {guest.process.returncode}:\n{guest.text()}"
        assert time.monotonic() < deadline, f"did not say {words!r} in {START_TIMEOUT_S} s:\n{guest.text()}"
        time.sleep(0.02)


def wait_listening(guest: Guest, ports: set[int]) -> None:
    """Wait until the guest says that it listens on every one of `ports`."""
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        heard = {int(port) for port in LISTENING.findall(guest.text())}
        if ports <= heard:
            return
        assert guest.process.poll() is None, (
            f"ended with {guest.process.returncode} before it listened:\n{guest.text()}"
        )
        time.sleep(0.02)
    raise AssertionError(f"not listening after {START_TIMEOUT_S} s:\n{guest.text()}")


@contextmanager
def started(command: list[str], guest_ports: set[int], **where: object) -> Iterator[Guest]:
    """Start `command`, wait for its ports, and end it afterwards whatever happens."""
    cwd = where.pop("cwd", None)
    env = where.pop("env", None)
    prefix = where.pop("prefix", [])
    assert isinstance(prefix, list)
    process = subprocess.Popen(
        [*prefix, *command],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        cwd=cwd,  # type: ignore[arg-type]
        env={**os.environ, **(env or {})},  # type: ignore[dict-item]
        start_new_session=True,
    )
    guest = Guest(process, str(where.get("host", "127.0.0.1")), {port: port for port in guest_ports}, prefix)
    reader = collect(guest)
    try:
        wait_listening(guest, guest_ports)
        for _, host_port, guest_port in FORWARDING.findall(guest.text()):
            guest.ports[int(guest_port)] = int(host_port)
        yield guest
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait(10)
        reader.join(10)


def start_hvt(image: Path, ports: set[int], *options: str, guest_args: list[str] | None = None, **where: object):
    """Boot `image` in QEMU through `mirage-py run`, with user-mode networking unless `options` say otherwise."""
    tail = ["--", *guest_args] if guest_args else []
    return started([*TOOL, "run", *options, str(image), *tail], ports, **where)


def free_port() -> int:
    """A TCP port on the loopback interface that nobody listens on now."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@contextmanager
def start_socket(binary: Path, ports: dict[str, int]) -> Iterator[Guest]:
    """Start the unix build on the system's sockets, on free ports. ports: what the other builds have, by key."""
    actual = {port: free_port() for port in ports.values()}
    flags = [item for name, port in ports.items() for item in (f"--{name}", str(actual[port]))]
    with started([str(binary), *flags], set(actual.values())) as guest:
        guest.ports = actual
        yield guest


class Namespace:
    """A network namespace with a TAP in it, without a default route, for one guest and its client; needs root.

    tap: None for a namespace without one. suffix: tells several of one test apart.
    """

    def __init__(self, tap: str | None = "tap0", suffix: str = ""):
        self.name, self.tap = f"mirage-boot-{os.getpid()}{suffix}", tap
        # Not `ip netns exec`: that mounts a /sys of its own, which a container may not.
        self.prefix = ["nsenter", f"--net=/run/netns/{self.name}"]

    def __enter__(self) -> Self:
        subprocess.run(["ip", "netns", "add", self.name], check=True)
        with ExitStack() as undo:
            undo.callback(self.__exit__)
            lines = [["ip", "link", "set", "lo", "up"]]
            if self.tap is not None:
                lines += [
                    ["ip", "tuntap", "add", self.tap, "mode", "tap", "vnet_hdr"],
                    ["ip", "address", "add", f"{HOST_IP}/24", "dev", self.tap],
                    ["ip", "link", "set", self.tap, "up"],
                ]
            for line in lines:
                self.run(*line)
            undo.pop_all()
        return self

    def run(self, *command: str) -> None:
        """Run `command` inside. Fails the test when it fails."""
        subprocess.run([*self.prefix, *command], check=True, timeout=60)

    def __exit__(self, *exc: object) -> None:
        subprocess.run(["ip", "netns", "delete", self.name], check=False)
