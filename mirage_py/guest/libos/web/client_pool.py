# SPDX-License-Identifier: MIT
"""The connections of a client: kept for the next request to the same origin, bounded in number, closed when idle.

Each has one task that looks after its time, whatever it is used for; a step has a deadline, and so has idleness.
"""

from asyncio import Event, create_task

from libos.http.client import ClientConnection

from .failure import timed_out, too_much


class Channel:
    """A connection of the pool. flow: of the stack, or of TLS; http: http.client.ClientConnection; uses: requests.

    has_timed_out: a step took longer than expect() said, and the connection was reset.
    """

    def __init__(self, pool, key, flow):
        self.flow = flow
        self.key = key
        self.http = ClientConnection(pool.limits)
        self.uses = 0
        self.has_timed_out = False
        self.is_closed = False
        self.is_idle = False
        self._pool = pool
        self._due_ms = self._wake_ms = None
        self._watch = None

    def expect(self, timeout_ms):
        """From now on the connection has so long, until the next expect()."""
        if self.is_closed:
            return
        now_ms = self._pool.clock.now_ms()
        self._due_ms = due_ms = now_ms + timeout_ms
        # One that ends later is seen when the task wakes. Idleness need not be exact.
        if self._watch is None or (due_ms < self._wake_ms and not self.is_idle):
            self._stop_watch()
            self._wake_ms = due_ms
            self._watch = create_task(self._run())

    async def _run(self):
        clock = self._pool.clock
        while True:
            left_ms = self._due_ms - clock.now_ms()
            if left_ms <= 0:
                break
            self._wake_ms = self._due_ms
            await clock.sleep_ms(left_ms)
        self._watch = None
        if self.is_idle:
            self._pool.take_out(self)
            await self.close()
        else:
            self.has_timed_out = True
            self._pool.counters["timeouts"] += 1
            self.abort()

    def _stop_watch(self):
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None

    def is_alive(self):
        """Whether an idle connection has neither ended nor been sent what nobody asked for."""
        try:
            return self.flow.read_now(1) is None and self.http.is_reusable
        except OSError:
            return False

    def abort(self):
        """Resets the connection, at once."""
        if not self.is_closed:
            self._end()
            self.flow.abort()

    async def close(self):
        """Ends the connection in order."""
        if not self.is_closed:
            self._end()
            try:
                await self.flow.close()
            except OSError:
                pass

    def give_away(self):
        """The flow, which is no longer the pool's to look after but for its number."""
        self._stop_watch()
        return self.flow

    def _end(self):
        self.is_closed = True
        self._stop_watch()
        self._pool.forget(self.key)


class _Waiter:
    def __init__(self, key):
        self.key = key
        self.event = Event()
        self.is_late = False


class Pool:
    """limits: http.limits.Limits of responses. most: connections at once, and per origin; idle_ms: how long it is kept.

    Requests beyond wait, max_waiting at once. counters: opened, reused, timeouts.
    """

    def __init__(self, clock, limits, most=16, most_per_origin=6, idle_ms=20000, max_waiting=256):
        self.clock = clock
        self.limits = limits
        self.most = most
        self.most_per_origin = most_per_origin
        self.idle_ms = idle_ms
        self.max_waiting = max_waiting
        self.counters = {"opened": 0, "reused": 0, "stale": 0, "timeouts": 0}
        self._idle = []  # channels, the one that was used last at the end
        self._open = {}  # key -> number of connections, those being opened included
        self._total = 0
        self._waiters = []

    def __len__(self):
        return self._total

    async def acquire(self, key, connect, timeout_ms, fresh=False):
        """A Channel to an origin: an idle one, unless `fresh`, or one over the flow that `await connect()` gives.

        Raises TransferError with step "pool" when none was free for timeout_ms; what connect raises.
        """
        if fresh:
            # What one was, its like may be.
            for channel in [channel for channel in self._idle if channel.key == key]:
                self._drop(channel)
        until_ms = self.clock.now_ms() + timeout_ms
        while True:
            channel = None if fresh else self._take_idle(key)
            if channel is not None:
                return channel
            if self._has_room(key):
                break
            await self._wait(key, until_ms)
        self._total += 1
        self._open[key] = self._open.get(key, 0) + 1
        try:
            flow = await connect()
        except BaseException:
            self.forget(key)
            raise
        self.counters["opened"] += 1
        return Channel(self, key, flow)

    def release(self, channel):
        """A request is done with its connection; it is kept where another request can follow."""
        if channel.is_closed:
            return
        if not channel.http.is_reusable or not self.idle_ms:
            create_task(channel.close())
            return
        channel.is_idle = True
        channel.expect(self.idle_ms)
        self._idle.append(channel)
        self._wake()

    def forget(self, key):
        """A connection to there is no more."""
        self._total -= 1
        count = self._open[key] - 1
        if count:
            self._open[key] = count
        else:
            del self._open[key]
        self._wake()

    def take_out(self, channel):
        channel.is_idle = False
        self._idle.remove(channel)

    async def close(self):
        """Ends all connections that nobody uses."""
        while self._idle:
            channel = self._idle[-1]
            self.take_out(channel)
            await channel.close()

    def _take_idle(self, key):
        for index in range(len(self._idle) - 1, -1, -1):
            channel = self._idle[index]
            if channel.key == key:
                self.take_out(channel)
                if channel.is_alive():
                    self.counters["reused"] += 1
                    return channel
                self.counters["stale"] += 1
                channel.abort()
        return None

    def _drop(self, channel):
        self.take_out(channel)
        channel.abort()

    def _has_room(self, key):
        """Whether one may be opened. The one that is idle for longest makes room where there are too many in all."""
        if self._open.get(key, 0) >= self.most_per_origin:
            return False
        if self._total >= self.most and self._idle:
            self._drop(self._idle[0])
        return self._total < self.most

    async def _wait(self, key, until_ms):
        if len(self._waiters) >= self.max_waiting:
            raise too_much("pool", "%d requests wait for a connection" % self.max_waiting)
        left_ms = until_ms - self.clock.now_ms()
        if left_ms <= 0:
            raise timed_out("pool")
        waiter = _Waiter(key)
        self._waiters.append(waiter)
        watch = create_task(self._expire(waiter, left_ms))
        try:
            await waiter.event.wait()
        except BaseException:
            if waiter in self._waiters:
                self._waiters.remove(waiter)
            else:
                self._wake()  # it was this one's turn
            raise
        finally:
            watch.cancel()
        if waiter.is_late:
            raise timed_out("pool")

    async def _expire(self, waiter, timeout_ms):
        await self.clock.sleep_ms(timeout_ms)
        if waiter in self._waiters:
            self._waiters.remove(waiter)
            waiter.is_late = True
            waiter.event.set()

    def _wake(self):
        """The first that may go on. It looks again, and waits again where another one was quicker."""
        for waiter in self._waiters:
            key = waiter.key
            if self._open.get(key, 0) < self.most_per_origin or any(channel.key == key for channel in self._idle):
                self._waiters.remove(waiter)
                waiter.event.set()
                return
