# SPDX-License-Identifier: MIT
"""Sending datagrams that are larger than the path's MTU: a short queue, out of which fragments are made as there are
buffers for them. No I/O, no clock.

A datagram of 64 KiB is 45 frames; a driver may have fewer, and a neighbour whose MAC is not known yet holds only a few.
So the data stays in the heap, as one object, and fragments are made when they can leave.
"""

from libos.net.timers import FAR_MS

MAX_QUEUED = 8  # datagrams
MAX_QUEUED_ICMP = 4  # what strangers may have us send, from addresses where nobody takes it: it must not fill the queue
MAX_OCTETS = 262144  # of all of them
RETRY_MS = 2  # when there is no buffer, or no MAC yet
MAX_DESTINATIONS = 256  # whose identifications are remembered
TIMEOUT_MS = 5000  # by then a neighbour has been asked three times

_ICMP = (1, 58)  # the protocol numbers of ICMP and ICMPv6


class Idents:
    """Identifications of datagrams that may be fragmented: unpredictable, and no two alike for long (RFC 7739).

    Each destination has a counter of its own that begins anywhere (section 5.2): so one learns nothing of another's
    numbers, and a number comes again when all others had their turn. random: u32().
    """

    def __init__(self, random):
        self._random = random
        self._counters = {}

    def next(self, ip):
        """The next number for a destination, 32 bits."""
        number = self._counters.get(ip)
        if number is None:
            number = self._random.u32()
            if len(self._counters) >= MAX_DESTINATIONS:
                self._counters = {}
        self._counters[ip] = number = (number + 1) & 0xFFFFFFFF
        return number


class Outgoing:
    """A datagram in pieces. header: of the transport; data: behind it; at: octets of both that have left."""

    def __init__(self, header, data, src_ip, dst_ip, protocol, ident):
        self.header = header
        self.data = data
        self.src_ip = src_ip
        self.dst_ip = dst_ip
        self.protocol = protocol
        self.ident = ident
        self.length = len(header) + len(data)
        self.at = 0
        self.deadline_ms = 0

    def put(self, frame, start, count):
        """Copies the next `count` octets to `start` in a frame."""
        header_len = len(self.header)
        at = self.at
        if at < header_len:
            size = min(header_len - at, count)
            frame.put(start, self.header, at, size)
            start += size
            at += size
            count -= size
        frame.put(start, self.data, at - header_len, count)


class Fragmenter:
    """The queue of one IP layer.

    timers: net.timers.Timers. send_fragment: called with (Outgoing, now_ms); sends the next fragment, counts, and moves
    `at` on, or returns False when it cannot now. counters: of the layer; FragOKs, FragFails, FragCreates (RFC 4293) are
    made and counted there.
    """

    def __init__(self, timers, counters, send_fragment):
        self.counters = counters
        for name in ("FragOKs", "FragFails", "FragCreates"):
            counters[name] = 0
        self.timer_at = FAR_MS
        self.timer_place = 0
        self._timers = timers
        self._send_fragment = send_fragment
        self._queue = []
        self._octets = 0
        timers.restorers.append(self._rearm)

    def __len__(self):
        return len(self._queue)

    def send(self, datagram, now_ms):
        """Takes a datagram over. False, and counted, when too many wait already."""
        limit = MAX_QUEUED_ICMP if datagram.protocol in _ICMP else MAX_QUEUED
        if len(self._queue) >= limit or self._octets + datagram.length > MAX_OCTETS:
            self.counters["FragFails"] += 1
            return False
        datagram.deadline_ms = now_ms + TIMEOUT_MS
        self._queue.append(datagram)
        self._octets += datagram.length
        if len(self._queue) == 1:
            self.on_timer(now_ms)
        return True

    def _rearm(self, now_ms):
        if self._queue:
            self._timers.schedule(self, now_ms + RETRY_MS)

    def _remove(self, datagram, counter):
        self._octets -= datagram.length
        self.counters[counter] += 1
        self._queue.remove(datagram)

    def on_timer(self, now_ms):
        """Sends what can leave now. A datagram that waits for its neighbour does not hold up those to others."""
        self._timers.schedule(self, now_ms + RETRY_MS)  # first of all: memory may run out below
        for datagram in list(self._queue):
            try:
                while datagram.at < datagram.length and self._send_fragment(datagram, now_ms):
                    self.counters["FragCreates"] += 1
            except MemoryError:
                self._remove(datagram, "FragFails")
                raise
            if datagram.at >= datagram.length:
                self._remove(datagram, "FragOKs")
            elif now_ms >= datagram.deadline_ms:
                self._remove(datagram, "FragFails")
        if not self._queue:
            self._timers.cancel(self)
