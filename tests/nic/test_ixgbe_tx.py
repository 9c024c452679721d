# SPDX-License-Identifier: MIT
"""Transmission of the model: descriptors, checksums, segmentation, VLAN; scapy says what the frames must be."""

import random
import struct

import pytest
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Dot1Q, Ether
from scapy.packet import Packet as ScapyPacket
from scapy.packet import Raw, raw

from mirage_py.nic.checksum import ones_sum
from mirage_py.nic.frame import Frame
from mirage_py.nic.ixgbe import registers as r
from tests.nic.host import MAC, PEER, RING, TX_BUFFERS, Host

IPV4, L4_TCP, L4_UDP = 1 << 10, 1 << 11, 0
IXSM, TXSM, CC = 1 << 8, 1 << 9, 1 << 7
TSE, VLE = 1 << 31, 1 << 30
OCTETS = bytes(range(256)) * 40


@pytest.fixture
def host() -> Host:
    host = Host()
    host.start()
    return host


def packet(*layers: ScapyPacket, payload: bytes = b"hello") -> bytes:
    """A frame whose checksums scapy filled in."""
    frame = Ether(src=MAC, dst=PEER)
    for layer in layers:
        frame = frame / layer
    return raw(frame / Raw(payload))


def pseudo_sum(data: bytes, l3: int, l4: int, with_length: bool = True) -> int:
    addresses = data[l3 + 12 : l3 + 20] if data[l3] >> 4 == 4 else data[l3 + 8 : l3 + 40]
    protocol = data[l3 + 9] if data[l3] >> 4 == 4 else data[l3 + 6]
    return ones_sum(addresses, protocol + (len(data) - l4 if with_length else 0))


def unfinished(data: bytes, l3: int, l4: int, field: int, with_length: bool = True) -> bytes:
    """The frame as a driver leaves it: no IP checksum, the pseudo-header's sum in the transport one."""
    out = bytearray(data)
    if data[l3] >> 4 == 4:
        out[l3 + 10 : l3 + 12] = b"\0\0"
    out[l4 + field : l4 + field + 2] = pseudo_sum(data, l3, l4, with_length).to_bytes(2, "big")
    return bytes(out)


@pytest.mark.parametrize("pieces", [1, 3, 7])
def test_packet_goes_out_and_is_reported_done(host: Host, pieces: int) -> None:
    data = packet(payload=OCTETS[:200])
    assert host.transmit(data, pieces=pieces) == [data]
    assert host.is_done(host.tx_tail - 1)
    assert host[r.TDH] == host.tx_tail == pieces
    assert host.sink.messages == [1]


def test_short_packet_is_padded_with_zeros(host: Host) -> None:
    assert host.transmit(b"\2" * 20) == [b"\2" * 20 + bytes(40)]


def test_ring_wraps(host: Host) -> None:
    for number in range(3 * RING):
        data = packet(payload=bytes([number % 256]) * 100)
        assert host.transmit(data) == [data]


def test_batch_makes_one_interrupt(host: Host) -> None:
    frames = [packet(payload=bytes([n]) * 100) for n in range(30)]
    for data in frames:
        host.queue_packet(data)
    host.doorbell()
    assert [bytes(frame.joined()) for frame in host.sent()] == frames
    assert host.sink.messages == [1]
    assert host[r.GPTC] == 30


def test_legacy_descriptor_with_checksum_and_vlan(host: Host) -> None:
    data = packet(IP(src="10.0.0.1", dst="10.0.0.2"), UDP(sport=1, dport=2), payload=b"x" * 60)
    draft = unfinished(data, 14, 34, 6)
    draft = data[:24] + data[24:26] + draft[26:]
    host.put(TX_BUFFERS, draft)
    command = 0x01 | 0x02 | 0x04 | 0x08 | 0x40
    host.descriptor(TX_BUFFERS, len(draft) | 40 << 16 | command << 24 | 34 << 40 | 0x2005 << 48)
    host.doorbell()
    expected = data[:12] + b"\x81\x00\x20\x05" + data[12:]
    assert [bytes(frame.joined()) for frame in host.sent()] == [expected]
    assert host.is_done(0)


