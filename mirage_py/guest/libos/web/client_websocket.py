# SPDX-License-Identifier: MIT
"""WebSockets of a client (RFC 6455)."""

from asyncio import Lock, create_task

from libos.http import url as urls
from libos.http import websocket
from libos.http.errors import RemoteError
from libos.http.head import octets
from libos.http.websocket import GOING_AWAY, NO_CLOSE, NORMAL
from libos.http.websocket_handshake import PROTOCOL, ask, check

from .client import receive_head
from .client_connect import basic
from .failure import failed, timed_out, wrong

_READ_BYTES = 65536
_CLOSE_MS = 5000
_EPIPE = 32


class WebSockets:
    """What lets a client open WebSockets. random: hal.random.Random, for masks and keys."""

    def __init__(self, random):
        self._random = random.bytes

    async def open(self, client, url, protocols=(), headers=(), verify=True, max_message_bytes=1 << 20, ping_ms=None):
        """As client.HttpClient.websocket says."""
        url = urls.parse(url)
        if url.scheme not in ("ws", "wss"):
            raise ValueError("not a ws or wss URL: %s" % url)
        protocols = [octets(protocol) for protocol in protocols]
        pairs = list(headers.items() if hasattr(headers, "items") else headers)
        if url.userinfo is not None:
            pairs.append((b"Authorization", basic(url.userinfo)))
        if client.cookies is not None:
            cookies = client.cookies.header(url, client.clock.wall_ns() // 1000000000)
            if cookies:
                pairs.append((b"Cookie", cookies))
        pairs.append((b"User-Agent", client.user_agent))
        key, asked = ask(self._random, protocols)
        channel = await client.acquire(url, verify, True)
        is_open = False
        try:
            channel.uses += 1
            channel.expect(client.head_ms)
            data = channel.http.start_request(b"GET", url.target, url.authority, pairs + asked, upgrade=PROTOCOL)
            await channel.flow.write(data)
            protocol = check(await receive_head(channel, []), key, protocols)
            is_open = True
        except RemoteError as error:
            raise wrong("websocket", error.reason)
        except OSError as error:
            raise timed_out("websocket") if channel.has_timed_out else failed("websocket", error)
        finally:
            if not is_open:
                channel.abort()
        return ClientWebSocket(client.clock, channel, protocol, self._random, max_message_bytes, ping_ms)


class ClientWebSocket:
    """A WebSocket that is open. `async for message in ws`: text (str) or octets, until it closes.

    protocol: what the server has chosen (octets), or None. close_code, close_reason: how it ended. Pings are answered
    while somebody waits for messages. Its connection counts as one of the client's until close(), or the end of
    receive().
    """

    def __init__(self, clock, channel, protocol, random, max_message_bytes, ping_ms):
        self.protocol = protocol
        self.close_code = None
        self.close_reason = ""
        self._clock = clock
        self._channel = channel
        self._flow = channel.give_away()
        self._ws = websocket.WebSocket(True, random, max_message_bytes)
        self._lock = Lock()
        self._heard = False
        rest = channel.http.take_rest()
        if rest:
            self._ws.receive_data(rest)
        self._watch = None if ping_ms is None else create_task(self._keep_alive(ping_ms))

    def __aiter__(self):
        return self

    async def __anext__(self):
        message = await self.receive()
        if message is None:
            raise StopAsyncIteration
        return message

    async def __aenter__(self):
        return self

    async def __aexit__(self, kind, error, traceback):
        await self.close(NORMAL if kind is None else GOING_AWAY)

    async def receive(self):
        """The next message; None when the WebSocket is closed. close_code says how: 1006, without a word."""
        ws = self._ws
        while True:
            event = ws.next_event()
            out = ws.take_output()
            if out:
                try:
                    await self._write(out)
                except OSError:
                    pass  # reading says so
            if event is None:
                try:
                    data = await self._flow.read(_READ_BYTES)
                except OSError:
                    data = b""
                self._heard = True
                ws.receive_data(data)
            elif isinstance(event, websocket.Close):
                self.close_code = event.code
                self.close_reason = event.reason
                await self._end(event.code != NO_CLOSE)
                return None
            elif not isinstance(event, websocket.Pong):
                return event

    async def send(self, message):
        """Sends text (str) or octets; returns when the send buffer has taken it. Raises OSError when it is closed."""
        if not self._ws.is_open:
            raise OSError(_EPIPE)
        await self._write(self._ws.send(message))

    async def ping(self, data=b""):
        """Asks the server for a sign of life."""
        if not self._ws.is_open:
            raise OSError(_EPIPE)
        await self._write(self._ws.send_ping(data))

    async def close(self, code=NORMAL, reason=""):
        """Says that it is over, and why; waits for the server to say so too, five seconds at most.

        Messages that come meanwhile are dropped. Only where nobody waits in receive().
        """
        if self._channel.is_closed:
            return
        watch = create_task(self._give_up())
        try:
            out = self._ws.send_close(code, reason)
            if out:
                await self._write(out)
            while await self.receive() is not None:
                pass
        except OSError:
            pass
        finally:
            watch.cancel()
            self.abort()

    def abort(self):
        """Resets the connection."""
        self._stop_watch()
        self._channel.abort()

    async def _end(self, in_order):
        self._stop_watch()
        if in_order:
            await self._channel.close()
        else:
            self._channel.abort()

    def _stop_watch(self):
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None

    async def _write(self, data):
        # Pongs and messages may come from two tasks.
        async with self._lock:
            await self._flow.write(data)

    async def _give_up(self):
        await self._clock.sleep_ms(_CLOSE_MS)
        self._channel.abort()

    async def _keep_alive(self, ping_ms):
        """A ping when nothing has come for ping_ms, and the end when nothing comes of that either."""
        is_asked = False
        while True:
            await self._clock.sleep_ms(ping_ms)
            if self._heard:
                self._heard = is_asked = False
            elif is_asked:
                self._watch = None
                self.abort()
                return
            else:
                is_asked = True
                create_task(self._ping())

    async def _ping(self):
        try:
            await self.ping()
        except OSError:
            pass
