# SPDX-License-Identifier: MIT
"""asyncio in virtual time, and flows in memory: what the web's client and server stand on in tests on CPython.

Time passes only when everybody has nothing to do, so an hour of timeouts takes a moment.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Awaitable, Callable, Coroutine
from errno import ECONNABORTED, ECONNREFUSED, ECONNRESET, ETIMEDOUT
from typing import Any


class _Selector(selectors.SelectSelector):
    """Passes the time instead of waiting."""

    passed_s = 0.0

    def select(self, timeout: float | None = None) -> list[Any]:
        if timeout is None:
            raise AssertionError("everybody waits for something that nobody does")
        self.passed_s += max(timeout, 0)
        return super().select(0)


class _Loop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._passing = _Selector()
        super().__init__(self._passing)

    def time(self) -> float:
        return self._passing.passed_s


def run(coroutine: Coroutine[Any, Any, Any], limit_s: float = 100000) -> Any:
    """Runs it to its end in virtual time; what is still running then is an error, as is an exception of any task."""
    loop = _Loop()
    failures: list[dict[str, Any]] = []
    loop.set_exception_handler(lambda _, context: failures.append(context))

    async def main() -> Any:
        result = await asyncio.wait_for(coroutine, limit_s)
        # A server of a test may sleep on.
        left = asyncio.all_tasks() - {asyncio.current_task()}
        if left:
            _, left = await asyncio.wait(left, timeout=5000)
        assert not left, f"left behind: {left}"
        return result

    try:
        result = loop.run_until_complete(main())
    finally:
        for task in asyncio.all_tasks(loop):
            task.cancel()
        loop.run_until_complete(asyncio.sleep(0))
        loop.close()
    assert not failures, failures
    return result


class Clock:
    """hal.clock.Clock in virtual time. wall_s: Unix seconds at the start."""

    def __init__(self, wall_s: int = 1790000000) -> None:
        self.wall_s = wall_s

    def now_ms(self) -> int:
        return round(asyncio.get_running_loop().time() * 1000)

    def wall_ns(self) -> int:
        return self.wall_s * 10**9 + self.now_ms() * 10**6

    async def sleep_ms(self, duration_ms: int) -> None:
        await asyncio.sleep(duration_ms / 1000)


class Flow:
    """One end of a connection in memory, as app.stack.Flow is one. room: what the other end buffers."""

    def __init__(self, remote: tuple[str, int], local: tuple[str, int], room: int) -> None:
        self.remote, self.local = remote, local
        self.error: int | None = None
        self.unsent = b""
        self.peer: Flow
        self.is_closed = False
        self.was_aborted = False
        self.written = b""
        self._room = room
        self._received = bytearray()
        self._has_ended = False
        self._changed = asyncio.Event()

    def set_no_delay(self, is_on: bool) -> None:
        pass

    async def read(self, n: int = 65536) -> bytes:
        while True:
            data = self.read_now(n)
            if data is not None:
                return data
            self._changed.clear()
            await self._changed.wait()

    def read_now(self, n: int) -> bytes | None:
        if self._received and not self.is_closed:
            data = bytes(self._received[:n])
            del self._received[:n]
            self.peer._changed.set()
            return data
        if self.is_closed:
            raise OSError(ECONNABORTED)
        if self.error is not None:
            raise OSError(self.error)
        return b"" if self._has_ended else None

    async def write(self, data: Any) -> None:
        data = bytes(data)
        while data:
            if self.is_closed or self._shut:
                raise OSError(ECONNABORTED)
            if self.error is not None:
                raise OSError(self.error)
            if self.peer.is_closed:
                self.error = ECONNRESET
                self._changed.set()
                continue
            room = self.peer._room - len(self.peer._received)
            if room <= 0:
                self._changed.clear()
                await self._changed.wait()
                continue
            self.written += data[:room]
            self.peer._received += data[:room]
            self.peer._changed.set()
            data = data[room:]

    _shut = False

    def shutdown_write(self) -> None:
        self._shut = True
        self.peer._has_ended = True
        self.peer._changed.set()

    async def close(self, linger_ms: int | None = None) -> bool:
        if not self.is_closed:
            self.shutdown_write()
            self.is_closed = True
            self._changed.set()
            self.peer._changed.set()
        return True

    def abort(self) -> None:
        if not self.is_closed:
            self.is_closed = self.was_aborted = True
            self.peer.error = self.peer.error or ECONNRESET
            self.peer._received.clear()
            self._changed.set()
            self.peer._changed.set()


def pair(room: int = 65536) -> tuple[Flow, Flow]:
    """Both ends of a connection."""
    here, there = Flow(("10.0.0.1", 80), ("10.0.0.2", 40000), room), Flow(("10.0.0.2", 40000), ("10.0.0.1", 80), room)
    here.peer, there.peer = there, here
    return here, there


Handler = Callable[[Flow], Awaitable[None]]


class Net:
    """What happy eyeballs are to a client: connect(host, port). servers: (host, port) -> handler(flow), or an OSError.

    None as a handler: nobody answers. flows: the client's ends, in the order in which they were made.
    """

    def __init__(self, servers: dict[tuple[str, int], Handler | OSError | None], room: int = 65536) -> None:
        self.servers = servers
        self.flows: list[Flow] = []
        self.more_counters: dict[str, dict[str, int]] = {}
        self._room = room
        self._tasks: list[asyncio.Task[None]] = []

    async def connect(self, host: str, port: int, timeout_ms: int = 30000) -> Flow:
        await asyncio.sleep(0.001)
        server = self.servers.get((host, port), OSError(ECONNREFUSED))
        if isinstance(server, OSError):
            raise server
        if server is None:
            await asyncio.sleep(timeout_ms / 1000)
            raise OSError(ETIMEDOUT)
        here, there = pair(self._room)
        self.flows.append(here)
        self._tasks.append(asyncio.create_task(self._serve(server, there)))
        return here

    async def _serve(self, server: Handler, flow: Flow) -> None:
        try:
            await server(flow)
        except OSError:
            flow.abort()
        else:
            await flow.close()

    def open(self) -> int:
        """How many connections the client has not closed."""
        return sum(not flow.is_closed for flow in self.flows)


async def settle(seconds: float = 0.0) -> None:
    """Lets everybody go on, and time pass."""
    for _ in range(20):
        await asyncio.sleep(0)
    if seconds:
        await asyncio.sleep(seconds)