@pytest.mark.parametrize("length", [0, 1, 2, 99, 100, 1399, 1400])
@pytest.mark.parametrize("pieces", [1, 2])
def test_checksums_are_what_scapy_computes(host: Host, length: int, pieces: int) -> None:
    rng = random.Random(length)
    payload = rng.randbytes(length)
    for ip, ip_len, tucmd4 in (
        (IP(src="10.1.2.3", dst="192.168.255.254", id=77), 20, IPV4),
        (IPv6(src="fd00::1", dst="fd00::2"), 40, 0),
    ):
        for layer, field, tucmd in (
            (TCP(sport=1234, dport=80, flags="PA"), 16, L4_TCP),
            (UDP(sport=9, dport=7), 6, L4_UDP),
        ):
            data = packet(ip, layer, payload=payload)
            l4 = 14 + ip_len
            host.context(14, ip_len, 20, 0, tucmd | tucmd4)
            options = TXSM | CC | (IXSM if tucmd4 else 0)
            sent = host.transmit(unfinished(data, 14, l4, field), options=options, pieces=pieces)
            assert [one[: len(data)] for one in sent] == [data]


def test_udp_checksum_that_comes_out_as_zero_is_sent_as_ones(host: Host) -> None:
    for filler in range(65536):
        data = packet(IP(src="10.0.0.1", dst="10.0.0.2"), UDP(sport=1, dport=2), payload=filler.to_bytes(2, "big"))
        if data[40:42] == b"\xff\xff":
            break
        guess = (ones_sum(data[40:42]) + filler) % 0xFFFF
        data = packet(IP(src="10.0.0.1", dst="10.0.0.2"), UDP(sport=1, dport=2), payload=guess.to_bytes(2, "big"))
        if data[40:42] == b"\xff\xff":
            break
    assert data[40:42] == b"\xff\xff"
    host.context(14, 20, 8, 0, IPV4 | L4_UDP)
    assert host.transmit(unfinished(data, 14, 34, 6), options=TXSM | IXSM)[0][: len(data)] == data


def test_two_contexts_are_kept_apart(host: Host) -> None:
    udp = packet(IP(src="10.0.0.1", dst="10.0.0.2"), UDP(sport=1, dport=2), payload=b"u" * 50)
    tcp = packet(IPv6(src="fd00::1", dst="fd00::2"), TCP(sport=1, dport=2), payload=b"t" * 50)
    host.context(14, 20, 8, 0, IPV4 | L4_UDP, index=0)
    host.context(14, 40, 20, 0, L4_TCP, index=1)
    for _ in range(2):
        assert host.transmit(unfinished(udp, 14, 34, 6), options=TXSM | IXSM | CC) == [udp]
        assert host.transmit(unfinished(tcp, 14, 54, 16), options=TXSM | CC | 1 << 4) == [tcp]


