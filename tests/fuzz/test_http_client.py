# SPDX-License-Identifier: MIT
"""The HTTP client and a server that says anything: a response or a TransferError, and no connection is left behind.

In the suite for MIRAGE_PY_FUZZ_SECONDS, in make nightly MIRAGE_PY_FUZZ_STEPS / 10 times. A failure prints its seed.
"""

from __future__ import annotations

import gzip
import os
import random
import time
import zlib
from collections.abc import Callable

import pytest

from libos.hal.inflate import Inflate
from libos.web.client import HttpClient
from libos.web.cookie_jar import CookieJar
from libos.web.failure import TransferError
from tests.fuzz.test_http import PIECES, RESPONSES
from tests.web.scripted import Script
from tests.web.virtual import Clock, Net, run, settle

SECONDS = float(os.environ.get("MIRAGE_PY_FUZZ_SECONDS", "1.5"))
STEPS = int(os.environ.get("MIRAGE_PY_FUZZ_STEPS", "1_000_000")) // 10
MIN_RUNS = 100
TEXT = b"text " * 50


def coded(coding: bytes, data: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Encoding: %s\r\nContent-Length: %d\r\n\r\n" % (coding, len(data)) + data


ANSWERS = [
    *RESPONSES,
    coded(b"gzip", gzip.compress(TEXT)),
    coded(b"deflate", zlib.compress(TEXT)),
    b"HTTP/1.1 302 Found\r\nLocation: /b\r\nContent-Length: 3\r\n\r\nabc",
    b"HTTP/1.1 307 T\r\nLocation: http://b.test/x?y#z\r\nSet-Cookie: a=b; Max-Age=5\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nSet-Cookie: c=d; Expires=Sun, 06 Nov 2094 08:49:37 GMT\r\nContent-Length: 0\r\n\r\n",
]
MORE = [
    *PIECES, b"Location: ", b"Set-Cookie: ", b"Content-Encoding: gzip\r\n", b"\x1f\x8b\x08", b"=-", b"--5", b"..",
    b"//", b"%zz", b"@", b"#",
]  # fmt: skip


def hostile(rng: random.Random) -> bytes | str:
    data = rng.choice(ANSWERS)
    for _ in range(rng.choice([0, 1, 1, 2, 4])):
        at = rng.randrange(len(data) + 1)
        data = (
            data[:at] + (rng.choice(MORE) if rng.random() < 0.6 else rng.randbytes(1)) + data[at + rng.randrange(4) :]
        )
    return "reset" if rng.random() < 0.03 else data


async def story(rng: random.Random) -> str:
    def script() -> Script:
        return Script([hostile(rng) for _ in range(6)], rng.random() < 0.8, rng.choice([1, 7, 1000]))

    net = Net({("a.test", 80): script(), ("b.test", 80): script()})
    client = HttpClient(net, net, Clock(), inflate=Inflate(), cookies=CookieJar(), connections=2)
    told = ""
    for _ in range(3):
        try:
            response = await client.request(rng.choice(["GET", "POST", "HEAD"]), "http://a.test/x")
            if rng.random() < 0.2:
                await response.close()
            else:
                await response.read(1000)
            told += "."
        except TransferError:
            told += "x"
    await client.close()
    await settle()
    assert net.open() == 0
    assert len(client.pool) == 0
    return told


def fuzz(goes_on: Callable[[int], bool]) -> int:
    seed = random.randrange(1 << 32)
    runs = 0
    told = ""
    try:
        while goes_on(runs):
            told = "".join(sorted({*told, *run(story(random.Random(seed + runs)))}))
            runs += 1
    except BaseException as error:
        raise AssertionError(f"seed {seed + runs}") from error
    assert "." in told
    assert "x" in told
    return runs


def test_a_server_that_says_anything() -> None:
    end = time.monotonic() + SECONDS
    fuzz(lambda runs: runs < MIN_RUNS or time.monotonic() < end)


@pytest.mark.nightly
def test_a_server_that_says_anything_a_hundred_thousand_times() -> None:
    fuzz(lambda runs: runs < STEPS)
