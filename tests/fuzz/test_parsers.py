# SPDX-License-Identifier: MIT
"""Every parser takes any octets: it answers with values inside its promises, or with None, and never with an exception.

In the suite each parser is tried for MIRAGE_PY_FUZZ_SECONDS, in make nightly MIRAGE_PY_FUZZ_RUNS times: ten million. A
failure prints its seed.
"""

import contextlib
import os
import random
import time

import pytest

from libos.wire import arp, ethernet, icmp, ipv4, tcp, udp

SECONDS = float(os.environ.get("MIRAGE_PY_FUZZ_SECONDS", "1.5"))
RUNS = int(os.environ.get("MIRAGE_PY_FUZZ_RUNS", "10_000_000"))
SIZE = 128


def valid_tcp(rng):
    options = rng.choice(
        [
            b"",
            tcp.syn_options(rng.randrange(65536), rng.randrange(15), True, rng.getrandbits(32), 5),
            tcp.timestamps_option(1, 2) + tcp.sack_option([(rng.getrandbits(32), rng.getrandbits(32))]),
            rng.randbytes(4 * rng.randrange(11)),
        ]
    )
    buf = bytearray(rng.randbytes(SIZE))
    tcp.emit(buf, 0, 1, 2, 3, 4, rng.randrange(256), 5, options)
    return buf


def valid_ipv4(rng):
    buf = bytearray(rng.randbytes(SIZE))
    ipv4.emit(buf, 0, rng.randrange(65536), 1, rng.getrandbits(16), 64, 6, rng.getrandbits(32), rng.getrandbits(32))
    return buf


def valid_arp(rng):
    buf = bytearray(rng.randbytes(SIZE))
    arp.emit(buf, 0, rng.randrange(3), rng.randbytes(6), 1, rng.randbytes(6), 2)
    return buf


def noise(rng):
    return bytearray(rng.randbytes(SIZE))


def check_tcp(value, length):
    assert 20 <= value.header_len <= min(length, 60)
    assert value.window_scale is None or value.window_scale <= 14
    assert len(value.sack) <= 4
    assert (value.ts_val is None) == (value.ts_ecr is None)


def check_ipv4(value, length):
    assert 20 <= value[0] <= 60
    assert value[0] <= value[1] <= length


def check_udp(value, length):
    assert 8 <= value[2] <= length


PARSERS = {
    "ethernet": (ethernet.parse, noise, lambda value, length: None),
    "arp": (arp.parse, valid_arp, lambda value, length: None),
    "ipv4": (ipv4.parse, valid_ipv4, check_ipv4),
    "icmp": (icmp.parse, noise, lambda value, length: None),
    "udp": (udp.parse, noise, check_udp),
    "tcp": (tcp.parse, valid_tcp, check_tcp),
}


@pytest.mark.parametrize("name", PARSERS)
def test_parser_takes_any_octets(name):
    end = time.monotonic() + SECONDS
    fuzz(name, lambda runs: time.monotonic() < end)


@pytest.mark.nightly
@pytest.mark.parametrize("name", PARSERS)
def test_parser_takes_any_octets_ten_million_times(name):
    start = time.monotonic()
    runs, parsed = fuzz(name, lambda runs: runs < RUNS)
    print(f"{name}: {runs} runs, {parsed} parsed, {time.monotonic() - start:.0f} s")
    assert runs >= RUNS


def fuzz(name, goes_on):
    """Tries a parser while goes_on(runs); returns how often, and how often it took what it was given."""
    parse, make, check = PARSERS[name]
    seed = random.randrange(1 << 32)
    rng = random.Random(seed)
    runs = parsed = 0
    try:
        while goes_on(runs):
            base = make(rng)
            for _ in range(200):
                buf = bytearray(base)
                for _ in range(rng.randrange(4)):
                    buf[rng.randrange(64)] = rng.randrange(256)
                start = rng.randrange(8)
                length = rng.randrange(SIZE - start + 1)
                value = parse(buf, start, length)
                runs += 1
                if value is not None:
                    parsed += 1
                    check(value, length)
    except Exception as error:
        raise AssertionError(f"seed {seed}, run {runs}: {buf.hex()} [{start}:{start + length}]") from error
    assert parsed > 0
    return runs, parsed


@pytest.mark.parametrize("parse", [ipv4.parse_address, ipv4.parse_cidr, ethernet.parse_mac])
def test_text_parser_takes_any_text(parse):
    rng = random.Random(1)
    for _ in range(20_000):
        text = "".join(rng.choices("0123456789./:abcx -", k=rng.randrange(20)))
        with contextlib.suppress(ValueError):
            parse(text)
