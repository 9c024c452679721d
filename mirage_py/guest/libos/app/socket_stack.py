# SPDX-License-Identifier: MIT
"""The application's network face over the system's sockets: app.stack's, method for method."""

import asyncio
from asyncio import core
from errno import ECONNABORTED, EOPNOTSUPP, ETIMEDOUT
from time import ticks_add, ticks_diff, ticks_ms

from .flow import READ_TWICE, Alarm, Waiters, guarded, serve, warn_of_listeners
from .stats import Stats

_CONNECT_TIMEOUT_MS = 30000
_ACCEPTS_AT_ONCE = 64
_DATAGRAMS_AT_ONCE = 64
_LINGER_STEP_MS = 10
_NO_DELAY = 1  # hal.sockets
_KEEPALIVE_MS = 2
_USER_TIMEOUT_MS = 3
_ACCEPT_RETRY_MS = 100  # when the system has no descriptors left


class SocketFlow(Waiters):
    """A TCP connection of the system; see app.stack.Flow."""

    is_copying = True

    def __init__(self, sockets, fd, remote):
        self.reader = None
        self.writer = None
        self.error = None
        self.remote = remote
        self._is_closing = False
        self._sockets = sockets
        self._fd = fd
        sockets.watch(fd, self)

    def __getattr__(self, name):
        if name == "local":
            names = self._sockets.names(self._fd)
            return (names[0], names[1])
        raise AttributeError(name)

    def on_events(self, events):
        if events & 1 and self.reader is not None:
            self.wake_reader()
        if events & 2 and self.writer is not None:
            self.wake_writer()

    # async
    def read(self, n=65536):
        recv = self._sockets.recv
        if n <= 0:
            return b""
        while True:
            if self._fd < 0:
                raise OSError(ECONNABORTED)
            try:
                data = recv(self._fd, n)
            except OSError as error:
                self.error = error.errno
                raise
            if data is not None:
                return data
            if self.reader is not None:
                raise RuntimeError(READ_TWICE)
            self.reader = core.cur_task
            core.cur_task.data = self
            yield

    async def write(self, data):
        send = self._sockets.send
        start = 0
        total = len(data)
        while start < total:
            if self._fd < 0:
                raise OSError(ECONNABORTED)
            try:
                count = send(self._fd, data, start)
            except OSError as error:
                if self._is_closing:
                    raise OSError(ECONNABORTED)
                self.error = error.errno
                raise
            if count > 0:
                start += count
                continue
            try:
                await self.wait_writable()
            except core.CancelledError:
                self.unsent = bytes(memoryview(data)[start:])
                raise

    def read_now(self, n):
        if self._fd < 0:
            raise OSError(ECONNABORTED)
        return self._sockets.recv(self._fd, n)

    def shutdown_write(self):
        if self._fd >= 0:
            try:
                self._sockets.shutdown(self._fd, 1)
            except OSError:
                pass  # the peer has reset the connection: reading will say so

    def set_no_delay(self, is_on):
        self._option(_NO_DELAY, 1 if is_on else 0)

    def set_keepalive(self, idle_ms):
        self._option(_KEEPALIVE_MS, idle_ms)

    def set_user_timeout(self, timeout_ms):
        self._option(_USER_TIMEOUT_MS, timeout_ms)

    def _option(self, which, value):
        if self._fd >= 0:
            self._sockets.option(self._fd, which, value)

    async def close(self, linger_ms=None):
        is_abort = linger_ms == 0
        if linger_ms and self._fd >= 0:
            is_abort = not await self._linger(linger_ms)
        self._close(is_abort)
        return not is_abort

    async def _linger(self, linger_ms):
        """Sends the end, and waits until the peer has acknowledged it. The system has no event for that."""
        sockets = self._sockets
        deadline_ms = ticks_add(ticks_ms(), linger_ms)
        self._is_closing = True
        self.shutdown_write()
        while self._fd >= 0 and not sockets.error(self._fd):
            if not sockets.unacked(self._fd):
                return True
            if ticks_diff(deadline_ms, ticks_ms()) <= 0:
                return False
            await asyncio.sleep_ms(_LINGER_STEP_MS)
        return False

    def abort(self):
        self._close(True)

    def _close(self, abort):
        if self._fd >= 0:
            fd = self._fd
            self._fd = -1
            self._sockets.close(fd, abort)
            self.wake_reader()
            self.wake_writer()


class _Listener:
    """A listening socket: a task for each connection."""

    def __init__(self, stack, fd, handler):
        self._stack = stack
        self._fd = fd
        self._handler = handler
        self._is_open = True
        stack.sockets.watch(fd, self)

    def on_events(self, _events):
        sockets = self._stack.sockets
        for _ in range(_ACCEPTS_AT_ONCE):
            if not self._is_open:
                return
            try:
                accepted = sockets.accept(self._fd)
            except OSError as error:
                self._stack.log.warning("tcp", "accept: %s" % error)
                sockets.call_later(self, _ACCEPT_RETRY_MS)
                return
            if accepted is None:
                return
            fd, ip, port = accepted
            self._stack.counters["tcp"]["PassiveOpens"] += 1
            flow = SocketFlow(sockets, fd, (ip, port))
            core.create_task(serve(flow, self._handler, self._stack.log))
        sockets.call_again(self)

    def close(self):
        self._is_open = False
        self._stack.sockets.close(self._fd)


class _Attempt(Alarm):
    """A connection being made: it becomes writable when it is, or when it failed."""

    def on_events(self, events):
        if events & 2:
            self.wake()


