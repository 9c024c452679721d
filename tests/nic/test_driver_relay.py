# SPDX-License-Identifier: MIT
"""Frames of one driver sent by another: partial checksums and large segments cross, and no buffer is lost."""

import _mirage
import pytest
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.l2 import Ether
from scapy.packet import Raw, raw
from scapy.utils import checksum

from libos.driver.ixgbe import Ixgbe
from libos.driver.virtio_net import VirtioNet
from libos.driver.virtio_net_hw import RX_CSUM, RX_LRO, TX_CSUM, TX_TSO4
from libos.hal.dma import Dma
from libos.hal.pci import PciBus
from tests.fakes.machine import Machine
from tests.fakes.poison import UseAfterFreeError
from tests.fakes.virtio_net import (
    CSUM,
    EVERYTHING,
    GUEST_CSUM,
    GUEST_TSO4,
    GUEST_TSO6,
    HOST_TSO4,
    HOST_TSO6,
    VirtioNetModel,
)
from tests.nic.driver_helpers import assert_nothing_lost
from tests.nic.function import IxgbeFunction

NEEDS_CSUM = 1
GSO_TCPV4 = 1
MSS = 1448


@pytest.fixture(params=[False, True], ids=["merged", "large"])
def cards(request):
    """(virtio driver, its device, ixgbe driver, its device). large: receive buffers hold every frame whole."""
    virtio, ixgbe = VirtioNetModel(), IxgbeFunction()
    world = _mirage.reset(machine=Machine({0x10: virtio, 0x18: ixgbe}), dma_bytes=(8 if request.param else 1) << 20)
    ixgbe.timers.attach(world)
    bus, dma = PciBus(), Dma(2)
    left = VirtioNet(bus.find(vendor=0x1AF4), dma, "net0")
    right = Ixgbe(bus.find(vendor=0x8086), dma, "net1", coalesce=False)
    return left, virtio, right, ixgbe


def hand_on(source, sink):
    """Sends on everything that has arrived; how many frames."""
    frames = [None] * 64
    count = source.rx_batch(frames, 64)
    assert sink.tx_batch(frames, count) == count
    return count


def partial(packet, layer, offset):
    """(octets with the pseudo-header's sum in place of the checksum, where the checksum starts)."""
    data = bytearray(raw(packet))
    start = 14 + 20
    length = len(data) - start
    pseudo = packet[IP].src, packet[IP].dst
    octets = b"".join(bytes(map(int, address.split("."))) for address in pseudo)
    octets += bytes([0, layer]) + length.to_bytes(2, "big")
    data[start + offset : start + offset + 2] = (checksum(octets) ^ 0xFFFF).to_bytes(2, "big")
    return bytes(data), start


def is_whole(data):
    """Whether every checksum in a frame is what scapy makes it."""
    packet = Ether(data)
    again = packet.copy()
    transport = again.getlayer(TCP) or again.getlayer(UDP)
    del again[IP].chksum, transport.chksum
    return raw(again) == raw(packet)


IP_HEADER = IP(src="10.0.0.1", dst="10.0.0.2")


def test_partial_checksum_is_filled_in_by_the_card_that_sends(cards):
    left, virtio, right, ixgbe = cards
    for packet, protocol, offset in (
        (Ether() / IP_HEADER / UDP(sport=1, dport=2) / Raw(b"u" * 999), 17, 6),
        (Ether() / IP_HEADER / TCP(sport=1, dport=2, seq=9) / Raw(b"t" * 1000), 6, 16),
    ):
        data, start = partial(packet, protocol, offset)
        assert not is_whole(data)
        virtio.receive(data, NEEDS_CSUM, 0, 0, 0, start, offset)
        assert hand_on(left, right) == 1
        (sent,) = ixgbe.sent()
        assert sent == raw(packet)
        assert is_whole(sent)
    assert_nothing_lost(right)


