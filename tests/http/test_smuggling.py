# SPDX-License-Identifier: MIT
"""Heads and bodies that two readers could understand in two ways: refused, whole, octet by octet, and in other cuts."""

import pytest

from libos.http.connection import NEED_DATA
from libos.http.errors import LocalError
from libos.http.head import Prepared
from libos.http.server import ServerConnection
from tests.http.exchange import GET, answer_ok, events, server_events

CHUNKED = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"


def post(*lines, version=b"1.1", body=b"0\r\n\r\n"):
    return b"POST / HTTP/" + version + b"\r\nHost: a\r\n" + b"".join(line + b"\r\n" for line in lines) + b"\r\n" + body


def refused(data, end=True):
    """The status that data is refused with; what comes behind it is never taken for a request."""
    told = server_events(data + b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n", end=end)
    assert not any(event[0] == "request" and event[2] == b"/smuggled" for event in told), told
    assert told[-1][0] == "error", told
    return told[-1][1]


# RFC 9112 section 6.3; the names are those that attacks have in the literature.
FRAMING = {
    "CL.TE": post(b"Content-Length: 5", b"Transfer-Encoding: chunked"),
    "TE.CL": post(b"Transfer-Encoding: chunked", b"Content-Length: 5"),
    "two lengths": post(b"Content-Length: 5", b"Content-Length: 6"),
    "two equal lengths": post(b"Content-Length: 5", b"Content-Length: 5"),
    "a list of lengths": post(b"Content-Length: 5, 5"),
    "length +5": post(b"Content-Length: +5"),
    "length -5": post(b"Content-Length: -5"),
    "length 0x5": post(b"Content-Length: 0x5"),
    "length 5_0": post(b"Content-Length: 5_0"),
    "length 5 5": post(b"Content-Length: 5 5"),
    "length without digits": post(b"Content-Length:"),
    "length in other digits": post("Content-Length: \u0665".encode()),
    "length of 19 digits": post(b"Content-Length: " + b"1" * 19),
    "length with a point": post(b"Content-Length: 5.0"),
    "chunked twice": post(b"Transfer-Encoding: chunked, chunked"),
    "chunked in two lines": post(b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked"),
    "chunked and identity": post(b"Transfer-Encoding: chunked", b"Transfer-Encoding: identity"),
    "chunked is not last": post(b"Transfer-Encoding: chunked, gzip"),
    "identity": post(b"Transfer-Encoding: identity"),
    "xchunked": post(b"Transfer-Encoding: xchunked"),
    "quoted": post(b'Transfer-Encoding: "chunked"'),
    "parameter": post(b"Transfer-Encoding: chunked;q=1"),
    "empty": post(b"Transfer-Encoding:"),
    "comma": post(b"Transfer-Encoding: chunked,"),
    "HTTP/1.0": post(b"Transfer-Encoding: chunked", version=b"1.0"),
    "vertical tab": post(b"Transfer-Encoding: \x0bchunked"),
    "two Hosts": b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    "two equal Hosts": b"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
    "no Host": b"GET / HTTP/1.1\r\n\r\n",
    "Host with a path": b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n",
    "Host with a user": b"GET / HTTP/1.1\r\nHost: a@b\r\n\r\n",
    "Host with two": b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n",
    "Host with a bad port": b"GET / HTTP/1.1\r\nHost: a:b\r\n\r\n",
}


@pytest.mark.parametrize("name", FRAMING)
def test_framing_in_two_ways(name):
    assert refused(FRAMING[name]) == 400


def test_transfer_coding_that_nobody_implements():
    assert refused(post(b"Transfer-Encoding: gzip, chunked")) == 501
    assert refused(post(b"Transfer-Encoding: gzip", b"Transfer-Encoding: chunked")) == 501


# RFC 9112 sections 2.2, 5.
LINES = {
    "space before the colon": b"GET / HTTP/1.1\r\nHost : a\r\n\r\n",
    "tab before the colon": b"GET / HTTP/1.1\r\nHost: a\r\nX\t: a\r\n\r\n",
    "folded": b"GET / HTTP/1.1\r\nHost: a\r\nX: a\r\n b\r\n\r\n",
    "folded with a tab": b"GET / HTTP/1.1\r\nHost: a\r\nX: a\r\n\tb\r\n\r\n",
    "folded first": b"GET / HTTP/1.1\r\n Host: a\r\n\r\n",
    "no colon": b"GET / HTTP/1.1\r\nHost: a\r\nX\r\n\r\n",
    "no name": b"GET / HTTP/1.1\r\nHost: a\r\n: x\r\n\r\n",
    "LF in a head": b"GET / HTTP/1.1\r\nHost: a\nX: y\r\n\r\n",
    "LF at its end": b"GET / HTTP/1.1\r\nHost: a\r\n\n",
    "LF LF": b"GET / HTTP/1.1\nHost: a\n\n",
    "CR in a value": b"GET / HTTP/1.1\r\nHost: a\r\nX: a\rb\r\n\r\n",
    "CR CR LF": b"GET / HTTP/1.1\r\nHost: a\r\r\n\r\n",
    "NUL in a value": b"GET / HTTP/1.1\r\nHost: a\r\nX: \0\r\n\r\n",
    "NUL in a name": b"GET / HTTP/1.1\r\nHost: a\r\nX\0: a\r\n\r\n",
    "control character": b"GET / HTTP/1.1\r\nHost: a\r\nX: \x01\r\n\r\n",
    "DEL": b"GET / HTTP/1.1\r\nHost: a\r\nX: \x7f\r\n\r\n",
    "name above ASCII": b"GET / HTTP/1.1\r\nHost: a\r\n\xe4: a\r\n\r\n",
    "name in brackets": b"GET / HTTP/1.1\r\nHost: a\r\n(X): a\r\n\r\n",
    "space in a target": b"GET /a b HTTP/1.1\r\nHost: a\r\n\r\n",
    "tab in the request line": b"GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n",
    "two spaces": b"GET  / HTTP/1.1\r\nHost: a\r\n\r\n",
    "two spaces behind": b"GET /  HTTP/1.1\r\nHost: a\r\n\r\n",
    "space behind the version": b"GET / HTTP/1.1 \r\nHost: a\r\n\r\n",
    "space before the method": b" GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    "LF in the request line": b"GET /\nX HTTP/1.1\r\nHost: a\r\n\r\n",
    "CR in the request line": b"GET /\rX HTTP/1.1\r\nHost: a\r\n\r\n",
    "NUL in the target": b"GET /\0 HTTP/1.1\r\nHost: a\r\n\r\n",
    "target above ASCII": b"GET /\xe4 HTTP/1.1\r\nHost: a\r\n\r\n",
    "fragment": b"GET /#a HTTP/1.1\r\nHost: a\r\n\r\n",
    "no target": b"GET HTTP/1.1\r\nHost: a\r\n\r\n",
    "method that is no token": b"G@T / HTTP/1.1\r\nHost: a\r\n\r\n",
    "HTTP/0.9": b"GET /\r\n\r\n",
    "no version": b"GET / HTTP\r\nHost: a\r\n\r\n",
    "lower case version": b"GET / http/1.1\r\nHost: a\r\n\r\n",
    "version 1": b"GET / HTTP/1\r\nHost: a\r\n\r\n",
    "version 1.10": b"GET / HTTP/1.10\r\nHost: a\r\n\r\n",
    "version 1.x": b"GET / HTTP/1.x\r\nHost: a\r\n\r\n",
    "two empty lines before": b"\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
    "LF before": b"\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
    "TLS": b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03",
    "path without a slash": b"GET a HTTP/1.1\r\nHost: a\r\n\r\n",
    "asterisk with GET": b"GET * HTTP/1.1\r\nHost: a\r\n\r\n",
    "authority with GET": b"GET a:80 HTTP/1.1\r\nHost: a\r\n\r\n",
    "another scheme": b"GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n",
    "absolute without a host": b"GET http:///a HTTP/1.1\r\nHost: a\r\n\r\n",
    "absolute with a user": b"GET http://u@a/ HTTP/1.1\r\nHost: a\r\n\r\n",
    "CONNECT to a path": b"CONNECT /a HTTP/1.1\r\nHost: a\r\n\r\n",
    "CONNECT without a port": b"CONNECT a HTTP/1.1\r\nHost: a\r\n\r\n",
    "CONNECT with content": b"CONNECT a:1 HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx",
}


@pytest.mark.parametrize("name", LINES)
def test_malformed_line(name):
    assert refused(LINES[name]) == 400


@pytest.mark.parametrize("version", [b"2.0", b"0.9", b"3.1"])
def test_another_version(version):
    assert refused(b"GET / HTTP/" + version + b"\r\nHost: a\r\n\r\n") == 505


# RFC 9112 section 7.1.
CHUNKS = {
    "no size": b"\r\n\r\n",
    "space before": b" 5\r\nhello\r\n0\r\n\r\n",
    "space behind": b"5 \r\nhello\r\n0\r\n\r\n",
    "+": b"+5\r\nhello\r\n0\r\n\r\n",
    "-": b"-5\r\nhello\r\n0\r\n\r\n",
    "0x": b"0x5\r\nhello\r\n0\r\n\r\n",
    "_": b"0_5\r\nhello\r\n0\r\n\r\n",
    "not hexadecimal": b"5g\r\nhello\r\n0\r\n\r\n",
    "17 digits": b"0" * 16 + b"5\r\nhello\r\n0\r\n\r\n",
    "more than 64 bits": b"F" * 17 + b"\r\n",
    "LF": b"5\nhello\r\n0\r\n\r\n",
    "CR": b"5\rhello\r\n0\r\n\r\n",
    "too long": b"5\r\nhelloo\r\n0\r\n\r\n",
    "too short": b"6\r\nhello\r\n0\r\n\r\n",
    "no line end": b"5\r\nhello0\r\n\r\n",
    "LF behind": b"5\r\nhello\n0\r\n\r\n",
    "CR behind": b"5\r\nhello\r0\r\n\r\n",
    "NUL in an extension": b"5;a=\0\r\nhello\r\n0\r\n\r\n",
    "LF in an extension": b"5;a\nb\r\nhello\r\n0\r\n\r\n",
    "CR in an extension": b"5;a\rb\r\nhello\r\n0\r\n\r\n",
    "long extension": b"5;" + b"a" * 300 + b"\r\nhello\r\n0\r\n\r\n",
    "many extensions": b"1;" + b"a" * 200 + b"\r\nx\r\n" + (b"1;" + b"a" * 200 + b"\r\nx\r\n") * 30 + b"0\r\n\r\n",
    "a trailer without a colon": b"0\r\nX\r\n\r\n",
    "a folded trailer": b"0\r\nX: a\r\n b\r\n\r\n",
    "a trailer with LF": b"0\r\nX: a\n\r\n",
    "a trailer that frames": b"0\r\nContent-Length: 5\r\n\r\n",
    "a trailer that frames too": b"0\r\nTransfer-Encoding: chunked\r\n\r\n",
    "a Host in the trailer": b"0\r\nHost: b\r\n\r\n",
    "LF at the end": b"0\r\n\n",
}


@pytest.mark.parametrize("name", CHUNKS)
def test_odd_chunk(name):
    assert refused(CHUNKED + CHUNKS[name]) == 400


@pytest.mark.parametrize(
    "data", [b"GET / HT", GET[:-2], post(b"Content-Length: 9", body=b"abc"), CHUNKED, CHUNKED + b"5\r\nhel"]
)
def test_connection_that_ends_inside_a_message(data):
    told = server_events(data, end=True)
    assert told[-1] == ("error", 400)


def test_connection_that_ends_between_messages():
    assert server_events(GET, end=True)[1:] == [("closed",)]
    assert server_events(b"", end=True) == [("closed",)]


def test_what_is_odd_and_allowed():
    """RFC 9112 sections 2.2, 3.2, 5.1: an empty line before, absolute and asterisk form, no white space, much of it."""
    assert server_events(b"\r\n" + GET)[0][0] == "request"
    assert server_events(GET + b"\r\n" + GET)[1][0] == "request"
    assert server_events(b"GET HTTP://b:80?q HTTP/1.1\r\nHost: a\r\n\r\n")[0][2] == b"/?q"
    assert server_events(b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n")[0][2] == b"*"
    assert server_events(b"OPTIONS http://b HTTP/1.1\r\nHost: a\r\n\r\n")[0][2] == b"*"
    assert server_events(b"CONNECT [::1]:443 HTTP/1.1\r\nHost: a\r\n\r\n")[0][2] == b"[::1]:443"
    assert server_events(b"GET / HTTP/1.1\r\nHost:a\r\nX: \t a\tb \xff \t\r\n\r\n")[0][4][1] == (b"x", b"a\tb \xff")
    assert server_events(b"GET / HTTP/1.0\r\n\r\n", end=True)[0][3] == 10
    assert server_events(b"GET / HTTP/1.7\r\nHost:\r\n\r\n")[0][3] == 11
    chunked = post(b"Transfer-Encoding: Chunked", body=b"A;x\r\n0123456789\r\n000\r\n\r\n")
    assert server_events(chunked)[1] == ("data", b"0123456789")


def test_authority_of_the_target_counts_and_not_host():
    conn = ServerConnection()
    conn.receive_data(b"GET http://Real/ HTTP/1.1\r\nHost: other\r\n\r\n")
    assert conn.next_event().authority == b"Real"


@pytest.mark.parametrize(
    "pairs",
    [
        [("X", "a\r\nSet-Cookie: b=c")], [("X", "a\nY: b")], [("X", "a\r")], [("X", b"\r\n\r\n<html>")], [("X",
        "\0")], [("X", "\x7f")],
        [("X\r\nY", "a")], [("X ", "a")], [("X:", "a")], [("", "a")], [("X y", "a")], [("\xe4", "a")], [("X",
        "ä")], [("X", 5)], [(5, "X")],
        [("Content-Length", "5")], [("transfer-encoding", "chunked")], [(b"Connection", b"close")], [("Upgrade",
        "x")], [("Keep-Alive", "x")],
        [("A", "b"), ("X", "a\r\n")], [("X", "a\r\n b")],
    ],
)  # fmt: skip
def test_header_injection_is_impossible(pairs):
    conn = ServerConnection()
    conn.receive_data(GET)
    conn.next_event()
    for send in (
        lambda: conn.send_response(200, pairs),
        lambda: conn.start_response(200, pairs),
        lambda: conn.send_response(204, pairs, close=True),
        lambda: conn.send_informational(103, pairs),
        lambda: Prepared(pairs),
    ):
        with pytest.raises(LocalError):
            send()
    # Nothing has happened: the request can still be answered.
    assert conn.send_response(200).startswith(b"HTTP/1.1 200 OK\r\n")


def test_trailers_cannot_be_injected():
    conn = ServerConnection()
    conn.receive_data(GET)
    conn.next_event()
    conn.start_response(200)
    with pytest.raises(LocalError):
        conn.send_end([("X", "a\r\n\r\nHTTP/1.1 200 OK")])
    assert conn.send_end() == b"0\r\n\r\n"


def test_known_head_is_known_by_all_of_its_octets():
    """A head that came before is not read again only when it is the same to the last octet."""
    conn = ServerConnection()
    same = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\n"
    for _ in range(4):
        conn.receive_data(same + b"abc")
        assert conn.next_event().length == 3
        assert conn.next_event() == b"abc"
        conn.next_event()
        conn.send_response(200)
    assert conn._known
    conn.receive_data(same.replace(b"3", b"4") + b"abcd")
    assert conn.next_event().length == 4
    assert conn.next_event() == b"abcd"
    conn.next_event()
    conn.send_response(200)
    # The same field lines in HTTP/1.0 or without their end mean something else.
    conn.receive_data(same.replace(b"1.1", b"1.0") + b"abc")
    assert conn.next_event().version == 10
    assert conn.next_event() == b"abc"
    conn.next_event()
    assert b"Connection: close" in conn.send_response(200)


def with_what_is_known():
    """A connection on which a GET, and a POST, have come more than once: they are known again by their octets."""
    conn = ServerConnection()
    for data in (GET, GET, GET, post(b"Content-Length: 1", body=b"x"), post(b"Content-Length: 1", body=b"x"), GET, GET):
        conn.receive_data(data)
        request = conn.next_event()
        if request.length:
            assert conn.next_event() == b"x"
            conn.next_event()
        conn.send_response(200)
        assert conn.next_event() is NEED_DATA
    return conn


@pytest.mark.parametrize("kind", ["framing", "line", "chunk"])
def test_what_is_known_makes_nothing_good_that_is_malformed(kind):
    table = {"framing": FRAMING, "line": LINES, "chunk": CHUNKS}[kind]
    for name, data in table.items():
        data = CHUNKED + data if kind == "chunk" else data
        for start in (b"", GET, GET + GET):
            told = events(with_what_is_known(), start + data, answer=answer_ok, end=True)
            assert told == events(ServerConnection(), start + data, answer=answer_ok, end=True), name
            assert told[-1] == ("error", 400), name


def test_known_request_with_more_or_less_behind_it():
    for data in (
        GET + b"x",
        GET[:-1],
        GET + GET,
        b"\r\n" + GET,
        GET.replace(b"1.1", b"1.0"),
        GET.lower(),
        GET[:-2] + b"X: y\r\n\r\n",
    ):
        for cut in (None, 1, len(GET)):
            told = events(with_what_is_known(), data, cut, answer=answer_ok, end=True)
            assert told == events(ServerConnection(), data, answer=answer_ok, end=True), data
