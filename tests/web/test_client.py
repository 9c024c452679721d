# SPDX-License-Identifier: MIT
"""The HTTP client over flows in memory and in virtual time: requests, content, connections that are kept, redirects."""

from __future__ import annotations

import asyncio
import gzip
import json
import zlib
from collections.abc import Callable
from errno import ECONNREFUSED, EIO, ENOMEM, ETIMEDOUT
from typing import Any

import pytest

from libos.hal.inflate import Inflate
from libos.tls.errors import TlsError
from libos.web.client import HttpClient
from libos.web.failure import TransferError
from tests.web.scripted import Asked, Script, answer, read_request
from tests.web.virtual import Clock, Flow, Net, run, settle

HOST = ("a.test", 80)


def make(server: Any, **options: Any) -> tuple[HttpClient, Net]:
    """A client and the network it is in. server: handler of a.test, or the network's servers."""
    net = Net(server if isinstance(server, dict) else {HOST: server})
    return HttpClient(net, net, Clock(), inflate=Inflate(), **options), net


def fetch(server: Any, method: str = "GET", url: str = "http://a.test/", **options: Any) -> tuple[Any, bytes]:
    """One request, and all of its content."""

    async def main() -> tuple[Any, bytes]:
        client, net = make(server)
        response = await client.request(method, url, **options)
        data = await response.read()
        await client.close()
        await settle()
        assert net.open() == 0
        assert len(client.pool) == 0
        return response, data

    result: tuple[Any, bytes] = run(main())
    return result


def failure(
    server: Any, url: str = "http://a.test/", change: Callable[[HttpClient], Any] | None = None, **options: Any
) -> TransferError:
    """How a request fails, reading included; nothing is left of it."""

    async def main() -> TransferError:
        client, net = make(server)
        if change:
            change(client)
        with pytest.raises(TransferError) as caught:
            await (await client.request(options.pop("method", "GET"), url, **options)).read()
        await client.close()
        await settle()
        assert net.open() == 0
        assert len(client.pool) == 0
        assert client.counters["failures"] <= 1
        return caught.value

    result: TransferError = run(main())
    return result


# --- requests ---


def test_get() -> None:
    server = Script([answer(b"hello", X_Odd="1")])
    response, data = fetch(server, url="http://a.test/path?a=1#part")
    assert (response.status, response.reason, data, response.is_ok) == (200, "OK", b"hello", True)
    assert response.headers.get("x-odd") == b"1"
    assert response.url == "http://a.test/path?a=1#part"
    assert server.asked[0].line == "GET /path?a=1 HTTP/1.1"
    assert server.asked[0].headers == {
        "host": "a.test",
        "user-agent": "mirage-py",
        "accept": "*/*",
        "accept-encoding": "gzip, deflate",
    }


@pytest.mark.parametrize("piece", [1, 3, 1000])
@pytest.mark.parametrize("chunked", [False, True])
def test_content_in_pieces_of_any_size(piece: int, chunked: bool) -> None:
    body = bytes(range(256)) * 4
    raw = answer(body)
    if chunked:
        raw = (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n"
            + body[:5]
            + b"\r\n3fb;x=y\r\n"
            + body[5:]
            + b"\r\n0\r\nT: 1\r\n\r\n"
        )
    response, data = fetch(Script([raw], piece=piece))
    assert data == body
    assert (response.trailers.get("t") == b"1") is chunked


def test_content_until_the_end_of_the_connection() -> None:
    _, data = fetch(Script([b"HTTP/1.0 200 OK\r\n\r\nall of it"], keep=False))
    assert data == b"all of it"


