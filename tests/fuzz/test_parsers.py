# SPDX-License-Identifier: MIT
"""Every parser takes any octets: it answers with values inside its promises, or with None, and never with an exception.

In the suite each parser is tried for MIRAGE_PY_FUZZ_SECONDS, in make nightly MIRAGE_PY_FUZZ_RUNS times: ten million. A
failure prints its seed.
"""

import contextlib
import os
import random
import struct
import time

import pytest

from libos.wire import arp, dhcp, dns, ethernet, icmp, icmp6, igmp, ipv4, ipv6, tcp, udp

SECONDS = float(os.environ.get("MIRAGE_PY_FUZZ_SECONDS", "1.5"))
MIN_RUNS = 4000
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


def valid_dhcp(rng):
    options = [(rng.randrange(1, 255), rng.randbytes(rng.randrange(9))) for _ in range(rng.randrange(8))]
    if rng.randrange(2):
        options.insert(0, (dhcp.OPTION_OVERLOAD, bytes((rng.randrange(5),))))
    data = bytearray(dhcp.emit(2, 1, 2, 0, 3, 4, rng.randbytes(6), options))
    for _ in range(rng.randrange(4)):
        data[rng.randrange(len(data))] = rng.randrange(256)
    return data


def valid_dns(rng):
    name = dns.encode_name(rng.choice(["a", "www.example.com", "a.b.c.d.e"]))
    records = b""
    count = rng.randrange(5)
    for _ in range(count):
        kind = rng.choice([dns.A, dns.AAAA, dns.CNAME, dns.PTR, dns.SOA, 16])
        value = rng.choice([rng.randbytes(4), rng.randbytes(16), name, b"\xc0\x0c", b"\xc0" + rng.randbytes(1)])
        owner = rng.choice([name, b"\xc0\x0c", b"\xc0" + rng.randbytes(1), b"\x01a\xc0\x0c"])
        records += owner + struct.pack(">HHIH", kind, 1, rng.getrandbits(32), len(value)) + value
    answers = rng.randrange(count + 1)
    head = struct.pack(">HHHHHH", 1, 0x8180 | rng.randrange(6), 1, answers, count - answers, 0)
    return bytearray(head + name + b"\0\1\0\1" + records + rng.randbytes(rng.randrange(9)))


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


def check_ipv4_options(value, length):
    assert value in (ipv4.OPTIONS_SANE, ipv4.OPTIONS_MALFORMED, ipv4.OPTIONS_SOURCE_ROUTE)


def check_udp(value, length):
    assert 8 <= value[2] <= length


def valid_ipv6(rng):
    buf = bytearray(rng.randbytes(SIZE))
    ipv6.emit(buf, 0, rng.randrange(SIZE), rng.randrange(256), 64, rng.randbytes(16), rng.randbytes(16))
    return buf


def valid_options(rng):
    """Options of Neighbour Discovery, or of an extension header, one behind the other."""
    buf = bytearray()
    while len(buf) < SIZE:
        buf += bytes([rng.randrange(32), rng.choice([0, 1, 1, 2, 4, 5])]) + rng.randbytes(6)
    return buf[:SIZE]


def message(parse):
    """Of a parser that takes a whole message."""
    return lambda buf, start, length: parse(bytes(buf[start : start + length]))


def check_ipv6(value, length):
    assert 40 + value[0] <= length


def check_options(value, length):
    assert sum(2 + len(data) for _, data in value) <= length


def check_extension(value, length):
    assert value == (0, 0) or (1 <= value[0] <= 3 and 2 <= value[1] < length)


def check_dns_servers(value, length):
    assert 6 + 16 * len(value[1]) == length


def check_query(value, length):
    assert value[1] < 1 << 24
    assert value[0] == 1 or 28 + 16 * value[4] <= length


def check_dhcp(value, length):
    assert value.op in (1, 2)
    assert len(value.chaddr) == 6
    assert sum(map(len, value.options.values())) <= length


def check_dns(value, length):
    assert len(value.name) <= 255
    assert len(value.answers) <= dns.MAX_RECORDS
    for owner, kind, ttl_s, answer in value.answers:
        assert 1 <= len(owner) <= 255
        assert not owner[-1]
        assert 0 <= ttl_s < 1 << 31
        assert len(answer) == {dns.A: 4, dns.AAAA: 16}.get(kind, len(answer)) <= 255


PARSERS = {
    "ethernet": (ethernet.parse, noise, lambda value, length: None),
    "arp": (arp.parse, valid_arp, lambda value, length: None),
    "ipv4": (ipv4.parse, valid_ipv4, check_ipv4),
    "ipv4 options": (ipv4.check_options, noise, check_ipv4_options),
    "igmp": (igmp.parse, noise, lambda value, length: None),
    "icmp": (icmp.parse, noise, lambda value, length: None),
    "ipv6": (ipv6.parse, valid_ipv6, check_ipv6),
    "ipv6 fragment": (ipv6.parse_fragment, noise, lambda value, length: None),
    "ipv6 options": (message(ipv6.check_options), valid_options, check_extension),
    "icmp6": (icmp6.parse, noise, lambda value, length: None),
    "icmp6 options": (message(lambda data: icmp6.parse_options(data, 0)), valid_options, check_options),
    "icmp6 router": (message(icmp6.parse_router), noise, lambda value, length: None),
    "icmp6 prefix": (message(lambda data: icmp6.parse_prefix(data[:30])), noise, lambda value, length: None),
    "icmp6 dns": (message(icmp6.parse_dns_servers), noise, check_dns_servers),
    "icmp6 query": (message(icmp6.parse_query), noise, check_query),
    "udp": (udp.parse, noise, check_udp),
    "tcp": (tcp.parse, valid_tcp, check_tcp),
    "dhcp": (dhcp.parse, valid_dhcp, check_dhcp),
    "dns": (dns.parse, valid_dns, check_dns),
}


@pytest.mark.parametrize("name", PARSERS)
def test_parser_takes_any_octets(name):
    end = time.monotonic() + SECONDS
    # On a machine that is busy with others, time alone would end it before it began.
    fuzz(name, lambda runs: runs < MIN_RUNS or time.monotonic() < end)


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
                    buf[rng.randrange(min(len(buf), 64))] = rng.randrange(256)
                start = rng.randrange(8)
                length = rng.randrange(len(buf) - start + 1)
                if not rng.randrange(4):
                    start, length = 0, len(buf)
                value = parse(buf, start, length)
                runs += 1
                if value is not None:
                    parsed += 1
                    check(value, length)
    except Exception as error:
        raise AssertionError(f"seed {seed}, run {runs}: {buf.hex()} [{start}:{start + length}]") from error
    assert parsed > 0
    return runs, parsed


@pytest.mark.parametrize(
    "parse", [ipv4.parse_address, ipv4.parse_cidr, ipv6.parse_address, ipv6.parse_cidr, ethernet.parse_mac]
)
def test_text_parser_takes_any_text(parse):
    rng = random.Random(1)
    for _ in range(20_000):
        text = "".join(rng.choices("0123456789./:abcx -", k=rng.randrange(20)))
        with contextlib.suppress(ValueError):
            parse(text)
