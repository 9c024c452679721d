# SPDX-License-Identifier: MIT
"""An epoll loop with timers of microsecond resolution, as interrupt moderation needs them."""

from __future__ import annotations

import heapq
import logging
import os
import select
import time
from collections.abc import Callable

log = logging.getLogger(__name__)

READ = select.EPOLLIN
WRITE = select.EPOLLOUT
ERROR = select.EPOLLERR  # comes whatever is watched for

_NEVER = float("inf")


class Timer:
    """A callback at a time; `cancel()` takes it back."""

    __slots__ = ("callback", "deadline_ns")

    def __init__(self, deadline_ns: int, callback: Callable[[], None]) -> None:
        self.deadline_ns = deadline_ns
        self.callback: Callable[[], None] | None = callback

    def cancel(self) -> None:
        self.callback = None

    def __lt__(self, other: Timer) -> bool:
        return self.deadline_ns < other.deadline_ns


class Loop:
    """Runs callbacks when descriptors are ready and when timers are due. One thread; callbacks must not block.

    An exception of a callback is logged and does not end the loop: one client's trouble is not the others'.
    """

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._callbacks: dict[int, Callable[[int], None]] = {}
        self._timers: list[Timer] = []
        self._running = False
        self._wake_fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self.watch(self._wake_fd, READ, self._woken)

    def watch(self, fd: int, events: int, callback: Callable[[int], None]) -> None:
        """`callback(events)` whenever the descriptor is ready; a second call changes events and callback."""
        if fd in self._callbacks:
            self._epoll.modify(fd, events)
        else:
            self._epoll.register(fd, events)
        self._callbacks[fd] = callback

    def unwatch(self, fd: int) -> None:
        """Forgets a descriptor; it must still be open."""
        if self._callbacks.pop(fd, None) is not None:
            self._epoll.unregister(fd)

    def call_at(self, deadline_ns: int, callback: Callable[[], None]) -> Timer:
        """Calls back once at a time of `time.monotonic_ns()`."""
        timer = Timer(deadline_ns, callback)
        heapq.heappush(self._timers, timer)
        return timer

    def call_later(self, delay_ns: int, callback: Callable[[], None]) -> Timer:
        return self.call_at(time.monotonic_ns() + delay_ns, callback)

    def run(self) -> None:
        """Until `stop()`."""
        self._running = True
        while self._running:
            self.step(_NEVER)

    def stop(self) -> None:
        """Ends `run()`; may be called from a signal handler or another thread."""
        self._running = False
        os.eventfd_write(self._wake_fd, 1)

    def _woken(self, events: int) -> None:
        os.eventfd_read(self._wake_fd)

    def step(self, timeout: float) -> None:
        """Waits for at most `timeout` seconds, and carries out what is due."""
        timers = self._timers
        while timers and timers[0].callback is None:
            heapq.heappop(timers)
        if timers:
            timeout = min(timeout, max(0.0, (timers[0].deadline_ns - time.monotonic_ns()) / 1e9))
        if 0.0 < timeout < 0.002:
            # epoll rounds up to milliseconds; select() on the epoll descriptor does not.
            select.select([self._epoll], [], [], timeout)
            timeout = 0.0
        for fd, events in self._epoll.poll(None if timeout == _NEVER else timeout):
            callback = self._callbacks.get(fd)
            if callback is not None:
                self._guarded(callback, events)
        if timers:
            self._run_timers()

    def _run_timers(self) -> None:
        now = time.monotonic_ns()
        while self._timers and self._timers[0].deadline_ns <= now:
            callback = heapq.heappop(self._timers).callback
            if callback is not None:
                try:
                    callback()
                except Exception:
                    log.exception("a timer failed")

    def _guarded(self, callback: Callable[[int], None], events: int) -> None:
        try:
            callback(events)
        except Exception:
            log.exception("serving a descriptor failed")

    def close(self) -> None:
        self._callbacks.clear()
        self._timers.clear()
        self._epoll.close()
        os.close(self._wake_fd)
