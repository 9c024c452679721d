# SPDX-License-Identifier: MIT
"""The HTTP client and what goes wrong: limits, failures, time; and by way of a proxy."""

from __future__ import annotations

import asyncio
from errno import ECONNREFUSED, EIO, ENETUNREACH, ENOMEM, ETIMEDOUT
from typing import Any

import pytest

from libos.tls.errors import TlsError
from libos.web.client import HttpClient
from libos.web.failure import TransferError
from tests.web.fetching import HOST, failure, fetch, make
from tests.web.scripted import Script, answer
from tests.web.virtual import Clock, Flow, Net, run, settle

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


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_localhost_is_this_computer(address: str) -> None:
    server = Script([answer(b"here")])
    assert fetch({(address, 80): server}, url="http://localhost/")[1] == b"here"
    assert server.asked[0].headers["host"] == "localhost"
    assert failure({("::1", 80): OSError(ENETUNREACH)}, "http://localhost/").errno == ECONNREFUSED


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


def test_counters_of_each_client_are_the_stack_s() -> None:
    net = Net({})
    first, second = HttpClient(net, net, Clock()), HttpClient(net, net, Clock())
    assert net.more_counters == {"http_client": first.counters, "http_client_": second.counters}
    assert first.counters is not second.counters
