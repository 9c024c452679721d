# SPDX-License-Identifier: MIT
"""Runs other programs: never without a timeout, never left behind, their output kept for the error message."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from mirage_py.support.errors import UserError

_NO_SPACE = "No space left on device"


@dataclass(frozen=True)
class Result:
    """How a program ended: its exit code (negative: the signal) and what it printed."""

    code: int
    stdout: str
    stderr: str

    @property
    def disk_was_full(self) -> bool:
        return self.code != 0 and (_NO_SPACE in self.stderr or _NO_SPACE in self.stdout)

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
    env: Mapping[str, str] | None = None,
) -> Result:
    """Runs a program to its end, without a standard input, in a process group of its own.

    package: the Debian package that brings it, for the message when it is missing.
    env: the whole environment; None: ours, with messages in English.
    Raises UserError when the program is missing or takes longer than timeout_s. When anything else ends the wait
    (Ctrl-C), the program and its children are ended too.
    """
    words = [str(word) for word in argv]
    process: subprocess.Popen[str] | None = None
    try:
        # A signal between its start and our knowing of it would leave it behind.
        with signals_held():
            process = _start(words, cwd, env)
        stdout, stderr = process.communicate(timeout=timeout_s)
    except (FileNotFoundError, PermissionError) as error:
        if cwd is not None and not cwd.is_dir():
            raise
        raise UserError(f"{words[0]} is not installed", f"install the package {package}") from error
    except BaseException as error:
        if process is not None:
            _end(process)
        if isinstance(error, subprocess.TimeoutExpired):
            raise UserError(f"{words[0]} did not finish in {timeout_s:.0f} s", "try again") from error
        raise
    return Result(process.returncode, stdout, stderr)


def _start(words: list[str], cwd: Path | None, env: Mapping[str, str] | None) -> subprocess.Popen[str]:
    return subprocess.Popen(
        words,
        cwd=cwd,
        env=dict(env) if env is not None else {**os.environ, "LC_ALL": "C.UTF-8"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        errors="replace",
        start_new_session=True,
    )


def _end(process: subprocess.Popen[str]) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextmanager
def interruptible(what: str, remedy: str = "nothing half-made was kept; start it again") -> Iterator[None]:
    """Ctrl-C, a closing terminal and SIGTERM unwind the stack, so that clean-up runs, and become a UserError.

    what: a noun for the message, such as "the build". The exit code is 128 + the signal's number.
    """

    class Stopped(BaseException):
        pass

    received: list[int] = []

    def stop(number: int, _frame: FrameType | None) -> None:
        # A second one, while we clean up, changes nothing.
        if not received:
            received.append(number)
            raise Stopped

    previous = _handle(stop)
    try:
        yield
    except Stopped:
        name = signal.Signals(received[0]).name
        raise UserError(f"{what} was interrupted ({name})", remedy, 128 + received[0]) from None
    finally:
        _restore(previous)


@contextmanager
def signals_held() -> Iterator[None]:
    """What may not be torn apart, such as making something and noting that it is to be removed again.

    A signal that comes meanwhile is delivered behind it. Programs that are started in it do not inherit this.
    """
    received: list[int] = []
    previous = _handle(lambda number, _frame: received.append(number))
    try:
        yield
    finally:
        _restore(previous)
        for number in received:
            signal.raise_signal(number)


_Handler = Callable[[int, FrameType | None], Any] | int | None


def _handle(handler: Callable[[int, FrameType | None], Any]) -> dict[int, _Handler]:
    """Have `handler` called for the signals that ask for the end; the terminal's is none where nohup says so."""
    if threading.current_thread() is not threading.main_thread():
        return {}
    previous: dict[int, _Handler] = {number: signal.getsignal(number) for number in STOP_SIGNALS}
    if previous[signal.SIGHUP] is signal.SIG_IGN:
        del previous[signal.SIGHUP]
    for number in previous:
        signal.signal(number, handler)
    return previous


def _restore(previous: Mapping[int, _Handler]) -> None:
    for number, handler in previous.items():
        # None: it was not set from Python, and cannot be put back.
        signal.signal(number, handler if handler is not None else signal.SIG_DFL)