@pytest.mark.parametrize("hint", [54, 60, 1400], ids=["exact", "longer", "much longer"])
def test_large_segment_crosses_whole_and_is_cut_by_the_card_that_sends(cards, hint):
    left, virtio, right, ixgbe = cards
    payload = bytes(range(256)) * 80
    packet = Ether() / IP_HEADER / TCP(sport=1, dport=2, seq=1000) / Raw(payload)
    data, start = partial(packet, 6, 16)
    # Linux says hdr_len for what lies in its first buffer, which may be more than the headers.
    virtio.receive(data, NEEDS_CSUM, GSO_TCPV4, hint, MSS, start, 16)
    assert hand_on(left, right) == 1
    segments = [Ether(one) for one in ixgbe.sent()]
    assert len(segments) == -(-len(payload) // MSS)
    assert b"".join(bytes(one[TCP].payload) for one in segments) == payload
    assert [one[TCP].seq for one in segments] == [1000 + MSS * n for n in range(len(segments))]
    assert all(is_whole(raw(one)) for one in segments)
    right.reclaim()
    assert_nothing_lost(right)
    assert left._rx_pool.free + left._rx_posted == left._rx_pool.count


def test_virtio_sends_copies_of_what_an_82599_received(cards):
    left, virtio, right, ixgbe = cards
    packets = [
        raw(Ether() / IP_HEADER / UDP(sport=n, dport=2) / Raw(bytes([n & 255]) * n)) for n in range(60, 1400, 31)
    ]
    right.set_promiscuous(True)
    for start in range(0, len(packets), 8):
        ixgbe.arrive(*packets[start : start + 8])
        hand_on(right, left)
    assert [data for _, data in virtio.sent] == packets
    assert {fields for fields, _ in virtio.sent} == {(0, 0, 0, 0, 0, 0)}
    assert_nothing_lost(right)


def test_virtio_hands_a_large_segment_on_as_one(cards):
    """Over the copying way: what the header said in front of the received frame stands in front of the sent one."""
    left, virtio, _, _ = cards
    packet = Ether() / IP_HEADER / TCP(sport=1, dport=2) / Raw(b"x" * 20000)
    data, start = partial(packet, 6, 16)
    virtio.receive(data, NEEDS_CSUM, GSO_TCPV4, 1000, MSS, start, 16)
    assert hand_on(left, left) == 1
    if len(data) > left.max_gso_bytes:
        # With little memory no buffer to send from holds it: it is counted, and in nobody's way.
        assert virtio.sent == []
        assert left.tx_errors == 1
    else:
        assert virtio.sent == [((NEEDS_CSUM, GSO_TCPV4, 54, MSS, start, 16), data)]


def test_virtio_without_offloads_is_sent_whole_frames():
    """Its device takes them as they are, so the copy is finished before; and it asks for none itself."""
    sink, source = VirtioNetModel(features=EVERYTHING & ~CSUM & ~HOST_TSO4 & ~HOST_TSO6), VirtioNetModel()
    _mirage.reset(machine=Machine({0x10: source, 0x18: sink}), dma_bytes=2 << 20)
    bus, dma = PciBus(), Dma(2)
    left = VirtioNet(bus.find(vendor=0x1AF4), dma, "net0")
    right = VirtioNet(bus.find(vendor=0x1AF4, index=1), dma, "net1", offloads=False)
    assert not right.features & (RX_CSUM | RX_LRO | TX_CSUM | TX_TSO4)
    assert not sink.accepted & (GUEST_CSUM | GUEST_TSO4 | GUEST_TSO6)
    for packet, protocol, offset in (
        (Ether() / IP_HEADER / UDP(sport=1, dport=2) / Raw(b"u" * 999), 17, 6),
        (Ether() / IP_HEADER / TCP(sport=1, dport=2, seq=9) / Raw(b"t" * 1000), 6, 16),
    ):
        data, start = partial(packet, protocol, offset)
        source.receive(data, NEEDS_CSUM, 0, 0, 0, start, offset)
        hand_on(left, right)
        assert sink.sent[-1] == ((0, 0, 0, 0, 0, 0), raw(packet))


@pytest.mark.parametrize(("start", "offset"), [(0xFFFF, 16), (34, 0xFFFF), (900, 200), (1001, 0)])
def test_header_that_points_out_of_the_frame_is_not_believed(cards, start, offset):
    left, virtio, right, ixgbe = cards
    data = raw(Ether() / IP_HEADER / UDP(sport=1, dport=2) / Raw(b"u" * 958))
    virtio.receive(data, NEEDS_CSUM, GSO_TCPV4, 0, MSS, start, offset)
    hand_on(left, right)
    assert ixgbe.sent() == [data]
    virtio.receive(data, NEEDS_CSUM, GSO_TCPV4, 0, MSS, start, offset)
    hand_on(left, left)
    assert virtio.sent[-1] == ((0, 0, 0, 0, 0, 0), data)
    assert_nothing_lost(right)


def test_reclaim_says_whether_buffers_are_still_out(cards):
    left, virtio, right, ixgbe = cards
    ixgbe.model.tx.is_stalled = True
    virtio.receive(b"\xff" * 100)
    hand_on(left, right)
    assert right.reclaim()
    out = left._rx_pool.count - left._rx_pool.free - left._rx_posted
    assert out == 1
    ixgbe.model.tx.is_stalled = False
    virtio.receive(b"\xff" * 100)
    hand_on(left, right)
    assert not right.reclaim()
    assert left._rx_pool.count == left._rx_pool.free + left._rx_posted


# --- the poison itself ---


def test_write_into_a_released_buffer_is_found_out(cards):
    left, _, _, _ = cards
    frame = left.alloc(100)
    frame.put(0, b"fine", 0, 4)
    frame.release()
    frame.put(0, b"late", 0, 4)
    with pytest.raises(UseAfterFreeError):
        left.alloc(100)


def test_device_that_writes_into_a_buffer_that_it_gave_back_is_found_out(cards):
    left, virtio, _, _ = cards
    virtio.receive(b"a" * 100)
    frames = [None] * 4
    assert left.rx_batch(frames, 4) == 1
    frames[0].release()
    virtio.dma_write(frames[0].phys_addr + 12, b"late")
    with pytest.raises(UseAfterFreeError):
        left._refill()


def test_read_of_a_released_frame_sees_nonsense(cards):
    left, virtio, _, _ = cards
    virtio.receive(b"a" * 100)
    frames = [None] * 4
    left.rx_batch(frames, 4)
    assert frames[0].take(0, 100) == b"a" * 100
    frames[0].release()
    assert frames[0].take(0, 100) != b"a" * 100
