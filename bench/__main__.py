# SPDX-License-Identifier: MIT
"""`python -m bench`: measure everything, print the table; exit 1 when a limit is not kept."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from collections.abc import Callable
from pathlib import Path
from statistics import median

from rich.console import Console
from rich.table import Table

from bench import rows
from bench.apps import Application, BuildError, build_client
from bench.linux_guest import assemble
from bench.machine import GuestError
from bench.packages import PackageError
from mirage_py.paths import cache_dir

PARTS = ("size", "memory", "boots", "native", "change")


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer rounds")
    parser.add_argument("--only", action="append", choices=PARTS, help="measure this part; may be repeated")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the samples too")
    return parser.parse_args()


def figure(value: float) -> str:
    """A number with three significant digits or all before the point."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def line(row: rows.Row) -> list[str]:
    """A row's cells."""
    ours = figure(median(row.ours) * row.scale) if row.ours else "-"
    theirs = figure(median(row.theirs) * row.scale) if row.theirs else ""
    sign = ">=" if row.is_floor else "<="
    must = "" if row.limit is None else f"{sign} {row.limit:g}{'' if row.theirs or row.is_floor else ' ' + row.unit}"
    met = {None: "", True: "[green]yes[/]", False: "[red]no[/]"}[row.is_met]
    return [
        f"{row.title}, {row.unit}",
        ours,
        theirs,
        "" if row.ratio is None else f"{row.ratio:.2f}",
        must,
        met,
        "; ".join(text for text in (row.note, row.reference and f"ref.: {row.reference}") if text),
    ]


def show(console: Console, measured: list[rows.Row], caption: str) -> None:
    """Print the table."""
    table = Table(title="mirage-py, measured in one alternating run; medians", caption=caption)
    for name in ("", "ours", "beside", "ratio", "must", "met", "note; reference of a machine like this one"):
        table.add_column(name, justify="right" if name in ("ours", "beside", "ratio", "must") else "left")
    for row in measured:
        table.add_row(*line(row))
    console.print(table)


def measure(parts: list[str], effort: rows.Effort, console: Console) -> tuple[list[rows.Row], str]:
    """Build what is needed, then measure `parts`. Raises BuildError, PackageError, GuestError."""
    work = cache_dir() / "bench"
    client = build_client(work)
    applications = {build: Application(build, work / "apps") for build in ("hvt", "direct", "socket")}
    with console.status("building") as status:

        def progress(text: str) -> None:
            status.update(text)

        needed = {"hvt"} if set(parts) & {"size", "memory", "boots", "change"} else set()
        for build in sorted(needed | ({"direct", "socket"} if "native" in parts else set())):
            progress(f"building echo: {build}")
            applications[build].make()
        progress("assembling the Linux guest from packages (once)")
        guest = assemble(cache_dir())
        image, ours, theirs = applications["hvt"].path, rows.our_guest(applications["hvt"].path), rows.linux(guest)
        jobs: dict[str, Callable[[], list[rows.Row]]] = {
            "size": lambda: rows.size(image, guest),
            "memory": lambda: rows.memory(ours, theirs, client),
            "boots": lambda: rows.boots(ours, theirs, client, effort, progress),
            "native": lambda: rows.native(client, applications["direct"].path, applications["socket"].path, effort),
            "change": lambda: rows.change(applications["hvt"], effort.rounds),
        }
        measured = []
        for part in parts:
            progress(f"measuring: {part}")
            measured += jobs[part]()
    caption = f"{guest.describe()}; {platform.machine()}, {os.cpu_count()} CPUs, load {os.getloadavg()[0]:.1f}"
    return measured, caption


def main() -> int:
    """Measure and print. Returns 1 when a limit is not kept, or something could not be measured."""
    arguments = parse_arguments()
    console = Console(width=None if sys.stdout.isatty() else 180)
    parts = [part for part in PARTS if not arguments.only or part in arguments.only]
    try:
        measured, caption = measure(parts, rows.QUICK if arguments.quick else rows.Effort(), console)
    except (BuildError, PackageError, GuestError) as error:
        console.print(f"bench: {error}", style="red", markup=False)
        return 1
    show(console, measured, caption)
    if arguments.json:
        arguments.json.write_text(json.dumps([vars(row) for row in measured], indent=1) + "\n")
    return 0 if all(row.is_met is not False for row in measured) else 1


if __name__ == "__main__":
    sys.exit(main())
