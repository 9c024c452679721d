# SPDX-License-Identifier: MIT
"""IGMPv2, the host's side (RFC 2236), and receiving what is sent to groups."""

import pytest
from scapy.compat import raw
from scapy.layers.igmp import IGMP
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import Ether
from scapy.packet import Raw

from libos.net.ip import igmp
from libos.wire import ipv4
from tests.net.peer import MAC
from tests.net.world import World, pattern

GROUP = "239.1.2.3"
GROUP_MAC = b"\x01\x00\x5e\x01\x02\x03"
ALL_MAC = b"\x01\x00\x5e\x00\x00\x01"


@pytest.fixture
def host(world):
    host = world.host("10.0.0.2/24")
    world.run(for_ms=3000)
    host.device.tx_log = []
    return host


def inject(world, host, kind, group, dst, mrcode=100, src="10.0.0.1"):
    body = IGMP(type=kind, mrcode=mrcode, gaddr=group)
    packet = Ether(dst=ipv4.multicast_mac(ipv4.parse_address(dst)), src=MAC) / IP(src=src, dst=dst, ttl=1)
    world.inject(host, raw(packet / body))
    world.settle()


def query(world, host, group="0.0.0.0", dst=None, **options):
    inject(world, host, 0x11, group, dst or ("224.0.0.1" if group == "0.0.0.0" else group), **options)


def sent(host):
    """[(type, group, dst)] of IGMP messages; each is as section 2 has it."""
    seen = []
    for octets in host.device.tx_log:
        packet = Ether(octets)
        if IP not in packet or packet[IP].proto != 2:
            continue
        assert packet[IP].ttl == 1
        assert packet[IP].ihl == 6
        assert raw(packet[IP])[20:24] == b"\x94\x04\x00\x00"
        assert octets[:6] == ipv4.multicast_mac(ipv4.parse_address(packet[IP].dst))
        whole = IP(raw(packet[IP]))
        given, inner = whole.chksum, whole[IGMP].chksum
        whole.chksum = whole[IGMP].chksum = None
        again = IP(raw(whole))
        assert (again.chksum, again[IGMP].chksum) == (given, inner)
        seen.append((whole[IGMP].type, whole[IGMP].gaddr, whole.dst))
    host.device.tx_log.clear()
    return seen


def idle(world, host):
    host.udp.join(GROUP)
    world.run(for_ms=11_000)
    assert sent(host) == [(0x16, GROUP, GROUP)] * 2


def test_join_reports_twice_and_the_device_is_told(world, host):
    assert host.device.groups == {ALL_MAC}
    host.udp.join(GROUP)
    world.settle()
    assert host.device.groups == {ALL_MAC, GROUP_MAC}
    assert sent(host) == [(0x16, GROUP, GROUP)]
    world.run(for_ms=10_001)
    assert sent(host) == [(0x16, GROUP, GROUP)]
    world.run(for_ms=100_000)
    assert sent(host) == []


def test_leave_says_so_to_the_routers(world, host):
    idle(world, host)
    host.udp.leave(GROUP)
    world.settle()
    assert sent(host) == [(0x17, GROUP, "224.0.0.2")]
    assert host.device.groups == {ALL_MAC}
    query(world, host)
    world.run(for_ms=11_000)
    assert sent(host) == []
    with pytest.raises(KeyError):
        host.udp.leave(GROUP)
    assert host.is_clean()


def test_joined_twice_is_left_twice(world, host):
    host.udp.join(GROUP)
    host.udp.join(GROUP)
    world.settle()
    host.udp.leave(GROUP)
    world.settle()
    assert sent(host) == [(0x16, GROUP, GROUP)]
    host.udp.leave(GROUP)
    world.settle()
    assert sent(host) == [(0x17, GROUP, "224.0.0.2")]


def test_two_groups_with_one_mac(world, host):
    host.udp.join("239.1.2.3")
    host.udp.join("238.129.2.3")
    host.udp.leave("239.1.2.3")
    assert GROUP_MAC in host.device.groups
    host.udp.leave("238.129.2.3")
    assert host.device.groups == {ALL_MAC}


@pytest.mark.parametrize("max_response", [1, 10, 100, 255])
def test_idle_general_query_is_answered_in_time(max_response):
    waits = set()
    for seed in range(10):
        world = World(seed=seed)
        host = world.host("10.0.0.2/24")
        host.device.tx_log = []
        idle(world, host)
        query(world, host, mrcode=max_response)
        start = world.now_ms
        world.run(until=lambda host=host: host.device.tx_log)
        waits.add(world.now_ms - start)
        assert world.now_ms - start <= max_response * 100
        assert sent(host) == [(0x16, GROUP, GROUP)]
    assert len(waits) > 3  # not all at once


def test_idle_query_for_the_group_and_for_another(world, host):
    idle(world, host)
    query(world, host, "239.9.9.9")
    world.run(for_ms=11_000)
    assert sent(host) == []
    query(world, host, GROUP, mrcode=10)
    world.run(for_ms=1001)
    assert sent(host) == [(0x16, GROUP, GROUP)]


def test_delaying_shorter_query_moves_the_answer_and_a_longer_does_not(world, host):
    idle(world, host)
    query(world, host, mrcode=255)
    query(world, host, mrcode=1)
    query(world, host, mrcode=255)
    world.run(for_ms=101)
    assert sent(host) == [(0x16, GROUP, GROUP)]
    world.run(for_ms=30_000)
    assert sent(host) == []


