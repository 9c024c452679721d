# SPDX-License-Identifier: MIT
"""`python -m bench`: measure everything, print the table; exit 1 when a must is not kept, or was not measured."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from bench import parts, record, runner
from bench.context import Context
from bench.row import Row, failure

WIDTH = 200  # where the output is no terminal
COLUMNS = ("", "ours", "beside", "ratio", "must", "met", "wanted", "met", "note; reference of a machine like this one")
NUMBERS = ("ours", "beside", "ratio", "must", "wanted")


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer rounds")
    parser.add_argument("--only", action="append", choices=list(parts.PARTS), help="measure this part; may be repeated")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the samples too")
    parser.add_argument("--record", action="store_true", help=f"keep the tracked figures in {record.FIGURES.name}")
    return parser.parse_args(arguments)


def figure(value: float) -> str:
    """A number with three significant digits or all before the point."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def limit(row: Row, value: float | None) -> str:
    """A limit as it is shown: of the ratio, or in the row's unit."""
    if value is None:
        return ""
    return f"{'>=' if row.is_floor else '<='} {value:,g}{'' if row.is_relative else ' ' + row.unit}".rstrip()


def line(row: Row) -> list[str]:
    """A row's cells."""
    met = {None: "", True: "[green]yes[/]", False: "[red]no[/]"}
    notes = (row.beside and f"beside: {row.beside}", row.note, row.reference and f"ref.: {row.reference}")
    return [
        escape(", ".join(text for text in (row.title, row.unit) if text)),
        "-" if row.value is None else figure(row.value),
        "" if row.other is None else figure(row.other),
        "" if row.ratio is None else f"{row.ratio:.2f}",
        limit(row, row.must),
        met[row.keeps(row.must)],
        limit(row, row.wanted),
        met[row.keeps(row.wanted)],
        escape("; ".join(text for text in notes if text)),
    ]


def show(console: Console, measured: list[Row], caption: str) -> None:
    """Print the table."""
    table = Table(title="mirage-py, measured in one alternating run; medians", caption=caption)
    for name in COLUMNS:
        table.add_column(name, justify="right" if name in NUMBERS else "left")
    for row in measured:
        table.add_row(*line(row), style="red" if row.failed else None)
    console.print(table)


def chosen(only: list[str] | None) -> list[str]:
    """The parts to measure, in their order."""
    return [name for name, part in parts.PARTS.items() if (name in only if only else not part.by_name)]


def measure(names: list[str], is_quick: bool, console: Console) -> list[Row]:
    """Make what is needed, then measure; what fails is a row that says so, and the rest goes on."""
    broken: dict[str, str] = {}
    measured: list[Row] = []
    with console.status("making") as status:
        for need in dict.fromkeys(need for name in names for need in parts.PARTS[name].needs):
            status.update(f"making: {need}")
            try:
                parts.make(need)
            except runner.EXPECTED as error:
                broken[need] = f"{need}: {error}"
        for name in names:
            part = parts.PARTS[name]
            status.update(f"measuring: {name}")
            lacking = [broken[need] for need in part.needs if need in broken]
            if lacking:
                measured.append(failure(name, "; ".join(lacking)))
                continue
            prefix = f"measuring: {name}: "
            line = runner.command(name, is_quick)
            measured += runner.run(name, line, part.timeout_s, lambda text: status.update(prefix + text))  # noqa: B023
    return measured


def caption(names: list[str]) -> str:
    """What stood beside ours, and on which machine."""
    machine = f"{platform.machine()}, {os.cpu_count()} CPUs, load {os.getloadavg()[0]:.1f}"
    if any(parts.LINUX in parts.PARTS[name].needs for name in names):
        try:
            return f"{Context.linux().describe()}; {machine}"
        except runner.EXPECTED:
            pass  # its row says why
    return machine


def main() -> int:
    """Measure and print. Returns 1 when a must is not kept, or something could not be measured."""
    arguments = parse_arguments()
    console = Console(width=None if sys.stdout.isatty() else WIDTH)
    names = chosen(arguments.only)
    measured = measure(names, arguments.quick, console)
    record.compare(measured, record.load())
    show(console, measured, caption(names))
    if arguments.json:
        arguments.json.write_text(json.dumps([row.as_dict() for row in measured], indent=1) + "\n")
    if arguments.record:
        record.store(measured)
    return 1 if any(row.is_bad for row in measured) else 0


if __name__ == "__main__":
    sys.exit(main())
