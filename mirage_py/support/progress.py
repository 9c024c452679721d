# SPDX-License-Identifier: MIT
"""Says what is going on when it takes longer than a second, and keeps silent otherwise."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from rich.status import Status

PATIENCE_S = 1.0


class Progress:
    """Steps and notes on a stream, the standard error by default.

    quiet: neither steps nor notes. verbose: details too, and every step at once with the time it took.
    """

    def __init__(self, *, quiet: bool = False, verbose: bool = False, stream: IO[str] | None = None) -> None:
        self.quiet = quiet
        self.verbose = verbose
        self._stream = stream

    @property
    def stream(self) -> IO[str]:
        return self._stream if self._stream is not None else sys.stderr

    def note(self, text: str) -> None:
        """One line that the user should see."""
        if not self.quiet:
            print(f"mirage-py: {text}", file=self.stream, flush=True)

    def detail(self, text: str) -> None:
        """One line for who asked for details."""
        if self.verbose:
            self.note(text)

    @contextmanager
    def step(self, text: str) -> Iterator[None]:
        """`text` says what is being done; it appears (animated on a terminal) when the step takes over a second."""
        started = time.monotonic()
        shown: list[Status | None] = []
        lock = threading.Lock()
        over = False

        def show() -> None:
            with lock:
                if not over:
                    shown.append(self._show(text))

        timer = threading.Timer(0 if self.verbose else PATIENCE_S, show)
        timer.daemon = True
        if not self.quiet:
            timer.start()
        try:
            yield
        finally:
            timer.cancel()
            with lock:
                over = True
            for status in shown:
                if status is not None:
                    status.stop()
        if shown or self.verbose:
            self.note(f"{text}: done in {time.monotonic() - started:.1f} s")

    def _show(self, text: str) -> Status | None:
        if not self.stream.isatty():
            self.note(f"{text} ...")
            return None
        # Late, because importing rich takes longer than most builds' steps.
        from rich.console import Console

        console = Console(file=self.stream)
        if console.is_dumb_terminal:
            self.note(f"{text} ...")
            return None
        status = console.status(f"{text} ...")
        status.start()
        return status
