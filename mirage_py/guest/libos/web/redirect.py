# SPDX-License-Identifier: MIT
"""A second port, without TLS, that sends everybody to the first."""

from .response import HttpError, Response
from .router import Route
from .server import HttpServer


class Redirect:
    """stack: the one below TLS. port: TCP, without TLS. log, clock: as for HttpServer."""

    def __init__(self, stack, log, clock, port=8080):
        self._server = HttpServer(stack, log, clock, port, name="http_redirect")
        self._server.find = self._find
        self._server.limits.body_bytes = 0
        self._to_port = 443

    def start(self, server):
        """server: where clients are sent."""
        self._to_port = server.port
        self._server.start()

    async def close(self):
        await self._server.close()

    def _find(self, head):
        route = Route()
        for method in (b"GET", b"HEAD", head.method):
            route.methods[method] = self._answer
        return route, None

    def _answer(self, request):
        head = request.head
        host = head.authority
        # Without the port: what comes behind the last colon, unless that is inside of an IPv6 address.
        name, colon, digits = host.rpartition(b":")
        if colon and digits.isdigit():
            host = name
        if not host or head.target == b"*":
            raise HttpError(400)
        if self._to_port != 443:
            host = b"%s:%d" % (host, self._to_port)
        return Response(b"", 308, ((b"Location", b"https://" + host + head.target),))