def test_methods_and_bodies() -> None:
    async def main() -> list[Asked]:
        server = Script([answer(b"x")] * 9)
        client, net = make(server)
        await (await client.post("http://a.test/", json={"a": [1, None]})).read()
        await (await client.put("http://a.test/", form={"a": "b c", "ä": 1})).read()
        await (await client.patch("http://a.test/", body="text", headers={"Content-Type": "text/plain"})).read()
        await (await client.delete("http://a.test/?x=1", query=[("y", "2 &"), ("y", 3)])).read()
        await (await client.post("http://a.test/")).read()
        await (await client.post("http://a.test/", body=iter([b"one", b"", "two"]))).read()
        await (await client.post("http://a.test/", body=iter([b"one", b"two"]), length=6)).read()
        await (await client.post("http://a.test/", body=Pieces([b"p"] * 3))).read()
        await (await client.post("http://a.test/", body=bytes(100000))).read()
        assert len(net.flows) == 1
        await client.close()
        return server.asked

    asked = run(main())
    assert (asked[0].line, asked[0].headers["content-type"]) == ("POST / HTTP/1.1", "application/json")
    assert json.loads(asked[0].body) == {"a": [1, None]}
    assert asked[1].headers["content-type"] == "application/x-www-form-urlencoded"
    assert asked[1].body == b"a=b+c&%C3%A4=1"
    assert (asked[2].body, asked[2].headers["content-type"]) == (b"text", "text/plain")
    assert asked[3].line == "DELETE /?x=1&y=2+%26&y=3 HTTP/1.1"
    assert asked[4].headers["content-length"] == "0"
    assert (asked[5].body, asked[5].headers["transfer-encoding"]) == (b"onetwo", "chunked")
    assert (asked[6].body, asked[6].headers["content-length"]) == (b"onetwo", "6")
    assert (asked[7].body, asked[7].headers["transfer-encoding"]) == (b"ppp", "chunked")
    assert asked[8].body == bytes(100000)


class Pieces:
    """What has no length and comes when it is awaited."""

    def __init__(self, pieces: list[bytes]) -> None:
        self.pieces = pieces

    def __aiter__(self) -> Pieces:
        return self

    async def __anext__(self) -> bytes:
        if not self.pieces:
            raise StopAsyncIteration
        await asyncio.sleep(1)
        return self.pieces.pop()


def test_head_has_no_content_and_the_connection_goes_on() -> None:
    async def main() -> None:
        server = Script(
            [
                b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n",
                answer(b"x"),
                b"HTTP/1.1 204 No\r\n\r\n",
                b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n",
                answer(b"y"),
            ]
        )
        client, net = make(server)
        response = await client.head("http://a.test/")
        assert (await response.read(), response.headers.get("content-length")) == (b"", b"1000")
        assert await (await client.get("http://a.test/")).read() == b"x"
        assert (await client.get("http://a.test/")).status == 204
        assert (await client.get("http://a.test/")).status == 304
        assert await (await client.get("http://a.test/")).read() == b"y"
        assert len(net.flows) == 1
        await client.close()

    run(main())


def test_text_and_json() -> None:
    async def main() -> None:
        answers = [
            answer("ä€".encode(), Content_Type="text/plain"),
            answer(b"\xe4", Content_Type='text/plain; Charset="ISO-8859-1"'),
            answer(b"x", Content_Type="text/plain; charset=shift_jis"),
            answer(b"\xff"),
            answer(b'{"a": "\\u00e4"}'),
            answer(b"{"),
        ]
        client, _ = make(Script(list(answers)))
        assert await (await client.get("http://a.test/")).text() == "ä€"
        assert await (await client.get("http://a.test/")).text() == "ä"
        with pytest.raises(ValueError, match="shift_jis"):
            await (await client.get("http://a.test/")).text()
        with pytest.raises(ValueError, match="decode"):
            await (await client.get("http://a.test/")).text()
        assert await (await client.get("http://a.test/")).json() == {"a": "ä"}
        with pytest.raises(ValueError, match="Expecting"):
            await (await client.get("http://a.test/")).json()
        await client.close()

    run(main())


def test_credentials_of_the_url_and_of_the_call() -> None:
    async def main() -> list[Asked]:
        server = Script([answer()] * 3)
        client, _ = make(server)
        await client.get("http://me:p%40ss@a.test/")
        await client.get("http://a.test/", auth=("me", "p@ss"))
        await client.get("http://a.test/", auth=("me", "p@ss"), headers=[("authorization", "Bearer x")])
        with pytest.raises(ValueError, match="colon"):
            await client.get("http://a.test/", auth=("m:e", "x"))
        await client.close()
        return server.asked

    asked = run(main())
    assert [one.headers["authorization"] for one in asked] == ["Basic bWU6cEBzcw==", "Basic bWU6cEBzcw==", "Bearer x"]
    assert asked[0].headers["host"] == "a.test"


