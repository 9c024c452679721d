# SPDX-License-Identifier: MIT
"""Reassembly of fragments (RFC 791 section 3.2, RFC 8200 section 4.5), shared by IPv4 and IPv6. No I/O, no clock.

Everything that the network could make grow has a bound, and the oldest datagram gives way. A datagram whose fragments
overlap is dropped whole, and so is what still comes of it (RFC 5722, which we follow for IPv4 too): no honest sender
makes overlaps, and whoever looks at fragments on the way may have seen another datagram than we would build. An exact
repetition of a fragment is what a network may do, and is ignored.
"""

from libos.net.timers import FAR_MS
from libos.wire import checksum as wire_checksum

MAX_DATAGRAMS = 64
# 65,535 octets over a link with an MTU of 576 are 119 fragments.
MAX_FRAGMENTS = 128  # of a datagram
MAX_OCTETS = 262144  # of all datagrams, with what keeping a fragment costs
FRAGMENT_COST = 64  # octets of bookkeeping for a fragment
# The smallest MTU there may be (RFC 791) carries so much after a header. What is cut finer is meant to hide its
# headers (RFC 1858), or to cost us more than its sender.
MIN_FRAGMENT_BYTES = 48
HEADERS_BYTES = 128  # of a payload that are in one piece, as in a received frame: see hal.dma.Frame


class Reassembled:
    """A whole datagram, with the face of a received frame: a chain of pieces, of which `buf` is the first.

    The first piece has the headers and at least HEADERS_BYTES of payload, or all of it. It is on the heap: releasing it
    does nothing. head_len: octets before the payload.
    """

    def __init__(self, head, parts):
        """head: octets of the frame before the payload. parts: [(offset, octets, sum)] in order, without a gap."""
        count = 0
        size = total = 0
        first = [head]
        while count < len(parts) and size < HEADERS_BYTES:
            _offset, data, part_sum = parts[count]
            first.append(data)
            size += len(data)
            total += part_sum
            count += 1
        self.buf = b"".join(first)
        self.start = 0
        self.length = len(self.buf)
        self.size = self.length
        self.next = None
        self.flags = 0  # no device verified the checksum of the whole
        self.gso_size = 0
        self.head_len = len(head)
        self._first_sum = wire_checksum.fold(total)
        self._parts = parts[count:]

    def total(self):
        """Octets over all pieces."""
        total = self.length
        for _offset, data, _sum in self._parts:
            total += len(data)
        return total

    def _check(self, start, length):
        if start < 0 or length < 0 or start + length > self.total():
            raise ValueError("out of bounds")

    def checksum(self, start, length, initial):
        """The one's-complement sum (folded, not inverted) of `length` octets from `start`, plus `initial`.

        Costs no look at octets for whole fragments. Raises ValueError when the range is not inside.
        """
        self._check(start, length)
        total = initial
        at = self.head_len
        end = start + length
        if start == at and end >= self.length:
            total += self._first_sum
        elif start < self.length:
            total += wire_checksum.total(self.buf, start, min(end, self.length) - start)
        at = self.length
        is_odd = (at - start) & 1 if start < at else 0
        for _offset, data, part_sum in self._parts:
            after = at + len(data)
            if start < after and at < end:
                low = max(start - at, 0)
                high = min(end, after) - at
                if low or high < len(data):
                    part_sum = wire_checksum.total(data, low, high - low)
                if is_odd:
                    part_sum = (part_sum & 0xFF) << 8 | part_sum >> 8
                total += part_sum
                is_odd ^= (high - low) & 1
            at = after
        return wire_checksum.fold(total)

    def take(self, start, length):
        """`length` octets from `start` as a bytes object of its own. ValueError when they are not inside."""
        self._check(start, length)
        end = start + length
        pieces = []
        if start < self.length:
            pieces.append(self.buf[start : min(end, self.length)])
        at = self.length
        for _offset, data, _sum in self._parts:
            after = at + len(data)
            if start < after and at < end:
                if start <= at and after <= end:
                    pieces.append(data)
                else:
                    pieces.append(data[max(start - at, 0) : min(end, after) - at])
            at = after
        return b"".join(pieces)

    def release(self):
        pass


class Datagram:
    """What came of one datagram so far."""

    def __init__(self, key, deadline_ms):
        self.key = key
        self.deadline_ms = deadline_ms
        self.head = None  # of the fragment with offset 0
        self.parts = []  # (offset, octets, sum), by offset
        self.octets = 0  # of payload
        self.end = -1  # octets of payload that there will be, when the last fragment has come
        self.is_refused = False  # it contradicts itself: what still comes of it is dropped

    def cost(self):
        return self.octets + FRAGMENT_COST * (len(self.parts) + 1)


