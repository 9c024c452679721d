# SPDX-License-Identifier: MIT
"""A server on the runtime under damaged requests and frames from several sides: no failure, no growth, others served.

What is sent is tests/fuzz/test_http.py's; MIRAGE_PY_SIEGE_SECONDS says how long, and the seed is printed.
"""

from __future__ import annotations

import os
import random
import socket
import struct
import threading
import time
from pathlib import Path

import pytest

from tests.boot.guests import Guest
from tests.fuzz.test_http import REQUESTS, damaged, frames
from tests.web.test_on_runtime import PORT, built, curl, guest, heap, metric

__all__ = ["built", "guest"]  # fixtures

pytestmark = [pytest.mark.build, pytest.mark.slow]

SECONDS = float(os.environ.get("MIRAGE_PY_SIEGE_SECONDS", "15"))
SIDES = 4
UPGRADE = (
    b"GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
LARGE = b"GET /large/100000 HTTP/1.1\r\nHost: a\r\n\r\n"
ECHO = b"POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"


def sample(rng: random.Random) -> bytes:
    kind = rng.randrange(10)
    if kind < 5:
        return b"".join(damaged(rng, rng.choice([*REQUESTS, ECHO])) for _ in range(rng.randrange(1, 5)))
    if kind == 5:
        return UPGRADE + damaged(rng, frames(rng))
    if kind == 6:
        return UPGRADE + frames(rng) * 50
    if kind == 7:
        return damaged(rng, LARGE * 30)
    if kind == 8:
        return rng.randbytes(rng.randrange(300))
    return b"POST /count HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n" + rng.randbytes(rng.randrange(3000))


def attack(address: tuple[str, int], seed: int, end: float) -> None:
    rng = random.Random(seed)
    while time.monotonic() < end:
        try:
            with socket.create_connection(address, timeout=3) as peer:
                assault(peer, rng)
        except OSError:
            pass  # it is the server's good right


def assault(peer: socket.socket, rng: random.Random) -> None:
    data = sample(rng)
    at = 0
    while at < len(data):
        size = rng.choice([1, 3, 20, 1000, 100_000])
        peer.sendall(data[at : at + size])
        at += size
    leave = rng.randrange(4)
    if leave == 0:
        peer.shutdown(socket.SHUT_WR)
    if leave < 3:
        peer.settimeout(rng.choice([0.01, 0.1, 0.5]))
        while peer.recv(65536) and rng.random() < 0.95:
            pass
    elif rng.random() < 0.5:
        # A reset, in the middle of whatever the server does.
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def test_siege(guest: Guest, tmp_path: Path) -> None:
    for _ in range(20):
        curl(guest, "/hello")
    before = heap(guest)
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    end = time.monotonic() + SECONDS
    address = (guest.host, guest.ports[PORT])
    sides = [threading.Thread(target=attack, args=(address, seed + side, end)) for side in range(SIDES)]
    for side in sides:
        side.start()
    while any(side.is_alive() for side in sides):
        assert curl(guest, "/hello") == "hello, world\n"
        time.sleep(0.2)
    deadline = time.monotonic() + 60
    while metric(guest, "open_connections") > 1:
        assert time.monotonic() < deadline, "connections stay"
        time.sleep(0.5)
    assert metric(guest, "malformed") > 100
    assert metric(guest, "failures") == 0, guest.text()
    assert "Traceback" not in guest.text()
    assert heap(guest) - before < 64 << 10
