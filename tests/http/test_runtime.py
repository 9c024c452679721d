# SPDX-License-Identifier: MIT
"""libos.http on the interpreter that images have, beside CPython: the same lines of damaged and of sound input."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from mirage_py.support import paths
from tests.app.test_programs import PROGRAMS, link

pytestmark = pytest.mark.build

CASES = int(os.environ.get("MIRAGE_PY_HTTP_CASES", "300"))
FAKES = Path(__file__).parents[1] / "fakes"

# CPython's stand-in for _mirage has no arguments: this gives it some, and runs the program.
RUN = "import sys, runpy, _mirage; _mirage.args = lambda: sys.argv[2:]; runpy.run_path(sys.argv[1])"


def lines(command: Sequence[str | Path], **environment: str) -> list[str]:
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=240, stdin=subprocess.DEVNULL, check=False, env=environment
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr
    assert "Traceback" not in done.stdout + done.stderr, done.stdout[-2000:] + done.stderr
    return done.stdout.splitlines()


def test_the_same_is_read_on_our_interpreter_as_on_cpython(tmp_path: Path) -> None:
    image = link("http_reads", ["net", "socket"], tmp_path)
    for seed in ("1", "2"):
        ours = lines([image, str(CASES), seed])
        program = [sys.executable, "-c", RUN, PROGRAMS / "http_reads.py", str(CASES), seed]
        theirs = lines(program, PYTHONPATH=f"{paths.guest_dir()}:{FAKES}")
        assert len(ours) > 20 * CASES
        for our_line, their_line in zip(ours, theirs, strict=False):
            assert our_line == their_line
        assert len(ours) == len(theirs)
