# SPDX-License-Identifier: MIT
"""link.ethernet, ip.ipv4, ip.icmp, udp: what is taken, what is refused under which name, and what is answered."""

import pytest
from scapy.layers.inet import ICMP, IP, UDP
from scapy.layers.l2 import Ether
from scapy.packet import Raw

from libos.wire import ipv4
from tests.net.peer import IP as PEER_IP
from tests.net.peer import MAC as PEER_MAC
from tests.net.peer import Peer, build
from tests.net.world import pattern


@pytest.fixture
def host(world):
    host = world.host("10.0.0.2/24")
    Peer(world, host)
    return host


def inject(world, host, packet, flags=0):
    """A scapy packet, or bytes."""
    world.inject(host, bytes(packet))
    world.settle()


def frame(host, **ip):
    return Ether(dst=host.device.mac, src=PEER_MAC) / IP(**{"src": "10.0.0.9", "dst": "10.0.0.2", **ip})


def answers(host):
    seen = [Ether(packet) for packet in host.device.tx_log if packet[12:14] == b"\x08\x00"]
    host.device.tx_log.clear()
    return seen


# --- ICMP ---


@pytest.mark.parametrize("size", [0, 1, 8, 56, 1471, 1472])
def test_echo_request_is_answered(world, host, size):
    data = pattern(size)
    inject(world, host, frame(host) / ICMP(type=8, id=77, seq=5) / Raw(data))
    (reply,) = answers(host)
    assert (reply[ICMP].type, reply[ICMP].id, reply[ICMP].seq) == (0, 77, 5)
    assert bytes(reply[ICMP].payload)[:size] == data
    assert reply[IP].len == 28 + size
    given_sum = reply[ICMP].chksum
    packet = IP(bytes(reply[IP])[: reply[IP].len])
    del packet[ICMP].chksum
    assert ICMP(bytes(packet[ICMP])).chksum == given_sum
    assert host.icmp.counters["OutEchoReps"] == 1
    assert not host.device.in_use


def test_echo_request_to_a_broadcast_is_not_answered(world, host):
    packet = frame(host, dst="255.255.255.255") / ICMP(type=8)
    packet[Ether].dst = "ff:ff:ff:ff:ff:ff"
    inject(world, host, packet)
    assert answers(host) == []
    assert host.icmp.counters["InEchos"] == 1


def test_echo_request_with_a_bad_checksum_is_dropped(world, host):
    inject(world, host, frame(host) / ICMP(type=8, chksum=1))
    assert answers(host) == []
    assert host.icmp.counters["InCsumErrors"] == 1


def test_icmp_truncated_is_counted(world, host):
    inject(world, host, frame(host, proto=1) / Raw(b"\x08\x00\x00"))
    assert host.icmp.counters["InErrors"] == 1


def test_unknown_protocol_is_answered_unreachable(world, host):
    inject(world, host, frame(host, proto=99) / Raw(b"what is this"))
    (answer,) = answers(host)
    assert (answer[ICMP].type, answer[ICMP].code) == (3, 2)
    assert host.ipv4.counters["InUnknownProtos"] == 1


def test_errors_are_limited_in_rate_and_never_answer_errors(world, host):
    for _ in range(100):
        inject(world, host, frame(host) / UDP(dport=9999) / Raw(b"x"))
    assert len(answers(host)) == 20
    assert host.icmp.counters["OutRateLimited"] == 80
    inner = IP(src="10.0.0.2", dst="10.0.0.9") / UDP(sport=1, dport=2)
    world.now_ms += 10_000
    inject(world, host, frame(host) / ICMP(type=3, code=3) / inner)
    assert answers(host) == []


# --- UDP ---


def test_udp_is_delivered_with_its_source(world, host):
    got = []
    host.udp.listen(53, lambda data, ip, port: got.append((data, ip, port)))
    inject(world, host, frame(host) / UDP(sport=1234, dport=53) / Raw(b"query"))
    inject(world, host, frame(host) / UDP(sport=1234, dport=53))
    assert got == [(b"query", "10.0.0.9", 1234), (b"", "10.0.0.9", 1234)]
    assert host.udp.counters["InDatagrams"] == 2