class _Tcp:
    """stack.tcp"""

    def __init__(self, stack):
        self._stack = stack
        self._listeners = {}

    def ports(self):
        return sorted(self._listeners)

    def listen(self, port, handler, backlog=128):
        stack = self._stack
        fd = stack.sockets.listen_tcp("", port, backlog)
        self._listeners[port] = _Listener(stack, fd, handler)
        stack.log.info("tcp", "listening on tcp port %d" % port)

    def unlisten(self, port):
        self._listeners.pop(port).close()

    async def connect(self, ip, port, timeout_ms=_CONNECT_TIMEOUT_MS):
        deadline_ms = ticks_add(ticks_ms(), timeout_ms)
        sockets = self._stack.sockets
        counters = self._stack.counters["tcp"]
        counters["ActiveOpens"] += 1
        fd = sockets.connect(ip, port)
        attempt = _Attempt()
        sockets.watch(fd, attempt)
        try:
            is_woken = await attempt.sleep_until(deadline_ms)
            error = sockets.error(fd) if is_woken else ETIMEDOUT
            if error:
                raise OSError(error)
            return SocketFlow(sockets, fd, (ip, port))
        except BaseException:
            counters["AttemptFails"] += 1
            sockets.close(fd, True)
            raise


class _Udp:
    """stack.udp"""

    def __init__(self, stack):
        self._stack = stack
        self._ports = {}

    def listen(self, port, callback, on_error=None):
        # The system tells of errors only where a socket is connected: on_error is never called.
        known = self._ports.get(port)
        if known is not None and known.callback is not None:
            raise ValueError("UDP port %d is taken" % port)
        self._open(port).callback = guarded(callback, self._stack.log)
        self._stack.log.info("udp", "listening on udp port %d" % port)

    def open(self, port, callback):
        """The same for a port that is only ours for a moment: no line in the log. False when it is taken."""
        if port in self._ports:
            return False
        try:
            self._open(port).callback = callback
        except OSError:
            return False
        return True

    def join(self, group):
        raise OSError(EOPNOTSUPP)  # multicast needs our own stack

    leave = join

    def unlisten(self, port):
        self._ports.pop(port).close()

    def write(self, data, dst_ip, dst_port, src_port):
        if dst_port == 0:
            return False  # as our own stack: where a datagram that wants no answer comes from (RFC 768)
        if not (1 <= dst_port <= 65535 and 1 <= src_port <= 65535):
            raise ValueError("not a UDP port")
        return self._open(src_port).send(data, dst_ip, dst_port)

    def _open(self, port):
        bound = self._ports.get(port)
        if bound is None:
            bound = self._ports[port] = _Port(self._stack.sockets, port, self._stack.counters["udp"])
        return bound


class _Port:
    """A bound UDP socket. callback: who gets its datagrams; without one they are dropped."""

    def __init__(self, sockets, port, counters):
        self.callback = None
        self._counters = counters
        self._sockets = sockets
        self._fd = sockets.listen_udp("", port)
        sockets.watch(self._fd, self)

    def on_events(self, events):
        if not events & 1:
            return
        for _ in range(_DATAGRAMS_AT_ONCE):
            if self._fd < 0:
                return
            try:
                datagram = self._sockets.recvfrom(self._fd, 65535)
            except OSError:
                self._counters["InErrors"] += 1
                continue  # an ICMP error for something sent earlier; reading it has cleared it
            if datagram is None:
                return
            if self.callback is None:
                self._counters["NoPorts"] += 1
            else:
                self._counters["InDatagrams"] += 1
                self.callback(datagram[0], datagram[1], datagram[2])
        self._sockets.call_again(self)

    def send(self, data, dst_ip, dst_port):
        try:
            is_sent = self._sockets.sendto(self._fd, data, dst_ip, dst_port) >= 0
        except OSError:
            is_sent = False
        self._counters["OutDatagrams" if is_sent else "OutErrors"] += 1
        return is_sent

    def close(self):
        fd = self._fd
        self._fd = -1
        self._sockets.close(fd)


class SocketStack:
    """sockets: hal.sockets.Sockets; loop: hal.loop.EventLoop, to which main attached the sockets; log: app.log.Log.

    counters: those of app.stack that can be known here. stats: as there.
    """

    def __init__(self, sockets, loop, log, stats=None):
        self.sockets = sockets
        self.loop = loop
        self.log = log
        self.counters = self.more_counters = {
            "tcp": {"ActiveOpens": 0, "PassiveOpens": 0, "AttemptFails": 0},  # RFC 4022
            "udp": {"InDatagrams": 0, "NoPorts": 0, "InErrors": 0, "OutDatagrams": 0, "OutErrors": 0},  # RFC 4113
        }
        self.tcp = _Tcp(self)
        self.udp = _Udp(self)
        loop.returned.append(self._warn_of_listeners)
        if stats is not None:
            Stats(self, loop, log.console, stats)

    async def wait_until_up(self, timeout_ms=None):
        """True: the system has its addresses."""
        return True

    def _warn_of_listeners(self):
        warn_of_listeners(self)

    def is_settled(self):
        """True: nothing more will be known."""
        return True

    def families(self):
        """The IP versions that there may be: 4, 6."""
        return [4, 6]

    def resolvers(self):
        """None: those of the system are in its files, which an image cannot read."""
        return []

    async def listen(self):
        """Serves until the image ends."""
        await asyncio.Event().wait()