@pytest.mark.parametrize(
    "options",
    [
        {"url": "ftp://a.test/"},
        {"url": "http:///x"},
        {"url": "http://a.test:99999/"},
        {"url": "http://a.test/\r\nX: y"},
        {"headers": {"X": "a\r\nY: b"}},
        {"headers": {"X\n": "a"}},
        {"headers": {"Host": "b.test"}},
        {"headers": {"Content-Length": "3"}},
        {"headers": {"Transfer-Encoding": "chunked"}},
        {"method": "GE T"},
        {"json": 1, "body": b"x"},
        {"body": b"xyz", "length": 2},
        {"method": "POST", "body": iter([b"xyz"]), "length": 2},
        {"method": "POST", "body": iter([b"xyz"]), "length": 4},
    ],
)
def test_what_cannot_be_sent_is_a_value_error_and_leaves_nothing(options: dict[str, Any]) -> None:
    async def main() -> None:
        client, net = make(Script([]))
        method, url = options.pop("method", "GET"), options.pop("url", "http://a.test/")
        with pytest.raises(ValueError, match=r"."):
            await client.request(method, url, **options)
        await settle()
        assert net.open() == 0
        assert len(client.pool) == 0

    run(main())


# --- 100-continue, early answers ---


async def send_answer(flow: Flow, data: bytes) -> None:
    await flow.write(data)


def test_expect_waits_for_continue() -> None:
    said: list[bytes] = []

    async def server(flow: Flow) -> None:
        data = await flow.read()
        said.append(data)
        await asyncio.sleep(0.5)
        await flow.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        said.append(await flow.read())
        await flow.write(answer(b"done"))
        assert await flow.read() == b""

    _, data = fetch(server, "POST", body=b"the body", expect=True)
    assert data == b"done"
    assert said[0].endswith(b"Expect: 100-continue\r\n\r\n")
    assert said[1] == b"the body"


def test_expect_without_an_answer_sends_the_body_after_a_second() -> None:
    server = Script([answer(b"done")])
    assert fetch(server, "POST", body=b"the body", expect=True)[1] == b"done"
    assert server.asked[0].body == b"the body"


def test_expect_refused_sends_no_body_and_closes() -> None:
    async def server(flow: Flow) -> None:
        await flow.read()
        await flow.write(answer(b"no", "417 Expectation Failed"))
        assert await flow.read() == b""

    response, data = fetch(server, "POST", body=b"the body", expect=True)
    assert (response.status, data) == (417, b"no")


def test_answer_before_the_body_was_sent_is_returned() -> None:
    async def server(flow: Flow) -> None:
        await flow.read(100)
        await flow.write(answer(b"too large", "413 Content Too Large"))
        await flow.close()

    response, data = fetch(server, "POST", body=bytes(1000000))
    assert (response.status, data) == (413, b"too large")


# --- connections that are kept ---


def test_connections_are_kept_up_to_their_idle_time() -> None:
    async def main() -> None:
        server = Script([answer(b"x")] * 5)
        client, net = make(server)
        for _ in range(3):
            await (await client.get("http://a.test/")).read()
            await asyncio.sleep(19)
        assert (server.connections, net.open()) == (1, 1)
        await asyncio.sleep(30)
        assert (net.open(), len(client.pool)) == (0, 0)
        assert not net.flows[0].was_aborted
        await (await client.get("http://a.test/")).read()
        assert server.connections == 2
        counters = {"opened": 2, "reused": 2, "stale": 0, "timeouts": 0, "requests": 4}
        assert client.counters == {**counters, "redirects": 0, "retries": 0, "failures": 0}
        await client.close()

    run(main())


@pytest.mark.parametrize("close", [b"Connection: close\r\n", b""])
def test_connection_that_the_server_ends_is_not_kept(close: bytes) -> None:
    version = b"1.1" if close else b"1.0"
    server = Script([b"HTTP/" + version + b" 200 OK\r\n" + close + b"Content-Length: 1\r\n\r\nx"] * 2)

    async def main() -> None:
        client, net = make(server)
        assert await (await client.get("http://a.test/")).read() == b"x"
        await settle()
        assert (net.open(), len(client.pool)) == (0, 0)
        assert await (await client.get("http://a.test/")).read() == b"x"
        assert server.connections == 2
        await settle()

    run(main())


def test_octets_that_nobody_asked_for_end_the_connection() -> None:
    async def main() -> None:
        server = Script([answer(b"x") + answer(b"smuggled"), answer(b"y")])
        client, _ = make(server)
        assert await (await client.get("http://a.test/")).read() == b"x"
        assert await (await client.get("http://a.test/")).read() == b"y"
        assert server.connections == 2
        await client.close()

    run(main())


def test_idle_connection_that_has_ended_is_noticed_before_it_is_used() -> None:
    async def main() -> None:
        server = Script([answer(b"x"), answer(b"y")], keep=False)
        client, _ = make(server)
        await (await client.get("http://a.test/")).read()
        await asyncio.sleep(1)
        response = await client.post("http://a.test/", body=b"once")
        assert await response.read() == b"y"
        assert (server.connections, client.counters["stale"], client.counters["retries"]) == (2, 1, 0)
        await client.close()

    run(main())


