# SPDX-License-Identifier: MIT
"""driver.virtio_net against the model in tests/fakes: bring-up, rings, offloads, wake-ups, recovery."""

import _mirage
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from libos.driver import virtio_net
from libos.driver.virtio_net import VirtioNet
from libos.hal.dma import Dma
from libos.hal.mmio import DeviceError
from libos.hal.pci import PciBus
from tests.fakes import virtio_net as model_of
from tests.fakes.machine import Machine
from tests.fakes.virtio_net import VirtioNetModel


def bring_up(dma_bytes=1 << 20, **options):
    """(driver, model, world) of a fresh machine."""
    model = VirtioNetModel(**options)
    world = _mirage.reset(machine=Machine({0x10: model}), dma_bytes=dma_bytes)
    bus = PciBus()
    driver = VirtioNet(bus.find(vendor=0x1AF4, device=virtio_net.DEVICES), Dma())
    return driver, model, world


def octets(frame):
    return frame.take(0, frame.total())


def drain(driver, limit=64):
    frames = [None] * limit
    return frames[: driver.rx_batch(frames, limit)]


def send(driver, *payloads):
    frames = []
    for payload in payloads:
        frame = driver.alloc(len(payload))
        frame.put(0, payload, 0, len(payload))
        frame.length = len(payload)
        frames.append(frame)
    return driver.tx_batch(frames, len(frames))


# --- bring-up ---


def test_bring_up_takes_what_the_device_says():
    driver, model, _ = bring_up(mtu=1400)
    assert model.status == 15
    assert driver.mac == b"\x52\x54\x00\x12\x34\x56"
    assert driver.mtu == 1400
    assert driver.features == 31
    assert driver.link_up
    assert driver.max_gso_bytes == 65549
    assert model.accepted == model_of.EVERYTHING


def test_bring_up_of_plain_device():
    driver, model, _ = bring_up(features=model_of.VERSION_1)
    assert driver.features == 0
    assert driver.mtu == 1500
    assert driver.link_up
    assert driver.mac[0] & 3 == 2
    assert model.receive(b"a" * 1514)
    assert [octets(frame) for frame in drain(driver)] == [b"a" * 1514]


def test_offloads_that_depend_on_others_are_left_out():
    features = model_of.EVERYTHING & ~(model_of.CSUM | model_of.GUEST_CSUM)
    driver, _, _ = bring_up(features=features)
    assert driver.features == 0
    driver, _, _ = bring_up(features=model_of.EVERYTHING & ~model_of.MRG_RXBUF)
    assert driver.features == 15  # no coalescing into buffers that hold one packet
    driver, _, _ = bring_up(features=model_of.EVERYTHING & ~model_of.MRG_RXBUF, mtu=9000)
    assert driver.mtu == 1500


def test_large_mtu():
    driver, model, _ = bring_up(mtu=9000)
    assert driver.mtu == 9000
    model.receive(b"j" * 9014)
    assert [octets(frame) for frame in drain(driver)] == [b"j" * 9014]
    assert send(driver, b"k" * 9014) == 1
    assert model.sent[0][1] == b"k" * 9014


@pytest.mark.parametrize("has_msix", [True, False])
@pytest.mark.parametrize("multiplier", [0, 2, 4])
def test_both_ways(has_msix, multiplier):
    driver, model, _ = bring_up(has_msix=has_msix, notify_multiplier=multiplier)
    assert model.receive(b"hello" * 20)
    assert [octets(frame) for frame in drain(driver)] == [b"hello" * 20]
    send(driver, b"x" * 60, b"y" * 1514)
    assert [frame for _, frame in model.sent] == [b"x" * 60, b"y" * 1514]
    assert model.doorbells[1] == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda model: setattr(model, "stuck_reset", True) or setattr(model, "status", 7), "virtio reset: no answer"),
        (lambda model: setattr(model, "refuse_features", True), "refuses the features"),
        (lambda model: setattr(model, "offered", model.offered & ~model_of.VERSION_1), "VIRTIO_F_VERSION_1"),
        (lambda model: setattr(model.queues[1], "size", 0), "no queue 1"),
        (lambda model: model.config.__setitem__(0x34, 0), "no virtio 1 interface"),
        (lambda model: model.config_space.__setitem__(slice(10, 12), b"\x10\0"), "MTU of 16"),
    ],
)
def test_device_that_cannot_be_used_is_named(change, message):
    model = VirtioNetModel()
    _mirage.reset(machine=Machine({0x10: model}))
    change(model)
    if message == "no queue 1":
        model.queues[1].reset = lambda: None
        model.queues[1].enable = 0
    device = PciBus().find(vendor=0x1AF4)
    with pytest.raises(DeviceError, match=message):
        VirtioNet(device, Dma())


