# SPDX-License-Identifier: MIT
"""The application's network face over our own stack: `stack.tcp`, `stack.udp`, flows. app.socket_stack has the same."""

import asyncio
from asyncio import core
from errno import ECONNABORTED, ETIMEDOUT
from time import ticks_add, ticks_ms

from .device_log import DeviceLog
from .flow import READ_TWICE, Alarm, Waiters, guarded, serve, warn_of_listeners
from .stats import Stats

_CONNECT_TIMEOUT_MS = 30000


class Flow(Waiters):
    """A TCP connection. local, remote: (ip, port); error: the errno that ended it, or None.

    One task may read while another one writes.
    """

    def __init__(self, conn):
        self.reader = None
        self.writer = None
        self._conn = conn
        self._is_closed = False
        conn.on_readable = self.wake_reader
        conn.on_writable = self.wake_writer

    def __getattr__(self, name):
        if name in ("local", "remote", "error"):
            return getattr(self._conn, name)
        raise AttributeError(name)

    # async
    def read(self, n=65536):
        """Waits for data and returns up to n octets of it; b"" at the end.

        Raises OSError with ECONNRESET, ETIMEDOUT … when the connection failed, ECONNABORTED when it was closed here.
        """
        conn = self._conn
        while True:
            data = conn.read(n)
            if data:
                return data
            if self._is_closed:
                raise OSError(ECONNABORTED)
            if conn.is_eof:
                return b""
            if conn.error is not None:
                raise OSError(conn.error)
            if conn.state == 0 or n <= 0:
                return b""
            # wait_readable(), without another generator: this is how every segment is waited for.
            if self.reader is not None:
                raise RuntimeError(READ_TWICE)
            self.reader = core.cur_task
            core.cur_task.data = self
            yield

    async def write(self, data):
        """Queues all of `data`; returns when the send buffer has taken it. Raises OSError as read() does."""
        conn = self._conn
        count = conn.write(data)
        total = len(data)
        while count < total:
            try:
                await self.wait_writable()
            except core.CancelledError:
                self.unsent = bytes(memoryview(data)[count:])
                raise
            count += conn.write(data, count)

    def read_now(self, n):
        """What read() would return without waiting; None where it would wait. Raises OSError as read() does."""
        conn = self._conn
        data = conn.read(n)
        if data or conn.is_eof:
            return data
        if conn.error is not None or self._is_closed:
            raise OSError(conn.error or ECONNABORTED)
        return b"" if conn.state == 0 else None

    def shutdown_write(self):
        """Sends the end after what was written; reading goes on."""
        self._conn.close()

    def set_no_delay(self, is_on):
        """Sends small segments at once (True), or not while others are under way (Nagle; False, the default)."""
        self._conn.set_no_delay(is_on)

    def set_keepalive(self, idle_ms):
        """Asks a silent peer after idle_ms whether it is there: nine times, then ETIMEDOUT. 0: never, the default."""
        self._conn.set_keepalive(idle_ms)

    def set_user_timeout(self, timeout_ms):
        """ETIMEDOUT when nothing written was acknowledged for so long (RFC 9293 section 3.9.1.8); 0: the default."""
        self._conn.set_user_timeout(timeout_ms)

    async def close(self, linger_ms=None):
        """Closes both sides; what was written is still sent. Unread data resets the connection (RFC 2525).

        linger_ms: None returns at once. Else waits so long until the peer has acknowledged everything, and resets the
        connection if it has not; 0 resets it at once. Returns False when the connection was reset, by either side.
        """
        self._is_closed = True
        conn = self._conn
        alarm = Alarm()
        if linger_ms:
            conn.on_flushed = alarm.wake
        if linger_ms == 0:
            conn.abort()
        else:
            conn.detach()
        self.wake_reader()
        self.wake_writer()
        # Nobody tells us when the peer has everything already: CLOSED and FIN_WAIT_2 of net.tcp.states.
        is_flushed = conn.state in (0, 6)
        if linger_ms and not is_flushed and not await alarm.sleep_until(ticks_add(ticks_ms(), linger_ms)):
            conn.give_up()
        return conn.error is None

    def abort(self):
        """Resets the connection; what was written may be lost."""
        self._is_closed = True
        self._conn.abort()
        self.wake_reader()
        self.wake_writer()