def segments_by_hand(
    ip: ScapyPacket, payload: bytes, mss: int, flags: int, sequence: int, vlan: int | None
) -> list[bytes]:
    """What cutting must give, built segment by segment with scapy."""
    out = []
    count = -(-len(payload) // mss)
    for number in range(count):
        part = payload[number * mss : (number + 1) * mss]
        bits = flags & ~(0x09 if number < count - 1 else 0) & ~(0x80 if number == count - 1 and count > 1 else 0)
        layer = ip.copy()
        if isinstance(layer, IP):
            layer.id = ip.id + number
        tcp = TCP(sport=5, dport=6, seq=sequence + number * mss, ack=9, flags=bits, window=1000)
        tag = [Dot1Q(vlan=vlan)] if vlan is not None else []
        out.append(packet(*tag, layer, tcp, payload=part))
    return out


@pytest.mark.parametrize("vlan", [None, 5])
@pytest.mark.parametrize(("length", "mss"), [(5000, 1448), (2896, 1448), (1000, 1448), (40000, 1000), (5001, 999)])
def test_segmentation_is_what_scapy_builds(host: Host, length: int, mss: int, vlan: int | None) -> None:
    payload = random.Random(length).randbytes(length)
    for ip, ip_len, tucmd in (
        (IP(src="10.1.2.3", dst="10.9.8.7", id=500), 20, IPV4 | L4_TCP),
        (IPv6(src="fd00::1", dst="fd00::2"), 40, L4_TCP),
    ):
        data = packet(ip, TCP(sport=5, dport=6, seq=7000, ack=9, flags=0x99, window=1000), payload=payload)
        l4 = 14 + ip_len
        draft = bytearray(unfinished(data, 14, l4, 16, with_length=False))
        if ip_len == 20:
            draft[16:18] = b"\0\0"
        host.context(14, ip_len, 20, mss, tucmd, vlan=vlan or 0)
        command = TSE | (VLE if vlan is not None else 0)
        options = TXSM | CC | (IXSM if ip_len == 20 else 0)
        sent = host.transmit(bytes(draft), options=options, command=command, paylen=length, pieces=4)
        assert sent == [one.ljust(60, b"\0") for one in segments_by_hand(ip, payload, mss, 0x99, 7000, vlan)]
    assert host[r.GPTC] == 2 * -(-length // mss)


@pytest.mark.parametrize(
    ("ip", "l4", "gso_type"),
    [(IP(src="10.1.2.3", dst="10.9.8.7", id=500), 34, 1), (IPv6(src="fd00::1", dst="fd00::2"), 54, 4)],
)
def test_wire_that_takes_large_segments_gets_them_whole(ip: ScapyPacket, l4: int, gso_type: int) -> None:
    host = Host(offloads=True)
    host.start()
    payload = OCTETS[:9000]
    data = packet(ip, TCP(sport=5, dport=6, seq=7000, flags="PA"), payload=payload)
    host.context(14, l4 - 14, 20, 1000, (IPV4 if gso_type == 1 else 0) | L4_TCP)
    draft = bytearray(unfinished(data, 14, l4, 16, with_length=False))
    length_at = 16 if gso_type == 1 else 18
    draft[length_at : length_at + 2] = b"\0\0"
    options = TXSM | (IXSM if gso_type == 1 else 0)
    host.queue_packet(bytes(draft), options=options, command=TSE, paylen=len(payload))
    host.doorbell()
    (frame,) = host.sent()
    out = bytes(frame.joined())
    assert (frame.gso_size, frame.gso_type, frame.hdr_len) == (1000, gso_type, l4 + 20)
    assert (frame.csum_start, frame.csum_offset) == (l4, 16)
    assert out[: l4 + 16] == data[: l4 + 16], "lengths and the IP checksum are filled in"
    assert out[l4 + 16 : l4 + 18] == pseudo_sum(data, 14, l4).to_bytes(2, "big"), "with the length, as virtio wants it"
    assert out[l4 + 20 :] == payload


@pytest.mark.parametrize(
    ("mac_len", "ip_len", "l4_len", "mss"),
    [(14, 20, 20, 0), (0, 20, 20, 1000), (14, 0, 20, 1000), (14, 20, 0, 1000), (14, 400, 20, 1000), (127, 511, 255, 1)],
)
def test_context_that_contradicts_the_packet_costs_that_packet_only(
    host: Host, mac_len: int, ip_len: int, l4_len: int, mss: int
) -> None:
    data = packet(IP(), TCP(), payload=bytes(300))
    host.context(mac_len, ip_len, l4_len, mss, IPV4 | L4_TCP)
    assert host.transmit(data, options=TXSM | IXSM, command=TSE, paylen=300) == []
    assert host.nic.tx.bad_descriptors == 1
    assert host.transmit(data) == [data]


def test_buffer_outside_memory_stops_the_queue_until_it_is_enabled_again(host: Host) -> None:
    host.descriptor(0xDEAD_0000_0000, 100 | 3 << 20 | 1 << 29 | 1 << 24 | 1 << 27)
    host.doorbell()
    assert host.sent() == []
    assert not host[r.TXDCTL] & r.TXDCTL_ENABLE
    host[r.TDH] = host[r.TDT] = host.tx_tail = 0
    host[r.TXDCTL] = r.TXDCTL_ENABLE
    data = packet()
    assert host.transmit(data) == [data.ljust(60, b"\0")]


def test_endless_packet_is_given_up(host: Host) -> None:
    for _ in range(20):
        host.descriptor(TX_BUFFERS, 0xFFFF | 3 << 20 | 1 << 29)
    host.doorbell()
    assert host.sent() == []
    assert host.nic.tx.bad_descriptors > 0


def test_head_write_back_instead_of_done_bits(host: Host) -> None:
    where = TX_BUFFERS + 0x80000
    host[r.TDWBAL] = where | 1
    data = packet(payload=bytes(100))
    host.transmit(data)
    host.transmit(data)
    assert struct.unpack("<I", host.get(where, 4))[0] == 2
    assert not host.is_done(0)


def test_nothing_is_sent_without_link_or_enable_and_all_is_when_they_come(host: Host) -> None:
    data = packet(payload=bytes(100))
    host.nic.faults.set("link-down", 1)
    assert host.transmit(data) == []
    host.nic.faults.set("link-down", 0)
    assert len(host.sent()) == 1
    host[r.DMATXCTL] = 0
    assert host.transmit(data) == []
    host[r.DMATXCTL] = r.DMATXCTL_TE
    assert len(host.sent()) == 1
    host[r.CTRL] = r.CTRL_MASTER_DISABLE
    assert host.transmit(data) == []
    host[r.CTRL] = 0
    assert len(host.sent()) == 1


def test_stalled_ring_is_freed_by_a_reset(host: Host) -> None:
    host.nic.faults.set("tx-stall", 1)
    data = packet(payload=bytes(100))
    assert host.transmit(data) == []
    host[r.CTRL] = r.CTRL_RST
    host.tx_tail = 0
    host.start()
    assert host.transmit(data) == [data]
    assert host.nic.faults.counts["tx-stall"] == 1


def test_wire_that_is_full_holds_frames_back_and_loses_none(host: Host) -> None:
    taken: list[bytes] = []
    room = [3]

    def send(frames: list[Frame]) -> int:
        count = min(room[0], len(frames))
        taken.extend(bytes(frame.joined()) for frame in frames[:count])
        room[0] -= count
        return count

    host.wire.send = send  # type: ignore[method-assign]
    expected = [packet(payload=bytes([n]) * 100) for n in range(10)]
    for data in expected:
        host.queue_packet(data)
    host.doorbell()
    host.queue_packet(expected[0])
    host.doorbell()
    assert host.nic.tx.has_backlog
    # The first ten are done: their buffers are the driver's again.
    host.put(TX_BUFFERS, bytes(10 * 0x4000))
    room[0] = 100
    host.nic.tx.resume()
    host.nic.run()
    assert taken[:10] == expected
    assert len(taken) == 11


def test_ring_that_reads_as_zeros_is_told_once(host: Host, caplog: pytest.LogCaptureFixture) -> None:
    """What the card sees of memory that the guest does not share."""
    for tail in (3, 5):
        host[r.TDT] = tail
    assert host[r.TDH] == 5
    told = [message for message in caplog.messages if "reads as zeros" in message]
    assert len(told) == 1
    assert "share=on" in told[0]


def test_receive_ring_that_reads_as_zeros_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    host = Host()
    host.start()
    host.memory[:] = bytes(len(host.memory))
    host.arrive(*[packet()] * 3)
    told = [message for message in caplog.messages if "reads as zeros" in message or "stopped" in message]
    assert "share=on" in told[0]
    assert len([message for message in told if "share=on" in message]) == 1
