# SPDX-License-Identifier: MIT
"""One connection of a server: requests in, answers out, and no longer than they may take.

Who waits for the peer says for what, and until which second; the server looks once a second who is late
(server.HttpServer), so that a request costs no timer.
"""

import asyncio
import json

from micropython import const

from ..http.connection import CLOSED, NEED_DATA
from ..http.errors import LocalError, RemoteError
from ..http.head import Prepared
from ..http.reasons import reason
from ..http.server import ServerConnection
from .request import Request
from .response import JSON, TEXT, HttpError, Response

# What a connection waits for; 0: for its handler. The server knows three.
IDLE = 1
HEAD = 2
LINGER = 5
_IDLE = const(1)
_HEAD = const(2)
_BODY = const(3)
_WRITE = const(4)
_LINGER = const(5)
_SWITCHED = const(6)

_READ_BYTES = const(65536)
# A body up to this length goes with its head in one piece; answers to pipelined requests are joined up to that.
_JOIN_BYTES = const(8192)
_OUT_BYTES = const(32768)
_PIECE_BYTES = const(65536)
# A peer that sends fewer octets of a body a second than this gets no more time for them.
_LEAST_RATE = const(500)
_KEEPALIVE_MS = const(60000)
_LINGER_S = const(2)
_LINGER_BYTES = const(1 << 20)
_TOO_SLOW = b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


async def _nothing():
    pass


_coroutine = _nothing()
_COROUTINE = type(_coroutine)
_coroutine.close()


class Gone(OSError):
    """The peer is not there any more, or does not take what is sent."""


