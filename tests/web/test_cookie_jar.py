# SPDX-License-Identifier: MIT
"""The client's cookies, by RFC 6265's rules (section 5)."""

from __future__ import annotations

import pytest

from libos.http import url as urls
from libos.web.client import HttpClient
from libos.web.cookie_jar import CookieJar
from tests.web.scripted import Script, answer
from tests.web.virtual import Clock, Net, run

NOW_S = 1790000000


def kept(set_at: str, *values: str, ask: str, later_s: int = 0) -> bytes | None:
    """What a request of `ask` has after a response of `set_at`."""
    jar = CookieJar()
    jar.store(urls.parse(set_at), [value.encode() for value in values], NOW_S)
    header: bytes | None = jar.header(urls.parse(ask), NOW_S + later_s)
    return header


@pytest.mark.parametrize(
    ("set_at", "value", "ask", "sent"),
    [
        ("http://a.test/", "k=v", "http://a.test/x", True),
        ("http://a.test/", "k=v", "http://b.test/", False),
        ("http://a.test/", "k=v", "http://sub.a.test/", False),
        ("http://a.test/", "k=v; Domain=a.test", "http://sub.a.test/", True),
        ("http://a.test/", "k=v; Domain=.A.test", "http://sub.a.test/", True),
        ("http://sub.a.test/", "k=v; Domain=a.test", "http://a.test/", True),
        ("http://sub.a.test/", "k=v; Domain=a.test", "http://other.a.test/", True),
        ("http://sub.a.test/", "k=v; Domain=a.test", "http://xa.test/", False),
        ("http://a.test/", "k=v; Domain=b.test", "http://a.test/", False),
        ("http://a.test/", "k=v; Domain=sub.a.test", "http://sub.a.test/", False),
        ("http://a.test/", "k=v; Domain=test", "http://b.test/", False),
        ("http://10.0.0.1/", "k=v; Domain=0.0.1", "http://10.0.0.1/", False),
        ("http://10.0.0.1/", "k=v", "http://10.0.0.1/", True),
        ("http://a.test/dir/page", "k=v", "http://a.test/dir/other", True),
        ("http://a.test/dir/page", "k=v", "http://a.test/dir", True),
        ("http://a.test/dir/page", "k=v", "http://a.test/", False),
        ("http://a.test/dir/page", "k=v; Path=/", "http://a.test/", True),
        ("http://a.test/", "k=v; Path=/di", "http://a.test/dir", False),
        ("http://a.test/", "k=v; Path=/di/", "http://a.test/di/x", True),
        ("http://a.test/", "k=v; Path=relative", "http://a.test/", True),
        ("https://a.test/", "k=v; Secure", "https://a.test/", True),
        ("https://a.test/", "k=v; secure", "wss://a.test/", True),
        ("https://a.test/", "k=v; Secure", "http://a.test/", False),
        ("http://a.test/", "k=v; Secure", "https://a.test/", False),
        ("https://a.test/", "k=v", "http://a.test/", True),
        ("http://a.test/", "k=v", "http://a.test:8080/", True),
        ("https://a.test/", "__Secure-k=v", "https://a.test/", False),
        ("https://a.test/", "__Secure-k=v; Secure", "https://a.test/", True),
        ("https://a.test/x/", "__Host-k=v; Secure", "https://a.test/x/", False),
        ("https://a.test/", "__Host-k=v; Secure; Path=/; Domain=a.test", "https://a.test/", False),
        ("https://a.test/", "__Host-k=v; Secure; Path=/", "https://a.test/", True),
        ("http://a.test/", "k", "http://a.test/", False),
        ("http://a.test/", "=v", "http://a.test/", False),
        ("http://a.test/", "k k=v", "http://a.test/", False),
        ("http://a.test/", "k=\1", "http://a.test/", False),
        ("http://a.test/", "k=" + "v" * 5000, "http://a.test/", False),
    ],
)
def test_which_request_has_it(set_at: str, value: str, ask: str, sent: bool) -> None:
    assert (kept(set_at, value, ask=ask) is not None) is sent


@pytest.mark.parametrize(
    ("lifetime", "seconds"),
    [
        ("Max-Age=10", 10),
        ("Max-Age=0", 0),
        ("Max-Age=-5", 0),
        ("Max-Age=--5", None),
        ("Max-Age=-", None),
        ("Max-Age=x", None),
        ("Expires=Mon, 21 Sep 2026 14:13:30 GMT", 10),
        ("Expires=Mon, 21-Sep-2026 14:13:30 GMT", 10),
        ("Expires=Thu, 01 Jan 1970 00:00:00 GMT", 0),
        ("Expires=whenever", None),
        ("Expires=Thu, 01 Jan 1970 00:00:00 GMT; Max-Age=10", 10),
        ("HttpOnly; SameSite=Lax", None),
    ],
)
def test_lifetime(lifetime: str, seconds: int | None) -> None:
    for later_s in (0, 9, 10, 1 << 30):
        is_sent = kept("http://a.test/", f"k=v; {lifetime}", ask="http://a.test/", later_s=later_s) is not None
        assert is_sent is (seconds is None or later_s < seconds), later_s


def test_order_and_replacement() -> None:
    values = ("a=1; Path=/", "b=2; Path=/dir", "c=3; Path=/", "a=4; Path=/")
    assert kept("http://a.test/", *values, ask="http://a.test/dir") == b"b=2; c=3; a=4"
    assert kept("http://a.test/", "a=1", "a=; Max-Age=0", ask="http://a.test/") is None


def test_bounds() -> None:
    jar = CookieJar()
    for host in range(10):
        for number in range(100):
            jar.store(urls.parse(f"http://h{host}.test/"), [b"c%d=%s" % (number, b"v" * 1000)], NOW_S)
    assert len(jar) == 200
    header = jar.header(urls.parse("http://h9.test/"), NOW_S)
    assert header is not None
    assert len(header) <= 8192
    assert header.startswith(b"c50=v")
    jar.store(urls.parse("http://x.test/"), [b"k%d=v" % number for number in range(10000)], NOW_S)
    assert len(jar) == 200
    jar.clear()
    assert len(jar) == 0


def test_client_sends_them_back_also_after_a_redirect() -> None:
    async def main() -> None:
        server = Script([answer(b"", "302 Found", Location="/b", Set_Cookie="id=1"), answer(b"x"), answer(b"y")])
        net = Net({("a.test", 80): server})
        client = HttpClient(net, net, Clock(NOW_S), cookies=CookieJar())
        await (await client.get("http://a.test/a")).read()
        await (await client.get("http://a.test/", headers={"Cookie": "own=1"})).read()
        await client.close()
        assert [asked.headers.get("cookie") for asked in server.asked] == [None, "id=1", "own=1"]

    run(main())
