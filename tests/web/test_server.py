# SPDX-License-Identifier: MIT
"""The server over flows in memory: routes, answers, bodies, errors; tests/web/test_server_time.py has its patience."""

import asyncio
import json
from typing import Any

import pytest

from libos.http.errors import LocalError
from libos.web.response import HttpError, Response, redirect
from tests.web.site import HOST, Site, check
from tests.web.virtual import settle


def site(**options: Any) -> Site:
    site = Site(**options)
    route = site.server.route
    route("GET", "/", lambda request: "root")
    route("GET, PUT", "/both", lambda request: request.method)
    route("GET", "/users/<id>", lambda request: request.params)
    route("GET", "/users/<id>/posts/<int:number>", lambda request: [request.params["id"], request.params["number"]])
    route("GET", "/users/me", lambda request: "me")
    route("GET", "/tree/<path:rest>", lambda request: request.params["rest"])
    route("POST", "/echo", echo)
    return site


async def echo(request: Any) -> Any:
    return await request.read()


def ask(path: str, headers: bytes = b"", method: bytes = b"GET", **options: Any) -> Any:
    """One answer of the site above."""

    async def story(site: Site) -> Any:
        return await site.connect().get(path, headers, method)

    return check(site(**options), story)


# --- routes -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/", b"root"),
        ("/?a=1", b"root"),
        ("/users/7", b'{"id": "7"}'),
        ("/users/a%20b", b'{"id": "a b"}'),
        ("/users/%C3%A4", json.dumps({"id": "ä"}).encode()),
        ("/users/me", b"me"),
        ("/users/%6de", b"me"),
        ("/users/x/../me", b"me"),
        ("/users/7/posts/12", b'["7", 12]'),
        ("/tree/a/b/c", b"a/b/c"),
        ("/tree/", b""),
    ],
)
def test_a_path_leads_to_its_handler(path: str, body: bytes) -> None:
    answer = ask(path)
    assert (answer.status, answer.body) == (200, body)


@pytest.mark.parametrize(
    "path", ["/users/", "/users", "/users/7/", "/users/7/posts/x", "/nope", "//", "/users//posts/1"]
)
def test_a_path_of_nobody_is_404(path: str) -> None:
    assert ask(path).status == 404


@pytest.mark.parametrize("path", ["/%2e%2e/x", "/../x", "/a%2fb", "/%ff", "/a%", "/a%00", "/a%5cb"])
def test_a_path_that_is_none_is_400(path: str) -> None:
    assert ask(path).status == 400


def test_a_method_that_is_not_there_is_405_and_allow_says_which_are() -> None:
    answer = ask("/both", method=b"DELETE")
    assert (answer.status, answer.headers["allow"]) == (405, "GET, HEAD, OPTIONS, PUT")
    assert ask("/echo").headers["allow"] == "OPTIONS, POST"


def test_head_and_options_are_answered_by_themselves() -> None:
    answer = ask("/both", method=b"HEAD")
    assert (answer.status, answer.headers["content-length"], answer.body) == (200, "4", b"")
    answer = ask("/both", method=b"OPTIONS")
    assert (answer.status, answer.headers["allow"]) == (204, "GET, HEAD, OPTIONS, PUT")
    assert ask("*", method=b"OPTIONS").status == 204


def test_head_sends_nothing_of_a_body() -> None:
    async def story(site: Site) -> None:
        client = site.connect()
        await client.get("/", method=b"HEAD")
        assert (await client.get("/")).body == b"root"

    check(site(), story)


def test_connect_is_nothing_for_us() -> None:
    assert ask("example.com:443", method=b"CONNECT").status == 501


