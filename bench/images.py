# SPDX-License-Identifier: MIT
"""What an image is beside a Linux guest: size, memory, start, processor time per echo and per MB."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bench.context import Context
from bench.linux_guest import BOOT_ARGUMENTS, READ_BYTES, LinuxGuest
from bench.machine import TAP_GUEST, USER_GUEST, Guest, GuestError, Machine, Setup, run_client
from bench.row import Effort, Row, give_up

BLOCK_BYTES = 65536
START_MUST_S = 0.12


def our_guest(image: Path, address: str = USER_GUEST, memory_mb: int = 16) -> Guest:
    """An image of ours as `mirage-py run` boots it."""
    return Guest("mirage-py", image, memory_mb, f"--ipv4 {address}/24")


def linux(guest: LinuxGuest, address: str = USER_GUEST) -> Guest:
    """The Linux guest, with memory to spare."""
    return Guest(
        "Linux", Path(guest.kernel), 128, f"{BOOT_ARGUMENTS} ip={address}", Path(guest.initrd), tuple(READ_BYTES)
    )


def size(context: Context) -> Iterator[Row]:
    """What is shipped."""
    row = Row("echo.hvt, stripped", "KB", 430, scale=1e-3, reference="Unikraft, C and lwIP: 434.5 KB")
    row.ours = [context.image("hvt").stat().st_size]
    row.note = "Linux {:,.1f} + {:,.1f} MB".format(*(octets / 1e6 for octets in context.linux().size_bytes()))
    yield row


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


def memory(context: Context) -> Iterator[Row]:
    """Guest RAM that suffices."""
    row = Row("guest RAM that suffices", "MB", 6, reference="Unikraft 4 MB, Linux 72-80 MB")
    row.ours = [memory_floor(our_guest(context.image("hvt")), context.client)]
    row.note = f"Linux {memory_floor(linux(context.linux()), context.client):.0f} MB"
    yield row


@dataclass
class Boot:
    """What one boot of a guest gave. bulk_s: seconds per MB, by port."""

    start_s: float
    echo_s: float
    bulk_s: dict[int, float]


def boot(guest: Guest, client: Path, effort: Effort, setup: Setup) -> Boot:
    """Boot `guest` once, and measure it, warm."""
    blocks = effort.megabytes * 1_000_000 // BLOCK_BYTES
    with Machine.boot(guest, setup=setup) as machine:
        machine.spent(client, "echoes", "300", "64")
        echo_s = machine.spent(client, "echoes", str(effort.echoes), "64").qemu / effort.echoes
        bulk_s = {}
        for port in guest.ports:
            machine.spent(client, "bulk", "16", str(BLOCK_BYTES), port=port)
            spent = machine.spent(client, "bulk", str(blocks), str(BLOCK_BYTES), port=port)
            bulk_s[port] = spent.qemu / (blocks * BLOCK_BYTES / 1e6)
        return Boot(machine.start_s, echo_s, bulk_s)


def alternate(context: Context, rows: list[Row], address: str, setup: Setup) -> None:
    """Boots both guests once a round; rows: start, echo, bulk, bulk with large reads.

    What was measured before a round fails is kept, and the rows say so.
    """
    guests = our_guest(context.image("hvt"), address), linux(context.linux(), address)
    for turn in range(context.effort.rounds):
        try:
            for guest in guests:
                context.progress(f"round {turn + 1} of {context.effort.rounds}: {guest.name}")
                result = boot(guest, context.client, context.effort, setup)
                # Ours listens on one port, and belongs to both rows.
                samples = result.start_s, result.echo_s, result.bulk_s[7], result.bulk_s.get(8, result.bulk_s[7])
                for row, sample in zip(rows, samples, strict=True):
                    (row.ours if guest is guests[0] else row.theirs).append(sample)
        except GuestError as error:
            give_up(rows, f"round {turn + 1}", error)
            return


def boots(context: Context) -> Iterator[Row]:
    """All that needs a booted guest on QEMU's user-mode network."""
    start = Row(
        "QEMU start to first echoed byte, q35, TCG", "s", START_MUST_S, reference="Linux 2.9 s, Unikraft 0.22 s"
    )
    echo = Row(
        "hvt, TCG, QEMU CPU per 64-byte echo", "us", 0.5, 0.25, scale=1e6, reference="Linux 280, Unikraft (C) 62"
    )
    bulk = Row(
        "hvt, TCG, user-mode network, QEMU CPU per MB echoed",
        "ms",
        0.5,
        0.3,
        scale=1e3,
        reference="Linux 96, Unikraft (C) 42",
    )
    best = Row("  the same", "ms", scale=1e3)
    echo.beside = "Linux guest"
    bulk.beside = f"Linux guest reading up to {READ_BYTES[7]} octets at a time"
    best.beside = f"Linux guest reading up to {READ_BYTES[8]} octets at a time"
    rows = [start, echo, bulk, best]
    alternate(context, rows, USER_GUEST, Setup())
    if start.theirs:
        start.note = start.note or f"Linux {sorted(start.theirs)[len(start.theirs) // 2]:.2f} s"
    yield from rows


def tap(context: Context) -> Iterator[Row]:
    """Both guests on a TAP, with what virtio-net offloads there: segmentation, checksums, large receive."""
    title = "hvt, TCG, TAP with offloads, QEMU CPU per"
    start = Row("", "")
    echo = Row(f"{title} 64-byte echo", "us", scale=1e6, beside="Linux guest")
    bulk = Row(f"{title} MB echoed", "ms", 0.5, 0.25, scale=1e3)
    best = Row("  the same", "ms", scale=1e3)
    bulk.beside = f"Linux guest reading up to {READ_BYTES[7]} octets at a time"
    best.beside = f"Linux guest reading up to {READ_BYTES[8]} octets at a time"
    alternate(context, [start, echo, bulk, best], TAP_GUEST, Setup(network="tap"))
    yield from (echo, bulk, best)


def change(context: Context) -> Iterator[Row]:
    """From a changed line to a new image."""
    row = Row("change a line of echo.py, make", "s", 2.0)
    row.ours = [context.application("change").change_and_make(turn) for turn in range(context.effort.rounds)]
    yield row
