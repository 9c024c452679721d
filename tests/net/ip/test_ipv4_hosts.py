# SPDX-License-Identifier: MIT
"""ip.ipv4 as RFC 1122 wants a host: several addresses, ourselves, options, TTL; errors and echoes of ip.icmp."""

import pytest
from scapy.compat import raw
from scapy.layers.inet import ICMP, IP, TCP, UDP, IPOption
from scapy.layers.l2 import Ether
from scapy.packet import Raw

from libos.net import errors
from libos.net.ip import control_messages, ipv4
from libos.net.link import ethernet
from libos.wire import tcp
from tests.net.peer import MAC, Peer, build, tcp_segment
from tests.net.world import ALL_OFFLOADS, pattern


@pytest.fixture
def host(world):
    host = world.host("10.0.0.2/24", gateway="10.0.0.1")
    Peer(world, host)
    world.run(for_ms=3000)
    host.device.tx_log.clear()
    host.got = []
    host.udp.listen(53, lambda data, ip, port: host.got.append((data, ip)))
    return host


def inject(world, host, packet, mac=None):
    world.inject(host, raw(Ether(dst=mac or host.device.mac, src=MAC) / packet))
    world.settle()


def sent(host):
    packets = [IP(packet[14:]) for packet in host.device.tx_log if packet[12:14] == b"\x08\x00"]
    host.device.tx_log.clear()
    return packets


def number(text):
    return ipv4.wire.parse_address(text)


# --- several addresses ---


def test_second_address_is_answered_from(world, host):
    host.ipv4.add_address("10.0.0.20/24")
    inject(world, host, IP(src="10.0.0.9", dst="10.0.0.20") / ICMP(type=8))
    inject(world, host, IP(src="10.0.0.9", dst="10.0.0.2") / ICMP(type=8))
    assert [packet.src for packet in sent(host)] == ["10.0.0.20", "10.0.0.2"]


def test_connections_to_each_address_and_their_end(world):
    a = world.host("10.0.0.1/24")
    b = world.host("10.0.0.2/24")
    b.ipv4.add_address("10.0.0.20/24")
    b.echo(7)
    flows = [a.connect("10.0.0.2", 7), a.connect("10.0.0.20", 7)]
    for flow in flows:
        flow.send(b"hello")
    world.run(until=lambda: all(bytes(flow.received) == b"hello" for flow in flows))
    b.ipv4.remove_address("10.0.0.20")
    world.settle()
    assert [flow.error for flow in b.accepted] == [None, 113]
    flows[0].send(b" again")
    world.run(until=lambda: bytes(flows[0].received) == b"hello again")
    inject(world, b, IP(src="10.0.0.9", dst="10.0.0.20") / ICMP(type=8))
    assert b.ipv4.counters["InAddrErrors"] >= 1


def test_source_is_on_the_network_of_the_next_hop(host):
    layer = host.ipv4
    layer.add_address("192.168.7.5/24")
    layer.add_route("172.16.0.0/12", "192.168.7.1")
    for dst, src in [
        ("10.0.0.9", "10.0.0.2"),
        ("192.168.7.9", "192.168.7.5"),
        ("172.16.1.1", "192.168.7.5"),
        ("8.8.8.8", "10.0.0.2"),
        ("255.255.255.255", "10.0.0.2"),
        ("239.1.1.1", "10.0.0.2"),
        ("192.168.7.5", "192.168.7.5"),
        ("127.0.0.9", "127.0.0.1"),
    ]:
        assert layer.source_for(number(dst)) == number(src), dst
    layer.remove_address("192.168.7.5/24")
    assert layer.next_hop(number("172.16.1.1")) == number("10.0.0.1")  # that route went too
    layer.set_address(None)
    assert layer.source_for(number("10.0.0.9")) is None
    assert layer.ip == 0


def test_addresses_that_cannot_be_added(host):
    for address in ("10.0.0.2/24", "10.0.0.255/24", "224.0.0.1/24", "10.0.0.3", "nonsense"):
        with pytest.raises(ValueError, match=r"not |already"):
            host.ipv4.add_address(address)
    with pytest.raises(ValueError, match="was not added"):
        host.ipv4.remove_address("10.0.0.2")
    for last in range(20, 20 + ipv4.MAX_ADDRESSES - 1):
        host.ipv4.add_address(f"10.0.0.{last}/24")
    with pytest.raises(ValueError, match="more than"):
        host.ipv4.add_address("10.0.0.99/24")