@pytest.mark.parametrize(
    "pattern", ["users", "/<a>/<a>", "/<path:a>/b", "/a<b>", "/<float:a>", "/<>", "/<int:>", "/<a b>"]
)
def test_patterns_that_are_none_are_refused(pattern: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        site().server.route("GET", pattern, echo)


def test_two_handlers_for_one_place_are_refused() -> None:
    with pytest.raises(ValueError, match="two handlers for GET"):
        site().server.route("GET", "/users/<id>", echo)
    with pytest.raises(LocalError, match="not a method"):
        site().server.route("GE T", "/x", echo)


def test_route_is_a_decorator_too() -> None:
    where = site()

    @where.server.route("GET", "/late")
    async def late(request: Any) -> str:
        return request.path

    async def story(site: Site) -> bytes:
        return (await site.connect().get("/late?x")).body

    assert check(where, story) == b"/late"


def test_known_targets_are_bounded() -> None:
    async def story(site: Site) -> None:
        client = site.connect()
        for number in range(600):
            assert (await client.get(f"/tree/../?{number}")).status == 200
            assert (await client.get("/%72oot" if number % 2 else f"/x/../{'/' * 0}?a")).status in (200, 404)
            assert len(site.server.known) <= 256

    check(site(), story)


# --- answers ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "status", "media_type", "body"),
    [
        ("text ä", 200, "text/plain; charset=utf-8", "text ä".encode()),
        (b"octets", 200, None, b"octets"),
        (bytearray(b"octets"), 200, None, b"octets"),
        ({"a": [1, None]}, 200, "application/json", b'{"a": [1, null]}'),
        ([1], 200, "application/json", b"[1]"),
        (None, 204, None, b""),
        (Response("<p>", type="text/html"), 200, "text/html", b"<p>"),
        (Response({"a": 1}, 201), 201, "application/json", b'{"a": 1}'),
        (Response(b"x" * 20000), 200, None, b"x" * 20000),
        (redirect("/there"), 303, None, b""),
    ],
)
def test_what_a_handler_may_return(value: Any, status: int, media_type: str | None, body: bytes | None) -> None:
    if isinstance(value, Response) and body is None:
        return
    for wrap in (lambda request: value, coroutine(value)):

        async def story(site: Site, wrap: Any = wrap) -> Any:
            site.server.route("GET", "/x", wrap)
            client = site.connect()
            answer = await client.get("/x")
            assert (await client.get("/")).body == b"root"
            return answer

        answer = check(site(), story)
        assert (answer.status, answer.headers.get("content-type"), answer.body) == (status, media_type, body)


def coroutine(value: Any) -> Any:
    async def handler(request: Any) -> Any:
        return value

    return handler


def test_headers_of_an_answer_cannot_be_made_into_more() -> None:
    async def story(site: Site) -> None:
        site.server.route("GET", "/x", lambda request: Response("x", headers=(("X-A", "1\r\nSet-Cookie: evil"),)))
        site.server.route("GET", "/y", lambda request: Response("x", headers=((b"Content-Length", b"99"),)))
        for path in ("/x", "/y"):
            answer = await site.connect().get(path)
            assert answer.status == 500
            assert "set-cookie" not in answer.headers
        assert len(site.log.errors) == 2

    check(site(), story)


def test_a_value_that_is_no_answer_is_500() -> None:
    async def story(site: Site) -> None:
        site.server.route("GET", "/x", lambda request: 7)
        assert (await site.connect().get("/x")).status == 500
        assert "GET /x failed" in site.log.lines

    check(site(), story)


def test_the_date_is_there_and_goes_on() -> None:
    async def story(site: Site) -> None:
        client = site.connect()
        assert (await client.get("/")).headers["date"] == "Mon, 21 Sep 2026 14:13:20 GMT"
        await settle(61.5)
        client = site.connect()
        assert (await client.get("/")).headers["date"] == "Mon, 21 Sep 2026 14:14:21 GMT"
        await settle(1.1)
        assert (await client.get("/")).headers["date"] == "Mon, 21 Sep 2026 14:14:22 GMT"

    check(site(), story)


def test_who_has_no_clock_sends_no_date() -> None:
    where = site()
    where.clock.wall_s = 100

    async def story(site: Site) -> None:
        assert "date" not in (await site.connect().get("/")).headers

    check(where, story)


# --- bodies that come in pieces ---------------------------------------------------------------------------------------


async def parts(count: int = 3) -> Any:
    for number in range(count):
        await asyncio.sleep(0.01)
        yield b"part %d\n" % number