class Stale:
    """Ends the first connection when the second request comes on it, without a word."""

    def __init__(self, reset: bool) -> None:
        self.reset = reset
        self.connections = 0
        self.asked: list[Asked] = []

    async def __call__(self, flow: Flow) -> None:
        self.connections += 1
        while True:
            asked = await read_request(flow)
            if asked is None:
                return
            self.asked.append(asked)
            if len(self.asked) == 2:
                if self.reset:
                    flow.abort()
                return
            await flow.write(answer(b"ok"))


@pytest.mark.parametrize("reset", [False, True])
@pytest.mark.parametrize("method", ["GET", "PUT"])
def test_stale_connection_is_tried_again_once_for_what_may_be(reset: bool, method: str) -> None:
    async def main() -> None:
        server = Stale(reset)
        client, _ = make(server)
        await (await client.get("http://a.test/")).read()
        body = b"again" if method == "PUT" else None
        assert await (await client.request(method, "http://a.test/", body=body)).read() == b"ok"
        assert (server.connections, client.counters["retries"]) == (2, 1)
        assert server.asked[1].body == server.asked[2].body == (body or b"")
        await client.close()

    run(main())


@pytest.mark.parametrize("body", [b"x", None])
def test_stale_connection_is_not_tried_again_where_it_might_happen_twice(body: bytes | None) -> None:
    async def main() -> None:
        server = Stale(False)
        client, _ = make(server)
        await (await client.get("http://a.test/")).read()
        request = (
            client.put("http://a.test/", body=iter([b"x"]))
            if body is None
            else client.post("http://a.test/", body=body)
        )
        with pytest.raises(TransferError, match="head: the connection ended before the response"):
            await request
        assert (server.connections, len(server.asked)) == (1, 2)
        await settle()
        assert len(client.pool) == 0

    run(main())


def test_new_connection_that_fails_is_not_tried_again() -> None:
    server = Script([b"", answer(b"x")])
    assert "ended before the response" in str(failure(server))
    assert server.connections == 1


def test_bounds_of_the_pool_and_turns() -> None:
    """Six per origin and eight in all; the rest wait, in their order, and idle ones of others make room."""

    async def main() -> None:
        active = most = 0

        async def server(flow: Flow) -> None:
            nonlocal active, most
            active += 1
            most = max(most, active)
            try:
                while await read_request(flow) is not None:
                    await asyncio.sleep(1)
                    await flow.write(answer(b"x"))
            finally:
                active -= 1

        names = ["a", "b", "c"]
        client, _ = make({(f"{name}.test", 80): server for name in names}, connections=8)
        done: list[int] = []

        async def one(number: int) -> None:
            assert await (await client.get(f"http://{names[number % 3]}.test/")).read() == b"x"
            done.append(number)

        await asyncio.gather(*[one(number) for number in range(40)])
        assert most <= 8
        assert len(client.pool) <= 8
        assert sorted(done) == list(range(40))
        await asyncio.gather(*[one(0) for number in range(20)])
        assert client.pool._open[False, "a.test", 80, True] == 6
        await client.close()
        await settle()

    run(main())


def test_waiting_for_a_connection_has_an_end_and_a_bound() -> None:
    async def main() -> None:
        async def server(flow: Flow) -> None:
            await flow.read()
            assert await flow.read() == b""

        client, net = make(server, connections=1)
        client.pool.max_waiting = 2
        client.pool_ms = 1000
        first = asyncio.create_task(client.get("http://a.test/"))
        await settle()
        waiting = [asyncio.create_task(client.get("http://a.test/")) for _ in range(2)]
        await settle()
        with pytest.raises(TransferError, match="pool: 2 requests wait for a connection") as caught:
            await client.get("http://a.test/")
        assert caught.value.errno == ENOMEM
        for task in waiting:
            with pytest.raises(TransferError, match="pool: timed out") as caught:
                await task
            assert caught.value.errno == ETIMEDOUT
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        await settle()
        assert (net.open(), len(client.pool), client.pool._waiters) == (0, 0, [])

    run(main())


# --- redirects ---


