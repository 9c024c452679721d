# SPDX-License-Identifier: MIT
"""Offloads and header prediction do what the plain way would do; scapy looks at every header."""

import pytest
from scapy.layers.inet import IP, TCP
from scapy.layers.l2 import Ether

from libos.hal import dma
from libos.net.tcp.expected import input_batch
from libos.wire import tcp
from libos.wire.tcp import ACK, PSH
from tests.net.peer import Peer, build, tcp_segment
from tests.net.tcp.test_transfer import echo
from tests.net.world import ALL_OFFLOADS, RX_CSUM, TX_CSUM, World, merge, pattern, segment, transport_is_valid


def look_at(packet):
    """Everything scapy can find wrong with a TCP packet on the wire."""
    seen = Ether(packet)
    assert seen.type in (0x0800, 0x0806)
    if IP not in seen:
        return
    ip = IP(bytes(seen[IP])[: seen[IP].len])
    assert ip.version == 4
    assert ip.ihl == 5
    assert ip.ttl == 64
    assert ip.flags == "DF"
    sums = (ip.chksum, ip[TCP].chksum)
    del ip.chksum
    del ip[TCP].chksum
    again = IP(bytes(ip))
    assert (again.chksum, again[TCP].chksum) == sums, packet.hex()
    assert ip[TCP].urgptr == 0
    assert ip[TCP].reserved == 0
    for name, _ in ip[TCP].options:
        assert name in ("MSS", "NOP", "WScale", "SAckOK", "SAck", "Timestamp")


@pytest.mark.parametrize("features", [0, TX_CSUM, ALL_OFFLOADS])
@pytest.mark.parametrize("tcp_options", [{}, {"timestamps": False}, {"timestamps": False, "sack": False}], ids=str)
def test_witness_of_every_header(features, tcp_options):
    world = World(seed=1, loss=0.05, reorder=0.05, delay_ms=3)
    seen = []
    world.filter = lambda device, packet: seen.append(packet)
    echo(world, pattern(200_000), features, tcp_options)
    assert len(seen) > 250
    for packet in seen:
        look_at(packet)


@pytest.mark.parametrize(("ours", "theirs"), [("10.0.0.1/24", "10.0.0.2/24"), ("fd00::1/64", "fd00::2/64")])
def test_frames_with_offload_are_few(ours, theirs):
    world = World(seed=2)
    a = world.host(ours, features=ALL_OFFLOADS)
    b = world.host(theirs, features=ALL_OFFLOADS)
    b.listen(9)
    flow = a.connect(b, 9)
    world.run(until=lambda: b.accepted)
    flow.conn.cc.cwnd = 1 << 20
    before = a.tcp.out_segs
    flow.send(pattern(200_000))
    world.run(until=lambda: len(b.accepted[0].received) == 200_000)
    assert a.tcp.out_segs - before <= 6
    assert a.device.counters["tx_packets"] > 130


def test_acknowledgements_of_a_batch_are_few():
    world = World(seed=3)
    a = world.host("10.0.0.1/24")
    b = world.host("10.0.0.2/24")
    b.listen(9)
    flow = a.connect(b, 9)
    world.run(until=lambda: b.accepted)
    flow.conn.cc.cwnd = 1 << 20
    before = b.tcp.out_segs
    flow.send(pattern(200_000))
    world.run(until=lambda: len(b.accepted[0].received) == 200_000)
    assert b.tcp.out_segs - before < 137 // 10


def test_prediction_handles_nearly_everything_without_loss():
    world = World(seed=4)
    flow = echo(world, pattern(2_000_000))
    counters = flow.conn.tcp.counters
    # The rest are window updates, which look like duplicate acknowledgements until one looks closely.
    assert counters["TCPHPHits"] > 0.85 * counters["InSegs"]


def the_plain_way(_tcp, frames, count, now_ms, otherwise):
    """input_batch without header prediction."""
    for frame in frames[:count]:
        otherwise(frame, now_ms)
        frame.release()
    return 0


def test_prediction_and_the_plain_way_agree():
    """The same link with the same seed, once with header prediction switched off: every frame is the same."""
    logs = []
    for is_on in (True, False):
        world = World(seed=5, loss=0.02, reorder=0.05)
        log = []
        world.filter = lambda device, packet, log=log: log.append(packet)
        if is_on:
            echo(world, pattern(300_000))
        else:
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr("libos.net.stack.input_batch", the_plain_way)
                echo(world, pattern(300_000))
        logs.append(log)
    assert logs[0] == logs[1]


