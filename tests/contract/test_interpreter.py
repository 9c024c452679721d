# SPDX-License-Identifier: MIT
"""MicroPython as we change it (targets/common/changes) beside CPython: one program, the same lines."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.contract import images

PROGRAM = Path(__file__).with_name("programs") / "interpreter.py"
TIMEOUT_S = 60


def lines(command: list[str | Path]) -> list[str]:
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=TIMEOUT_S, stdin=subprocess.DEVNULL, check=False
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr
    return done.stdout.splitlines()


@pytest.mark.build
def test_program_prints_the_same_on_our_interpreter_as_on_cpython(tmp_path: Path) -> None:
    image = images.link(images.obtain("unix", ["net"]), [PROGRAM], tmp_path)
    ours, theirs = lines([image]), lines([sys.executable, PROGRAM])
    for number, (our_line, their_line) in enumerate(zip(ours, theirs, strict=False)):
        assert our_line == their_line, f"line {number}"
    assert len(ours) == len(theirs) > 300
