# SPDX-License-Identifier: MIT
"""MicroPython as we change it (targets/common/changes) beside CPython: one program, the same lines."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from tests.conftest import Guest
from tests.contract import images

pytestmark = pytest.mark.build

PROGRAMS = Path(__file__).with_name("programs")
TIMEOUT_S = 60


def link(program: str, folder: Path) -> Path:
    return images.link(images.obtain("unix", ["net"]), [PROGRAMS / f"{program}.py"], folder)


def lines(command: list[str | Path]) -> list[str]:
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=TIMEOUT_S, stdin=subprocess.DEVNULL, check=False
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr
    return done.stdout.splitlines()


@pytest.mark.parametrize(("program", "at_least"), [("interpreter", 300), ("handlers", 70), ("dates", 110)])
def test_program_prints_the_same_on_our_interpreter_as_on_cpython(tmp_path: Path, program: str, at_least: int) -> None:
    ours, theirs = lines([link(program, tmp_path)]), lines([sys.executable, PROGRAMS / f"{program}.py"])
    for number, (our_line, their_line) in enumerate(zip(ours, theirs, strict=False)):
        assert our_line == their_line, f"line {number}"
    assert len(ours) == len(theirs) > at_least


def test_memory_error_where_a_function_is_made(tmp_path: Path) -> None:
    assert lines([link("memory", tmp_path)]) == ["MemoryError 0"] * 3


def test_termination_in_a_loop_that_begins_a_finally(
    tmp_path: Path, spawn: Callable[[Sequence[object]], Guest]
) -> None:
    guest = spawn([link("terminated", tmp_path)])
    guest.expect("spinning")
    guest.process.send_signal(signal.SIGTERM)
    guest.wait()
    assert guest.output.splitlines() == ["spinning", "terminated"]
