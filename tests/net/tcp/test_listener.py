# SPDX-License-Identifier: MIT
"""Listening under load: floods of SYNs, bounds, TIME_WAIT and the numbers that connections begin with."""

import pytest

from libos.net.tcp.engine import Way
from libos.wire import tcp
from libos.wire.tcp import ACK, FIN, RST, SYN
from tests.net.peer import IP, Peer, build, tcp_segment
from tests.net.world import World, pattern


@pytest.fixture
def host(world):
    host = world.host("10.0.0.2/24")
    host.listen(7, backlog=16)
    return host


def flood(world, host, count, dst_port=7, flags=SYN):
    for number in range(count):
        src_ip = IP + 1 + number % 200
        body = tcp_segment(src_ip, host.ipv4.ip, 1024 + number % 60000, dst_port, number * 7919, 5, flags, 1000)
        world.inject(host, build(src_ip, host.ipv4.ip, host.device.mac, body))
    world.settle()


def test_syn_flood_is_bounded_and_a_healthy_connection_goes_on(world, host):
    peer = Peer(world, host)
    peer.connect()
    host.accepted[0].echoes = True
    for _ in range(20):
        flood(world, host, 200)
        assert len(host.tcp.half_open) <= 16
        assert len(host.tcp.listeners[7].half_open) == len(host.tcp.half_open)
        peer.take()
        peer.send(ACK, data=b"alive")
        assert b"alive" in [s.data for s in peer.take()]
        peer.rcv_nxt += 5
    assert host.tcp.counters["ListenOverflows"] == host.tcp.counters["SyncookiesSent"] > 3600
    assert len(host.tcp.timers) < 50
    world.run(for_ms=200_000)
    assert not host.tcp.half_open
    assert len(host.accepted) == 1
    assert host.device.in_use == 0


def test_syn_flood_leaves_handshakes_under_way_alone_and_lets_others_through(world, host):
    early = Peer(world, host, port=5001)
    early.send(SYN)
    early.expect("SA")
    flood(world, host, 100)
    early.take()
    early.send(ACK)
    assert len(host.accepted) == 1
    peer = Peer(world, host)
    peer.connect()
    assert len(host.accepted) == 2


@pytest.mark.parametrize("flags", [ACK, RST, FIN | ACK, SYN | ACK, 0])
def test_flood_of_anything_else_leaves_nothing(world, host, flags):
    for _ in range(10):
        flood(world, host, 200, flags=flags)
        flood(world, host, 200, dst_port=99, flags=flags)
    assert host.is_clean() or not host.tcp.by_key
    assert not host.tcp.half_open
    assert len(host.arp.entries()) <= 256


def test_connections_are_bounded(world):
    host = world.host("10.0.0.2/24", tcp={"max_connections": 3})
    host.listen(7)
    peers = [Peer(world, host, port=5000 + number) for number in range(5)]
    for peer in peers[:3]:
        peer.connect()
    peers[3].send(SYN)
    peers[3].quiet()
    assert host.tcp.counters["ListenDrops"] == 1
    peers[0].send(RST)
    peers[4].connect()
    assert len(host.tcp.by_key) == 3
    with pytest.raises(OSError, match="98"):
        host.connect("10.0.0.9", 80)


def test_buffers_get_smaller_the_more_connections_there_are(world):
    host = world.host("10.0.0.2/24", tcp={"memory_bytes": 1 << 20})
    host.listen(7)
    for number in range(100):
        Peer(world, host, port=5000 + number).connect(options=tcp.syn_options(1460, 2))
    sizes = [flow.conn.rcv_buf for flow in host.accepted]
    assert sizes[0] >= 0xFFFF
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[-1] == 8192


def test_50_connections_at_once_and_tables_empty_after():
    world = World(seed=2, loss=0.01)
    a = world.host("10.0.0.1/24")
    b = world.host("10.0.0.2/24")
    b.echo(7)
    flows = []
    for number in range(50):
        flow = a.connect(b, 7)
        flow.send(pattern(20_000 + number, number), close=True)
        flows.append(flow)
    world.run(until=lambda: all(flow.is_closed for flow in flows))
    for number, flow in enumerate(flows):
        assert bytes(flow.received) == pattern(20_000 + number, number)
    world.run()
    assert a.is_clean()
    assert b.is_clean()


def test_1000_connections_one_after_the_other_and_tables_empty_after():
    world = World(seed=3, delay_ms=0.1)
    a = world.host("10.0.0.1/24")
    b = world.host("10.0.0.2/24")
    b.echo(7)
    for number in range(1000):
        flow = a.connect(b, 7)
        flow.send(b"%d" % number, close=True)
        world.run(until=lambda flow=flow: flow.is_closed)
        assert bytes(flow.received) == b"%d" % number
        assert flow.error is None
    assert len(a.tcp.time_waits.by_key) <= 1000
    assert len(b.tcp.by_key) <= 1
    world.run()
    assert a.is_clean()
    assert b.is_clean()
    assert not a.tcp.time_waits.by_key
    assert a.tcp.counters["ActiveOpens"] == b.tcp.counters["PassiveOpens"] == 1000


def test_abrupt_end_of_a_client_in_the_middle_leaves_nothing():
    world = World(seed=4)
    a = world.host("10.0.0.1/24")
    b = world.host("10.0.0.2/24")
    b.echo(7)
    for _ in range(20):
        flow = a.connect(b, 7)
        flow.send(pattern(500_000))
        world.run(until=lambda flow=flow: flow.received_octets > 50_000)
        flow.conn.abort()
        world.run(for_ms=100)
        assert not b.tcp.by_key
    world.run()
    assert a.is_clean()
    assert b.is_clean()