class Connection:
    """flow: what the stack accepted. http: its ServerConnection. waits, until: for what, and until which tick."""

    def __init__(self, server, flow):
        self.server = server
        self.flow = flow
        self.http = ServerConnection(server.limits, server.common)
        self.waits = _IDLE
        self.until = server.tick + server.head_s
        self.why = 0  # for what this task has waited too long
        self.out = b""  # answers that wait for more to go with
        self.is_writing = False
        self._task = asyncio.current_task()
        self._received = 0
        self._waited_s = 0
        self._is_body_read = True
        self._status = 0
        self._sent = 0

    # --- from outside ---

    def end(self, why):
        """Has the task stop waiting. why: what it waited for."""
        self.why = why
        if why == _WRITE:
            self.flow.abort()
        else:
            self._task.cancel()

    def give_up(self):
        """The peer has gone while the handler waits for something else."""
        if not self.why:
            self.why = _WRITE
            self._task.cancel()

    def go_away(self):
        """The server closes: what is idle ends, what is in flight is answered and then ends."""
        if self.why:
            return
        if self.waits == _IDLE or self.waits == _SWITCHED:
            self.end(self.waits)
        else:
            self.http.keep_alive = False

    # --- the task ---

    async def serve(self):
        """Until the connection ends. OSError never comes out: a peer that goes away is nothing to report."""
        server = self.server
        try:
            await self._run()
        except asyncio.CancelledError:
            if not self.why:
                raise
            await self._ended()
        except RemoteError as error:
            server.counters["malformed"] += 1
            await self._refuse(error.status, error.reason)
        except OSError:
            self.flow.abort()

    async def _run(self):
        server = self.server
        http = self.http
        flow = self.flow
        next_event = http.next_event
        receive_data = http.receive_data
        known = server.known
        common = server.common
        while True:
            event = next_event()
            if event is NEED_DATA:
                out = self.out
                if out:
                    if self.is_writing:
                        await self.flush()
                    else:
                        # flush(), without another coroutine.
                        self.out = b""
                        self.waits = _WRITE
                        self.until = server.write_until
                        self.is_writing = True
                        try:
                            await flow.write(out)
                        finally:
                            self.is_writing = False
                        self.waits = 0
                if http.is_between:
                    if server.is_closing:
                        return
                    self.waits = _IDLE
                    self.until = server.idle_until if http.requests else server.tick + server.head_s
                elif self.waits != _HEAD:
                    self.waits = _HEAD
                    self.until = server.tick + server.head_s
                receive_data(await flow.read(_READ_BYTES))
                continue
            if event is CLOSED:
                if self.out:
                    await self.flush()
                return
            self.waits = self.until = 0
            server.requests += 1
            if server.is_closing:
                http.keep_alive = False
            try:
                params = None
                route = known.get(event.target)
                if route is None:
                    route, params = server.find(event)
                handler = route.methods.get(event.method)
                if handler is None:
                    handler = route.handler(event.method)
                if event.length != 0:
                    self._is_body_read = False
                    self._received = self._waited_s = 0
                    if route.limit is not None:
                        http.body_limit = route.limit
                answer = handler(event) if route.is_static else handler(Request(event, self, params))
                if type(answer) is _COROUTINE:
                    if self.out and not self.is_writing:
                        # Answers before this one do not wait for it, should it take long.
                        asyncio.create_task(self._flush_soon())
                    answer = await answer
                kind = type(answer)
                if kind is Response and type(answer.body) is bytes and len(answer.body) <= _JOIN_BYTES:
                    body = answer.body
                    self._status = answer.status
                    if answer.made_with is common.octets and http.send_again():
                        data = answer.made
                    else:
                        headers = answer.headers
                        if type(headers) is not Prepared:
                            headers = self._headers(answer)
                        data = http.send_response(answer.status, headers, body)
                        if answer.is_constant and event.method == b"GET" and http.keep_alive and event.version == 11:
                            answer.made = data
                            answer.made_with = common.octets
                elif kind is str:
                    body = answer.encode()
                    data = http.send_response(200, server.type_header(TEXT), body)
                    self._status = 200
                else:
                    if http.is_switched:
                        return
                    data = await self._send(event, answer)
                    body = b""
                    if data is None:
                        continue
                self.out = self.out + data if self.out else data
                if server.access is not None:
                    self._note(event, len(body))
                if len(self.out) > _OUT_BYTES:
                    await self.flush()
            except Gone:
                raise
            except asyncio.CancelledError:
                raise
            except Exception as error:
                if http.is_switched or not await self._failed(event, error):
                    return

    def _headers(self, response):
        """The field lines of a response whose headers are pairs, checked, with its media type."""
        headers = response.headers
        media_type = response.type
        if not headers:
            return self.server.type_header(media_type) if media_type else ()
        if type(headers) is Prepared or not media_type:
            return headers
        pairs = [(b"Content-Type", media_type)]
        pairs.extend(headers)
        return pairs

    async def _send(self, event, answer):
        """Any answer: the octets of a small one; None when all is sent."""
        server = self.server
        http = self.http
        kind = type(answer)
        if kind is not Response:
            if answer is None:
                answer = Response(b"", 204)
            elif kind is dict or kind is list:
                self._status = 200
                return http.send_response(200, server.type_header(JSON), json.dumps(answer).encode())
            elif kind is bytes or kind is bytearray or kind is memoryview or kind is str:
                answer = Response(answer)
            else:
                raise TypeError("a handler answers with a Response, text, bytes, a dict, a list or None, not %s" % kind)
        body = answer.body
        self._status = answer.status
        self._sent = 0
        headers = self._headers(answer)
        if type(body) is not bytes:
            await self._stream(event, answer, headers, body)
        elif len(body) <= _JOIN_BYTES:
            return http.send_response(answer.status, headers, body)
        else:
            head = http.start_response(answer.status, headers, len(body))
            data = http.send_data(body)
            http.send_end()
            self._sent = len(data)
            if data:
                # The head fills a segment with the first of the body; the rest goes as it lies.
                await self.send_octets(self.out + head)
                self.out = b""
                await self.send_octets(data, answer.part)
            else:
                self.out += head
        if server.access is not None:
            self._note(event, self._sent)
        return None

    async def _stream(self, event, response, headers, body):
        """A body that comes piece by piece: no piece is asked for before the one before has been taken."""
        http = self.http
        self.out += http.start_response(response.status, headers, response.length)
        try:
            if event.method == b"HEAD" or response.status == 304 or response.status == 204:
                http.send_end()
                return
            if type(body) is _COROUTINE:
                # MicroPython has no type for async generators: what is awaited in one is None, the rest is data.
                await _driven(body, self)
            elif callable(body):
                await body(self)
            elif hasattr(body, "__anext__"):
                async for chunk in body:
                    await self.write(chunk)
            else:
                for chunk in body:
                    await self.write(chunk)
            self.out += http.send_end()
        finally:
            # One that has been left in the middle ends here, not when somebody collects it.
            close = getattr(body, "aclose", None)
            if close is not None:
                await close()
            elif hasattr(body, "close"):
                body.close()

    async def write(self, data):
        """For a body that writes itself: a piece of it (bytes or text). Returns when the send buffer has taken it."""
        if type(data) is str:
            data = data.encode()
        self._sent += len(data)
        data = self.http.send_data(data)
        if self.out:
            out = self.out
            self.out = b""
            if len(data) <= _OUT_BYTES:
                data = out + data
            else:
                await self.send_octets(out)
        if data:
            await self.send_octets(data)

    # --- octets out ---

    async def flush(self):
        """Sends the answers that have been collected."""
        while self.is_writing:
            await asyncio.sleep(0.02)
        out = self.out
        self.out = b""
        if out:
            await self.send_octets(out)

    async def send_octets(self, data, part=None):
        """Returns when the send buffer has taken all; Gone when that took too long.

        part(start, end): of data, where that has something better than a memoryview.
        """
        waits = self.waits
        server = self.server
        write = self.flow.write
        size = len(data)
        self.waits = _WRITE
        self.is_writing = True
        try:
            if size <= _PIECE_BYTES:
                self.until = server.write_until
                await write(data)
            else:
                # Piece by piece: each is taken in time, or nobody is there who takes it.
                if part is None:
                    view = memoryview(data)
                start = 0
                while start < size:
                    end = min(start + _PIECE_BYTES, size)
                    self.until = server.write_until
                    await write(view[start:end] if part is None else part(start, end))
                    start = end
        except OSError as error:
            raise Gone(error.errno)
        finally:
            self.is_writing = False
        self.waits = waits
        self.until = 0

    async def _flush_soon(self):
        if self.out and not self.is_writing:
            try:
                await self.flush()
            except OSError:
                pass  # who reads or writes next sees it

    # --- octets in ---

    async def read_body(self):
        """The next octets of the request's body; b"" at its end."""
        if self._is_body_read:
            return b""
        http = self.http
        server = self.server
        data = http.send_continue()
        if data or self.out:
            self.out += data
            await self.flush()
        while True:
            event = http.next_event()
            if type(event) is bytes:
                self._received += len(event)
                return event
            if event is not NEED_DATA:
                self._is_body_read = True
                return b""
            self.waits = _BODY
            since = server.tick
            # Not counted is how long the handler takes between its reads.
            self.until = max(since + server.body_s + self._received // _LEAST_RATE - self._waited_s, since + 1)
            try:
                data = await self.flow.read(_READ_BYTES)
            except OSError as error:
                raise Gone(error.errno)
            self.waits = self.until = 0
            self._waited_s += server.tick - since
            http.receive_data(data)

    async def upgrade(self, protocol, headers):
        data = self.http.send_upgrade(protocol, headers)
        self._status = 101
        self.out += data
        await self.flush()
        self.waits = _SWITCHED
        self.until = 0
        self.flow.set_keepalive(_KEEPALIVE_MS)  # nobody else asks whether the peer is there
        return self.flow, self.http.take_rest()

    # --- what goes wrong ---

    async def _failed(self, event, error):
        """A handler has raised: an answer for the peer, where there can be one. Returns whether to go on."""
        http = self.http
        server = self.server
        counters = server.counters
        if not http.can_respond:
            # In the middle of an answer: the peer must not take what it has for all of it.
            self.failed(event, error)
            self.flow.abort()
            return False
        headers = ()
        if isinstance(error, HttpError):
            counters["errors"] += 1
            status, body, headers = error.status, error.body, error.headers
        elif isinstance(error, RemoteError):
            counters["malformed"] += 1
            status, body = error.status, error.reason + "\n"
            if status == 426:
                headers = ((b"Sec-WebSocket-Version", b"13"),)
        else:
            self.failed(event, error)
            status, body = 500, None
        if body is None:
            body = "%d %s\n" % (status, reason(status).decode())
        response = Response(body, status, headers)
        try:
            data = http.send_response(status, self._headers(response), response.body)
        except LocalError as wrong:
            self.failed(event, wrong)
            self._status = 500
            data = http.send_response(500, (), b"")
        self._status = status
        self.out += data
        if server.access is not None:
            self._note(event, len(response.body))
        if http.keep_alive:
            return True
        await self.flush()
        await self._linger()
        return False

    def failed(self, event, error):
        """A handler has raised what is no answer: the console has it, and the peer does not."""
        self.server.counters["failures"] += 1
        text = "%s %s failed" % (event.method.decode(), event.target.decode())
        self.server.log.exception("http", text, error)

    async def _refuse(self, status, why):
        """What came is no request, or one that may not be."""
        http = self.http
        if not http.can_respond:
            self.flow.abort()
            return
        try:
            data = http.send_response(status, (), why.encode() + b"\n", True)
            await self.send_octets(self.out + data)
            await self._linger()
        except OSError:
            self.flow.abort()
        except asyncio.CancelledError:
            if not self.why:
                raise

    async def _ended(self):
        """The wait was too long, or the server closes."""
        why = self.why
        if why == _HEAD or why == _BODY:
            if why == _HEAD or self.http.can_respond:
                try:
                    await self.flow.write(self.out + _TOO_SLOW)
                except OSError:
                    pass
            else:
                self.flow.abort()
        elif why == _WRITE:
            self.flow.abort()

    async def _linger(self):
        """Reads what still comes, for a moment: closing with octets unread is a reset, and the answer would be lost."""
        self.waits = _LINGER
        self.until = self.server.tick + _LINGER_S
        self.flow.shutdown_write()
        left = _LINGER_BYTES
        try:
            while left > 0:
                data = await self.flow.read(_READ_BYTES)
                if not data:
                    break
                left -= len(data)
        except OSError:
            pass

    def _note(self, event, length):
        self.server.access.note(event, self.flow.remote[0], self._status, length)


# async
def _driven(body, connection):
    """Sends what an async generator of MicroPython yields."""
    error = None
    while True:
        try:
            value = body.send(None) if error is None else body.throw(error)
        except StopIteration:
            return
        error = None
        if value is not None:
            yield from connection.write(value)
            continue
        try:
            yield
        except BaseException as thrown:
            error = thrown