def hops(*answers: bytes, **options: Any) -> tuple[Any, bytes, list[Asked]]:
    """Redirects of a.test and b.test, which share a script."""
    server = Script(list(answers))
    net = {HOST: server, ("b.test", 80): server, ("a.test", 8080): server}
    response, data = fetch(net, options.pop("method", "GET"), "http://a.test/dir/page?q=1", **options)
    return response, data, server.asked


def moved(location: str, status: str = "302 Found") -> bytes:
    return answer(b"gone", status, Location=location)


@pytest.mark.parametrize(
    ("location", "line", "host", "url"),
    [
        ("/x?y=2", "GET /x?y=2", "a.test", "http://a.test/x?y=2"),
        ("other", "GET /dir/other", "a.test", "http://a.test/dir/other"),
        ("../up", "GET /up", "a.test", "http://a.test/up"),
        ("?z", "GET /dir/page?z", "a.test", "http://a.test/dir/page?z"),
        ("//b.test/c", "GET /c", "b.test", "http://b.test/c"),
        ("http://B.test", "GET /", "b.test", "http://b.test/"),
        ("http://u:p@a.test:8080/", "GET /", "a.test:8080", "http://a.test:8080/"),
    ],
)
def test_redirect_location(location: str, line: str, host: str, url: str) -> None:
    response, data, asked = hops(moved(location), answer(b"there"))
    assert (data, response.url) == (b"there", url)
    assert (asked[1].line, asked[1].headers["host"]) == (f"{line} HTTP/1.1", host)
    assert "authorization" not in asked[1].headers


@pytest.mark.parametrize(
    ("status", "method", "then", "body"),
    [
        (301, "POST", "GET", b""), (302, "POST", "GET", b""), (303, "POST", "GET", b""), (303, "PUT", "GET", b""),
        (307, "POST", "POST", b"data"), (308, "POST", "POST", b"data"), (301, "PUT", "PUT", b"data"),
        (302, "DELETE", "DELETE", b"data"), (303, "HEAD", "HEAD", b"data"), (301, "HEAD", "HEAD", b"data"),
    ],
)  # fmt: skip
def test_redirect_method(status: int, method: str, then: str, body: bytes) -> None:
    first = b"HTTP/1.1 %d Odd\r\nLocation: /x\r\nContent-Length: 0\r\n\r\n" % status
    last = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
    _, _, asked = hops(first, last, method=method, body=b"data", headers={"Content-Type": "a/b"})
    assert (asked[1].line, asked[1].body) == (f"{then} /x HTTP/1.1", body)
    assert ("content-type" in asked[1].headers) is bool(body)


def test_redirect_keeps_credentials_within_an_origin_only() -> None:
    headers = {"Cookie": "c", "X-Own": "o"}
    _, _, asked = hops(
        moved("/x"), moved("http://a.test:8080/"), moved("http://a.test/"), answer(), auth=("a", "b"), headers=headers
    )
    assert ["authorization" in one.headers for one in asked] == [True, True, False, False]
    assert ["cookie" in one.headers for one in asked] == [True, True, False, False]
    assert all(one.headers["x-own"] == "o" for one in asked)


def test_redirects_are_bounded() -> None:
    error = failure(Script([moved("/again")] * 20))
    assert (error.step, error.errno) == ("redirect", EIO)
    assert "too many redirects, the last to /again" in str(error)


def test_redirect_is_returned_where_none_is_wanted() -> None:
    response, data, asked = hops(moved("/x"), redirects=0)
    assert (response.status, data, len(asked)) == (302, b"gone", 1)


def test_status_3xx_that_is_no_redirect_is_returned() -> None:
    assert hops(answer(b"choose", "300 Multiple Choices", Location="/x"))[0].status == 300
    assert hops(answer(b"where", "302 Found"))[0].status == 302


@pytest.mark.parametrize(
    "location", ["ftp://a.test/", "javascript:alert(1)", "http://", "http://a.test:0/", "ws://a.test/"]
)
def test_redirect_to_what_is_not_http_is_refused(location: str) -> None:
    assert failure(Script([moved(location)])).step == "redirect"


def test_redirect_of_a_body_that_cannot_be_sent_again_is_refused() -> None:
    error = failure(Script([moved("/x", "307 Temporary Redirect")]), method="POST", body=iter([b"x"]))
    assert "cannot be sent again" in str(error)


# --- decompression ---


def raw_deflate(data: bytes) -> bytes:
    return zlib.compress(data)[2:-4]


TEXT = b"".join(b"line %d of what is compressed\n" % number for number in range(3000))


def gzipped(data: bytes) -> bytes:
    # Without the time: the same in each worker of pytest, for cases are named by what they are given.
    return gzip.compress(data, mtime=0)


