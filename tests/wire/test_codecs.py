# SPDX-License-Identifier: MIT
"""Every codec: stays in its place, parses what it emitted, refuses every truncation; scapy agrees."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.igmp import IGMP
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.l2 import ARP, Ether

from libos.wire import arp, ethernet, icmp, igmp, ipv4, tcp, udp
from libos.wire.checksum import checksum

u8, u16, u32 = st.integers(0, 0xFF), st.integers(0, 0xFFFF), st.integers(0, 0xFFFFFFFF)
port = st.integers(1, 0xFFFF)
macs = st.binary(min_size=6, max_size=6)
unicast_macs = macs.map(lambda mac: bytes([mac[0] & 0xFE]) + mac[1:])
START = 7


def dirty(size):
    return bytearray(b"\xa5" * (START + size + 9))


def written(buf, size):
    """What was written, after a look at what was not to be touched."""
    assert buf[:START] == b"\xa5" * START
    assert buf[START + size :] == b"\xa5" * 9
    return bytes(buf[START : START + size])


def ip_text(ip):
    return ipv4.format_address(ip)


# --- Ethernet ---


@given(macs, macs, st.integers(0x0600, 0xFFFF))
def test_ethernet_round_trip(dst, src, ethertype):
    buf = dirty(14)
    ethernet.emit(buf, START, dst, src, ethertype)
    data = written(buf, 14)
    assert ethernet.parse(buf, START, 14) == (dst, src, ethertype)
    seen = Ether(data)
    assert (seen.dst, seen.src, seen.type) == (ethernet.format_mac(dst), ethernet.format_mac(src), ethertype)
    assert ethernet.is_multicast(dst) == (dst[0] & 1 == 1)


@pytest.mark.parametrize("length", range(14))
def test_ethernet_truncated(length):
    assert ethernet.parse(bytes(14), 0, length) is None


@given(macs)
def test_mac_text_round_trip(mac):
    assert ethernet.parse_mac(ethernet.format_mac(mac)) == mac


@pytest.mark.parametrize(
    "text", ["", "52:54:00:12:34", "52:54:00:12:34:56:78", "52:54:00:12:34:xy", "5254:00:12:34:56:1"]
)
def test_mac_text_that_is_none(text):
    with pytest.raises(ValueError, match=r"MAC|invalid"):
        ethernet.parse_mac(text)


# --- ARP ---


@given(st.sampled_from([arp.REQUEST, arp.REPLY]), unicast_macs, u32, macs, u32)
def test_arp_round_trip(operation, sender_mac, sender_ip, target_mac, target_ip):
    buf = dirty(28)
    arp.emit(buf, START, operation, sender_mac, sender_ip, target_mac, target_ip)
    data = written(buf, 28)
    assert arp.parse(buf, START, 28) == (operation, sender_mac, sender_ip, target_mac, target_ip)
    seen = ARP(data)
    assert (seen.op, seen.psrc, seen.pdst, seen.hwtype, seen.ptype) == (
        operation,
        ip_text(sender_ip),
        ip_text(target_ip),
        1,
        0x0800,
    )


@pytest.mark.parametrize("length", range(28))
def test_arp_truncated(length):
    buf = bytearray(28)
    arp.emit(buf, 0, arp.REQUEST, bytes(6), 1, bytes(6), 2)
    assert arp.parse(buf, 0, length) is None


@pytest.mark.parametrize(("at", "value"), [(1, 2), (3, 1), (4, 5), (5, 5), (7, 0), (7, 3), (8, 1)])
def test_arp_that_is_not_ours(at, value):
    buf = bytearray(28)
    arp.emit(buf, 0, arp.REQUEST, bytes(6), 1, bytes(6), 2)
    buf[at] = value
    assert arp.parse(buf, 0, 28) is None


# --- IPv4 ---


@given(st.integers(20, 0xFFFF), u16, u16, u8, u8, u32, u32)
def test_ipv4_round_trip(total_len, ident, fragment, ttl, protocol, src, dst):
    buf = dirty(20)
    ipv4.emit(buf, START, total_len, ident, fragment, ttl, protocol, src, dst)
    data = written(buf, 20)
    assert ipv4.parse(buf, START, total_len) == (20, total_len, ident, fragment, ttl, protocol, src, dst)
    assert checksum(data, 0, 20) == 0xFFFF
    seen = IP(data)
    assert (seen.len, seen.id, seen.ttl, seen.proto, seen.src, seen.dst) == (
        total_len, ident, ttl, protocol, ip_text(src), ip_text(dst)
    )  # fmt: skip
    assert (int(seen.flags) << 13 | seen.frag) == fragment
    given_sum = seen.chksum
    del seen.chksum
    assert IP(bytes(seen)).chksum == given_sum


@given(u16, u32, u32, st.integers(1, 10))
def test_ipv4_with_options_round_trip(ident, src, dst, words):
    options = (b"\x94\x04\x00\x00" + b"\x01" * 36)[: 4 * words]
    buf = dirty(20 + len(options))
    ipv4.emit(buf, START, 100, ident, 0, 1, 2, src, dst, options)
    data = written(buf, 20 + len(options))
    assert ipv4.parse(buf, START, 100)[0] == 20 + len(options)
    assert data[20:] == options
    assert checksum(data, 0, len(data)) == 0xFFFF
    assert ipv4.check_options(buf, START + 20, len(options)) == ipv4.OPTIONS_SANE
    seen = IP(data)
    assert (seen.ihl, seen.id, seen.src, seen.dst) == (5 + words, ident, ip_text(src), ip_text(dst))


@pytest.mark.parametrize("length", range(60))
def test_ipv4_truncated(length):
    buf = bytearray(60)
    ipv4.emit(buf, 0, 60, 0, 0, 64, 6, 1, 2)
    assert ipv4.parse(buf, 0, length) is None


@pytest.mark.parametrize("first", [0x44, 0x40, 0x55, 0x65, 0x05, 0x4F])
def test_ipv4_contradiction(first):
    buf = bytearray(40)
    ipv4.emit(buf, 0, 40, 0, 0, 64, 6, 1, 2)
    buf[0] = first
    assert ipv4.parse(buf, 0, 40) is None


def test_ipv4_total_shorter_than_header():
    buf = bytearray(40)
    ipv4.emit(buf, 0, 19, 0, 0, 64, 6, 1, 2)
    assert ipv4.parse(buf, 0, 40) is None
    ipv4.emit(buf, 0, 30, 0, 0, 64, 6, 1, 2)
    buf[0] = 0x48
    assert ipv4.parse(buf, 0, 40) is None


@given(u32)
def test_address_text_round_trip(ip):
    assert ipv4.parse_address(ipv4.format_address(ip)) == ip


@pytest.mark.parametrize(
    "text", ["", "1.2.3", "1.2.3.4.5", "1.2.3.256", "1.2.3.-4", "1.2.3.", "1.2.3. 4", "a.b.c.d", "1.2.3.0004"]
)
def test_address_text_that_is_none(text):
    with pytest.raises(ValueError, match="not an IPv4 address"):
        ipv4.parse_address(text)


@pytest.mark.parametrize(
    "text", ["10.0.0.2", "10.0.0.2/", "10.0.0.2/33", "10.0.0.2/-1", "10.0.0.2/x", "/24", "10.0.0.2/024"]
)
def test_cidr_text_that_is_none(text):
    with pytest.raises(ValueError, match="not an IPv4 address"):
        ipv4.parse_cidr(text)


def test_cidr_and_netmask():
    assert ipv4.parse_cidr("10.0.0.2/24") == (0x0A000002, 24)
    assert [ipv4.netmask(length) for length in (0, 1, 24, 32)] == [0, 0x80000000, 0xFFFFFF00, 0xFFFFFFFF]


# --- ICMP and UDP ---


@given(u8, u8, u32, st.binary(max_size=50))
def test_icmp_round_trip(kind, code, rest, data):
    buf = dirty(8)
    icmp.emit(buf, START, kind, code, rest)
    head = written(buf, 8)
    assert icmp.parse(buf, START, 8) == (kind, code, rest)
    if kind == icmp.ECHO_REQUEST:
        seen = ICMP(head + data)
        assert (seen.type, seen.code, seen.id << 16 | seen.seq) == (kind, code, rest)


@pytest.mark.parametrize("length", range(8))
def test_icmp_and_udp_truncated(length):
    assert icmp.parse(bytes(8), 0, length) is None
    assert udp.parse(b"\0\1\0\2\0\x08\0\0", 0, length) is None


@given(st.sampled_from([igmp.REPORT, igmp.REPORT_V1, igmp.LEAVE]), u32)
def test_igmp_round_trip(kind, group):
    buf = dirty(8)
    igmp.emit(buf, START, kind, group)
    data = written(buf, 8)
    assert igmp.parse(buf, START, 8) == (kind, 0, group)
    seen = IGMP(data)
    assert (seen.type, seen.mrcode, seen.gaddr) == (kind, 0, ip_text(group))
    assert checksum(data, 0, 8) == 0xFFFF


@pytest.mark.parametrize("length", range(8))
def test_igmp_truncated(length):
    assert igmp.parse(bytes(8), 0, length) is None


@given(u16, u16, st.integers(8, 0xFFFF), u16)
def test_udp_round_trip(src_port, dst_port, datagram_len, check):
    buf = dirty(8)
    udp.emit(buf, START, src_port, dst_port, datagram_len, check)
    head = written(buf, 8)
    assert udp.parse(buf, START, datagram_len) == (src_port, dst_port, datagram_len, check)
    assert udp.parse(buf, START, datagram_len - 1) is None
    seen = UDP(head)
    assert (seen.sport, seen.dport, seen.len, seen.chksum) == (src_port, dst_port, datagram_len, check)


def test_udp_length_below_the_header():
    assert udp.parse(b"\0\1\0\2\0\x07\0\0", 0, 8) is None


# --- TCP ---


@given(port, port, u32, u32, st.integers(0, 0xFF), u16, st.integers(0, 10).map(lambda n: b"\x01" * (4 * n)))
def test_tcp_round_trip(src_port, dst_port, seq, ack, flags, window, options):
    size = 20 + len(options)
    buf = dirty(size)
    assert tcp.emit(buf, START, src_port, dst_port, seq, ack, flags, window, options) == size
    head = written(buf, size)
    segment = tcp.parse(buf, START, size)
    assert (segment.src_port, segment.dst_port, segment.seq, segment.ack) == (src_port, dst_port, seq, ack)
    assert (segment.flags, segment.window, segment.header_len) == (flags, window, size)
    seen = TCP(head)
    assert (seen.sport, seen.dport, seen.seq, seen.ack, int(seen.flags), seen.window, seen.dataofs * 4) == (
        src_port, dst_port, seq, ack, flags, window, size
    )  # fmt: skip


@pytest.mark.parametrize("length", range(60))
def test_tcp_truncated(length):
    buf = bytearray(60)
    tcp.emit(buf, 0, 1, 2, 3, 4, tcp.ACK, 5, b"\x01" * 40)
    assert tcp.parse(buf, 0, length) is None
    assert tcp.parse(buf, 0, 60) is not None


@pytest.mark.parametrize("words", range(5))
def test_tcp_offset_below_five(words):
    buf = bytearray(40)
    tcp.emit(buf, 0, 1, 2, 3, 4, tcp.ACK, 5)
    buf[12] = words << 4
    assert tcp.parse(buf, 0, 40) is None


@given(st.integers(0, 0xFFFF), st.none() | st.integers(0, 14), st.booleans(), st.none() | u32, u32)
def test_tcp_syn_options_round_trip(mss, scale, sack, ts_val, ts_ecr):
    options = tcp.syn_options(mss, scale, sack, ts_val, ts_ecr)
    assert len(options) % 4 == 0
    assert len(options) <= 40
    buf = bytearray(60)
    size = tcp.emit(buf, 0, 1, 2, 3, 4, tcp.SYN, 5, options)
    segment = tcp.parse(buf, 0, size)
    assert (segment.mss, segment.window_scale, segment.sack_permitted, segment.ts_val) == (mss, scale, sack, ts_val)
    seen = dict(TCP(bytes(buf[:size])).options)
    assert seen["MSS"] == mss
    assert seen.get("WScale") == scale
    assert ("SAckOK" in seen) == sack
    if ts_val is not None:
        assert segment.ts_ecr == ts_ecr
        assert seen["Timestamp"] == (ts_val, ts_ecr)


@given(st.lists(st.tuples(u32, u32), min_size=1, max_size=4))
def test_tcp_sack_option_round_trip(blocks):
    options = tcp.sack_option(blocks)
    buf = bytearray(60)
    size = tcp.emit(buf, 0, 1, 2, 3, 4, tcp.ACK, 5, options)
    segment = tcp.parse(buf, 0, size)
    assert segment.sack == blocks
    seen = dict(TCP(bytes(buf[:size])).options)
    assert list(seen["SAck"]) == [edge for block in blocks for edge in block]


@pytest.mark.parametrize(
    "options",
    [
        b"\x02\x00\x05\xb4",  # length 0
        b"\x02\x01\x05\xb4",  # length 1
        b"\x02\x05\x05\xb4",  # past the end
        b"\x01\x01\x01\x02",  # a kind without a length
        b"\x08\x0a\x00\x00",
        b"\x08\x08\x00\x00\x00\x00\x00\x00",
        b"\x05\x09" + bytes(10),
        b"\x05\x02\x00\x00",
        b"\x03\x04\x07\x00",
        b"\x04\x03\x00\x00",
        b"\x63\xff\x00\x00",
    ],
)
def test_tcp_options_that_are_malformed(options):
    buf = bytearray(60)
    size = tcp.emit(buf, 0, 1, 2, 3, 4, tcp.SYN, 5, options)
    assert tcp.parse(buf, 0, size) is None


@pytest.mark.parametrize(
    "options",
    [b"\x00\xff\xff\xff", b"\x01\x01\x01\x00", b"\x63\x04\xaa\xbb", b"\x1e\x08" + bytes(6), b"\x01\x03\x03\x0f"],
)
def test_tcp_options_that_are_unknown_or_end(options):
    buf = bytearray(60)
    size = tcp.emit(buf, 0, 1, 2, 3, 4, tcp.SYN, 5, options)
    assert tcp.parse(buf, 0, size).mss is None


def test_tcp_options_of_a_syn_mean_nothing_elsewhere():
    buf = bytearray(60)
    size = tcp.emit(buf, 0, 1, 2, 3, 4, tcp.ACK, 5, tcp.syn_options(1000, 3, True))
    segment = tcp.parse(buf, 0, size)
    assert (segment.mss, segment.window_scale, segment.sack_permitted) == (None, None, False)


@given(st.binary(min_size=0, max_size=40))
def test_tcp_any_options_are_parsed_or_refused(options):
    options += bytes(-len(options) % 4)
    buf = bytearray(60)
    size = tcp.emit(buf, 0, 1, 2, 3, 4, tcp.SYN, 5, options)
    tcp.parse(buf, 0, size)
