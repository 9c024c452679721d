# SPDX-License-Identifier: MIT
"""Multicast listener discovery: MLDv2 (RFC 3810), and MLDv1 (RFC 2710) where a router speaks it."""

import pytest
from scapy.layers.inet6 import (
    ICMPv6MLDone,
    ICMPv6MLQuery,
    ICMPv6MLQuery2,
    ICMPv6MLReport,
    ICMPv6MLReport2,
    IPv6,
    IPv6ExtHdrHopByHop,
    RouterAlert,
)

from libos.net.ip import mld as net_mld
from libos.wire import ipv6
from tests.net.peer6 import Peer6

GROUP = "ff05::1234"
ADDRESS = ipv6.parse_address(GROUP)


@pytest.fixture
def host(world):
    return world.host("fd00::2/64")


@pytest.fixture
def peer(world, host):
    peer = Peer6(world, host)
    world.run(for_ms=5000)  # what is said at the start is over
    peer.take()
    return peer


def records(peer):
    """(type, group) of all reports since the last look, which are right in themselves."""
    found = []
    for packet in peer.take(ICMPv6MLReport2):
        assert (packet.dst, packet[IPv6].dst, packet[IPv6].hlim) == ("33:33:00:00:00:16", "ff02::16", 1)
        assert packet[IPv6].src == peer.link_local
        assert packet[IPv6].nh == 0
        assert packet[RouterAlert].value == 0
        given_sum = packet[ICMPv6MLReport2].cksum
        del packet[ICMPv6MLReport2].cksum
        assert IPv6(bytes(packet[IPv6]))[ICMPv6MLReport2].cksum == given_sum
        count = packet[ICMPv6MLReport2].records_number
        record = packet[ICMPv6MLReport2].records[0]  # scapy has each in the one before
        for _ in range(count):
            assert (record.sources_number, record.auxdata_len) == (0, 0)
            found.append((record.rtype, record.dst))
            record = record.payload
    return found


def query(peer, message, dst="ff02::1", alert=True, src="fe80::1", hlim=1):
    packet = peer.ip(src=src, dst=dst, hlim=hlim)
    packet.dst = "33:33:00:00:00:01" if dst == "ff02::1" else "33:33:00:00:12:34"
    if alert:
        packet = packet / IPv6ExtHdrHopByHop(options=[RouterAlert()])
    peer.send(packet / message)


def test_join_and_leave_are_reported_twice(world, host, peer):
    host.ipv6.join(ADDRESS)
    world.settle()
    assert records(peer) == [(4, GROUP)]
    assert b"\x33\x33\x00\x00\x12\x34" in host.device.groups
    world.run(for_ms=5000)
    assert records(peer) == [(4, GROUP)]
    host.ipv6.leave(ADDRESS)
    world.settle()
    assert records(peer) == [(3, GROUP)]
    assert b"\x33\x33\x00\x00\x12\x34" not in host.device.groups
    world.run(for_ms=5000)
    assert records(peer) == [(3, GROUP)]
    world.run(for_ms=60_000)
    assert records(peer) == []


def test_joins_are_counted(world, host, peer):
    for _ in range(3):
        host.ipv6.join(ADDRESS)
    host.ipv6.leave(ADDRESS)
    host.ipv6.leave(ADDRESS)
    world.run(for_ms=5000)
    assert {kind for kind, _ in records(peer)} == {4}
    assert ADDRESS in host.ipv6.mld.groups()
    host.ipv6.leave(ADDRESS)
    with pytest.raises(KeyError):
        host.ipv6.leave(ADDRESS)


def test_groups_are_bounded_and_must_be_groups(host):
    with pytest.raises(ValueError, match="not a multicast"):
        host.ipv6.join(ipv6.parse_address("fd00::1"))
    for number in range(net_mld.MAX_GROUPS - len(host.ipv6.mld.groups())):
        host.ipv6.join(ipv6.parse_address(f"ff05::{number:x}"))
    with pytest.raises(ValueError, match="more than"):
        host.ipv6.join(ADDRESS)


def test_general_query_is_answered_within_its_time_with_every_group(world, host, peer):
    host.ipv6.join(ADDRESS)
    world.run(for_ms=5000)
    peer.take()
    query(peer, ICMPv6MLQuery2(mrd=3000))
    world.run(for_ms=3100)
    found = records(peer)
    assert {kind for kind, _ in found} == {2}
    assert GROUP in [group for _, group in found]
    assert "ff02::1:ff00:2" in [group for _, group in found]
    assert "ff02::1" not in [group for _, group in found]
    assert host.ipv6.mld.counters["InGroupMembQueries"] == 1


def test_query_for_a_group(world, host, peer):
    host.ipv6.join(ADDRESS)
    world.run(for_ms=5000)
    peer.take()
    query(peer, ICMPv6MLQuery2(mrd=1000, mladdr=GROUP), dst=GROUP)
    query(peer, ICMPv6MLQuery2(mrd=1000, mladdr="ff05::99"))
    world.run(for_ms=1100)
    assert records(peer) == [(2, GROUP)]


@pytest.mark.parametrize("change", [{"alert": False}, {"hlim": 2}, {"src": "fd00::1"}, {"src": "::"}], ids=str)
def test_query_that_did_not_come_from_a_router_on_the_link_is_dropped(world, host, peer, change):
    """RFC 3810 section 5.1.14 and 6.2."""
    query(peer, ICMPv6MLQuery2(mrd=1), **change)
    world.run(for_ms=1000)
    assert records(peer) == []
    assert host.ipv6.mld.counters["InErrors"] == 1


def test_flood_of_queries_is_not_answered_by_a_flood(world, host, peer):
    for _ in range(100):
        query(peer, ICMPv6MLQuery2(mrd=0))
    world.run(for_ms=2000)
    assert len(peer.take(ICMPv6MLReport2)) <= 2
    assert len(host.ipv6.mld._answers) == 0


def test_version_1_while_such_a_router_is_there(world, host, peer):
    host.ipv6.join(ADDRESS)
    world.run(for_ms=5000)
    peer.take()
    query(peer, ICMPv6MLQuery(mrd=1000))
    world.run(for_ms=1100)
    reports = peer.take(ICMPv6MLReport)
    assert GROUP in [packet[ICMPv6MLReport].mladdr for packet in reports]
    assert all(packet[IPv6].dst == packet[ICMPv6MLReport].mladdr for packet in reports)
    host.ipv6.leave(ADDRESS)
    world.settle()
    (done,) = peer.take(ICMPv6MLDone)
    assert (done[IPv6].dst, done[ICMPv6MLDone].mladdr) == ("ff02::2", GROUP)
    world.run(for_ms=net_mld.MLD1_PRESENT_MS)
    peer.take()
    host.ipv6.join(ADDRESS)
    world.settle()
    assert records(peer) == [(4, GROUP)]


def test_version_1_report_of_another_saves_ours(world, host, peer):
    host.ipv6.join(ADDRESS)
    world.run(for_ms=5000)
    peer.take()
    query(peer, ICMPv6MLQuery(mrd=1000))
    query(peer, ICMPv6MLReport(mladdr=GROUP), dst=GROUP)
    world.run(for_ms=1100)
    assert GROUP not in [packet[ICMPv6MLReport].mladdr for packet in peer.take(ICMPv6MLReport)]


def test_reports_while_no_address_is_there_come_from_nobody(world):
    host = world.host("fd00::2/64", ipv6={"dad_transmits": 1})
    peer = Peer6(world, host)
    world.run(for_ms=50)
    sources = {packet[IPv6].src for packet in peer.take(ICMPv6MLReport2)}
    assert sources == {"::"}