def in_pieces(body: Any, **options: Any) -> Any:
    async def story(site: Site) -> Any:
        site.server.route("GET", "/x", lambda request: Response(body, **options))
        client = site.connect()
        answer = await client.get("/x")
        assert (await client.get("/")).body == b"root"
        return answer

    return check(site(), story)


def test_an_async_generator_is_sent_as_it_comes() -> None:
    answer = in_pieces(parts())
    assert answer.chunks == [b"part 0\n", b"part 1\n", b"part 2\n"]
    assert answer.headers["transfer-encoding"] == "chunked"


def test_an_iterable_and_a_writer_are_sent_too() -> None:
    assert in_pieces(iter([b"a", "b", b"", b"c"])).chunks == [b"a", b"b", b"c"]

    async def write(writer: Any) -> None:
        await writer.write("x")
        await writer.write(b"y" * 100000)

    assert in_pieces(write).body == b"x" + b"y" * 100000
    assert in_pieces(write, length=100001).headers["content-length"] == "100001"


def test_no_piece_is_asked_for_before_the_one_before_is_taken() -> None:
    made = 0

    async def body() -> Any:
        nonlocal made
        while made < 100:
            made += 1
            yield b"x" * 1000

    async def story(site: Site) -> None:
        site.server.route("GET", "/x", lambda request: Response(body()))
        client = site.connect()
        await client.send(b"GET /x HTTP/1.1\r\n" + HOST + b"\r\n")
        await settle(1)
        assert made < 8
        answer = await client.answer()
        assert len(answer.body) == 100000

    check(site(room=4096), story)


def test_a_body_that_fails_in_the_middle_resets_so_that_nobody_takes_it_for_all() -> None:
    async def body() -> Any:
        yield b"some"
        raise KeyError("in the middle")

    async def story(site: Site) -> None:
        site.server.route("GET", "/x", lambda request: Response(body()))
        client = site.connect()
        await client.send(b"GET /x HTTP/1.1\r\n" + HOST + b"\r\n")
        assert await client.is_reset()
        assert isinstance(site.log.errors[0], KeyError)

    check(site(), story)


def test_a_body_of_another_length_than_promised_is_an_error() -> None:
    for length in (3, 5):

        async def story(site: Site, length: int = length) -> None:
            site.server.route("GET", "/x", lambda request: Response(iter([b"four"]), length=length))
            client = site.connect()
            await client.send(b"GET /x HTTP/1.1\r\n" + HOST + b"\r\n")
            assert await client.is_reset()

        check(site(), story)


def test_a_body_is_closed_when_the_client_goes() -> None:
    ended = []

    async def body() -> Any:
        try:
            while True:
                yield b"x" * 1000
        finally:
            ended.append(True)

    async def story(site: Site) -> None:
        site.server.route("GET", "/x", lambda request: Response(body()))
        client = site.connect()
        await client.send(b"GET /x HTTP/1.1\r\n" + HOST + b"\r\n")
        await client.head()
        client.flow.abort()
        await client.task
        assert ended == [True]
        assert site.log.errors == []

    check(site(room=2048), story)


def test_head_of_a_body_in_pieces_closes_it_unread() -> None:
    async def story(site: Site) -> None:
        made = parts()
        site.server.route("GET", "/x", lambda request: Response(made))
        client = site.connect()
        answer = await client.get("/x", method=b"HEAD")
        assert "transfer-encoding" in answer.headers
        assert (await client.get("/")).body == b"root"
        with pytest.raises(StopAsyncIteration):
            await made.__anext__()

    check(site(), story)


def test_http_1_0_gets_a_body_that_ends_with_the_connection() -> None:
    async def story(site: Site) -> None:
        site.server.route("GET", "/x", lambda request: Response(parts()))
        client = site.connect()
        await client.send(b"GET /x HTTP/1.0\r\n\r\n")
        answer = await client.answer()
        assert answer.body == b"part 0\npart 1\npart 2\n"
        assert answer.headers["connection"] == "close"

    check(site(), story)


# --- bodies of requests -----------------------------------------------------------------------------------------------


