# SPDX-License-Identifier: MIT
"""Fragments of IPv4 (RFC 791, RFC 815's purpose, RFC 1858, RFC 5722), received and sent; scapy as the witness."""

import pytest
from scapy.compat import raw
from scapy.layers.inet import ICMP, IP, UDP, defragment, fragment
from scapy.layers.l2 import Ether
from scapy.packet import Raw
from scapy.utils import checksum

from libos.net.ip import fragmenter, reassembly
from tests.net.peer import MAC, Peer, tcp_segment
from tests.net.world import ALL_OFFLOADS, World, pattern


@pytest.fixture
def host(world):
    host = world.host("10.0.0.2/24")
    Peer(world, host)
    world.run(for_ms=3000)
    host.device.tx_log.clear()
    host.got = []
    host.udp.listen(53, lambda data, ip, port: host.got.append((data, ip, port)))
    return host


def inject(world, host, packet):
    world.inject(host, raw(Ether(dst=host.device.mac, src=MAC) / packet))
    world.settle()


def pieces(data, size=1480, ident=77, **udp):
    packet = IP(src="10.0.0.9", dst="10.0.0.2", id=ident) / UDP(**{"sport": 5, "dport": 53, **udp}) / Raw(data)
    return fragment(IP(raw(packet)), fragsize=size)


def sent(host):
    """What went out, put together again by scapy; each fragment fits the link."""
    packets = [IP(packet[14:]) for packet in host.device.tx_log if packet[12:14] == b"\x08\x00"]
    host.device.tx_log.clear()
    for packet in packets:
        given = packet.chksum
        header = IP(raw(packet)[:20])
        header.chksum = None
        assert IP(raw(header)).chksum == given
        # What pads a short frame is zero (RFC 1042's leak, CVE-2003-0001).
        assert not any(raw(packet)[packet.len :])
    return [IP(raw(packet)[: packet.len]) for packet in defragment([IP(raw(p)[: p.len]) for p in packets])]


def healthy(world, host):
    """A datagram in two fragments, and one in one piece, get through whatever came before."""
    before = len(host.got)
    for part in pieces(pattern(2000), ident=60_000, sport=6):
        inject(world, host, part)
    inject(world, host, IP(src="10.0.0.9", dst="10.0.0.2") / UDP(sport=6, dport=53) / Raw(b"whole"))
    assert host.got[before:] == [(pattern(2000), "10.0.0.9", 6), (b"whole", "10.0.0.9", 6)]


def settled(world, host):
    world.run(for_ms=40_000)
    assert not len(host.ipv4._reassembly)
    assert host.is_clean()


@pytest.mark.parametrize("size", [1473, 8000, 65507])
@pytest.mark.parametrize("order", ["straight", "reversed", "twice"])
def test_fragments_are_delivered_as_one(world, host, size, order):
    data = pattern(size)
    parts = pieces(data)
    if order == "reversed":
        parts.reverse()
    for part in parts:
        inject(world, host, part)
        if order == "twice" and part is not parts[-1]:
            inject(world, host, part)
    assert host.got == [(data, "10.0.0.9", 5)]
    assert host.ipv4.counters["ReasmOKs"] == 1
    assert not len(host.ipv4._reassembly)
    assert host.is_clean()


def test_fragments_with_a_wrong_checksum_are_not_delivered(world, host):
    for part in pieces(pattern(3000), chksum=0x1234):
        inject(world, host, part)
    assert host.got == []
    assert host.udp.counters["InCsumErrors"] == 1
    healthy(world, host)


def test_fragments_of_two_datagrams_do_not_mix(world, host):
    first, second = pieces(pattern(3000, 1), ident=1), pieces(pattern(3000, 2), ident=2)
    for a, b in zip(first, second, strict=True):
        inject(world, host, a)
        inject(world, host, b)
    assert [data for data, _, _ in host.got] == [pattern(3000, 1), pattern(3000, 2)]


def test_overlap_drops_the_datagram_and_what_still_comes_of_it(world, host):
    parts = pieces(pattern(4000))
    inject(world, host, parts[0])
    forged = parts[1].copy()
    forged.frag -= 1
    forged.chksum = None
    inject(world, host, forged)
    for part in parts:
        inject(world, host, part)
    assert host.got == []
    assert host.ipv4.counters["ReasmOverlaps"] == 1
    assert host.ipv4.counters["ReasmFails"] == 1
    healthy(world, host)
    settled(world, host)


def test_other_content_in_the_same_place_is_an_overlap(world, host):
    parts = pieces(pattern(4000))
    inject(world, host, parts[1])
    inject(world, host, pieces(pattern(4000, 2))[1])
    for part in parts:
        inject(world, host, part)
    assert host.got == []
    assert host.ipv4.counters["ReasmOverlaps"] == 1
    settled(world, host)


