# SPDX-License-Identifier: MIT
"""Path MTU discovery (RFC 1191), and whom to believe (RFC 5927)."""

import pytest
from scapy.compat import raw
from scapy.layers.inet import ICMP, IP, UDP
from scapy.layers.l2 import Ether
from scapy.packet import Raw
from scapy.utils import checksum

from libos.net.ip import pmtu
from libos.net.ip.pmtu import PathMtus, plateau_below
from libos.net.timers import Timers
from tests.net.peer import IP as PEER_IP
from tests.net.peer import MAC, Peer
from tests.net.world import pattern


@pytest.fixture
def host(world):
    host = world.host("10.0.0.2/24")
    host.listen(7)
    host.udp.listen(53, print)
    host.peer = Peer(world, host)
    host.peer.connect(options=b"\x02\x04\x05\xb4")
    host.conn = host.accepted[0].conn
    host.conn.write(pattern(5000))
    world.settle()
    host.peer.take()
    return host


def inject(world, host, packet):
    world.inject(host, raw(Ether(dst=host.device.mac, src=MAC) / packet))
    world.settle()


def too_big(host, mtu, quoted, src="10.0.0.1"):
    return IP(src=src, dst="10.0.0.2") / ICMP(type=3, code=4, unused=0, nexthopmtu=mtu) / Raw(raw(quoted))


def segment(host, seq=None, length=1500):
    """The quotation of a segment that the host sent, or might have."""
    conn = host.conn
    number = conn.snd_una if seq is None else seq
    ports = conn.local_port.to_bytes(2, "big") + conn.remote_port.to_bytes(2, "big")
    return IP(src="10.0.0.2", dst="10.0.0.9", proto=6, flags="DF", len=length) / Raw(
        ports + (number & 0xFFFFFFFF).to_bytes(4, "big")
    )


def datagram(port=53, length=1500, **ip):
    return IP(**{"src": "10.0.0.2", "dst": "10.0.0.9", "len": length, **ip}) / UDP(sport=port, dport=9)


def test_segments_become_smaller_and_later_connections_know(world, host):
    inject(world, host, too_big(host, 1000, segment(host)))
    assert host.ipv4.path_mtu(PEER_IP) == 1000
    assert max(len(part.data) for part in host.peer.take()) == 960
    other = Peer(world, host, port=5001)
    other.connect(options=b"\x02\x04\x05\xb4")
    assert host.accepted[1].conn.mss == 960
    assert host.ipv4.path_mtu(PEER_IP + 1) == 1500


def test_router_that_does_not_tell(world, host):
    inject(world, host, too_big(host, 0, segment(host)))
    assert host.ipv4.path_mtu(PEER_IP) == 1492
    inject(world, host, too_big(host, 0, segment(host, length=1492)))
    assert host.ipv4.path_mtu(PEER_IP) == 1006


@pytest.mark.parametrize(("length", "plateau"), [(65535, 32000), (1500, 1492), (1492, 1006), (68, 68), (20, 68)])
def test_plateaus(length, plateau):
    assert plateau_below(length) == plateau


def test_never_below_the_least(world, host):
    for mtu in (575, 68, 1):
        inject(world, host, too_big(host, mtu, segment(host)))
        assert host.ipv4.path_mtu(PEER_IP) == 576
    assert host.conn.mss >= 536


def test_never_wider(world, host):
    inject(world, host, too_big(host, 1000, segment(host)))
    inject(world, host, too_big(host, 1400, segment(host)))
    assert host.ipv4.path_mtu(PEER_IP) == 1000


def test_forged_sequence_number_is_not_believed(world, host):
    for seq in (host.conn.snd_una - 1, host.conn.snd_nxt, host.conn.snd_una + (1 << 31)):
        inject(world, host, too_big(host, 1000, segment(host, seq)))
    assert host.ipv4.path_mtu(PEER_IP) == 1500
    assert host.conn.mss == 1460