def post(body: bytes, headers: bytes = b"", path: str = "/echo", **options: Any) -> Any:
    async def story(site: Site) -> Any:
        if "limit" in options:
            site.server.limits.body_bytes = options["limit"]
        site.server.route("POST", "/json", lambda request: request.json())
        site.server.route("POST", "/form", lambda request: request.form())
        site.server.route("POST", "/text", lambda request: request.text())
        site.server.route("POST", "/large", echo, limit=1000)
        client = site.connect()
        length = b"Content-Length: %d\r\n" % len(body)
        await client.send(b"POST " + path.encode() + b" HTTP/1.1\r\n" + HOST + length + headers + b"\r\n", body)
        return await client.answer()

    return check(site(), story)


def test_a_body_is_read() -> None:
    assert post(b"x" * 200000).body == b"x" * 200000
    assert post(b'{"a": 1}', path="/json").body == b'{"a": 1}'
    assert post("ä".encode(), path="/text").body == "ä".encode()
    form = b"Content-Type: application/x-www-form-urlencoded; charset=utf-8\r\n"
    assert json.loads(post(b"a=1&b=two+words&a=2", form, "/form").body) == {"a": "1", "b": "two words"}


@pytest.mark.parametrize(
    ("body", "path", "status"), [(b"{", "/json", 400), (b"\xff", "/text", 400), (b"a=1", "/form", 415)]
)
def test_a_body_that_is_not_what_is_wanted_is_refused(body: bytes, path: str, status: int) -> None:
    assert post(body, path=path).status == status


def test_a_body_that_is_too_long_is_413_and_a_route_may_take_more() -> None:
    assert post(b"x" * 101, limit=100).status == 413
    assert post(b"x" * 1000, path="/large", limit=100).status == 200
    assert post(b"x" * 1001, path="/large", limit=100).status == 413


def test_a_handler_may_take_any_length_and_read_it_in_pieces() -> None:
    async def count(request: Any) -> str:
        request.allow_body(None)
        total = 0
        while chunk := await request.read_chunk():
            total += len(chunk)
        return f"{total} {request.length}"

    async def story(site: Site) -> None:
        site.server.route("POST", "/count", count)
        site.server.limits.body_bytes = 10
        client = site.connect()
        await client.send(b"POST /count HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n")
        for _ in range(50):
            await client.send(b"3e8\r\n" + b"x" * 1000 + b"\r\n")
        await client.send(b"0\r\n\r\n")
        assert (await client.answer()).body == b"50000 None"
        assert (await client.get("/")).body == b"root"

    check(site(), story)


def test_a_client_is_slowed_down_to_how_fast_it_is_read() -> None:
    gate = asyncio.Event()

    async def slow(request: Any) -> str:
        await gate.wait()
        return str(len(await request.read()))

    async def story(site: Site) -> None:
        site.server.route("POST", "/slow", slow)
        client = site.connect()
        sending = asyncio.create_task(
            client.send(b"POST /slow HTTP/1.1\r\n" + HOST + b"Content-Length: 500000\r\n\r\n", b"x" * 500000)
        )
        await settle(5)
        assert not sending.done()
        assert len(client.flow.written) < 200000
        gate.set()
        await sending
        assert (await client.answer()).body == b"500000"

    check(site(), story)


def test_who_expects_100_gets_it_when_the_body_is_asked_for() -> None:
    async def story(site: Site) -> None:
        client = site.connect()
        start = b"POST /echo HTTP/1.1\r\n" + HOST + b"Expect: 100-continue\r\nContent-Length: 3\r\n\r\n"
        await client.send(start)
        assert await client.head() == b"HTTP/1.1 100 Continue"
        await client.send(b"abc")
        assert (await client.answer()).body == b"abc"
        await client.send(start.replace(b"/echo", b"/nope"))
        answer = await client.answer()
        assert (answer.status, answer.headers["connection"]) == (404, "close")

    check(site(), story)


