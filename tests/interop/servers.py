# SPDX-License-Identifier: MIT
"""Linux's servers, each in a namespace, with its configuration and state in the test's folder."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

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


@contextmanager
def dnsmasq(near: Namespace, folder: Path, *options: str, dns: bool = False) -> Iterator[Path]:
    """dnsmasq on tap0, with `options` as lines of its configuration; its log. dns: it answers names too.

    It gives no lease of less than two minutes, but says when to renew as it is told (options 58 and 59).
    """
    log, leases, config = folder / "dnsmasq.log", folder / "dnsmasq.leases", folder / "dnsmasq.conf"
    lines = ["user=", "group=", "keep-in-foreground", "log-facility=-", "log-queries", "log-dhcp", "no-resolv"]
    lines += [
        "no-hosts",
        "interface=tap0",
        "except-interface=lo",
        "bind-interfaces",
        f"dhcp-leasefile={leases}",
        "no-ping",
    ]
    lines += ["pid-file=", *([] if dns else ["port=0"]), *options]
    config.write_text("\n".join(lines) + "\n")
    command = [need("dnsmasq", "dnsmasq-base"), f"--conf-file={config}"]
    with listening(near, command, 53 if dns else 67, log, udp=True):
        yield log


@contextmanager
def kea(near: Namespace, folder: Path, pool: str, **settings: Any) -> Iterator[Path]:
    """Kea's DHCPv4 server on tap0, with leases in memory only; its log. settings: of the subnet."""
    # A copy: where AppArmor confines the package's program, it could not read a configuration in this folder.
    program, config, log = folder / "kea-dhcp4", folder / "kea.json", folder / "kea.log"
    if not program.exists():
        shutil.copy(need("kea-dhcp4", "kea-dhcp4-server"), program)
    subnet = {"id": 1, "subnet": "10.98.1.0/24", "pools": [{"pool": pool}], **settings}
    logger = {"name": "kea-dhcp4", "severity": "INFO", "output_options": [{"output": "stdout"}]}
    server = {
        "interfaces-config": {"interfaces": ["tap0"], "dhcp-socket-type": "raw"},
        "lease-database": {"type": "memfile", "persist": False},
        "authoritative": True,
        "subnet4": [subnet],
        "loggers": [logger],
    }
    config.write_text(json.dumps({"Dhcp4": server}))
    names = ("KEA_PIDFILE_DIR", "KEA_LOCKFILE_DIR", "KEA_DHCP_DATA_DIR", "KEA_LOG_FILE_DIR", "KEA_CONTROL_SOCKET_DIR")
    environment = [f"{name}={folder}" for name in names]
    process = near.popen(["env", *environment, str(program), "-c", str(config)], log)
    try:
        count = text(log).count("DHCP4_STARTED")
        wait_until(
            lambda: process.poll() is not None or text(log).count("DHCP4_STARTED") > count, START_S, "Kea starts"
        )
        assert process.poll() is None, f"Kea ended with {process.returncode}:\n{text(log)}"
        yield log
    finally:
        end(process)


@contextmanager
def radvd(near: Namespace, folder: Path, configuration: str) -> Iterator[subprocess.Popen[bytes]]:
    """radvd; it says good-bye when it is ended, unless it was killed before."""
    config, log = folder / "radvd.conf", folder / "radvd.log"
    config.write_text(configuration)
    # It refuses a configuration that others may write, and asks for forwarding.
    config.chmod(0o644)
    command = [
        need("radvd", "radvd"),
        "-n",
        "-C",
        str(config),
        "-m",
        "stderr",
        "-p",
        str(folder / "radvd.pid"),
        "-d",
        "1",
    ]
    process = near.popen(command, log)
    try:
        wait_until(lambda: process.poll() is not None or "started" in text(log), START_S, "radvd starts")
        assert process.poll() is None, f"radvd ended with {process.returncode}:\n{text(log)}"
        yield process
    finally:
        end(process)
