# SPDX-License-Identifier: MIT
"""Path MTU discovery for IPv6 (RFC 8201): what is believed, for how long, and what becomes of packets."""

import pytest
from scapy.layers.inet import UDP
from scapy.layers.inet6 import ICMPv6EchoReply, ICMPv6PacketTooBig, IPv6, IPv6ExtHdrFragment
from scapy.packet import Raw

from libos.net.ip import pmtu as net_pmtu
from libos.wire import ipv6
from tests.net.peer6 import IP, Peer6
from tests.net.world import pattern

ADDRESS = ipv6.parse_address(IP)


@pytest.fixture
def peer(world):
    peer = Peer6(world, world.host("fd00::2/64"))
    peer.host.udp.listen(9, lambda data, ip, port: None)
    peer.learn()
    return peer


def too_big(peer, mtu, inner=None, dst=IP):
    inner = inner or IPv6(src=peer.host.ip, dst=dst, plen=1460) / UDP(sport=9, dport=9) / Raw(bytes(500))
    peer.send(peer.ip(src="fd00::77") / ICMPv6PacketTooBig(mtu=mtu) / inner)


@pytest.mark.parametrize(("mtu", "believed"), [(1280, 1280), (1400, 1400), (1279, 1500), (68, 1500), (0, 1500),
                                               (1500, 1500), (9000, 1500), (0xFFFFFFFF, 1500)])  # fmt: skip
def test_what_is_believed(peer, mtu, believed):
    too_big(peer, mtu)
    assert peer.host.ipv6.path_mtu(ADDRESS) == believed
    assert peer.host.ipv6.path_mtu(ipv6.parse_address("fd00::8")) == 1500


def test_paths_only_become_narrower_and_are_forgotten(world, peer):
    too_big(peer, 1300)
    too_big(peer, 1400)
    assert peer.host.ipv6.path_mtu(ADDRESS) == 1300
    world.run(for_ms=net_pmtu.AGE_MS + 1000)
    assert peer.host.ipv6.path_mtu(ADDRESS) == 1500


def test_table_is_bounded(world, peer):
    for number in range(net_pmtu.MAX_PATHS + 50):
        too_big(peer, 1300, dst=f"fd00::1:{number:x}")
    assert len(peer.host.ipv6.path_mtus) == net_pmtu.MAX_PATHS
    world.run(for_ms=net_pmtu.AGE_MS + 1000)
    assert len(peer.host.ipv6.path_mtus) == 0


def test_message_about_a_packet_that_is_not_ours_is_not_believed(peer):
    too_big(peer, 1300, IPv6(src="fd00::3", dst=IP) / UDP() / Raw(bytes(10)))
    assert peer.host.ipv6.path_mtu(ADDRESS) == 1500


def test_message_about_a_port_that_is_not_open_is_not_believed(peer):
    peer.host.udp.unlisten(9)
    too_big(peer, 1300)
    assert peer.host.ipv6.path_mtu(ADDRESS) == 1500


def test_message_about_a_packet_that_was_not_too_big_is_not_believed(peer):
    too_big(peer, 1300, IPv6(src=peer.host.ip, dst=IP, plen=1260) / UDP(sport=9, dport=9) / Raw(bytes(500)))
    assert peer.host.ipv6.path_mtu(ADDRESS) == 1500
    assert peer.host.icmp6.counters["InImplausible"] == 1


def test_answer_to_a_ping_learns_the_path(peer):
    too_big(peer, 1300, IPv6(src=peer.host.ip, dst=IP, plen=1460) / ICMPv6EchoReply(data=bytes(500)))
    assert peer.host.ipv6.path_mtu(ADDRESS) == 1300


def test_datagram_larger_than_the_path_goes_in_fragments(world, peer):
    too_big(peer, 1280)
    data = pattern(1440)
    assert peer.host.udp.write(data, IP, 9, 9, world.now_ms)
    world.settle()
    pieces = peer.take(IPv6ExtHdrFragment)
    assert len(pieces) == 2
    assert all(packet[IPv6].plen + 40 <= 1280 for packet in pieces)
    assert b"".join(bytes(packet[IPv6ExtHdrFragment].payload) for packet in pieces)[8:] == data
    assert len({packet[IPv6ExtHdrFragment].id for packet in pieces}) == 1


def test_connection_makes_smaller_segments_and_a_forgery_does_not_count(world):
    a, b = world.host("fd00::2/64"), world.host("fd00::3/64")
    b.listen(7)
    flow = a.connect(b, 7)
    world.run(until=lambda: b.accepted)
    peer = Peer6(world, a)
    conn = flow.conn
    segment = lambda seq: (  # noqa: E731
        conn.local_port.to_bytes(2, "big") + conn.remote_port.to_bytes(2, "big") + (seq & 0xFFFFFFFF).to_bytes(4, "big")
    )
    flow.send(bytes(20_000))
    world.settle()
    before = conn.mss
    too_big(peer, 1280, IPv6(src=a.ip, dst=b.ip, nh=6, plen=1460) / Raw(segment(conn.snd_nxt + 100_000) + bytes(12)))
    assert conn.mss == before
    too_big(peer, 1280, IPv6(src=a.ip, dst=b.ip, nh=6, plen=1460) / Raw(segment(conn.snd_una) + bytes(12)))
    assert conn.mss + conn.header_len == 1280 + 14
    world.run(for_ms=1000)
    assert len(b.accepted[0].received) == 20_000
