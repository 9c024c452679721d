# SPDX-License-Identifier: MIT
"""hal.console: lines typed while other tasks run. The test types two short lines, a long one, and the end."""

import asyncio

from harness import run_all

from libos.hal.console import Console
from libos.hal.loop import EventLoop

loop = EventLoop()
console = Console(loop)
ticks = []


async def line_by_line_and_the_end():
    assert await console.readline() == b"first\n"
    assert await console.readline() == b"\n"
    long_line = b""
    while not long_line.endswith(b"\n"):
        long_line += await console.readline()
    assert long_line == b"x" * 5000 + b"\n", len(long_line)
    assert await console.readline() == b"no newline"
    assert await console.readline() == b""
    assert await console.readline() == b""
    assert console.read() is None


async def others_run_while_one_waits_for_input():
    assert len(ticks) >= 3, ticks


async def tick():
    while True:
        await asyncio.sleep_ms(20)
        ticks.append(1)


async def main():
    print("type")
    asyncio.create_task(tick())
    await run_all((line_by_line_and_the_end, others_run_while_one_waits_for_input))


loop.run(main())
