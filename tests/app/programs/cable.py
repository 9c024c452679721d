# SPDX-License-Identifier: MIT
"""A cable between two stacks in one process."""

from libos.hal.dma import FramePool


class Link:
    """One end of a cable, as a network device. With offloads, frames cross it uncut and unsummed, as over a TAP."""

    def __init__(self, dma, mac, has_offloads):
        self.name = "link"
        self.mac = mac
        self.mtu = 1500
        self.features = 31 if has_offloads else 0
        self.max_gso_bytes = 65549
        self.link_up = True
        self.counters = {}
        self.peer = None
        self.is_cut = False
        self.waiting = []
        self._pool = FramePool(dma, 66048 if has_offloads else 2048, 24, 16)

    def rx_batch(self, frames, limit):
        count = min(limit, len(self.waiting))
        for index in range(count):
            frames[index] = self.waiting[index]
        self.waiting = self.waiting[count:]
        return count

    def tx_batch(self, frames, count):
        for index in range(count):
            frame = frames[index]
            if self.peer.is_cut:
                frame.release()
            else:
                frame.flags = 1 if frame.flags & 2 else 0
                self.peer.waiting.append(frame)
        return count

    def join(self, mac):
        pass

    def leave(self, mac):
        pass

    def alloc(self, length):
        return self._pool.alloc()

    def arm(self):
        return bool(self.waiting)

    def disarm(self):
        pass
