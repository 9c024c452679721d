# SPDX-License-Identifier: MIT
"""Buffers that are poisoned while nobody holds them: what reads a released frame sees nonsense, and what writes into
one is found out when its buffer is handed out again."""

from libos.hal import dma

POISON = 0xD5
# From the headroom on: every header, and what is written first. All of a large buffer would take longer than the tests.
POISONED_BYTES = 512


class UseAfterFreeError(AssertionError):
    """Somebody wrote into a buffer that was in its pool."""


class PoisonedFrames(list):
    """A FramePool's list of free frames. What stands before `headroom` is the driver's own, and stays."""

    def __init__(self, pool):
        super().__init__()
        self.pool = pool
        self.span = slice(pool.headroom, min(pool.headroom + POISONED_BYTES, pool.buffer_bytes))
        self.poison = bytes([POISON]) * (self.span.stop - self.span.start)

    def append(self, frame):
        frame.buf[self.span] = self.poison
        super().append(frame)

    def pop(self, index=-1):
        frame = super().pop(index)
        if frame.buf[self.span] != self.poison:
            raise UseAfterFreeError(f"buffer {frame.index} of a pool of {self.pool.count} was written while free")
        return frame


class PoisonedFramePool(dma.FramePool):
    """In the place of hal.dma.FramePool."""

    def __setattr__(self, name, value):
        # The constructor makes an empty list before it fills it; `headroom` and the sizes are known by then.
        super().__setattr__(name, PoisonedFrames(self) if name == "frames" else value)


def install(monkeypatch, *modules):
    """Has the drivers in `modules` take their buffers from poisoned pools."""
    for module in modules:
        monkeypatch.setattr(module, "FramePool", PoisonedFramePool)