@pytest.mark.parametrize("dma_bytes", [256 << 10, 1 << 20, 3 << 19, 4 << 20, 16 << 20])
@pytest.mark.parametrize("queue_size", [64, 256, 1024])
def test_buffers_fit_the_memory(dma_bytes, queue_size):
    driver, model, _ = bring_up(dma_bytes=dma_bytes, queue_size=queue_size)
    assert model.receive(b"z" * 20000)
    assert [octets(frame) for frame in drain(driver)] == [b"z" * 20000]
    assert driver.alloc(driver.max_gso_bytes) is not None
    assert driver.alloc(driver.max_gso_bytes + 1) is None


def test_too_little_memory_is_an_error():
    with pytest.raises(DeviceError, match="too few"):
        bring_up(dma_bytes=64 << 10)


# --- receiving ---


def test_burst_beyond_the_ring_waits_in_the_device_and_arrives():
    driver, model, _ = bring_up()
    expected = [bytes([number % 256]) * 100 for number in range(1000)]
    for frame in expected:
        model.receive(frame)
    got = []
    for _ in range(200):
        for frame in drain(driver, 32):
            got.append(octets(frame))
            frame.release()
    assert got == expected
    assert driver.counters["rx_packets"] == 1000
    assert driver.counters["rx_bytes"] == 100000


def test_all_buffers_held_at_once_come_back_without_a_sleep():
    """A busy image polls and never arms."""
    driver, model, _ = bring_up(dma_bytes=256 << 10)
    count = driver._rx_slots
    for number in range(count + 5):
        model.receive(number.to_bytes(4, "big") * 20)
    held = drain(driver, count)
    assert len(held) == count
    for frame in held:
        frame.release()
    assert drain(driver) == []
    assert [octets(frame)[:4] for frame in drain(driver)] == [n.to_bytes(4, "big") for n in range(count, count + 5)]


@pytest.mark.parametrize("length", [1, 127, 2036, 2037, 2048, 4084, 4085, 65535])
def test_merged_buffers(length):
    driver, model, _ = bring_up()
    data = bytes(number * 7 % 251 for number in range(length))
    model.receive(data, 0, 1)
    (frame,) = drain(driver)
    assert octets(frame) == data
    assert frame.checksum(0, length, 0) == _mirage.checksum(data, 0, length, 0)
    frame.release()
    drain(driver)


def test_checksum_flags():
    driver, model, _ = bring_up()
    for flags in (0, 1, 2):
        model.receive(b"c" * 64, flags)
    assert [frame.flags for frame in drain(driver)] == [0, 3, 1]


def test_frames_held_by_the_stack_are_not_given_to_the_device():
    driver, model, _ = bring_up()
    held = []
    while model.receive(b"h" * 60):
        held += drain(driver)
    assert len({frame.index for frame in held}) == len(held)
    for frame in held:
        assert octets(frame) == b"h" * 60
        frame.release()
        with pytest.raises(ValueError, match="does not own"):
            frame.release()
    drain(driver)
    driver.arm()
    assert not model.rx_backlog


# --- sending ---


