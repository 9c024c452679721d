# SPDX-License-Identifier: MIT
"""Tags of IEEE 802.1Q: number 0 is no VLAN but a priority, and such a frame is as one without; others are not ours."""

import pytest
from scapy.compat import raw
from scapy.layers.inet import ICMP, IP, UDP
from scapy.layers.inet6 import ICMPv6EchoRequest, IPv6
from scapy.layers.l2 import ARP, Dot1Q, Ether

from libos.hal import dma
from libos.wire.tcp import ACK, PSH
from tests.net.peer import IP6, MAC, Peer, build, tcp_segment
from tests.net.world import ALL_OFFLOADS, World, pattern

PRIORITY = Dot1Q(vlan=0, prio=6)


@pytest.fixture
def host(world):
    host = world.host("10.0.0.2/24", ipv6={"address": "fd00::2/64"})
    world.run(for_ms=3000)
    Peer(world, host, ip=IP6)
    Peer(world, host)
    host.device.tx_log.clear()
    return host


def inject(world, host, *layers):
    frame = Ether(dst=host.device.mac, src=MAC)
    for layer in layers:
        frame = frame / layer
    world.inject(host, raw(frame))
    world.settle()


def answers(host):
    return [bytes(packet[12:14]) for packet in host.device.tx_log]


@pytest.mark.parametrize("tag", [Dot1Q(vlan=0), PRIORITY, Dot1Q(vlan=0, prio=7, dei=1)])
@pytest.mark.parametrize(
    ("layers", "ethertype"),
    [
        ([IP(src="10.0.0.9", dst="10.0.0.2"), ICMP()], b"\x08\x00"),
        ([ARP(op=1, hwsrc=MAC, psrc="10.0.0.9", pdst="10.0.0.2")], b"\x08\x06"),
        ([IPv6(src="fd00::9", dst="fd00::2"), ICMPv6EchoRequest()], b"\x86\xdd"),
    ],
)
def test_priority_tag_is_as_none(world, host, tag, layers, ethertype):
    inject(world, host, *layers)
    assert answers(host) == [ethertype]
    host.device.tx_log.clear()
    inject(world, host, tag, *layers)
    assert answers(host) == [ethertype]  # ours leave without one
    assert not host.device.in_use


@pytest.mark.parametrize("vlan", [1, 5, 4094, 4095])
def test_frame_of_a_vlan_is_dropped_and_counted(world, host, vlan):
    inject(world, host, Dot1Q(vlan=vlan), IP(src="10.0.0.9", dst="10.0.0.2"), ICMP())
    assert answers(host) == []
    assert host.ethernet.counters["InOtherVlan"] == 1


@pytest.mark.parametrize("inner", [Dot1Q(vlan=0), Dot1Q(vlan=5), Dot1Q(vlan=0, type=0x88A8)])
def test_tag_in_a_tag_is_dropped_and_counted(world, host, inner):
    before = host.ethernet.counters["InUnknownProtos"]
    inject(world, host, Dot1Q(vlan=0), inner, IP(src="10.0.0.9", dst="10.0.0.2"), ICMP())
    assert answers(host) == []
    assert host.ethernet.counters["InUnknownProtos"] == before + 1


@pytest.mark.parametrize("length", range(12, 19))
def test_cut_tag_is_dropped(host, length):
    frame = host.device.rx_pool.alloc()
    data = (host.device.mac + MAC + b"\x81\0\0\0\x08\0")[:length]
    frame.buf[frame.start : frame.start + length] = data
    frame.length = length
    host.ethernet.input(frame, 5000)
    frame.release()
    assert answers(host) == []


def test_tagged_frame_for_another_is_not_ours(world, host):
    world.inject(host, raw(Ether(dst="52:54:00:00:00:77", src=MAC) / PRIORITY / IP(dst="10.0.0.2") / ICMP()))
    world.settle()
    assert host.ethernet.counters["InOtherHost"] == 1


@pytest.mark.parametrize(("flags", "counter"), [(0, 1), (dma.CSUM_VALID, 0)])
def test_what_the_device_says_of_the_checksum_still_holds(host, flags, counter):
    """A wrong checksum is found, unless the device has looked at it, or the sender has left it unfinished."""
    got = []
    host.udp.listen(53, lambda data, ip, port: got.append(data))
    packet = raw(
        Ether(dst=host.device.mac, src=MAC)
        / PRIORITY
        / IP(src="10.0.0.9", dst="10.0.0.2")
        / UDP(dport=53, chksum=1)
        / b"x"
    )
    frame = host.device.rx_pool.alloc()
    frame.buf[frame.start : frame.start + len(packet)] = packet
    frame.length = len(packet)
    frame.flags = flags
    host.ethernet.input(frame, 5000)
    frame.release()
    assert host.udp.counters["InCsumErrors"] == counter
    assert len(got) == 1 - counter


def tagging(sender, packet):
    """For World.filter: every frame gets a priority tag, whatever its length."""
    tagged = bytes(packet[:12]) + b"\x81\x00\xc0\x00" + bytes(packet[12:])
    for host in sender.world.hosts:
        if host.device is not sender and host.device.accepts(tagged[:6]):
            sender.world.inject(host, tagged)
    return False


@pytest.mark.parametrize("features", [0, ALL_OFFLOADS])
def test_connections_over_tagged_frames_both_ways(features):
    world = World(seed=1)
    a = world.host("10.0.0.1/24", ipv6={"address": "fd00::1/64"}, features=features)
    b = world.host("10.0.0.2/24", ipv6={"address": "fd00::2/64"}, features=features)
    world.run(for_ms=3000)
    b.echo(7)
    world.filter = tagging
    data = pattern(100_000)
    for ip in ("10.0.0.2", "fd00::2"):
        flow = a.connect(ip, 7)
        flow.send(data)
        world.run(until=lambda flow=flow: len(flow.received) == len(data))
        assert bytes(flow.received) == data
    assert a.ethernet.counters["InOtherVlan"] == 0


def test_segment_with_a_tag_goes_the_plain_way_and_counts_as_any(world, host):
    """Header prediction knows no tags, and must not take such a frame for something else."""
    host.echo(7)
    peer = Peer(world, host)
    peer.connect()
    body = tcp_segment(peer.ip, peer.host_ip, peer.port, 7, peer.iss + 1, peer.acked(), ACK | PSH, 0xFFFF, b"hello")
    frame = build(peer.ip, peer.host_ip, host.device.mac, body)
    hits = host.tcp.in_fast
    world.inject(host, frame[:12] + b"\x81\x00\xc0\x00" + frame[12:])
    world.settle()
    assert host.tcp.in_fast == hits
    assert peer.take()[-1].data == b"hello"
