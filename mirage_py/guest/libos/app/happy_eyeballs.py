# SPDX-License-Identifier: MIT
"""Happy Eyeballs (RFC 8305): connects to a name by whichever of its addresses answers first, IPv6 preferred.

Both families are looked up at once. Connections are attempted to the addresses in turn, one family after the other,
each a while after the one before unless that failed already; the first that is established is kept, the rest end.
"""

from asyncio import core
from errno import ETIMEDOUT
from time import ticks_add, ticks_diff, ticks_ms

from .dns import is_numeric
from .flow import Alarm

RESOLUTION_DELAY_MS = 50  # RFC 8305 section 8: how long IPv4 waits for the name's IPv6 addresses
ATTEMPT_DELAY_MS = 250
MAX_ADDRESSES = 12  # that are tried; with all of them silent that is three seconds of attempts
_CONNECT_TIMEOUT_MS = 30000


class HappyEyeballs:
    """stack: what connects; dns: app.dns.DnsClient, what resolves."""

    def __init__(self, stack, dns):
        self.stack = stack
        self.dns = dns

    async def connect(self, host, port, timeout_ms=_CONNECT_TIMEOUT_MS):
        """Connects to a name or a numeric address. Returns a flow, as stack.tcp.connect does.

        Raises OSError: of the last attempt that failed, ETIMEDOUT, or ResolveError; ValueError for what is no host.
        """
        if is_numeric(host):
            return await self.stack.tcp.connect(host, port, timeout_ms)
        race = _Race(self.stack, port, ticks_add(ticks_ms(), timeout_ms))
        try:
            return await race.run(self.dns, host)
        finally:
            race.end()


class _Race:
    """One connect: its lookups, its addresses, its attempts."""

    def __init__(self, stack, port, deadline_ms):
        self._stack = stack
        self._port = port
        self._deadline_ms = deadline_ms
        self._waiting = {4: [], 6: []}  # addresses that have not been tried
        self._looking_up = set()  # families whose addresses are to come
        self._tasks = []
        self._attempts = 0
        self._running = 0
        self._last_family = 4  # so that IPv6 is first
        self._winner = None
        self._is_taken = False
        self._error = None
        self._alarm = Alarm()

    async def run(self, dns, host):
        """Until a connection is there, or everything failed."""
        families = self._stack.families()
        self._looking_up = set(families)
        for family in families:
            self._start(self._look_up(dns, host, family))
        not_before_ms = ticks_ms()  # for the next attempt
        preferred_ms = None  # until when IPv4 waits for IPv6
        while True:
            self._alarm = Alarm()
            now_ms = ticks_ms()
            if self._winner is not None:
                self._is_taken = True
                return self._winner
            if ticks_diff(self._deadline_ms, now_ms) <= 0:
                raise OSError(ETIMEDOUT)
            has_any = bool(self._waiting[4] or self._waiting[6])
            if not has_any and not self._looking_up and not self._running:
                raise self._error
            until_ms = self._deadline_ms
            if has_any and 6 in self._looking_up and not self._attempts:
                if preferred_ms is None:
                    preferred_ms = ticks_add(now_ms, RESOLUTION_DELAY_MS)
                if ticks_diff(preferred_ms, now_ms) > 0:
                    has_any = False
                    until_ms = preferred_ms
            if has_any:
                # An attempt that has failed leaves its turn to the next one.
                if not self._running or ticks_diff(not_before_ms, now_ms) <= 0:
                    self._attempt()
                    not_before_ms = ticks_add(now_ms, ATTEMPT_DELAY_MS)
                    continue
                until_ms = not_before_ms
            if ticks_diff(until_ms, self._deadline_ms) > 0:
                until_ms = self._deadline_ms
            await self._alarm.sleep_until(until_ms)

    def _start(self, coroutine):
        self._tasks.append(core.create_task(coroutine))

    async def _look_up(self, dns, host, family):
        try:
            addresses = await dns.addresses(host, family)
            self._waiting[family] = addresses[:MAX_ADDRESSES]
        except (OSError, ValueError) as error:
            if self._error is None or family == 4:
                self._error = error
        finally:
            self._looking_up.discard(family)
            self._alarm.wake()

    def _attempt(self):
        """The next address, of the other family than the last one where that has any."""
        family = 10 - self._last_family
        if not self._waiting[family]:
            family = self._last_family
        self._last_family = family
        address = self._waiting[family].pop(0)
        self._attempts += 1
        if self._attempts >= MAX_ADDRESSES:
            self._waiting = {4: [], 6: []}
        self._running += 1
        self._start(self._connect(address))

    async def _connect(self, address):
        flow = None
        try:
            remaining_ms = max(ticks_diff(self._deadline_ms, ticks_ms()), 1)
            flow = await self._stack.tcp.connect(address, self._port, remaining_ms)
        except (OSError, ValueError) as error:
            self._error = error
        finally:
            self._running -= 1
            self._alarm.wake()
        if flow is not None:
            if self._winner is None:
                self._winner = flow
            else:
                flow.abort()

    def end(self):
        """Nothing goes on behind the caller's back; a connection that nobody will have is reset."""
        for task in self._tasks:
            if not task.done():
                task.cancel()
        if self._winner is not None and not self._is_taken:
            self._winner.abort()