def test_a_body_that_nobody_reads_does_not_stand_in_the_way() -> None:
    async def story(site: Site) -> None:
        site.server.route("POST", "/ignore", lambda request: "ignored")
        client = site.connect()
        await client.send(b"POST /ignore HTTP/1.1\r\n" + HOST + b"Content-Length: 5\r\n\r\n", b"hello")
        assert (await client.answer()).body == b"ignored"
        assert (await client.get("/")).body == b"root"
        await client.send(b"POST /ignore HTTP/1.1\r\n" + HOST + b"Content-Length: 900000\r\n\r\n")
        assert (await client.answer()).headers["connection"] == "close"

    check(site(), story)


# --- errors -----------------------------------------------------------------------------------------------------------


def test_an_exception_is_500_and_its_traceback_is_the_console_s() -> None:
    async def fail(request: Any) -> None:
        await asyncio.sleep(0)
        raise ZeroDivisionError("the secret")

    async def story(site: Site) -> None:
        site.server.route("GET", "/fail", fail)
        client = site.connect()
        answer = await client.get("/fail")
        assert (answer.status, answer.body) == (500, b"500 Internal Server Error\n")
        assert (await client.get("/")).body == b"root"
        assert site.log.lines == ["GET /fail failed"]
        assert site.count("failures") == 1

    check(site(), story)


def test_an_oserror_of_the_handler_s_own_is_500_too() -> None:
    async def fail(request: Any) -> None:
        raise OSError(111)

    async def story(site: Site) -> None:
        site.server.route("GET", "/fail", fail)
        assert (await site.connect().get("/fail")).status == 500

    check(site(), story)


def test_httperror_is_an_answer() -> None:
    def fail(request: Any) -> None:
        raise HttpError(403, {"why": "so"}, (("X-Why", "so"),))

    async def story(site: Site) -> None:
        site.server.route("GET", "/fail", fail)
        answer = await site.connect().get("/fail")
        assert (answer.status, answer.body, answer.headers["x-why"]) == (403, b'{"why": "so"}', "so")
        assert site.log.errors == []

    check(site(), story)


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/2.0\r\n" + HOST + b"\r\n", 505),
        (b"GET / HTTP/1.1\r\n" + HOST + b"X: " + b"y" * 40000 + b"\r\n\r\n", 431),
        (b"GET /" + b"x" * 9000 + b" HTTP/1.1\r\n" + HOST + b"\r\n", 414),
        (b"GET / HTTP/1.1\r\n" + HOST + b"X: y\r\n" * 200 + b"\r\n", 431),
        (b"POST /echo HTTP/1.1\r\n" + HOST + b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
    ],
)
def test_what_is_no_request_is_answered_and_the_connection_ends(data: bytes, status: int) -> None:
    async def story(site: Site) -> None:
        client = site.connect()
        await client.send(data)
        answer = await client.answer()
        assert (answer.status, answer.headers["connection"]) == (status, "close")
        assert await client.everything() == b""
        assert site.count("malformed") == 1

    check(site(), story)


def test_a_broken_chunk_in_a_body_is_400() -> None:
    async def story(site: Site) -> None:
        client = site.connect()
        await client.send(b"POST /echo HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n")
        assert (await client.answer()).status == 400
        assert await client.everything() == b""

    check(site(), story)


# --- connections ------------------------------------------------------------------------------------------------------


def test_pipelined_requests_are_answered_in_order_with_one_write() -> None:
    async def story(site: Site) -> None:
        client = site.connect()
        await client.send(b"".join(b"GET /users/%d HTTP/1.1\r\n" % n + HOST + b"\r\n" for n in range(50)))
        before = len(site.stack.server_ends[0].written)
        assert [(await client.answer()).body for _ in range(50)] == [b'{"id": "%d"}' % n for n in range(50)]
        assert before == 0

    check(site(), story)


def test_an_answer_does_not_wait_for_a_slow_one_behind_it() -> None:
    gate = asyncio.Event()

    async def slow(request: Any) -> str:
        await gate.wait()
        return "slow"

    async def story(site: Site) -> None:
        site.server.route("GET", "/slow", slow)
        client = site.connect()
        await client.send(b"GET / HTTP/1.1\r\n" + HOST + b"\r\nGET /slow HTTP/1.1\r\n" + HOST + b"\r\n")
        assert (await client.answer()).body == b"root"
        gate.set()
        assert (await client.answer()).body == b"slow"

    check(site(), story)


