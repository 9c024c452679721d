# SPDX-License-Identifier: MIT
"""A server of libos.web in virtual time, and clients that say exactly what a test wants."""

from __future__ import annotations

import asyncio
from typing import Any

from libos.web.server import HttpServer
from tests.web.virtual import Clock, Flow, pair, run, settle

HOST = b"Host: example.com\r\n"


class Log:
    """app.log.Log that remembers."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.errors: list[BaseException] = []

    def info(self, source: str, text: str) -> None:
        self.lines.append(text)

    warning = error = info

    def exception(self, source: str, text: str, error: BaseException) -> None:
        self.lines.append(text)
        self.errors.append(error)


class Stack:
    """What a server listens on. `connect()` gives a client's end. room: octets that the client's end buffers."""

    def __init__(self, room: int = 65536) -> None:
        self.tcp = self
        self.more_counters: dict[str, dict[str, int]] = {}
        self.listeners: dict[int, Any] = {}
        self.room = room
        self.tasks: list[asyncio.Task[None]] = []
        self.server_ends: list[Flow] = []

    @property
    def counters(self) -> dict[str, dict[str, int]]:
        return {"tcp": {"PassiveOpens": len(self.server_ends)}, **self.more_counters}

    def listen(self, port: int, handler: Any, backlog: int = 128) -> None:
        self.listeners[port] = handler

    def unlisten(self, port: int) -> None:
        del self.listeners[port]

    def connect(self, port: int = 8080) -> Client:
        here, there = pair(self.room)
        there.set_keepalive = lambda idle_ms: None  # type: ignore[attr-defined]
        self.server_ends.append(there)
        self.tasks.append(asyncio.create_task(self._serve(self.listeners[port], there)))
        return Client(here, self.tasks[-1])

    async def _serve(self, handler: Any, flow: Flow) -> None:
        # As app.flow.serve does.
        try:
            await handler(flow)
        except OSError:
            flow.abort()
        except BaseException:
            flow.abort()
            raise
        else:
            await flow.close()


class Client:
    """A client's end of a connection. task: the server's, for this connection."""

    def __init__(self, flow: Flow, task: asyncio.Task[None]) -> None:
        self.flow = flow
        self.task = task
        self.rest = b""

    async def send(self, *data: bytes) -> None:
        for part in data:
            await self.flow.write(part)

    async def get(self, path: str = "/", headers: bytes = b"", method: bytes = b"GET") -> Answer:
        await self.send(method + b" " + path.encode() + b" HTTP/1.1\r\n" + HOST + headers + b"\r\n")
        return await self.answer(method)

    async def head(self) -> bytes:
        while b"\r\n\r\n" not in self.rest:
            data = await self.flow.read()
            assert data, f"the connection ended inside a head: {self.rest!r}"
            self.rest += data
        head, _, self.rest = self.rest.partition(b"\r\n\r\n")
        return head

    async def take(self, count: int) -> bytes:
        while len(self.rest) < count:
            data = await self.flow.read()
            assert data, f"the connection ended inside a body: {self.rest!r}"
            self.rest += data
        data, self.rest = self.rest[:count], self.rest[count:]
        return data

    async def line(self) -> bytes:
        while b"\r\n" not in self.rest:
            data = await self.flow.read()
            assert data, "the connection ended inside a chunk"
            self.rest += data
        line, _, self.rest = self.rest.partition(b"\r\n")
        return line

    async def answer(self, method: bytes = b"GET") -> Answer:
        answer = Answer(await self.head())
        if method == b"HEAD" or answer.status in (204, 304) or answer.status < 200:
            return answer
        if "transfer-encoding" in answer.headers:
            while size := int(await self.line(), 16):
                answer.chunks.append(await self.take(size))
                assert await self.line() == b""
            assert await self.line() == b""
        elif "content-length" in answer.headers:
            answer.chunks.append(await self.take(int(answer.headers["content-length"])))
        else:
            answer.chunks.append(await self.everything())
        return answer

    async def everything(self) -> bytes:
        """All until the connection ends, in order."""
        while data := await self.flow.read():
            self.rest += data
        data, self.rest = self.rest, b""
        return data

    async def is_reset(self) -> bool:
        try:
            while await self.flow.read():
                pass
        except OSError:
            return True
        return False

    async def close(self) -> None:
        await self.flow.close()
        await self.task


class Answer:
    """status, headers (lower case), body."""

    def __init__(self, head: bytes) -> None:
        first, *lines = head.decode().split("\r\n")
        version, status, _ = first.split(" ", 2)
        assert version == "HTTP/1.1"
        self.status = int(status)
        self.headers: dict[str, str] = {}
        for line in lines:
            name, _, value = line.partition(": ")
            assert name.lower() not in self.headers, f"{name} twice"
            self.headers[name.lower()] = value
        self.chunks: list[bytes] = []

    @property
    def body(self) -> bytes:
        return b"".join(self.chunks)


class Site:
    """A server and its stack. Options: of HttpServer."""

    def __init__(self, room: int = 65536, **options: Any) -> None:
        self.stack = Stack(room)
        self.log = Log()
        self.clock = Clock()
        self.server = HttpServer(self.stack, self.log, self.clock, **options)

    def connect(self, port: int = 8080) -> Client:
        return self.stack.connect(port)

    def count(self, name: str) -> int:
        self.server.refresh()
        return self.server.counters[name]


def check(site: Site, story: Any) -> Any:
    """Runs `story(site)` with the server started; afterwards every connection is gone."""

    async def main() -> Any:
        site.server.start()
        result = await story(site)
        for end in site.stack.server_ends:
            end.peer.abort()
        await settle(30)
        for task in site.stack.tasks:
            await task
        assert not site.server.connections
        assert site.server._sweeper is None
        return result

    return run(main())
