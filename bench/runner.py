# SPDX-License-Identifier: MIT
"""Runs a part in a process of its own, with a timeout: what it measured before it failed is kept.

The process is `python -m bench.runner PART [--quick]`; it prints a JSON object a line: {"progress": TEXT},
{"row": {...}}, at last {"end": null} or {"end": "why it failed"}.
"""

from __future__ import annotations

import argparse
import json
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress

from bench import namespace
from bench.apps import ROOT, BuildError
from bench.context import Context, work_folder
from bench.machine import GuestError
from bench.packages import PackageError
from bench.parts import PARTS
from bench.row import QUICK, Effort, Row, failure
from mirage_py.support.errors import UserError

EXPECTED = (BuildError, GuestError, PackageError, UserError, OSError, ValueError, subprocess.SubprocessError)
KILL_TIMEOUT_S = 10


def command(name: str, is_quick: bool) -> list[str]:
    """What runs a part."""
    prefix = namespace.prefix() if PARTS[name].has_namespace else []
    return [*prefix, sys.executable, "-m", "bench.runner", name, *(["--quick"] if is_quick else [])]


def run(name: str, line: Sequence[str], timeout_s: float, progress: Callable[[str], None]) -> list[Row]:
    """The rows of part `name`, which `line` runs; one that says so when it fails, ends early or takes too long."""
    process = subprocess.Popen(
        line,
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    rows: list[Row] = []
    why: str | None = "ended early"
    try:
        for text in _lines(process, time.monotonic() + timeout_s):
            message = json.loads(text)
            if "row" in message:
                rows.append(Row.from_dict(message["row"]))
            elif "progress" in message:
                progress(message["progress"])
            else:
                why = message["end"]
    except TimeoutError:
        why = f"not done after {timeout_s:.0f} s"
    except ValueError as error:
        why = f"what it printed is not what was expected: {error}"
    finally:
        # All that it started is in its session.
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        _, said = process.communicate(timeout=KILL_TIMEOUT_S)
    if why == "ended early" and said.strip():
        why += f": {said.decode(errors='replace').strip().splitlines()[-1]}"
    return rows if why is None else [*rows, failure(name, why)]


def _lines(process: subprocess.Popen[bytes], deadline: float) -> Iterator[bytes]:
    """What the process prints, line by line; TimeoutError at the deadline."""
    assert process.stdout is not None
    buffer = b""
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while True:
            if not selector.select(max(0.0, deadline - time.monotonic())):
                raise TimeoutError
            data = os.read(process.stdout.fileno(), 65536)
            if not data:
                return
            *whole, buffer = (buffer + data).split(b"\n")
            yield from whole


def main() -> None:
    """The process."""
    parser = argparse.ArgumentParser(prog="python -m bench.runner")
    parser.add_argument("part", choices=list(PARTS))
    parser.add_argument("--quick", action="store_true")
    arguments = parser.parse_args()

    def tell(**message: object) -> None:
        print(json.dumps(message), flush=True)

    context = Context(QUICK if arguments.quick else Effort(), work_folder(), lambda text: tell(progress=text))
    part = PARTS[arguments.part]
    try:
        if part.has_namespace:
            namespace.prepare()
        for row in part.run(context):
            tell(row=row.as_dict())
    except EXPECTED as error:
        tell(end=f"{error}" or type(error).__name__)
    else:
        tell(end=None)


if __name__ == "__main__":
    main()
