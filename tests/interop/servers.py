# SPDX-License-Identifier: MIT
"""Linux's servers, each in a namespace, with its configuration and state in the test's folder."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.conftest import need
from tests.interop.network import Namespace, wait_until

START_S = 15.0


def end(process: subprocess.Popen[bytes], grace_s: float = 5.0) -> None:
    """Ends a server and its children: asked first, then not."""
    if process.poll() is None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            process.wait(grace_s)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait(10)


def text(log: Path) -> str:
    """What a log has so far."""
    return log.read_text(errors="replace") if log.exists() else ""


def wait_for_text(log: Path, wanted: str, timeout_s: float) -> str:
    """Waits until the log has `wanted`, a regular expression; the log. Raises AssertionError with the log."""
    deadline = time.monotonic() + timeout_s
    while not re.search(wanted, text(log)):
        assert time.monotonic() < deadline, f"not within {timeout_s} s: {wanted!r} in\n{text(log)}"
        time.sleep(0.05)
    return text(log)


def is_bound(near: Namespace, port: int, udp: bool = False) -> bool:
    """Whether a socket in the namespace listens on a TCP port, or has a UDP port."""
    return bool(near.run("ss", "-Hln", "-u" if udp else "-t", f"sport = :{port}", check=True).stdout.strip())


@contextmanager
def listening(
    near: Namespace, command: Sequence[str], port: int, log: Path, udp: bool = False
) -> Iterator[subprocess.Popen[bytes]]:
    """A server that has bound `port`; ended afterwards."""
    process = near.popen(command, log)
    try:
        wait_until(
            lambda: process.poll() is not None or is_bound(near, port, udp), START_S, f"{command[0]} on port {port}"
        )
        assert process.poll() is None, f"{command[0]} ended with {process.returncode}:\n{text(log)}"
        yield process
    finally:
        end(process)


@contextmanager
def http(near: Namespace, folder: Path, ip: str, port: int = 8000) -> Iterator[int]:
    """Python's HTTP server over the files in `folder`; its port."""
    command = [sys.executable, "-m", "http.server", "--bind", ip, "--directory", str(folder), str(port)]
    with listening(near, command, port, folder / "http.log"):
        yield port


@contextmanager
def iperf3(near: Namespace, ip: str, folder: Path, port: int = 5201) -> Iterator[int]:
    """iperf3 as server; its port."""
    command = [need("iperf3", "iperf3"), "-s", "-B", ip, "-p", str(port)]
    with listening(near, command, port, folder / "iperf3.log"):
        yield port
