# SPDX-License-Identifier: MIT
"""asyncio's streams over a stack: start_server and open_connection for MicroPython packages that bring their own.

Behaves as extmod/asyncio/stream.py does, whose interface this is, also in what differs from CPython: write() buffers,
drain() sends; reader and writer are one object; hosts are numeric addresses, unless there is a resolver.
"""

import asyncio
from asyncio import core

from .flow import started

_READ_BYTES = 65536
# How often the server looks whether the peer of a connection has gone that its callback left open.
_LOOK_MS = 500


class Stream:
    """A flow as asyncio's StreamReader and StreamWriter."""

    def __init__(self, flow):
        self._flow = flow
        self._parts = []  # what has been received and nobody has been given
        self._unsent = []
        self._is_sending = False  # a task is in flow.write()
        self._sent = None  # wakes the others that drain
        self._user = None  # the task that used this last
        self._is_closing = False
        self._closed = asyncio.Event()

    def get_extra_info(self, name):
        """(ip, port) of the other end ("peername") or of ours ("sockname"); the TLS flow ("ssl_object"), or None."""
        if name == "peername":
            return self._flow.remote
        if name == "sockname":
            return self._flow.local
        if name == "ssl_object":
            return self._flow if hasattr(self._flow, "tls") else None
        raise KeyError(name)

    # --- reading ---

    # What comes stays in _parts until all of what is returned is there: a task that is cancelled, or finds no memory,
    # has taken nothing.

    async def read(self, n=-1):
        """Up to n octets, b"" at the end; with n == -1 everything up to the end."""
        if n < 0:
            while await self._more(_READ_BYTES):
                pass
            return self._take(self._waiting())
        self._user = core.cur_task
        if self._waiting():
            return self._take(n)
        return await self._flow.read(n)

    async def readinto(self, buf):
        """Fills buf with what is there; returns how many octets that were, 0 at the end."""
        data = await self.read(len(buf))
        buf[: len(data)] = data
        return len(data)

    async def readexactly(self, n):
        """n octets; EOFError when the end comes before, and what there is can be read."""
        missing = n - self._waiting()
        while missing > 0:
            count = await self._more(missing)
            if not count:
                raise EOFError
            missing -= count
        return self._take(n)

    async def readline(self):
        """Up to and with the next newline; what there is at the end."""
        before = 0  # octets in which there is none
        while True:
            length = 0
            for part in self._parts:
                end = part.find(b"\n") + 1 if length >= before else 0
                if end:
                    return self._take(length + end)
                length += len(part)
            before = length
            if not await self._more(_READ_BYTES):
                return self._take(before)

    def _waiting(self):
        """Octets that are there."""
        return sum([len(part) for part in self._parts])

    def _make_room(self):
        """For one more part: the last one is empty. What has been taken from the flow needs no memory then."""
        if not self._parts or self._parts[-1]:
            self._parts.append(b"")

    async def _more(self, n):
        """Waits for up to n more octets; returns how many came, 0 at the end."""
        self._user = core.cur_task
        self._make_room()
        self._parts[-1] = data = await self._flow.read(n)
        return len(data)

    def _take(self, n):
        """The first n octets of what is there, all if there are fewer."""
        left = []
        data = self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)
        if len(data) > n:
            left.append(data[n:])
            data = data[:n]
        self._parts = left
        return data

    # --- writing ---

    def write(self, buf):
        """Buffers; drain() sends."""
        self._user = core.cur_task
        if isinstance(buf, str):
            buf = buf.encode()
        elif not isinstance(buf, bytes):
            buf = bytes(buf)  # it may change before it is sent
        self._unsent.append(buf)

    async def drain(self):
        """Sends what was written; returns when the send buffer has taken it. Always lets other tasks run.

        Several tasks may write and drain: what they wrote goes out in that order. OSError for all of them when the
        connection fails.
        """
        while self._is_sending:
            # Another task sends, and what was written here may be in its hands.
            if self._sent is None:
                self._sent = asyncio.Event()
            await self._sent.wait()
            if self._flow.error is not None:
                raise OSError(self._flow.error)
        if self._unsent:
            data = self._unsent[0] if len(self._unsent) == 1 else b"".join(self._unsent)
            self._unsent = []
            self._is_sending = True
            try:
                await self._flow.write(data)
            except core.CancelledError:
                self._unsent.insert(0, self._flow.unsent)  # some of it may be another task's
                raise
            finally:
                self._is_sending = False
                if self._sent is not None:
                    self._sent.set()
                    self._sent = None
        await asyncio.sleep_ms(0)

    def close(self):
        """The connection ends with wait_closed(), or when the server's callback returns."""
        self._is_closing = True

    async def wait_closed(self):
        """Closes the connection. What was written and not drained is sent before."""
        self._is_closing = True
        try:
            if self._unsent:
                await self.drain()
        finally:
            await self._flow.close()
            self._closed.set()

    async def until_closed(self, forgotten):
        """For the server: a callback that returns may have given the stream to another task, or have forgotten it.

        forgotten: called when it was, and is closed now because the peer has gone.
        """
        if self._is_closing:
            await self.wait_closed()
        while not self._closed.is_set():
            await asyncio.sleep_ms(_LOOK_MS)
            if not self._closed.is_set() and self._is_forgotten() and self._has_peer_gone():
                forgotten()
                await self.wait_closed()

    def _is_forgotten(self):
        """Whether the callback's task was the last that used this, or another one that has ended, and none is at it."""
        user = self._user
        is_left = user is None or user is core.cur_task or user.done()
        return is_left and self._flow.reader is None and not self._is_sending

    def _has_peer_gone(self):
        if self._waiting() >= _READ_BYTES:
            return False  # nobody may ever read it, and the peer waits
        try:
            self._make_room()
            data = self._flow.read_now(_READ_BYTES)
        except OSError:
            return True
        if data:
            self._parts[-1] = data
        return data == b""

    async def __aenter__(self):
        return self

    async def __aexit__(self, _kind, _error, _traceback):
        await self.wait_closed()

    # The names from before asyncio had these, which older packages use.

    async def awrite(self, buf, off=0, sz=-1):
        if off or sz != -1:
            buf = memoryview(buf)[off : len(buf) if sz == -1 else off + sz]
        self.write(buf)
        await self.drain()

    awritestr = awrite
    aclose = wait_closed


