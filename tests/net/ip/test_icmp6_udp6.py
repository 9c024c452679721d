# SPDX-License-Identifier: MIT
"""ip.ipv6, ip.icmp6, and UDP over IPv6: what is taken, what is refused under which name, and what is answered."""

import pytest
from scapy.layers.inet import UDP
from scapy.layers.inet6 import (
    HBHOptUnknown,
    ICMPv6DestUnreach,
    ICMPv6EchoReply,
    ICMPv6EchoRequest,
    ICMPv6PacketTooBig,
    ICMPv6ParamProblem,
    ICMPv6Unknown,
    IPv6,
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrHopByHop,
)
from scapy.packet import Raw

from libos.net import errors
from libos.net.transport import Transport
from tests.net.peer6 import IP, Peer6
from tests.net.world import World, pattern


@pytest.fixture
def host(world):
    return world.host("fd00::2/64")


@pytest.fixture
def peer(world, host):
    peer = Peer6(world, host)
    peer.learn()
    return peer


def checked(packet):
    """The packet, after a look at its checksum and length by scapy."""
    ip = IPv6(bytes(packet[IPv6])[: 40 + packet[IPv6].plen])
    payload = ip.payload
    name = "chksum" if UDP in ip else "cksum"
    given_sum = getattr(payload, name)
    delattr(payload, name)
    assert getattr(IPv6(bytes(ip)).payload, name) == given_sum
    return ip


# --- two stacks ---


@pytest.mark.parametrize("size", [0, 1, 1000, 1452])
def test_ping_and_udp_between_two_stacks(world, size):
    a, b = world.host("fd00::a/64"), world.host("fd00::b/64")
    got = []
    b.udp.listen(53, lambda data, ip, port: got.append((data, ip, port)) or b.udp.write(data, ip, port, 53))
    a.udp.listen(99, lambda data, ip, port: got.append((data, ip, port)))
    data = pattern(size)
    assert a.udp.write(data, b.ip, 53, 99, world.now_ms)
    world.run(for_ms=100)
    assert got == [(data, a.ip, 99), (data, b.ip, 53)]
    assert not a.device.in_use
    assert not b.device.in_use


def test_link_local_addresses_are_always_there(world):
    a, b = world.host("fd00::a/64"), world.host("fd00::b/64")
    got = []
    b.udp.listen(53, lambda data, ip, port: got.append(ip))
    there = b.ipv6.format_address(b.ipv6.addresses.link_local())
    assert a.udp.write(b"x", there, 53, 99, world.now_ms)
    world.run(for_ms=100)
    assert got == [a.ipv6.format_address(a.ipv6.addresses.link_local())]


@pytest.mark.parametrize("loss", [0.0, 0.02, 0.1])
def test_tcp_transfer_over_ipv6(loss):
    world = World(seed=3, loss=loss, reorder=loss, duplicate=loss, damage=loss / 2)
    a, b = world.host("fd00::a/64"), world.host("fd00::b/64")
    b.echo(7)
    flow = a.connect(b, 7)
    data = pattern(300_000)
    flow.send(data, close=True)
    world.run(until=lambda: flow.is_closed)
    assert bytes(flow.received) == data
    world.run(limit_ms=3_600_000)
    assert a.is_clean()
    assert b.is_clean()
    assert a.ndp.entries() == b.ndp.entries() == []


def test_both_families_on_one_interface(world):
    a = world.host("10.0.0.1/24", ipv6={"address": "fd00::1/64"})
    b = world.host("10.0.0.2/24", ipv6={"address": "fd00::2/64"})
    b.echo(7)
    flows = [a.connect("10.0.0.2", 7), a.connect("fd00::2", 7)]
    for flow in flows:
        flow.send(b"hello", close=True)
    world.run(until=lambda: all(flow.is_closed for flow in flows))
    assert [bytes(flow.received) for flow in flows] == [b"hello"] * 2


def test_ourselves_without_the_network(world, host):
    host.device.tx_log = []
    host.echo(7)
    flows = [host.connect(host.ip, 7), host.connect("::1", 7)]
    data = pattern(100_000)
    for flow in flows:
        flow.send(data, close=True)
    got = []
    host.udp.listen(53, lambda data, ip, port: got.append((len(data), ip)))
    for size in (10, 5000):
        assert host.udp.write(bytes(size), "::1", 53, 99, world.now_ms)
    world.run(until=lambda: all(flow.is_closed for flow in flows))
    assert [bytes(flow.received) == data for flow in flows] == [True, True]
    assert got == [(10, "::1"), (5000, "::1")]
    assert [packet for packet in host.device.tx_log if packet[54:55] != b"\x3a"] == []  # MLD alone
    assert not host.device.in_use


