# SPDX-License-Identifier: MIT
"""What a client gets: a head, and content that is read when the application wants it."""

import json as _json

from libos.http.connection import NEED_DATA, EndOfMessage
from libos.http.errors import RemoteError
from libos.http.parts import Parts

from .client_coding import Decoder, is_known
from .failure import TransferError, failed, timed_out, too_much, wrong

_READ_BYTES = 65536
# Content that nobody wants is read all the same, up to here and so long, when that saves the connection.
_DRAIN_BYTES = 16384
_DRAIN_MS = 1000


class ClientResponse:
    """status: number; reason: text; headers: http.head.Headers, names in lower case, values octets; url: text.

    trailers: Headers behind chunked content, once all of it has been read; else None. content_bytes: how many octets
    are to come as they are sent, None when that is not known. The connection is given back when all of the content has
    come, or by close(); a response that nobody reads for body_ms ends by itself.
    """

    def __init__(self, client, channel, head, url, has_content):
        self.status = head.status
        self.reason = str(head.reason, "utf-8") if not max(head.reason or b"\0") & 128 else ""
        self.headers = head.headers
        self.url = url
        self.trailers = None
        self.content_bytes = head.length
        self._client = client
        self._channel = channel
        self._decoder = None
        self._error = None
        self._ready = []  # pieces that came with the head, last one first
        if not has_content:
            self._finish()
            return
        if client.inflate is not None:
            codings = head.headers.elements(b"content-encoding")
            if len(codings) == 1 and is_known(codings[0].lower()):
                self._decoder = Decoder(client.inflate, codings[0].lower())
                self.content_bytes = None
        self._take_ready()

    @property
    def is_ok(self):
        """Whether the status is 2xx."""
        return 200 <= self.status < 300

    async def read(self, limit=None):
        """All (the rest) of the content, decompressed. limit: octets, client.read_limit unless given.

        Raises TransferError where there is more, the connection fails, the other side breaks the rules, or nothing
        comes for client.body_ms.
        """
        if limit is None:
            limit = self._client.read_limit
        if self.content_bytes is not None and self.content_bytes > limit:
            self._refuse(too_much("body", "%d octets of content, and the limit is %d" % (self.content_bytes, limit)))
        parts = Parts()
        left = limit
        while True:
            piece = await self._next()
            if not piece:
                break
            left -= len(piece)
            if left < 0:
                self._refuse(too_much("body", "more than %d octets of content" % limit))
            parts.add(piece)
        return parts.take()

    async def text(self, limit=None):
        """The content as text: by the charset of Content-Type, UTF-8 (which is also ASCII) without one.

        Raises ValueError for octets that are no text, and for another charset than these and ISO-8859-1.
        """
        data = await self.read(limit)
        charset = _charset(self.headers.get(b"content-type", b""))
        if charset in (b"utf-8", b"utf8", b"us-ascii", b"ascii"):
            return str(data, "utf-8")
        if charset in (b"iso-8859-1", b"latin-1", b"latin1"):
            return "".join([chr(octet) for octet in data])
        raise ValueError("text in the charset %s, which is not supported" % str(charset, "utf-8"))

    async def json(self, limit=None):
        """What the content says in JSON. Raises ValueError for what is none."""
        return _json.loads(str(await self.read(limit), "utf-8"))

    def __aiter__(self):
        return self

    async def __anext__(self):
        """A piece of the content, 64 KiB at most; never an empty one."""
        piece = await self._next()
        if not piece:
            raise StopAsyncIteration
        return piece

    async def __aenter__(self):
        return self

    async def __aexit__(self, kind, error, traceback):
        await self.close()

    async def close(self):
        """Ends the response. The connection is kept where little of the content is left, else it is closed."""
        self._decoder = None
        self._ready = []
        if self._channel is None:
            return
        # What has no end that is known may come when it likes: it is not waited for.
        is_short = self.content_bytes is not None and self.content_bytes <= _DRAIN_BYTES
        left = _DRAIN_BYTES
        try:
            while left > 0:
                piece = await self._receive(_DRAIN_MS if is_short else 0)
                if not piece:
                    break
                left -= len(piece)
        except TransferError:
            pass
        self._give_up()

    def _take_ready(self):
        """A short response is whole already: the connection is free, whether or not anybody reads it."""
        http = self._channel.http
        ready = []
        try:
            while True:
                event = http.next_event()
                if event is NEED_DATA:
                    break
                if isinstance(event, EndOfMessage):
                    self.trailers = event.trailers
                    self._finish()
                    break
                ready.append(event)
        except RemoteError as error:
            self._error = wrong("body", error.reason)
            self._channel.abort()
            self._channel = None
        ready.reverse()
        self._ready = ready

    def _finish(self):
        """The message is complete: the connection may have another one."""
        channel = self._channel
        self._channel = None
        self._client.pool.release(channel)

    def _refuse(self, error):
        self._give_up()
        self._error = error
        raise error

    def _give_up(self):
        self._ready = []
        if self._channel is not None:
            self._channel.abort()
            self._channel = None
            self._error = TransferError(103, "body", "the response was closed")

    async def _next(self):
        """A piece of the content; b"" at the end."""
        decoder = self._decoder
        if decoder is None:
            return await self._receive()
        try:
            while True:
                piece = decoder.next()
                if piece is not None:
                    return piece
                data = await self._receive()
                if not data:
                    decoder.end()
                    return b""
                decoder.feed(data)
        except TransferError as error:
            self._refuse(error)

    async def _receive(self, timeout_ms=None):
        """A piece as it came. timeout_ms: body_ms unless given; 0: None where it would have to be waited for."""
        if self._ready:
            return self._ready.pop()
        channel = self._channel
        if channel is None:
            if self._error is not None:
                raise self._error
            return b""
        http = channel.http
        if timeout_ms != 0:
            channel.expect(timeout_ms or self._client.body_ms)
        try:
            while True:
                event = http.next_event()
                if event is NEED_DATA:
                    if timeout_ms == 0:
                        data = channel.flow.read_now(_READ_BYTES)
                        if data is None:
                            return None
                    else:
                        data = await channel.flow.read(_READ_BYTES)
                    http.receive_data(data)
                elif isinstance(event, EndOfMessage):
                    self.trailers = event.trailers
                    self._finish()
                    return b""
                else:
                    return event
        except OSError as error:
            self._error = timed_out("body") if channel.has_timed_out else failed("body", error)
        except RemoteError as error:
            self._error = wrong("body", error.reason)
        except BaseException:
            self._give_up()
            raise
        channel.abort()
        self._channel = None
        raise self._error


def _charset(content_type):
    for parameter in content_type.lower().split(b";")[1:]:
        name, _, value = parameter.strip(b" \t").partition(b"=")
        if name == b"charset":
            return value.strip(b'"')
    return b"utf-8"
