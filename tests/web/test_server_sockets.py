# SPDX-License-Identifier: MIT
"""WebSockets and server-sent events of a server, and what it has beside: metrics, access log, redirects."""

import asyncio
import base64
import hashlib
import re
from typing import Any

from libos.http.websocket import Close, WebSocket
from libos.web.access import AccessLog
from libos.web.metrics import Metrics
from libos.web.redirect import Redirect
from libos.web.response import Response
from tests.web.site import HOST, Client, Site, Stack, check
from tests.web.virtual import Clock, run, settle

KEY = base64.b64encode(b"k" * 16)
OFFER = (
    b"GET /ws HTTP/1.1\r\n" + HOST + b"Connection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " + KEY + b"\r\n"
)


class Peer:
    """A client of WebSockets."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.ws = WebSocket(True, lambda count: b"m" * count)

    async def open(self, headers: bytes = b"", more: bytes = b"") -> str:
        await self.client.send(OFFER + headers + b"\r\n" + more)
        head = (await self.client.head()).decode()
        accept = base64.b64encode(hashlib.sha1(KEY + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest()).decode()
        assert head.startswith("HTTP/1.1 101 Switching Protocols\r\n"), head
        assert f"Sec-WebSocket-Accept: {accept}" in head
        self.ws.receive_data(self.client.rest) if self.client.rest else None
        return head

    async def send(self, message: Any) -> None:
        await self.client.send(self.ws.send(message))

    async def event(self) -> Any:
        while True:
            event = self.ws.next_event()
            if out := self.ws.take_output():
                await self.client.send(out)
            if event is not None:
                return event
            self.ws.receive_data(await self.client.flow.read())


async def echo(ws: Any) -> None:
    async for message in ws:
        await ws.send(message)


def talk(story: Any, handler: Any = echo, **options: Any) -> Any:
    async def main(site: Site) -> Any:
        site.server.websocket("/ws", handler, **options)
        return await story(site, Peer(site.connect()))

    return check(Site(), main)


def test_messages_of_both_kinds_come_back() -> None:
    async def story(site: Site, peer: Peer) -> None:
        await peer.open()
        for message in ("text ä", b"octets", "", "x" * 100000):
            await peer.send(message)
            assert await peer.event() == message
        await peer.client.send(peer.ws.send_close(1000, "bye"))
        event = await peer.event()
        assert isinstance(event, Close)
        assert event.code == 1000
        assert await peer.client.everything() == b""

    talk(story)


def test_a_message_that_comes_with_the_handshake_is_not_lost() -> None:
    async def story(site: Site, peer: Peer) -> None:
        await peer.open(more=peer.ws.send("early"))
        assert await peer.event() == "early"

    talk(story)


def test_a_websocket_may_be_silent_for_hours() -> None:
    async def story(site: Site, peer: Peer) -> None:
        await peer.open()
        await settle(10000)
        await peer.send("there?")
        assert await peer.event() == "there?"

    talk(story)


def test_a_peer_that_goes_away_is_nothing_to_report() -> None:
    async def story(site: Site, peer: Peer) -> None:
        await peer.open()
        await peer.send("x" * 100000)
        await settle(1)  # now it is sent back, and not taken
        peer.client.flow.abort()
        await settle(5)
        assert not site.server.connections
        assert site.log.errors == []
        assert site.count("failures") == 0

    talk(story)


def test_a_websocket_that_is_closed_by_its_handler_and_takes_nothing_ends() -> None:
    async def say(ws: Any) -> None:
        await ws.send("x" * 60000)

    async def main(site: Site) -> None:
        site.server.websocket("/ws", say)
        await Peer(site.connect()).open()
        await settle(200)
        assert not site.server.connections

    check(Site(room=61000), main)


def test_a_handler_that_returns_closes_and_one_that_raises_says_so() -> None:
    async def once(ws: Any) -> None:
        await ws.send(await ws.receive())

    async def fail(ws: Any) -> None:
        raise ZeroDivisionError

    for handler, code, failures in ((once, 1000, 0), (fail, 1011, 1)):

        async def story(site: Site, peer: Peer, code: int = code, failures: int = failures) -> None:
            await peer.open()
            if code == 1000:
                await peer.send("one")
                assert await peer.event() == "one"
            event = await peer.event()
            assert event.code == code
            assert len(site.log.errors) == failures
            await peer.client.everything()

        talk(story, handler)


def test_ping_and_pong() -> None:
    came = []

    async def handler(ws: Any) -> None:
        pong = await ws.ping(b"here?")
        receiving = asyncio.create_task(ws.receive())
        await pong.wait()
        came.append(True)
        await ws.send("got it")
        await receiving

    async def story(site: Site, peer: Peer) -> None:
        await peer.open()
        assert await peer.event() == "got it"
        assert came == [True]
        await peer.client.send(peer.ws.send_close())
        await peer.client.everything()

    talk(story, handler)


def test_what_breaks_the_protocol_is_told_with_its_code() -> None:
    ended = []

    async def handler(ws: Any) -> None:
        async for _ in ws:
            pass
        ended.append(ws.close_code)

    async def story(site: Site, peer: Peer) -> None:
        await peer.open()
        await peer.client.send(b"\x81\x05hello")  # without a mask
        assert (await peer.event()).code == 1002
        await peer.client.everything()
        assert ended == [1002]

    talk(story, handler)


def test_a_message_beyond_the_limit_is_1009() -> None:
    async def story(site: Site, peer: Peer) -> None:
        await peer.open()
        await peer.send("x" * 101)
        assert (await peer.event()).code == 1009

    talk(story, max_message_bytes=100)


def test_a_client_that_vanishes_ends_the_handler() -> None:
    ended = []

    async def handler(ws: Any) -> None:
        async for _ in ws:
            pass
        ended.append(ws.close_code)

    async def story(site: Site, peer: Peer) -> None:
        await peer.open()
        peer.client.flow.abort()
        await peer.client.task
        assert ended == [1006]
        assert site.log.errors == []

    talk(story, handler)


def test_a_client_that_does_not_read_ends_the_handler_in_time() -> None:
    ended = []

    async def handler(ws: Any) -> None:
        try:
            while True:
                await ws.send("x" * 1000)
        finally:
            ended.append(asyncio.get_running_loop().time())

    async def story(site: Site, peer: Peer) -> None:
        await peer.open()
        await peer.client.task
        assert 55 < ended[0] < 70
        assert site.count("timeouts") == 1

    talk(story, handler)


def test_protocols_are_agreed_on() -> None:
    async def handler(ws: Any) -> None:
        await ws.send(ws.protocol.decode())

    async def story(site: Site, peer: Peer) -> None:
        head = await peer.open(b"Sec-WebSocket-Protocol: chess, go\r\n")
        assert "Sec-WebSocket-Protocol: go" in head
        assert await peer.event() == "go"

    talk(story, handler, protocols=(b"go",))


def test_pages_of_other_hosts_may_not_connect_unless_they_may() -> None:
    def status(origin: bytes, **options: Any) -> int:
        async def story(site: Site, peer: Peer) -> int:
            await peer.client.send(OFFER + b"Origin: " + origin + b"\r\n\r\n")
            return int((await peer.client.head()).split()[1])

        return int(talk(story, **options))

    assert status(b"https://example.com") == 101
    assert status(b"https://EXAMPLE.com") == 101
    assert status(b"https://evil.example") == 403
    assert status(b"null") == 403
    assert status(b"https://evil.example", origins=()) == 101
    assert status(b"https://friend.example", origins=(b"https://friend.example",)) == 101
    assert status(b"https://evil.example", origins=(b"https://friend.example",)) == 403


def test_a_plain_request_is_told_to_upgrade() -> None:
    async def story(site: Site, peer: Peer) -> None:
        answer = await peer.client.get("/ws")
        assert (answer.status, answer.headers["sec-websocket-version"]) == (426, "13")

    talk(story)


def test_at_the_end_websockets_are_told_to_go_away() -> None:
    async def main() -> None:
        site = Site()
        site.server.websocket("/ws", echo)
        serving = asyncio.create_task(site.server.serve())
        await settle()
        peer = Peer(site.connect())
        await peer.open()
        serving.cancel()
        assert (await peer.event()).code == 1001
        await asyncio.wait([serving])
        assert not site.server.connections
        await settle(5)

    run(main())


# --- server-sent events -----------------------------------------------------------------------------------------------


def test_events_go_out_as_they_come() -> None:
    async def handler(events: Any) -> None:
        await events.send(f"since {events.last_id}", "hello", "1", 500)
        await asyncio.sleep(10)
        await events.send("two\nlines")

    async def story(site: Site) -> None:
        site.server.events("/events", handler)
        client = site.connect()
        answer = await client.get("/events", b"Last-Event-ID: 7\r\n")
        assert answer.headers["content-type"] == "text/event-stream"
        assert answer.body == b":\n\nevent: hello\nid: 1\nretry: 500\ndata: since 7\n\ndata: two\ndata: lines\n\n"
        assert (await client.get("/nope")).status == 404

    check(Site(), story)


def test_the_head_goes_out_before_the_first_event_and_silence_is_broken() -> None:
    async def handler(events: Any) -> None:
        await asyncio.sleep(40)
        await events.send("at last")

    async def story(site: Site) -> None:
        site.server.events("/events", handler)
        client = site.connect()
        await client.send(b"GET /events HTTP/1.1\r\n" + HOST + b"\r\n")
        since = asyncio.get_running_loop().time()
        await client.head()
        assert asyncio.get_running_loop().time() - since < 1
        assert (await client.line(), await client.take(3)) == (b"3", b":\n\n")
        await settle(41)
        client.flow.shutdown_write()
        assert b":\n\n\r\n3\r\n:\n\n\r\n" in await client.everything()

    check(Site(), story)


def test_a_client_of_events_that_has_gone_ends_the_handler() -> None:
    ended = []

    async def handler(events: Any) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(True)

    async def story(site: Site) -> None:
        site.server.events("/events", handler)
        client = site.connect()
        await client.send(b"GET /events HTTP/1.1\r\n" + HOST + b"\r\n")
        await client.head()
        client.flow.abort()
        await settle(40)
        assert ended == [True]
        assert client.task.done()
        assert site.log.errors == []

    check(Site(), story)


# --- metrics, access log, redirect ------------------------------------------------------------------------------------


def test_metrics_are_what_prometheus_reads() -> None:
    async def story(site: Site) -> None:
        client = site.connect()
        await client.get("/nope")
        site.stack.more_counters["odd name"] = {"a-b": 5}
        answer = await client.get("/metrics")
        assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
        text = answer.body.decode()
        assert text.endswith("\n")
        values = {}
        for line in text.splitlines():
            if line.startswith("# TYPE "):
                assert re.fullmatch(r"# TYPE [a-zA-Z_][a-zA-Z0-9_]* untyped", line)
                continue
            match = re.fullmatch(r"([a-zA-Z_][a-zA-Z0-9_]*) (\d+)", line)
            assert match, line
            assert match[1] not in values
            values[match[1]] = int(match[2])
        assert values["mirage_tcp_PassiveOpens"] == 1
        assert values["mirage_http_requests"] == 2
        assert values["mirage_http_errors"] == 1
        assert values["mirage_http_open_connections"] == 1
        assert values["mirage_odd_name_a_b"] == 5

    check(Site(metrics=Metrics()), story)


class Console:
    def __init__(self) -> None:
        self.text = ""

    def write(self, text: str) -> None:
        self.text += text


def test_the_access_log_is_in_the_combined_format() -> None:
    console = Console()

    async def story(site: Site) -> None:
        async def pieces(writer: Any) -> None:
            await writer.write(b"x" * 30)

        site.server.route("GET", "/large", lambda request: b"x" * 20000)
        site.server.route("GET", "/pieces", lambda request: Response(pieces))
        client = site.connect()
        await client.get("/a?b=c", b'Referer: http://x/"y"\r\nUser-Agent: curl\\7 \xc3\xa4\r\n')
        await client.get("/large")
        await client.get("/pieces")
        await client.get("/large", method=b"HEAD")

    check(Site(access=AccessLog(console, Clock())), story)
    assert console.text.splitlines() == [
        '10.0.0.2 - - [21/Sep/2026:14:13:20 +0000] "GET /a?b=c HTTP/1.1" 404 14 '
        '"http://x/\\"y\\"" "curl\\\\7 \\xc3\\xa4"',
        '10.0.0.2 - - [21/Sep/2026:14:13:20 +0000] "GET /large HTTP/1.1" 200 20000 "-" "-"',
        '10.0.0.2 - - [21/Sep/2026:14:13:20 +0000] "GET /pieces HTTP/1.1" 200 30 "-" "-"',
        '10.0.0.2 - - [21/Sep/2026:14:13:20 +0000] "HEAD /large HTTP/1.1" 200 - "-" "-"',
    ]


def test_what_a_client_says_fills_no_console() -> None:
    console = Console()

    async def story(site: Site) -> None:
        await site.connect().get("/" + "a" * 7000, b"User-Agent: " + b"\xff" * 9000 + b"\r\n")

    check(Site(access=AccessLog(console, Clock())), story)
    assert len(console.text) < 4000
    assert console.text.count("...") == 2


def redirected(request: bytes, to_port: int = 8443) -> tuple[int, str | None]:
    async def main() -> tuple[int, str | None]:
        below, site = Stack(), None
        site = Site(port=to_port)
        redirect = Redirect(below, site.log, site.clock, 8080)
        site.server._redirect = redirect
        site.server.start()
        client = below.connect(8080)
        await client.send(request)
        answer = await client.answer()
        await site.server.close()
        assert below.listeners == {}
        assert list(below.more_counters) == ["http_redirect"]
        await settle(5)
        return answer.status, answer.headers.get("location")

    result: tuple[int, str | None] = run(main())
    return result


def test_the_redirect_sends_everybody_to_tls() -> None:
    def get(host: bytes, target: bytes = b"/a%20b?c=d", method: bytes = b"GET") -> bytes:
        return method + b" " + target + b" HTTP/1.1\r\nHost: " + host + b"\r\n\r\n"

    assert redirected(get(b"example.com")) == (308, "https://example.com:8443/a%20b?c=d")
    assert redirected(get(b"example.com:8080", method=b"POST")) == (308, "https://example.com:8443/a%20b?c=d")
    assert redirected(get(b"example.com:8080"), 443) == (308, "https://example.com/a%20b?c=d")
    assert redirected(get(b"[fd00::1]:8080")) == (308, "https://[fd00::1]:8443/a%20b?c=d")
    assert redirected(get(b"[fd00::1]")) == (308, "https://[fd00::1]:8443/a%20b?c=d")
    assert redirected(get(b"example.com", b"//evil/")) == (308, "https://example.com:8443//evil/")
    assert redirected(get(b"")) == (400, None)
    assert redirected(b"GET / HTTP/1.0\r\n\r\n") == (400, None)
