# SPDX-License-Identifier: MIT
"""TIME_WAIT: what is left of a connection that we closed first, for two segment lifetimes (RFC 9293 section 3.6.1)."""

from libos.net.timers import FAR_MS

TIME_WAIT_MS = 60000  # two lifetimes of 30 s, as Linux and FreeBSD have it
MAX_TIME_WAITS = 1024


class TimeWait:
    """Just enough to answer a repeated FIN and to judge a new SYN."""

    def __init__(self, connection, deadline_ms):
        self.key = connection.key
        self.ip = connection.ip
        self.local_ip = connection.local_ip
        self.remote_ip = connection.remote_ip
        self.remote_port = connection.remote_port
        self.local_port = connection.local_port
        self.snd_nxt = connection.snd_nxt
        self.rcv_nxt = connection.rcv_nxt
        self.ts_recent = connection.ts_recent if connection.ts_on else None
        self.ts_offset = connection.ts_offset
        self.challenged_ms = None
        self.deadline_ms = deadline_ms


class TimeWaits:
    """All of them, by key, and in the order in which they end. One entry of `timers` stands for all."""

    def __init__(self, timers, limit=MAX_TIME_WAITS):
        self.timer_at = FAR_MS
        self.timer_place = 0
        self._timers = timers
        timers.restorers.append(self.on_timer)
        self.by_key = {}
        self.overflows = 0
        self._limit = limit
        # (when to look at it, wait). All wait equally long, so appending keeps the list sorted. One that was restarted
        # is found not to be over at its turn, and appended again: it may end a little late.
        self._queue = []
        self._first = 0

    def add(self, connection, now_ms):
        """The connection waits from now on. With the table full the oldest one ends early, and is counted."""
        while len(self.by_key) >= self._limit:
            self.overflows += 1
            self._end(self._take_first())
        wait = TimeWait(connection, now_ms + TIME_WAIT_MS)
        self.by_key[wait.key] = wait
        self._queue.append((wait.deadline_ms, wait))
        self._arm()

    def _arm(self):
        first_ms = self._queue[self._first][0] if self._first < len(self._queue) else FAR_MS
        if first_ms == FAR_MS:
            self._timers.cancel(self)
        elif first_ms < self.timer_at:
            self._timers.schedule(self, first_ms)

    def _end(self, wait):
        if self.by_key.get(wait.key) is wait:
            del self.by_key[wait.key]

    def remove(self, wait):
        """Ends it: a new connection takes its place."""
        del self.by_key[wait.key]
        wait.deadline_ms = 0

    def restart(self, wait, now_ms):
        """A repeated FIN: two lifetimes from now."""
        wait.deadline_ms = now_ms + TIME_WAIT_MS

    def on_timer(self, now_ms):
        """Ends those whose time is over."""
        while self._first < len(self._queue) and self._queue[self._first][0] <= now_ms:
            wait = self._take_first()
            if wait.deadline_ms > now_ms:
                self._queue.append((wait.deadline_ms, wait))
            else:
                self._end(wait)
        self._arm()

    def _take_first(self):
        wait = self._queue[self._first][1]
        self._queue[self._first] = None
        self._first += 1
        if self._first > 64 and 2 * self._first > len(self._queue):
            self._queue = self._queue[self._first :]
            self._first = 0
        return wait
