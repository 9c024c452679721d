# SPDX-License-Identifier: MIT
"""A virtio-net device that writes anything anywhere it may: the driver counts, drops, starts it anew, and goes on.

What must hold after every step: no exception; each frame that the driver hands out is within its buffer and held by
nobody else; nothing outside DMA memory is touched (the views of the fake end where the memory does).
"""

import random

import pytest

from tests.driver.test_virtio_net import bring_up, exchange, octets
from tests.fakes import virtio_net as model_of

STEPS = 20_000
NIGHTLY_STEPS = 1_000_000


class Hostile:
    """Drives a driver and its device at random, the device with malice. rng: random.Random."""

    def __init__(self, rng):
        self.rng = rng
        features = model_of.EVERYTHING if rng.random() < 0.7 else model_of.VERSION_1
        self.driver, self.model, self.world = bring_up(
            dma_bytes=rng.choice((300 << 10, 1 << 20)),
            queue_size=rng.choice((32, 256)),
            automatic=False,
            features=features,
        )
        self.held = []

    def number(self, bits):
        """Mostly plausible, sometimes extreme."""
        rng = self.rng
        choice = rng.random()
        if choice < 0.5:
            return rng.randrange(300) % (1 << bits)
        if choice < 0.8:
            return rng.randrange(5000) % (1 << bits)
        return rng.choice((0, 1, (1 << bits) - 1, 1 << bits - 1, rng.randrange(1 << bits)))

    def device_acts(self):
        rng, model = self.rng, self.model
        queue = model.queues[rng.randrange(2)]
        if not model.is_live or not queue.enable:
            return
        action = rng.randrange(12)
        if action < 4:
            model.rx_backlog.clear()
            flags, gso_type = self.number(8), self.number(8)
            try:
                model.receive(rng.randbytes(rng.randrange(1, 4000)), flags, gso_type)
            except model_of.BufferGivenTwiceError:
                # A lie about what it holds confuses the model about its own books, which is not what is tested.
                queue.held.clear()
        elif action < 6:
            for _ in range(rng.randrange(1, 4)):
                model.push_used(queue, self.number(32), self.number(32))
            model.publish(queue)
        elif action == 6:
            queue.used_index = (queue.used_index + self.number(16)) % 65536
            model.publish(queue)
        elif action == 7:
            memory = self.driver._rx_pool.memory
            memory[rng.randrange(len(memory))] = rng.randrange(256)
        elif action == 8:
            # The header of a posted buffer, while the driver may be looking.
            frame = rng.choice(self.driver._rx_frames)
            if frame.owner == 2:
                frame.buf[0:12] = rng.randbytes(12)
        elif action == 9:
            model.set_notify_flag(queue, rng.random() < 0.5)
        elif action == 10 and rng.random() < 0.05:
            rng.choice((model.ask_for_reset, lambda: model.change_config(6, rng.randbytes(2))))()
        elif action == 11:
            model.sent.clear()
            queue = model.queues[1]
            if model._available(queue):
                try:
                    model.take_sent(rng.randrange(1, 5))
                except model_of.BufferGivenTwiceError:
                    queue.held.clear()

    def driver_acts(self):
        rng, driver = self.rng, self.driver
        action = rng.randrange(6)
        if action < 2:
            frames = [None] * 32
            count = driver.rx_batch(frames, rng.randrange(1, 33))
            for frame in frames[:count]:
                self.check(frame)
                self.held.append(frame)
        elif action == 2:
            rng.shuffle(self.held)
            for _ in range(rng.randrange(len(self.held) + 1)):
                self.held.pop().release()
        elif action == 3:
            frames = []
            for _ in range(rng.randrange(1, 6)):
                frame = driver.alloc(rng.choice((60, 1514, 16000)))
                if frame is not None:
                    frame.length = 60
                    frames.append(frame)
            assert driver.tx_batch(frames, len(frames)) == len(frames)
        else:
            self.world.now_ns += rng.choice((1000, 1_000_000, 300_000_000))
            driver.arm()
            driver.disarm()

    def check(self, frame):
        fragments = []
        part = frame
        while part is not None:
            assert part.owner == 0
            assert 0 <= part.start <= part.start + part.length <= part.size
            fragments.append(part.index)
            part = part.next
        assert frame.length >= min(128, frame.total())
        assert len(octets(frame)) == frame.total() <= 65549
        for other in self.held:
            while other is not None:
                assert other.index not in fragments, "a buffer in two frames"
                other = other.next

    def run(self, steps):
        for _ in range(steps):
            self.device_acts()
            self.driver_acts()
        # Good manners again: everything works, whatever is left in the rings.
        for frame in self.held:
            frame.release()
        self.held.clear()
        self.model.rx_backlog.clear()
        self.model.ask_for_reset()
        for _ in range(200):
            self.world.now_ns += 1_000_000_000
            self.driver.arm()
            self.driver.disarm()
        assert self.driver.trouble is None
        self.model.automatic = True
        self.model.change_config(6, b"\1\0")
        exchange(self.driver, self.model)
        pool = self.driver._rx_pool
        assert sum(frame.owner == 2 for frame in pool.all) + pool.free == pool.count
        counters = self.driver.counters
        assert counters["rx_errors"]
        assert counters["tx_errors"]
        assert counters["resets"]


@pytest.mark.parametrize("seed", range(4))
def test_hostile_device(seed):
    Hostile(random.Random(seed)).run(STEPS // 4)


@pytest.mark.nightly
@pytest.mark.timeout(7200)
def test_hostile_device_for_a_million_steps():
    for seed in range(20):
        Hostile(random.Random(1000 + seed)).run(NIGHTLY_STEPS // 20)