def test_set_address_leaves_the_others(host):
    host.ipv4.add_address("10.0.0.20/24")
    host.ipv4.set_address("10.0.0.3/24")
    assert host.ipv4.is_ours(number("10.0.0.3"))
    assert host.ipv4.is_ours(number("10.0.0.20"))
    assert not host.ipv4.is_ours(number("10.0.0.2"))
    with pytest.raises(ValueError, match="not a neighbour"):
        host.ipv4.set_address("10.0.0.4/24", "10.0.1.1")
    assert host.ipv4.ip == number("10.0.0.3")
    host.ipv4.set_address("10.0.0.20/24")
    assert host.ipv4._ours == {number("10.0.0.20"): 0xFFFFFF00}


# --- ourselves ---


@pytest.mark.parametrize("ip", ["127.0.0.1", "10.0.0.2"])
@pytest.mark.parametrize("features", [0, ALL_OFFLOADS])
def test_connection_to_ourselves(world, ip, features):
    host = world.host("10.0.0.2/24", features=features)
    host.device.tx_log = []
    host.echo(7)
    flow = host.connect(ip, 7)
    data = pattern(300_000)
    flow.send(data, close=True)
    world.run(until=lambda: len(flow.received) == len(data))
    assert bytes(flow.received) == data
    assert host.accepted[0].conn.ip.format_address(host.accepted[0].conn.remote_ip) == ip
    world.run(until=lambda: flow.is_closed)
    world.run(for_ms=70_000)
    assert host.is_clean()
    assert sent(host) == []
    assert host.ethernet.counters["Looped"] > 0


@pytest.mark.parametrize("ip", ["127.0.0.1", "10.0.0.2"])
def test_connection_to_ourselves_takes_nothing_from_outside(world, host, ip):
    host.listen(7)
    flow = host.connect(ip, 7)
    world.run(until=lambda: host.accepted)
    flow.send(b"ours")
    world.settle()
    conn = host.accepted[0].conn
    address = number(ip)
    options = tcp.timestamps_option(conn.ts_recent, 0)
    body = tcp_segment(
        address, address, conn.remote_port, 7, conn.rcv_nxt, conn.snd_nxt, 0x18, 0xFFFF, b"forged", options
    )
    for _ in range(2):
        world.inject(host, build(address, address, host.device.mac, body))
        world.settle()
    assert bytes(host.accepted[0].received) == b"ours"


def test_closed_port_of_ours_refuses_at_once(world, host):
    flow = host.connect("127.0.0.1", 99)
    world.settle()
    assert flow.error == 111
    assert host.is_clean()


def test_datagrams_to_ourselves_small_and_large(world, host):
    for size in (0, 5, 1472, 1473, 65_507):
        assert host.udp.write(pattern(size), "127.0.0.1", 53, 9, world.now_ms)
        world.run(for_ms=50)
        assert host.got.pop() == (pattern(size), "127.0.0.1")
    assert sent(host) == []
    assert host.is_clean()


def test_frames_to_ourselves_are_bounded(world):
    host = world.host("10.0.0.2/24", device={"tx_frames": 300})
    got = []
    host.udp.listen(53, lambda data, ip, port: got.append(data))
    for _ in range(200):
        host.udp.write(b"x", "127.0.0.1", 53, 9, world.now_ms)
    assert len(host.ethernet._looped) == ethernet.MAX_LOOPED
    world.settle()
    assert len(got) == ethernet.MAX_LOOPED
    assert host.ethernet.counters["OutDiscards"] == 200 - ethernet.MAX_LOOPED
    assert host.is_clean()


@pytest.mark.parametrize(
    ("src", "dst"), [("127.0.0.1", "10.0.0.2"), ("10.0.0.2", "10.0.0.2"), ("10.0.0.9", "127.0.0.1")]
)
def test_ourselves_from_outside_is_refused(world, host, src, dst):
    inject(world, host, IP(src=src, dst=dst) / UDP(dport=53) / Raw(b"land"))
    inject(world, host, IP(src=src, dst=dst) / TCP(dport=53, flags="S"))
    assert host.got == []
    assert sent(host) == []
    assert host.ipv4.counters["InMartians"] + host.ipv4.counters["InAddrErrors"] == 2


# --- options and TTL ---


@pytest.mark.parametrize(
    "options", [b"\x01\x01\x01\x00", b"\x07\x07\x04\x00\x00\x00\x00\x00", b"\x94\x04\x00\x00", b"\x00\xff\xff\xff"]
)
def test_options_are_skipped(world, host, options):
    inject(world, host, IP(src="10.0.0.9", dst="10.0.0.2", options=[IPOption(options)]) / UDP(dport=53) / Raw(b"x"))
    assert host.got == [(b"x", "10.0.0.9")]