def test_ping_of_death_is_refused(world, host):
    parts = pieces(pattern(65507))
    for part in parts[:-1]:
        inject(world, host, part)
    last = parts[-1].copy()
    last.payload = Raw(bytes(1400))
    last.len = last.chksum = None
    inject(world, host, last)
    assert host.got == []
    assert host.ipv4.counters["ReasmFails"] == 1
    healthy(world, host)
    settled(world, host)


def test_tiny_fragments_are_refused(world, host):
    for part in pieces(pattern(1000), size=8):
        inject(world, host, part)
    assert host.got == []
    assert host.ipv4.counters["ReasmFails"] >= 100
    healthy(world, host)
    settled(world, host)


def test_first_fragments_without_the_rest_are_bounded_and_answered_at_last(world, host):
    frame = bytearray(raw(Ether(dst=host.device.mac, src=MAC) / pieces(pattern(3000), ident=0)[0]))
    for ident in range(1000):
        # scapy takes longer for one of them than the host for all.
        frame[18:20] = ident.to_bytes(2, "big")
        frame[24:26] = bytes(2)
        frame[24:26] = checksum(bytes(frame[14:34])).to_bytes(2, "big")
        world.inject(host, bytes(frame))
        world.settle()
    assert len(host.ipv4._reassembly) == reassembly.MAX_DATAGRAMS
    healthy(world, host)
    host.device.tx_log.clear()
    world.run(for_ms=31_000)
    answers = [packet for packet in sent(host) if ICMP in packet]
    assert 0 < len(answers) <= 20  # not a flood for a flood
    assert {(answer[ICMP].type, answer[ICMP].code) for answer in answers} == {(11, 1)}
    assert {answer.dst for answer in answers} == {"10.0.0.9"}
    quoted = bytes(answers[0][ICMP].payload)
    assert quoted[20:24] == b"\x00\x05\x00\x35"
    assert host.icmp.counters["OutTimeExcds"] == len(answers)
    assert host.ipv4.counters["ReasmTimeout"] >= 60
    settled(world, host)


def test_rest_without_a_first_fragment_is_answered_by_silence(world, host):
    inject(world, host, pieces(pattern(3000))[1])
    world.run(for_ms=31_000)
    assert [packet for packet in sent(host) if ICMP in packet] == []
    assert host.ipv4.counters["ReasmTimeout"] == 1
    settled(world, host)


def test_fragmented_segment_of_tcp_is_taken(world, host):
    host.listen(7)
    peer = Peer(world, host)
    peer.connect()
    body = tcp_segment(peer.ip, host.ipv4.ip, peer.port, 7, peer.iss + peer.seq, peer.acked(), 0x18, 0xFFFF, b"x" * 300)
    for part in fragment(IP(raw(IP(src="10.0.0.9", dst="10.0.0.2", proto=6, id=5) / Raw(body))), fragsize=48):
        inject(world, host, part)
    assert bytes(host.accepted[0].received) == b"x" * 300


def test_fragments_to_a_closed_port_are_answered_once(world, host):
    for part in pieces(pattern(3000), dport=99):
        inject(world, host, part)
    (answer,) = sent(host)
    assert (answer[ICMP].type, answer[ICMP].code) == (3, 3)
    assert bytes(answer[ICMP].payload)[20:24] == b"\x00\x05\x00\x63"


# --- sending ---