def test_udp_from_port_zero_wants_no_answer_and_answering_it_harms_nobody(world, host):
    """RFC 768. A service that answers whatever comes would have ended with an exception."""
    answered = []
    host.udp.listen(53, lambda data, ip, port: answered.append(host.udp.write(data, ip, port, 53)))
    inject(world, host, frame(host) / UDP(sport=0, dport=53) / Raw(b"x"))
    inject(world, host, frame(host) / UDP(sport=9, dport=53) / Raw(b"x"))
    assert answered == [False, True]
    assert host.udp.counters["OutErrors"] == 1


def test_udp_without_checksum_is_delivered_and_with_a_wrong_one_dropped(world, host):
    got = []
    host.udp.listen(53, lambda data, ip, port: got.append(data))
    inject(world, host, frame(host) / UDP(dport=53, chksum=0) / Raw(b"none"))
    inject(world, host, frame(host) / UDP(dport=53, chksum=0x1234) / Raw(b"wrong"))
    assert got == [b"none"]
    assert host.udp.counters["InCsumErrors"] == 1


def test_udp_to_a_closed_port_is_answered_unreachable(world, host):
    inject(world, host, frame(host) / UDP(sport=5, dport=53) / Raw(b"anybody?"))
    (answer,) = answers(host)
    assert (answer[ICMP].type, answer[ICMP].code) == (3, 3)
    quoted = bytes(answer[ICMP].payload)
    assert quoted[20:24] == b"\x00\x05\x00\x35"
    assert quoted[28:36] == b"anybody?"
    assert host.udp.counters["NoPorts"] == 1


def test_udp_broadcast_is_delivered_but_never_answered(world, host):
    got = []
    host.ipv4.accept_directed_broadcast = True
    host.udp.listen(67, lambda data, ip, port: got.append(data))
    for dst in ("255.255.255.255", "10.0.0.255"):
        for port in (67, 68):
            packet = frame(host, dst=dst) / UDP(dport=port) / Raw(b"to all")
            packet[Ether].dst = "ff:ff:ff:ff:ff:ff"
            inject(world, host, packet)
    assert got == [b"to all"] * 2
    assert answers(host) == []


def test_limited_broadcast_in_a_frame_for_us_alone_is_delivered(world, host):
    # So Kea answers a DHCP client that asks for a broadcast. A directed broadcast like that is nobody's.
    got = []
    host.udp.listen(68, lambda data, ip, port: got.append(data))
    for dst in ("255.255.255.255", "10.0.0.255"):
        inject(world, host, frame(host, dst=dst) / UDP(dport=68) / Raw(dst.encode()))
        inject(world, host, frame(host, dst=dst) / UDP(dport=69) / Raw(b"to nobody"))
    assert got == [b"255.255.255.255"]
    assert answers(host) == []


def test_udp_length_that_contradicts_is_counted(world, host):
    for length in (0, 7, 500):
        inject(world, host, frame(host) / UDP(dport=53, len=length, chksum=0) / Raw(b"x" * 20))
    assert host.udp.counters["InErrors"] == 3


@pytest.mark.parametrize("size", [0, 1, 100, 1471, 1472])
def test_udp_write_is_what_scapy_expects(world, host, size):
    data = pattern(size)
    assert host.udp.write(data, "10.0.0.9", 2000, 3000, world.now_ms)
    world.settle()
    (packet,) = answers(host)
    assert (packet[UDP].sport, packet[UDP].dport, packet[UDP].len) == (3000, 2000, 8 + size)
    assert bytes(packet[UDP].payload)[:size] == data
    given_sum = packet[UDP].chksum
    whole = IP(bytes(packet[IP])[: packet[IP].len])
    del whole[UDP].chksum
    assert IP(bytes(whole))[UDP].chksum == given_sum


def test_udp_write_refuses_nonsense(host):
    for args in (
        (b"", "10.0.0", 1, 1),
        (b"", "10.0.0.9", -1, 1),
        (b"", "10.0.0.9", 1, 0),
        (b"", "10.0.0.9", 1, 65536),
        (bytes(65508), "10.0.0.9", 1, 1),
    ):
        with pytest.raises(ValueError, match=r"not|more than"):
            host.udp.write(*args)
    assert host.udp.write(b"x", "192.168.1.1", 1, 1) is False
    assert host.ipv4.counters["OutNoRoutes"] == 1
    assert not host.device.in_use