class Server:
    """What start_server returns."""

    def __init__(self, stack, port):
        self._stack = stack
        self._port = port
        self._closed = asyncio.Event()

    def close(self):
        """Accepts no more; connections live on."""
        if not self._closed.is_set():
            self._stack.tcp.unlisten(self._port)
            self._closed.set()

    async def wait_closed(self):
        await self._closed.wait()

    async def serve_forever(self):
        await self._closed.wait()

    async def __aenter__(self):
        return self

    async def __aexit__(self, _kind, _error, _traceback):
        self.close()
        await self.wait_closed()


def install(stack, connector=None, contexts=None):
    """Puts start_server, open_connection, StreamReader and StreamWriter into asyncio, over `stack`.

    connector: app.happy_eyeballs.HappyEyeballs or app.dns.DnsClient, which connect to names too. contexts: the device
    tls_contexts(), which makes the context that ssl=True stands for. Over a tls() stack all connections are encrypted,
    with its certificates where no `ssl` is given.
    Done once by the generated main, before the application starts.
    """
    plain = getattr(stack, "below", stack)
    default = None if plain is stack else stack

    async def start_server(callback, _host, port, backlog=128, ssl=None):
        """Runs callback(reader, writer) for each connection to `port`, of whatever local address.

        ssl: who speaks TLS, an SSLContext or a tls() stack.
        """
        is_told = []

        def forgotten():
            if not is_told:
                is_told.append(True)
                text = "port %d: the callback returned without writer.close(): closed, as the peer has gone"
                stack.log.warning("tcp", text % port)

        async def handler(flow):
            stream = Stream(flow)
            await started(callback, stream, stream)
            await stream.until_closed(forgotten)

        async def secure(flow):
            await ssl.serve(flow, handler)

        ssl = ssl or default
        plain.tcp.listen(port, secure if ssl else handler, backlog)
        return Server(plain, port)

    async def open_connection(host, port, ssl=None, server_hostname=None):
        """(reader, writer) of a connection. OSError; ValueError for a name where nothing resolves names.

        ssl: True, an SSLContext or a tls() stack. server_hostname: whom the certificate must name; by default `host`.
        """
        if ssl is True and contexts is not None:
            ssl = contexts.context()
        elif not ssl or ssl is True:
            if ssl and default is None:
                raise ValueError("ssl=True: config.py has no tls_contexts()")
            ssl = default
        flow = await connect(host, port)
        if ssl:
            flow = await ssl.wrap(flow, server_hostname or host)
        stream = Stream(flow)
        return stream, stream

    connect = plain.tcp.connect if connector is None else connector.connect
    asyncio.start_server = start_server
    asyncio.open_connection = open_connection
    asyncio.StreamReader = asyncio.StreamWriter = Stream
