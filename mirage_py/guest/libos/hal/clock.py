# SPDX-License-Identifier: MIT
"""The two clocks of the platform, and sleeping."""

import asyncio

import _mirage


class Clock:
    """Monotonic and wall time."""

    def now_ms(self):
        """Milliseconds since some moment before start; never goes back."""
        return _mirage.now_ms()

    def monotonic_ns(self):
        """The same clock in nanoseconds."""
        return _mirage.monotonic_ns()

    def wall_ns(self):
        """Nanoseconds since 1970-01-01 UTC, as the machine's clock has them."""
        return _mirage.wall_ns()

    async def sleep(self, seconds):
        await asyncio.sleep_ms(int(seconds * 1000))

    async def sleep_ms(self, duration_ms):
        await asyncio.sleep_ms(duration_ms)
