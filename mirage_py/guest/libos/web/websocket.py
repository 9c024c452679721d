# SPDX-License-Identifier: MIT
"""WebSockets of a server (RFC 6455)."""

import asyncio

from ..http import websocket
from ..http.errors import LocalError, RemoteError
from ..http.websocket import GOING_AWAY, NO_CLOSE, NORMAL
from ..http.websocket_handshake import PROTOCOL, answer
from .connection import Gone

_READ_BYTES = 65536
_INTERNAL = 1011
_CLOSE_S = 2


class WebSocket:
    """A WebSocket that is open. `async for message in ws`: text or bytes, until it closes.

    request: the one that it began with, with its params. protocol: what was agreed on, or None. close_code,
    close_reason: how it ended. Pings are answered while somebody waits for messages.
    """

    def __init__(self, request, connection, rest, protocol, max_message_bytes):
        self.request = request
        self.protocol = protocol
        self.close_code = None
        self.close_reason = ""
        self._connection = connection
        self._flow = connection.flow
        self._ws = websocket.WebSocket(False, max_message_bytes=max_message_bytes)
        if rest:
            self._ws.receive_data(rest)
        self._pongs = []

    @property
    def is_open(self):
        """Whether something may still be sent."""
        return self._ws.is_open

    def __aiter__(self):
        return self

    async def __anext__(self):
        message = await self.receive()
        if message is None:
            raise StopAsyncIteration
        return message

    async def receive(self):
        """The next message; None when the WebSocket is closed."""
        ws = self._ws
        while True:
            event = ws.next_event()
            out = ws.take_output()
            if out:
                await self._write(out)
            if event is None:
                try:
                    ws.receive_data(await self._flow.read(_READ_BYTES))
                except OSError:
                    ws.receive_data(b"")
            elif type(event) is websocket.Close:
                self.close_code = event.code
                self.close_reason = event.reason
                return None
            elif type(event) is websocket.Pong:
                for pong in self._pongs:
                    pong.set()
                self._pongs.clear()
            else:
                return event

    async def send(self, message):
        """Sends text (str) or octets; returns when the send buffer has taken it. OSError when it is closed, and when
        the peer does not take it in the server's time for that."""
        await self._write(self._encoded(self._ws.send, message))

    async def ping(self, data=b""):
        """Sends a ping; returns an Event that is set by the next pong, while somebody receives."""
        pong = asyncio.Event()
        self._pongs.append(pong)
        await self._write(self._encoded(self._ws.send_ping, data))
        return pong

    async def close(self, code=NORMAL, reason=""):
        """Says that it is over, and why. Once; messages on the way from the peer are lost."""
        out = self._ws.send_close(code, reason)
        if out:
            try:
                await self._write(out)
            except OSError:
                pass

    def _encoded(self, encode, data):
        if not self._ws.is_open:
            raise OSError(32)  # EPIPE
        return encode(data)

    async def _write(self, data):
        connection = self._connection
        # Pongs and messages may come from several tasks.
        while connection.is_writing:
            await asyncio.sleep(0.02)
        await connection.send_octets(data)

    async def _finish(self, code):
        """Closes from our side, and waits a moment for the peer's answer, so that nothing of ours is lost."""
        await self.close(code)
        try:
            await asyncio.wait_for(self._drain(), _CLOSE_S)
        except (OSError, asyncio.TimeoutError):
            pass

    async def _drain(self):
        while await self.receive() is not None:
            pass
        if self.close_code != NO_CLOSE:
            self._flow.shutdown_write()
            while await self._flow.read(_READ_BYTES):
                pass


class Acceptor:
    """A route's handler that begins WebSockets. As HttpServer.websocket says."""

    def __init__(self, handler, protocols, origins, max_message_bytes):
        self._handler = handler
        self._protocols = protocols
        self._origins = origins
        self._max_message_bytes = max_message_bytes

    def __call__(self, request):
        return self._serve(request)

    def _origin_check(self, request):
        """Pages of other hosts may not connect unless somebody says so: a browser would send its cookies along."""
        origins = self._origins
        if origins is None:
            origin = request.headers.get(b"origin")
            if origin is not None and origin.partition(b"://")[2].lower() != request.head.authority.lower():
                raise RemoteError(403, "an origin that may not connect")
            return None
        return origins or None

    async def _serve(self, request):
        origins = self._origin_check(request)
        protocol, headers = answer(request.head, self._protocols, origins)
        connection = request.connection
        _, rest = await connection.upgrade(PROTOCOL, headers)
        ws = WebSocket(request, connection, rest, protocol, self._max_message_bytes)
        try:
            await self._handler(ws)
        except asyncio.CancelledError:
            await ws._finish(GOING_AWAY)
            raise
        except Gone:
            return  # a peer that leaves while something is sent is nothing to report
        except (OSError, LocalError) as error:
            if ws._ws.is_open:
                request.failed(error)
                await ws._finish(_INTERNAL)
            return
        except Exception as error:
            request.failed(error)
            await ws._finish(_INTERNAL)
            return
        await ws._finish(NORMAL)