def test_offload_header():
    driver, model, _ = bring_up()
    expected = []
    # Both versions of IP, cut and uncut, one after the other in the same buffers.
    for gso_size, gso_type, csum_start in ((0, 0, 34), (1448, 1, 34), (1428, 4, 54), (0, 0, 54), (0, 0, 34)):
        frame = driver.alloc(3000)
        frame.length = 3000
        frame.flags = 2
        frame.csum_start = csum_start
        frame.csum_offset = 16
        frame.gso_size = gso_size
        frame.gso_type = gso_type
        frame.hdr_len = csum_start + 20
        driver.tx_batch([frame], 1)
        expected.append((1, gso_type, csum_start + 20 if gso_size else 0, gso_size, csum_start, 16))
    assert [header for header, _ in model.sent] == expected


@pytest.mark.parametrize(
    ("missing", "features"), [(model_of.HOST_TSO6, 27), (model_of.HOST_TSO4, 29), (model_of.GUEST_TSO6, 31)]
)
def test_segmentation_is_announced_for_the_version_that_the_device_cuts(missing, features):
    driver, _, _ = bring_up(features=model_of.EVERYTHING & ~missing)
    assert driver.features == features


PACKET = st.tuples(st.booleans(), st.integers(14, 60), st.sampled_from((6, 16)), st.integers(0, 2000))


@settings(max_examples=50)
@given(st.lists(PACKET, max_size=60))
def test_header_is_right_whatever_the_buffer_held_before(packets):
    driver, model, _ = bring_up()
    for partial, csum_start, csum_offset, gso_size in packets:
        frame = driver.alloc(100)
        frame.length = 100
        frame.flags = 2 if partial else 0
        frame.csum_start = csum_start
        frame.csum_offset = csum_offset
        frame.gso_size = gso_size if partial else 0
        frame.gso_type = 1
        frame.hdr_len = 54
        driver.tx_batch([frame], 1)
        header, _ = model.sent.pop()
        assert header[0] == partial
        if partial:
            assert header[4:] == (csum_start, csum_offset)
            assert header[3] == gso_size
            assert header[1] == (1 if gso_size else 0)


def test_one_doorbell_per_batch_and_none_while_the_device_is_busy():
    driver, model, _ = bring_up(automatic=False)
    send(driver, *[b"d" * 60] * 10)
    assert model.doorbells[1] == 1
    model.set_notify_flag(model.queues[1], True)
    send(driver, b"d" * 60)
    assert model.doorbells[1] == 1
    model.set_notify_flag(model.queues[1], False)
    send(driver, b"d" * 60)
    assert model.doorbells[1] == 2


def test_transmission_fills_up_and_goes_on():
    driver, model, _ = bring_up(automatic=False)
    count = 0
    while (frame := driver.alloc(60)) is not None:
        frame.length = 60
        driver.tx_batch([frame], 1)
        count += 1
    assert count >= 32
    assert driver.counters["tx_busy"] == 1
    assert not driver.arm()
    model.take_sent(1)
    assert model.interrupts == 1  # out of buffers: told of the first that comes back
    driver.disarm()
    assert driver.alloc(60) is not None
    assert driver.alloc(60) is None


def test_frame_of_another_pool_is_copied_and_released():
    driver, model, _ = bring_up()
    model.receive(b"r" * 5000)
    (frame,) = drain(driver)
    assert driver.tx_batch([frame], 1) == 1
    assert model.sent[0][1] == b"r" * 5000
    with pytest.raises(ValueError, match="own"):
        frame.release()


@pytest.mark.parametrize(("gso_type", "csum_start"), [(1, 34), (4, 54)])
def test_frame_received_with_a_partial_checksum_is_relayed_with_it(gso_type, csum_start):
    driver, model, _ = bring_up()
    header = (1, gso_type, csum_start + 20, 1400, csum_start, 16)
    # A TCP header of five words.
    data = bytes(csum_start) + b"\x50" * 1600
    model.receive(data, *header)
    (frame,) = drain(driver)
    driver.tx_batch([frame], 1)
    assert model.sent == [(header, data)]


def test_every_group_is_received_without_a_filter():
    """Neither the control queue nor its filters are asked for, so there is nothing to join at the device."""
    driver, model, _ = bring_up(features=model_of.EVERYTHING | 1 << 17 | 1 << 18)
    assert model.accepted == model_of.EVERYTHING
    group = bytes.fromhex("3333ff123456")
    driver.join(group)
    driver.leave(group)
    model.receive(group + bytes(60))
    assert [octets(frame)[:6] for frame in drain(driver)] == [group]


