# SPDX-License-Identifier: MIT
"""The client and the server of libos.web with each other, in virtual time."""

from __future__ import annotations

import asyncio
from typing import Any

from libos.hal.inflate import Inflate
from libos.web.client import HttpClient
from libos.web.client_websocket import WebSockets
from libos.web.cookie_jar import CookieJar
from libos.web.response import Response, redirect
from tests.web.site import Site, check
from tests.web.test_client_websocket import Random
from tests.web.virtual import Clock, Flow, settle

URL = "http://example.com"


class Way:
    """What happy eyeballs are to the client: to the site, whatever the name."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.more_counters: dict[str, dict[str, int]] = {}
        self.flows: list[Flow] = []

    async def connect(self, host: str, port: int, timeout_ms: int = 30000) -> Flow:
        await asyncio.sleep(0.001)
        self.flows.append(self.site.connect().flow)
        return self.flows[-1]


def story(use: Any) -> None:
    """Runs use(client, site), and nothing is left of it at either end."""

    async def main(site: Site) -> None:
        way = Way(site)
        client = HttpClient(way, way, Clock(), inflate=Inflate(), cookies=CookieJar(), websockets=WebSockets(Random()))
        await use(client, site)
        await client.close()
        await settle()
        assert len(client.pool) == 0
        assert all(flow.is_closed for flow in way.flows)

    site = Site()
    route = site.server.route
    route("GET", "/hello", lambda request: "hello")
    route("POST, PUT", "/echo", echo)
    route("GET", "/pieces/<int:number>", pieces)
    route("GET", "/away", lambda request: redirect("/hello"))
    route("GET", "/login", lambda request: Response("", headers=[("Set-Cookie", "who=me; Path=/")]))
    route("GET", "/who", lambda request: request.headers.get(b"cookie", b"nobody").decode())
    site.server.websocket("/chat", chat)
    check(site, main)


async def echo(request: Any) -> Any:
    return await request.read()


def pieces(request: Any) -> Any:
    return Response(b"%d," % number for number in range(request.params["number"]))


async def chat(ws: Any) -> None:
    async for message in ws:
        await ws.send(message)


def test_requests_of_all_kinds_on_one_connection() -> None:
    async def use(client: HttpClient, site: Site) -> None:
        assert await (await client.get(URL + "/hello")).text() == "hello"
        assert (await client.head(URL + "/hello")).headers.get("content-length") == b"5"
        assert await (await client.post(URL + "/echo", json=[1])).json() == [1]
        assert await (await client.put(URL + "/echo", body=iter([b"a", b"b"]))).read() == b"ab"
        assert await (await client.post(URL + "/echo", body=bytes(200000))).read() == bytes(200000)
        assert await (await client.post(URL + "/echo", body=b"wait", expect=True)).read() == b"wait"
        assert await (await client.get(URL + "/pieces/5")).read() == b"0,1,2,3,4,"
        response = await client.get(URL + "/away")
        assert (response.url, await response.read()) == (URL + "/hello", b"hello")
        assert (await client.get(URL + "/nothing")).status == 404
        assert (await client.delete(URL + "/hello")).status == 405
        await client.get(URL + "/login")
        assert await (await client.get(URL + "/who")).text() == "who=me"

    story(use)


def test_many_at_once() -> None:
    async def use(client: HttpClient, site: Site) -> None:
        async def one(number: int) -> None:
            response = await client.get(f"{URL}/pieces/{number}")
            assert await response.read() == b"".join(b"%d," % each for each in range(number))

        await asyncio.gather(*[one(number) for number in range(100)])
        assert len(client.pool) <= 6

    story(use)


def test_server_that_is_less_patient_than_the_client() -> None:
    async def use(client: HttpClient, site: Site) -> None:
        site.server.idle_s = 3
        for _ in range(3):
            assert await (await client.post(URL + "/echo", body=b"once")).read() == b"once"
            await asyncio.sleep(10)
        assert client.counters["opened"] == 3
        assert client.counters["retries"] == 0

    story(use)


def test_body_that_is_too_large_is_answered_while_it_is_sent() -> None:
    async def use(client: HttpClient, site: Site) -> None:
        site.server.limits.body_bytes = 1000
        assert (await client.post(URL + "/echo", body=bytes(500))).status == 200
        assert (await client.post(URL + "/echo", body=bytes(3000000))).status == 413
        assert (await client.post(URL + "/echo", body=(bytes(10000) for _ in range(100)))).status == 413
        assert (await client.post(URL + "/echo", body=bytes(3000), expect=True)).status == 413

    story(use)


def test_websocket() -> None:
    async def use(client: HttpClient, site: Site) -> None:
        async with await client.websocket("ws://example.com/chat") as ws:
            for message in ("text", b"octets", "x" * 100000):
                await ws.send(message)
                assert await ws.receive() == message
        assert ws.close_code == 1000

    story(use)
