# SPDX-License-Identifier: MIT
"""The interoperation tests' application, built once a session for each target, started on a namespace's TAP."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.boot import guests
from tests.interop.network import IPV4, IPV6, Namespace, wait_until

APP = Path(__file__).with_name("apps") / "interop"
TCP_PORTS = {7, 9, 80, 99, 5201}


@dataclass
class Builds:
    """Executables and images, made when first asked for, under `folder`."""

    folder: Path

    def get(self, target: str) -> Path:
        """The application for "unix" (our stack on a TAP) or "hvt"."""
        directory = self.folder / target
        options = ["-t", "unix", "--net", "direct"] if target == "unix" else ["-t", "hvt"]
        built = directory / "dist" / ("interop" if target == "unix" else "interop.hvt")
        return built if built.exists() else guests.build(APP, directory, *options)


@dataclass
class Guest:
    """A running application. near: the namespace of its TAP; ip: its address."""

    running: guests.Guest
    near: Namespace
    ip: str

    def order(self, *words: object, timeout_s: float = 60.0, ip: str | None = None) -> dict[str, Any]:
        """A command for the control port, and its answer. AssertionError when that is an error."""
        line = " ".join(str(word) for word in words).encode() + b"\n"
        done = self.near.run("nc", "-w", str(int(timeout_s)), ip or self.ip, "99", stdin=line, timeout_s=timeout_s + 5)
        assert done.stdout, f"no answer to {words}: {done.stderr}\nguest said:\n{self.running.text()}"
        answer: dict[str, Any] = json.loads(done.stdout)
        assert "error" not in answer, f"{words}: {answer}\nguest said:\n{self.running.text()}"
        return answer

    def counters(self) -> dict[str, dict[str, int]]:
        """The stack's counters."""
        return self.order("counters")

    def text(self) -> str:
        """All that it printed so far."""
        return self.running.text()

    @property
    def process(self) -> subprocess.Popen[bytes]:
        return self.running.process


@contextmanager
def started(
    built: Path,
    near: Namespace,
    *arguments: str,
    tap: str = "tap0",
    ip: str = IPV4.guest,
    options: tuple[str, ...] = (),
) -> Iterator[Guest]:
    """Starts what was built, and ends it. arguments: boot arguments; options: of `mirage-py run`, for an image."""
    prefix: Any = near.prefix
    if built.suffix == ".hvt":
        context = guests.start_hvt(
            built, TCP_PORTS, "--tap", tap, *options, guest_args=list(arguments), prefix=prefix, host=ip
        )
    else:
        command = [str(built), "--interface", tap, *arguments]
        context = guests.started(command, TCP_PORTS, prefix=prefix, host=ip)
    with context as running:
        yield Guest(running, near, ip)


def static() -> list[str]:
    """Boot arguments for the guest's fixed addresses, with near as the router to far."""
    arguments = []
    for family in (IPV4, IPV6):
        arguments += [
            f"--{family.name}",
            f"{family.guest}/{family.prefix_len}",
            f"--{family.name}-gateway",
            family.near,
        ]
    return arguments


def wait_until_it_answers(guest: Guest) -> None:
    """Waits for both fixed addresses: one of IPv6 is not used before it is known that nobody else has it."""
    for family in (IPV4, IPV6):
        wait_until(
            lambda ip=family.guest: guest.near.run("ping", "-c", "1", "-w", "1", ip).returncode == 0,  # type: ignore[misc]
            15,
            f"an answer from {family.guest}",
        )
