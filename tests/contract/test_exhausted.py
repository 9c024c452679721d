# SPDX-License-Identifier: MIT
"""The interpreter without memory for a table to grow, in endless recursion, and with floats that nothing announces."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.contract import images

pytestmark = pytest.mark.build

PROGRAMS = Path(__file__).with_name("programs")
TIMEOUT_S = 60


def run(program: str, folder: Path) -> subprocess.CompletedProcess[str]:
    image = images.link(images.obtain("unix", ["net", "socket"]), [PROGRAMS / program], folder)
    options = {"capture_output": True, "text": True, "timeout": TIMEOUT_S, "stdin": subprocess.DEVNULL}
    return subprocess.run([image], check=False, **options)  # type: ignore[call-overload,no-any-return]


def test_tables_keep_what_they_have_without_memory(tmp_path: Path) -> None:
    lines = run("exhausted.py", tmp_path).stdout.splitlines()
    assert not [line for line in lines if not line.startswith("ok ")][:-1], "\n".join(lines)
    assert lines[-1] == "done"
    assert len(lines) == 12


def test_floats_are_always_there_and_a_long_traceback_is_short(tmp_path: Path) -> None:
    done = run("numbers.py", tmp_path)
    lines = done.stdout.splitlines()
    assert lines[:4] == ["1.5", "3.0", "0.5", "True"]
    assert done.returncode == 1
    traceback = lines[4:]
    assert traceback[0] == "Traceback (most recent call last):"
    assert traceback[-1] == "RuntimeError: maximum recursion depth exceeded"
    left_out = [line for line in traceback if "calls left out" in line]
    assert len(left_out) == 1
    assert int(left_out[0].split()[1]) > 100
    assert len(traceback) == 23
    assert traceback[1].endswith("in <module>")
    assert traceback[-2].endswith("in dive")