def test_requests_octet_by_octet() -> None:
    async def story(site: Site) -> None:
        client = site.connect()
        for octet in b"POST /echo HTTP/1.1\r\n" + HOST + b"Content-Length: 4\r\n\r\nbody":
            await client.send(bytes([octet]))
            await settle()
        assert (await client.answer()).body == b"body"

    check(site(), story)


def test_connection_close_is_heeded() -> None:
    async def story(site: Site) -> None:
        client = site.connect()
        answer = await client.get("/", b"Connection: close\r\n")
        assert answer.headers["connection"] == "close"
        assert await client.everything() == b""
        client = site.connect()
        await client.send(b"GET / HTTP/1.0\r\n\r\n")
        assert (await client.answer()).headers["connection"] == "close"
        client = site.connect()
        await client.send(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
        assert (await client.answer()).headers["connection"] == "keep-alive"

    check(site(), story)


def test_a_client_that_half_closes_is_answered() -> None:
    async def story(site: Site) -> None:
        client = site.connect()
        await client.send(b"GET / HTTP/1.1\r\n" + HOST + b"\r\n")
        client.flow.shutdown_write()
        assert (await client.answer()).body == b"root"
        assert await client.everything() == b""

    check(site(), story)


def test_the_same_request_again_is_the_same_answer_and_another_is_not() -> None:
    async def story(site: Site) -> None:
        client = site.connect()
        for _ in range(3):
            assert (await client.get("/")).body == b"root"
        assert (await client.get("/both")).body == b"GET"
        assert (await client.get("/both", method=b"PUT")).body == b"PUT"
        for _ in range(3):
            assert (await client.get("/")).body == b"root"
        assert (await client.get("/", method=b"HEAD")).body == b""
        assert (await client.get("/", b"Connection: close\r\n")).headers["connection"] == "close"
        assert site.count("requests") == 10

    check(site(), story)


def test_upgrade_hands_the_connection_over() -> None:
    async def upgrade(request: Any) -> None:
        flow, rest = await request.upgrade(b"shout")
        await flow.write(rest.upper() + (await flow.read()).upper())

    async def story(site: Site) -> None:
        site.server.route("GET", "/up", upgrade)
        client = site.connect()
        await client.send(b"GET /up HTTP/1.1\r\n" + HOST + b"Connection: upgrade\r\nUpgrade: shout\r\n\r\nabc")
        head = await client.head()
        assert head.startswith(b"HTTP/1.1 101 ")
        await client.send(b"def")
        assert await client.everything() == b"ABCDEF"
        assert (await site.connect().get("/up")).status == 500  # nobody has offered it

    check(site(), story)


# --- what a server has beside its routes ------------------------------------------------------------------------------


def test_health() -> None:
    answer = ask("/health", health="/health")
    assert (answer.status, answer.body, answer.headers["cache-control"]) == (200, b"ok\n", "no-store")
    assert ask("/health").status == 404


def test_hsts_is_said_in_each_answer() -> None:
    assert ask("/", hsts_s=60).headers["strict-transport-security"] == "max-age=60"
    assert "strict-transport-security" not in ask("/").headers


def test_counters_are_the_stack_s_too() -> None:
    async def story(site: Site) -> None:
        client = site.connect()
        await client.get("/")
        await client.get("/nope")
        site.server.refresh()
        counters = site.stack.more_counters["http"]
        assert (counters["connections"], counters["requests"], counters["errors"]) == (1, 2, 1)

    check(site(), story)


def test_spellings_of_a_path_take_no_memory() -> None:
    async def story(site: Site) -> None:
        site.server.route("GET", "/x", lambda request: "x")
        client = site.connect()
        for number in range(40):
            assert (await client.get("/" + "./" * (number * 20) + "x")).body == b"x"
        assert sum(len(path) for path in site.server.known) < 40 * 256
        assert len(site.server.known) > 3

    check(Site(), story)
