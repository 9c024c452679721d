# SPDX-License-Identifier: MIT
"""Extension headers and fragments (RFC 8200, RFC 5095, RFC 5722, RFC 6946, RFC 7112)."""

import random

import pytest
from scapy.layers.inet import UDP
from scapy.layers.inet6 import (
    HBHOptUnknown,
    ICMPv6EchoReply,
    ICMPv6EchoRequest,
    ICMPv6ParamProblem,
    ICMPv6TimeExceeded,
    IPv6,
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrFragment,
    IPv6ExtHdrHopByHop,
    IPv6ExtHdrRouting,
    PadN,
)
from scapy.packet import Raw

from libos.net.ip import ipv6 as net_ipv6
from libos.net.ip import reassembly as net_reassembly
from tests.net.peer6 import IP, Peer6
from tests.net.world import pattern


@pytest.fixture
def host(world):
    return world.host("fd00::2/64")


@pytest.fixture
def got(host):
    got = []
    host.udp.listen(53, lambda data, ip, port: got.append(data))
    return got


@pytest.fixture
def peer(world, host):
    peer = Peer6(world, host)
    peer.learn()
    return peer


PAYLOAD = UDP(sport=5, dport=53) / Raw(b"payload!")


def problem(peer):
    """(code, pointer) of the only complaint, or None for none."""
    answers = peer.take(ICMPv6ParamProblem)
    assert len(answers) <= 1
    return (answers[0][ICMPv6ParamProblem].code, answers[0][ICMPv6ParamProblem].ptr) if answers else None


# --- extension headers, section 4 ---


@pytest.mark.parametrize(
    "headers",
    [
        IPv6ExtHdrHopByHop(),
        IPv6ExtHdrDestOpt(),
        IPv6ExtHdrHopByHop() / IPv6ExtHdrDestOpt(),
        IPv6ExtHdrDestOpt() / IPv6ExtHdrDestOpt() / IPv6ExtHdrDestOpt(),
        IPv6ExtHdrDestOpt(options=[PadN(optdata=bytes(100))]),
        IPv6ExtHdrRouting(type=4, segleft=0, addresses=["fd00::1"]),
        IPv6ExtHdrRouting(type=0, segleft=0, addresses=["fd00::1"]),
        IPv6ExtHdrFragment(),
        IPv6ExtHdrHopByHop() / IPv6ExtHdrDestOpt() / IPv6ExtHdrRouting(segleft=0) / IPv6ExtHdrFragment(),
        IPv6ExtHdrFragment() / IPv6ExtHdrDestOpt(),
    ],
    ids=lambda headers: headers.summary(),
)
def test_headers_that_are_passed_over(peer, got, headers):
    peer.send(peer.ip() / headers / PAYLOAD)
    assert got == [b"payload!"]
    assert peer.take() == []


@pytest.mark.parametrize("kind", [0x05, 0x3E, 0x45, 0x85, 0xC5])
@pytest.mark.parametrize("to_group", [False, True])
@pytest.mark.parametrize("header", [IPv6ExtHdrHopByHop, IPv6ExtHdrDestOpt])
def test_unknown_option_does_what_its_highest_bits_say(peer, got, kind, to_group, header):
    """Section 4.2."""
    packet = peer.ip(dst="ff02::1" if to_group else "fd00::2")
    if to_group:
        packet.dst = "33:33:00:00:00:01"
    padding = PadN(optdata=b"")
    peer.send(packet / header(options=[padding, HBHOptUnknown(otype=kind, optdata=bytes(2))]) / PAYLOAD)
    action = kind >> 6
    assert got == ([b"payload!"] if action == 0 else [])
    is_told = action == 2 or (action == 3 and not to_group)
    assert problem(peer) == ((2, 44) if is_told else None)
    assert peer.host.ipv6.counters["InHdrErrors"] == (1 if action else 0)