class _Tcp:
    """stack.tcp"""

    def __init__(self, stack):
        self._stack = stack
        self._tcp = stack.netstack.tcp

    def ports(self):
        """Those that are listened on."""
        return sorted(self._tcp.listeners)

    def listen(self, port, handler, backlog=128):
        """Runs `handler(flow)` (async def) in a task of its own for each connection to `port`.

        The flow is closed when the handler returns, and aborted when it raises. Raises OSError(EADDRINUSE).
        """
        log = self._stack.log

        def accept(conn):
            try:
                core.create_task(serve(Flow(conn), handler, log))
            except MemoryError:
                conn.abort()
                raise

        self._tcp.listen(port, accept, backlog)
        log.info("tcp", "listening on tcp port %d" % port)

    def unlisten(self, port):
        """Accepts no more; connections live on. KeyError when nobody listens."""
        self._tcp.unlisten(port)

    async def connect(self, ip, port, timeout_ms=_CONNECT_TIMEOUT_MS):
        """Connects to ("10.0.0.1", port). Returns a Flow. Waits for an address of ours first, where there is none yet.

        Raises OSError: ETIMEDOUT, ECONNREFUSED, EHOSTUNREACH …; ValueError for what is no address.
        """
        deadline_ms = ticks_add(ticks_ms(), timeout_ms)
        addressing = self._stack.addressing
        if addressing is not None and not await addressing.wait_for(ip, timeout_ms):
            raise OSError(ETIMEDOUT)
        conn = self._tcp.connect(ip, port, self._stack.loop.now_ms())
        alarm = Alarm()
        conn.on_writable = alarm.wake  # established, or failed
        try:
            is_woken = await alarm.sleep_until(deadline_ms)
        except BaseException:
            conn.abort()
            raise
        if conn.error is not None:
            raise OSError(conn.error)
        if not is_woken:
            conn.abort()
            raise OSError(ETIMEDOUT)
        return Flow(conn)


class _Udp:
    """stack.udp"""

    def __init__(self, stack):
        self._stack = stack
        self._udp = stack.netstack.udp

    def listen(self, port, callback, on_error=None):
        """Gives datagrams to `port` to callback(data, src_ip, src_port).

        on_error(error, dst_ip, dst_port): ICMP says that a datagram from this port did not arrive; of net.errors.
        """
        log = self._stack.log
        self._udp.listen(port, guarded(callback, log), None if on_error is None else guarded(on_error, log))
        self._stack.log.info("udp", "listening on udp port %d" % port)

    def open(self, port, callback):
        """The same for a port that is only ours for a moment: no line in the log. False when it is taken."""
        try:
            self._udp.listen(port, callback)
        except ValueError:
            return False
        return True

    def unlisten(self, port):
        self._udp.unlisten(port)

    def join(self, group):
        """Receives what is sent to a multicast group ("239.1.2.3"). Joined twice, it is left twice."""
        self._udp.join(group)

    def leave(self, group):
        """Takes back one `join`. KeyError when there was none."""
        self._udp.leave(group)

    def write(self, data, dst_ip, dst_port, src_port):
        """Sends a datagram. False when it could not be queued; ValueError when it is too large or misaddressed."""
        return self._udp.write(data, dst_ip, dst_port, src_port, self._stack.loop.now_ms())


class Stack:
    """netstack: net.stack.NetStack; loop: hal.loop.EventLoop, to which main attached the netstack; log: app.log.Log.

    addressing: app.addressing.Addressing, None where the address was there from the start.
    stats: None, or how often the counters are printed, in milliseconds; 0: only at the end.
    more_counters: name -> counters of what an application has on top, for `counters`.
    """

    def __init__(self, netstack, loop, log, addressing=None, stats=None):
        self.netstack = netstack
        self.loop = loop
        self.log = log
        self.addressing = addressing
        self.tcp = _Tcp(self)
        self.udp = _Udp(self)
        self.more_counters = {}
        loop.returned.append(self._warn_of_listeners)
        if addressing is not None:
            loop.exits.append(addressing.release)
        DeviceLog(netstack.device, log)
        if stats is not None:
            Stats(self, loop, log.console, stats)

    async def wait_until_up(self, timeout_ms=None):
        """Returns True when there is an address to connect from; False when timeout_ms have passed without one."""
        return self.addressing is None or await self.addressing.wait_until_up(timeout_ms)

    def _warn_of_listeners(self):
        warn_of_listeners(self)

    def is_settled(self):
        """False while an answer of DHCP may come: then name servers may be named soon."""
        return self.addressing is None or self.addressing.is_settled

    def families(self):
        """The IP versions that there are: 4, 6."""
        tcp = self.netstack.tcp
        has_ipv4 = tcp.ipv4 is not None and not (self.addressing is not None and self.addressing.ipv6_only)
        has_ipv6 = tcp.ipv6 is not None and tcp.ipv6.is_enabled
        return ([4] if has_ipv4 else []) + ([6] if has_ipv6 else [])

    def resolvers(self):
        """The name servers that the network has told us of, as text."""
        return [] if self.addressing is None else self.addressing.resolvers()

    def __getattr__(self, name):
        """counters: protocol name -> (counter name -> value)."""
        if name != "counters":
            raise AttributeError(name)
        counters = dict(self.netstack.counters)
        counters.update(self.more_counters)
        return counters

    async def listen(self):
        """Serves until the image ends."""
        await asyncio.Event().wait()