def test_delaying_report_of_another_is_enough(world, host):
    idle(world, host)
    query(world, host)
    inject(world, host, 0x16, GROUP, GROUP, src="10.0.0.3")
    world.run(for_ms=11_000)
    assert sent(host) == []
    # Nor do we say goodbye: the other one is still there.
    host.udp.leave(GROUP)
    world.settle()
    assert sent(host) == []


def test_router_of_version_1_is_answered_in_version_1(world, host):
    idle(world, host)
    query(world, host, mrcode=0)
    world.run(for_ms=10_001)
    assert sent(host) == [(0x12, GROUP, GROUP)]
    host.udp.leave(GROUP)
    world.settle()
    assert sent(host) == []
    world.run(for_ms=igmp.V1_ROUTER_MS)
    idle(world, host)


def test_query_of_a_switch_without_an_address_is_answered(world, host):
    idle(world, host)
    query(world, host, mrcode=10, src="0.0.0.0")
    world.run(for_ms=1001)
    assert sent(host) == [(0x16, GROUP, GROUP)]


@pytest.mark.parametrize(
    ("options", "counter"),
    [
        ({"dst": "239.1.2.3"}, "InErrors"),  # a general query to one group
        ({"group": GROUP, "dst": "224.0.0.1"}, "InErrors"),
    ],
)
def test_query_that_contradicts_itself(world, host, options, counter):
    idle(world, host)
    query(world, host, **options)
    world.run(for_ms=30_000)
    assert sent(host) == []
    assert host.ipv4.igmp.counters[counter] == 1


def test_malformed_is_counted(world, host):
    idle(world, host)
    header = Ether(dst=ALL_MAC, src=MAC) / IP(src="10.0.0.1", dst="224.0.0.1", proto=2, ttl=1)
    world.inject(host, raw(header / Raw(b"\x11\x64\x00\x00")))
    world.inject(host, raw(header / Raw(b"\x11\x64\x00\x00\x00\x00\x00\x00")))
    world.inject(host, raw(header / Raw(b"\x22\x00\xdd\xff\x00\x00\x00\x00")))
    world.run(for_ms=30_000)
    assert sent(host) == []
    counters = host.ipv4.igmp.counters
    assert (counters["InErrors"], counters["InCsumErrors"], counters["InOthers"]) == (2, 1, 1)


def test_flood_of_queries_makes_no_flood_of_reports(world, host):
    idle(world, host)
    for _ in range(1000):
        query(world, host, mrcode=100)
    world.run(for_ms=10_001)
    assert sent(host) == [(0x16, GROUP, GROUP)]


def test_groups_are_bounded_and_must_be_groups(host):
    for number in range(igmp.MAX_GROUPS):
        host.udp.join(f"239.0.0.{number}")
    with pytest.raises(ValueError, match="more than"):
        host.udp.join("239.0.1.0")
    for text in ("10.0.0.1", "255.255.255.255", "no"):
        with pytest.raises(ValueError, match="not "):
            host.udp.join(text)
    host.udp.join("224.0.0.1")
    host.udp.leave("224.0.0.1")


def test_datagrams_to_a_group_come_while_joined(world, host):
    got = []
    host.udp.listen(5000, lambda data, ip, port: got.append(data))
    other = world.host("10.0.0.3/24")
    other.device.tx_log = []

    def say(data):
        assert other.udp.write(data, GROUP, 5000, 5000, world.now_ms)
        world.run(for_ms=10)

    say(b"before")
    host.udp.join(GROUP)
    say(b"joined")
    say(pattern(5000))
    packet = (
        Ether(dst=GROUP_MAC, src=MAC) / IP(src="10.0.0.9", dst="239.1.2.4") / UDP(dport=5000) / Raw(b"another group")
    )
    world.inject(host, raw(packet))
    packet = Ether(dst=host.device.mac, src=MAC) / IP(src="10.0.0.9", dst=GROUP) / UDP(dport=5000) / Raw(b"to us alone")
    world.inject(host, raw(packet))
    world.settle()
    host.udp.leave(GROUP)
    say(b"left")
    assert got == [b"joined", pattern(5000)]
    assert {Ether(octets)[IP].ttl for octets in other.device.tx_log if octets[:6] == GROUP_MAC} == {1}
    assert host.ipv4.counters["InAddrErrors"] == 2
    # Nobody is told that a port is closed, and TCP answers no group.
    assert not [octets for octets in host.device.tx_log if octets[23] == 1]


def test_broadcasts_are_sent_and_received(world, host):
    got = []
    host.udp.listen(5000, lambda data, ip, port: got.append((data, ip)))
    other = world.host("10.0.0.3/24")
    assert other.udp.write(b"all", "255.255.255.255", 5000, 5000, world.now_ms)
    assert other.udp.write(b"directed", "10.0.0.255", 5000, 5000, world.now_ms)
    world.run(for_ms=10)
    assert got == [(b"all", "10.0.0.3")]
    assert host.ipv4.counters["InDirectedBcasts"] == 1
    host.ipv4.accept_directed_broadcast = True
    assert other.udp.write(b"directed", "10.0.0.255", 5000, 5000, world.now_ms)
    world.run(for_ms=10)
    assert got[1:] == [(b"directed", "10.0.0.3")]
