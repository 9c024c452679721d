# SPDX-License-Identifier: MIT
"""HTTP's readers and WebSocket's take any octets: what comes whole means what comes in pieces, and nothing else raises.

In the suite each is tried for MIRAGE_PY_FUZZ_SECONDS, in make nightly MIRAGE_PY_FUZZ_STEPS times: a million. The seeds,
and how they are damaged, are those of tests/app/programs/http_reads.py, which compares the interpreters. A failure
prints its seed.
"""

import os
import random
import time

import pytest

from libos.http import connection
from libos.http.client import ClientConnection
from libos.http.errors import RemoteError
from libos.http.limits import Limits
from libos.http.multipart import MultipartReader
from libos.http.server import ServerConnection
from libos.http.websocket import Close, WebSocket

SECONDS = float(os.environ.get("MIRAGE_PY_FUZZ_SECONDS", "1.5"))
STEPS = int(os.environ.get("MIRAGE_PY_FUZZ_STEPS", "1_000_000"))
MIN_RUNS = 500
MASK = b"\x12\x34\x56\x78"

REQUESTS = [
    b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nX: y\r\n\r\nhello",
    b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n3;a=b\r\nabc\r\n0\r\nT: x\r\n\r\n",
    b"GET http://b/ HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\nUpgrade: x\r\n\r\n",
    b"CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\nrest",
    b"HEAD / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
    b"PUT / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\nabc",
]
RESPONSES = [
    b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nT: x\r\n\r\n",
    b"HTTP/1.1 103 Early\r\n\r\nHTTP/1.0 404 No\r\n\r\nall of it",
    b"HTTP/1.1 101 Switching\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\nrest",
    b"HTTP/1.1 204 No\r\n\r\n",
]
FORM = b'--XX\r\nContent-Disposition: form-data; name="a"; filename="b"\r\n\r\none\r\n--XX\r\nX: y\r\n\r\n\r\n--XX--'
PIECES = [
    b"\r\n", b"\r", b"\n", b" ", b"\t", b":", b"\0", b"0", b"5", b"\r\n\r\n", b"Content-Length: 5\r\n",
    b"Host: b\r\n", b";", b",",
    b"Transfer-Encoding: chunked\r\n", b"\x7f", b"\xff", b"--XX", b"GET /2 HTTP/1.1\r\nHost: c\r\n\r\n",
    b"Connection: close\r\n",
    b"--", b'"', b"0\r\n\r\n", b"\x80", b"\x88\x80", b"f" * 20, b"Content-Disposition: form-data; name=x\r\n",
]  # fmt: skip


def limits():
    made = Limits()
    made.line_bytes, made.head_bytes, made.fields, made.body_bytes = 60, 200, 6, 40
    made.chunk_line_bytes, made.extension_bytes, made.drain_bytes = 12, 20, 20
    return made


def server(rng):
    return ServerConnection(limits())


def client(rng):
    conn = ClientConnection(limits())
    conn.start_request("HEAD" if rng.random() < 0.1 else "GET", "/", "a", upgrade="x" if rng.random() < 0.3 else None)
    return conn


def form(rng):
    return MultipartReader(b"XX", 4)


def frames(rng):
    data = b""
    other = WebSocket(True, lambda count: MASK)
    for _ in range(rng.randrange(1, 5)):
        kind = rng.randrange(5)
        if kind == 0:
            data += other.send("grüße" * rng.randrange(30))
        elif kind == 1:
            data += other.send(rng.randbytes(rng.choice([0, 1, 125, 126, 200])))
        elif kind == 2:
            data += other.send_ping(rng.randbytes(3))
        elif kind == 3:
            data += other.send_fragment(b"\xc3", 1, False) + other.send_ping() + other.send_fragment(b"\xbc", 0)
        else:
            data += WebSocket(True, lambda count: MASK).send_close(4000, "bye")
    return data


KINDS = {
    "requests": (server, lambda rng: b"".join(rng.choices(REQUESTS, k=rng.randrange(1, 4)))),
    "responses": (client, lambda rng: rng.choice(RESPONSES)),
    "forms": (form, lambda rng: FORM),
    "frames": (lambda rng: WebSocket(False, max_message_bytes=250), frames),
}


def told(conn, data, cuts):
    """Everything that conn tells, content merged; never more than an error of the peer's."""
    found = []
    pieces = [data[a:b] for a, b in zip([0, *cuts], [*cuts, len(data)], strict=True) if a < b]
    for piece in [*pieces, b""]:
        conn.receive_data(piece)
        while True:
            try:
                event = conn.next_event()
            except RemoteError:
                # Which of two faults is named may depend on what had come.
                return [*without_content(found), "error"]
            if event is connection.PAUSED and getattr(conn, "can_respond", False):
                assert conn.send_response(200)
                continue
            if event is None or event in (connection.NEED_DATA, connection.PAUSED):
                break
            if isinstance(event, Close):
                return [*found, event.code]
            if event is connection.CLOSED:
                return [*found, "closed"]
            if isinstance(event, (bytes, str)):
                if not isinstance(conn, WebSocket) and found and isinstance(found[-1], bytes):
                    found[-1] += event
                else:
                    found.append(event)
            else:
                found.append(type(event).__name__)
    return found


def without_content(found):
    """Before an error nobody counts on content that came with it."""
    return found[:-1] if found and isinstance(found[-1], bytes) else found


def damaged(rng, data):
    for _ in range(rng.choice([0, 1, 1, 2, 3])):
        at = rng.randrange(len(data) + 1)
        cut = rng.choice([0, 0, 1, 2, 9])
        more = rng.choice(PIECES) if rng.random() < 0.6 else rng.randbytes(rng.randrange(2))
        data = data[:at] + more + data[at + cut :]
    return data


def fuzz(name, goes_on):
    make, sample = KINDS[name]
    seed = random.randrange(1 << 32)
    rng = random.Random(seed)
    runs = errors = 0
    data = b""
    try:
        while goes_on(runs):
            data = damaged(rng, sample(rng)) if rng.random() < 0.98 else rng.randbytes(rng.randrange(60))
            state = rng.getstate()
            whole = told(make(rng), data, [])
            rng.setstate(state)
            conn = make(rng)
            cuts = sorted(rng.sample(range(len(data) + 1), min(len(data), rng.randrange(12))))
            assert told(conn, data, cuts) == whole
            assert len(conn._buf) <= len(data) + 2
            errors += whole[-1:] in (["error"], [1002])
            runs += 1
    except Exception as error:
        raise AssertionError(f"{name}: seed {seed}, run {runs}: {data!r}") from error
    assert 0 < errors < runs
    return runs


@pytest.mark.parametrize("name", KINDS)
def test_any_octets_whole_and_in_pieces(name):
    end = time.monotonic() + SECONDS
    fuzz(name, lambda runs: runs < MIN_RUNS or time.monotonic() < end)


@pytest.mark.nightly
@pytest.mark.parametrize("name", KINDS)
def test_any_octets_a_million_times(name):
    start = time.monotonic()
    runs = fuzz(name, lambda runs: runs < STEPS)
    print(f"{name}: {runs} runs, {time.monotonic() - start:.0f} s")
