# SPDX-License-Identifier: MIT
"""Guest instructions, counted by bench/count.c: per echo, per segment of 64 KiB, of the start, and by function."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

from bench.apps import MARK_FUNCTION
from bench.context import Context
from bench.counts import Counts, Snapshot, Symbols, by_function, by_python_function
from bench.images import linux, our_guest
from bench.linux_guest import READ_BYTES
from bench.machine import TAPS, Guest, Machine, Setup
from bench.native import DISCARD, GENERATE
from bench.row import Row

REPORT = 11
SEGMENT_BYTES = 65536
SEGMENTS = 2000  # a collection of the heap more or less is not to show
USER_BLOCKS = 64
TOP = 24
# What starts a guest, in the order in which it is reached; what a stage is called that ends there.
STAGES = (("mirage_main", "boot code in C"), ("mp_init", "heap"), (MARK_FUNCTION, "MicroPython, main.py's first lines"))


@contextmanager
def counting(context: Context, guest: Guest, network: str, arguments: str = "") -> Iterator[tuple[Machine, Counts]]:
    """A booted guest whose instructions are counted. arguments: more for the plugin."""
    with tempfile.TemporaryDirectory(prefix="mirage-bench-") as folder:
        path = Path(folder) / "counts"
        plugin = ("-plugin", ",".join(part for part in (str(context.plugin), f"out={path}", arguments) if part))
        setup = Setup(network=network, arguments=plugin)
        with Machine.boot(guest, setup=setup) as machine, Counts(path) as counts:
            yield machine, counts


@contextmanager
def counted(
    context: Context, build: str, arguments: str = "", memory_mb: int = 16, network: str = "tap"
) -> Iterator[tuple[Machine, Counts]]:
    """The same with an image of ours."""
    address = {"address": TAPS[0].guest} if network == "tap" else {}
    guest = our_guest(context.image(build), memory_mb=memory_mb, **address)
    with counting(context, guest, network, arguments) as (machine, counts):
        # Ports beside the one that a guest must answer on.
        machine.ports.update({port: port for port in (DISCARD, GENERATE, REPORT)})
        yield machine, counts


def beside_linux(context: Context) -> Iterator[Row]:
    """What the Linux guest needs for the same, without offloads: no measure of time, for its instructions cost more."""
    title = "guest instructions (user-mode network) per"
    echo = Row(f"{title} 64-byte echo", "", beside="Linux guest")
    bulk = Row(f"{title} MB echoed", "million", scale=1e-6)
    best = Row("  the same", "million", scale=1e-6)
    bulk.beside = f"Linux guest reading up to {READ_BYTES[7]} octets at a time"
    best.beside = f"Linux guest reading up to {READ_BYTES[8]} octets at a time"
    megabytes = USER_BLOCKS * SEGMENT_BYTES / 1e6
    echoes = context.effort.counted_echoes
    for guest in (our_guest(context.image("hvt")), linux(context.linux())):
        context.progress(f"counting instructions: {guest.name}")
        found = []
        with counting(context, guest, "user") as (machine, counts):
            for what, count, size, port, units in (
                ("echoes", echoes, 64, 7, float(echoes)),
                *(("bulk", USER_BLOCKS, SEGMENT_BYTES, port, megabytes) for port in guest.ports),
            ):
                machine.spent(context.client, what, str(count // 2), str(size), port=port)
                before = counts.instructions()
                machine.spent(context.client, what, str(count), str(size), port=port)
                found.append((counts.instructions() - before) / units)
        # Ours listens on one port, and belongs to both rows.
        for row, figure in zip((echo, bulk, best), (*found, found[-1])[:3], strict=True):
            (row.ours if guest.name == "mirage-py" else row.theirs).append(figure)
    yield from (echo, bulk, best)


def per_unit(context: Context) -> Iterator[Row]:
    """An echo of 64 octets; a segment of 64 KiB in and out, over a TAP with all offloads; a MB without any."""
    echoes = context.effort.counted_echoes
    tap = (
        ("64-byte echo", "echoes", 7, echoes, 64, 1.0),
        ("64 KiB received (TAP, offloads)", "send", DISCARD, SEGMENTS, SEGMENT_BYTES, 1.0),
        ("64 KiB sent (TAP, offloads)", "receive", GENERATE, SEGMENTS, SEGMENT_BYTES, 1.0),
    )
    user = (("MB echoed (user-mode network)", "bulk", 7, USER_BLOCKS, SEGMENT_BYTES, SEGMENT_BYTES / 1e6),)
    for network, units in (("tap", tap), ("user", user)):
        with counted(context, "services-hvt", network=network) as (machine, counts):
            for title, what, port, count, size, per in units:
                context.progress(f"counting instructions: {title}")
                row = Row(f"guest instructions per {title}", "", tracked=f"guest instructions per {title}")
                machine.spent(context.client, what, str(count // 2), str(size), port=port)
                searches, misses = [], []
                for _ in range(3):
                    before = counts.instructions(), *counts.searches()
                    machine.spent(context.client, what, str(count), str(size), port=port)
                    after = counts.instructions(), *counts.searches()
                    found = [(new - old) / (count * per) for new, old in zip(after, before, strict=True)]
                    for figures, figure in zip((row.ours, searches, misses), found, strict=True):
                        figures.append(figure)
                # What an emulator pays for beside the instructions themselves.
                row.note = (
                    f"{median(searches):,.0f} searches for the next block, {median(misses):,.0f} beside the cache"
                )
                yield row


def stages(marks: list[tuple[int, int]], addresses: list[str], names: list[str]) -> list[tuple[str, int]]:
    """What each stage of the start took. marks: as the plugin noted them; addresses: what their numbers stand for.

    names: what ends at each mark of main.py, the first of which is the end of the last of STAGES.
    Raises ValueError when a mark is missing.
    """
    reached = [(addresses[number], instructions) for number, instructions in marks]
    firsts: dict[str, int] = {}
    for name, instructions in reached:
        firsts.setdefault(name, instructions)
    missing = [name for name in addresses if name not in firsts]
    if missing:
        raise ValueError(f"the guest never got to {missing[0]}")
    before = firsts[addresses[0]]
    out = []
    for name, title in STAGES:
        out.append((title, firsts[name] - before))
        before = firsts[name]
    python = [instructions for name, instructions in reached if name == MARK_FUNCTION]
    if len(python) < len(names):
        raise ValueError(f"the guest made {len(python)} of {len(names)} marks")
    out += [(name, now - then) for name, then, now in zip(names[1:], python, python[1:], strict=False)]
    return out


def start(context: Context) -> Iterator[Row]:
    """From the image's entry to "listening", in stages."""
    application = context.application("start")
    symbols = Symbols(application.symbols)
    addresses = ["_entry", *(name for name, _ in STAGES)]
    places = [symbols.entry, *(symbols.address(name) for name in addresses[1:])]
    context.progress("counting instructions: the start")
    arguments = ",".join(f"mark={address:#x}" for address in places)
    with counted(context, "start", arguments, network="user") as (_, counts):
        marks = counts.snapshot().marks
    found = stages(list(marks), addresses, application.marks())
    total = sum(instructions for _, instructions in found)
    yield Row(
        "guest instructions from entry to listening",
        "thousand",
        scale=1e-3,
        tracked="start, instructions",
        ours=[total],
    )
    grouped: Counter[str] = Counter()
    for title, instructions in found:
        is_import = title.startswith(("from ", "import "))
        grouped[f"{title.split()[0]} {title.split()[1]}" if is_import else title] += instructions
    for title, instructions in grouped.most_common(TOP):
        if instructions * 100 >= total:
            yield Row(f"  {title[:60]}", "thousand", scale=1e-3, ours=[instructions])