# --- RFC 6528 and RFC 6056 ---


def test_rfc6528_numbers_differ_by_connection_and_grow_with_time(world, host):
    secrets = host.tcp._secrets
    keys = [bytes([number]) * 12 for number in range(100)]
    numbers = {secrets.isn(key, 1000) for key in keys}
    assert len(numbers) == 100
    for key in keys:
        assert (secrets.isn(key, 2000) - secrets.isn(key, 1000)) & 0xFFFFFFFF == 250_000


def test_rfc6528_numbers_are_unpredictable_across_boots():
    numbers = set()
    for seed in range(20):
        host = World(seed=seed).host("10.0.0.2/24")
        numbers.add(host.tcp._secrets.isn(b"the same key", 1000))
    assert len(numbers) == 20


def test_rfc6056_ports_are_dynamic_differ_and_depend_on_the_destination(world, host):
    first = [host.tcp._choose_port(Way(host.ipv4, IP), 80)[1] for _ in range(100)]
    second = [host.tcp._choose_port(Way(host.ipv4, IP + 1), 80)[1] for _ in range(100)]
    assert len(set(first)) == 100
    assert all(49152 <= port <= 65535 for port in first + second)
    assert first != second


def test_connect_skips_ports_in_use(world, host):
    flows = [host.connect("10.0.0.9", 80) for _ in range(50)]
    assert len({flow.conn.local_port for flow in flows}) == 50


@pytest.mark.parametrize("ip", ["0.0.0.0", "224.0.0.1", "255.255.255.255", "10.0.0.255", "192.168.7.7"])
def test_connect_to_no_host_is_refused(host, ip):
    with pytest.raises(OSError, match="113"):
        host.connect(ip, 80)


def test_connect_to_nonsense_is_refused(host):
    for ip, port in (("10.0.0", 80), ("a.b.c.d", 80), ("10.0.0.9", 0), ("10.0.0.9", 70000)):
        with pytest.raises(ValueError, match="not "):
            host.connect(ip, port)


# --- TIME_WAIT: RFC 9293 section 3.6.1, RFC 1337, RFC 6191 ---


def in_time_wait(world, host, options=b""):
    peer = Peer(world, host)
    peer.answer = peer.connect(options=options)
    stamp = peer.ts_options(peer.answer)
    host.accepted[-1].conn.close()
    world.settle()
    peer.take()
    peer.rcv_nxt = 2
    peer.send(ACK | FIN, options=stamp)
    peer.take()
    assert len(host.tcp.time_waits.by_key) == 1
    return peer


def test_time_wait_answers_a_repeated_fin_and_waits_again(world, host):
    peer = in_time_wait(world, host)
    world.run(for_ms=50_000)
    peer.send(ACK | FIN, seq=1)
    peer.expect("A", seq=2, ack=2)
    world.run(for_ms=50_000)
    assert host.tcp.time_waits.by_key
    world.run(for_ms=70_000)
    assert not host.tcp.time_waits.by_key


def test_rfc1337_reset_does_not_end_time_wait(world, host):
    peer = in_time_wait(world, host)
    peer.send(RST, seq=2)
    assert host.tcp.time_waits.by_key


def test_time_wait_old_data_is_answered_with_an_ack(world, host):
    peer = in_time_wait(world, host)
    peer.send(ACK, seq=1, data=b"old")
    peer.expect("A", seq=2, ack=2)


def test_time_wait_is_reused_for_a_later_sequence_number(world, host):
    peer = in_time_wait(world, host)
    old_irs = peer.irs
    peer.seq = 0
    peer.iss += 100_000
    peer.send(SYN)
    peer.expect("SA")
    assert 60_000 < (peer.irs - old_irs) & 0xFFFFFFFF < 1 << 31
    peer.send(ACK)
    assert host.accepted[-1].conn.state_name == "ESTABLISHED"
    assert not host.tcp.time_waits.by_key


def test_time_wait_is_not_reused_for_an_earlier_sequence_number(world, host):
    peer = in_time_wait(world, host)
    peer.send(SYN, seq=-100_000)
    assert peer.take()[-1].names == "A"
    assert host.tcp.time_waits.by_key


def test_rfc6191_timestamp_decides(world, host):
    peer = in_time_wait(world, host, tcp.syn_options(1000, 2, True, 1))
    peer.send(SYN, seq=5000, options=tcp.syn_options(1000, 2, True, 0))
    assert peer.take()[-1].names == "A"
    peer.send(SYN, seq=-5000, options=tcp.syn_options(1000, 2, True, 50))
    assert peer.take()[-1].names == "SA"


def test_time_waits_are_bounded(world):
    host = world.host("10.0.0.2/24", tcp={"max_time_waits": 10})
    host.listen(7)
    for number in range(50):
        peer = Peer(world, host, port=5000 + number)
        peer.connect()
        host.accepted[-1].conn.close()
        world.settle()
        peer.rcv_nxt = 2
        peer.send(ACK | FIN)
    assert len(host.tcp.time_waits.by_key) == 10
    assert host.tcp.counters["TCPTimeWaitOverflow"] == 40
    world.run()
    assert not host.tcp.time_waits.by_key