@pytest.mark.parametrize(
    "quoted",
    [
        datagram(port=54),  # no port of ours
        datagram(length=900),  # it would have fitted
        datagram(src="10.0.0.77"),  # not from us
        datagram(proto=47),  # a protocol that we do not speak
        datagram(frag=10),  # no ports in it
    ],
    ids=["port", "length", "source", "protocol", "fragment"],
)
def test_implausible_quotation_is_not_believed(world, host, quoted):
    inject(world, host, too_big(host, 1000, quoted))
    assert host.ipv4.path_mtu(PEER_IP) == 1500
    assert not len(host.ipv4._paths)


def test_datagram_is_fragmented_for_the_path(world, host):
    inject(world, host, too_big(host, 1000, datagram()))
    host.device.tx_log.clear()
    assert host.udp.write(pattern(1400), "10.0.0.9", 9, 53, world.now_ms)
    world.settle()
    sizes = [IP(packet[14:]).len for packet in host.device.tx_log]
    assert sizes == [20 + 976, 20 + 1408 - 976]
    assert host.ipv4.counters["FragOKs"] == 1


def test_what_is_remembered_is_forgotten_after_ten_minutes(world, host):
    inject(world, host, too_big(host, 1000, datagram()))
    world.run(for_ms=pmtu.AGE_MS - 1000)
    assert host.ipv4.path_mtu(PEER_IP) == 1000
    world.run(for_ms=2000)
    assert host.ipv4.path_mtu(PEER_IP) == 1500
    assert not len(host.ipv4._paths)


def test_flood_is_bounded(world, host):
    template = raw(Ether(dst=host.device.mac, src=MAC) / too_big(host, 1000, datagram(dst="10.1.0.0")))
    frame, icmp, quoted = bytearray(template), 34, 42
    for number in range(2000):
        # Of 10.1.0.0 to 10.1.7.207; scapy takes longer for one of them than the host for all.
        frame[quoted + 18 : quoted + 20] = number.to_bytes(2, "big")
        for start, at, end in ((quoted, 10, quoted + 20), (icmp, 2, len(frame))):
            frame[start + at : start + at + 2] = bytes(2)
            frame[start + at : start + at + 2] = checksum(bytes(frame[start:end])).to_bytes(2, "big")
        world.inject(host, bytes(frame))
        world.settle()
    assert len(host.ipv4._paths) == pmtu.MAX_PATHS
    world.run(for_ms=pmtu.AGE_MS + 1)
    assert not len(host.ipv4._paths)
    host.conn.abort()
    world.run(for_ms=1)
    assert host.is_clean()


def test_full_table_gives_up_what_was_lowered_first():
    timers = Timers()
    paths = PathMtus(timers, 1500, 576)
    for ip in range(pmtu.MAX_PATHS + 1):
        assert paths.lower(ip, 1000, ip)
    assert paths.lookup(0) == 1500
    assert paths.lookup(1) == 1000
    timers.cancel(paths)
    for restore in timers.restorers:
        restore(0)
    timers.poll(pmtu.AGE_MS + 1000, 64)
    assert not len(paths)
    assert not len(timers)


def test_what_probing_found_stands_beside_what_routers_say():
    """RFC 4821's finds are in the same table: they widen what was a guess, and add nothing by themselves."""
    paths = PathMtus(Timers(), 1500, 576)
    paths.widen(1, 1400, False)
    assert not len(paths)
    paths.lower(1, 1280, 0, True)
    assert (paths.lookup(1), paths.is_guess(1)) == (1280, True)
    paths.widen(1, 1000, False)  # another connection has got less far
    assert (paths.lookup(1), paths.is_guess(1)) == (1280, True)
    paths.widen(1, 1400, False)
    assert (paths.lookup(1), paths.is_guess(1)) == (1400, False)
    paths.lower(1, 1300, 0)  # a router knows better
    assert (paths.lookup(1), paths.is_guess(1)) == (1300, False)
    paths.widen(1, 1500, True)
    assert not len(paths)
    assert not paths.is_guess(1)