@pytest.mark.parametrize("piece", [1, 1000, 1 << 20])
@pytest.mark.parametrize(
    ("coding", "data"),
    [
        ("gzip", gzipped(TEXT[:900])), ("x-gzip", gzipped(TEXT[:900])), ("GZIP", gzipped(TEXT[:900])),
        ("deflate", zlib.compress(TEXT[:900])), ("deflate", raw_deflate(TEXT[:900])),
        ("gzip", gzipped(TEXT[:400]) + gzipped(TEXT[400:900])),
    ],
)  # fmt: skip
def test_decompression(coding: str, data: bytes, piece: int) -> None:
    response, read = fetch(Script([answer(data, Content_Encoding=coding)], piece=piece))
    assert read == TEXT[:900]
    assert response.content_bytes is None


def test_decompression_of_nothing_and_of_what_is_not_known() -> None:
    assert fetch(Script([answer(b"", Content_Encoding="gzip")]))[1] == b""
    assert (
        fetch(Script([b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Encoding: gzip\r\n\r\n0\r\n\r\n"]))[1]
        == b""
    )
    assert fetch(Script([answer(b"br", Content_Encoding="br")]))[1] == b"br"
    assert fetch(Script([answer(b"x", Content_Encoding="identity")]))[1] == b"x"


def test_gzip_header_with_everything() -> None:
    member = gzipped(b"content")
    header = b"\x1f\x8b\x08\x1e" + bytes(6) + b"\x03\x00abc" + b"name\0" + b"comment\0" + b"cc"
    for piece in (1, 7, 100):
        assert fetch(Script([answer(header + member[10:], Content_Encoding="gzip")], piece=piece))[1] == b"content"


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (gzipped(TEXT)[:-1], "cut off"),
        (gzipped(TEXT)[:500], "cut off"),
        (gzipped(TEXT)[:5], "cut off"),
        (gzipped(TEXT)[:-5] + b"\0" + gzipped(TEXT)[-4:], "checksum"),
        (gzipped(TEXT)[:-1] + b"\1", "checksum"),
        (gzipped(TEXT) + b"garbage", "not gzip"),
        (b"plain text", "not gzip"),
        (b"\x1f\x8b\x08\xe0" + bytes(20), "reserved"),
        (b"\x1f\x8b\x08\x08" + bytes(6) + b"n" * 90000, "too long"),
        (gzipped(TEXT)[:10] + b"\xff" * 50, "not compressed as it says"),
    ],
    ids=lambda value: value if isinstance(value, str) else str(len(value)),
)
def test_damaged_compression(data: bytes, reason: str) -> None:
    error = failure(Script([answer(data, Content_Encoding="gzip")], piece=1000))
    assert (error.step, error.errno) == ("decode", EIO)
    assert reason in error.reason


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (zlib.compress(TEXT)[:-1], "cut off"),
        (zlib.compress(TEXT)[:-1] + b"\0", "checksum"),
        (zlib.compress(TEXT) + b"x", "behind"),
        (b"x" * 100, "not compressed"),
    ],
    ids=["cut", "sum", "behind", "other"],
)
def test_damaged_deflate(data: bytes, reason: str) -> None:
    error = failure(Script([answer(data, Content_Encoding="deflate")]))
    assert reason in error.reason


def test_bomb_is_bounded() -> None:
    bomb = gzipped(bytes(100_000_000))
    error = failure(Script([answer(bomb, Content_Encoding="gzip")]))
    assert (error.step, error.errno) == ("body", ENOMEM)

    async def main() -> None:
        client, _ = make(Script([answer(bomb, Content_Encoding="gzip")]))
        response = await client.get("http://a.test/")
        most = total = 0
        async for piece in response:
            most = max(most, len(piece))
            total += len(piece)
        assert (most, total) == (16384, 100_000_000)
        await client.close()

    run(main())


def test_no_inflate_asks_for_no_compression() -> None:
    async def main() -> list[Asked]:
        server = Script([answer(b"raw", Content_Encoding="gzip")])
        net = Net({HOST: server})
        client = HttpClient(net, net, Clock())
        assert await (await client.get("http://a.test/")).read() == b"raw"
        await client.close()
        return server.asked

    assert "accept-encoding" not in run(main())[0].headers


# --- limits, failures, time ---


