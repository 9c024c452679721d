# SPDX-License-Identifier: MIT
"""wire.ipv6: stays in its place, parses what it emitted, refuses every truncation; scapy and ipaddress agree."""

import ipaddress
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet6 import IPv6, IPv6ExtHdrFragment, IPv6ExtHdrHopByHop, RouterAlert

from libos.wire import ipv6
from libos.wire.checksum import checksum

u8, u16, u32 = st.integers(0, 0xFF), st.integers(0, 0xFFFF), st.integers(0, 0xFFFFFFFF)
addresses = st.binary(min_size=16, max_size=16)
# Addresses with runs of zeros, as they are in the world.
sparse = st.lists(st.sampled_from([0, 0, 0, 1, 0x10, 0xFFFF]), min_size=8, max_size=8).map(
    lambda groups: struct.pack(">8H", *groups)
)
START = 7


def dirty(size):
    return bytearray(b"\xa5" * (START + size + 9))


def written(buf, size):
    """What was written, after a look at what was not to be touched."""
    assert buf[:START] == b"\xa5" * START
    assert buf[START + size :] == b"\xa5" * 9
    return bytes(buf[START : START + size])


@given(u16, u8, u8, addresses, addresses)
def test_header_round_trip(payload_len, next_header, hop_limit, src, dst):
    buf = dirty(40)
    ipv6.emit(buf, START, payload_len, next_header, hop_limit, src, dst)
    data = written(buf, 40)
    assert ipv6.parse(buf, START, 40 + payload_len) == (payload_len, next_header, hop_limit, src, dst)
    seen = IPv6(data)
    assert (seen.version, seen.tc, seen.fl, seen.plen, seen.nh, seen.hlim) == (
        6,
        0,
        0,
        payload_len,
        next_header,
        hop_limit,
    )
    assert (seen.src, seen.dst) == (str(ipaddress.IPv6Address(src)), str(ipaddress.IPv6Address(dst)))
    if payload_len:
        assert ipv6.parse(buf, START, 39 + payload_len) is None


@pytest.mark.parametrize("length", range(40))
def test_header_truncated(length):
    buf = bytearray(40)
    ipv6.emit(buf, 0, 0, 59, 64, bytes(16), bytes(16))
    assert ipv6.parse(buf, 0, length) is None


@pytest.mark.parametrize("version", [v for v in range(16) if v != 6])
def test_header_of_another_version(version):
    buf = bytearray(40)
    ipv6.emit(buf, 0, 0, 59, 64, bytes(16), bytes(16))
    buf[0] = version << 4
    assert ipv6.parse(buf, 0, 40) is None


@given(u8, st.integers(0, 8191), st.booleans(), u32)
def test_fragment_round_trip(next_header, offset, more, ident):
    buf = dirty(8)
    ipv6.emit_fragment(buf, START, next_header, offset * 8, more, ident)
    data = written(buf, 8)
    assert ipv6.parse_fragment(buf, START, 8) == (next_header, offset * 8, more, ident)
    seen = IPv6ExtHdrFragment(data)
    assert (seen.nh, seen.offset, seen.m, seen.id, seen.res1, seen.res2) == (next_header, offset, more, ident, 0, 0)
    assert all(ipv6.parse_fragment(buf, START, length) is None for length in range(8))


def test_router_alert_is_what_scapy_says():
    buf = dirty(8)
    ipv6.emit_router_alert(buf, START, 58)
    data = written(buf, 8)
    assert data == bytes(IPv6ExtHdrHopByHop(nh=58, options=[RouterAlert()]))
    assert ipv6.check_options(data) == (ipv6.ACTION_SKIP, 0)
    assert ipv6.has_router_alert(data)
    assert not ipv6.has_router_alert(b"\x3a\0\x01\x04\0\0\0\0")
    assert not ipv6.has_router_alert(b"\x3a\0\x05\x02\0\x01\x01\x00")  # RSVP's


@given(st.binary(min_size=2, max_size=64))
def test_any_options_are_checked_without_leaving_the_header(header):
    checked = ipv6.check_options(header)
    assert checked is None or (checked[0] == 0 and checked[1] == 0) or 2 <= checked[1] < len(header)
    if checked is not None and checked[0] == ipv6.ACTION_SKIP:
        ipv6.has_router_alert(header)


@given(addresses, addresses, u8, u16)
def test_pseudo_sum_is_the_sum_over_the_pseudo_header(src, dst, protocol, length):
    pseudo = src + dst + struct.pack(">I3xB", length, protocol)
    assert ipv6.pseudo_sum(src, dst, protocol, length) == (checksum(pseudo, 0, 40) or 0xFFFF)


# --- addresses as text: RFC 4291 section 2.2, RFC 5952 ---


