# SPDX-License-Identifier: MIT
"""Whatever octets come, cut wherever they are: the server's task ends in time, and no exception was anybody's."""

from __future__ import annotations

import asyncio
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from libos.web.response import Response
from tests.web.site import HOST, Site, check

PIECES = [
    b"GET / HTTP/1.1\r\n",
    b"GET /nope?a=%41 HTTP/1.1\r\n",
    b"HEAD /large HTTP/1.1\r\n",
    b"POST /echo HTTP/1.1\r\n",
    b"OPTIONS * HTTP/1.1\r\n",
    b"GET /pieces HTTP/1.0\r\n",
    b"GET /ws HTTP/1.1\r\n",
    HOST,
    b"Content-Length: 5\r\n",
    b"Content-Length: 99999999999\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Expect: 100-continue\r\n",
    b"Connection: close\r\n",
    b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n",
    b"Sec-WebSocket-Key: a2tra2tra2tra2tra2traw==\r\n",
    b"Range: bytes=0-5\r\n",
    b"\r\n",
    b"hello",
    b"5\r\nhello\r\n",
    b"0\r\n\r\n",
    b"\x81\x85mmmm\x05\x08\x01\x01\x02",
    b"\x88\x80mmmm",
]
octets = st.lists(st.one_of(st.sampled_from(PIECES), st.binary(max_size=40)), max_size=25).map(b"".join)


async def echo(request: Any) -> Any:
    return await request.read()


async def shout(ws: Any) -> None:
    async for message in ws:
        await ws.send(message)


async def pieces(writer: Any) -> None:
    for number in range(3):
        await writer.write(b"piece %d\n" % number)


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(octets, st.lists(st.integers(1, 60), max_size=8), st.sampled_from(["shut", "silent", "reset"]))
def test_any_octets(data: bytes, cuts: list[int], end: str) -> None:
    site = Site(room=2000)
    site.server.route("GET", "/", lambda request: "root")
    site.server.route("GET", "/large", lambda request: b"x" * 20000)
    site.server.route("GET", "/pieces", lambda request: Response(pieces))
    site.server.route("POST", "/echo", echo)
    site.server.websocket("/ws", shout)

    async def story(site: Site) -> None:
        client = site.connect()

        async def read() -> None:
            try:
                while await client.flow.read():
                    pass
            except OSError:
                pass

        reading = asyncio.create_task(read())
        rest = data
        try:
            for cut in cuts:
                await client.send(rest[:cut])
                rest = rest[cut:]
                await asyncio.sleep(0)
            await client.send(rest)
            if end == "shut":
                client.flow.shutdown_write()
        except OSError:
            pass
        if end == "reset":
            client.flow.abort()
        await asyncio.wait([client.task], timeout=1000)
        assert client.task.done(), "the server waits for ever"
        client.flow.abort()
        await reading
        assert site.log.errors == []

    check(site, story)
