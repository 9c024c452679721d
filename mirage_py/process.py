# SPDX-License-Identifier: MIT
"""Runs other programs: never without a timeout, never left behind, their output kept for the error message."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from mirage_py.errors import UserError


@dataclass(frozen=True)
class Result:
    """How a program ended: its exit code (negative: the signal) and what it printed."""

    code: int
    stdout: str
    stderr: str

    def last_line(self) -> str:
        """The last line that it printed, errors first: usually what went wrong."""
        for text in (self.stderr, self.stdout):
            lines = [line for line in text.splitlines() if line.strip()]
            if lines:
                return lines[-1].strip()
        return f"exit code {self.code}"


def run(
    argv: Sequence[str | Path],
    *,
    package: str,
    timeout_s: float,
    cwd: Path | None = None,
    env: dict[str, str] | None = None,
) -> Result:
    """Runs a program to its end, without a standard input, in a process group of its own.

    package: the Debian package that brings it, for the message when it is missing.
    Raises UserError when the program is missing or takes longer than timeout_s. When anything else ends the wait
    (Ctrl-C), the program and its children are ended too.
    """
    words = [str(word) for word in argv]
    try:
        process = subprocess.Popen(
            words,
            cwd=cwd,
            env={**os.environ, "LC_ALL": "C.UTF-8", **(env or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            errors="replace",
            start_new_session=True,
        )
    except FileNotFoundError as error:
        if cwd is not None and not cwd.is_dir():
            raise
        raise UserError(f"{words[0]} is not installed", f"install the package {package}") from error
    try:
        stdout, stderr = process.communicate(timeout=timeout_s)
    except BaseException as error:
        _end(process)
        if isinstance(error, subprocess.TimeoutExpired):
            raise UserError(f"{words[0]} did not finish in {timeout_s:.0f} s", "try again") from error
        raise
    return Result(process.returncode, stdout, stderr)


def _end(process: subprocess.Popen[str]) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
