# SPDX-License-Identifier: MIT
"""The server's end of a connection: requests and responses that are right."""

import pytest

from libos.http.connection import CLOSED, NEED_DATA, PAUSED
from libos.http.errors import LocalError
from libos.http.head import Prepared
from libos.http.server import ServerConnection
from tests.http.exchange import GET, server_events


def server(data, **more):
    conn = ServerConnection(**more)
    conn.receive_data(data)
    return conn, conn.next_event()


def test_request_is_read_with_its_fields():
    data = b"GET /a?b=c HTTP/1.1\r\nHost: example\r\nAccept:  text/html \r\nX-Empty:\r\n\r\n"
    fields = [(b"host", b"example"), (b"accept", b"text/html"), (b"x-empty", b"")]
    assert server_events(data) == [("request", b"GET", b"/a?b=c", 11, fields, 0)]


def test_content_of_a_length():
    data = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello"
    told = server_events(data + GET)
    assert [event[0] for event in told] == ["request", "data", "end", "request"]
    assert told[1] == ("data", b"hello")


def test_content_in_chunks_with_trailers():
    data = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    data += b'5\r\nhello\r\n00C;a=b;c="d"\r\n, all of you\r\n0\r\nX-Sum: 1\r\n\r\n'
    told = server_events(data + GET)
    assert told[1:3] == [("data", b"hello, all of you"), ("end", [(b"x-sum", b"1")])]
    assert told[3][0] == "request"


def test_pipelined_requests_are_answered_one_after_the_other():
    conn, first = server(GET + b"GET /2 HTTP/1.1\r\nHost: a\r\n\r\n")
    assert first.target == b"/"
    assert conn.next_event() is PAUSED
    conn.send_response(200)
    assert conn.next_event().target == b"/2"
    conn.send_response(200)
    assert conn.next_event() is NEED_DATA
    assert conn.is_between


def test_whole_response():
    conn, _ = server(GET, common=Prepared([("Server", "x")]))
    sent = conn.send_response(200, [("Content-Type", b"text/plain")], b"hello")
    assert sent == b"HTTP/1.1 200 OK\r\nServer: x\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n\r\nhello"
    with pytest.raises(LocalError):
        conn.send_response(200)


def test_response_in_chunks():
    conn, _ = server(GET)
    sent = conn.start_response(200) + conn.send_data(b"hello") + conn.send_data(b"") + conn.send_end([("X-Sum", "1")])
    assert sent == b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n"
    assert conn.next_event() is NEED_DATA


def test_closing_response_ends_the_connection():
    conn, _ = server(GET + GET)
    assert b"Connection: close\r\n" in conn.send_response(200, close=True)
    assert conn.next_event() is CLOSED
