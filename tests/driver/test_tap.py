# SPDX-License-Identifier: MIT
"""driver.tap over a fake descriptor: batches, the vnet header, a full queue, an interface that goes down."""

from errno import EBUSY, EIO

import _mirage
import pytest

from libos.driver.tap import Tap
from libos.hal.dma import Dma, FramePool
from libos.hal.mmio import DeviceError
from tests.fakes.virtio_net import HEADER

FD = 7


class Interface:
    """The kernel's side of the descriptor."""

    def __init__(self):
        self.incoming = []  # octets with their vnet header, or an errno
        self.outgoing = []  # (header fields without num_buffers, frame)
        self.room = 1 << 30
        self.is_down = False  # gone: nothing works
        self.refuses = False  # as Linux has it of an interface that is down: who reads learns nothing

    def read(self, view):
        if self.is_down:
            raise OSError(EIO)
        if not self.incoming:
            return -1
        data = self.incoming.pop(0)
        view[: len(data)] = data
        return len(data)

    def write(self, data):
        if self.is_down or self.refuses:
            raise OSError(EIO)
        if self.room == 0:
            return -1
        self.room -= 1
        self.outgoing.append((HEADER.unpack(data[:12])[:6], data[12:]))
        return len(data)

    def ready(self):
        return (1 if self.incoming or self.is_down else 0) | (2 if self.room else 0)


@pytest.fixture
def tap():
    return make()[0]


def make(mtu=1500, features=7, dma_bytes=8 << 20):
    world = _mirage.reset(dma_bytes=dma_bytes)
    interface = world.fds[FD] = Interface()
    world.taps["tap0"] = (FD, mtu, features)
    return Tap("tap0", Dma(), "10.0.0.1/24"), interface, world


def packet(frame, flags=0):
    return HEADER.pack(flags, 0, 0, 0, 0, 0, 0) + frame


def drain(driver, limit=32):
    frames = [None] * limit
    return frames[: driver.rx_batch(frames, limit)]


def test_interface_that_is_not_there_is_named():
    _mirage.reset(dma_bytes=8 << 20)
    with pytest.raises(DeviceError, match=r"no TAP interface tap9, and only root .* ip tuntap add tap9"):
        Tap("tap9", Dma(), "10.0.0.1/24")
    _mirage.world.taps["tap9"] = EBUSY
    with pytest.raises(DeviceError, match="TAP interface tap9"):
        Tap("tap9", Dma(), "10.0.0.1/24")


def test_interface_that_is_not_there_is_made_with_the_hosts_address():
    world = _mirage.reset(dma_bytes=8 << 20)
    made = []

    def make_interface(address, netmask):
        made.append((address, netmask))
        world.fds[FD] = Interface()
        return FD, 1400, 7

    world.tap_maker = make_interface
    driver = Tap("tap9", Dma(), "10.1.2.3/20")
    assert made == [(0x0A010203, 0xFFFFF000)]
    assert driver.mtu == 1400


def test_features_follow_what_the_kernel_offers():
    assert make()[0].features == 31
    assert make(features=1)[0].features == 15
    assert make(features=0)[0].features == 7
    assert make(mtu=9000)[0].mtu == 9000


def test_mac_is_local_and_differs():
    first = make()[0].mac
    _mirage.world.entropy_seed = 99
    assert first[0] & 3 == 2
    assert len(first) == 6


def test_batch_of_frames():
    driver, interface, _ = make()
    interface.incoming = [packet(bytes([number]) * 100) for number in range(40)]
    got = drain(driver)
    assert [frame.take(0, frame.length) for frame in got] == [bytes([number]) * 100 for number in range(len(got))]
    for frame in got:
        frame.release()
    while got := drain(driver):
        for frame in got:
            frame.release()
    assert driver.counters["rx_packets"] == 40
    assert driver.counters["rx_bytes"] == 4000


def test_largest_coalesced_frame_and_flags():
    driver, interface, _ = make()
    interface.incoming = [packet(b"l" * 65549, 1), packet(b"v" * 60, 2), packet(b"n" * 60)]
    got = drain(driver)
    assert [frame.flags for frame in got] == [3, 1, 0]
    assert got[0].take(0, 65549) == b"l" * 65549


def test_frames_that_are_held_are_not_read_into():
    driver, interface, _ = make(dma_bytes=1 << 20)
    interface.incoming = [packet(bytes([number]) * 60) for number in range(30)]
    held = []
    while got := drain(driver):
        held += got
    assert 0 < len(held) < 30
    for number, frame in enumerate(held):
        assert frame.take(0, 60) == bytes([number]) * 60
        frame.release()
    assert drain(driver)


