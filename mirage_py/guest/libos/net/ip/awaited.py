# SPDX-License-Identifier: MIT
"""Packets that come before the address that they are for. No I/O, no clock.

A DHCP server knows our address before we do, and so may others: QEMU's user-mode network sends what waits for the
guest when it sees the first DISCOVER, and a lost SYN again after six seconds only. So while an address is looked for,
the last few packets to our MAC are kept.
"""

from libos.net.ip.reassembly import Reassembled

MAX_PACKETS = 8
MAX_PACKET_BYTES = 2048
MAX_AGE_MS = 3000


class Awaited:
    """is_open: packets to no address of ours are to be kept. counters: the layer's; InDiscards: no room."""

    def __init__(self, counters):
        self.is_open = False
        self._counters = counters
        self._kept = []  # (copy of the frame, source MAC, when)

    def open(self, is_open):
        """Whether to keep packets from now on. What was kept goes when not."""
        self.is_open = is_open
        if not is_open:
            self._kept = []

    def keep(self, frame, src_mac, now_ms):
        """A packet; the oldest one gives way."""
        if frame.total() > MAX_PACKET_BYTES:
            self._counters["InDiscards"] += 1
            return
        if len(self._kept) >= MAX_PACKETS:
            self._counters["InDiscards"] += 1
            del self._kept[0]
        copy = Reassembled(frame.take(0, frame.total()), [])
        copy.flags = frame.flags  # what a device has verified, or left to be filled in, it still is
        self._kept.append((copy, src_mac, now_ms))

    def take(self, now_ms):
        """Closes, and returns what was kept and is not too old: [(frame, source MAC)]."""
        kept = [(frame, src_mac) for frame, src_mac, at_ms in self._kept if now_ms - at_ms <= MAX_AGE_MS]
        self.open(False)
        return kept