class Reassembly:
    """Puts the fragments of one IP layer together.

    timers: net.timers.Timers. counters: of the layer; ReasmReqds, ReasmOKs, ReasmFails (RFC 4293), ReasmTimeout and
    ReasmOverlaps (Linux) are made and counted there. start: octets of Ethernet and IP header that a frame has at
    least; max_bytes: what these and the payload may come to. timeout_ms: how long the rest of a datagram may take.
    on_timeout: called with (Reassembled of what came from the beginning on, now_ms) when time ran out and the first
    fragment is there: ICMP tells the sender.
    """

    def __init__(self, timers, counters, start, max_bytes, timeout_ms):
        self.on_timeout = None
        self.counters = counters
        for name in ("ReasmReqds", "ReasmOKs", "ReasmFails", "ReasmTimeout", "ReasmOverlaps"):
            counters[name] = 0
        self.timer_at = FAR_MS
        self.timer_place = 0
        self._timers = timers
        self._start = start
        self._max_bytes = max_bytes
        self._timeout_ms = timeout_ms
        self._table = {}
        self._cost = 0
        timers.restorers.append(self.rearm)

    def __len__(self):
        return len(self._table)

    def input(self, key, head, offset, has_more, frame, start, length, now_ms):
        """Takes one fragment. Returns the datagram as Reassembled when it is complete, else None.

        key: octets that all fragments of a datagram share, and no others: addresses, identification, and for IPv4 the
        protocol. head: with offset 0, the frame's octets before the payload as the whole datagram is to have them; else
        None. offset: of the payload in the datagram, in octets. has_more: it is not the last. start, length: where its
        payload is in `frame`, from which it is copied.
        """
        counters = self.counters
        counters["ReasmReqds"] += 1
        end = offset + length
        if (
            length <= 0
            or self._start + end > self._max_bytes  # the "ping of death"
            or (has_more and (length & 7 or length < MIN_FRAGMENT_BYTES))
        ):
            counters["ReasmFails"] += 1
            return None
        datagram = self._table.get(key)
        if datagram is None:
            datagram = self._begin(key, now_ms)
        elif datagram.is_refused:
            return None
        parts = datagram.parts
        at = len(parts)
        while at and parts[at - 1][0] >= offset:
            at -= 1
        if at < len(parts) and self._is_repeated(datagram, at, offset, end, has_more, frame, start):
            return None
        if self._contradicts(datagram, at, offset, end, has_more):
            counters["ReasmOverlaps"] += 1
            self._refuse(datagram)
            return None
        if len(parts) >= MAX_FRAGMENTS:
            self._refuse(datagram)
            return None
        self._make_room(length + FRAGMENT_COST, datagram)
        parts.insert(at, (offset, frame.take(start, length), frame.checksum(start, length, 0)))
        datagram.octets += length
        self._cost += length + FRAGMENT_COST
        if not offset:
            datagram.head = head
        if not has_more:
            datagram.end = end
        if datagram.octets != datagram.end:
            return None
        return self._complete(datagram)

    def _begin(self, key, now_ms):
        if len(self._table) >= MAX_DATAGRAMS:
            self._give_up(self._oldest(None))
        datagram = Datagram(key, now_ms + self._timeout_ms)
        self._table[key] = datagram
        self._cost += FRAGMENT_COST
        if self.timer_at == FAR_MS:
            self._timers.schedule(self, datagram.deadline_ms)
        return datagram

    def _is_repeated(self, datagram, at, offset, end, has_more, frame, start):
        """Whether the part at an index is the same fragment, octet by octet."""
        part_offset, data, _sum = datagram.parts[at]
        return (
            part_offset == offset
            and len(data) == end - offset
            and has_more != (end == datagram.end)
            and frame.take(start, end - offset) == data
        )

    def _contradicts(self, datagram, at, offset, end, has_more):
        """Whether a fragment that belongs before the part at an index overlaps others, or the end."""
        parts = datagram.parts
        if datagram.end >= 0 and (not has_more or end > datagram.end):
            return True
        if at and parts[at - 1][0] + len(parts[at - 1][1]) > offset:
            return True
        return at < len(parts) and (not has_more or parts[at][0] < end)

    def _make_room(self, cost, keep):
        while self._cost + cost > MAX_OCTETS:
            oldest = self._oldest(keep)
            if oldest is None:
                break
            self._give_up(oldest)

    def _oldest(self, keep):
        oldest = None
        for datagram in self._table.values():
            if datagram is not keep and (oldest is None or datagram.deadline_ms < oldest.deadline_ms):
                oldest = datagram
        return oldest

    def _give_up(self, datagram):
        self._remove(datagram)
        if not datagram.is_refused:  # that was counted
            self.counters["ReasmFails"] += 1

    def _refuse(self, datagram):
        """Drops all of a datagram; its place stays taken until its time is over, so that its rest is dropped too."""
        self.counters["ReasmFails"] += 1
        self._cost += FRAGMENT_COST - datagram.cost()
        datagram.is_refused = True
        datagram.head = None
        datagram.parts = []
        datagram.octets = 0

    def _remove(self, datagram):
        del self._table[datagram.key]
        self._cost -= datagram.cost()

    def _complete(self, datagram):
        self._remove(datagram)
        if not self._table:
            self._timers.cancel(self)
        if len(datagram.head) + datagram.octets > self._max_bytes:
            self.counters["ReasmFails"] += 1
            return None
        try:
            whole = Reassembled(datagram.head, datagram.parts)
        except MemoryError:
            self.counters["ReasmFails"] += 1
            raise
        self.counters["ReasmOKs"] += 1
        return whole

    def rearm(self, _now_ms):
        """Sets the timer for the oldest datagram."""
        oldest = self._oldest(None)
        if oldest is not None:
            self._timers.schedule(self, oldest.deadline_ms)

    def on_timer(self, now_ms):
        for datagram in list(self._table.values()):
            if datagram.deadline_ms <= now_ms:
                self._remove(datagram)
                if not datagram.is_refused:
                    self.counters["ReasmFails"] += 1
                    self.counters["ReasmTimeout"] += 1
                    self._tell(datagram, now_ms)
        self.rearm(now_ms)

    def _tell(self, datagram, now_ms):
        if datagram.head is None or self.on_timeout is None:
            return
        parts = datagram.parts
        count = 1
        while count < len(parts) and parts[count][0] == parts[count - 1][0] + len(parts[count - 1][1]):
            count += 1
        try:
            self.on_timeout(Reassembled(datagram.head, parts[:count]), now_ms)
        except MemoryError:
            pass  # the sender learns nothing; our own table stays right
