# SPDX-License-Identifier: MIT
"""The client's end of a connection: what it sends, what it makes of responses, and which it refuses."""

import pytest

from libos.http.client import ClientConnection
from libos.http.connection import CLOSED, NEED_DATA, EndOfMessage
from libos.http.errors import LocalError, RemoteError
from libos.http.limits import Limits
from tests.http.exchange import events

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def client(method="GET", **more):
    conn = ClientConnection()
    conn.start_request(method, "/", "a", **more)
    return conn


def told(data, method="GET", end=False):
    """What a client is told of data as a response, however it is cut."""
    whole = events(client(method), data, end=end)
    for cut in (1, 2, 3, 7):
        assert events(client(method), data, cut, end=end) == whole
    return whole


def test_requests_as_octets():
    conn = ClientConnection()
    assert conn.send_request("GET", "/a?b", "h:80", [("Accept", "*/*")]) == (
        b"GET /a?b HTTP/1.1\r\nHost: h:80\r\nAccept: */*\r\n\r\n"
    )
    assert ClientConnection().send_request(b"POST", b"/", b"h", (), b"hello", close=True) == (
        b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello"
    )
    assert ClientConnection().send_request("PUT", "/", "h", (), b"").endswith(b"Content-Length: 0\r\n\r\n")
    conn = ClientConnection()
    sent = conn.start_request("POST", "/", "h", chunked=True, expect_continue=True)
    assert sent == b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n"
    assert conn.send_data(b"x" * 17) + conn.send_end([("T", "1")]) == b"11\r\n" + b"x" * 17 + b"\r\n0\r\nT: 1\r\n\r\n"


@pytest.mark.parametrize(
    ("method", "target", "host"),
    [
        ("GET", "/ HTTP/1.1\r\nX: y", "a"), ("GET", "/a b", "a"), ("GET", "", "a"), ("GET", "/\0", "a"), ("GET",
        "/ä", "a"),
        ("G T", "/", "a"), ("", "/", "a"), ("GET\r\n", "/", "a"), ("GET", "/", "a\r\nX: y"), ("GET", "/", "a b"),
        ("GET", "/#f", "a"),
    ],
)  # fmt: skip
def test_request_that_would_say_something_else_is_our_error(method, target, host):
    conn = ClientConnection()
    with pytest.raises(LocalError):
        conn.send_request(method, target, host)
    assert conn.is_reusable


@pytest.mark.parametrize("name", ["Host", "Content-Length", "Transfer-Encoding", "Connection", "Expect", "X\r\n", "X:"])
def test_fields_that_are_not_the_callers(name):
    with pytest.raises(LocalError):
        ClientConnection().send_request("GET", "/", "a", [(name, "1")])


