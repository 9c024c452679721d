# SPDX-License-Identifier: MIT
"""asyncio's streams over a stack: start_server and open_connection for MicroPython packages that bring their own.

Behaves as extmod/asyncio/stream.py does, whose interface this is, also in what differs from CPython: write() buffers,
drain() sends; reader and writer are one object; hosts are numeric addresses, unless there is a resolver.
"""

import asyncio

_READ_BYTES = 65536


class Stream:
    """A flow as asyncio's StreamReader and StreamWriter."""

    def __init__(self, flow):
        self._flow = flow
        self._received = b""  # beyond what readline() or readexactly() returned
        self._unsent = []
        self._is_closing = False
        self._closed = asyncio.Event()

    def get_extra_info(self, name):
        """(ip, port) of the other end ("peername") or of ours ("sockname")."""
        if name == "peername":
            return self._flow.remote
        if name == "sockname":
            return self._flow.local
        raise KeyError(name)

    # --- reading ---

    async def read(self, n=-1):
        """Up to n octets, b"" at the end; with n == -1 everything up to the end."""
        if n >= 0:
            return await self._some(n)
        parts = []
        while data := await self._some(_READ_BYTES):
            parts.append(data)
        return b"".join(parts)

    async def readinto(self, buf):
        """Fills buf with what is there; returns how many octets that were, 0 at the end."""
        data = await self._some(len(buf))
        buf[: len(data)] = data
        return len(data)

    async def readexactly(self, n):
        """n octets; EOFError when the end comes before."""
        parts = []
        while n > 0:
            data = await self._some(n)
            if not data:
                raise EOFError
            parts.append(data)
            n -= len(data)
        return b"".join(parts)

    async def readline(self):
        """Up to and with the next newline; what there is at the end."""
        parts = []
        while data := await self._some(_READ_BYTES):
            end = data.find(b"\n") + 1
            if end:
                parts.append(data[:end])
                self._received = data[end:]
                break
            parts.append(data)
        return b"".join(parts)

    async def _some(self, n):
        data = self._received
        if not data:
            return await self._flow.read(n)
        if len(data) <= n:
            self._received = b""
            return data
        self._received = data[n:]
        return data[:n]

    # --- writing ---

    def write(self, buf):
        """Buffers; drain() sends."""
        if isinstance(buf, str):
            buf = buf.encode()
        elif not isinstance(buf, bytes):
            buf = bytes(buf)  # it may change before it is sent
        self._unsent.append(buf)

    async def drain(self):
        """Sends what was written; returns when the send buffer has taken it. Always lets other tasks run."""
        if self._unsent:
            data = self._unsent[0] if len(self._unsent) == 1 else b"".join(self._unsent)
            self._unsent = []
            await self._flow.write(data)
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

    async def until_closed(self):
        """For the server: a callback that returns may have given the stream to another task."""
        if self._is_closing:
            await self.wait_closed()
        await self._closed.wait()

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


def install(stack, connector=None):
    """Puts start_server, open_connection, StreamReader and StreamWriter into asyncio, over `stack`.

    connector: app.happy_eyeballs.HappyEyeballs or app.dns.DnsClient, which connect to names too.
    Done once by the generated main, before the application starts.
    """

    async def start_server(callback, _host, port, backlog=5, ssl=None):
        """Runs callback(reader, writer) for each connection to `port`, of whatever local address."""
        if ssl is not None:
            raise NotImplementedError("ssl")

        async def handler(flow):
            stream = Stream(flow)
            await callback(stream, stream)
            await stream.until_closed()

        stack.tcp.listen(port, handler, backlog)
        return Server(stack, port)

    async def open_connection(host, port, ssl=None, server_hostname=None):
        """(reader, writer) of a connection. OSError; ValueError for a name where nothing resolves names."""
        if ssl:
            raise NotImplementedError("ssl")
        stream = Stream(await connect(host, port))
        return stream, stream

    connect = stack.tcp.connect if connector is None else connector.connect
    asyncio.start_server = start_server
    asyncio.open_connection = open_connection
    asyncio.StreamReader = asyncio.StreamWriter = Stream
