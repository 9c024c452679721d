# SPDX-License-Identifier: MIT
"""WebSockets of the client, against a server that is the other end of libos.http.websocket."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from libos.http import websocket
from libos.http.server import ServerConnection
from libos.http.websocket_handshake import PROTOCOL, answer
from libos.web.client import HttpClient
from libos.web.client_websocket import WebSockets
from libos.web.failure import TransferError
from tests.web.scripted import Script
from tests.web.scripted import answer as http_answer
from tests.web.virtual import Clock, Flow, Net, run, settle

URL = "ws://a.test/chat?room=1"


class Random:
    def __init__(self) -> None:
        self._random = random.Random(1)

    def bytes(self, count: int) -> bytes:
        return self._random.randbytes(count)


def make(server: Any) -> tuple[HttpClient, Net]:
    net = Net({("a.test", 80): server, ("proxy.test", 3128): server})
    return HttpClient(net, net, Clock(), websockets=WebSockets(Random())), net


def serving(
    handler: Callable[[Flow, websocket.WebSocket], Awaitable[None]], requests: list[Any] | None = None
) -> Callable[[Flow], Awaitable[None]]:
    async def serve(flow: Flow) -> None:
        http = ServerConnection()
        event = http.next_event()
        while not hasattr(event, "method"):
            http.receive_data(await flow.read())
            event = http.next_event()
        if requests is not None:
            requests.append(event)
        _, headers = answer(event, [b"chat"])
        await flow.write(http.send_upgrade(PROTOCOL, headers))
        ws = websocket.WebSocket(False)
        if rest := http.take_rest():
            ws.receive_data(rest)
        await handler(flow, ws)

    return serve


async def echo(flow: Flow, ws: websocket.WebSocket) -> None:
    while True:
        event = ws.next_event()
        if out := ws.take_output():
            await flow.write(out)
        if isinstance(event, websocket.Close):
            return
        if event is None:
            ws.receive_data(await flow.read())
        elif not isinstance(event, websocket.Pong):
            await flow.write(ws.send(event))


def test_messages_both_ways_and_an_orderly_end() -> None:
    async def main() -> None:
        requests: list[Any] = []
        client, net = make(serving(echo, requests))
        async with await client.websocket(URL, protocols=["other", "chat"], headers={"Origin": "http://a.test"}) as ws:
            assert ws.protocol == b"chat"
            for message in ("text ä", b"\0\1", "", bytes(200000)):
                await ws.send(message)
                assert await ws.receive() == message
            await ws.ping(b"x")
            await ws.send("behind the ping")
            assert await ws.receive() == "behind the ping"
        assert ws.close_code == 1000
        await settle()
        assert (net.open(), len(client.pool)) == (0, 0)
        assert not net.flows[0].was_aborted
        with pytest.raises(OSError, match="32"):
            await ws.send("late")
        assert requests[0].target == b"/chat?room=1"
        assert requests[0].headers.get("origin") == b"http://a.test"

    run(main())


def test_server_closes() -> None:
    async def bye(flow: Flow, ws: websocket.WebSocket) -> None:
        await flow.write(ws.send("one") + ws.send_close(1001, "restarting"))
        while ws.next_event() is None:
            ws.receive_data(await flow.read())

    async def main() -> None:
        client, net = make(serving(bye))
        ws = await client.websocket(URL)
        assert [message async for message in ws] == ["one"]
        assert (ws.close_code, ws.close_reason) == (1001, "restarting")
        await ws.close()
        assert (net.open(), len(client.pool)) == (0, 0)

    run(main())


@pytest.mark.parametrize("reset", [False, True])
def test_connection_ends_without_a_word(reset: bool) -> None:
    async def gone(flow: Flow, ws: websocket.WebSocket) -> None:
        await asyncio.sleep(1)
        if reset:
            flow.abort()

    async def main() -> None:
        client, net = make(serving(gone))
        ws = await client.websocket(URL)
        assert await ws.receive() is None
        assert ws.close_code == 1006
        assert (net.open(), len(client.pool)) == (0, 0)

    run(main())


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (http_answer(b"no", "403 Forbidden"), "the server answered 403"),
        (http_answer(b"", "302 Found", Location="/x"), "the server answered 302"),
        (b"HTTP/1.1 101 Odd\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: x\r\n\r\n", "Accept"),
        (b"HTTP/1.1 101 Odd\r\nConnection: Upgrade\r\nUpgrade: other\r\n\r\n", "another protocol"),
        (b"", "ended before the response"),
    ],
    ids=["refused", "redirect", "accept", "other", "end"],
)
def test_handshake_that_fails(reply: bytes, reason: str) -> None:
    async def main() -> None:
        client, net = make(Script([reply]))
        with pytest.raises(TransferError, match=reason) as caught:
            await client.websocket(URL)
        assert caught.value.step == "websocket"
        await settle()
        assert (net.open(), len(client.pool)) == (0, 0)

    run(main())


def test_server_that_says_nothing_is_asked_and_given_up() -> None:
    async def silent(flow: Flow, ws: websocket.WebSocket) -> None:
        while await flow.read():
            pass

    async def main() -> None:
        client, net = make(serving(silent))
        ws = await client.websocket(URL, ping_ms=10000)
        assert await ws.receive() is None
        assert client.clock.now_ms() < 31000
        assert (net.open(), len(client.pool)) == (0, 0)
        client, net = make(serving(echo))
        ws = await client.websocket(URL, ping_ms=10000)
        waiting = asyncio.create_task(ws.receive())
        await asyncio.sleep(300)
        assert not waiting.done()
        await ws.send("still there")
        assert await waiting == "still there"
        await ws.close()

    run(main())


def test_close_has_an_end() -> None:
    async def deaf(flow: Flow, ws: websocket.WebSocket) -> None:
        await asyncio.sleep(100)

    async def main() -> None:
        client, net = make(serving(deaf))
        ws = await client.websocket(URL)
        await ws.close()
        assert 4900 < client.clock.now_ms() < 5200
        assert (net.open(), len(client.pool)) == (0, 0)

    run(main())


def test_message_that_is_too_large_ends_it() -> None:
    async def large(flow: Flow, ws: websocket.WebSocket) -> None:
        await flow.write(ws.send(bytes(1001)))
        while ws.next_event() is None:
            ws.receive_data(await flow.read())

    async def main() -> None:
        client, net = make(serving(large))
        ws = await client.websocket(URL, max_message_bytes=1000)
        assert await ws.receive() is None
        assert ws.close_code == websocket.TOO_BIG
        assert (net.open(), len(client.pool)) == (0, 0)

    run(main())


def test_cancelled_while_it_opens_or_waits() -> None:
    async def silent(flow: Flow) -> None:
        while await flow.read():
            pass

    async def main() -> None:
        client, net = make(silent)
        task = asyncio.create_task(client.websocket(URL))
        await asyncio.sleep(1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert (net.open(), len(client.pool)) == (0, 0)
        client, net = make(serving(echo))
        ws = await client.websocket(URL)
        task = asyncio.create_task(ws.receive())
        await asyncio.sleep(1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await ws.send("on")
        assert await ws.receive() == "on"
        ws.abort()
        await settle()
        assert (net.open(), len(client.pool)) == (0, 0)

    run(main())


def test_through_a_proxy_there_is_a_tunnel() -> None:
    async def proxy(flow: Flow) -> None:
        data = await flow.read()
        assert data.startswith(b"CONNECT a.test:80 HTTP/1.1\r\nHost: a.test:80\r\n")
        await flow.write(b"HTTP/1.1 200 Connected\r\n\r\n")
        await serving(echo)(flow)

    async def main() -> None:
        net = Net({("proxy.test", 3128): proxy})
        client = HttpClient(net, net, Clock(), websockets=WebSockets(Random()), proxy="proxy.test:3128")
        async with await client.websocket(URL) as ws:
            await ws.send("x")
            assert await ws.receive() == "x"

    run(main())


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (b"HTTP/1.1 407 Who\r\nContent-Length: 0\r\n\r\n", "a user and a password"),
        (b"HTTP/1.1 502 Bad\r\n\r\n", "the proxy answers 502"),
        (b"HTTP/1.1 200 OK\r\n\r\nsurprise", "what nobody asked for"),
        (b"SSH-2.0\r\n\r\n", "malformed status line"),
        (b"", "the connection ended"),
        (None, "timed out"),
    ],
    ids=["407", "502", "more", "other", "end", "silent"],
)
def test_proxy_that_makes_no_tunnel(reply: bytes | None, reason: str) -> None:
    async def proxy(flow: Flow) -> None:
        await flow.read()
        if reply is None:
            await asyncio.sleep(1000)
        else:
            await flow.write(reply)

    async def main() -> None:
        net = Net({("proxy.test", 3128): proxy})
        client = HttpClient(net, net, Clock(), websockets=WebSockets(Random()), proxy="proxy.test:3128")
        with pytest.raises(TransferError, match=reason) as caught:
            await client.websocket(URL)
        assert caught.value.step == "proxy"
        await settle()
        assert (net.open(), len(client.pool)) == (0, 0)

    run(main())


def test_what_is_no_websocket_is_a_value_error() -> None:
    async def main() -> None:
        client, net = make(None)
        with pytest.raises(ValueError, match="not a ws or wss URL"):
            await client.websocket("http://a.test/")
        with pytest.raises(ValueError, match="websocket=True"):
            await HttpClient(net, net, Clock()).websocket(URL)

    run(main())