def profile(context: Context) -> Iterator[Row]:
    """Which functions the instructions of an echo go to, and those of a MB echoed without offloads.

    Long lists: they are printed by `--only profile` alone.
    """
    symbols = Symbols(context.application("services-hvt").symbols)
    echoes = context.effort.counted_echoes
    for title, network, what, count, size, units in (
        ("64-byte echo", "tap", "echoes", echoes, 64, float(echoes)),
        (
            "MB echoed (user-mode network)",
            "user",
            "bulk",
            USER_BLOCKS,
            SEGMENT_BYTES,
            USER_BLOCKS * SEGMENT_BYTES / 1e6,
        ),
    ):
        with counted(context, "services-hvt", symbols.plugin_arguments(), network=network) as (machine, counts):
            context.progress(f"profiling: {title}")
            machine.spent(context.client, what, str(count), str(size))
            before = counts.snapshot()
            machine.spent(context.client, what, str(count), str(size))
            after = counts.snapshot()
        yield from profile_rows(title, before, after, symbols, units)
    with counted(context, "services-hvt", symbols.plugin_arguments(), network="user") as (_, counts):
        after = counts.snapshot()
    yield from profile_rows("start, with firmware", Snapshot(0, (), {}, {}), after, symbols, 1.0)


def profile_rows(title: str, before: Snapshot, after: Snapshot, symbols: Symbols, units: float) -> Iterator[Row]:
    """Both profiles, the functions with the most first, per one of `units`."""
    total = after.instructions - before.instructions
    yield Row(f"profile: guest instructions per {title}", "", ours=[total / units])
    for kind, spent in (
        ("Python", by_python_function(before, after, symbols)),
        ("C", by_function(before, after, symbols)),
    ):
        for name, instructions in spent.most_common(TOP):
            share = f"{100 * instructions / total:.1f} %"
            yield Row(f"  {kind}: {name}", "", note=share, ours=[instructions / units])
