# SPDX-License-Identifier: MIT
"""Server-sent events (HTML, section 9.2): a response that goes on."""

import asyncio

from ..http import sse
from ..http.head import Prepared
from .response import Response

_HEADERS = Prepared(((b"Content-Type", sse.CONTENT_TYPE), (b"Cache-Control", b"no-store")))
_BEAT_S = 15


class Events:
    """What a handler of events sends with. request: who asked. last_id: the id of the last event that the client has
    seen before it lost us (text), or None."""

    def __init__(self, request, writer):
        self.request = request
        last_id = request.headers.get(b"last-event-id")
        self.last_id = None if last_id is None else last_id.decode()
        self._writer = writer
        self._is_quiet = False

    async def send(self, data, event=None, id=None, retry_ms=None):
        """data: text. event: its name. id: for last_id. retry_ms: how long a client waits before it connects again.

        OSError when the client is gone; the handler then ends.
        """
        await self._write(sse.event(data, event, id, retry_ms))

    async def _write(self, data):
        while self._writer.is_writing:
            await asyncio.sleep(0.02)
        self._is_quiet = False
        await self._writer.write(data)

    async def _beat(self):
        """A comment now and then: a client that has gone shows, and nobody on the way takes the connection for idle."""
        try:
            while True:
                self._is_quiet = True
                await asyncio.sleep(_BEAT_S)
                if self._is_quiet and not self._writer.is_writing:
                    await self._write(sse.KEEP_ALIVE)
        except OSError:
            self._writer.give_up()


def respond(request, handler):
    """The Response that has `handler(events)` write it."""

    async def body(writer):
        events = Events(request, writer)
        beat = asyncio.create_task(events._beat())
        try:
            await events._write(b":\n\n")  # the head goes out now, and not with the first event
            await handler(events)
        finally:
            beat.cancel()

    return Response(body, 200, _HEADERS)
