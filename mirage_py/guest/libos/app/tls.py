# SPDX-License-Identifier: MIT
"""TLS over any flow, and over any stack: the engines of libos.tls, which do no I/O, between an application and a flow.

A TlsFlow has all that a flow has (docs/architecture.md), a TlsStack all that a stack has. Neither knows which version
is spoken, nor how: an engine takes what came (`receive_data`), and has what is to be sent (`take_output`).
"""

from asyncio import core, sleep_ms
from errno import ECONNABORTED, ETIMEDOUT
from time import ticks_add, ticks_diff, ticks_ms

from micropython import const

from .flow import WRITE_TWICE, serve

_TLS13 = const(0x0304)
_EPROTO = const(71)  # a flow's `error` when TLS failed
_READ_BYTES = const(65536)
# What is sealed before it goes down: four records.
_WRITE_BYTES = const(65536)
# Records from this size on are handed down one by one.
_LARGE = const(8192)
# Answers that wait for a peer that does not read: above this nothing more is read from it.
_MAX_PENDING = const(2048)
# So many reads in a row that brought no data, and others get their turn.
_IDLE_READS = const(16)
_CLOSE_MS = const(5000)
# What a peer may send, and how long, until it has seen our alert.
_ALERT_MS = const(1000)
_DRAIN_BYTES = const(262144)
_CONNECT_TIMEOUT_MS = const(30000)
_HANDSHAKE_TIMEOUT_MS = const(10000)
_MAX_SESSIONS = const(32)
# A clock that is before 2025 has not been set.
_WALL_KNOWN_S = const(1735689600)


def write_now(flow, data):
    """Writes what the send buffer of a flow takes without waiting; returns the rest. Nobody else may be writing."""
    task = core.cur_task
    coroutine = flow.write(data)
    try:
        coroutine.send(None)
    except StopIteration:
        return b""
    # It waits, on our behalf: taken back, as if this task had been cancelled there.
    flow.remove(task)
    task.data = None
    try:
        coroutine.throw(core.CancelledError())
    except core.CancelledError:
        pass
    return flow.unsent


