# SPDX-License-Identifier: MIT
"""net.ip.awaited: packets that come before the address that they are for."""

import pytest
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import Ether

from libos.net.ip import awaited
from tests.net.world import World


@pytest.fixture
def early():
    """(world, a, b): a knows b's MAC, b has just lost its address."""
    world = World(seed=1)
    a, b = world.host("10.0.0.1/24"), world.host("10.0.0.2/24")
    b.echo(7)
    a.udp.write(b"x", "10.0.0.2", 9, 9, world.now_ms)
    world.run(for_ms=100)
    b.ipv4.set_address(None)
    return world, a, b


def test_connection_before_the_address_is_there_at_once_with_it(early):
    world, a, b = early
    b.ipv4.expect_address(True)
    flow = a.connect(b, 7)
    a.udp.write(b"x", "10.0.0.2", 9, 9, world.now_ms)
    world.run(for_ms=100)
    assert flow.conn.state_name == "SYN-SENT"
    b.ipv4.set_address("10.0.0.2/24")
    b.ipv4.receive_expected(world.now_ms)
    world.run(for_ms=100)
    assert flow.conn.state_name == "ESTABLISHED"
    assert b.udp.counters["NoPorts"] >= 1


def test_packets_for_somebody_else_are_dropped_when_the_address_is_known(early):
    world, a, b = early
    b.ipv4.expect_address(True)
    a.connect(b, 7)
    world.run(for_ms=100)
    before = b.ipv4.counters["InAddrErrors"]
    b.ipv4.set_address("10.0.0.3/24")
    b.ipv4.receive_expected(world.now_ms)
    assert b.ipv4.counters["InAddrErrors"] == before + 1
    assert not b.tcp.half_open


def test_packets_that_are_too_many_or_too_old_are_not_kept(early):
    world, a, b = early
    b.ipv4.expect_address(True)
    for _ in range(20):
        a.udp.write(b"x", "10.0.0.2", 9, 9, world.now_ms)
    world.run(for_ms=100)
    assert b.ipv4.counters["InDiscards"] == 20 - awaited.MAX_PACKETS
    b.ipv4.set_address("10.0.0.2/24")
    b.ipv4.receive_expected(world.now_ms + awaited.MAX_AGE_MS)
    assert b.udp.counters["NoPorts"] == 1  # the one before all this
    b.ipv4.set_address(None)
    a.udp.write(b"x", "10.0.0.2", 9, 9, world.now_ms)
    world.run(for_ms=100)
    assert b.ipv4._awaited.take(world.now_ms) == []


@pytest.mark.parametrize("dst_mac", [b"\xff" * 6, None])
def test_broadcast_answer_is_received_while_the_address_is_awaited(early, dst_mac):
    # In a frame to everybody, as the RFC has it; in one to us alone, as Kea has it.
    world, _, b = early
    received = []
    b.udp.listen(68, lambda data, src_ip, src_port: received.append(data))
    b.ipv4.expect_address(True)
    answer = Ether(dst=dst_mac or b.device.mac, src="52:54:00:00:00:99") / IP(src="10.0.0.9", dst="255.255.255.255")
    world.inject(b, bytes(answer / UDP(sport=67, dport=68) / b"offer"))
    world.settle()
    assert received == [b"offer"]


PORTS = 67 << 16 | 68


@pytest.fixture
def asking(early):
    """A host without an address that waits for a DHCP server's answer. host.got: the datagrams to port 68."""
    world, _, b = early
    b.got = []
    b.udp.listen(68, lambda data, src_ip, src_port: b.got.append(data))
    b.udp.listen(69, lambda data, src_ip, src_port: b.got.append(data))
    b.ipv4.expect_datagrams(PORTS)
    return world, b


def answer(host, dst_mac=None, dst="10.0.0.77", sport=67, dport=68, flags=0, src="10.0.0.9"):
    frame = Ether(dst=dst_mac or host.device.mac, src="52:54:00:00:00:99") / IP(src=src, dst=dst, flags=flags)
    return bytes(frame / UDP(sport=sport, dport=dport) / b"offer")


@pytest.mark.parametrize("dst_mac", [b"\xff" * 6, None])
@pytest.mark.parametrize("address", [None, "10.0.0.2/24"])
def test_answer_to_the_offered_address_is_taken_before_it_is_ours(asking, dst_mac, address):
    # passt of Debian 12, and others: in spite of the broadcast flag. A default address may be there meanwhile.
    world, b = asking
    b.ipv4.set_address(address)
    world.inject(b, answer(b, dst_mac))
    world.settle()
    assert b.got == [b"offer"]


@pytest.mark.parametrize(
    "changes",
    [
        {"sport": 68},
        {"dport": 69},
        {"flags": "MF"},
        {"dst_mac": b"\x52\x54\x00\x00\x00\x77"},
        {"src": "224.0.0.1"},
        {"src": "127.0.0.1"},
    ],
)
def test_nothing_else_gets_in_by_that(asking, changes):
    world, b = asking
    world.inject(b, answer(b, **changes))
    world.settle()
    assert b.got == []
    assert b.device.tx_log is None or b.device.tx_log == []


def test_answer_that_nobody_waits_for_any_more_is_dropped(asking):
    world, b = asking
    b.ipv4.expect_datagrams(0)
    before = b.ipv4.counters["InAddrErrors"]
    world.inject(b, answer(b))
    world.settle()
    assert b.got == []
    assert b.ipv4.counters["InAddrErrors"] == before + 1


def test_closed_port_is_not_told_to_who_sends_to_an_address_that_is_not_ours(asking):
    world, b = asking
    b.udp.unlisten(68)
    b.device.tx_log = []
    b.ipv4.set_address("10.0.0.2/24")
    world.inject(b, answer(b))
    world.settle()
    assert [packet for packet in b.device.tx_log if packet[12:14] == b"\x08\x00"] == []
