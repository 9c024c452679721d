# SPDX-License-Identifier: MIT
"""What a handler answers with."""

import json

from ..http.head import Prepared

TEXT = "text/plain; charset=utf-8"
JSON = "application/json"


class Response:
    """A response.

    body: bytes; text; a dict or list, which becomes JSON; what is sent piece by piece: an async generator or another
        async iterable of bytes (or text), an iterable of them, or `async def body(writer)`, which awaits
        writer.write(data).
    headers: pairs of bytes or ASCII text, or a Prepared. type: the media type; one that fits the body unless given,
        "" for none. length: of a body that comes in pieces, where it is known.
    """

    # For a response that is given again and again: its octets, and what of all responses they were made with.
    is_constant = False
    made = made_with = None
    part = None  # part(start, end): octets of the body, without a copy of them

    def __init__(self, body=b"", status=200, headers=(), type=None, length=None):
        if isinstance(body, str):
            body = body.encode()
            if type is None:
                type = TEXT
        elif isinstance(body, (dict, list)):
            body = json.dumps(body).encode()
            if type is None:
                type = JSON
        elif isinstance(body, (bytearray, memoryview)):
            body = bytes(body)
        self.body = body
        self.status = status
        self.headers = headers
        self.type = type
        self.length = length


class HttpError(Exception):
    """Raised by a handler in place of an answer: HttpError(404), HttpError(400, "no such colour")."""

    def __init__(self, status, body=None, headers=()):
        super().__init__(status)
        self.status = status
        self.body = body
        self.headers = headers


def redirect(location, status=303):
    """A response that sends the client elsewhere: 303 to look there, 307 or 308 to ask the same there."""
    return Response(b"", status, ((b"Location", location),))


def typed(media_type):
    """Checked octets of a Content-Type, for any number of responses."""
    return Prepared(((b"Content-Type", media_type),)) if media_type else Prepared()
