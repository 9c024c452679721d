# SPDX-License-Identifier: MIT
"""The machine's console: text out, typed lines in."""

import asyncio

import _mirage

_INPUT_LIMIT = 4096  # octets of a line that are kept; a longer one arrives in pieces


class Console:
    """The platform's console. As a service of the event loop it wakes the task that waits for input.

    loop: an EventLoop, or None where only write() is wanted.
    """

    def __init__(self, loop=None):
        self._loop = loop
        self._pending = b""
        self._at_end = False
        self._buffer = bytearray(256)
        self._event = None

    def write(self, text):
        """Writes str or bytes, at once."""
        _mirage.console_write(text)

    def read(self):
        """What has been typed, as bytes; b"" when nothing, None at the end of input. Never waits."""
        if self._pending:
            data = self._pending
            self._pending = b""
            return data
        count = _mirage.console_read(self._buffer)
        if count < 0:
            self._at_end = True
        if count <= 0:
            return None if self._at_end else b""
        return bytes(memoryview(self._buffer)[:count])

    async def readline(self):
        """The next line with its newline; without one at the end of input or beyond 4096 octets; b"" at the end."""
        line = b""
        while True:
            data = self.read()
            if data is None:
                return line
            if not data:
                await self._readable()
                continue
            newline = data.find(b"\n")
            if newline < 0:
                newline = data.find(b"\r")  # what a serial terminal sends for Enter
            if newline >= 0:
                self._pending = data[newline + 1 :]
                return line + data[:newline].rstrip(b"\r") + b"\n"
            line += data
            if len(line) >= _INPUT_LIMIT:
                return line

    async def _readable(self):
        if self._event is None:
            self._event = asyncio.Event()
            self._loop.attach(self)
        self._event.clear()
        await self._event.wait()

    # --- the event loop's service ---

    def poll(self, now_ms):
        if self._event.is_set():
            return False
        data = self.read()
        if data == b"":
            return False
        if data is not None:
            self._pending = data
        self._event.set()
        return True

    def next_deadline_ms(self):
        return None

    def arm(self):
        # Console input always ends the platform's wait, also when it came before.
        return False

    def disarm(self):
        pass