@settings(max_examples=60)
@given(st.data())
def test_any_order_of_work_keeps_every_octet(data):
    """Ring wrap, batch sizes, delayed completions, held frames: what goes in comes out, in order."""
    driver, model, _ = bring_up(
        dma_bytes=data.draw(st.sampled_from((300 << 10, 1 << 20))),
        queue_size=data.draw(st.sampled_from((32, 64, 256))),
        automatic=False,
        features=data.draw(st.sampled_from((model_of.EVERYTHING, model_of.VERSION_1))),
    )
    longest = 9000 if model.accepted & model_of.MRG_RXBUF else 1514
    to_come, held, to_leave, outstanding = [], [], [], []
    for number in range(data.draw(st.integers(1, 120))):
        action = data.draw(st.sampled_from(["receive", "take", "release", "send", "complete", "complete_all", "sleep"]))
        if action == "receive":
            frame = number.to_bytes(4, "big") * data.draw(st.integers(1, longest // 4))
            model.receive(frame)
            to_come.append(frame)
        elif action == "take":
            for frame in drain(driver, data.draw(st.integers(1, 40))):
                assert octets(frame) == to_come.pop(0)
                held.append(frame)
        elif action == "release":
            for frame in held:
                frame.release()
            held.clear()
        elif action == "send":
            payloads = []
            frames = []
            for _ in range(data.draw(st.integers(1, 40))):
                frame = driver.alloc(data.draw(st.sampled_from((60, 1514, 16000))))
                if frame is None:
                    break
                payload = number.to_bytes(4, "big") * 15
                frame.put(0, payload, 0, 60)
                frame.length = 60
                frames.append(frame)
                payloads.append(payload)
            assert driver.tx_batch(frames, len(frames)) == len(frames)
            to_leave += payloads
            model.sent.clear()
            outstanding += model.take_sent(complete=False)
            assert [frame for _, frame in model.sent] == payloads
        elif action in ("complete", "complete_all"):
            if action == "complete":
                outstanding.reverse()  # a device may finish in any order
            for head in outstanding:
                model.push_used(model.queues[1], head, 0)
            outstanding.clear()
            model.publish(model.queues[1])
        else:
            driver.arm()
            driver.disarm()
    for frame in held:
        frame.release()
    for _ in range(300):
        for frame in drain(driver):
            assert octets(frame) == to_come.pop(0)
            frame.release()
        driver.arm()  # as the event loop does when a poll found nothing
        driver.disarm()
    assert not to_come
    assert driver.counters["rx_errors"] == driver.counters["tx_errors"] == driver.counters["resets"] == 0


# --- waking ---


@pytest.mark.parametrize("has_msix", [True, False])
def test_interrupts_only_while_armed(has_msix):
    driver, model, world = bring_up(has_msix=has_msix)
    model.receive(b"i" * 60)
    assert model.interrupts == 0
    assert driver.arm()  # it came before: no sleep
    driver.disarm()
    drain(driver)
    for _ in range(3):
        assert not driver.arm()
        before = world.fence_count
        model.receive(b"i" * 60)
        assert world.pending
        assert _mirage.wait(-1)
        driver.disarm()
        assert len(drain(driver)) == 1
        assert before == world.fence_count


def test_frame_between_arm_and_wait_wakes():
    driver, model, _ = bring_up()
    assert not driver.arm()
    model.receive(b"i" * 60)
    assert _mirage.wait(-1) != 0


def test_device_without_interrupt_is_polled():
    driver, model, world = bring_up(has_msix=False)
    model.config[0x3D] = 0
    world = _mirage.reset(machine=Machine({0x10: VirtioNetModel(has_msix=False)}))
    world.machine.functions[0x10].config[0x3D] = 0
    driver = VirtioNet(PciBus().find(vendor=0x1AF4), Dma())
    before = world.now_ns
    assert driver.arm()
    assert 0 < world.now_ns - before <= 2_000_000


def test_link_changes_are_seen():
    driver, model, _ = bring_up()
    told = []
    driver.notify(lambda why: told.append((why, driver.link_up)))
    assert not driver.arm()
    model.change_config(6, b"\0\0")
    assert _mirage.wait(-1)
    driver.disarm()
    assert driver.arm()  # who was told has something to do
    assert not driver.link_up
    driver.disarm()
    assert not driver.arm()
    driver.disarm()
    model.change_config(6, b"\1\0")
    assert driver.arm()
    assert driver.link_up
    driver.disarm()
    assert not driver.arm()
    assert told == [(None, False), (None, True)]


# --- recovery ---


def exchange(driver, model):
    model.sent.clear()
    model.receive(b"again" * 20)
    got = drain(driver)
    assert [octets(frame) for frame in got] == [b"again" * 20]
    for frame in got:
        frame.release()
    send(driver, b"and again" * 10)
    assert model.sent[-1][1] == b"and again" * 10


def test_needs_reset_is_answered_and_held_frames_survive():
    driver, model, world = bring_up(automatic=False)
    model.receive(b"keep" * 30)
    (kept,) = drain(driver)
    mine = driver.alloc(100)
    send(driver, *[b"lost" * 20] * 5)
    assert not driver.arm()
    model.ask_for_reset()
    assert _mirage.wait(-1)
    driver.disarm()
    driver.arm()
    assert model.status == 15
    assert driver.counters["resets"] == 1
    assert octets(kept) == b"keep" * 30
    kept.release()
    mine.length = 100
    assert driver.tx_batch([mine], 1) == 1
    model.automatic = True
    exchange(driver, model)
    assert driver.trouble is None
    assert world.fence_count


@pytest.mark.parametrize("queue", [0, 1])
def test_ring_index_jump_is_a_reset(queue):
    driver, model, world = bring_up()
    told = []
    driver.notify(told.append)
    model.queues[queue].used_index = 40000
    model.publish(model.queues[queue])
    assert drain(driver) == []
    driver._tx_clean()
    assert driver.trouble is not None
    assert send(driver, b"dropped" * 10) == 1
    assert driver.counters["tx_dropped"] == 1
    assert told == ["the device " + told[0][11:]]
    assert driver.arm()
    assert told[1:] == [None]
    assert driver.trouble is None
    driver.disarm()
    exchange(driver, model)
    assert world.now_ns
    assert len(told) == 2


def test_device_that_stays_broken_is_tried_again_later():
    driver, model, world = bring_up()
    told = []
    driver.notify(told.append)
    model.ask_for_reset()
    model.stuck_reset = True
    for _ in range(50):
        assert driver.arm()
        driver.disarm()
        assert drain(driver) == []
    assert "virtio reset" in driver.trouble
    assert not driver.link_up
    assert driver.counters["resets"] == 1  # tried at once, and then not before 100 ms have passed
    for _ in range(100):
        world.now_ns += 1_000_000_000
        driver.arm()
    assert 8 < driver.counters["resets"] < 20  # ever more rarely, at last every 10 s
    assert len(set(told)) == 2, told  # why it broke, and why it is no better
    model.stuck_reset = False
    world.now_ns += 20_000_000_000
    driver.arm()
    driver.disarm()
    assert driver.trouble is None
    exchange(driver, model)


def test_device_that_comes_back_different_is_not_used():
    driver, model, _ = bring_up()
    model.ask_for_reset()
    model.offered &= ~model_of.HOST_TSO4
    assert driver.arm()
    assert "other features" in driver.trouble


def test_frame_never_finished_is_a_reset():
    driver, model, _ = bring_up()
    queue = model.queues[0]
    head, parts = model._next_chain(queue)
    model.dma_write(parts[0][0], model_of.HEADER.pack(0, 0, 0, 0, 0, 0, 3))
    model.push_used(queue, head, 200)
    model.publish(queue)
    for _ in range(10010):
        assert drain(driver) == []
        driver.arm()
        driver.disarm()
    assert driver.counters["resets"] >= 1
    driver.arm()
    exchange(driver, model)