class TlsFlow:
    """A flow that is encrypted. tls: its engine. Everything else as app.stack.Flow has it, but for:

    - Reading raises TlsError, an OSError, where TLS failed, and where the connection ended without close_notify: that
      is no orderly end (RFC 8446 section 6.1). `error` is EPROTO then.
    - close() with a send buffer that is full waits for it, five seconds at most: close_notify goes with the data.
    - A write() that is cancelled leaves `unsent` what has not been encrypted; the rest still goes out.
    """

    unsent = b""
    on_end = None  # called once with the engine when the flow is closed or aborted
    until_ms = 0  # for HalfOpen
    is_drained = False
    why = None  # the errno that ended a handshake from here

    def __init__(self, flow, engine):
        self.tls = engine
        self._flow = flow
        self._pending = b""  # encrypted, and not in the send buffer below: goes before all else
        self._at = 0  # octets of tls.data[0] that have been read
        self._is_writing = False  # a task is in write()
        self._is_flushing = False  # a task of ours sends what is pending
        self._is_closed = False

    def __getattr__(self, name):
        value = getattr(self._flow, name)
        if name == "error" and value is None and self.tls.error is not None:
            return _EPROTO
        return value

    # --- the handshake ---

    async def handshake(self):
        """Until it is done. Raises OSError: TlsError where TLS failed. An alert that is due has been written then."""
        flow = self._flow
        tls = self.tls
        out = tls.take_output()
        is_server = not out
        try:
            while tls.error is None:
                if out:
                    await flow.write(out)
                tls.receive_data(await flow.read(_READ_BYTES))
                out = tls.take_output()
                if tls.is_established and tls.error is None:
                    if is_server and tls.version == _TLS13:
                        self._pending = out  # tickets: they go with the first data
                    elif out:
                        await flow.write(out)
                    return
        except OSError:
            if self.why is not None:
                raise OSError(self.why)
            raise
        self._fail(out)
        raise tls.error

    # --- reading ---

    async def read(self, n=65536):
        tls = self.tls
        if n <= 0:
            return b""
        idle = 0
        while not tls.data:
            if self._is_closed:
                raise OSError(ECONNABORTED)
            if tls.error is not None:
                raise tls.error
            if tls.is_peer_closed:
                return b""
            while len(self._pending) > _MAX_PENDING and (self._is_flushing or self._is_writing):
                await sleep_ms(20)
            # No wait after this one: a read that is cancelled has taken nothing.
            self._receive(await self._flow.read(_READ_BYTES))
            idle += 1
            if idle > _IDLE_READS and not tls.data:
                idle = 0
                await sleep_ms(0)
        return self._take(n)

    def read_now(self, n):
        tls = self.tls
        while not tls.data:
            if self._is_closed:
                raise OSError(ECONNABORTED)
            if tls.error is not None:
                raise tls.error
            if tls.is_peer_closed:
                return b""
            data = self._flow.read_now(_READ_BYTES)
            if data is None:
                return None
            self._receive(data)
        return self._take(n)

    def _take(self, n):
        chunks = self.tls.data
        chunk = chunks[0]
        at = self._at
        if len(chunk) - at <= n:
            if at:
                chunk = chunk[at:]
            self._at = 0
            chunks.pop(0)
            return chunk
        part = chunk[at : at + n]
        self._at = at + n
        return part

    def _receive(self, data):
        """What came from below; b"" for its end."""
        tls = self.tls
        tls.receive_data(data)
        out = tls.take_output()
        if tls.error is not None:
            self._fail(out)
        elif out:
            self._send_soon(out)

    def _fail(self, alert):
        """TLS has failed. The peer learns why, if the send buffer takes the alert at once, and sees our side end."""
        self._send_soon(alert, False)
        self._flow.shutdown_write()

    async def drain(self):
        """After a failure that the peer has been told of: closes when it has closed; soon if it does not.

        What comes until then is thrown away: unread, it would reset the connection, and the alert might be lost.
        """
        flow = self._flow
        error = self.tls.error
        if error is None or error.is_remote or self.is_drained or not error.alert:
            return
        self.is_drained = True
        watch = core.create_task(_reset(flow, _ALERT_MS))
        try:
            left = _DRAIN_BYTES
            while left > 0 and (data := await flow.read(_READ_BYTES)):
                left -= len(data)
        except OSError:
            pass
        finally:
            watch.cancel()
        await flow.close()

    # --- writing ---

    async def write(self, data):
        if self._is_writing:
            raise RuntimeError(WRITE_TWICE)
        tls = self.tls
        if tls.is_closed:
            raise tls.error or OSError(ECONNABORTED)
        flow = self._flow
        total = len(data)
        start = 0
        is_below = False
        discard = tls.crypto.discard if total >= _LARGE and getattr(flow, "is_copying", False) else None
        self._is_writing = True
        try:
            while start < total or self._pending or tls.output:
                while self._is_flushing:
                    await sleep_ms(10)
                if start < total and not tls.output:
                    if tls.error is not None:
                        raise tls.error
                    part = data
                    if total > _WRITE_BYTES:
                        part = memoryview(data)[start : start + _WRITE_BYTES]
                    tls.send(part)
                    start += len(part)
                output = tls.output
                if self._pending:
                    out = self._pending
                    self._pending = b""
                    if output and len(output[0]) < _LARGE:
                        out += tls.take_output()
                elif len(output) > 1 and len(output[0]) >= _LARGE:
                    # Of TLS 1.2, one after the other: to join them costs a copy, and twice the garbage.
                    out = output.pop(0)
                else:
                    out = tls.take_output()
                is_below = True
                await flow.write(out)
                is_below = False
                if discard is not None:
                    discard(out)
        except core.CancelledError:
            self.unsent = bytes(memoryview(data)[start:])
            if is_below:
                self._pending = flow.unsent + self._pending
            self._pending += tls.take_output()
            self._flush_soon()
            raise
        finally:
            self._is_writing = False

    def _send_soon(self, out, is_kept=True):
        """Sends `out` behind what is pending, now or as soon as the send buffer takes it; is_kept: or never."""
        self._pending += out
        if not self._pending or self._is_writing or self._is_flushing:
            return  # whoever sends takes it along
        try:
            self._pending = write_now(self._flow, self._pending)
        except OSError:
            self._pending = b""  # the connection has failed: reading and writing say so
        if self._pending and is_kept:
            self._flush_soon()

    def _flush_soon(self):
        if self._pending and not self._is_flushing:
            self._is_flushing = True
            core.create_task(self._flush())

    async def _flush(self):
        try:
            while self._pending:
                out = self._pending
                self._pending = b""
                await self._flow.write(out)
        except OSError:
            self._pending = b""
        finally:
            self._is_flushing = False
        if self.tls.is_closed:
            self._flow.shutdown_write()

    # --- the end ---

    def shutdown_write(self):
        """close_notify after what was written, and the end of our side below; reading goes on."""
        tls = self.tls
        if tls.is_closed:
            return
        tls.close()
        self._send_soon(tls.take_output())
        if not self._pending:
            self._flow.shutdown_write()

    async def close(self, linger_ms=None):
        if linger_ms == 0:
            self.abort()
            return False
        if self._is_closed:
            return await self._flow.close(linger_ms)
        flow = self._flow
        started_ms = ticks_ms()
        is_unread = self._has_unread()
        if not is_unread and not self._is_writing:
            self.shutdown_write()
            while self._is_flushing and ticks_diff(ticks_ms(), started_ms) < (linger_ms or _CLOSE_MS):
                await sleep_ms(10)
        self._is_closed = True
        while (
            linger_ms
            and not is_unread
            and not self._has_ended()
            and ticks_diff(ticks_ms(), started_ms) < linger_ms // 2
        ):
            # The peer's close_notify would reset a connection that nobody reads.
            await sleep_ms(10)
            is_unread = self._has_unread()
        self._end()
        if is_unread and flow.error is None:
            # As a flow does it: the peer must learn that what it sent was not read (RFC 2525 section 2.17).
            flow.abort()
            return False
        return await flow.close(linger_ms and max(linger_ms - ticks_diff(ticks_ms(), started_ms), 1))

    def _has_ended(self):
        return self.tls.is_peer_closed or self.tls.error is not None or self._flow.error is not None

    def _has_unread(self):
        """Whether there is data that nobody has read. Tickets and the peer's close_notify are taken from below."""
        tls = self.tls
        try:
            while not tls.data and not self._has_ended():
                data = self._flow.read_now(_READ_BYTES)
                if data is None:
                    break
                tls.receive_data(data)
        except OSError:
            pass
        return bool(tls.data)

    def abort(self):
        """As a flow's. Where TLS failed, the alert is on its way, and nothing is reset at once: see drain()."""
        self._is_closed = True
        self._end()
        error = self.tls.error
        if error is None or error.is_remote or self.is_drained or self._flow.error is not None:
            self._flow.abort()
        elif error.alert:
            core.create_task(self.drain())
        else:
            # The peer's side has ended too early, and what we wrote may still be of use to it.
            core.create_task(self._flow.close())

    def _end(self):
        tell = self.on_end
        if tell is not None:
            self.on_end = None
            tell(self.tls)
        self.tls.data.clear()


