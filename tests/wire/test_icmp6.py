# SPDX-License-Identifier: MIT
"""wire.icmp6: stays in its place, parses what it emitted, refuses every truncation; scapy agrees."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet6 import (
    ICMPv6EchoRequest,
    ICMPv6MLDone,
    ICMPv6MLQuery,
    ICMPv6MLQuery2,
    ICMPv6MLReport,
    ICMPv6MLReport2,
    ICMPv6ND_NA,
    ICMPv6ND_NS,
    ICMPv6ND_RA,
    ICMPv6NDOptDstLLAddr,
    ICMPv6NDOptMTU,
    ICMPv6NDOptPrefixInfo,
    ICMPv6NDOptRDNSS,
    ICMPv6NDOptSrcLLAddr,
)

from libos.wire import ethernet, icmp6, ipv6

u8, u16, u32 = st.integers(0, 0xFF), st.integers(0, 0xFFFF), st.integers(0, 0xFFFFFFFF)
addresses = st.binary(min_size=16, max_size=16)
macs = st.binary(min_size=6, max_size=6)
START = 7


def dirty(size):
    return bytearray(b"\xa5" * (START + size + 9))


def written(buf, size):
    assert buf[:START] == b"\xa5" * START
    assert buf[START + size :] == b"\xa5" * 9
    return bytes(buf[START : START + size])


def text(ip):
    return ipv6.format_address(ip)


@given(u8, u8, u32)
def test_header_round_trip(kind, code, rest):
    buf = dirty(8)
    icmp6.emit(buf, START, kind, code, rest)
    data = written(buf, 8)
    assert data[2:4] == b"\0\0"
    assert icmp6.parse(buf, START, 8) == (kind, code, rest)
    assert all(icmp6.parse(buf, START, length) is None for length in range(8))
    assert icmp6.is_error(kind) == (kind < 128)


def test_echo_is_what_scapy_says():
    buf = bytearray(8)
    icmp6.emit(buf, 0, icmp6.ECHO_REQUEST, 0, 77 << 16 | 5)
    assert (ICMPv6EchoRequest(bytes(buf)).id, ICMPv6EchoRequest(bytes(buf)).seq) == (77, 5)


@given(st.booleans(), st.booleans(), st.booleans(), addresses, macs)
def test_neighbour_messages(router, solicited, override, target, mac):
    flags = icmp6.ROUTER * router | icmp6.SOLICITED * solicited | icmp6.OVERRIDE * override
    buf = dirty(32)
    icmp6.emit_neighbour(buf, START, icmp6.NEIGHBOUR_ADVERTISEMENT, flags, target, icmp6.TARGET_MAC, mac)
    seen = ICMPv6ND_NA(written(buf, 32))
    assert (seen.type, seen.code, seen.R, seen.S, seen.O, seen.res) == (136, 0, router, solicited, override, 0)
    assert ipv6.parse_address(seen.tgt) == target
    assert seen[ICMPv6NDOptDstLLAddr].lladdr == ethernet.format_mac(mac)
    assert icmp6.parse_options(bytes(buf[START : START + 32]), 24) == [(icmp6.TARGET_MAC, mac)]
    buf = dirty(24)
    icmp6.emit_neighbour(buf, START, icmp6.NEIGHBOUR_SOLICITATION, 0, target)
    seen = ICMPv6ND_NS(written(buf, 24))
    assert (seen.type, seen.code, seen.res) == (135, 0, 0)


@given(macs)
def test_first_mac_that_a_host_can_have(mac):
    data = bytes(ICMPv6NDOptSrcLLAddr(lladdr=ethernet.format_mac(mac)))
    options = icmp6.parse_options(data, 0)
    expected = mac if not mac[0] & 1 and any(mac) else None
    assert icmp6.find_mac(options, icmp6.SOURCE_MAC) == expected
    assert icmp6.find_mac(options, icmp6.TARGET_MAC) is None


@pytest.mark.parametrize(
    "data",
    [b"\x01\x00" + bytes(6), b"\x01\x02" + bytes(6), b"\x01\x01" + bytes(5), b"\x01", b"\x01\x01" + bytes(6) + b"\x01",
     (b"\x0e\x01" + bytes(6)) * (icmp6.MAX_OPTIONS + 1)],
)  # fmt: skip
def test_options_that_make_no_sense(data):
    assert icmp6.parse_options(data, 0) is None


@given(st.binary(max_size=200), st.integers(0, 40))
def test_any_options(data, at):
    options = icmp6.parse_options(data, at)
    if options is not None:
        assert sum(len(value) + 2 for _, value in options) == max(len(data) - at, 0)
        for kind, value in options:
            icmp6.find_mac(options, kind)
            for parse in (icmp6.parse_prefix, icmp6.parse_mtu, icmp6.parse_dns_servers):
                parse(value)


def option(packet):
    ((_, value),) = icmp6.parse_options(bytes(packet), 0)
    return value


@given(u8, u16, u32, u32)
def test_router_advertisement(hop_limit, lifetime, reachable, retrans):
    packet = ICMPv6ND_RA(chlim=hop_limit, routerlifetime=lifetime, reachabletime=reachable, retranstimer=retrans, prf=3)
    data = bytes(packet)
    assert icmp6.parse_router(data) == (hop_limit, 3 << 3, lifetime, reachable, retrans)
    assert all(icmp6.parse_router(data[:length]) is None for length in range(16))


@given(st.integers(0, 128), st.booleans(), st.booleans(), u32, u32, addresses)
def test_prefix_information(prefix_len, on_link, autonomous, valid, preferred, prefix):
    packet = ICMPv6NDOptPrefixInfo(
        prefixlen=prefix_len, L=on_link, A=autonomous, validlifetime=valid, preferredlifetime=preferred,
        prefix=text(prefix),
    )  # fmt: skip
    value = option(packet)
    flags = icmp6.ON_LINK * on_link | icmp6.AUTONOMOUS * autonomous
    expected = (prefix_len, flags, valid, preferred, prefix) if preferred <= valid else None
    assert icmp6.parse_prefix(value) == expected
    assert all(icmp6.parse_prefix(value[:length]) is None for length in range(30))
    assert icmp6.parse_prefix(bytes([129]) + value[1:]) is None


@given(u32)
def test_mtu(mtu):
    value = option(ICMPv6NDOptMTU(mtu=mtu))
    assert icmp6.parse_mtu(value) == mtu
    assert all(icmp6.parse_mtu(value[:length]) is None for length in range(6))


@given(u32, st.lists(addresses, min_size=1, max_size=4))
def test_dns_servers(lifetime, servers):
    value = option(ICMPv6NDOptRDNSS(lifetime=lifetime, dns=[text(ip) for ip in servers]))
    assert icmp6.parse_dns_servers(value) == (lifetime, servers)
    for length in range(len(value)):
        parsed = icmp6.parse_dns_servers(value[:length])
        assert parsed is None or parsed[1] == servers[: (length - 6) // 16]


# --- MLD ---


@given(st.integers(0, 0x7FFF), addresses)
def test_query_of_version_1(delay, group):
    data = bytes(ICMPv6MLQuery(mrd=delay, mladdr=text(group)))
    assert icmp6.parse_query(data) == (1, delay, group, 0, 0)
    assert all(icmp6.parse_query(data[:length]) is None for length in range(24))
    assert all(icmp6.parse_query(data + bytes(extra)) is None for extra in (1, 2, 3))


@given(st.integers(0, 0x7FFF), addresses, st.integers(0, 7), st.lists(addresses, max_size=3))
def test_query_of_version_2(delay, group, robustness, sources):
    packet = ICMPv6MLQuery2(mrd=delay, mladdr=text(group), QRV=robustness, sources=[text(ip) for ip in sources])
    data = bytes(packet)
    assert icmp6.parse_query(data) == (2, delay, group, robustness, len(sources))
    for length in range(28, len(data)):
        assert icmp6.parse_query(data[:length]) is None


def test_query_with_a_delay_that_has_an_exponent():
    data = bytearray(bytes(ICMPv6MLQuery2(mrd=0)))
    for code, delay in ((0x7FFF, 0x7FFF), (0x8000, 32768), (0x8001, 32776), (0xFFFF, 8387584)):
        data[4:6] = code.to_bytes(2, "big")
        assert icmp6.parse_query(bytes(data))[1] == delay


@given(st.lists(st.tuples(st.integers(1, 6), addresses), min_size=1, max_size=5))
def test_report_of_version_2(records):
    size = 8 + 20 * len(records)
    buf = dirty(size)
    icmp6.emit_report(buf, START, records)
    seen = ICMPv6MLReport2(written(buf, size))
    assert (seen.type, seen.records_number) == (143, len(records))
    record = seen.records[0]
    for kind, group in records:
        assert (record.rtype, record.auxdata_len, record.sources_number) == (kind, 0, 0)
        assert ipv6.parse_address(record.dst) == group
        record = record.payload


@pytest.mark.parametrize(("kind", "layer"), [(icmp6.MLD1_REPORT, ICMPv6MLReport), (icmp6.MLD1_DONE, ICMPv6MLDone)])
def test_messages_of_version_1(kind, layer):
    group = ipv6.parse_address("ff05::1")
    buf = dirty(24)
    icmp6.emit_mld1(buf, START, kind, group)
    seen = layer(written(buf, 24))
    assert (seen.type, seen.mladdr) == (kind, "ff05::1")