def test_loopback_address_from_the_network_is_dropped(peer):
    peer.send(peer.ip(dst="::1") / UDP(dport=53))
    peer.send(peer.ip(src="::1") / UDP(dport=53))
    assert peer.host.ipv6.counters["InAddrErrors"] == 1
    assert peer.host.ipv6.counters["InMartians"] == 1


@pytest.mark.parametrize("size", [0, 56, 1452, 1453, 10_000, 65_527])
def test_ping_of_another_stack(world, size):
    a, b = world.host("fd00::a/64"), world.host("fd00::b/64")
    results = []
    assert a.icmp6.ping(b.ip, results.append, world.now_ms, size)
    world.run(for_ms=900)
    assert len(results) == 1
    assert 2 <= results[0] < 100
    assert b.icmp6.counters["OutEchoReplies"] == 1
    assert a.icmp6.ping("fd00::c", results.append, world.now_ms)
    world.run(for_ms=4000)
    assert results[1:] == [None]
    assert not a.device.in_use
    assert not b.device.in_use


@pytest.mark.parametrize("size", [1453, 5000, 65_507])
def test_large_datagrams_between_two_stacks(world, size):
    a, b = world.host("fd00::a/64"), world.host("fd00::b/64")
    got = []
    b.udp.listen(53, lambda data, ip, port: got.append(data))
    data = pattern(size)
    assert a.udp.write(data, b.ip, 53, 99, world.now_ms)
    world.run(for_ms=1000)
    assert got == [data]
    assert a.ipv6.counters["FragOKs"] == b.ipv6.counters["ReasmOKs"] == 1


# --- ICMPv6 ---


@pytest.mark.parametrize("size", [0, 1, 8, 56, 1451, 1452])
def test_echo_request_is_answered(peer, size):
    data = pattern(size)
    peer.send(peer.ip() / ICMPv6EchoRequest(id=77, seq=5, data=data))
    (reply,) = peer.take(ICMPv6EchoReply)
    reply = checked(reply)
    assert (reply[ICMPv6EchoReply].id, reply[ICMPv6EchoReply].seq) == (77, 5)
    assert bytes(reply[ICMPv6EchoReply].data) == data
    assert peer.host.icmp6.counters["OutEchoReplies"] == 1
    assert not peer.host.device.in_use


def test_echo_request_to_all_nodes_is_answered_from_our_address_within_the_limit(world, peer):
    for _ in range(100):
        packet = peer.ip(dst="ff02::1") / ICMPv6EchoRequest(id=1)
        packet.dst = "33:33:00:00:00:01"
        peer.send(packet)
    replies = peer.take(ICMPv6EchoReply)
    assert 0 < len(replies) <= 20
    assert replies[0][IPv6].src == peer.host.ip


def test_echo_request_with_a_bad_checksum_is_dropped(peer):
    peer.send(peer.ip() / ICMPv6EchoRequest(cksum=1))
    assert peer.take() == []
    assert peer.host.icmp6.counters["InCsumErrors"] == 1


def test_icmp_truncated_is_counted(peer):
    peer.send(peer.ip(nh=58) / Raw(b"\x80\x00\x00"))
    assert peer.host.icmp6.counters["InErrors"] == 1


def test_unknown_next_header_is_answered_with_its_place(peer):
    peer.send(peer.ip() / IPv6ExtHdrDestOpt(nh=99) / Raw(b"what is this"))
    (answer,) = peer.take(ICMPv6ParamProblem)
    assert (answer[ICMPv6ParamProblem].code, answer[ICMPv6ParamProblem].ptr) == (1, 40)
    assert peer.host.ipv6.counters["InUnknownProtos"] == 1


def test_errors_are_limited_in_rate_quote_all_that_fits_and_never_answer_errors(world, peer):
    for _ in range(100):
        peer.send(peer.ip() / UDP(dport=9999) / Raw(bytes(1400)), settle=False)
    world.settle()
    answers = peer.take(ICMPv6DestUnreach)
    assert len(answers) == 20
    assert checked(answers[0])[ICMPv6DestUnreach].code == 4
    assert answers[0][IPv6].plen + 40 == 1280
    assert peer.host.icmp6.counters["OutRateLimited"] == 80
    world.now_ms += 10_000
    inner = IPv6(src=peer.host.ip, dst=IP) / UDP(sport=1, dport=2)
    peer.send(peer.ip() / ICMPv6DestUnreach(code=4) / inner)
    peer.send(peer.ip() / ICMPv6Unknown(type=99, msgbody=b"xxxx"))
    option = HBHOptUnknown(otype=0xC5, optdata=bytes(4))  # one that is to be reported
    peer.send(peer.ip() / IPv6ExtHdrDestOpt(options=[option]) / ICMPv6Unknown(type=1, msgbody=b"xxxx"))
    assert peer.take(ICMPv6ParamProblem) == peer.take(ICMPv6DestUnreach) == []
    peer.send(peer.ip() / IPv6ExtHdrDestOpt(options=[option]) / ICMPv6Unknown(type=200, msgbody=b"xxxx"))
    assert len(peer.take(ICMPv6ParamProblem)) == 1