@pytest.mark.parametrize("kind", [131, 137])
def test_source_routes_are_refused(world, host, kind):
    options = [IPOption(b"\x01" + bytes([kind]) + b"\x07\x04\x0a\x00\x00\x09")]
    inject(world, host, IP(src="10.0.0.9", dst="10.0.0.2", options=options) / UDP(dport=53) / Raw(b"x"))
    inject(world, host, IP(src="10.0.0.9", dst="10.0.0.2", options=options) / UDP(dport=99) / Raw(b"x"))
    assert host.got == []
    assert sent(host) == []
    assert host.ipv4.counters["InSourceRouted"] == 2


@pytest.mark.parametrize(
    "options", [b"\x5e\x00\x04\x00", b"\x5e\x01\x04\x00", b"\x5e\x05\x04\x00", b"\x01\x01\x01\x5e"]
)
def test_malformed_options_are_counted(world, host, options):
    inject(world, host, IP(src="10.0.0.9", dst="10.0.0.2", options=[IPOption(options)]) / UDP(dport=53) / Raw(b"x"))
    assert host.got == []
    assert host.ipv4.counters["InHdrErrors"] == 1


@pytest.mark.parametrize("ttl", [0, 1])
def test_time_to_live_at_its_end_is_for_routers(world, host, ttl):
    inject(world, host, IP(src="10.0.0.9", dst="10.0.0.2", ttl=ttl) / UDP(dport=53) / Raw(b"x"))
    assert host.got == [(b"x", "10.0.0.9")]  # RFC 1122 section 3.2.1.7


def test_short_frame_is_not_delivered_with_its_padding(world, host):
    inject(world, host, IP(src="10.0.0.9", dst="10.0.0.2") / UDP(dport=53, len=8, chksum=0) / Raw(b"not ours"))
    assert host.got == [(b"", "10.0.0.9")]


# --- ICMP ---


def error(kind, code, inner, **options):
    return IP(src="10.0.0.1", dst="10.0.0.2") / ICMP(type=kind, code=code, **options) / inner


def told(host):
    seen = []
    host.udp.listen(5353, print, lambda *args: seen.append(args))
    return seen


@pytest.mark.parametrize(
    ("kind", "code", "expected"),
    [
        (3, 0, errors.UNREACHABLE_HOST),
        (3, 1, errors.UNREACHABLE_HOST),
        (3, 2, errors.UNREACHABLE_PROTOCOL),
        (3, 3, errors.UNREACHABLE_PORT),
        (3, 13, errors.UNREACHABLE_HOST),
        (11, 0, errors.TIME_EXCEEDED),
        (12, 0, errors.OTHER),
    ],
)
def test_errors_reach_the_port_that_they_are_about(world, host, kind, code, expected):
    seen = told(host)
    inner = IP(src="10.0.0.2", dst="8.8.8.8") / UDP(sport=5353, dport=53)
    inject(world, host, error(kind, code, inner))
    assert seen == [(expected, "8.8.8.8", 53)]
    inject(world, host, error(kind, code, IP(src="10.0.0.2", dst="8.8.8.8") / UDP(sport=53, dport=53)))
    inject(world, host, error(kind, code, IP(src="10.0.0.77", dst="8.8.8.8") / UDP(sport=5353, dport=53)))
    assert len(seen) == 1
    assert host.udp.counters["IcmpErrors"] == 1
    assert sent(host) == []


def test_closed_port_at_a_peer_is_told(world, host):
    seen = told(host)
    world.host("10.0.0.3/24")
    assert host.udp.write(b"anybody?", "10.0.0.3", 99, 5353, world.now_ms)
    world.run(for_ms=50)
    assert seen == [(errors.UNREACHABLE_PORT, "10.0.0.3", 99)]