def test_content_beyond_the_limit() -> None:
    for raw in (answer(bytes(2000)), b"HTTP/1.1 200 OK\r\n\r\n" + bytes(2000)):
        error = failure(Script([raw], keep=False), change=lambda client: setattr(client, "read_limit", 1000))
        assert (error.step, error.errno) == ("body", ENOMEM)


@pytest.mark.parametrize(
    ("raw", "step"),
    [
        (b"nonsense\r\n\r\n", "head"),
        (b"HTTP/1.1 200 OK\r\nX" * 10000, "head"),
        (b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 200 + b"\r\n", "head"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"y" * 50000, "head"),
        (b"HTTP/1.1 100 Continue\r\n\r\n" * 100, "head"),
        (b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\n\r\n", "head"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello", "head"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\nhello", "head"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5", "head"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nhello", "body"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n", "body"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel", "body"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n" + b"X: y\r\n" * 10000, "body"),
    ],
)
def test_what_a_server_must_not_send(raw: bytes, step: str) -> None:
    error = failure(Script([raw], keep=False))
    assert (error.step, error.errno) == (step, EIO)


def test_refused_and_silent_connections() -> None:
    error = failure({HOST: OSError(ECONNREFUSED)})
    assert (error.step, error.errno, error.reason) == ("connect", ECONNREFUSED, "the connection was refused")
    error = failure({HOST: None})
    assert (error.step, error.errno) == ("connect", ETIMEDOUT)

    class ResolveError(OSError):
        def __str__(self) -> str:
            return str(self.args[1])

    error = failure({HOST: ResolveError(2, "a.test: there is no such name")})
    assert str(error) == "name: a.test: there is no such name"


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (TlsError(116, "alert 116 from the peer", True), "tls: the server refuses: certificate_required (alert 116)"),
        (TlsError(99, "alert 99 from the peer", True), "tls: the server refuses: it does not say why (alert 99)"),
        (TlsError(20, "a record's tag is wrong"), "tls: a record's tag is wrong"),
    ],
)
def test_tls_that_fails_later_is_the_step_tls(error: OSError, reason: str) -> None:
    """A server of TLS 1.3 looks at a client's certificate when the client takes the handshake for done."""

    async def main() -> None:
        client, net = make(silent)
        task = asyncio.create_task(client.get("http://a.test/"))
        await settle(1)

        async def read(n: int) -> bytes:
            raise error

        net.flows[0].read = read  # type: ignore[method-assign]
        net.flows[0].peer.written = b""
        await net.flows[0].peer.write(b"H")
        with pytest.raises(TransferError) as caught:
            await task
        assert str(caught.value) == reason
        await settle()
        assert len(client.pool) == 0

    run(main())


def test_https_without_tls_says_so() -> None:
    error = failure({}, "https://a.test/")
    assert (error.step, error.reason) == ("tls", "this client has no TLS: make it with https_client(...)")


async def silent(flow: Flow) -> None:
    while await flow.read():
        pass


async def stalls(flow: Flow) -> None:
    await flow.read()
    await flow.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhe")
    await silent(flow)


async def drips(flow: Flow) -> None:
    """An octet of the head now and then: the head as a whole has its time."""
    await flow.read()
    for octet in b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n":
        await flow.write(bytes((octet,)))
        await asyncio.sleep(5)


async def deaf(flow: Flow) -> None:
    await asyncio.sleep(1000)


@pytest.mark.parametrize(
    ("server", "step", "body"),
    [(silent, "head", None), (drips, "head", None), (stalls, "body", None), (deaf, "send", bytes(1000000))],
)
def test_timeouts(server: Any, step: str, body: bytes | None) -> None:
    error = failure(server, method="POST", body=body)
    assert (error.step, error.errno, str(error)) == (step, ETIMEDOUT, f"{step}: timed out")


def test_slow_content_that_goes_on_is_no_timeout() -> None:
    async def server(flow: Flow) -> None:
        await flow.read()
        await flow.write(b"HTTP/1.1 200 OK\r\n\r\n")
        for _ in range(10):
            await asyncio.sleep(25)
            await flow.write(b"x")

    assert fetch(server)[1] == b"x" * 10


def test_response_that_nobody_reads_ends_by_itself() -> None:
    async def main() -> None:
        client, net = make(Script([answer(bytes(500000))]))
        response = await client.get("http://a.test/")
        await asyncio.sleep(31)
        assert (net.open(), len(client.pool)) == (0, 0)
        with pytest.raises(TransferError, match="body: timed out"):
            await response.read()

    run(main())


