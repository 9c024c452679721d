# SPDX-License-Identifier: MIT
"""Handlers of every kind."""

import asyncio
import gc

from libos.web.response import HttpError, Response


class Everything:
    def __init__(self, server, files):
        self.server = server
        server.head_s = 2
        server.write_s = 3
        server.body_s = 2
        server.max_connections = 64
        server.folder("/", files)
        route = server.route
        route("GET", "/hello", self.hello)
        route("GET", "/plain", lambda request: "hello, world\n")
        route("GET", "/users/<id>", self.user)
        route("POST", "/echo", self.echo, limit=4 << 20)
        route("POST", "/count", self.count)
        route("POST", "/form", lambda request: request.form())
        route("GET", "/fail", self.fail)
        route("GET", "/teapot", self.teapot)
        route("GET", "/stream", self.stream)
        route("GET", "/broken", self.broken)
        route("GET", "/large/<int:octets>", lambda request: b"x" * request.params["octets"])
        route("GET", "/heap", self.heap)
        server.websocket("/ws", self.ws)
        server.events("/events", self.events)

    async def start(self):
        await self.server.serve()

    async def hello(self, request):
        return "hello, world\n"

    async def user(self, request):
        return {"id": request.params["id"], "query": request.query(), "path": request.path}

    async def echo(self, request):
        return await request.read()

    async def count(self, request):
        request.allow_body(None)
        total = 0
        while chunk := await request.read_chunk():
            total += len(chunk)
        return str(total)

    async def fail(self, request):
        return 1 // 0

    def teapot(self, request):
        raise HttpError(418, "short and stout\n", (("X-Tea", "yes"),))

    async def stream(self, request):
        async def parts():
            for number in range(5):
                await asyncio.sleep(0.02)
                yield b"part %d\n" % number

        return Response(parts(), type="text/plain")

    async def broken(self, request):
        async def parts():
            yield b"some"
            await asyncio.sleep(0)
            raise ValueError("in the middle")

        return Response(parts())

    async def heap(self, request):
        gc.collect()
        return str(gc.mem_alloc())

    async def ws(self, ws):
        async for message in ws:
            if message == "fail":
                raise ValueError("as was asked for")
            await ws.send(message)

    async def events(self, events):
        for number in range(3):
            await events.send("tick " + str(number), id=str(number))
            await asyncio.sleep(0.01)