@pytest.mark.parametrize(
    ("kind", "counter"),
    [
        (4, "InSrcQuenchs"),
        (5, "InRedirects"),
        (13, "InTimestamps"),
        (14, "InTimestamps"),
        (17, "InOthers"),
        (99, "InOthers"),
    ],
)
def test_what_is_ignored_is_counted(world, host, kind, counter):
    seen = told(host)
    hop = host.ipv4.next_hop(number("8.8.8.8"))
    inner = IP(src="10.0.0.2", dst="8.8.8.8") / UDP(sport=5353, dport=53)
    body = bytes([kind, 0, 0, 0]) + b"\x0a\x00\x00\x09" + raw(inner)
    total = -sum(body[at] << 8 | (body[at + 1] if at + 1 < len(body) else 0) for at in range(0, len(body), 2))
    body = body[:2] + (total % 0xFFFF).to_bytes(2, "big") + body[4:]
    inject(world, host, IP(src="10.0.0.1", dst="10.0.0.2", proto=1) / Raw(body))
    assert host.icmp.counters[counter] == 1
    assert host.icmp.counters["InErrors"] == 0
    assert host.ipv4.next_hop(number("8.8.8.8")) == hop
    assert seen == []
    assert sent(host) == []


def test_error_is_never_sent_about_an_error(world, host):
    inner = IP(src="10.0.0.2", dst="10.0.0.9") / UDP()
    packet = IP(src="10.0.0.9", dst="10.0.0.2", flags="MF", id=5) / ICMP(type=3, code=3) / inner / Raw(bytes(44))
    inject(world, host, packet)
    assert len(host.ipv4._reassembly) == 1
    world.run(for_ms=40_000)
    assert host.ipv4.counters["ReasmTimeout"] == 1
    assert sent(host) == []


@pytest.mark.parametrize("size", [0, 1, 56, 1472, 1473, 65_507])
def test_ping_of_another(world, size):
    a, b = world.host("10.0.0.1/24"), world.host("10.0.0.2/24")
    results = []
    assert a.icmp.ping("10.0.0.2", results.append, world.now_ms, size)
    world.run(for_ms=500)
    assert len(results) == 1
    assert 0 <= results[0] < 100
    assert b.icmp.counters["OutEchoReps"] == 1
    assert a.is_clean()
    assert b.is_clean()
    assert not a.icmp._pings


def test_ping_of_nobody_and_of_ourselves(world, host):
    results = []
    host.icmp.ping("10.0.0.77", results.append, world.now_ms)
    host.icmp.ping("127.0.0.1", results.append, world.now_ms)
    world.run(for_ms=500)
    assert results == [0]
    world.run(for_ms=10_000)
    assert results == [0, None]
    assert not host.icmp._pings


def test_ping_is_answered_by_whom_it_was_sent_to_only(world, host):
    results = []
    host.icmp.ping("10.0.0.9", results.append, world.now_ms)
    world.settle()
    (request,) = sent(host)
    answer = ICMP(type=0, id=request[ICMP].id, seq=request[ICMP].seq) / request[ICMP].payload
    inject(world, host, IP(src="10.0.0.3", dst="10.0.0.2") / answer)
    inject(
        world, host, IP(src="10.0.0.9", dst="10.0.0.2") / ICMP(type=0, id=request[ICMP].id ^ 1, seq=1) / Raw(bytes(56))
    )
    inject(world, host, IP(src="10.0.0.9", dst="10.0.0.2") / ICMP(type=0, id=request[ICMP].id, seq=request[ICMP].seq))
    assert results == []
    inject(world, host, IP(src="10.0.0.9", dst="10.0.0.2") / answer)
    assert results == [0]


def test_ping_that_cannot_arrive_ends_with_the_error(world, host):
    results = []
    host.icmp.ping("10.0.0.9", results.append, world.now_ms)
    world.settle()
    (request,) = sent(host)
    inject(world, host, error(3, 1, request))
    assert results == [None]


def test_pings_are_bounded_and_checked(world, host):
    for size in (-1, 65_508):
        with pytest.raises(ValueError, match="size"):
            host.icmp.ping("10.0.0.9", print, world.now_ms, size)
    for _ in range(control_messages.MAX_PINGS):
        assert host.icmp.ping("10.0.0.9", lambda rtt_ms: None, world.now_ms)
    with pytest.raises(ValueError, match="more than"):
        host.icmp.ping("10.0.0.9", print, world.now_ms)


# --- neighbours outside of our networks ---


def asked(host):
    """The addresses that ARP asks for."""
    return [
        packet[38:42]
        for packet in host.device.tx_log
        if packet[12:14] == b"\x08\x06" and packet[28:32] != packet[38:42]
    ]