@pytest.mark.parametrize(
    ("data", "method", "content"),
    [
        (OK, "GET", b"ok"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n", "HEAD", None),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "HEAD", None),
        (b"HTTP/1.1 204 No Content\r\n\r\n", "GET", None),
        (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n", "GET", None),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", "GET", b"ok"),
        (b"HTTP/1.1 200\r\nContent-Length: 2\r\n\r\nok", "GET", b"ok"),
        (b"HTTP/1.1 200 \r\nContent-Length: 2\r\n\r\nok", "GET", b"ok"),
        (b"HTTP/1.1 407 No\r\nContent-Length: 2\r\n\r\nno", "CONNECT", b"no"),
    ],
)
def test_responses(data, method, content):
    found = told(data, method)
    assert found[0][0] == "response"
    assert [event[1] for event in found if event[0] == "data"] == ([] if content is None else [content])


def test_response_until_the_connection_ends():
    assert told(b"HTTP/1.0 200 OK\r\n\r\nall of it", end=True)[1:] == [("data", b"all of it"), ("end", []), ("closed",)]
    assert told(b"HTTP/1.1 200 OK\r\n\r\n", end=True)[1:] == [("end", []), ("closed",)]


REFUSED = {
    "both lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n",
    "two lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\n",
    "bad length": b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
    "coding": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
    "chunked in 1.0": b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
    "folded": b"HTTP/1.1 200 OK\r\nX: a\r\n b\r\n\r\n",
    "LF": b"HTTP/1.1 200 OK\nContent-Length: 2\n\n",
    "CR in the reason": b"HTTP/1.1 200 O\rK\r\nContent-Length: 0\r\n\r\n",
    "no version": b"200 OK\r\n\r\n",
    "another version": b"HTTP/2.0 200 OK\r\n\r\n",
    "version 1.2": b"HTTP/1.2 200 OK\r\n\r\n",
    "two digits": b"HTTP/1.1 20 OK\r\n\r\n",
    "four digits": b"HTTP/1.1 2000 OK\r\n\r\n",
    "status 600": b"HTTP/1.1 600 OK\r\n\r\n",
    "status 099": b"HTTP/1.1 099 OK\r\n\r\n",
    "status +20": b"HTTP/1.1 +20 OK\r\n\r\n",
    "101": b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n",
    "a long line": b"HTTP/1.1 200 " + b"x" * 9000,
    "SSH": b"SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n\r\n",
    "informational for ever": b"HTTP/1.1 103 Early Hints\r\n\r\n" * 17,
    "odd chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0x2\r\nok\r\n",
}


@pytest.mark.parametrize("name", REFUSED)
def test_response_that_is_refused(name):
    assert told(REFUSED[name] + b"\r\n" * 2, end=True)[-1] == ("error", 502)


@pytest.mark.parametrize(
    "data", [b"", b"HTTP/1.1 200", OK[:-1], b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n"]
)
def test_connection_that_ends_too_early(data):
    assert told(data, end=True)[-1] == ("error", 502)


def test_informational_responses_come_before_the_final_one():
    conn = client("POST", chunked=True, expect_continue=True)
    conn.receive_data(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + OK)
    first, second, last = conn.next_event(), conn.next_event(), conn.next_event()
    assert [event.is_informational for event in (first, second, last)] == [True, True, False]
    assert second.headers.get(b"link") == b"x"
    assert conn.next_event() == b"ok"


def test_responses_to_pipelined_requests():
    conn = ClientConnection()
    for method in ("GET", "HEAD", "GET"):
        conn.send_request(method, "/", "a")
    conn.receive_data(OK + b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n" + OK)
    found = [conn.next_event() for _ in range(8)]
    assert [event for event in found if isinstance(event, bytes)] == [b"ok", b"ok"]
    assert found[-1] is NEED_DATA
    assert conn.is_reusable
    for _ in range(64):
        conn.send_request("GET", "/", "a")
    with pytest.raises(LocalError):
        conn.send_request("GET", "/", "a")


def test_when_a_connection_may_be_used_again():
    for data, again in (
        (OK, True),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", False),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n", False),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\nConnection: keep-alive\r\n\r\n", True),
        (b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n", False),
    ):
        conn = client()
        assert not conn.is_reusable
        conn.receive_data(data)
        while conn.next_event() not in (NEED_DATA, CLOSED):
            pass
        assert conn.is_reusable == again
        if not again:
            with pytest.raises(LocalError):
                conn.send_request("GET", "/", "a")
    conn = client(close=True)
    conn.receive_data(OK)
    conn.next_event()
    conn.next_event()
    assert isinstance(conn.next_event(), EndOfMessage)
    assert conn.next_event() is CLOSED
    assert not conn.is_reusable


def test_response_that_nobody_asked_for():
    """What comes behind a response belongs to no request: it must not become the answer to the next one."""
    conn = client()
    conn.receive_data(OK + OK)
    conn.next_event()
    conn.next_event()
    conn.next_event()
    assert not conn.is_reusable
    with pytest.raises(RemoteError):
        conn.next_event()


def test_response_before_the_request_is_complete():
    conn = client("POST", length=5)
    conn.receive_data(b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 0\r\n\r\n")
    assert conn.next_event().status == 413
    assert not conn.is_reusable
    conn.send_data(b"12345")
    conn.send_end()
    assert conn.is_reusable


def test_tunnel():
    conn = client("CONNECT")
    with pytest.raises(LocalError):
        conn.send_request("GET", "/", "a")
    conn.receive_data(b"HTTP/1.1 200 Fine\r\nContent-Length: 5\r\n\r\n\x16\x03")
    assert conn.next_event().length == 0
    assert conn.is_switched
    assert conn.take_rest() == b"\x16\x03"


def test_limit_of_content():
    for framing in (b"Content-Length: 11\r\n\r\n", b"Transfer-Encoding: chunked\r\n\r\nb\r\n", b"\r\n" + b"x" * 11):
        limits = Limits()
        limits.body_bytes = 10
        conn = ClientConnection(limits)
        conn.start_request("GET", "/", "a")
        conn.receive_data(b"HTTP/1.1 200 OK\r\n" + framing)
        assert conn.next_event().status == 200
        with pytest.raises(RemoteError) as error:
            conn.next_event()
        assert error.value.status == 413
