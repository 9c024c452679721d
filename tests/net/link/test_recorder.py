# SPDX-License-Identifier: MIT
"""net.link.recorder: what it keeps, what it leaves out, and what happens when nobody reads. scapy reads the result."""

import io

import pytest
from scapy.layers.inet import TCP, UDP
from scapy.layers.l2 import ARP, Ether
from scapy.utils import rdpcap

from libos.net.link import recorder as net_recorder
from libos.net.link.ethernet import Ethernet
from libos.wire import pcap
from tests.net.world import ALL_OFFLOADS, Host

NOW_NS = 1_700_000_000_123_456_789


class Clock:
    def wall_ns(self):
        return NOW_NS


def recorded(world, monkeypatch, size_kib=256, own_port=9999, features=0):
    """Two hosts; the first one's device has a recorder on it."""
    made = []

    class RecordedEthernet(Ethernet):
        def __init__(self, device):
            if not made:
                made.append(net_recorder.Recorder(device, Clock(), size_kib))
                if own_port:
                    made[0].start(own_port)
                device = made[0]
            super().__init__(device)

    monkeypatch.setattr("tests.net.world.Ethernet", RecordedEthernet)
    a = world.host("10.0.0.1/24", features=features)
    b = world.host("10.0.0.2/24", features=features)
    assert isinstance(a, Host)
    world.settle()
    return made[0], a, b


def read(recorder, number=0):
    data, after, lost = recorder.read(number, 1 << 30)
    return rdpcap(io.BytesIO(pcap.emit_header() + data)), after, lost


def test_frames_of_both_directions_are_kept_with_their_time(world, monkeypatch):
    recorder, a, b = recorded(world, monkeypatch)
    received = []
    b.udp.listen(9, lambda data, ip, port: b.udp.write(data, ip, port, 9, world.now_ms))
    a.udp.listen(7, lambda data, ip, port: received.append(data))
    a.udp.write(b"there and back", "10.0.0.2", 9, 7, world.now_ms)
    world.run(for_ms=100)
    assert received == [b"there and back"]
    packets, after, lost = read(recorder)
    datagrams = [(packet[UDP].sport, packet[UDP].dport, packet[UDP].load) for packet in packets if UDP in packet]
    assert datagrams == [(7, 9, b"there and back"), (9, 7, b"there and back")]
    assert any(ARP in packet for packet in packets)
    assert all(isinstance(packet, Ether) for packet in packets)
    assert {int(packet.time * 10**9) // 1000 for packet in packets} == {NOW_NS // 1000}
    assert (after, lost) == (len(packets), 0)


def test_connection_with_offloads_is_kept_as_the_stack_sees_it(world, monkeypatch):
    recorder, a, b = recorded(world, monkeypatch, size_kib=4096, features=ALL_OFFLOADS)
    b.echo(7)
    flow = a.connect(b, 7)
    flow.send(bytes(300_000), close=True)
    world.run(until=lambda: flow.is_eof)
    packets, _, _ = read(recorder)
    sent = sum(len(p[TCP].payload) for p in packets if TCP in p and p[TCP].dport == 7)
    assert sent >= 300_000
    assert max(len(packet) for packet in packets) > 1514
    world.run()
    assert a.is_clean()


def test_own_stream_is_left_out(world, monkeypatch):
    recorder, a, b = recorded(world, monkeypatch, own_port=7)
    a.echo(7)
    a.echo(8)
    for port in (7, 8):
        flow = b.connect(a, port)
        flow.send(b"x" * 100, close=True)
        world.run(until=lambda flow=flow: flow.is_eof)
    packets, _, _ = read(recorder)
    ports = {port for packet in packets if TCP in packet for port in (packet[TCP].sport, packet[TCP].dport)}
    assert ports & {7, 8} == {8}


def test_nothing_is_kept_before_the_start(world, monkeypatch):
    recorder, a, b = recorded(world, monkeypatch, own_port=None)
    b.echo(7)
    flow = a.connect(b, 7)
    flow.send(b"x", close=True)
    world.run(until=lambda: flow.is_eof)
    assert (recorder.first, recorder.next) == (0, 0)


def test_ring_is_bounded_and_a_slow_reader_learns_what_it_lost(world, monkeypatch):
    recorder, a, b = recorded(world, monkeypatch, size_kib=4)
    b.udp.listen(9, lambda data, ip, port: None)
    a.udp.write(b"x", "10.0.0.2", 9, 9, world.now_ms)
    world.run(for_ms=50)
    _, number, lost = read(recorder)
    assert lost == 0
    for count in range(100):
        a.udp.write(b"%03d" % count * 100, "10.0.0.2", 9, 9, world.now_ms)
        world.run(for_ms=5)
    packets, after, lost = read(recorder, number)
    assert lost == 100 - len(packets)
    assert 8 <= len(packets) <= 12
    assert packets[-1][UDP].load.startswith(b"099")
    assert recorder.read(after, 100) == (b"", after, 0)


def test_read_gives_whole_records_and_at_least_one(world, monkeypatch):
    recorder, a, _ = recorded(world, monkeypatch)
    for _ in range(5):
        a.udp.write(b"x" * 500, "10.0.0.2", 9, 9, world.now_ms)
    world.run(for_ms=50)
    number = sizes = 0
    while number < recorder.next:
        data, number, _ = recorder.read(number, 10)
        sizes += len(rdpcap(io.BytesIO(pcap.emit_header() + data)))
    assert sizes == recorder.next


def test_device_that_takes_not_all_has_each_frame_kept_once(world, monkeypatch):
    recorder, a, b = recorded(world, monkeypatch)
    a.device.tx_limit = 1
    b.udp.listen(9, lambda data, ip, port: None)
    a.udp.write(b"first", "10.0.0.2", 9, 9, world.now_ms)
    world.run(for_ms=50)
    for count in range(10):
        a.udp.write(b"%d" % count, "10.0.0.2", 9, 9, world.now_ms)
    world.run(for_ms=100)
    loads = [packet[UDP].load for packet in read(recorder)[0] if UDP in packet and len(packet[UDP].load) == 1]
    assert loads == [b"%d" % count for count in range(10)]


def test_no_memory_costs_the_record_not_the_frame(world, monkeypatch):
    _, a, b = recorded(world, monkeypatch)
    received = []
    b.udp.listen(9, lambda data, ip, port: received.append(data))

    def fail(*_):
        raise MemoryError

    monkeypatch.setattr(net_recorder, "emit_record", fail)
    a.udp.write(b"x", "10.0.0.2", 9, 9, world.now_ms)
    world.run(for_ms=50)
    assert received == [b"x"]
    assert a.stack.memory_drops == 0


@pytest.mark.parametrize("length", range(60))
def test_short_frames_are_nobodys(length):
    recorder = net_recorder.Recorder(type("Below", (), {"alloc": None, "arm": None, "disarm": None}), Clock())
    recorder.start(0x4545)
    assert not recorder._is_own((b"\0" * 12 + b"\x08\x00\x4f" + b"\0" * 8 + b"\x06" + b"\0" * 60)[:length])