@given(st.one_of(addresses, sparse))
def test_text_is_canonical_and_reads_back(ip):
    text = ipv6.format_address(ip)
    assert ipv6.parse_address(text) == ip
    assert ipv6.parse_address(text.upper()) == ip
    assert ipv6.parse_address(ipaddress.IPv6Address(ip).exploded) == ip
    if not text.startswith("::ffff:"):
        assert text == str(ipaddress.IPv6Address(ip))


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("2001:0db8:0:0:0:0:2:1", "2001:db8::2:1"),
        ("2001:db8:0:1:1:1:1:1", "2001:db8:0:1:1:1:1:1"),
        ("2001:0:0:1:0:0:0:1", "2001:0:0:1::1"),
        ("2001:db8:0:0:1:0:0:1", "2001:db8::1:0:0:1"),
        ("0:0:0:0:0:0:0:0", "::"),
        ("::1", "::1"),
        ("1::", "1::"),
        ("1:2:3:4:5:6:7::", "1:2:3:4:5:6:7:0"),
        ("::2:3:4:5:6:7:8", "0:2:3:4:5:6:7:8"),
        ("::ffff:192.0.2.1", "::ffff:192.0.2.1"),
        ("::FFFF:c000:201", "::ffff:192.0.2.1"),
        ("64:ff9b::192.0.2.33", "64:ff9b::c000:221"),
        ("1:2:3:4:5:6:1.2.3.4", "1:2:3:4:5:6:102:304"),
    ],
)
def test_text(text, canonical):
    assert ipv6.format_address(ipv6.parse_address(text)) == canonical


@pytest.mark.parametrize(
    "text",
    ["", ":", ":::", "1", "1:2:3:4:5:6:7", "1:2:3:4:5:6:7:8:9", "1:2:3:4:5:6:7:8::", "::1::", "1::2::3", "12345::",
     "g::", "1:", ":1", "1:::2", "fe80::1%eth0", "fe80::1%", "::1.2.3", "::1.2.3.256", "::01.2.3.4", "::1.2.3.4:5",
     "1.2.3.4", "1.2.3.4::", "::-1", "::+1", ":: 1", "[::1]", "::1/64", "0x1::", "\u0661::"],
)  # fmt: skip
def test_text_that_is_no_address(text):
    with pytest.raises(ValueError, match="IPv6 address"):
        ipv6.parse_address(text)


@given(st.text(alphabet="0123456789abcfF:.%/ ", max_size=24))
def test_any_text_is_read_as_python_reads_it(text):
    try:
        expected = ipaddress.IPv6Address(text).packed if "%" not in text else None
    except ValueError:
        expected = None
    try:
        read = ipv6.parse_address(text)
    except ValueError:
        read = None
    assert read == expected


@given(addresses, st.integers(0, 128))
def test_cidr_and_network(ip, prefix_len):
    text = f"{ipv6.format_address(ip)}/{prefix_len}"
    assert ipv6.parse_cidr(text) == (ip, prefix_len)
    network = ipaddress.IPv6Network((ip, prefix_len), strict=False)
    assert ipv6.network(ip, prefix_len) == network.network_address.packed


@pytest.mark.parametrize("text", ["::1", "::1/", "::1/129", "::1/-1", "::1/1x", "/64", "x/64", "::1/64/64", "::1/0064"])
def test_cidr_that_is_none(text):
    with pytest.raises(ValueError, match="IPv6 address"):
        ipv6.parse_cidr(text)


# --- kinds of addresses ---


@pytest.mark.parametrize(
    ("text", "scope", "is_unicast"),
    [
        ("::", 14, False),
        ("::1", 2, False),
        ("::ffff:10.0.0.1", 14, False),
        ("::10.0.0.1", 14, False),
        ("::1:0:0", 14, True),
        ("fe80::1", 2, True),
        ("febf::1", 2, True),
        ("fec0::1", 5, True),
        ("fd00::1", 14, True),
        ("2001:db8::1", 14, True),
        ("ff01::1", 1, False),
        ("ff02::1", 2, False),
        ("ff05::1", 5, False),
        ("ff0e::1", 14, False),
    ],
)
def test_scope_and_unicast(text, scope, is_unicast):
    ip = ipv6.parse_address(text)
    assert ipv6.scope(ip) == scope
    assert ipv6.is_unicast(ip) == is_unicast
    assert ipv6.is_multicast(ip) == ipaddress.IPv6Address(text).is_multicast
    assert ipv6.is_link_local(ip) == ipaddress.IPv6Address(text).is_link_local


@given(addresses, addresses)
def test_common_prefix(a, b):
    expected = 128 - (int.from_bytes(a, "big") ^ int.from_bytes(b, "big")).bit_length()
    assert ipv6.common_prefix_len(a, b) == expected


def test_groups_and_their_macs():
    ip = ipv6.parse_address("fd00::1234:5678")
    assert ipv6.format_address(ipv6.solicited_node(ip)) == "ff02::1:ff34:5678"
    assert ipv6.multicast_mac(ipv6.solicited_node(ip)) == b"\x33\x33\xff\x34\x56\x78"
