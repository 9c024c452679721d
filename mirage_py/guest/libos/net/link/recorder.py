# SPDX-License-Identifier: MIT
"""A network device that remembers what passes, as records of a pcap file (wire.pcap). No I/O.

It stands between a card and a stack, and has the card's signature. The last octets are kept in a ring; whoever reads
from it slower than frames come loses the oldest, and learns how many.
"""

import struct

from libos.wire.pcap import SNAP_BYTES, emit_record


class Recorder:
    """below: the network device; clock: hal.clock.Clock; size_kib: of the ring.

    first, next: the numbers of the oldest record that is kept, and of the next one. on_record: called for each.
    """

    def __init__(self, below, clock, size_kib=256):
        self.below = below
        self.first = 0
        self.next = 0
        self.on_record = None
        self._clock = clock
        self._limit_bytes = size_kib * 1024
        self._bytes = 0
        self._records = []
        self._is_on = False
        self._own_port = 0
        # Asked for often: without a search.
        self.alloc = below.alloc
        self.arm = below.arm
        self.disarm = below.disarm

    def __getattr__(self, name):
        return getattr(self.below, name)

    def start(self, own_port):
        """Records from now on, but for TCP from and to `own_port`: what is sent there would be recorded again."""
        self._is_on = True
        self._own_port = own_port

    def rx_batch(self, frames, limit):
        """As the device's."""
        count = self.below.rx_batch(frames, limit)
        if self._is_on:
            for index in range(count):
                self._record(self._copy(frames[index]))
        return count

    def tx_batch(self, frames, count):
        """As the device's. Frames are copied before: once taken they are the device's."""
        if not self._is_on:
            return self.below.tx_batch(frames, count)
        copies = [self._copy(frames[index]) for index in range(count)]
        taken = self.below.tx_batch(frames, count)
        for index in range(taken):
            self._record(copies[index])
        return taken

    def _copy(self, frame):
        """(octets, length on the wire), or None for what must not or cannot be kept."""
        length = frame.total()
        try:
            data = frame.take(0, min(length, SNAP_BYTES))
        except MemoryError:
            return None  # recording must not cost the frame itself
        return None if self._is_own(data) else (data, length)

    def _is_own(self, data):
        kind = data[12:14]
        if kind == b"\x08\x00" and len(data) >= 38 and data[23] == 6:
            at = 14 + ((data[14] & 15) << 2)
        elif kind == b"\x86\xdd" and len(data) >= 58 and data[20] == 6:
            at = 54
        else:
            return False
        if at + 4 > len(data):
            return False
        src_port, dst_port = struct.unpack_from(">HH", data, at)
        return src_port == self._own_port or dst_port == self._own_port

    def _record(self, copy):
        if copy is None:
            return
        data, length = copy
        try:
            record = emit_record(data, length, self._clock.wall_ns())
            self._records.append(record)
        except MemoryError:
            return
        self.next += 1
        self._bytes += len(record)
        self._trim()
        if self.on_record is not None:
            self.on_record()

    def _trim(self):
        gone = 0
        records = self._records
        while self._bytes > self._limit_bytes and gone < len(records):
            self._bytes -= len(records[gone])
            gone += 1
        if gone:
            del records[:gone]
            self.first += gone

    def read(self, number, limit_bytes):
        """(records from `number` on in one piece, the number to go on with, how many were lost before them)."""
        lost = max(self.first - number, 0)
        at = number + lost - self.first
        parts = []
        size = 0
        while at < len(self._records) and (not parts or size + len(self._records[at]) <= limit_bytes):
            parts.append(self._records[at])
            size += len(self._records[at])
            at += 1
        return (b"".join(parts), self.first + at, lost)
