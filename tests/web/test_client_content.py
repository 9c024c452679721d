# SPDX-License-Identifier: MIT
"""The HTTP client where it is sent elsewhere, and where content is compressed (RFC 9110 sections 8.4, 15.4)."""

from __future__ import annotations

import gzip
import zlib
from errno import EIO, ENOMEM
from typing import Any

import pytest

from libos.web.client import HttpClient
from tests.web.fetching import HOST, failure, fetch, make
from tests.web.scripted import Asked, Script, answer
from tests.web.virtual import Clock, Net, run

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