def test_runt_is_counted():
    driver, interface, _ = make()
    interface.incoming = [b"x" * 20, packet(b"y" * 60)]
    assert len(drain(driver)) == 1
    assert driver.counters["rx_errors"] == 1


def test_offload_header_and_what_is_left_of_an_old_one():
    driver, interface, _ = make()
    for partial, gso_type, csum_start in ((True, 1, 34), (True, 4, 54), (True, 1, 34), (False, 0, 0)):
        frame = driver.alloc(3000)
        frame.length = 3000
        if partial:
            frame.flags, frame.csum_start, frame.csum_offset = 2, csum_start, 16
            frame.gso_size, frame.gso_type, frame.hdr_len = 1428, gso_type, csum_start + 32
        assert driver.tx_batch([frame], 1) == 1
    headers = [header for header, _ in interface.outgoing]
    assert headers[:3] == [(1, 1, 66, 1428, 34, 16), (1, 4, 86, 1428, 54, 16), (1, 1, 66, 1428, 34, 16)]
    assert headers[3][:2] == (0, 0)


def test_groups_need_no_joining(tap):
    group = bytes.fromhex("3333ff123456")
    tap.join(group)
    tap.leave(group)
    _mirage.world.fds[FD].incoming = [packet(group + bytes(60))]
    assert [frame.take(0, 6) for frame in drain(tap)] == [group]


def test_full_queue_keeps_the_rest_and_wakes():
    driver, interface, _ = make()
    interface.room = 2
    frames = [driver.alloc(60) for _ in range(4)]
    for frame in frames:
        frame.length = 60
    assert driver.tx_batch(frames, 4) == 2
    assert not driver.arm()
    interface.room = 10
    assert _mirage.wait(-1)
    assert driver.tx_batch(frames[2:], 2) == 2
    assert len(interface.outgoing) == 4
    assert not driver.arm()
    assert _mirage.world.watched[FD][1] == 1


def test_wakes_for_a_frame(tap):
    assert not tap.arm()
    _mirage.world.fds[FD].incoming = [packet(b"w" * 60)]
    assert _mirage.wait(-1)
    assert len(drain(tap)) == 1


def test_interface_that_is_down_is_told_by_what_is_sent():
    driver, interface, _ = make()
    told = []
    driver.notify(lambda why: told.append((why, driver.link_up)))

    def send():
        frame = driver.alloc(60)
        frame.length = 60
        assert driver.tx_batch([frame], 1) == 1

    interface.refuses = True
    for _ in range(3):
        send()
        assert drain(driver) == []
        assert not driver.arm()  # it may sleep: there is nothing to try
    assert told == [(None, False)]
    interface.refuses = False
    send()
    assert told == [(None, False), (None, True)]
    interface.refuses = True
    send()
    interface.refuses = False
    interface.incoming = [packet(b"b" * 60)]
    assert len(drain(driver)) == 1
    assert told[2:] == [(None, False), (None, True)]


def test_interface_down_is_retried_and_comes_back():
    driver, interface, world = make()
    told = []
    driver.notify(lambda why: told.append((why, driver.link_up)))
    interface.is_down = True
    assert drain(driver) == []
    assert not driver.link_up
    frame = driver.alloc(60)
    frame.length = 60
    assert driver.tx_batch([frame], 1) == 1
    assert driver.counters["tx_errors"] == 1
    before = world.now_ns
    for _ in range(3):
        assert driver.arm()
        assert drain(driver) == []
    assert world.now_ns - before >= 200_000_000
    interface.is_down = False
    interface.incoming = [packet(b"b" * 60)]
    driver.arm()
    assert len(drain(driver)) == 1
    assert driver.link_up
    assert not driver.arm()
    assert told == [(None, False), (None, True)]


def test_idle_interface_that_was_down_sleeps_again():
    driver, interface, world = make()
    interface.is_down = True
    drain(driver)
    interface.is_down = False
    world.now_ns += 1_000_000_000
    driver.arm()
    assert drain(driver) == []
    assert not driver.arm()


def test_foreign_frame_is_copied():
    driver, interface, _ = make()
    dma = Dma()
    dma.alloc(7 << 20)  # the driver's
    pool = FramePool(dma, 2048, 2, 100)
    first, second = pool.alloc(), pool.alloc()
    first.put(0, b"f" * 1000, 0, 1000)
    first.length = 1000
    second.start = 0
    second.put(0, b"s" * 500, 0, 500)
    second.length = 500
    first.next = second
    assert driver.tx_batch([first], 1) == 1
    assert interface.outgoing[0][1] == b"f" * 1000 + b"s" * 500
    assert pool.free == 2