@pytest.mark.parametrize("dst", ["ff02::1", "fd00::2"])
def test_errors_never_answer_what_went_to_many(peer, dst):
    packet = peer.ip(dst=dst) / UDP(dport=9999)
    packet.dst = "33:33:00:00:00:01"
    peer.send(packet)
    assert peer.take() == []
    assert peer.host.udp.counters["NoPorts"] == 1


class Listener(Transport):
    def __init__(self):
        self.errors = []

    def input_error(self, ip, src_ip, dst_ip, quoted, error, mtu, now_ms):
        self.errors.append((ip.format_address(src_ip), ip.format_address(dst_ip), quoted[:4], error, mtu))


@pytest.mark.parametrize(
    ("message", "error", "mtu"),
    [
        (ICMPv6DestUnreach(code=4), errors.UNREACHABLE_PORT, 0),
        (ICMPv6DestUnreach(code=0), errors.UNREACHABLE_HOST, 0),
        (ICMPv6DestUnreach(code=3), errors.UNREACHABLE_HOST, 0),
        (ICMPv6ParamProblem(code=1, ptr=6), errors.UNREACHABLE_PROTOCOL, 0),
        (ICMPv6ParamProblem(code=0), errors.OTHER, 0),
        (ICMPv6PacketTooBig(mtu=1300), errors.TOO_BIG, 1300),
    ],
    ids=str,
)
def test_error_is_delivered_to_the_protocol_of_the_quoted_packet(peer, message, error, mtu):
    listener = Listener()
    peer.host.ipv6.register(17, listener)
    peer.send(peer.ip() / message / IPv6(src=peer.host.ip, dst=IP, plen=1460) / UDP(sport=1, dport=2))
    assert listener.errors == [(peer.host.ip, IP, b"\0\1\0\2", error, mtu)]


def test_error_about_a_packet_that_is_not_ours_is_dropped(peer):
    listener = Listener()
    peer.host.ipv6.register(17, listener)
    peer.send(peer.ip() / ICMPv6DestUnreach(code=4) / IPv6(src="fd00::3", dst=IP) / UDP())
    peer.send(peer.ip() / ICMPv6DestUnreach(code=4) / Raw(b"\x60" + bytes(30)))
    assert listener.errors == []
    assert peer.host.icmp6.counters["InErrors"] == 2


# --- UDP ---


def test_udp_without_a_checksum_is_refused_as_one_with_a_wrong_one(peer):
    got = []
    peer.host.udp.listen(53, lambda data, ip, port: got.append(data))
    peer.send(peer.ip() / UDP(dport=53, chksum=0) / Raw(b"none"))
    peer.send(peer.ip() / UDP(dport=53, chksum=0x1234) / Raw(b"wrong"))
    peer.send(peer.ip() / UDP(dport=53) / Raw(b"right"))
    assert got == [b"right"]
    assert peer.host.udp.counters["InCsumErrors"] == 2


def test_udp_write_is_what_scapy_expects(world, peer):
    assert peer.host.udp.write(b"some data", IP, 2000, 3000, world.now_ms)
    world.settle()
    (packet,) = peer.take(UDP)
    packet = checked(packet)
    assert (packet.src, packet.dst, packet.hlim) == (peer.host.ip, IP, 64)
    assert (packet[UDP].sport, packet[UDP].dport, bytes(packet[UDP].payload)) == (3000, 2000, b"some data")


def test_udp_to_a_group_that_was_joined(world, host, peer):
    got = []
    group = host.ipv6.parse_address("ff05::1234")
    host.udp.listen(53, lambda data, ip, port: got.append(data))

    def send():
        packet = peer.ip(dst="ff05::1234") / UDP(dport=53) / Raw(b"to all")
        packet.dst = "33:33:00:00:12:34"
        peer.send(packet)

    send()
    assert got == []
    assert host.ipv6.counters["InAddrErrors"] == 1
    host.ipv6.join(group)
    send()
    assert got == [b"to all"]
    host.ipv6.leave(group)
    send()
    assert got == [b"to all"]
    assert peer.take(ICMPv6DestUnreach) == []


