# SPDX-License-Identifier: MIT
"""An HTTP/1.1 server over any stack (RFC 9110, 9112): routes, handlers, limits, time.

What is below may be TCP of ours, the system's sockets, or TLS over either: it is an object with tcp.listen.
"""

import asyncio

from ..http import dates
from ..http.head import Prepared, fields
from ..http.limits import Limits
from .connection import HEAD, IDLE, LINGER, Connection
from .response import Response, typed
from .router import Router

# A clock that is before 2025 has not been set.
_WALL_KNOWN_S = 1735689600
_TYPES = 64
# So many more than max_connections, while those that were sent away are not gone yet.
_LEAVING = 32
_BUSY = b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 5\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


class _Common:
    """Field lines that each response has: octets."""

    def __init__(self, octets):
        self.octets = octets


class HttpServer:
    """A server on one port of a stack.

    stack: tcp.listen, tcp.unlisten. log: app.log.Log. clock: wall_ns(). port: TCP. health: a path that answers 200
    while the server serves. metrics, access, redirect: Metrics, AccessLog, Redirect of libos.web.metrics, .access,
    .redirect; None for without. hsts_s: for so long browsers come over HTTPS only (RFC 6797); 0: not said. name: of
    its counters.

    Attributes that may be changed before start(): limits (http.limits.Limits), max_connections, and in seconds head_s
    (a head has come), body_s (a body has come; 500 octets give a second more), write_s (each 64 KiB of an answer have
    been taken), idle_s (the next request begins), drain_s (what is in flight at the end).
    """

    def __init__(
        self, stack, log, clock, port=8080, health=None, metrics=None, access=None, redirect=None, hsts_s=0, name="http"
    ):
        self.stack = stack
        self.log = log
        self.clock = clock
        self.port = port
        self.access = access
        self.limits = Limits()
        self.max_connections = 512
        self.head_s = 10
        self.body_s = 20
        self.write_s = 60
        self.idle_s = 60
        self.drain_s = 4
        self.connections = {}
        self.counters = {
            "connections": 0,
            "errors": 0,
            "failures": 0,
            "malformed": 0,
            "timeouts": 0,
            "evicted": 0,
            "rejected": 0,
        }
        self.requests = 0
        self.tick = 0  # seconds, while there are connections
        self.write_until = self.idle_until = 0
        self.is_closing = False
        self._router = Router()
        self.known = self._router.known
        self.find = self._router.find
        self._redirect = redirect
        self._hsts_s = hsts_s
        self._own = b""
        self._wall_s = None
        self.common = _Common(b"")
        self._types = {}
        self._sweeper = None
        more = getattr(stack, "more_counters", None)
        if more is not None:
            more[name if name not in more else "%s_%d" % (name, port)] = self.counters
        if health is not None:
            self.route("GET", health, self._health)
        if metrics is not None:
            metrics.attach(self)

    # --- what is served ---

    def route(self, method, pattern, handler=None, limit=None):
        """Has `handler(request)` answer there: `async def`, or a plain function.

        It returns a Response, text, bytes, a dict or list (JSON), or None (204). method: "GET", "GET, POST".
        pattern: "/users/<id>", "/n/<int:number>", "/files/<path:rest>": request.params. limit: octets of a request's
        body. Without a handler: a decorator. ValueError for a pattern that is none, and for two handlers in one place.
        """
        if handler is None:
            return lambda function: self.route(method, pattern, function, limit)
        self._router.add(method, pattern, handler, limit)
        return handler

    def folder(self, prefix, files, max_age_s=0):
        """Serves files (hal.files.Files, or what has its lookup) below the path `prefix`, behind all routes.

        max_age_s: for so long a browser need not ask again; 0: it asks each time, and mostly hears 304.
        """
        from .static import Folder

        if not prefix.endswith("/"):
            prefix += "/"
        self._router.add_folder(prefix, Folder(prefix, files, max_age_s))

    def websocket(self, pattern, handler, protocols=(), origins=None, max_message_bytes=1 << 20):
        """Has `async def handler(ws)` speak with each WebSocket there: `async for message in ws`, ws.send, ws.close.

        protocols: bytes, what is spoken. origins: of the pages that may connect; None: those of this host only, ()
        for all. libos.web.websocket.WebSocket says more.
        """
        from .websocket import Acceptor

        self.route("GET", pattern, Acceptor(handler, protocols, origins, max_message_bytes))

    def events(self, pattern, handler):
        """Has `async def handler(events)` send server-sent events there: await events.send(data, event, id)."""
        from .events import respond

        self.route("GET", pattern, lambda request: respond(request, handler))

    # --- life ---

    def start(self):
        """Listens; returns at once. OSError(EADDRINUSE)."""
        if self._hsts_s:
            self._own = fields(((b"Strict-Transport-Security", b"max-age=%d" % self._hsts_s),))
        self.refresh()
        self.stack.tcp.listen(self.port, self._accept)
        if self._redirect is not None:
            self._redirect.start(self)

    async def serve(self):
        """Listens and serves until it is cancelled (as by the power button); then close()."""
        self.start()
        try:
            await asyncio.Event().wait()
        finally:
            await self.close()

    async def close(self):
        """Accepts no more; answers what is in flight, at most for drain_s; closes what is idle."""
        if self.is_closing:
            return
        self.is_closing = True
        self.stack.tcp.unlisten(self.port)
        if self._redirect is not None:
            await self._redirect.close()
        for connection in list(self.connections):
            connection.go_away()
        left = self.drain_s * 20
        while self.connections and left > 0:
            await asyncio.sleep(0.05)
            left -= 1
        for connection in list(self.connections):
            connection.flow.abort()

    # --- connections ---

    async def _accept(self, flow):
        counters = self.counters
        counters["connections"] += 1
        if self.is_closing:
            return
        if len(self.connections) >= self.max_connections and not await self._make_room():
            counters["rejected"] += 1
            await flow.write(_BUSY)
            return
        if self._sweeper is None:
            self.refresh()
            self._sweeper = asyncio.create_task(self._sweep())
        # What belongs together is written together; the end of an answer does not wait for an acknowledgement.
        flow.set_no_delay(True)
        connection = Connection(self, flow)
        self.connections[connection] = None
        try:
            await connection.serve()
        finally:
            self.connections.pop(connection, None)

    async def _make_room(self):
        """Whether there is a place for one more."""
        if len(self.connections) >= self.max_connections + _LEAVING:
            await asyncio.sleep(0)  # those that were sent away go
            if len(self.connections) >= self.max_connections + _LEAVING:
                return False
        return self._evict()

    def _evict(self):
        """Sends one away: who is idle or ends anyway, else who has taken longest over a head. False: all are busy."""
        found = None
        for connection in self.connections:
            waits = connection.waits
            if not connection.why and waits in (IDLE, HEAD, LINGER):
                if waits != HEAD:
                    found = connection
                    break
                if found is None or connection.until < found.until:
                    found = connection
        if found is None:
            return False
        self.counters["evicted"] += 1
        found.end(found.waits)
        return True

    async def _sweep(self):
        """Each second: a new date, and an end to what has taken too long. Ends when there was nobody for a second."""
        try:
            is_quiet = False
            while not is_quiet:
                await asyncio.sleep(1)
                self.tick += 1
                self.refresh()
                tick = self.tick
                for connection in list(self.connections):
                    if connection.until and connection.until <= tick and not connection.why:
                        if connection.waits != IDLE:
                            self.counters["timeouts"] += 1
                        connection.end(connection.waits)
                is_quiet = not self.connections
        finally:
            self._sweeper = None

    def refresh(self):
        """What changes by the second: deadlines, the date, the number of requests."""
        self.write_until = self.tick + self.write_s
        self.idle_until = self.tick + self.idle_s
        self.counters["requests"] = self.requests
        wall_s = self.clock.wall_ns() // 1000000000
        if wall_s != self._wall_s:
            self._wall_s = wall_s
            # RFC 9110 section 6.6.1: who has no clock sends no date.
            date = b"Date: " + dates.format(wall_s) + b"\r\n" if wall_s >= _WALL_KNOWN_S else b""
            self.common.octets = date + self._own

    def type_header(self, media_type):
        """Prepared: Content-Type."""
        found = self._types.get(media_type)
        if found is None:
            if len(self._types) >= _TYPES:
                self._types.clear()
            found = self._types[media_type] = typed(media_type)
        return found

    def _health(self, _request):
        if self.is_closing:
            return Response("going away\n", 503)
        return Response("ok\n", headers=_NO_STORE)


_NO_STORE = Prepared(((b"Cache-Control", b"no-store"), (b"Content-Type", b"text/plain; charset=utf-8")))
