# SPDX-License-Identifier: MIT
"""Reads damaged HTTP, WebSocket frames and forms, and prints what comes of each: the same lines on both interpreters.

Arguments: how many cases, and the seed. Octets are random, but not by the interpreter's own generator.
"""

from binascii import hexlify

import _mirage

from libos.http import (
    conditional,
    connection,
    cookies,
    dates,
    media,
    multipart_writer,
    paths,
    query,
    ranges,
    sse,
    url,
    utf8,
    websocket,
    websocket_handshake,
)
from libos.http.client import ClientConnection
from libos.http.errors import LocalError, RemoteError
from libos.http.head import Headers, Prepared
from libos.http.multipart import FORM_END, PART_END, MultipartReader, Part
from libos.http.server import ServerConnection
from libos.http.sha1 import sha1
from libos.http.sse_reader import EventReader


class Random:
    """xorshift64*."""

    def __init__(self, seed):
        self.state = seed * 0x9E3779B97F4A7C15 % (1 << 64) or 1

    def below(self, limit):
        x = self.state
        x ^= x >> 12
        x ^= x << 25 & 0xFFFFFFFFFFFFFFFF
        x ^= x >> 27
        self.state = x
        return (x * 0x2545F4914F6CDD1D >> 33 & 0x3FFFFFFF) % limit

    def choice(self, values):
        return values[self.below(len(values))]

    def octets(self, count):
        return bytes([self.below(256) for _ in range(count)])


MESSAGES = [
    b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    b'POST /x?y=z HTTP/1.1\r\nHost: a:80\r\nContent-Length: 5\r\nCookie: a=b; c="d"\r\n\r\nhello',
    b"POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n3;a=b\r\nabc\r\n0\r\nT: x\r\n\r\n",
    b"GET http://b/ HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
    b'HEAD / HTTP/1.0\r\nConnection: keep-alive\r\nIf-None-Match: "x", W/"y"\r\nRange: bytes=0-4\r\n\r\n',
]
ANSWERS = [
    b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    b"HTTP/1.1 103 Early\r\n\r\nHTTP/1.0 404 No\r\n\r\nall of it",
    b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\nrest",
]
FORM = b'--XX\r\nContent-Disposition: form-data; name="a"; filename="b"\r\n\r\none\r\n--XX\r\nX: y\r\n\r\n\r\n--XX--'
PIECES = [
    b"\r\n", b"\r", b"\n", b" ", b"\t", b":", b"\0", b"0", b"5", b"\r\n\r\n", b"Content-Length: 5\r\n",
    b"Host: b\r\n", b";", b",", b"%2e",
    b"Transfer-Encoding: chunked\r\n", b"\x7f", b"\xff", b"\xc3\xa4", b"\xed\xa0", b'"', b"\\",
    b"GET /2 HTTP/1.1\r\nHost: c\r\n\r\n", b"..",
    b"Connection: close\r\n", b"--XX", b"=", b"&", b"+", b"q=0.5",
]  # fmt: skip


def damaged(rng, data):
    data = bytes(data)
    for _ in range(rng.below(5)):
        at = rng.below(len(data) + 1)
        kind = rng.below(4)
        if kind == 0:
            data = data[:at] + rng.choice(PIECES) + data[at:]
        elif kind == 1:
            data = data[:at] + data[at + 1 + rng.below(6) :]
        elif kind == 2:
            data = data[:at] + rng.octets(1) + data[at + 1 :]
        else:
            data = data[:at] + rng.choice(PIECES) + data[at + 2 :]
    return data


def shown(value):
    """A value as text that both interpreters write alike."""
    if isinstance(value, (bytes, bytearray)):
        return hexlify(value).decode()
    if isinstance(value, str):
        return "'" + hexlify(value.encode()).decode()
    if isinstance(value, (list, tuple)):
        return "(" + " ".join([shown(item) for item in value]) + ")"
    if isinstance(value, dict):
        return shown(sorted(value.items()))
    if isinstance(value, Headers):
        return shown(value.pairs)
    if value is None or isinstance(value, (bool, int)):
        return str(value)
    fields = value.__dict__
    return type(value).__name__ + shown([fields[name] for name in sorted(fields)])


def tried(function, *args):
    """What the function returns, or which of the errors it may raise."""
    try:
        return shown(function(*args))
    except RemoteError as error:
        return "RemoteError %d %s" % (error.status, error.reason)
    except LocalError:
        return "LocalError"
    except ValueError:
        return "ValueError"


def read_all(conn, data, cut, answer=None):
    lines = []
    at = 0
    while at <= len(data):
        conn.receive_data(data[at : at + cut])  # at last b"": the end
        at += cut
        while True:
            try:
                event = conn.next_event()
            except RemoteError as error:
                lines.append("error %d %s" % (error.status, error.reason))
                return lines
            if event is connection.PAUSED and answer is not None and conn.can_respond:
                lines.append(shown(answer(conn)))
                continue
            if event in (connection.NEED_DATA, connection.PAUSED, None):
                break
            lines.append(shown(event))
            if event is connection.CLOSED or isinstance(event, websocket.Close):
                return lines
    return lines