class HalfOpen:
    """The handshakes under way, oldest first: bounded in number and in time, by one task for all of them.

    counters: half_open_dropped counts those that others had to make room for, handshake_timeouts the slow ones.
    """

    def __init__(self, limit, timeout_ms, counters):
        self._limit = limit
        self._timeout_ms = timeout_ms
        self._counters = counters
        self._flows = []
        self._is_watching = False
        counters["handshake_timeouts"] = counters["half_open_dropped"] = 0

    def __len__(self):
        return len(self._flows)

    def add(self, flow):
        # The oldest goes: who fills the table with silence pushes out himself; a client that is there is quick.
        flows = self._flows
        if len(flows) >= self._limit:
            self._drop("half_open_dropped", ECONNABORTED)
        flow.until_ms = ticks_add(ticks_ms(), self._timeout_ms)
        flows.append(flow)
        if not self._is_watching:
            self._is_watching = True
            core.create_task(self._watch())

    def remove(self, flow):
        if flow in self._flows:
            self._flows.remove(flow)

    def _drop(self, counter, why):
        flow = self._flows.pop(0)
        flow.why = why
        self._counters[counter] += 1
        flow.abort()

    async def _watch(self):
        flows = self._flows
        while flows:
            left_ms = ticks_diff(flows[0].until_ms, ticks_ms())
            if left_ms > 0:
                await sleep_ms(left_ms)
            else:
                self._drop("handshake_timeouts", ETIMEDOUT)
        self._is_watching = False


async def _reset(flow, timeout_ms):
    await sleep_ms(timeout_ms)
    flow.abort()


async def _expire(flow, timeout_ms):
    await sleep_ms(timeout_ms)
    flow.why = ETIMEDOUT
    flow.abort()


def wall_s(clock):
    """Seconds since 1970 for an engine that looks at dates; None when the machine's clock has not been set."""
    now_s = clock.wall_ns() // 1000000000
    return now_s if now_s >= _WALL_KNOWN_S else None


async def wrap(
    flow, context, server_side, hostname=None, clock=None, timeout_ms=_HANDSHAKE_TIMEOUT_MS, session=None, verify=True
):
    """TLS over a flow. context: a ServerContext or ClientContext of libos.tls; returns a TlsFlow after the handshake.

    hostname: whom a client wants to talk to, a name or an address: what the certificate must have, unless `verify` is
    False. clock: hal.clock.Clock; without one no dates are known, and a client that verifies says so. session: what
    `flow.tls.session` of an earlier connection to there was.
    Raises OSError when the handshake fails: TlsError with the reason, ETIMEDOUT. The flow below is closed then.
    """
    now_s = None if clock is None else wall_s(clock)
    if server_side:
        engine = context.engine(ticks_ms(), now_s)
    else:
        engine = context.engine(hostname, ticks_ms(), now_s, session, verify)
    tls_flow = TlsFlow(flow, engine)
    await finish(tls_flow, timeout_ms)
    return tls_flow