@pytest.mark.parametrize("server", [silent, stalls, deaf, None])
def test_cancellation_leaves_nothing_behind(server: Any) -> None:
    async def main() -> None:
        client, net = make(server)

        async def use() -> None:
            await (await client.post("http://a.test/", body=bytes(300000))).read()

        for wait_s in (0, 0.0005, 0.002, 0.5, 3):
            task = asyncio.create_task(use())
            await asyncio.sleep(wait_s)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await settle()
            assert (net.open(), len(client.pool)) == (0, 0)
        await asyncio.sleep(2000)

    run(main())


def test_close_of_a_response_keeps_the_connection_where_little_is_left() -> None:
    async def main() -> None:
        server = Script([answer(bytes(1000)), answer(bytes(200000)), answer(b"x")])
        client, net = make(server)
        async with await client.get("http://a.test/") as response:
            assert response.status == 200
        assert net.open() == 1
        async with await client.get("http://a.test/") as response:
            async for piece in response:
                assert piece
                break
        await settle()
        assert (server.connections, net.open()) == (1, 0)
        with pytest.raises(TransferError, match="the response was closed"):
            await response.read()
        async with client:
            await (await client.get("http://a.test/")).read()
        assert net.open() == 0

    run(main())


@pytest.mark.parametrize("head", [b"HTTP/1.1 200 OK\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n"])
def test_close_of_a_response_that_goes_on_does_not_wait_for_it(head: bytes) -> None:
    async def main() -> None:
        async def server(flow: Flow) -> None:
            await flow.read()
            await flow.write(head + b"event")
            await silent(flow)

        client, net = make(server)
        async with await client.get("http://a.test/") as response:
            assert await response.__anext__() == b"event"
        assert client.clock.now_ms() < 1100
        await settle()
        assert (net.open(), len(client.pool)) == (0, 0)

    run(main())


def test_body_that_fails_ends_the_connection() -> None:
    async def main() -> None:
        client, net = make(Script([answer()]))

        def body() -> Any:
            yield b"first"
            raise RuntimeError("no more")

        with pytest.raises(RuntimeError, match="no more"):
            await client.post("http://a.test/", body=body())
        await settle()
        assert (net.open(), len(client.pool)) == (0, 0)

    run(main())


# --- proxies ---


def through_proxy(
    server: Any, url: str, proxy: str = "http://me:secret@proxy.test:3128", no_proxy: str = "local, .corp.test"
) -> tuple[Any, Net]:
    async def main() -> tuple[Any, Net]:
        net = Net({("proxy.test", 3128): server, HOST: server, ("local", 80): server, ("x.corp.test", 80): server})
        client = HttpClient(net, net, Clock(), proxy=proxy, no_proxy=no_proxy)
        response = await client.get(url)
        await response.read()
        await client.close()
        await settle()
        return response, net

    result: tuple[Any, Net] = run(main())
    return result


def test_proxy_gets_the_whole_url() -> None:
    server = Script([answer(b"x")])
    response, _ = through_proxy(server, "http://a.test/path?q")
    assert server.asked[0].line == "GET http://a.test/path?q HTTP/1.1"
    assert server.asked[0].headers["host"] == "a.test"
    assert server.asked[0].headers["proxy-authorization"] == "Basic bWU6c2VjcmV0"
    assert response.url == "http://a.test/path?q"


@pytest.mark.parametrize("url", ["http://local/", "http://x.corp.test/"])
def test_no_proxy(url: str) -> None:
    server = Script([answer(b"x")])
    through_proxy(server, url)
    assert server.asked[0].line == "GET / HTTP/1.1"
    assert "proxy-authorization" not in server.asked[0].headers


def test_proxy_connection_is_shared_by_origins() -> None:
    async def main() -> None:
        server = Script([answer(b"x")] * 2)
        net = Net({("proxy.test", 3128): server})
        client = HttpClient(net, net, Clock(), proxy="proxy.test:3128")
        await (await client.get("http://a.test/")).read()
        await (await client.get("http://b.test/")).read()
        assert server.connections == 1
        await client.close()

    run(main())


@pytest.mark.parametrize("proxy", ["https://p/", "http://p/path", "http://", "p:0", "socks5://p"])
def test_bad_proxy_is_a_line_and_the_exit_code_of_a_bad_argument(
    proxy: str, capsys: pytest.CaptureFixture[str]
) -> None:
    net = Net({})
    with pytest.raises(SystemExit) as caught:
        HttpClient(net, net, Clock(), proxy=proxy)
    assert caught.value.code == 64
    assert capsys.readouterr().out.startswith("error: --proxy: ")