def answer(conn):
    return conn.send_response(200, [("X-Y", "z")], b"body")


def requests(rng):
    return read_all(
        ServerConnection(), damaged(rng, rng.choice(MESSAGES) + rng.choice(MESSAGES)), 1 + rng.below(40), answer
    )


def responses(rng):
    conn = ClientConnection()
    conn.start_request(rng.choice([b"GET", b"HEAD"]), "/", "a", upgrade=rng.choice([None, "x"]))
    return read_all(conn, damaged(rng, rng.choice(ANSWERS)), 1 + rng.below(40))


def frames(rng):
    is_client = rng.below(2) == 1
    ws = websocket.WebSocket(is_client, lambda count: b"\x12\x34\x56\x78", 300)
    other = websocket.WebSocket(not is_client, lambda count: b"\x9a\xbc\xde\xf0")
    data = other.send("gr\xfc\xdfe" * rng.below(9)) + other.send(rng.octets(rng.below(300))) + other.send_ping(b"?")
    data += (
        other.send_fragment(b"\xc3", websocket.TEXT, False)
        + other.send_fragment(b"\xbc", 0)
        + other.send_close(4000, "bye")
    )
    if rng.below(2):
        data = damaged(rng, data)
    return read_all(ws, data, 1 + rng.below(70)) + [shown(ws.take_output())]


def forms(rng):
    reader = MultipartReader(b"XX", 4)
    data = damaged(rng, FORM)
    cut = 1 + rng.below(30)
    lines = []
    try:
        for at in range(0, len(data) + cut, cut):
            reader.receive_data(data[at : at + cut])
            while True:
                event = reader.next_event()
                if event is None:
                    break
                lines.append(
                    "part" if event in (FORM_END, PART_END) else shown(event.name if isinstance(event, Part) else event)
                )
    except RemoteError as error:
        lines.append("error %d %s" % (error.status, error.reason))
    return ["".join(lines)]


def events(rng):
    reader = EventReader(50)
    data = damaged(rng, sse.event("a\nb", "n", "1", 5) + b"data\r\ndata: x\r\r: c\n\n")
    lines = []
    for at in range(0, len(data), 3):
        reader.receive_data(data[at : at + 3])
        lines.append(tried(reader.next_event))
    return lines


def values(rng):
    def of(*samples):
        return damaged(rng, rng.choice(samples))

    headers = Headers(
        [
            (b"if-none-match", of(b'"x", W/"y"', b"*")),
            (
                b"if-modified-since",
                of(b"Sun, 06 Nov 1994 08:49:37 GMT", b"Sunday, 06-Nov-94 08:49:37 GMT", b"Sun Nov  6 08:49:37 1994"),
            ),
            (b"cookie", of(b'a=1; b="2"; c=d=e')),
            (b"if-range", of(b'"x"')),
        ]
    )
    text = of(b"http://u@Example.com:81/a/../b%20c?x#y", b"//h/x", b"../x?y", b"")
    octets = rng.octets(rng.below(12)) + of(b"\xf0\x9f\x98\x80\xe2\x82\xac\xc3\xa4a")
    kind = of(b'text/html; charset="utf-8"; a=b')
    return [
        tried(conditional.evaluate, b"GET", headers, b'"x"', 784111777),
        tried(conditional.range_applies, headers, b'"x"', 784111777),
        tried(cookies.parse, headers),
        tried(cookies.build, of(b"name"), of(b"value")),
        tried(dates.parse, headers.get(b"if-modified-since")),
        tried(dates.format, rng.below(1 << 30) * 250),
        tried(media.parse, kind),
        tried(media.weights, of(b"gzip;q=0.5, br, *;q=0")),
        tried(media.preferred_encoding, of(b"gzip;q=0.5, br, *;q=0"), (b"br", b"gzip", b"identity")),
        tried(paths.segments, of(b"/a/b%20c/../%2e", b"/x")),
        tried(query.parse, of(b"a=b&c=%C3%A4+d&e")),
        tried(query.build, [("a b", octets)]),
        tried(ranges.parse, of(b"bytes=0-4,5-9", b"bytes=-5", b"bytes=7-"), 10),
        tried(url.parse, text),
        tried(lambda: str(url.join(url.parse("http://a/b/c"), text))),
        tried(utf8.scan_utf8, octets, 0, len(octets)),
        tried(sha1, octets),
        tried(lambda: Prepared([(of(b"Name"), of(b"value"))]).octets),
        tried(lambda: multipart_writer.build(rng.octets, [('n"\n', b"v", "f", "text/plain")])),
        tried(lambda: websocket_handshake.ask(rng.octets, (b"x",))),
    ]


def main(count, seed):
    rng = Random(seed)
    kinds = [requests, responses, frames, forms, events, values]
    for number in range(count):
        for kind in kinds:
            for line in kind(rng):
                print(number, kind.__name__, line)


main(*[int(word) for word in _mirage.args()])