def damaged(host, position, bit=0):
    body = tcp_segment(0x0A000009, host.ipv4.ip, 5000, 7, 1001, 0, PSH | ACK, 0xFFFF, b"payload")
    packet = bytearray(build(0x0A000009, host.ipv4.ip, host.device.mac, body))
    packet[position] ^= 1 << bit
    return packet


@pytest.mark.parametrize("position", range(14, 61))
@pytest.mark.parametrize("bit", [0, 7])
def test_any_damaged_bit_is_found_by_the_checksums(position, bit):
    world = World(seed=6)
    host = world.host("10.0.0.2/24")
    host.listen(7)
    peer = Peer(world, host)
    peer.connect()
    conn = host.accepted[0].conn
    body = tcp_segment(peer.ip, host.ipv4.ip, 5000, 7, peer.iss + 1, peer.irs + 1, PSH | ACK, 0xFFFF, b"payload")
    packet = bytearray(build(peer.ip, host.ipv4.ip, host.device.mac, body))
    packet[position] ^= 1 << bit
    world.inject(host, packet)
    world.settle()
    assert not host.accepted[0].received
    assert conn.rcv_nxt == conn.irs + 1
    drops = host.ipv4.counters["InHdrErrors"] + host.tcp.counters["InErrs"] + host.ipv4.counters["InAddrErrors"]
    assert drops == 1
    packet[position] ^= 1 << bit
    world.inject(host, packet)
    world.settle()
    assert bytes(host.accepted[0].received) == b"payload"


def test_checksum_is_trusted_when_the_device_verified_it():
    world = World(seed=7)
    host = world.host("10.0.0.2/24", features=RX_CSUM)
    host.listen(7)
    peer = Peer(world, host)
    peer.connect()
    frame = host.device.rx_pool.alloc()
    body = bytearray(
        tcp_segment(peer.ip, host.ipv4.ip, 5000, 7, peer.iss + 1, peer.irs + 1, PSH | ACK, 0xFFFF, b"local")
    )
    body[16:18] = b"\x12\x34"  # partial: the sender is on this machine
    packet = build(peer.ip, host.ipv4.ip, host.device.mac, body)
    frame.buf[frame.start : frame.start + len(packet)] = packet
    frame.length = len(packet)
    frame.flags = dma.CSUM_VALID
    before = host.tcp.in_fast
    assert input_batch(host.tcp, [frame], 1, world.now_ms, host.ethernet.input) == 0
    assert host.tcp.in_fast == before + 1
    host.accepted[0].step()
    assert bytes(host.accepted[0].received) == b"local"


@pytest.mark.parametrize("buffer_bytes", [256, 1024, 2048, 65536 + 64])
def test_large_received_frames_in_fragments(buffer_bytes):
    world = World(seed=8, loss=0.01)
    device = {"buffer_bytes": buffer_bytes, "rx_frames": 1024 if buffer_bytes < 4096 else 64}
    a = world.host("10.0.0.1/24", features=ALL_OFFLOADS, device=device)
    b = world.host("10.0.0.2/24", features=ALL_OFFLOADS, device=device)
    b.echo(7)
    flow = a.connect(b, 7)
    data = pattern(1_000_000)
    flow.send(data, close=True)
    world.run(until=lambda: flow.is_closed)
    assert bytes(flow.received) == data
    world.run()
    assert a.is_clean()
    assert b.is_clean()


def test_receive_ring_that_is_too_short_is_survived():
    world = World(seed=9)
    a = world.host("10.0.0.1/24", features=ALL_OFFLOADS)
    b = world.host("10.0.0.2/24", device={"rx_frames": 8})
    b.echo(7)
    flow = a.connect(b, 7)
    data = pattern(500_000)
    flow.send(data)
    world.run(until=lambda: len(flow.received) == len(data))
    assert bytes(flow.received) == data


def test_model_of_segmentation_agrees_with_the_model_of_merging():
    """The test's own devices: what one cuts the other joins to the same."""
    world = World(seed=10)
    host = world.host("10.0.0.1/24", features=ALL_OFFLOADS)
    body = bytearray(tcp_segment(0x0A000001, 0x0A000009, 1, 2, 5, 6, ACK, 7, pattern(10_000)))
    body[16:18] = ((0x0A000001 + 0x0A000009 + 6 + len(body)) % 0xFFFF).to_bytes(2, "big")
    whole = build(0x0A000001, 0x0A000009, host.device.mac, body)
    packets = segment(whole, 54, 1460)
    assert len(packets) == 7
    assert all(transport_is_valid(packet) for packet in packets)
    joined, count = merge(packets[0], packets[1:], 0)
    assert count == 6
    assert joined[54:] == whole[54:]
    assert tcp.parse(joined, 34, len(joined) - 34).seq == 5
