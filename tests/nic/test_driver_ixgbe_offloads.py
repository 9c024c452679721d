# SPDX-License-Identifier: MIT
"""The guest's ixgbe driver against the model in the same process: offloads over IPv4 and IPv6."""

import random

import _mirage
import pytest
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Ether
from scapy.packet import raw

from libos.driver import ixgbe_regs
from libos.driver.ixgbe import Ixgbe
from libos.driver.virtio_net import VirtioNet
from libos.hal.dma import Dma
from libos.hal.pci import PciBus
from mirage_py.nic.checksum import ones_sum
from mirage_py.nic.frame import Frame
from tests.fakes.machine import Machine
from tests.fakes.virtio_net import VirtioNetModel
from tests.nic.driver_helpers import UDP_PACKET, assert_nothing_lost, drain, make, octets, packet
from tests.nic.function import IxgbeFunction, bring_up


def l4_sum(data, l3, l4):
    addresses = data[l3 + 12 : l3 + 20] if data[l3] >> 4 == 4 else data[l3 + 8 : l3 + 40]
    protocol = data[l3 + 9] if data[l3] >> 4 == 4 else data[l3 + 6]
    return ones_sum(addresses, protocol + len(data) - l4)


def partial(driver, data, l4, offset):
    """A frame as the stack hands it over: the pseudo-header's sum in the checksum's place."""
    frame = make(driver, data)
    frame.put(l4 + offset, l4_sum(data, 14, l4).to_bytes(2, "big"), 0, 2)
    frame.flags = 2
    frame.csum_start, frame.csum_offset = l4, offset
    return frame


