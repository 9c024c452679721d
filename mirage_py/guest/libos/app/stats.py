# SPDX-License-Identifier: MIT
"""Counters on the console: `--stats` at the end, `--stats 10s` every ten seconds as well."""

import asyncio


def lines(counters):
    """`protocol.Name value` for every counter that is not zero. counters: protocol -> (name -> value)."""
    found = []
    for protocol, values in sorted(counters.items()):
        for name, value in sorted(values.items()):
            if value:
                found.append("%s.%s %d" % (protocol, name, value))
    return found


class Stats:
    """Prints the counters of a stack when the image ends in order, and every interval_ms; 0: only then.

    stack: whatever has `counters`; loop: hal.loop.EventLoop; console: write(text).
    """

    def __init__(self, stack, loop, console, interval_ms):
        self._stack = stack
        self._console = console
        self._interval_ms = interval_ms
        loop.exits.append(self.report)
        if interval_ms:
            asyncio.create_task(self._run())

    async def _run(self):
        while True:
            await asyncio.sleep_ms(self._interval_ms)
            self.report(0)

    def report(self, _now_ms):
        """All of them, now, in one piece."""
        text = "\n".join(lines(self._stack.counters))
        self._console.write("--- counters ---\n" + text + "\n" if text else "--- counters: all zero ---\n")
