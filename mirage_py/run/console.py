# SPDX-License-Identifier: MIT
"""The guest's console: from a socket to standard output or a bounded log, and from the keyboard to the guest."""

from __future__ import annotations

import os
import socket
import termios
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

BLOCK_BYTES = 1 << 16
LOG_LIMIT_BYTES = 1 << 20
DRAIN_TIMEOUT_S = 5.0
# A serial port loses what comes before the guest has set it up, which is done when it prints.
KEYBOARD_DELAY_S = 2.0
CTRL_C = b"\x03"


class RotatingLog:
    """A log file that never grows past `limit_bytes`: it becomes PATH.1 then, and a new one begins."""

    def __init__(self, path: Path, limit_bytes: int = LOG_LIMIT_BYTES) -> None:
        self.path = path
        self.limit_bytes = limit_bytes
        self._file = path.open("wb", buffering=0)
        self._written = 0

    def write(self, data: bytes) -> None:
        """Append `data`; it is in the file when this returns."""
        if self._written and self._written + len(data) > self.limit_bytes:
            self._file.close()
            self.path.replace(old_log(self.path))
            self._file = self.path.open("wb", buffering=0)
            self._written = 0
        self._file.write(data)
        self._written += len(data)


def old_log(path: Path) -> Path:
    """Where the part before the last rotation is."""
    return path.with_name(path.name + ".1")


def write_all(fd: int) -> Callable[[bytes], None]:
    """A function that writes the whole of what it gets to `fd`."""

    def write(data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[os.write(fd, view) :]

    return write


def is_foreground_terminal(fd: int) -> bool:
    """Whether `fd` is a terminal that this process may read: in the background, reading would stop it."""
    try:
        return os.isatty(fd) and os.tcgetpgrp(fd) == os.getpgrp()
    except OSError:
        return False


@contextmanager
def keys_at_once(fd: int) -> Iterator[None]:
    """The terminal `fd` without lines and echo, for the guest does both; Ctrl-C stays a signal. Put back afterwards."""
    if not is_foreground_terminal(fd):
        yield
        return
    before = termios.tcgetattr(fd)
    changed = termios.tcgetattr(fd)
    changed[0] &= ~termios.ICRNL
    changed[3] &= ~(termios.ICANON | termios.ECHO | termios.IEXTEN)
    termios.tcsetattr(fd, termios.TCSADRAIN, changed)
    try:
        yield
    finally:
        with suppress(termios.error):
            termios.tcsetattr(fd, termios.TCSADRAIN, before)


class Console:
    """Copies between the guest's end of a console and ours, in two threads, since files and terminals block.

    sock: our end. keyboard: a descriptor to read, None for none. write: takes what the guest prints. on_hangup: called
    from a thread when `write` fails (a closed terminal or pipe): nobody listens any more.
    """

    def __init__(
        self, sock: socket.socket, keyboard: int | None, write: Callable[[bytes], None], on_hangup: Callable[[], None]
    ) -> None:
        self._sock = sock
        self._keyboard = keyboard
        self._write = write
        self._on_hangup = on_hangup
        self._has_printed = threading.Event()
        self.has_typed_break = False  # a Ctrl-C that was no signal went to the guest
        self._printer = threading.Thread(target=self._print, name="console output", daemon=True)

    def start(self) -> None:
        """Begin to copy."""
        self._printer.start()
        if self._keyboard is not None:
            threading.Thread(target=self._type, name="console input", daemon=True).start()

    def _print(self) -> None:
        listening = True
        while True:
            try:
                data = self._sock.recv(BLOCK_BYTES)
            except OSError:
                return
            self._has_printed.set()
            if not data:
                return
            # Read on after a hangup, so that the guest never blocks on a full socket while it is being stopped.
            if listening:
                try:
                    self._write(data)
                except OSError:
                    listening = False
                    self._on_hangup()

    def _type(self) -> None:
        assert self._keyboard is not None
        self._has_printed.wait(KEYBOARD_DELAY_S)
        with suppress(OSError):
            # At the end of the input the guest's line stays open: it goes on printing.
            while data := os.read(self._keyboard, BLOCK_BYTES):
                self.has_typed_break |= CTRL_C in data
                self._sock.sendall(data)

    def drain(self) -> None:
        """Wait until all that the guest printed is written; its end of the console is closed by now."""
        self._printer.join(DRAIN_TIMEOUT_S)
