# SPDX-License-Identifier: MIT
"""What a handler is given: a request, whose body comes when it is asked for."""

import json

from ..http import paths, query
from ..http.errors import RemoteError
from ..http.parts import Parts
from ..http.utf8 import text_of


class Request:
    """head: http.server.Request: method, target, headers … as octets. headers: its fields. params: of the route's
    pattern, as text.

    method, path (decoded), query_string, host: text. remote: (ip, port).
    """

    def __init__(self, head, connection, params):
        self.head = head
        self.headers = head.headers
        self.params = params
        self.connection = connection

    @property
    def method(self):
        return self.head.method.decode()

    @property
    def path(self):
        return "/" + "/".join(paths.segments(self.head.target.partition(b"?")[0]))

    @property
    def query_string(self):
        return self.head.target.partition(b"?")[2].decode()

    @property
    def host(self):
        return self.head.authority.decode()

    @property
    def remote(self):
        return self.connection.flow.remote

    def query(self):
        """The query as a dict of text; the first of several values. RemoteError 400, which answers, when malformed."""
        return _fields(self.head.target.partition(b"?")[2])

    # --- the body ---

    @property
    def length(self):
        """Octets of the body, or None where it comes in chunks."""
        return self.head.length

    def allow_body(self, limit):
        """More octets of body than the server's limit, or fewer. None: any number. Before reading."""
        self.connection.http.body_limit = limit

    async def read(self):
        """All of the body. A longer one than allowed is answered with 413."""
        parts = Parts()
        while chunk := await self.connection.read_body():
            parts.add(chunk)
        return parts.take()

    async def read_chunk(self):
        """The next octets of the body as they came; b"" at its end. The client is slowed down to how fast they are
        asked for."""
        return await self.connection.read_body()

    async def text(self):
        """The body as text. 400 answers what is no UTF-8."""
        try:
            return text_of(await self.read())
        except ValueError:
            raise RemoteError(400, "the content is not UTF-8")

    async def json(self):
        """The body as JSON. 400 answers what is none."""
        try:
            return json.loads(await self.text())
        except ValueError:
            raise RemoteError(400, "the content is not JSON")

    async def form(self):
        """The fields of a form as a dict of text (application/x-www-form-urlencoded). 415 answers another type."""
        kind = self.headers.get(b"content-type", b"").partition(b";")[0].strip().lower()
        if kind != b"application/x-www-form-urlencoded":
            raise RemoteError(415, "not a form")
        return _fields(await self.read())

    def failed(self, error):
        """For who answers by himself: tells the console of an exception, with its traceback."""
        self.connection.failed(self.head, error)

    # --- another protocol ---

    async def upgrade(self, protocol, headers=()):
        """Answers 101: from here on the connection speaks `protocol` (bytes), which the client has offered.

        Returns (flow, rest): rest is what has come of it already. The connection is closed when the handler returns.
        """
        return await self.connection.upgrade(protocol, headers)


def _fields(data):
    try:
        pairs = query.parse(data)
    except ValueError as error:
        raise RemoteError(400, str(error))
    found = {}
    for name, value in pairs:
        if name not in found:
            found[name] = value
    return found
