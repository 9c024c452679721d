# SPDX-License-Identifier: MIT
"""Says hello a few times, and returns: the machine powers off."""


class Hello:
    def __init__(self, console, clock, count, pause):
        self.console = console
        self.clock = clock
        self.count = count
        self.pause_ms = pause

    async def start(self):
        for turn in range(self.count):
            if turn:
                await self.clock.sleep_ms(self.pause_ms)
            self.console.write("hello\n")
