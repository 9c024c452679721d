# SPDX-License-Identifier: MIT
"""TIME_WAIT: what is left of a connection that we closed first, for two segment lifetimes (RFC 9293 section 3.6.1)."""

from micropython import const

from libos.net.timers import FAR_MS

TIME_WAIT_MS = 60000  # two lifetimes of 30 s, as Linux and FreeBSD have it
MAX_TIME_WAITS = 1024

_DEADLINE_MS = const(5)  # in a record


class TimeWaits:
    """All of them, by key, and in the order in which they end. One entry of `timers` stands for all.

    by_key: (snd_nxt, rcv_nxt, ts_recent or None, ts_offset, when last challenged or None, when it ends): enough to
    answer a repeated FIN and to judge a new SYN. A tuple of 64 octets, for a thousand of them are there for a minute,
    wherever the heap had room. The addresses and ports are in the key, and in the segment that it is looked up for.
    """

    def __init__(self, timers, limit=MAX_TIME_WAITS):
        self.timer_at = FAR_MS
        self.timer_place = 0
        self._timers = timers
        timers.restorers.append(self.on_timer)
        self.by_key = {}
        self.overflows = 0
        self._limit = limit
        # When to look at one, its key, and so on. All wait equally long, so appending keeps them sorted. One that was
        # restarted is found not to be over at its turn, and appended again: it may end a little late.
        self._queue = []
        self._first = 0

    def add(self, connection, now_ms):
        """The connection waits from now on. With the table full the oldest one ends early, and is counted."""
        while len(self.by_key) >= self._limit:
            self.overflows += 1
            self.by_key.pop(self._queue[self._first + 1], None)
            self._take_first()
        ts_recent = connection.ts_recent if connection.ts_on else None
        deadline_ms = now_ms + TIME_WAIT_MS
        record = (connection.snd_nxt, connection.rcv_nxt, ts_recent, connection.ts_offset, None, deadline_ms)
        # In this order, and both at once: whatever finds no memory, nothing stays for ever, and pairs stay pairs.
        self._queue.extend((deadline_ms, connection.key))
        self.by_key[connection.key] = record
        self._arm()

    def _arm(self):
        first_ms = self._queue[self._first] if self._first < len(self._queue) else FAR_MS
        if first_ms == FAR_MS:
            self._timers.cancel(self)
        elif first_ms < self.timer_at:
            self._timers.schedule(self, first_ms)

    def remove(self, key):
        """Ends it: a new connection takes its place."""
        del self.by_key[key]
        self._queue[self._queue.index(key, self._first)] = None

    def on_timer(self, now_ms):
        """Ends those whose time is over."""
        while self._first < len(self._queue) and self._queue[self._first] <= now_ms:
            key = self._queue[self._first + 1]
            record = self.by_key.get(key)
            if record is not None:
                if record[_DEADLINE_MS] > now_ms:
                    self._queue.extend((record[_DEADLINE_MS], key))
                else:
                    del self.by_key[key]
            self._take_first()
        self._arm()

    def _take_first(self):
        self._queue[self._first + 1] = None
        self._first += 2
        if self._first > 128 and 2 * self._first > len(self._queue):
            self._queue = self._queue[self._first :]
            self._first = 0