def test_udp_write_to_a_group_and_to_nowhere(world, host, peer):
    assert host.udp.write(b"x", "ff02::1234", 1, 1, world.now_ms)
    assert not host.udp.write(b"x", "2001:db8::1", 1, 1, world.now_ms)
    world.settle()
    (packet,) = peer.take(UDP)
    assert packet.dst == "33:33:00:00:12:34"
    assert host.ipv6.counters["OutNoRoutes"] == 1
    assert not host.device.in_use


# --- IPv6 ---


@pytest.mark.parametrize(
    ("change", "counter"),
    [
        ({"version": 4}, "InHdrErrors"),
        ({"plen": 2000}, "InTruncatedPkts"),
        ({"dst": "fd00::3"}, "InAddrErrors"),
        ({"dst": "::1"}, "InAddrErrors"),
        ({"dst": "ff01::1"}, "InAddrErrors"),
        ({"dst": "ff02::1234"}, "InAddrErrors"),
        ({"src": "ff02::1"}, "InMartians"),
        ({"src": "::1"}, "InMartians"),
        ({"src": "::"}, "InMartians"),
        ({"src": "::ffff:10.0.0.1"}, "InMartians"),
        ({"src": "fd00::2"}, "InMartians"),
    ],
    ids=str,
)
def test_packet_that_is_dropped(peer, change, counter):
    got = []
    peer.host.udp.listen(53, lambda data, ip, port: got.append(data))
    peer.send(peer.ip(**change) / UDP(dport=53, chksum=0x1234) / Raw(b"x"))
    assert got == []
    assert peer.host.ipv6.counters[counter] == 1
    assert peer.take() == []
    peer.send(peer.ip() / UDP(dport=53) / Raw(b"x"))
    assert got == [b"x"]


def test_padding_is_not_taken_for_data(peer):
    got = []
    peer.host.udp.listen(53, lambda data, ip, port: got.append(data))
    peer.send(bytes(peer.ip() / UDP(dport=53) / Raw(b"x")) + b"not ours" * 3)
    assert got == [b"x"]


def test_routes_and_gateway(world):
    host = world.host("fd00::2/64", gateway="fe80::254")
    ip = host.ipv6.parse_address
    hop = host.ipv6.next_hop
    assert hop(ip("fd00::77")) == ip("fd00::77")
    assert hop(ip("fe80::77")) == ip("fe80::77")
    assert hop(ip("2001:db8::1")) == ip("fe80::254")
    host.ipv6.add_route("2001:db8::/32", "fd00::253")
    host.ipv6.add_route("2001:db8:8::/48", "fd00::252")
    assert hop(ip("2001:db8:8::8")) == ip("fd00::252")
    assert hop(ip("2001:db8:9::8")) == ip("fd00::253")
    assert hop(ip("2002::1")) == ip("fe80::254")
    with pytest.raises(ValueError, match="not a neighbour"):
        host.ipv6.add_route("2001:db8::/32", "2001:db8::1")


@pytest.mark.parametrize(
    ("address", "gateway"),
    [
        ("fd00::2", None),
        ("fd00::/64", None),
        ("::1/128", None),
        ("ff02::1/64", None),
        ("::/0", None),
        ("::ffff:10.0.0.1/96", None),
        ("fd00::2/64", "fd00:1::1"),
        ("fd00::2/64", "fd00::2"),
        ("fd00::2/64", "gateway"),
        ("fe80::2%eth0/64", None),
    ],
)
def test_address_that_cannot_be(world, address, gateway):
    with pytest.raises(ValueError, match=r"not |gateway|zone"):
        world.host("10.0.0.1/24", ipv6={"address": address, "gateway": gateway})


def test_without_ipv6_nothing_is_sent_and_nothing_received(world):
    host = world.host("10.0.0.1/24", ipv6={"address": "fd00::2/64", "ipv4_only": True})
    host.device.tx_log = []
    world.run(for_ms=10_000)
    assert [packet for packet in host.device.tx_log if packet[12:14] == b"\x86\xdd"] == []
    assert not host.udp.write(b"x", "fd00::9", 1, 1, world.now_ms)
    with pytest.raises(OSError, match="113"):
        host.connect("fd00::9", 7)
    with pytest.raises(ValueError, match="switched off"):
        host.udp.join("ff05::1")
    assert set(host.device.groups) <= {b"\x01\x00\x5e\x00\x00\x01"}


def test_hop_by_hop_options_that_are_known_are_skipped(peer):
    got = []
    peer.host.udp.listen(53, lambda data, ip, port: got.append(data))
    peer.send(peer.ip() / IPv6ExtHdrHopByHop() / IPv6ExtHdrDestOpt() / UDP(dport=53) / Raw(b"x"))
    assert got == [b"x"]
