# SPDX-License-Identifier: MIT
"""Serves for ever, in a way of its own, and says what happens when it is asked to end."""

import asyncio


class Ending:
    def __init__(self, clock, then):
        self.clock = clock
        self.then = then

    async def start(self):
        self.ticker = asyncio.create_task(self.tick())
        print("serving")
        if self.then == "spin":
            await asyncio.sleep(0.2)
            self.spin()
        if self.then == "spin-at-once":
            self.spin()
        while True:
            try:
                await asyncio.sleep(1000)
            except asyncio.CancelledError:
                print("asked to end")
                if self.then == "clean":
                    await asyncio.sleep(0.5)
                    print("saved")
                elif self.then == "return":
                    return
                elif self.then == "stay":
                    continue
                raise

    async def tick(self):
        """The others go on meanwhile."""
        while True:
            await asyncio.sleep(0.1)
            if self.then == "spin-in-task":
                self.spin()

    def spin(self):
        n = 0
        while True:
            n += 1
