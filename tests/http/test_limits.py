# SPDX-License-Identifier: MIT
"""Every length and count has a limit, its status, and what is just inside of it passes; memory does not grow."""

import sys

import pytest

from libos.http import cookies, media
from libos.http.client import ClientConnection
from libos.http.connection import CLOSED, NEED_DATA, PAUSED
from libos.http.errors import LocalError, RemoteError
from libos.http.head import Headers
from libos.http.limits import Limits
from libos.http.parts import Parts
from libos.http.server import ServerConnection
from libos.http.websocket import WebSocket
from tests.http.exchange import GET, events, server_events


def limits(**values):
    made = Limits()
    for name, value in values.items():
        assert hasattr(made, name)
        setattr(made, name, value)
    return made


def status(data, **values):
    told = events(ServerConnection(limits(**values)), data)
    for cut in (1, 5):
        assert events(ServerConnection(limits(**values)), data, cut) == told
    return told[-1][1] if told[-1][0] == "error" else None


def get(target=b"/", *lines):
    return b"GET " + target + b" HTTP/1.1\r\nHost: a\r\n" + b"".join(line + b"\r\n" for line in lines) + b"\r\n"


def test_request_line():
    longest = b"/" + b"x" * (100 - len(b"GET / HTTP/1.1"))
    assert status(get(longest), line_bytes=100) is None
    assert status(get(longest + b"x"), line_bytes=100) == 414
    assert status(b"GET /" + b"x" * 200, line_bytes=100) == 414
    assert status(b"x" * 200, line_bytes=100) == 501


def test_method():
    assert status(b"M" * 32 + b" / HTTP/1.1\r\nHost: a\r\n\r\n") is None
    assert status(b"M" * 33 + b" / HTTP/1.1\r\nHost: a\r\n\r\n") == 501


def test_head():
    head = get(b"/", b"X: " + b"y" * 100)
    assert status(head, head_bytes=len(head)) is None
    assert status(head, head_bytes=len(head) - 1) == 431
    assert status(head[:-4], head_bytes=len(head) - 10) == 431
    assert status(get()[:-2] + b"x" * 1000, head_bytes=200) == 431


def test_number_of_fields():
    assert status(get(b"/", *[b"X: y"] * 9), fields=10) is None
    assert status(get(b"/", *[b"X: y"] * 10), fields=10) == 431


def test_content_of_a_length():
    data = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n"
    assert status(data % 100 + bytes(100), body_bytes=100) is None
    assert status(data % 101, body_bytes=100) == 413
    assert status(data % (10**17), body_bytes=100) == 413


def test_content_in_chunks():
    data = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    assert status(data + b"32\r\n" + bytes(50) + b"\r\n32\r\n" + bytes(50) + b"\r\n0\r\n\r\n", body_bytes=100) is None
    assert status(data + b"32\r\n" + bytes(50) + b"\r\n33\r\n", body_bytes=100) == 413
    assert status(data + b"ffffffffffffffff\r\n", body_bytes=100) == 413
    assert status(data, require_length=True) == 411


def test_trailers():
    data = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n"
    assert status(data + b"X: y\r\n" * 10 + b"\r\n", fields=10) is None
    assert status(data + b"X: y\r\n" * 11 + b"\r\n", fields=10) == 431
    assert status(data + b"X: " + b"y" * 200, head_bytes=100) == 431


def test_limit_of_content_is_the_requests_own():
    conn = ServerConnection(limits(body_bytes=10))
    data = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 50\r\n\r\n" + bytes(50)
    conn.receive_data(data)
    conn.next_event()
    conn.body_limit = 100
    assert conn.next_event() == bytes(50)
    conn.next_event()
    conn.send_response(200)
    conn.receive_data(data)
    conn.next_event()
    with pytest.raises(RemoteError) as error:
        conn.next_event()
    assert error.value.status == 413
    assert conn.can_respond
    assert conn.next_event() is PAUSED
    assert b"Connection: close\r\n" in conn.send_response(413)
    assert conn.next_event() is CLOSED


def test_expectation():
    assert status(b"POST / HTTP/1.1\r\nHost: a\r\nExpect: 200-ok\r\nContent-Length: 1\r\n\r\n") == 417
    assert status(b"POST / HTTP/1.0\r\nExpect: 200-ok\r\nContent-Length: 1\r\n\r\nx") is None


def test_error_in_a_head_is_answered_and_closes():
    conn = ServerConnection()
    conn.receive_data(b"GET / HTTP/1.1\r\n\r\n" + GET)
    with pytest.raises(RemoteError):
        conn.next_event()
    assert conn.can_respond
    sent = conn.send_response(400, body=b"no")
    assert sent == b"HTTP/1.1 400 Bad Request\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno"
    assert conn.next_event() is CLOSED
    assert not conn.can_respond


