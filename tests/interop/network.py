# SPDX-License-Identifier: MIT
"""Network namespaces for the tests: a TAP for the guest, a router, a far host behind it. Nothing leads outside.

    direct    guest --- tap0 [near]
    routed    guest --- tap0 [near] to-far --- to-near [far]

near has 10.98.1.1/24 and fd98:1::1/64, far 10.98.2.2/24 and fd98:2::2/64. Names have the process id of the test, so
that what a killed test left behind is found and removed by the next one.
"""

from __future__ import annotations

import itertools
import os
import re
import shlex
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

PREFIX = "mirage-interop"


@dataclass(frozen=True)
class Family:
    """One version of IP, and who has which address. router_far: near's address on the link to far."""

    name: str
    near: str
    guest: str
    router_far: str
    far: str
    prefix_len: int

    @property
    def in_url(self) -> str:
        """The guest's address in a URL."""
        return f"[{self.guest}]" if ":" in self.guest else self.guest


IPV4 = Family("ipv4", "10.98.1.1", "10.98.1.2", "10.98.2.1", "10.98.2.2", 24)
IPV6 = Family("ipv6", "fd98:1::1", "fd98:1::2", "fd98:2::1", "fd98:2::2", 64)

_NAMESPACES = Path("/run/netns")
_NAME = re.compile(PREFIX + r"-(\d+)-\d+")
_numbers = itertools.count()


def remove_stale() -> list[str]:
    """Removes the namespaces of test processes that are no more; their names."""
    removed = []
    if not _NAMESPACES.is_dir():
        return removed
    for path in _NAMESPACES.iterdir():
        match = _NAME.fullmatch(path.name)
        if match and not Path(f"/proc/{match[1]}").exists():
            _end_members(path)
            subprocess.run(["ip", "netns", "delete", path.name], check=False, timeout=30)
            removed.append(path.name)
    return removed


def _end_members(namespace: Path) -> None:
    """Ends every process in a namespace: they are the tests' own, and nothing else can be in there."""
    with suppress(FileNotFoundError):
        inode = namespace.stat().st_ino
        for link in Path("/proc").glob("[0-9]*/ns/net"):
            with suppress(OSError):
                if link.stat().st_ino == inode:
                    os.kill(int(link.parts[2]), signal.SIGKILL)


class Namespace:
    """A network namespace with its loopback up. Programs started in it end with it."""

    def __init__(self) -> None:
        self.name = f"{PREFIX}-{os.getpid()}-{next(_numbers)}"
        # Not `ip netns exec`: that mounts a /sys of its own, which a container may not.
        self.prefix = ["nsenter", f"--net={_NAMESPACES / self.name}"]
        self._started: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Self:
        subprocess.run(["ip", "netns", "add", self.name], check=True, timeout=30)
        with ExitStack() as undo:
            undo.callback(self.__exit__, None, None, None)
            self.sh("ip link set lo up")
            self.set("net/ipv6/conf/default/accept_dad", 0)
            self.set("net/ipv6/conf/default/accept_ra", 0)
            # Everybody may ping: the sockets that iputils uses without a capability.
            self.set("net/ipv4/ping_group_range", "0 2147483647")
            undo.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # One that has just been started may not have entered yet, and would do so behind our back.
        for process in self._started:
            if process.poll() is None:
                process.kill()
        _end_members(_NAMESPACES / self.name)
        subprocess.run(["ip", "netns", "delete", self.name], check=False, timeout=30)

    def run(
        self, *command: str, timeout_s: float = 60.0, stdin: bytes | None = None, check: bool = False
    ) -> subprocess.CompletedProcess[str]:
        """Runs a program in it, to its end. With `check`, AssertionError with its output when it fails."""
        done = subprocess.run(
            [*self.prefix, *command],
            capture_output=True,
            timeout=timeout_s,
            input=stdin if stdin is not None else b"",
            check=False,
        )
        text = subprocess.CompletedProcess(
            done.args, done.returncode, done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace")
        )
        if check:
            assert done.returncode == 0, f"{shlex.join(command)}: exit {done.returncode}\n{text.stdout}\n{text.stderr}"
        return text

    def sh(self, *lines: str) -> None:
        """Runs commands that must succeed, each a line as one types it."""
        for line in lines:
            self.run(*shlex.split(line), check=True)

    def set(self, name: str, value: int | str) -> None:
        """A sysctl of this namespace, by its path under /proc/sys."""
        self.run("tee", f"/proc/sys/{name}", stdin=str(value).encode(), check=True)

    def popen(self, command: Sequence[str], log: Path) -> subprocess.Popen[bytes]:
        """Starts a program in it, its output in `log`."""
        with log.open("ab") as output:
            process = subprocess.Popen(
                [*self.prefix, *command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._started.append(process)
        return process

    def add_tap(self, name: str = "tap0", mtu: int = 1500) -> None:
        """A TAP interface that is up, with near's addresses."""
        self.sh(
            f"ip tuntap add {name} mode tap vnet_hdr",
            f"ip link set {name} mtu {mtu} up",
            f"ip address add {IPV4.near}/24 broadcast + dev {name}",
            f"ip -6 address add {IPV6.near}/64 dev {name} nodad",
        )


class Network:
    """What the tests of a file share: near with tap0 and, where `routed`, far behind it.

    far's and near's offloads on the link between them are off: a checksum is in every frame there, so that damage is
    what it is on a cable.
    """

    def __init__(self, routed: bool = False, mtu: int = 1500) -> None:
        self.near = Namespace()
        self.far = Namespace() if routed else self.near
        self._mtu = mtu
        self._undo = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as undo:
            near = undo.enter_context(self.near)
            near.add_tap(mtu=self._mtu)
            if self.far is not near:
                self._add_far(undo.enter_context(self.far))
            self._undo = undo.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._undo.close()

    def _add_far(self, far: Namespace) -> None:
        near = self.near
        near.sh(
            f"ip link add to-far type veth peer name to-near netns {far.name}",
            f"ip address add {IPV4.router_far}/24 dev to-far",
            f"ip -6 address add {IPV6.router_far}/64 dev to-far nodad",
            "ip link set to-far up",
            "ethtool -K to-far tx off tso off gso off gro off sg off",
        )
        near.set("net/ipv4/ip_forward", 1)
        near.set("net/ipv6/conf/all/forwarding", 1)
        far.sh(
            f"ip address add {IPV4.far}/24 dev to-near",
            f"ip -6 address add {IPV6.far}/64 dev to-near nodad",
            "ip link set to-near up",
            "ethtool -K to-near tx off tso off gso off gro off sg off",
            f"ip route add 10.98.1.0/24 via {IPV4.router_far}",
            f"ip -6 route add fd98:1::/64 via {IPV6.router_far}",
        )


def wait_until(condition: Callable[[], object], timeout_s: float, what: str) -> None:
    """Waits until `condition()` is true. Raises AssertionError with `what` after `timeout_s`."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"not within {timeout_s} s: {what}"
        time.sleep(0.05)
