# SPDX-License-Identifier: MIT
"""Time as the model sees it: the server's loop, or virtual time that a test moves."""

from __future__ import annotations

import heapq
import time
from collections.abc import Callable
from typing import Protocol

from mirage_py.nic.vfio_user.loop import Loop


class Timers(Protocol):
    def now_ns(self) -> int: ...

    def call_at(self, deadline_ns: int, callback: Callable[[], None]) -> object: ...


class LoopTimers:
    """Real time."""

    def __init__(self, loop: Loop) -> None:
        self._loop = loop

    def now_ns(self) -> int:
        return time.monotonic_ns()

    def call_at(self, deadline_ns: int, callback: Callable[[], None]) -> object:
        return self._loop.call_at(deadline_ns, callback)


class VirtualTimers:
    """Time that stands still until `advance`."""

    def __init__(self) -> None:
        self._now_ns = 0
        self._queue: list[tuple[int, int, Callable[[], None]]] = []
        self._count = 0

    def now_ns(self) -> int:
        return self._now_ns

    def call_at(self, deadline_ns: int, callback: Callable[[], None]) -> object:
        self._count += 1
        heapq.heappush(self._queue, (deadline_ns, self._count, callback))
        return None

    def advance(self, delta_ns: int) -> None:
        """Lets time pass, with the callbacks that become due at their times."""
        end = self._now_ns + delta_ns
        while self._queue and self._queue[0][0] <= end:
            deadline, _, callback = heapq.heappop(self._queue)
            self._now_ns = max(self._now_ns, deadline)
            callback()
        self._now_ns = end