async def finish(tls_flow, timeout_ms):
    """The handshake of a TlsFlow within a time. OSError when it fails; the flow below is closed then."""
    watch = core.create_task(_expire(tls_flow, timeout_ms))
    try:
        await tls_flow.handshake()
    except BaseException:
        # Here, or who awaits this may reset the connection before the alert is out.
        await tls_flow.drain()
        if not tls_flow.is_drained:
            tls_flow.abort()
        raise
    finally:
        watch.cancel()


class _Tcp:
    """TlsStack.tcp"""

    def __init__(self, stack):
        self._stack = stack
        self._below = stack.below.tcp
        self.ports = self._below.ports
        self.unlisten = self._below.unlisten

    def listen(self, port, handler, backlog=128):
        """Runs `handler(flow)` for each connection to `port`, after its handshake; else as a stack's."""
        stack = self._stack
        if stack.server is None:
            raise ValueError("this TLS has no certificate: it can only connect")

        self._below.listen(port, lambda flow: stack.serve(flow, handler), backlog)

    async def connect(self, ip, port, timeout_ms=_CONNECT_TIMEOUT_MS, hostname=None, verify=True):
        """A TlsFlow to ("10.0.0.1", port). hostname: whom its certificate must name; without one it is the address."""
        started_ms = ticks_ms()
        flow = await self._below.connect(ip, port, timeout_ms)
        left_ms = timeout_ms - ticks_diff(ticks_ms(), started_ms)
        return await self._stack.wrap(flow, hostname or ip, left_ms if left_ms > 1 else 1, verify)


class TlsStack:
    """A stack whose connections are encrypted; datagrams are not. Over another stack, `below`.

    log: app.log.Log; clock: hal.clock.Clock; server: libos.tls' ServerContext, None where nothing is served; client:
    ClientContext, None where nothing is connected to. Sessions of clients are kept, the newest of each server's, and
    resumed once.
    timeout_ms: what a handshake of a client that connects to us may take; half_open: how many there may be at once. The
    oldest makes room.
    """

    def __init__(self, stack, log, clock, server=None, client=None, timeout_ms=_HANDSHAKE_TIMEOUT_MS, half_open=256):
        self.below = stack
        self.log = log
        self.clock = clock
        self.server = server
        self.client = client
        self.tcp = _Tcp(self)
        self.udp = stack.udp
        self._sessions = {}
        if server is not None:
            self.half_open = HalfOpen(half_open, timeout_ms, server.counters)
            stack.more_counters["tls"] = server.counters
        if client is not None:
            stack.more_counters["tls" if server is None else "tls_client"] = client.counters

    def __getattr__(self, name):
        return getattr(self.below, name)

    async def listen(self):
        """Serves until the image ends."""
        await self.below.listen()

    def replace(self, credentials):
        """New connections get these certificates: a list of libos.tls.credential.Credential. The others go on."""
        self.server.replace(credentials)

    async def accept(self, flow):
        """A TlsFlow of a flow that a client has opened, after the handshake; None when there was none."""
        tls_flow = TlsFlow(flow, self.server.engine(ticks_ms(), wall_s(self.clock)))
        half_open = self.half_open
        half_open.add(tls_flow)
        try:
            await tls_flow.handshake()
            return tls_flow
        except OSError as error:
            if self.log.is_enabled("tls", 3):
                self.log.debug("tls", "%s:%d: %s" % (flow.remote[0], flow.remote[1], error))
            await tls_flow.drain()
            return None
        except BaseException:
            tls_flow.abort()
            raise
        finally:
            half_open.remove(tls_flow)

    async def serve(self, flow, handler):
        """handler(flow) for a client that has connected, after the handshake."""
        tls_flow = await self.accept(flow)
        if tls_flow is not None:
            await serve(tls_flow, handler, self.log)
            await tls_flow.drain()

    async def wrap(self, flow, hostname, timeout_ms=_CONNECT_TIMEOUT_MS, verify=True):
        """A TlsFlow over a flow that goes to `hostname`, after the handshake. OSError as `wrap` above."""
        if self.client is None:
            await flow.close()
            raise ValueError("this TLS trusts nobody: it can only listen")
        sessions = self._sessions
        key = (hostname, flow.remote[1], verify)
        session = sessions.pop(key, None)
        tls_flow = await wrap(flow, self.client, False, hostname, self.clock, timeout_ms, session, verify)

        def keep(engine):
            session = engine.session
            if session is not None:
                if key not in sessions and len(sessions) >= _MAX_SESSIONS:
                    sessions.pop(next(iter(sessions)))
                sessions[key] = session

        tls_flow.on_end = keep
        return tls_flow
