# SPDX-License-Identifier: MIT
"""h11 (PyPI) as the other end, and as a second reader of what may be damaged: it is never stricter where it matters."""

import random

import h11
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from libos.http.client import ClientConnection
from libos.http.errors import RemoteError
from libos.http.server import ServerConnection
from tests.http.exchange import GET, events

names = st.text("abcdefghijklmnopqrstuvwxyz-X", min_size=1, max_size=8).map(lambda name: "x-" + name)
values = st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=12)
pairs = st.lists(st.tuples(names, values), max_size=4)
bodies = st.lists(st.binary(max_size=60), max_size=5)


def h11_events(conn, data, cut):
    told = []
    for at in range(0, len(data), cut):
        conn.receive_data(data[at : at + cut])
        while (event := conn.next_event()) not in (h11.NEED_DATA, h11.PAUSED):
            told.append(event)
            if isinstance(event, h11.EndOfMessage):
                return told
    return told


def content(told):
    return b"".join(bytes(event.data) for event in told if isinstance(event, h11.Data))


@given(pairs, bodies, st.booleans(), pairs, st.integers(1, 60))
@settings(max_examples=80)
def test_h11_reads_what_we_send(fields, parts, chunked, trailers, cut):
    whole = b"".join(parts)
    server, conn = h11.Connection(h11.SERVER), ClientConnection()
    sent = conn.start_request("POST", "/a", "host", fields, None if chunked else len(whole), chunked)
    sent += b"".join(conn.send_data(part) for part in parts) + conn.send_end(trailers)
    told = h11_events(server, sent, cut)
    assert content(told) == whole
    assert [pair for pair in told[0].headers.raw_items() if pair[0].startswith(b"x-")] == [
        (n.encode(), v.encode()) for n, v in fields
    ]
    assert len(list(told[-1].headers)) == (len(trailers) if chunked else 0)
    answer = ServerConnection()
    answer.receive_data(sent)
    answer.next_event()
    if chunked or whole:
        while isinstance(answer.next_event(), bytes):
            pass
    reply = answer.start_response(200, fields, None if chunked else len(whole))
    reply += b"".join(answer.send_data(part) for part in parts) + answer.send_end(trailers)
    reader = h11.Connection(h11.CLIENT)
    reader.send(h11.Request(method="GET", target="/", headers=[("host", "a")]))
    reader.send(h11.EndOfMessage())
    told = h11_events(reader, reply, cut)
    assert content(told) == whole
    assert isinstance(told[-1], h11.EndOfMessage)


@given(pairs, bodies, st.booleans(), st.integers(1, 60))
@settings(max_examples=80)
def test_we_read_what_h11_sends(fields, parts, chunked, cut):
    whole = b"".join(parts)
    framing = ("transfer-encoding", "chunked") if chunked else ("content-length", str(len(whole)))
    sender = h11.Connection(h11.CLIENT)
    sent = sender.send(h11.Request(method="POST", target="/a", headers=[("host", "a"), *fields, framing]))
    for part in parts:
        sent += sender.send(h11.Data(data=part))
    sent += sender.send(h11.EndOfMessage())
    told = events(ServerConnection(), sent, cut)
    assert b"".join(event[1] for event in told if event[0] == "data") == whole
    assert [pair for pair in told[0][4] if pair[0].startswith(b"x-")] == [
        (n.lower().encode(), v.encode()) for n, v in fields
    ]


SEEDS = [
    GET,
    b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nX: y\r\n\r\nhello",
    b"POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n3;a=b\r\nabc\r\n0\r\nT: x\r\n\r\n",
    b"GET http://b/ HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\nUpgrade: x\r\n\r\n",
    b"HEAD / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
]
PIECES = [
    b"\r\n", b"\r", b"\n", b" ", b"\t", b":", b"\0", b"0", b"5", b"\r\n\r\n", b"Content-Length: 5\r\n",
    b"Content-Length: 6\r\n",
    b"Transfer-Encoding: chunked\r\n", b"Transfer-Encoding: gzip\r\n", b"Host: b\r\n", b";", b",", b"\x0b",
    b"\xff", b"chunked", b"HTTP/1.0",
    b"GET /2 HTTP/1.1\r\nHost: c\r\n\r\n", b"Connection: close\r\n", b"Expect: 100-continue\r\n", b"0\r\n\r\n", b"x",
]  # fmt: skip


def damaged(rng):
    data = bytearray(rng.choice(SEEDS))
    for _ in range(rng.choice([0, 1, 1, 2, 3, 5])):
        at = rng.randrange(len(data) + 1)
        kind = rng.randrange(4)
        if kind == 0:
            data[at:at] = rng.choice(PIECES)
        elif kind == 1:
            del data[at : at + rng.choice([1, 1, 2, 5, 20])]
        elif kind == 2:
            data[at : at + 1] = bytes([rng.randrange(256)])
        else:
            data[at : at + 2] = rng.choice(PIECES)
    return bytes(data)


def by_h11(data):
    """(method, target, content) of the first request, or None when h11 refuses it or it is not complete."""
    conn = h11.Connection(h11.SERVER)
    told = []
    try:
        told = h11_events(conn, data, len(data) or 1)
    except h11.RemoteProtocolError:
        return None
    if not told or not isinstance(told[-1], h11.EndOfMessage):
        return None
    return told[0].method, told[0].target, content(told)


def by_us(data):
    conn = ServerConnection()
    conn.receive_data(data)
    try:
        request = conn.next_event()
        if not hasattr(request, "method"):
            return None
        whole = b""
        if request.length != 0:
            while isinstance(event := conn.next_event(), bytes):
                whole += event
            if not hasattr(event, "trailers"):
                return None
    except RemoteError:
        return None
    return request.method, request.target, whole


@pytest.mark.parametrize("seed", range(4))
def test_damaged_requests_are_never_read_in_another_way_than_h11_does(seed):
    """What we take h11 takes too, as the same message: method, content and where it ends. We may refuse more."""
    rng = random.Random(seed)
    taken = 0
    for _ in range(2500):
        data = damaged(rng)
        # An empty line before the request is the one thing that we take and h11 does not (RFC 9112 section 2.2).
        ours, theirs = by_us(data), by_h11(data[2:] if data.startswith(b"\r\n") else data)
        if ours is not None:
            assert theirs is not None, data
            assert (ours[0], ours[2]) == (theirs[0], theirs[2]), data
            taken += 1
    assert taken > 100
