# SPDX-License-Identifier: MIT
"""How long and how many: what a peer may send. One object may serve all connections of a server."""


class Limits:
    """Change an attribute for another limit.

    line_bytes: request or status line; a longer one is answered with 414 (RFC 9110 section 15.5.15; nginx has 8 KB).
    head_bytes, fields: all of a head, its lines; 431 (RFC 6585 section 5). Trailers have the same.
    body_bytes: content of a message, or None; 413. A server may set `connection.body_limit` for each request.
    chunk_line_bytes: a chunk's size with its extensions; extension_bytes: extensions of one message together; 400.
    drain_bytes: of a request's body that nobody has read, these are read and dropped so that the connection can go on.
    require_length: a request with a body says its length: chunked ones get 411.
    """

    def __init__(self):
        self.line_bytes = 8192
        self.head_bytes = 32768
        self.fields = 100
        self.body_bytes = 1 << 20
        self.chunk_line_bytes = 256
        self.extension_bytes = 4096
        self.drain_bytes = 65536
        self.require_length = False
