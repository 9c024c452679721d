# SPDX-License-Identifier: MIT
"""The HTTP client on the real runtime, against CPython's http.server: unix over both nets, and a machine."""

from __future__ import annotations

import datetime
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.boot import guests
from tests.boot.guests import GUEST_IP, HOST_IP, TOOL, Namespace
from tests.tls.x509.authority import CLIENT, DAY, Issuer, key, pem, pem_of_key

pytestmark = [pytest.mark.build, pytest.mark.slow]
NEEDS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="a namespace with a TAP needs root")
APP = Path(__file__).parent / "apps" / "client"
CHECKS = 18
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


@contextmanager
def name_server(namespace: Namespace, address: str) -> Iterator[None]:
    """Says this address for every name, and is at this address."""
    command = [*namespace.prefix, sys.executable, str(guests.HERE / "name_server.py"), address, address]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            yield
        finally:
            process.kill()


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


class Authority:
    """Certificates for the test's servers, in a folder, and `ca.pem` in the application beside them."""

    def __init__(self, folder: Path, *hosts: str) -> None:
        self.folder = folder
        self.now = datetime.datetime.now(datetime.UTC)
        self.issuer = Issuer("root of the test", **self.during(-2, 60))
        shutil.copytree(APP, folder / "app")
        (folder / "app" / "ca.pem").write_bytes(pem(self.issuer.certificate))
        middle = Issuer("between", "p384", self.issuer, number=1, **self.during(-2, 60))
        self.good = self.write("good", middle, "rsa", middle, names=[name_of(host) for host in hosts])
        names = [name_of(host) for host in hosts]
        stranger = Issuer("somebody else", number=2, **self.during(-2, 60))
        self.bad = {
            "is for other.test, not for": self.write("host", self.issuer, names=["other.test"]),
            "expired": self.write("old", self.issuer, names=names, **self.during(-2, -1)),
            "not valid yet": self.write("new", self.issuer, names=names, **self.during(1, 2)),
            "trusted": self.write("stranger", stranger, names=names),
            "not for this purpose": self.write("client", self.issuer, names=names, purposes=[CLIENT]),
        }

    def during(self, begin_days: int, end_days: int) -> dict[str, datetime.datetime]:
        return {"begin": self.now + begin_days * DAY, "end": self.now + end_days * DAY}

    def write(self, name: str, issuer: Issuer, kind: str = "p256", *chain: Issuer, **how: Any) -> list[Path]:
        """The files of a certificate and its key."""
        private = key(kind, 100)
        own = issuer.issue(private=private, **({**self.during(-2, 60), **how}))
        files = [self.folder / f"{name}.pem", self.folder / f"{name}.key"]
        files[0].write_bytes(pem(own, *[each.certificate for each in chain]))
        files[1].write_bytes(pem_of_key(private))
        return files


def name_of(host: str) -> str:
    return f"ip:{host}" if host[0].isdigit() else host


@dataclass
class Built:
    path: Path
    authority: Authority


def build(tmp_path: Path, hosts: list[str], *configure: str) -> Built:
    authority = Authority(tmp_path, *hosts)
    return Built(guests.build(tmp_path / "app", tmp_path / "built", *configure), authority)


def check_https(
    command: list[str], authority: Authority, host: str, prefix: list[str] | None = None, seen: str = ""
) -> str:
    """All checks over https, and that wrong certificates are refused for their reason. seen: the host to the guest."""
    with ExitStack() as servers:
        port, _ = servers.enter_context(origin(host, *authority.good, prefix=prefix))
        seen = seen or host
        urls = []
        for files in authority.bad.values():
            other, _ = servers.enter_context(origin(host, *files, prefix=prefix))
            urls.append(f"https://{seen}:{other}/hello")
        console = finished([*command, "--base", f"https://{seen}:{port}", "--bad", ",".join(urls)])
    assert_passed(console)
    told = [line for line in console.splitlines() if line.startswith("bad: ")]
    assert len(told) == len(authority.bad), console
    for reason, line in zip(authority.bad, told, strict=True):
        assert line.startswith("bad: tls: "), line
        assert reason in line, (reason, line)
    return console


@pytest.fixture(scope="module")
def sockets(tmp_path_factory: pytest.TempPathFactory) -> Built:
    return build(tmp_path_factory.mktemp("client"), ["127.0.0.1"], "-t", "unix", "--net", "socket")


@pytest.mark.xdist_group("processes")
def test_http_over_system_sockets(sockets: Built) -> None:
    with origin("127.0.0.1") as (port, _):
        assert_passed(finished([str(sockets.path), "--base", f"http://127.0.0.1:{port}"]))


@pytest.mark.xdist_group("processes")
def test_https_over_system_sockets(sockets: Built) -> None:
    check_https([str(sockets.path)], sockets.authority, "127.0.0.1")


@pytest.mark.xdist_group("processes")
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_through_a_proxy(sockets: Built, scheme: str) -> None:
    files = sockets.authority.good if scheme == "https" else []
    with origin("127.0.0.1", *files) as (port, proxy):
        base = ["--base", f"{scheme}://127.0.0.1:{port}"]
        assert_passed(finished([str(sockets.path), *base, "--proxy", f"http://me:secret@127.0.0.1:{proxy}"]))


@NEEDS_ROOT
@pytest.mark.tap
@pytest.mark.xdist_group("processes")
def test_over_our_own_stack(tmp_path: Path) -> None:
    built = build(tmp_path, [HOST_IP, "origin.test"], "-t", "unix", "--net", "direct")
    with Namespace() as namespace:
        command = [*namespace.prefix, str(built.path), "--interface", "tap0", "--ipv4", f"{GUEST_IP}/24"]
        with origin(HOST_IP, prefix=namespace.prefix) as (port, _):
            assert_passed(finished([*command, "--base", f"http://{HOST_IP}:{port}"]))
        # By a name, which only the test's name server knows.
        with name_server(namespace, HOST_IP):
            command += ["--resolver", HOST_IP]
            check_https(command, built.authority, HOST_IP, namespace.prefix, seen="origin.test")


@pytest.mark.qemu
@pytest.mark.xdist_group("machine")
def test_in_a_machine(tmp_path: Path) -> None:
    # Where QEMU's user-mode network has this computer.
    built = build(tmp_path, ["10.0.2.2"], "-t", "hvt")
    check_https([*TOOL, "run", str(built.path), "--"], built.authority, "127.0.0.1", seen="10.0.2.2")
