# SPDX-License-Identifier: MIT
"""The opening handshake of WebSocket between our two ends, with RFC 6455's example, and with what is wrong."""

import pytest

from libos.http import websocket_handshake as handshake
from libos.http.client import ClientConnection
from libos.http.errors import LocalError, RemoteError
from libos.http.head import Headers
from libos.http.server import ServerConnection
from libos.http.websocket import TEXT
from tests.http.test_websocket import frame

KEY = b"dGhlIHNhbXBsZSBub25jZQ=="
ASK = {
    b"Host": b"a",
    b"Upgrade": b"websocket",
    b"Connection": b"keep-alive, Upgrade",
    b"Sec-WebSocket-Key": KEY,
    b"Sec-WebSocket-Version": b"13",
}


def asked(changes=(), line=b"GET /chat HTTP/1.1", rest=b""):
    fields = dict(ASK)
    fields.update(changes)
    conn = ServerConnection()
    conn.receive_data(
        line + b"\r\n" + b"".join(b"%s: %s\r\n" % pair for pair in fields.items() if pair[1]) + b"\r\n" + rest
    )
    return conn, conn.next_event()


def test_example_of_the_rfc_with_octets_that_came_early():
    conn, request = asked({b"Sec-WebSocket-Protocol": b"superchat, chat"}, rest=frame(TEXT, b"early"))
    protocol, pairs = handshake.answer(request, (b"chat",))
    sent = conn.send_upgrade(handshake.PROTOCOL, pairs)
    assert protocol == b"chat"
    assert sent == (
        b"HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"
        b"Sec-WebSocket-Protocol: chat\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
    )
    assert conn.is_switched
    assert conn.take_rest() == frame(TEXT, b"early")


def test_our_two_ends():
    client, server = ClientConnection(), ServerConnection()
    key, pairs = handshake.ask(lambda count: bytes(range(count)), (b"x", b"y"))
    server.receive_data(client.start_request("GET", "/", "a", pairs, upgrade=handshake.PROTOCOL))
    protocol, answer = handshake.answer(server.next_event(), (b"y",))
    client.receive_data(server.send_upgrade(handshake.PROTOCOL, answer) + b"rest")
    response = client.next_event()
    assert handshake.check(response, key, (b"x", b"y")) == protocol == b"y"
    assert client.is_switched
    assert client.take_rest() == b"rest"
    for bad_key, protocols in ((KEY, (b"x", b"y")), (key, ()), (key, (b"x",))):
        with pytest.raises(RemoteError):
            handshake.check(response, bad_key, protocols)


@pytest.mark.parametrize(
    ("changes", "line", "status"),
    [
        ({}, b"POST /chat HTTP/1.1", 400),
        ({}, b"GET /chat HTTP/1.0", 400),
        ({b"Content-Length": b"1"}, b"GET /chat HTTP/1.1", 400),
        ({b"Upgrade": b"h2c"}, b"GET /chat HTTP/1.1", 426),
        ({b"Upgrade": b""}, b"GET /chat HTTP/1.1", 426),
        ({b"Connection": b"keep-alive"}, b"GET /chat HTTP/1.1", 400),
        ({b"Sec-WebSocket-Version": b"8"}, b"GET /chat HTTP/1.1", 426),
        ({b"Sec-WebSocket-Version": b""}, b"GET /chat HTTP/1.1", 426),
        ({b"Sec-WebSocket-Key": b""}, b"GET /chat HTTP/1.1", 400),
        ({b"Sec-WebSocket-Key": b"short"}, b"GET /chat HTTP/1.1", 400),
        ({b"Sec-WebSocket-Key": b"!" * 22 + b"=="}, b"GET /chat HTTP/1.1", 400),
        ({b"Sec-WebSocket-Key": KEY[:-2] + b"AA"}, b"GET /chat HTTP/1.1", 400),
        ({b"Origin": b"http://evil"}, b"GET /chat HTTP/1.1", 403),
    ],
)
def test_request_that_is_refused(changes, line, status):
    _, request = asked(changes, line)
    with pytest.raises(RemoteError) as error:
        handshake.answer(request, (), (b"http://good",))
    assert error.value.status == status


def test_origin_that_may_connect_and_none_at_all():
    assert handshake.answer(asked({b"Origin": b"http://good"})[1], (), (b"http://good",))
    assert handshake.answer(asked()[1], (), (b"http://good",))


def test_upgrade_that_was_not_offered():
    conn, _ = asked()
    with pytest.raises(LocalError):
        conn.send_upgrade(b"h2c")
    conn, _ = asked({b"Connection": b"keep-alive"})
    with pytest.raises(LocalError):
        conn.send_upgrade(handshake.PROTOCOL)
    assert conn.send_response(200)


class Answer:
    def __init__(self, status, **pairs):
        self.status = status
        self.headers = Headers([(name.replace("_", "-").encode(), value) for name, value in pairs.items()])


def test_answer_that_is_no_websocket():
    key, _ = handshake.ask(bytes)
    good = handshake._accept(key)
    assert handshake.check(Answer(101, sec_websocket_accept=good), key) is None
    for bad in (
        Answer(200, sec_websocket_accept=good),
        Answer(101),
        Answer(101, sec_websocket_accept=b"x"),
        Answer(101, sec_websocket_accept=good, sec_websocket_extensions=b"permessage-deflate"),
    ):
        with pytest.raises(RemoteError):
            handshake.check(bad, key)


def test_client_refuses_101_that_it_did_not_ask_for():
    client = ClientConnection()
    client.send_request("GET", "/", "a")
    client.receive_data(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n")
    with pytest.raises(RemoteError):
        client.next_event()
    client = ClientConnection()
    client.start_request("GET", "/", "a", upgrade="websocket")
    client.receive_data(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n")
    with pytest.raises(RemoteError):
        client.next_event()