@pytest.mark.parametrize("piece", [b"a", b"a: b\r\n", b"GET / HTTP/1.1\r\n", b"\r\n", b"x" * 1000, b"\0"])
def test_flood_is_refused_before_it_takes_memory(piece):
    starts = [
        b"",
        b"GET / HTTP/1.1\r\n",
        GET[:-2],
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n",
    ]
    for start in starts:
        conn = ServerConnection()
        flood = flooded(conn, start, piece)
        with pytest.raises(RemoteError):
            list(flood)


def flooded(conn, start, piece):
    conn.receive_data(start or piece)
    while True:
        event = conn.next_event()
        assert event is not CLOSED
        if event is PAUSED:
            conn.send_response(200)
        elif event is NEED_DATA:
            yield len(conn._buf)
            assert len(conn._buf) < 40_000
            conn.receive_data(piece)


def test_small_chunks_are_one_event_and_take_no_more_than_their_octets():
    conn = ServerConnection()
    conn.receive_data(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1\r\nx\r\n" * 5000)
    conn.next_event()
    assert conn.next_event() == b"x" * 5000
    assert conn.next_event() is NEED_DATA


# --- what is left of a request when it has been answered ---


def answered(head, body, status=200, **values):
    conn = ServerConnection(limits(**values))
    conn.receive_data(head)
    conn.next_event()
    sent = conn.send_response(status)
    conn.receive_data(body + GET)
    return conn, sent


def test_rest_of_a_short_request_is_dropped_and_the_next_is_read():
    conn, sent = answered(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 50\r\n\r\n", bytes(50))
    assert b"close" not in sent
    assert conn.next_event().method == b"GET"


def test_rest_of_a_long_request_ends_the_connection():
    for head in (b"Content-Length: 70000", b"Transfer-Encoding: chunked"):
        conn, sent = answered(b"POST / HTTP/1.1\r\nHost: a\r\n" + head + b"\r\n\r\n", b"")
        assert b"Connection: close\r\n" in sent
        assert conn.next_event() is CLOSED


def test_client_that_waits_for_100_and_gets_an_answer():
    """It may send its content or not: nobody can tell what comes next (RFC 9110 section 10.1.1)."""
    conn, sent = answered(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n", b"", 403)
    assert b"Connection: close\r\n" in sent
    assert conn.next_event() is CLOSED


def test_client_that_waits_for_100_and_gets_it():
    conn = ServerConnection()
    conn.receive_data(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-Continue\r\n\r\n")
    conn.next_event()
    assert conn.next_event() is NEED_DATA or conn.send_continue()
    conn = ServerConnection(limits(body_bytes=4))
    conn.receive_data(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n")
    conn.next_event()
    with pytest.raises(RemoteError) as error:
        conn.send_continue()
    assert error.value.status == 413
    conn.body_limit = 5
    assert b"close" in conn.send_response(413)


def test_version_10_gets_no_chunks_and_no_informational_response():
    conn = ServerConnection()
    conn.receive_data(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
    conn.next_event()
    assert conn.send_informational(103) == b""
    assert conn.send_response(200) == b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: keep-alive\r\n\r\n"
    conn.receive_data(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
    conn.next_event()
    assert conn.start_response(200) == b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n"
    assert conn.send_data(b"abc") == b"abc"
    assert conn.send_end() == b""
    assert conn.next_event() is CLOSED


def test_head_and_statuses_without_content():
    conn = ServerConnection()
    for method, code, length in ((b"HEAD", 200, b"Content-Length: 5\r\n"), (b"GET", 304, b""), (b"GET", 204, b"")):
        conn.receive_data(method + GET[3:])
        conn.next_event()
        sent = conn.send_response(code, [("ETag", '"x"')], b"hello")
        assert sent.endswith(b'ETag: "x"\r\n' + length + b"\r\n")
        conn.receive_data(method + GET[3:])
        conn.next_event()
        sent = conn.start_response(code, length=5) + conn.send_data(b"hello") + conn.send_end()
        assert sent.endswith(b"\r\n" + length + b"\r\n")


def test_content_that_is_not_what_was_promised():
    conn = ServerConnection()
    conn.receive_data(GET)
    conn.next_event()
    conn.start_response(200, length=5)
    with pytest.raises(LocalError):
        conn.send_data(b"123456")
    conn.send_data(b"123")
    with pytest.raises(LocalError):
        conn.send_end()
    conn.send_data(b"45")
    assert conn.send_end() == b""
    with pytest.raises(LocalError):
        conn.send_data(b"")


@pytest.mark.parametrize("status", [99, 100, 101, 199, 600, 1000])
def test_status_that_no_response_has(status):
    conn = ServerConnection()
    conn.receive_data(GET)
    conn.next_event()
    with pytest.raises(LocalError):
        conn.send_response(status)
    assert conn.send_response(200)


def test_connect_hands_over_what_follows():
    conn = ServerConnection()
    conn.receive_data(b"CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n\x16\x03\x01")
    assert conn.next_event().target == b"a:443"
    assert conn.start_response(200) == b"HTTP/1.1 200 OK\r\n\r\n"
    assert conn.is_switched
    assert conn.take_rest() == b"\x16\x03\x01"
    conn.receive_data(b"more")
    assert conn.take_rest() == b"more"
    conn = ServerConnection()
    conn.receive_data(b"CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n")
    conn.next_event()
    assert conn.send_response(403, body=b"no").endswith(b"Content-Length: 2\r\n\r\nno")
    assert not conn.is_switched


def test_keep_alive_as_both_want_it():
    for head, stays in (
        (b"GET / HTTP/1.1\r\nHost: a\r\n", True),
        (b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n", False),
        (b"GET / HTTP/1.1\r\nHost: a\r\nConnection: x, CLOSE\r\n", False),
        (b"GET / HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, close\r\n", False),
        (b"GET / HTTP/1.0\r\n", False),
        (b"GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n", True),
    ):
        told = server_events(head + b"\r\n")
        assert (told[-1] == ("closed",)) != stays


def test_pieces_of_an_octet_take_no_list_of_that_many():
    parts = Parts()
    for number in range(100_000):
        parts.add(bytes((number & 255,)))
        parts.add(b"")
    assert parts.length == 100_000
    assert len(parts._pieces) + len(parts._joined) < 700
    assert parts.take() == (bytes(range(256)) * 391)[:100_000]
    assert parts.take() == b""


@pytest.mark.parametrize("name", [b"Connection", b"Upgrade", b"Transfer-Encoding"])
def test_list_that_would_take_more_memory_than_it_has_octets(name):
    assert status(get(b"/", name + b": " + b"a," * 20_000)) == 431
    assert status(get(b"/", name + b": " + b"a," * 10_000)) == 400
    if name != b"Transfer-Encoding":
        assert status(get(b"/", name + b": " + b"a," * 31)) is None
    if name == b"Upgrade":
        assert status(get(b"/", *[name + b": a,b"] * 17)) == 400


def test_host_is_no_longer_than_a_name():
    assert status(b"GET / HTTP/1.1\r\nHost: " + b"a" * 300 + b"\r\n\r\n") is None
    assert status(b"GET / HTTP/1.1\r\nHost: " + b"a" * 301 + b"\r\n\r\n") == 400


@pytest.mark.parametrize(
    "data",
    [
        get(b"/", b"X: " + b"y" * 30_000),
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 60000\r\n\r\n" + bytes(60_000),
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nea60\r\n" + bytes(60_000) + b"\r\n0\r\n\r\n",
    ],
    ids=["head", "length", "chunks"],
)
def test_idle_connection_keeps_nothing_of_what_has_come(data):
    for cut in (None, 20_000):
        conn = ServerConnection()
        assert events(conn, data, cut, answer=lambda conn: conn.send_response(200))[0][0] == "request"
        assert conn.is_between
        assert sys.getsizeof(conn._buf) < 2000
        held = [value for value in vars(conn).values() if isinstance(value, bytes)]
        assert sum(map(len, held)) < 2000


def test_idle_client_and_websocket_keep_nothing_of_what_has_come():
    client = ClientConnection()
    client.send_request("GET", "/", "a")
    client.receive_data(b"HTTP/1.1 200 OK\r\nContent-Length: 60000\r\n\r\n" + bytes(60_000))
    assert [type(client.next_event()) for _ in range(3)][1] is bytes
    assert client.is_reusable
    assert not client._buf
    ws = WebSocket(True, lambda count: b"")
    ws.receive_data(WebSocket(False).send(bytes(60_000)))
    assert ws.next_event() == bytes(60_000)
    assert ws.next_event() is None
    assert not ws._buf


def test_lists_of_which_nobody_needs_all():
    long = b"a," * 16_000
    headers = Headers([(b"x", long), (b"cookie", b"c=1;" * 8_000)])
    assert len(headers.elements(b"x")) == 64
    assert len(media.weights(long)) == 64
    assert len(media.weights(long + b'"')) == 64
    assert cookies.parse(headers) == {b"c": b"1"}
    with pytest.raises(ValueError, match="too many parameters"):
        media.parse(b"a/b" + b";c=d" * 8_000)
