# SPDX-License-Identifier: MIT
"""A server that says anything to the HTTP client: it gets a response or a TransferError, and nothing is left.

In the suite for MIRAGE_PY_FUZZ_SECONDS. A failure names its seed: `attack(SEED)` is the same again.
"""

from __future__ import annotations

import asyncio
import base64
import gzip
import hashlib
import os
import random
import time
import zlib

import pytest

from libos.hal.inflate import Inflate
from libos.http.errors import LocalError
from libos.web.client import HttpClient
from libos.web.client_websocket import WebSockets
from libos.web.cookie_jar import CookieJar
from libos.web.failure import TransferError
from tests.web.scripted import answer
from tests.web.test_client_websocket import Random
from tests.web.virtual import Clock, Flow, Net, run, settle

SECONDS = float(os.environ.get("MIRAGE_PY_FUZZ_SECONDS", "1.5"))
TEXT = b"".join(b"line %d\n" % number for number in range(300))
SEEDS = [
    answer(b"hello"),
    answer(gzip.compress(TEXT, mtime=0), Content_Encoding="gzip"),
    answer(zlib.compress(TEXT), Content_Encoding="deflate"),
    answer(gzip.compress(b"a", mtime=0) * 3, Content_Encoding="gzip"),
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;x=1\r\nhello\r\n3\r\nyou\r\n0\r\nX-Sum: 1\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Encoding: gzip\r\n\r\n1c\r\n"
    + gzip.compress(b"12345678", mtime=0)
    + b"\r\n0\r\n\r\n",
    b"HTTP/1.0 200 OK\r\n\r\nuntil the end",
    b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early\r\nLink: x\r\n\r\n" + answer(b"x", Set_Cookie="a=b; Max-Age=5"),
    answer(b"", "302 Found", Location="/other"),
    answer(b"", "307 Temporary Redirect", Location="//b.test/x?y#z"),
    answer(b"", "204 No Content"),
    answer(b"", "401 Unauthorized", WWW_Authenticate="Basic"),
    b"HTTP/1.1 101 Switching\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Accept: %s\r\n\r\n\x81\x05hello\x89\x00\x82\x7e\x01\x00" + bytes(256) + b"\x88\x02\x03\xe8",
]
ODD = [
    b"\r\n",
    b"\n",
    b"\0",
    b"Content-Length: 5\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"0\r\n\r\n",
    b"\xff" * 20,
    b" ",
    b":",
]


def damaged(rng: random.Random, data: bytes) -> bytes:
    out = bytearray(data)
    for _ in range(rng.choice((0, 1, 1, 2, 5))):
        at = rng.randrange(len(out) + 1)
        how = rng.randrange(6)
        if how == 0 and at < len(out):
            out[at] ^= 1 << rng.randrange(8)
        elif how == 1:
            out[at:at] = rng.choice(ODD)
        elif how == 2:
            del out[at : at + rng.randrange(1, 20)]
        elif how == 3:
            out[at:at] = rng.randbytes(rng.randrange(1, 40))
        elif how == 4:
            del out[at:]
        else:
            other = rng.choice(SEEDS)
            out[at:] = other[rng.randrange(len(other)) :]
    return bytes(out)


def accept(request: bytes) -> bytes:
    """RFC 6455 section 4.2.2."""
    key = request.partition(b"Sec-WebSocket-Key: ")[2].partition(b"\r\n")[0]
    return base64.b64encode(hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())


def attack(seed: int) -> None:
    """Ten requests of a client whose servers are wrong in ways that the seed says."""
    rng = random.Random(seed)

    async def server(flow: Flow) -> None:
        while data := await flow.read():
            while b"\r\n\r\n" not in data:
                more = await flow.read()
                if not more:
                    return
                data += more
            reply = rng.choice(SEEDS)
            if b"%s" in reply:
                reply = reply.replace(b"%s", accept(data))
            reply = damaged(rng, reply)
            piece = rng.choice((1, 3, 100, 1 << 20))
            for start in range(0, len(reply), piece):
                await flow.write(reply[start : start + piece])
                if rng.random() < 0.01:
                    await asyncio.sleep(rng.choice((0.1, 40)))
            if rng.random() < 0.3:
                if rng.random() < 0.3:
                    flow.abort()
                return

    async def one(client: HttpClient) -> None:
        kind = rng.randrange(5)
        try:
            if kind == 0:
                async with await client.websocket("ws://a.test/", max_message_bytes=1000, ping_ms=2000) as ws:
                    async for message in ws:
                        assert len(message) <= 1000
            elif kind == 1:
                response = await client.post("http://a.test/", body=rng.randbytes(rng.choice((0, 10, 100000))))
                async for piece in response:
                    assert 0 < len(piece) <= 65536
            else:
                method = rng.choice(("GET", "HEAD", "PUT"))
                async with await client.request(method, "http://a.test/", expect=rng.random() < 0.2) as response:
                    if rng.random() < 0.8:
                        await response.read()
        except (TransferError, LocalError):
            pass

    async def main() -> None:
        net = Net({("a.test", 80): server, ("b.test", 80): server}, room=rng.choice((100, 65536)))
        client = HttpClient(
            net, net, Clock(), inflate=Inflate(), cookies=CookieJar(), websockets=WebSockets(Random()), connections=4
        )
        client.head_ms = client.body_ms = 5000
        for _ in range(5):
            await asyncio.gather(one(client), one(client))
        await client.close()
        await settle(1)
        assert net.open() == 0
        assert len(client.pool) == 0
        assert client.pool._waiters == []

    run(main())


def test_server_that_says_anything() -> None:
    until = time.monotonic() + SECONDS
    seed = random.randrange(1 << 32)
    while time.monotonic() < until:
        seed += 1
        try:
            attack(seed)
        except BaseException as error:
            raise AssertionError(f"attack({seed})") from error


@pytest.mark.nightly
def test_server_that_says_anything_for_long() -> None:
    for seed in range(5000):
        try:
            attack(seed)
        except BaseException as error:
            raise AssertionError(f"attack({seed})") from error
