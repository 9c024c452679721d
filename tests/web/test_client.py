# SPDX-License-Identifier: MIT
"""The HTTP client over flows in memory and in virtual time: requests, content, connections that are kept."""

from __future__ import annotations

import asyncio
import json
from errno import ENOMEM, ETIMEDOUT
from typing import Any

import pytest

from libos.web.failure import TransferError
from tests.web.fetching import failure, fetch, make
from tests.web.scripted import Asked, Script, answer, read_request
from tests.web.virtual import Flow, run, settle

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
