# SPDX-License-Identifier: MIT
"""The HTTP client on the real runtime, against CPython's http.server: unix over both nets, and a machine."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.boot import guests
from tests.boot.guests import GUEST_IP, HOST_IP, TOOL, Namespace

pytestmark = [pytest.mark.build, pytest.mark.slow]
NEEDS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="a namespace with a TAP needs root")
APP = Path(__file__).parent / "apps" / "client"
CHECKS = 16
TIMEOUT_S = 200


@contextmanager
def origin(host: str, *files: Path, prefix: list[str] | None = None) -> Iterator[tuple[int, int]]:
    """tests/web/origin.py; its port and its proxy's."""
    command = [*(prefix or []), sys.executable, "-m", "tests.web.origin", host, *map(str, files)]
    root = Path(__file__).parents[2]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=root) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            own, proxy = process.stdout.readline().split()
            yield int(own), int(proxy)
        finally:
            process.stdin.close()
            process.wait(10)


def finished(command: list[str]) -> str:
    """What the application says until it ends."""
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=TIMEOUT_S, stdin=subprocess.DEVNULL, check=False
    )
    return done.stdout + done.stderr


def assert_passed(console: str, count: int = CHECKS) -> None:
    lines = [line.rstrip("\r") for line in console.splitlines()]
    assert "done" in lines, console
    assert not any(line.startswith("FAILED") for line in lines), console
    assert sum(line.startswith("ok ") for line in lines) == count, console


@pytest.fixture(scope="module")
def sockets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("client") / "socket"
    return guests.build(APP, directory, "-t", "unix", "--net", "socket")


@pytest.mark.xdist_group("processes")
def test_over_system_sockets(sockets: Path) -> None:
    with origin("127.0.0.1") as (port, _):
        assert_passed(finished([str(sockets), "--base", f"http://127.0.0.1:{port}"]))


@pytest.mark.xdist_group("processes")
def test_through_a_proxy(sockets: Path) -> None:
    with origin("127.0.0.1") as (port, proxy):
        base = ["--base", f"http://127.0.0.1:{port}"]
        assert_passed(finished([str(sockets), *base, "--proxy", f"http://me:secret@127.0.0.1:{proxy}"]))


@NEEDS_ROOT
@pytest.mark.tap
@pytest.mark.xdist_group("processes")
def test_over_our_own_stack(tmp_path: Path) -> None:
    binary = guests.build(APP, tmp_path / "direct", "-t", "unix", "--net", "direct")
    with Namespace() as namespace, origin(HOST_IP, prefix=namespace.prefix) as (port, _):
        command = [str(binary), "--interface", "tap0", "--ipv4", f"{GUEST_IP}/24", "--base", f"http://{HOST_IP}:{port}"]
        assert_passed(finished([*namespace.prefix, *command]))


@pytest.mark.qemu
@pytest.mark.xdist_group("machine")
def test_in_a_machine(tmp_path: Path) -> None:
    image = guests.build(APP, tmp_path / "hvt", "-t", "hvt")
    with origin("127.0.0.1") as (port, _):
        assert_passed(finished([*TOOL, "run", str(image), "--", "--base", f"http://10.0.2.2:{port}"]))