@pytest.mark.parametrize("size", [1473, 1480, 1481, 10_000, 65_507])
@pytest.mark.parametrize("features", [0, ALL_OFFLOADS])
def test_large_datagram_is_put_together_by_scapy(world, size, features):
    host = world.host("10.0.0.2/24", features=features)
    Peer(world, host)
    data = pattern(size)
    assert host.udp.write(data, "10.0.0.9", 2000, 3000, world.now_ms)
    world.run(for_ms=100)
    (packet,) = sent(host)
    assert (packet[UDP].sport, packet[UDP].dport, packet[UDP].len) == (3000, 2000, 8 + size)
    assert bytes(packet[UDP].payload) == data
    given = packet[UDP].chksum
    packet[UDP].chksum = None
    assert IP(raw(packet))[UDP].chksum == given
    count = -(-(size + 8) // 1480)
    assert host.ipv4.counters["FragCreates"] == count
    assert host.ipv4.counters["FragOKs"] == 1
    assert host.is_clean()


@pytest.mark.parametrize("size", [1473, 9000, 65_507])
def test_large_echo_request_is_answered(world, host, size):
    data = pattern(size)
    packet = IP(src="10.0.0.9", dst="10.0.0.2", id=9) / ICMP(type=8, id=7, seq=1) / Raw(data)
    for part in fragment(IP(raw(packet)), fragsize=1480):
        inject(world, host, part)
    world.run(for_ms=100)
    (reply,) = sent(host)
    assert (reply[ICMP].type, reply[ICMP].id, reply[ICMP].seq) == (0, 7, 1)
    assert bytes(reply[ICMP].payload) == data
    given = reply[ICMP].chksum
    reply[ICMP].chksum = None
    assert IP(raw(reply))[ICMP].chksum == given
    assert host.is_clean()


def test_large_datagram_to_a_neighbour_that_has_to_be_asked_for():
    world = World(seed=3)
    a, b = world.host("10.0.0.1/24"), world.host("10.0.0.2/24")
    got = []
    b.udp.listen(9, lambda data, ip, port: got.append(data))
    assert a.udp.write(pattern(65_507), "10.0.0.2", 9, 9, world.now_ms)
    world.run(for_ms=1000)
    assert got == [pattern(65_507)]
    assert a.arp.counters["PendingDropped"] == 0
    assert a.is_clean()
    assert b.is_clean()


def test_large_datagram_with_fewer_frames_than_fragments():
    world = World(seed=3)
    a = world.host("10.0.0.1/24", device={"tx_frames": 8, "tx_limit": 3})
    b = world.host("10.0.0.2/24")
    got = []
    b.udp.listen(9, lambda data, ip, port: got.append(data))
    assert a.udp.write(pattern(65_507), "10.0.0.2", 9, 9, world.now_ms)
    world.run(for_ms=2000)
    assert got == [pattern(65_507)]
    assert a.is_clean()


def test_large_datagrams_to_nobody_are_bounded_and_given_up(world):
    host = world.host("10.0.0.2/24")
    taken = [host.udp.write(pattern(20_000), "10.0.0.77", 9, 9, world.now_ms) for _ in range(50)]
    assert sum(taken) == fragmenter.MAX_QUEUED
    assert host.udp.counters["OutErrors"] == 50 - sum(taken)
    taken = [host.udp.write(pattern(2000), "10.0.0.78", 9, 9, world.now_ms) for _ in range(5)]
    assert not any(taken)
    world.run(for_ms=20_000)
    assert not len(host.ipv4._fragmenter)
    assert host.ipv4.counters["FragOKs"] == 0
    assert host.ipv4.counters["FragFails"] == 50 + 5
    assert host.is_clean()


def test_forged_large_echo_requests_leave_room_for_the_application(world, host):
    for last in range(100, 140):
        packet = IP(src=f"10.0.0.{last}", dst="10.0.0.2", id=last) / ICMP(type=8) / Raw(bytes(2000))
        for part in fragment(IP(raw(packet)), fragsize=1480):
            inject(world, host, part)
    assert len(host.ipv4._fragmenter) == fragmenter.MAX_QUEUED_ICMP
    assert host.icmp.counters["OutErrors"] == 40 - fragmenter.MAX_QUEUED_ICMP
    host.device.tx_log.clear()
    assert host.udp.write(pattern(5000), "10.0.0.9", 9, 9, world.now_ms)
    world.run(for_ms=50)
    assert [bytes(packet[UDP].payload) for packet in sent(host) if packet.dst == "10.0.0.9"] == [pattern(5000)]
    settled(world, host)


def test_identifications_tell_nothing_of_others_and_do_not_repeat(world, host):
    for _ in range(200):
        host.udp.write(b"x", "10.0.0.9", 9, 9, world.now_ms)
        host.ipv4._idents.next(0x0A00000A)  # one to somebody else
        world.settle()
    packets = [IP(packet[14:]) for packet in host.device.tx_log if packet[12:14] == b"\x08\x00"]
    assert len({packet.id for packet in packets}) == 200
    assert {(packet.id - packets[0].id) & 0xFFFF for packet in packets} == set(range(200))
    assert {int(packet.flags) for packet in packets} == {0}
    starts = {World(seed=seed).host("10.0.0.2/24").ipv4._idents.next(1) & 0xFFFF for seed in range(20)}
    assert len(starts) > 15
    assert host.ipv4._idents.next(1) != host.ipv4._idents.next(2)


def test_identifications_are_remembered_of_few():
    host = World(seed=1).host("10.0.0.2/24")
    for ip in range(10_000):
        host.ipv4._idents.next(ip)
        assert len(host.ipv4._idents._counters) <= fragmenter.MAX_DESTINATIONS


def test_data_that_changes_after_write_is_sent_as_it_was(world, host):
    data = bytearray(pattern(5000))
    host.arp._table.clear()
    world.filter = None
    assert host.udp.write(data, "10.0.0.9", 2000, 3000, world.now_ms)
    data[:] = bytes(5000)
    assert bytes(host.ipv4._fragmenter._queue[0].data) == pattern(5000)