def test_udp_ports_are_taken_once(host):
    host.udp.listen(53, print)
    for port in (53, 0, 65536):
        with pytest.raises(ValueError, match="UDP port"):
            host.udp.listen(port, print)
    host.udp.unlisten(53)
    host.udp.listen(53, print)


# --- IPv4 and Ethernet ---


@pytest.mark.parametrize(
    ("change", "counter"),
    [
        ({"version": 6}, "InHdrErrors"),
        ({"ihl": 4}, "InHdrErrors"),
        ({"len": 19}, "InHdrErrors"),
        ({"len": 2000}, "InHdrErrors"),
        ({"chksum": 0x1234}, "InCsumErrors"),
        ({"dst": "10.0.0.3"}, "InAddrErrors"),
        ({"dst": "10.0.0.255"}, "InAddrErrors"),  # in a frame to us alone
        ({"src": "10.0.0.255"}, "InMartians"),
        ({"src": "255.255.255.255"}, "InMartians"),
        ({"src": "0.0.0.0"}, "InMartians"),
        ({"src": "127.0.0.1"}, "InMartians"),
        ({"src": "224.0.0.1"}, "InMartians"),
        ({"src": "10.0.0.2"}, "InMartians"),
        ({"flags": "MF"}, "ReasmFails"),
        ({"frag": 100}, "ReasmReqds"),
    ],
    ids=str,
)
def test_ipv4_packet_that_is_dropped(world, host, change, counter):
    got = []
    host.udp.listen(53, lambda data, ip, port: got.append(data))
    inject(world, host, frame(host, **change) / UDP(dport=53) / Raw(b"x"))
    assert got == []
    assert host.ipv4.counters[counter] == 1
    assert answers(host) == []
    inject(world, host, frame(host) / UDP(dport=53) / Raw(b"x"))
    assert got == [b"x"]


def test_ipv4_options_are_skipped(world, host):
    got = []
    host.udp.listen(53, lambda data, ip, port: got.append(data))
    from scapy.layers.inet import IPOption

    inject(world, host, frame(host, options=[IPOption(b"\x07\x07\x04\x00\x00\x00\x00")]) / UDP(dport=53) / Raw(b"x"))
    assert got == [b"x"]


def test_ethernet_frame_to_another_is_dropped(world, host):
    packet = frame(host) / UDP(dport=53)
    packet[Ether].dst = "52:54:00:aa:bb:cc"
    inject(world, host, packet)
    assert host.ethernet.counters["InOtherHost"] == 1


def test_ethernet_unknown_protocol_and_short_frame_are_counted(world, host):
    inject(world, host, Ether(dst=host.device.mac, type=0x88CC) / Raw(bytes(50)))
    assert host.ethernet.counters["InUnknownProtos"] == 1
    before = host.device.in_use
    fragment = host.device.rx_pool.alloc()
    fragment.length = 10
    host.ethernet.input(fragment, world.now_ms)
    fragment.release()
    assert host.ethernet.counters["InErrors"] == 1
    assert host.device.in_use == before


def test_padding_is_not_taken_for_data(world, host):
    got = []
    host.udp.listen(53, lambda data, ip, port: got.append(data))
    packet = bytes(frame(host) / UDP(dport=53, sport=5) / Raw(b"x"))
    world.inject(host, packet + b"not ours" * 3)
    world.settle()
    assert got == [b"x"]


def test_routes_and_gateway(world):
    host = world.host("10.0.0.2/24", gateway="10.0.0.254")
    assert host.ipv4.next_hop(ipv4.parse_address("10.0.0.77")) == ipv4.parse_address("10.0.0.77")
    assert host.ipv4.next_hop(ipv4.parse_address("8.8.8.8")) == ipv4.parse_address("10.0.0.254")
    host.ipv4.add_route("8.0.0.0/8", "10.0.0.253")
    host.ipv4.add_route("8.8.0.0/16", "10.0.0.252")
    assert host.ipv4.next_hop(ipv4.parse_address("8.8.8.8")) == ipv4.parse_address("10.0.0.252")
    assert host.ipv4.next_hop(ipv4.parse_address("8.9.8.8")) == ipv4.parse_address("10.0.0.253")
    assert host.ipv4.next_hop(ipv4.parse_address("9.9.9.9")) == ipv4.parse_address("10.0.0.254")
    with pytest.raises(ValueError, match="not a neighbour"):
        host.ipv4.add_route("8.0.0.0/8", "192.168.0.1")


