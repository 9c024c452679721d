# SPDX-License-Identifier: MIT
"""A wire between two models in one process: what one sends, the other finds in its queue."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from mirage_py.nic.frame import Frame

_QUEUE_FRAMES = 1024


class PairEnd:
    """One end; `pair()` makes two. Frames are copied, for the sender's buffers go back to its driver.

    A sender waits only until the other model has its turn in the loop, never for the other guest.
    """

    is_cable = True

    def __init__(self, takes_offloads: bool) -> None:
        self.takes_offloads = self.takes_datagrams = takes_offloads
        self.peer: PairEnd | None = None
        self.queue: deque[Frame] = deque()
        self._ready: Callable[[], None] = lambda: None
        self._link: Callable[[bool], None] = lambda up: None
        self._is_lit = True  # light comes from the other end
        self.sender_waits = False

    def send(self, frames: list[Frame]) -> int:
        peer = self.peer
        assert peer is not None
        taken = frames[: max(0, _QUEUE_FRAMES - len(peer.queue))]
        for frame in taken:
            frame.parts = [bytes(frame.joined())]
        peer.queue.extend(taken)
        peer.sender_waits = len(taken) < len(frames)
        if taken:
            peer._ready()
        return len(taken)

    def receive(self, limit: int) -> list[Frame]:
        queue = self.queue
        frames = [queue.popleft() for _ in range(min(limit, len(queue)))]
        if self.sender_waits and len(queue) <= _QUEUE_FRAMES // 2:
            self.sender_waits = False
            assert self.peer is not None
            self.peer._ready()
        return frames

    def fileno(self) -> int:
        return -1

    def on_ready(self, callback: Callable[[], None]) -> None:
        self._ready = callback

    def set_link(self, up: bool) -> None:
        peer = self.peer
        assert peer is not None
        if peer._is_lit != up:
            peer._is_lit = up
            peer._link(up)

    def on_link(self, callback: Callable[[bool], None]) -> None:
        self._link = callback
        if not self._is_lit:
            callback(False)

    def close(self) -> None:
        self.queue.clear()


def pair(takes_offloads: bool = False) -> tuple[PairEnd, PairEnd]:
    """Two ends of a wire. takes_offloads: large segments cross it uncut."""
    left, right = PairEnd(takes_offloads), PairEnd(takes_offloads)
    left.peer, right.peer = right, left
    return left, right