def test_gateway_of_a_32_is_a_neighbour_all_the_same(world, host):
    host.ipv4.set_address("10.128.0.7/32", "10.128.0.1")
    world.filter = Peer(world, host, ip=number("10.128.0.1"), resolve=False).on_frame
    host.device.tx_log.clear()
    assert host.udp.write(b"x", "8.8.8.8", 53, 5353, world.now_ms)
    world.run(for_ms=100)
    assert set(asked(host)) == {bytes([10, 128, 0, 1])}
    [packet] = [packet for packet in host.device.tx_log if packet[12:14] == b"\x08\x00"]
    assert (packet[:6], IP(packet[14:]).src, IP(packet[14:]).dst) == (MAC, "10.128.0.7", "8.8.8.8")
    # The gateway itself, and an ICMP echo from beyond.
    assert host.ipv4.next_hop(number("10.128.0.1")) == number("10.128.0.1")
    host.device.tx_log.clear()
    inject(world, host, IP(src="8.8.8.8", dst="10.128.0.7") / ICMP(type=8))
    assert [packet.dst for packet in sent(host)] == ["8.8.8.8"]


def test_32_without_a_gateway_has_no_route(host):
    host.ipv4.set_address("10.128.0.7/32")
    assert host.ipv4.source_for(number("8.8.8.8")) is None


@pytest.mark.parametrize(
    ("address", "gateway"),
    [
        ("10.128.0.7/32", "10.128.0.7"),
        ("10.128.0.7/32", "0.0.0.0"),
        ("10.128.0.7/32", "224.0.0.1"),
        ("10.128.0.7/31", "10.128.0.1"),
        ("10.128.0.7/24", "10.128.1.1"),
    ],
)
def test_gateway_that_cannot_be_one_is_refused(host, address, gateway):
    before = list(host.ipv4._routes)
    with pytest.raises(ValueError, match="not a neighbour"):
        host.ipv4.set_address(address, gateway)
    assert host.ipv4._routes == before


def test_given_routes_lead_where_they_say(host):
    host.ipv4.set_address(
        "10.128.0.7/24",
        None,
        [
            (0, 0, number("10.128.0.1")),
            (number("169.254.169.254"), 0xFFFFFFFF, None),
            (number("172.16.0.0"), 0xFFF00000, number("10.128.0.2")),
            (number("172.16.5.0"), 0xFFFFFF00, number("192.168.9.1")),  # of a router that is on no network of ours
            (number("172.17.0.0"), 0xFFFF0000, number("10.128.0.7")),  # ourselves: no way
        ],
    )
    hop = host.ipv4.next_hop
    assert hop(number("8.8.8.8")) == number("10.128.0.1")
    assert hop(number("169.254.169.254")) == number("169.254.169.254")
    assert hop(number("172.16.1.1")) == number("10.128.0.2")
    assert hop(number("172.16.5.1")) == number("192.168.9.1")
    assert hop(number("192.168.9.1")) == number("192.168.9.1")
    assert hop(number("172.17.1.1")) == number("10.128.0.2")
    assert hop(number("10.128.0.99")) == number("10.128.0.99")
    # They are this address's: another one has its own.
    host.ipv4.set_address("10.0.0.2/24", "10.0.0.1")
    assert hop(number("172.16.1.1")) == number("10.0.0.1")


def test_given_routes_survive_another_address(host):
    host.ipv4.set_address("10.128.0.7/32", None, [(0, 0, number("10.128.0.1"))])
    host.ipv4.add_address("192.168.7.5/24")
    host.ipv4.add_route("172.16.0.0/12", "192.168.7.1")
    host.ipv4.remove_address("192.168.7.5")
    assert host.ipv4.next_hop(number("172.16.1.1")) == number("10.128.0.1")


def test_routes_are_bounded(host):
    many = [(number("11.0.0.0") + (index << 8), 0xFFFFFF00, number("10.0.0.1")) for index in range(200)]
    host.ipv4.set_address("10.0.0.2/24", None, many)
    assert len(host.ipv4._routes) == ipv4.MAX_ROUTES
    with pytest.raises(ValueError, match="more than"):
        host.ipv4.add_route("172.16.0.0/12", "10.0.0.1")


def test_neighbour_outside_of_our_networks_gets_its_answer_and_stays_in_the_table(world, host):
    host.ipv4.set_address("10.128.0.7/32", "10.128.0.1")
    Peer(world, host, ip=number("10.128.0.1"))
    host.udp.write(b"x", "8.8.8.8", 53, 5353, world.now_ms)
    world.run(for_ms=100)
    host.ipv4.add_address("10.5.0.1/24")
    assert [entry[0] for entry in host.arp.entries()] == [number("10.128.0.1")]
    host.ipv4.set_address("10.0.0.2/24")
    assert host.arp.entries() == []