@pytest.mark.parametrize(
    ("address", "gateway"),
    [
        ("10.0.0.2", None),
        ("10.0.0.0/24", None),
        ("10.0.0.255/24", None),
        ("127.0.0.1/8", None),
        ("224.0.0.1/24", None),
        ("0.0.0.0/0", None),
        ("10.0.0.2/24", "10.0.1.1"),
        ("10.0.0.2/24", "10.0.0.2"),
        ("10.0.0.2/24", "gateway"),
    ],
)
def test_address_that_cannot_be(world, address, gateway):
    with pytest.raises(ValueError, match=r"not |gateway"):
        world.host(address, gateway=gateway)


def test_point_to_point_prefixes_have_no_broadcast(world):
    assert not world.host("10.0.0.2/31").ipv4.is_broadcast(0x0A000003)
    assert not world.host("10.0.0.2/32").ipv4.is_broadcast(0x0A000002)


def test_counters_are_readable_as_one(world, host):
    inject(world, host, build(PEER_IP, host.ipv4.ip, host.device.mac, b"", 17))
    counters = host.stack.counters
    assert set(counters) == {"device", "ethernet", "arp", "ipv4", "igmp", "icmp", "udp", "tcp", "stack"}
    for values in counters.values():
        assert all(isinstance(value, int) for value in values.values())
    assert counters["udp"]["InErrors"] == 1


# --- ICMP errors about our connections: RFC 1191, RFC 5927 ---


def error(host, conn, kind, code, mtu=0, seq=None):
    inner = bytearray(28)
    ipv4.emit(inner, 0, 1500, 0, 0x4000, 64, 6, host.ipv4.ip, PEER_IP)
    number = conn.snd_una if seq is None else seq
    inner[20:28] = (
        conn.local_port.to_bytes(2, "big")
        + conn.remote_port.to_bytes(2, "big")
        + (number & 0xFFFFFFFF).to_bytes(4, "big")
    )
    return (
        frame(host) / ICMP(type=kind, code=code, unused=0, nexthopmtu=mtu) / Raw(bytes(inner))
        if mtu
        else (frame(host) / ICMP(type=kind, code=code) / Raw(bytes(inner)))
    )


@pytest.fixture
def conn(world, host):
    host.listen(7)
    peer = Peer(world, host)
    peer.connect(options=b"\x02\x04\x05\xb4")
    conn = host.accepted[0].conn
    conn.write(pattern(5000))
    world.settle()
    host.peer = peer
    peer.take()
    return conn


def test_fragmentation_needed_makes_segments_smaller(world, host, conn):
    inject(world, host, error(host, conn, 3, 4, 1000))
    assert conn.mss == 960
    sizes = [len(s.data) for s in host.peer.take()]
    assert sizes
    assert max(sizes) <= 960
    inject(world, host, error(host, conn, 3, 4, 1400))
    assert conn.mss == 960
    inject(world, host, error(host, conn, 3, 4, 68))
    assert conn.mss >= 500  # RFC 5927: nobody can make us send a stream of tiny segments


def test_icmp_with_a_sequence_number_that_is_not_outstanding_is_ignored(world, host, conn):
    for seq in (conn.snd_una - 1, conn.snd_nxt, conn.snd_una + (1 << 31)):
        inject(world, host, error(host, conn, 3, 4, 1000, seq))
    assert conn.mss == 1460


@pytest.mark.parametrize("code", [0, 1, 2, 3, 13])
def test_unreachable_does_not_end_an_established_connection(world, host, conn, code):
    inject(world, host, error(host, conn, 3, code))
    assert conn.error is None


def test_port_unreachable_ends_an_attempt(world, host):
    flow = host.connect("10.0.0.9", 80)
    world.settle()
    inject(world, host, error(host, flow.conn, 3, 3))
    assert flow.error == 113
    assert host.is_clean()


def test_icmp_error_with_a_truncated_quotation_is_counted(world, host):
    for quoted in (b"", bytes(27), b"\x4f" + bytes(30), b"\x60" + bytes(40)):
        inject(world, host, frame(host) / ICMP(type=3, code=3) / Raw(quoted))
    assert host.icmp.counters["InErrors"] == 4
