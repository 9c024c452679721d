# SPDX-License-Identifier: MIT
"""What an image is beside a Linux guest: size, memory, start, processor time per echo and per MB."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

from bench.context import Context
from bench.linux_guest import BOOT_ARGUMENTS, READ_BYTES, LinuxGuest
from bench.machine import TAPS, USER_GUEST, Guest, GuestError, Machine, Setup, run_client
from bench.row import Row, give_up

BLOCK_BYTES = 65536
PAYLOAD_BYTES = 64
SLICES = 4


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
    row = Row("echo.hvt, stripped", "KB", 455, scale=1e-3, reference="Unikraft, C and lwIP: 434.5 KB")
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


def measured(machine: Machine, client: Path, what: str, count: int, size: int, port: int = 7) -> float:
    """QEMU's processor time for each of `count`, in seconds."""
    return machine.spent(client, what, str(count), str(size), port=port).qemu / count


def alternate(context: Context, rows: list[Row], pair: tuple[tuple[Guest, Setup], tuple[Guest, Setup]]) -> None:
    """Boots both guests once a round, then measures them in turn, SLICES times.

    rows: start, echo, bulk, bulk with large reads. pair: ours, and the one beside. Both run at once, and one is idle
    while the other is measured: so whatever else the machine does within a second falls on both.
    What was measured before a round fails is kept, and the rows say so.
    """
    effort, client = context.effort, context.client
    start, echo, bulk, best = rows
    echoes = max(1, effort.echoes // SLICES)
    blocks = max(1, effort.megabytes * 1_000_000 // BLOCK_BYTES // SLICES)
    per_mb = 1e6 / BLOCK_BYTES
    for turn in range(effort.rounds):
        try:
            with ExitStack() as running:
                machines = []
                for guest, setup in pair:
                    context.progress(f"round {turn + 1} of {effort.rounds}: {guest.name} boots")
                    machines.append(running.enter_context(Machine.boot(guest, setup=setup)))
                    measured(machines[-1], client, "echoes", 300, PAYLOAD_BYTES)
                    for port in guest.ports:
                        measured(machines[-1], client, "bulk", 16, BLOCK_BYTES, port)
                ours, theirs = machines
                start.ours.append(ours.start_s)
                start.theirs.append(theirs.start_s)
                for turn_within in range(SLICES):
                    context.progress(f"round {turn + 1} of {effort.rounds}: {turn_within + 1} of {SLICES}")
                    echo.ours.append(measured(ours, client, "echoes", echoes, PAYLOAD_BYTES))
                    echo.theirs.append(measured(theirs, client, "echoes", echoes, PAYLOAD_BYTES))
                    bulk.ours.append(measured(ours, client, "bulk", blocks, BLOCK_BYTES) * per_mb)
                    bulk.theirs.append(measured(theirs, client, "bulk", blocks, BLOCK_BYTES) * per_mb)
                    best.theirs.append(measured(theirs, client, "bulk", blocks, BLOCK_BYTES, 8) * per_mb)
        except GuestError as error:
            give_up(rows, f"round {turn + 1}", error)
            break
    best.ours = list(bulk.ours)


def boots(context: Context) -> Iterator[Row]:
    """All that needs a booted guest on QEMU's user-mode network."""
    start = Row("QEMU start to first echoed byte, q35, TCG", "s", 0.12, reference="Linux 2.9 s, Unikraft 0.22 s")
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
    start.beside = echo.beside = "Linux guest"
    bulk.beside = f"Linux guest reading up to {READ_BYTES[7]} octets at a time"
    best.beside = f"Linux guest reading up to {READ_BYTES[8]} octets at a time"
    rows = [start, echo, bulk, best]
    alternate(context, rows, ((our_guest(context.image("hvt")), Setup()), (linux(context.linux()), Setup())))
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
    ours = our_guest(context.image("hvt"), TAPS[0].guest), Setup(network="tap", tap=TAPS[0])
    theirs = linux(context.linux(), TAPS[1].guest), Setup(network="tap", tap=TAPS[1])
    alternate(context, [start, echo, bulk, best], (ours, theirs))
    yield from (echo, bulk, best)


def change(context: Context) -> Iterator[Row]:
    """From a changed line to a new image."""
    row = Row("change a line of echo.py, make", "s", 2.0)
    row.ours = [context.application("change").change_and_make(turn) for turn in range(context.effort.rounds)]
    yield row
