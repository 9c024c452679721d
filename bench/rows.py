# SPDX-License-Identifier: MIT
"""The rows of the table: each function measures one thing, or what one boot gives at once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from bench.apps import ROOT, Application
from bench.linux_guest import BOOT_ARGUMENTS, READ_BYTES, LinuxGuest
from bench.machine import Guest, GuestError, Machine, run_client

NATIVE_TIMEOUT_S = 900
BLOCK_BYTES = 65536


@dataclass
class Row:
    """A line of the table.

    ours, theirs: samples; medians are shown. limit: of ours where `theirs` is empty, else of the ratio ours/theirs.
    is_floor: `limit` is the least, not the most. scale: what samples are multiplied with to be shown in `unit`.
    note: why there is nothing to show, or what else should be known.
    """

    title: str
    unit: str
    limit: float | None = None
    is_floor: bool = False
    scale: float = 1.0
    reference: str = ""
    note: str = ""
    ours: list[float] = field(default_factory=list)
    theirs: list[float] = field(default_factory=list)

    @property
    def ratio(self) -> float | None:
        """Median of ours by median of theirs."""
        return median(self.ours) / median(self.theirs) if self.ours and self.theirs else None

    @property
    def is_met(self) -> bool | None:
        """Whether the limit is kept; None where there is none, or nothing was measured."""
        value = self.ratio if self.theirs else (median(self.ours) * self.scale if self.ours else None)
        if value is None or self.limit is None:
            return None
        return value >= self.limit if self.is_floor else value <= self.limit


@dataclass(frozen=True)
class Effort:
    """How much is measured."""

    rounds: int = 5
    echoes: int = 3000
    megabytes: int = 16
    native_rounds: int = 3
    native_echoes: int = 20_000
    native_megabytes: int = 100


QUICK = Effort(rounds=2, echoes=2000, megabytes=8, native_rounds=2, native_echoes=5000, native_megabytes=50)


def our_guest(image: Path) -> Guest:
    """echo.hvt as `mirage-py run` boots it."""
    return Guest("mirage-py", image, 16, "--ipv4 10.0.2.15/24 --ipv4-gateway 10.0.2.2")


def linux(guest: LinuxGuest) -> Guest:
    """The Linux guest, with memory to spare."""
    return Guest(
        "Linux", Path(guest.kernel), 128, f"{BOOT_ARGUMENTS} ip=10.0.2.15", Path(guest.initrd), tuple(READ_BYTES)
    )


def size(image: Path, guest: LinuxGuest) -> list[Row]:
    """What is shipped."""
    row = Row("echo.hvt, stripped", "KB", 430, scale=1e-3, reference="Unikraft, C and lwIP: 434.5 KB")
    row.ours = [image.stat().st_size]
    row.note = "Linux {:,.1f} + {:,.1f} MB".format(*(octets / 1e6 for octets in guest.size_bytes()))
    return [row]


def answers(guest: Guest, memory_mb: int, client: Path) -> bool:
    """Whether it boots, and echoes small and large, with so much memory."""
    try:
        with Machine.boot(guest, memory_mb) as machine:
            run_client(client, "127.0.0.1", machine.ports[7], "echoes", "100", "64")
            run_client(client, "127.0.0.1", machine.ports[7], "bulk", "16", str(BLOCK_BYTES))
    except GuestError:
        return False
    return True


def memory_floor(guest: Guest, client: Path) -> float:
    """The least -m, in MB, with which it answers."""
    too_little, enough = 0, guest.memory_mb
    if not answers(guest, enough, client):
        raise GuestError(f"{guest.name} does not answer with {enough} MB")
    while enough - too_little > 1:
        middle = (too_little + enough) // 2
        if answers(guest, middle, client):
            enough = middle
        else:
            too_little = middle
    return enough


def memory(ours: Guest, theirs: Guest, client: Path) -> list[Row]:
    """Guest RAM that suffices."""
    row = Row("guest RAM that suffices", "MB", 6, reference="Unikraft 4 MB, Linux 72-80 MB")
    row.ours = [memory_floor(ours, client)]
    row.note = f"Linux {memory_floor(theirs, client):.0f} MB"
    return [row]


@dataclass
class Boot:
    """What one boot of a guest gave. bulk_s: seconds per MB, by port."""

    start_s: float
    echo_s: float
    bulk_s: dict[int, float]


def boot(guest: Guest, client: Path, effort: Effort) -> Boot:
    """Boot `guest` once, and measure it, warm."""
    blocks = effort.megabytes * 1_000_000 // BLOCK_BYTES
    with Machine.boot(guest) as machine:
        machine.cpu_of(client, "echoes", "300", "64")
        echo_s = machine.cpu_of(client, "echoes", str(effort.echoes), "64") / effort.echoes
        bulk_s = {}
        for port in guest.ports:
            machine.cpu_of(client, "bulk", "16", str(BLOCK_BYTES), port=port)
            spent_s = machine.cpu_of(client, "bulk", str(blocks), str(BLOCK_BYTES), port=port)
            bulk_s[port] = spent_s / (blocks * BLOCK_BYTES / 1e6)
        return Boot(machine.start_s, echo_s, bulk_s)


def boots(ours: Guest, theirs: Guest, client: Path, effort: Effort, progress: Callable[[str], None]) -> list[Row]:
    """All that needs a booted guest: start, processor time per echo and per MB. Both boot once a round."""
    start = Row("QEMU start to first echoed byte, q35, TCG", "s", 0.12, reference="Linux 2.9 s, Unikraft 0.22 s")
    echo = Row("QEMU CPU per 64-byte echo", "us", 0.7, scale=1e6, reference="Linux 280, Unikraft (C) 62")
    bulk = Row("QEMU CPU per MB echoed, user-mode network", "ms", 0.7, scale=1e3, reference="Linux 96, Unikraft (C) 42")
    bulk.note = f"Linux reading up to {READ_BYTES[7]} octets at a time"
    best = Row("  the same", "ms", scale=1e3, note=f"Linux reading up to {READ_BYTES[8]} octets at a time")
    for turn in range(effort.rounds):
        for guest in (ours, theirs):
            progress(f"round {turn + 1} of {effort.rounds}: {guest.name}")
            result = boot(guest, client, effort)
            # Ours listens on one port, and belongs to both rows.
            samples = result.start_s, result.echo_s, result.bulk_s[7], result.bulk_s.get(8, result.bulk_s[7])
            for row, sample in zip((start, echo, bulk, best), samples, strict=True):
                (row.ours if guest is ours else row.theirs).append(sample)
    return [start, echo, bulk, best]


def native(client: Path, direct: Path, sockets: Path, effort: Effort) -> list[Row]:
    """The two unix builds; needs root, or user namespaces and a /dev/net/tun that is everybody's."""
    echoes = Row(
        "unix direct over TAP, 64-byte echoes", "/s", 0.2, is_floor=True, reference="lwIP (C) over TAP 107,000"
    )
    bulk = Row("unix direct over TAP, echoed", "MB/s", 0.3, is_floor=True, reference="lwIP (C) over TAP 140")
    inside = ["unshare", "--net"] if os.geteuid() == 0 else ["unshare", "--user", "--map-root-user", "--net"]
    amounts = (effort.native_rounds, effort.native_echoes, effort.native_megabytes)
    done = subprocess.run(
        [*inside, sys.executable, "-m", "bench.native", str(client), str(direct), str(sockets), *map(str, amounts)],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=NATIVE_TIMEOUT_S,
        check=False,
    )
    if done.returncode != 0:
        said = done.stderr.strip().splitlines()
        why = said[-1] if said else f"exit {done.returncode}"
        echoes.note = bulk.note = why if os.geteuid() == 0 else f"needs root ({why})"
        return [echoes, bulk]
    results = json.loads(done.stdout)
    for row, kind in ((echoes, "echoes"), (bulk, "bulk")):
        row.ours, row.theirs = results["direct"][kind], results["socket"][kind]
        row.note = "beside the unix socket build"
    return [echoes, bulk]


def change(application: Application, rounds: int) -> list[Row]:
    """From a changed line to a new image."""
    row = Row("change a line of echo.py, make", "s", 2.0)
    row.ours = [application.change_and_make(turn) for turn in range(rounds)]
    return [row]
