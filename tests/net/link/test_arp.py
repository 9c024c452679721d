# SPDX-License-Identifier: MIT
"""net.link.arp: resolving, ageing, and what must not get into the table."""

from itertools import pairwise

import pytest

from libos.net.link import arp as net_arp
from libos.net.link import neighbours
from libos.wire import arp, ethernet
from tests.net.arp_frames import inject, sent
from tests.net.world import World

PEER_IP = 0x0A000009
PEER_MAC = b"\x52\x54\x00\x00\x00\x99"
EVIL_MAC = b"\x52\x54\x00\x00\x00\x66"


@pytest.fixture
def host(world):
    host = world.host("10.0.0.2/24")
    host.device.tx_log = []
    world.run(for_ms=3000)
    return host


def learn(world, host):
    host.udp.write(b"x", "10.0.0.9", 9, 9, world.now_ms)
    world.settle()
    inject(world, host, arp.REPLY, PEER_MAC, PEER_IP, host.ipv4.ip)
    assert host.arp.entries() == [(PEER_IP, neighbours.REACHABLE, PEER_MAC)]
    host.device.tx_log.clear()


def test_start_announces_the_address(host):
    assert sent(host) == [(arp.REQUEST, ethernet.BROADCAST, host.ipv4.ip, host.ipv4.ip)] * 2


def test_request_for_us_is_answered_and_remembered(world, host):
    host.device.tx_log.clear()
    inject(world, host, arp.REQUEST, PEER_MAC, PEER_IP, host.ipv4.ip, ethernet.BROADCAST)
    assert sent(host) == [(arp.REPLY, PEER_MAC, host.ipv4.ip, PEER_IP)]
    assert host.arp.entries() == [(PEER_IP, neighbours.STALE, PEER_MAC)]


def test_request_for_another_is_ignored(world, host):
    host.device.tx_log.clear()
    inject(world, host, arp.REQUEST, PEER_MAC, PEER_IP, 0x0A000077, ethernet.BROADCAST)
    assert sent(host) == []
    assert host.arp.entries() == []


def test_resolving_holds_packets_and_sends_them_in_order(world, host):
    host.device.tx_log.clear()
    for number in range(3):
        host.udp.write(b"%d" % number, "10.0.0.9", 9, 9, world.now_ms)
    world.settle()
    assert sent(host) == [(arp.REQUEST, ethernet.BROADCAST, host.ipv4.ip, PEER_IP)]
    inject(world, host, arp.REPLY, PEER_MAC, PEER_IP, host.ipv4.ip)
    assert [(packet[:6], packet[42:43]) for packet in host.device.tx_log] == [(PEER_MAC, b"%d" % n) for n in range(3)]
    assert not host.device.in_use


def test_resolving_asks_three_times_a_second_apart_then_gives_up(world, host):
    host.device.tx_log.clear()
    failed = []
    host.arp.on_failure = lambda ip, now_ms: failed.append(ip)
    host.udp.write(b"x", "10.0.0.9", 9, 9, world.now_ms)
    times = []
    for _ in range(100):
        world.run(for_ms=100)
        times.extend([world.now_ms for _ in sent(host)])
    assert len(times) == 3
    assert all(900 <= after - before <= 1100 for before, after in pairwise(times))
    assert failed == [PEER_IP]
    assert not host.device.in_use
    assert host.arp.counters["Failures"] == 1
    assert host.arp.counters["PendingDropped"] == 1
    assert host.arp.entries() == []


def test_resolving_bounds_what_waits(world, host):
    for _ in range(50):
        host.udp.write(b"x", "10.0.0.9", 9, 9, world.now_ms)
    for number in range(100, 200):
        host.udp.write(b"x", f"10.0.0.{number}", 9, 9, world.now_ms)
    assert host.device.in_use <= neighbours.MAX_PENDING + 64
    world.settle()
    assert host.device.in_use <= neighbours.MAX_PENDING
    assert len(host.arp.entries()) <= neighbours.MAX_RESOLVING
    assert host.arp.counters["TableFull"] > 0
    world.run(for_ms=20_000)
    assert not host.device.in_use
    assert host.arp.entries() == []


@pytest.mark.parametrize("operation", [arp.REQUEST, arp.REPLY])
def test_unsolicited_claim_does_not_overwrite(world, host, operation):
    learn(world, host)
    inject(world, host, operation, EVIL_MAC, PEER_IP, host.ipv4.ip)
    assert host.arp.lookup(PEER_IP, world.now_ms) == PEER_MAC
    # The old owner is asked, and its answer settles it.
    assert (arp.REQUEST, PEER_MAC, host.ipv4.ip, PEER_IP) in sent(host)
    inject(world, host, arp.REPLY, PEER_MAC, PEER_IP, host.ipv4.ip)
    assert host.arp.entries() == [(PEER_IP, neighbours.REACHABLE, PEER_MAC)]
    assert host.arp.counters["InUnsolicited"] == 1