@pytest.mark.parametrize("length", [0, 1, 99, 1400])
def test_checksum_offload_is_what_scapy_computes(length):
    driver, function, _ = bring_up()
    expected = []
    frames = []
    for ip, l4 in ((IP(src="1.2.3.4", dst="5.6.7.8"), 34), (IPv6(src="fd00::1", dst="fd00::2"), 54)):
        for layer, offset in ((TCP(sport=1, dport=2), 16), (UDP(sport=1, dport=2), 6)):
            data = packet(ip, layer, payload=bytes(range(256))[:length] * (length // 256 + 1))
            for _ in range(2):
                expected.append(data)
                frames.append(partial(driver, data, l4, offset))
    assert driver.tx_batch(frames, len(frames)) == len(frames)
    assert [got[: len(want)] for got, want in zip(function.sent(), expected, strict=True)] == expected
    assert driver._tx.tx_index == len(frames) + 4, "a context for each kind, and none for a repetition"


V4, V6 = (IP(src="1.2.3.4", dst="5.6.7.8"), 34, 1), (IPv6(src="fd00::1", dst="fd00::2"), 54, 4)


@pytest.mark.parametrize("offloads", [True, False])
@pytest.mark.parametrize(("ip", "l4", "kind"), [V4, V6])
def test_segmentation_offload(ip, l4, kind, offloads):
    driver, function, _ = bring_up(dma_bytes=4 << 20, offloads=offloads)
    payload = random.Random(1).randbytes(60_000)
    data = packet(ip, TCP(sport=1, dport=2, seq=1000, flags="PA"), payload=payload)
    for mss in (1460, 1000, 1460):
        frame = partial(driver, data, l4, 16)
        frame.gso_size, frame.gso_type, frame.hdr_len = mss, kind, l4 + 20
        assert driver.tx_batch([frame], 1) == 1
        frames = function.far.receive(1000)
        if offloads:
            (one,) = frames
            assert (one.gso_size, one.gso_type, one.length) == (mss, kind, len(data))
            assert (one.csum_start, one.csum_offset, one.hdr_len) == (l4, 16, l4 + 20)
            assert bytes(one.joined())[l4 + 20 :] == payload
            head = bytes(one.joined())[: l4 + 16]
            assert head == data[: l4 + 16], (
                "the IP header is whole again: its length, and its checksum where it has one"
            )
            assert bytes(one.joined())[l4 + 16 : l4 + 18] == l4_sum(data, 14, l4).to_bytes(2, "big")
        else:
            got = b""
            for number, one in enumerate(frames):
                segment = Ether(bytes(one.joined()))
                again = segment.copy()
                del again[TCP].chksum
                if kind == 1:
                    del again[IP].chksum, again[IP].len
                else:
                    del again[IPv6].plen
                assert raw(again) == raw(segment)
                assert segment[TCP].seq == 1000 + number * mss
                got += bytes(segment[TCP].payload)
            assert got == payload
    assert_nothing_lost(driver)


@pytest.mark.parametrize(("ip", "l4", "kind"), [V4, V6])
def test_context_descriptors_say_which_ip_it_is(ip, l4, kind):
    """7.2.3.2.3: TUCMD.IPV4 for segmentation of IPv4 only; 7.2.3.2.4: POPTS.IXSM, the IP checksum, likewise."""
    driver, _, _ = bring_up(dma_bytes=4 << 20)
    data = packet(ip, TCP(), payload=bytes(5000))
    large = partial(driver, data, l4, 16)
    large.gso_size, large.gso_type, large.hdr_len = 1220, kind, l4 + 20
    plain = partial(driver, data[: l4 + 20 + 100], l4, 16)
    driver.tx_batch([large, plain], 2)
    words = driver._tx._desc64
    assert words[0] == (l4 - 14) | 14 << 9, "IPLEN and MACLEN"
    fields = words[1]
    assert bool(fields & ixgbe_regs.TXC_IPV4) == (kind == 1)
    assert fields & ixgbe_regs.TXC_L4T_TCP
    assert (fields >> 40 & 0xFF, fields >> 48) == (20, 1220)
    assert bool(words[3] & ixgbe_regs.TXD_IXSM) == (kind == 1)
    assert words[3] & (ixgbe_regs.TXD_TSE | ixgbe_regs.TXD_TXSM) == ixgbe_regs.TXD_TSE | ixgbe_regs.TXD_TXSM
    assert words[3] >> 46 == 5000, "PAYLEN is without the headers"
    assert words[4] == words[0], "the checksum's context"
    assert not words[5] & ixgbe_regs.TXC_IPV4
    assert words[7] & (ixgbe_regs.TXD_TXSM | ixgbe_regs.TXD_IXSM) == ixgbe_regs.TXD_TXSM


def test_both_ip_versions_take_turns():
    """Each packet gets the context of its own version, whatever the one before had."""
    driver, function, _ = bring_up(dma_bytes=4 << 20)
    frames, expected = [], []
    for number in range(20):
        ip, l4, kind = (V4, V6)[number % 2]
        data = packet(ip, TCP(sport=1, dport=2, seq=number, flags="A"), payload=bytes([number]) * 2000)
        frame = partial(driver, data, l4, 16)
        if number % 4 < 2:
            frame.gso_size, frame.gso_type, frame.hdr_len = 1000, kind, l4 + 20
            expected += [kind, kind]
        else:
            frame.length = l4 + 20 + 500
            expected.append(kind)
        frames.append(frame)
    assert driver.tx_batch(frames, len(frames)) == len(frames)
    sent = [Ether(data) for data in function.sent()]
    assert [1 if IP in segment else 4 for segment in sent] == expected
    assert_nothing_lost(driver)


def test_frame_that_contradicts_itself_is_dropped_and_does_not_stop_the_queue():
    driver, function, _ = bring_up()
    bad = []
    for csum_start, csum_offset, gso_size, hdr_len, gso_type in (
        (0, 16, 0, 0, 0),
        (13, 6, 0, 0, 0),
        (60000, 6, 0, 0, 0),
        (34, 8, 0, 0, 0),
        (34, 16, 1000, 34, 1),
        (34, 16, 1000, 200, 1),
        (34, 16, 20000, 54, 1),
        (34, 16, 1, 54, 1),
        (34, 16, 50, 54, 4),
        (54, 16, 50, 74, 5),
        (54, 16, 50, 74, 0),
    ):
        frame = make(driver, UDP_PACKET)
        frame.flags = 2
        frame.csum_start, frame.csum_offset, frame.gso_size, frame.hdr_len = csum_start, csum_offset, gso_size, hdr_len
        frame.gso_type = gso_type
        bad.append(frame)
    good = make(driver, UDP_PACKET)
    assert driver.tx_batch([*bad, good], len(bad) + 1) == len(bad) + 1
    assert function.sent() == [UDP_PACKET]
    assert driver.counters["tx_errors"] == len(bad)
    assert_nothing_lost(driver)


def test_receive_checksum_flag():
    driver, function, _ = bring_up()
    damaged = bytearray(UDP_PACKET)
    damaged[-1] ^= 1
    over_v6 = packet(V6[0], UDP())
    damaged_v6 = over_v6[:-1] + b"\0"
    frames = [None] * 8
    function.arrive(UDP_PACKET, bytes(damaged), packet(IP(frag=3), UDP()), packet(IP(chksum=1), TCP()))
    function.arrive(over_v6, packet(V6[0], TCP()), damaged_v6, packet(V6[0], UDP(chksum=0)))
    assert driver.rx_batch(frames, 8) == 8
    assert [frame.flags for frame in frames] == [1, 0, 0, 0, 1, 1, 0, 0]


@pytest.mark.parametrize(("ip", "l4", "kind"), [V4, V6])
def test_coalesced_segments_arrive_as_one_frame(ip, l4, kind):
    driver, function, _ = bring_up(dma_bytes=4 << 20)
    payload = random.Random(2).randbytes(20 * 1428)
    frames = [
        packet(ip, TCP(sport=1, dport=2, seq=n * 1428, flags="A"), payload=payload[n * 1428 : (n + 1) * 1428])
        for n in range(20)
    ]
    function.arrive(*frames)
    got = [None] * 8
    assert driver.rx_batch(got, 8) == 1
    data = octets(got[0])
    assert data[l4 + 20 :] == payload
    layer = Ether(data)[1]
    assert (layer.len if kind == 1 else layer.plen + 40) == len(data) - 14
    assert got[0].flags == 1
    assert got[0].length >= 128
    got[0].release()
    assert_nothing_lost(driver)


def test_two_coalesced_flows_interleaved_in_the_ring():
    """The device may write pieces of one packet between those of another; the model does not, so the test does."""
    driver, _, _ = bring_up(dma_bytes=1 << 20)
    ring = driver._rings[0]
    size = ring._buffer_bytes

    def write(index, content, following, is_last):
        frame = ring._slots[index]
        frame.buf[: len(content)] = content
        status = 1 | (2 | 1 << 5 if is_last else following << 4)
        ring._desc32[4 * index] = 1 << 17
        ring._desc32[4 * index + 3] = len(content)
        ring._desc32[4 * index + 2] = status

    write(0, b"a" * size, 2, False)
    write(1, b"b" * size, 4, False)
    write(2, b"A" * 300, 0, True)
    write(3, b"c" * 200, 0, True)
    write(4, b"B" * 300, 0, True)
    assert drain(driver) == [b"a" * size + b"A" * 300, b"c" * 200, b"b" * size + b"B" * 300]
    assert_nothing_lost(driver)


@pytest.mark.parametrize(("ip", "l4", "kind"), [V4, V6])
def test_large_segment_from_a_backend_with_offloads(ip, l4, kind):
    driver, function, _ = bring_up(dma_bytes=4 << 20, offloads=True)
    payload = random.Random(1).randbytes(60_000)
    data = packet(ip, TCP(sport=1, dport=2, flags="A"), payload=payload)
    frame = Frame([data], len(data))
    frame.gso_size, frame.gso_type, frame.hdr_len, frame.csum_start, frame.csum_offset = 1448, kind, l4 + 20, l4, 16
    function.arrive(frame)
    got = drain(driver)
    assert b"".join(one[l4 + 20 :] for one in got) == payload
    assert len(got) <= 3


@pytest.mark.parametrize(("ip", "l4", "kind"), [V4, V6])
@pytest.mark.parametrize("gso_size", [0, 1000])
def test_frame_that_virtio_received_unfinished_is_finished_here(ip, l4, kind, gso_size):
    """A relay: what a sender on the host left to be done (struct virtio_net_hdr) is this device's to do."""
    other, function = VirtioNetModel(), IxgbeFunction()
    world = _mirage.reset(machine=Machine({0x10: other, 0x18: function}), dma_bytes=4 << 20)
    function.timers.attach(world)
    bus, dma = PciBus(), Dma(2)
    source = VirtioNet(bus.find(vendor=0x1AF4), dma, "net0")
    driver = Ixgbe(bus.find(vendor=0x8086), dma, "net1")
    whole = packet(ip, TCP(sport=1, dport=2, seq=5, flags="A"), payload=bytes(range(250)) * (12 if gso_size else 4))
    left = bytearray(whole)
    left[l4 + 16 : l4 + 18] = l4_sum(whole, 14, l4).to_bytes(2, "big")
    # The header's own hdr_len is a hint, and wrong here.
    header = (1, kind if gso_size else 0, 99, gso_size, l4, 16)
    other.receive(bytes(left), *header)
    frames = [None] * 4
    assert source.rx_batch(frames, 4) == 1
    assert driver.tx_batch(frames, 1) == 1
    sent = function.sent()
    if gso_size:
        assert b"".join(raw(Ether(data)[TCP].payload) for data in sent) == whole[l4 + 20 :]
        assert len(sent) == 3
    else:
        assert sent == [whole]
    for data in sent:
        again = Ether(data)
        del again[TCP].chksum
        assert raw(again) == data
    driver._tx.clean()
    assert_nothing_lost(driver)