@pytest.mark.parametrize(
    "options",
    [
        b"\x05\x05\0\0\0\0",  # ends beyond the header
        b"\x01\xff\0\0\0\0",
        b"\0\0\0\0\0\x05",  # without a length
        b"\x05\x00\x05\x00\x05\x00" + b"\x05\x00" * 8,  # too many
    ],
    ids=["too long", "padding too long", "no length", "too many"],
)
def test_options_that_make_no_sense_are_dropped(peer, got, options):
    header = bytes([17, (len(options) + 2) // 8 - 1]) + options
    peer.send(peer.ip(nh=60) / Raw(header + bytes(IPv6(src=IP, dst="fd00::2") / PAYLOAD)[40:]))
    assert got == []
    assert problem(peer) is None
    assert peer.host.ipv6.counters["InHdrErrors"] == 1


def test_hop_by_hop_header_only_at_the_beginning(peer, got):
    peer.send(peer.ip() / IPv6ExtHdrDestOpt() / IPv6ExtHdrHopByHop() / PAYLOAD)
    assert got == []
    assert problem(peer) == (1, 40)


@pytest.mark.parametrize("kind", [0, 2, 4, 253])
def test_routing_header_that_is_not_used_up_is_refused(peer, got, kind):
    """RFC 5095: type 0 as any other that is not known."""
    peer.send(peer.ip() / IPv6ExtHdrRouting(type=kind, segleft=1, addresses=["fd00::7"]) / PAYLOAD)
    assert got == []
    assert problem(peer) == (0, 42)
    assert [packet for packet in peer.take() if packet[IPv6].dst == "fd00::7"] == []


def test_number_and_length_of_headers_are_bounded(peer, got):
    packet = peer.ip()
    for _ in range(net_ipv6.MAX_EXTENSIONS):
        packet = packet / IPv6ExtHdrDestOpt()
    peer.send(packet / PAYLOAD)
    assert got == [b"payload!"]
    peer.send(packet / IPv6ExtHdrDestOpt() / PAYLOAD)
    peer.send(peer.ip() / IPv6ExtHdrDestOpt(options=[PadN(optdata=bytes(255)), PadN(optdata=bytes(255))]) / PAYLOAD)
    assert got == [b"payload!"]
    assert peer.host.ipv6.counters["InHdrErrors"] == 2


@pytest.mark.parametrize("size", range(8))
def test_header_that_is_cut_off(peer, got, size):
    for kind in (0, 43, 44, 60):
        peer.send(peer.ip(nh=kind) / Raw(bytes(size)))
        peer.send(peer.ip(nh=kind) / Raw(bytes([17, 1, 0, 0, 0, 0, 0, 0])[:size] + bytes(8)[size:]))
    assert got == []
    assert peer.host.ipv6.counters["InHdrErrors"] >= 4
    assert peer.take(UDP) == []


def test_no_next_header_ends_quietly(peer, got):
    peer.send(peer.ip(nh=59) / Raw(b"whatever"))
    assert peer.take() == []
    assert peer.host.ipv6.counters["InDiscards"] == 1


def test_tcp_behind_extension_headers(peer):
    from scapy.layers.inet import TCP

    peer.host.listen(7)
    peer.send(peer.ip() / IPv6ExtHdrDestOpt() / TCP(sport=5000, dport=7, flags="S"))
    (answer,) = peer.take(TCP)
    assert answer[TCP].flags == "SA"


# --- fragments, section 4.5 ---


def fragments(data, size=1232, ident=1, **fields):
    """The pieces of a UDP datagram with `data`, as packets behind an Ethernet header."""
    whole = bytes(IPv6(src=IP, dst="fd00::2") / UDP(sport=5, dport=53) / Raw(data))[40:]
    return [(at, at + size < len(whole), ident, whole[at : at + size]) for at in range(0, len(whole), size)]


def piece(peer, at, more, ident, data, **fields):
    return peer.ip(**fields) / IPv6ExtHdrFragment(nh=17, offset=at // 8, m=int(more), id=ident) / Raw(data)


@pytest.mark.parametrize("size", [1241, 2000, 20_000, 65_000, 65_527])
def test_fragments_in_any_order_and_repeated(world, peer, got, size):
    data = pattern(size)
    pieces = fragments(data) * 2
    random.Random(size).shuffle(pieces)
    for fields in pieces:
        peer.send(piece(peer, *fields))
    assert got[0] == data
    assert len(got) <= 2
    world.run(for_ms=net_ipv6.REASSEMBLY_MS + 1000)
    assert len(peer.host.ipv6.reassembly) == 0
    assert not peer.host.device.in_use


def test_extension_headers_around_a_fragment(peer, got):
    data = pattern(2000)
    for at, more, ident, part in fragments(data):
        header = IPv6ExtHdrFragment(nh=17, offset=at // 8, m=int(more), id=ident)
        peer.send(peer.ip() / IPv6ExtHdrHopByHop() / IPv6ExtHdrDestOpt() / header / Raw(part))
    assert got == [data]


def test_extension_header_in_the_fragmented_part(peer, got):
    whole = bytes(IPv6(src=IP, dst="fd00::2") / IPv6ExtHdrDestOpt() / UDP(sport=5, dport=53) / Raw(bytes(2000)))[40:]
    for at in (0, 1000):
        header = IPv6ExtHdrFragment(nh=60, offset=at // 8, m=not at, id=1)
        peer.send(peer.ip() / header / Raw(whole[at:] if at else whole[:1000]))
    assert got == [bytes(2000)]


def test_ping_larger_than_the_mtu_is_answered_in_fragments(world, peer):
    data = pattern(5000)
    whole = bytes(IPv6(src=IP, dst="fd00::2") / ICMPv6EchoRequest(id=9, seq=1, data=data))[40:]
    for at in range(0, len(whole), 1232):
        header = IPv6ExtHdrFragment(nh=58, offset=at // 8, m=at + 1232 < len(whole), id=1)
        peer.send(peer.ip() / header / Raw(whole[at : at + 1232]))
    world.run(for_ms=100)
    answer = b""
    for packet in peer.take(IPv6ExtHdrFragment):
        assert packet[IPv6ExtHdrFragment].offset * 8 == len(answer)
        answer += bytes(packet[IPv6ExtHdrFragment].payload)
    reply = IPv6(src="fd00::2", dst=IP) / ICMPv6EchoReply(answer)
    assert (reply[ICMPv6EchoReply].id, bytes(reply[ICMPv6EchoReply].data)) == (9, data)
    given_sum = reply[ICMPv6EchoReply].cksum
    del reply[ICMPv6EchoReply].cksum
    assert IPv6(bytes(reply))[ICMPv6EchoReply].cksum == given_sum
    assert peer.host.ipv6.counters["FragOKs"] == 1


@pytest.mark.parametrize("shift", [-8, 8, 400])
def test_overlap_drops_the_datagram_and_its_rest(world, peer, got, shift):
    """RFC 5722."""
    (first, second) = fragments(pattern(2000))
    at, _more, ident, data = second
    if shift > 0:
        peer.send(piece(peer, *second))
        peer.send(piece(peer, *first[:3], first[3] + bytes(shift)))
        peer.send(piece(peer, *first))
    else:
        peer.send(piece(peer, *first))
        peer.send(piece(peer, at + shift, False, ident, data))
        peer.send(piece(peer, *second))
    assert got == []
    assert peer.host.ipv6.counters["ReasmOverlaps"] == 1
    assert peer.host.ipv6.counters["ReasmFails"] == 1
    for fields in fragments(pattern(2000), ident=2):
        peer.send(piece(peer, *fields))
    assert got == [pattern(2000)]
    world.run(for_ms=net_ipv6.REASSEMBLY_MS + 1000)
    assert len(peer.host.ipv6.reassembly) == 0


def test_atomic_fragment_is_whole_whatever_else_has_its_number(peer, got):
    """RFC 6946."""
    (first, second) = fragments(pattern(2000))
    peer.send(piece(peer, *first))
    peer.send(peer.ip() / IPv6ExtHdrFragment(nh=17, id=1) / PAYLOAD)
    peer.send(piece(peer, *second))
    assert got == [b"payload!", pattern(2000)]


def test_fragments_of_two_senders_and_numbers_are_not_mixed(peer, got):
    ours, other = fragments(pattern(2000)), fragments(pattern(2000, 2), ident=2)
    peer.send(piece(peer, *ours[0]))
    peer.send(piece(peer, *other[1]))
    peer.send(piece(peer, *ours[1], src="fd00::8"))
    assert got == []
    peer.send(piece(peer, *ours[1]))
    peer.send(piece(peer, *other[0]))
    assert got == [pattern(2000), pattern(2000, 2)]


def test_fragment_with_an_odd_length_is_refused(peer, got):
    at, more, ident, data = fragments(pattern(2000))[0]
    peer.send(piece(peer, at, more, ident, data[:-1]))
    assert problem(peer) == (0, 4)
    assert peer.host.ipv6.counters["ReasmFails"] == 1


def test_fragment_beyond_a_packet_is_refused(peer, got):
    peer.send(piece(peer, 65_528, False, 1, bytes(100)))
    assert problem(peer) == (0, 42)
    assert len(peer.host.ipv6.reassembly) == 0


@pytest.mark.parametrize("data", [b"", bytes(7), bytes([17, 7]) + bytes(46)], ids=["none", "half", "header goes on"])
def test_first_fragment_without_all_headers_is_refused(peer, got, data):
    """RFC 7112."""
    kind = 60 if len(data) > 8 else 17
    if len(data) < 8:
        data = IPv6ExtHdrDestOpt(nh=17).build() + data if data else b"\x11\0\x01\x04\0\0\0\0"
        kind = 60
    more = len(data) % 8 == 0
    header = IPv6ExtHdrFragment(nh=kind, m=int(more), offset=0, id=1)
    if not more:
        data = data[:8]
        header.m = 1
    peer.send(peer.ip() / header / Raw(data))
    assert problem(peer) == (3, 0)
    assert len(peer.host.ipv6.reassembly) == 0


def test_fragments_of_fragments_are_dropped(peer, got):
    inner = b"".join(bytes(IPv6ExtHdrFragment(nh=17, m=1, id=5)) for _ in range(1)) + bytes(992)
    for at in (0, 504):
        header = IPv6ExtHdrFragment(nh=44, offset=at // 8, m=not at, id=1)
        peer.send(peer.ip() / header / Raw(inner[:504] if not at else inner[504:]))
    assert got == []
    assert len(peer.host.ipv6.reassembly) == 0
    assert peer.host.ipv6.counters["InHdrErrors"] == 1


@pytest.mark.parametrize("first", [True, False])
def test_rest_does_not_come(world, peer, got, first):
    peer.send(piece(peer, *fragments(pattern(2000))[0 if first else 1]))
    world.run(for_ms=net_ipv6.REASSEMBLY_MS + 1000)
    answers = peer.take(ICMPv6TimeExceeded)
    assert len(answers) == (1 if first else 0)  # section 4.5: only when it is known what it was
    if first:
        assert answers[0][ICMPv6TimeExceeded].code == 1
        assert answers[0][IPv6].dst == IP
    assert len(peer.host.ipv6.reassembly) == 0
    assert peer.host.ipv6.counters["ReasmTimeout"] == 1


def test_flood_of_fragments_is_bounded_and_others_go_on(world, peer, got):
    for ident in range(500):
        peer.send(piece(peer, *fragments(pattern(2000), ident=ident)[ident & 1]), settle=ident % 20 == 19)
    assert len(peer.host.ipv6.reassembly) <= net_reassembly.MAX_DATAGRAMS
    for fields in fragments(pattern(3000), ident=9999):
        peer.send(piece(peer, *fields))
    assert got == [pattern(3000)]
    world.run(for_ms=net_ipv6.REASSEMBLY_MS + 1000)
    assert len(peer.host.ipv6.reassembly) == 0
    assert not peer.host.device.in_use