def test_claim_of_a_new_mac_is_believed_when_the_old_one_is_silent(world, host):
    learn(world, host)
    generation = host.arp.generation
    inject(world, host, arp.REPLY, EVIL_MAC, PEER_IP, host.ipv4.ip)
    world.run(for_ms=1100)
    inject(world, host, arp.REPLY, EVIL_MAC, PEER_IP, host.ipv4.ip)
    assert host.arp.entries() == [(PEER_IP, neighbours.REACHABLE, EVIL_MAC)]
    assert host.arp.generation != generation


def test_unsolicited_reply_of_a_stranger_is_not_learned(world, host):
    for number in range(1000):
        inject(world, host, arp.REPLY, EVIL_MAC, 0x0A000000 + number % 250 + 3, host.ipv4.ip, settle=number % 100 == 99)
    assert host.arp.entries() == []


def test_flood_of_requests_is_bounded_and_does_not_push_out_what_is_in_use(world):
    host = world.host("10.0.0.2/16")
    host.device.tx_log = []
    learn(world, host)
    for number in range(3000):
        inject(world, host, arp.REQUEST, EVIL_MAC, 0x0A000000 + 300 + number, host.ipv4.ip, settle=number % 50 == 49)
    assert len(host.arp.entries()) <= neighbours.MAX_ENTRIES
    assert (PEER_IP, neighbours.REACHABLE, PEER_MAC) in host.arp.entries()
    assert not host.device.in_use


def test_request_from_outside_of_the_network_is_not_learned(world, host):
    inject(world, host, arp.REQUEST, EVIL_MAC, 0xC0A80001, host.ipv4.ip)
    inject(world, host, arp.REQUEST, EVIL_MAC, 0, host.ipv4.ip)  # a probe of RFC 5227
    assert host.arp.entries() == []


def test_entry_in_use_is_asked_in_time(world, host):
    learn(world, host)
    world.run(for_ms=net_arp.FRESH_MS + 100)
    assert host.arp.entries() == [(PEER_IP, neighbours.STALE, PEER_MAC)]
    host.udp.write(b"x", "10.0.0.9", 9, 9, world.now_ms)
    world.settle()
    assert host.arp.entries() == [(PEER_IP, neighbours.DELAY, PEER_MAC)]
    assert host.device.tx_log[-1][:6] == PEER_MAC  # the datagram does not wait
    assert sent(host) == []
    world.run(for_ms=neighbours.DELAY_FIRST_PROBE_MS + 10)
    assert host.arp.entries() == [(PEER_IP, neighbours.PROBE, PEER_MAC)]
    assert (arp.REQUEST, PEER_MAC, host.ipv4.ip, PEER_IP) in sent(host)
    inject(world, host, arp.REPLY, PEER_MAC, PEER_IP, host.ipv4.ip)
    assert host.arp.entries() == [(PEER_IP, neighbours.REACHABLE, PEER_MAC)]


def test_entry_that_nobody_uses_goes(world, host):
    learn(world, host)
    world.run(for_ms=net_arp.FRESH_MS + neighbours.STALE_MS + 1000)
    assert host.arp.entries() == []


def test_conflict_is_counted_and_defended_but_not_often(world, host):
    host.device.tx_log.clear()
    for _ in range(20):
        inject(world, host, arp.REQUEST, EVIL_MAC, host.ipv4.ip, host.ipv4.ip, ethernet.BROADCAST)
    assert host.arp.counters["Conflicts"] == 20
    assert sent(host) == [(arp.REQUEST, ethernet.BROADCAST, host.ipv4.ip, host.ipv4.ip)]
    world.run(for_ms=net_arp.DEFEND_MS + 100)
    inject(world, host, arp.REQUEST, EVIL_MAC, host.ipv4.ip, host.ipv4.ip, ethernet.BROADCAST)
    assert len(sent(host)) == 1


def test_malformed_is_counted(world, host):
    packet = bytearray(42)
    ethernet.emit(packet, 0, host.device.mac, PEER_MAC, ethernet.ETHERTYPE_ARP)
    world.inject(host, packet)
    world.settle()
    assert host.arp.counters["InErrors"] == 1


def test_connection_follows_a_neighbour_to_its_new_mac():
    world = World(seed=2)
    a = world.host("10.0.0.1/24")
    b = world.host("10.0.0.2/24")
    b.echo(7)
    flow = a.connect(b, 7)
    flow.send(b"before")
    world.run(until=lambda: bytes(flow.received) == b"before")
    new_mac = b"\x52\x54\x00\x00\x00\x77"
    b.device.mac = b.ethernet.mac = new_mac
    for conn in b.tcp.by_key.values():
        conn.route_generation = 0
    flow.send(b" after")
    world.run(until=lambda: bytes(flow.received) == b"before after", limit_ms=20_000)
    assert a.arp.lookup(b.ipv4.ip, world.now_ms) == new_mac
