# SPDX-License-Identifier: MIT
"""The guest's ixgbe driver against a device that answers at random: rings scribbled over, registers that say anything.

After each step: no exception has come out of the driver; every frame that it hands up lies inside its buffer and is the
caller's; and every address that it gives the device, in each descriptor before a tail is moved, lies with its length
inside DMA memory. At the end the device behaves, the driver works again, and no buffer is lost.

A failure names its seed and step: `Fuzzer(SEED).run(STEPS)` does the same again.
"""

import os
import random

import _mirage
import pytest

from mirage_py.nic.ixgbe import registers as r
from tests.nic.driver_helpers import UDP_PACKET, assert_nothing_lost, drain, idle, send
from tests.nic.function import bring_up

STEPS = int(os.environ.get("MIRAGE_PY_FUZZ_STEPS", "3000"))
NIGHTLY_STEPS = 1_000_000
_CONTEXT, _DATA = 2, 3


class Fuzzer:
    """A driver and its malicious device, which scribbles into the rings, and whose registers read anything at times."""

    def __init__(self, seed):
        self.seed = seed
        self.rng = rng = random.Random(seed)
        self.driver, self.function, self.world = bring_up(
            mtu=rng.choice((1500, 9000)), queues=rng.choice((1, 1, 3)), dma_bytes=rng.choice((1 << 20, 4 << 20))
        )
        self.noise = 0.0  # how many register reads are answered at random
        self.given = 0  # descriptors that were looked at
        self._read, self._write = self.function.mmio_read, self.function.mmio_write
        self.function.mmio_read, self.function.mmio_write = self.read, self.write
        store = self.function.model.regs.store
        self.tails = {offset: store[offset >> 2] for offset in (r.TDT, r.RDT, r.RDT + 0x40, r.RDT + 0x80)}
        self.frames = [None] * 64
        self.held = []
        self.delivered = 0

    # The device.

    def read(self, index, offset, size):
        if self.noise and self.rng.random() < self.noise:
            return self.rng.choice((0, 0xFFFFFFFF, self.rng.getrandbits(32)))
        return self._read(index, offset, size)

    def write(self, index, offset, size, value):
        """A tail that moves gives descriptors away: nothing in them may lie outside of DMA memory."""
        driver = self.driver
        for queue, ring in enumerate(driver._rings):
            if offset == r.RDT + r.QUEUE_STRIDE * queue:
                self.check(offset, ring, value, lambda high, size=ring._buffer_bytes: size)
        if offset == r.TDT:
            self.check(offset, driver._tx, value, lambda high: high & 0xFFFF if high >> 20 & 0xF == _DATA else None)
        elif offset == r.CTRL and value & r.CTRL_RST:
            self.tails.clear()
        self._write(index, offset, size, value)

    def check(self, offset, ring, tail, length_of):
        start, end = self.world.dma_phys_addr, self.world.dma_phys_addr + len(self.world.dma)
        assert 0 <= tail < ring.size
        index = self.tails.get(offset, 0)
        while index != tail:
            address, high = ring._desc64[2 * index], ring._desc64[2 * index + 1]
            length = length_of(high)
            assert length is not None or high >> 20 & 0xF == _CONTEXT
            if length is not None:
                assert start <= address <= address + length <= end, f"{length} octets at {address:#x}"
            self.given += 1
            index = (index + 1) % ring.size
        self.tails[offset] = tail

    def scribble(self):
        """Writes anything into the rings that the device was given, before the driver looks."""
        rng = self.rng
        for ring in self.driver._rings:
            for _ in range(rng.randrange(1, 6)):
                index = (ring.rx_index + rng.randrange(8)) % ring.size
                words = ring._desc32
                words[4 * index] = rng.getrandbits(32)
                words[4 * index + 3] = rng.choice((0, 60, 1514, 2048, 2049, 0xFFFF, rng.getrandbits(32)))
                if rng.randrange(4):
                    words[4 * index + 2] = rng.choice((1, 3, 3, 0x23, 1 | rng.randrange(300) << 4))
                else:
                    words[4 * index + 2] = rng.getrandbits(32)
                frame = ring._slots[index]
                if frame is not None and frame.owner == 2:
                    frame.buf[0:4] = rng.randbytes(4)
        words = self.driver._tx._desc32
        for _ in range(rng.randrange(3)):
            words[4 * rng.randrange(self.driver._tx.size) + 3] = rng.getrandbits(32)

    # What the layers above do.

    def receive(self):
        rng, frames = self.rng, self.frames
        count = self.driver.rx_batch(frames, rng.randrange(1, 65))
        assert 0 <= count <= 64
        for frame in frames[:count]:
            assert 0 < frame.total() <= 65550
            part = frame
            while part is not None:
                assert 0 <= part.start <= part.start + part.length <= part.size
                assert part.owner == 0
                part = part.next
            self.held.append(frame)
        self.delivered += count
        while self.held and (len(self.held) > 20 or rng.random() < 0.7):
            self.held.pop(rng.randrange(len(self.held))).release()

    def send(self):
        rng = self.rng
        frame = self.driver.alloc(rng.choice((60, 1514, 2000, 9000)))
        if frame is None:
            return
        frame.length = rng.choice((60, 600))
        if rng.random() < 0.3:
            frame.flags = 2
            frame.csum_start, frame.csum_offset = rng.choice((34, 54, rng.randrange(100))), rng.choice((6, 16))
            frame.gso_size, frame.gso_type = rng.choice((0, 100, 1460)), rng.choice((0, 1, 4))
            frame.hdr_len = frame.csum_start + rng.choice((20, 32, rng.randrange(80)))
        if not self.driver.tx_batch([frame], 1):
            frame.release()

    def step(self, number):
        if number % 200 == 0:
            self.noise = self.rng.choice((0, 0, 0, 0.02, 0.2))
        self.scribble()
        self.receive()
        if self.rng.random() < 0.3:
            self.send()
        if number % 50 == 0:
            idle(self.driver, self.function, 1)
            self.driver.counters  # noqa: B018
            self.function.sent()

    def finish(self):
        """The device comes to its senses: so does the driver."""
        self.noise = 0
        for frame in self.held:
            frame.release()
        self.held.clear()
        driver, function = self.driver, self.function
        # What was scribbled is still in the rings: a reset, as the watchdog does one, is a new start.
        driver._break("was told to stop this")
        idle(driver, function, 300)
        assert driver.trouble is None
        drain(driver)
        function.sent()
        function.arrive(UDP_PACKET)
        assert drain(driver) == [UDP_PACKET]
        assert send(driver, UDP_PACKET) == 1
        assert function.sent() == [UDP_PACKET]
        assert_nothing_lost(driver)

    def run(self, steps):
        clock = _mirage.monotonic_ns
        world = self.world

        def ticking():
            world.now_ns += 20_000
            return clock()

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(_mirage, "monotonic_ns", ticking)
            for number in range(steps):
                try:
                    self.step(number)
                except Exception as error:
                    raise AssertionError(f"seed {self.seed}, step {number}: {error!r}") from error
            try:
                self.finish()
            except Exception as error:
                raise AssertionError(f"seed {self.seed}, after {steps} steps: {error!r}") from error
        assert self.given > steps // 2, "buffers went to the device"
        assert self.delivered > steps // 20, "and came back as frames"
        counters = self.driver.counters
        assert counters["rx_errors"]
        assert counters["tx_errors"]
        assert counters["resets"]


@pytest.mark.parametrize("seed", range(6))
def test_device_that_answers_at_random_costs_frames_only(seed):
    Fuzzer(seed).run(STEPS)


@pytest.mark.nightly
def test_device_that_answers_at_random_for_a_million_steps():
    for _ in range(20):
        Fuzzer(random.SystemRandom().randrange(1 << 32)).run(NIGHTLY_STEPS // 20)
