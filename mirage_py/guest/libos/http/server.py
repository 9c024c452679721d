# SPDX-License-Identifier: MIT
"""The server's end of a connection (RFC 9112). No I/O, no clock: connection.py says how it is driven."""

from micropython import const

from .authority import is_authority
from .connection import CLOSED, NEED_DATA, PAUSED, Connection, Framing
from .errors import LocalError, RemoteError
from .head import Prepared, fields, parse_fields, scan_target, scan_token
from .reasons import status_line

_HEAD = const(0)  # as in connection.py
_LENGTH = const(1)
_DONE = const(7)
_SWITCHED = const(8)
_CLOSED = const(9)
_NOTHING = const(0)
_ANSWER = const(1)
_OUT_LENGTH = const(2)
_OUT_CHUNKS = const(3)
_OUT_UNTIL_CLOSE = const(4)
_OUT_DROPPED = const(5)

_METHOD_BYTES = const(32)
# A head that came before is known again by its octets, up to this length: it stays with the connection.
_KNOWN_BYTES = const(1024)


class Request:
    """method, target: bytes. target is what follows the authority ("/path?query"), "*", or for CONNECT the authority.

    authority: of the target where that has one, else Host (b"" for none). version: 10 or 11. headers: Headers.
    length: octets of content, None when they come in chunks; 0: no event of content nor EndOfMessage follows.
    """

    def __init__(self, method, target, version, headers, length, authority):
        self.method = method
        self.target = target
        self.version = version
        self.headers = headers
        self.length = length
        self.authority = authority


class ServerConnection(Connection):
    """limits: Limits. common: a Prepared, or anything with .octets, that goes into each response; it may change."""

    def __init__(self, limits=None, common=None):
        super().__init__(limits)
        self.common = common or _EMPTY
        self.requests = 0  # that have been read
        self._method = None
        self._version = 11
        self._framing = None
        self._is_blank = False  # an empty line has come before the request
        self._is_waiting = False  # the client waits for 100 before it sends content
        self._known = b""  # field lines of the request before
        self._known_headers = None
        self._known_framing = None
        self._same = None  # a whole request, by itself, that has been read before
        self._same_request = None
        self._same_framing = None

    @property
    def can_respond(self):
        """Whether a request, or an error of the head of one, has not been answered."""
        return self._writing == _ANSWER

    def next_event(self):
        """Request, bytes, EndOfMessage, NEED_DATA, PAUSED or CLOSED.

        Raises RemoteError: answer it with its status where `can_respond`, and close.
        """
        reading = self._reading
        if reading == _HEAD:
            buf = self._buf
            if self._at == len(buf) and not self._is_ended:
                if len(buf) > _KNOWN_BYTES:
                    # An idle connection keeps no head.
                    self._buf = b""
                    self._at = 0
                return NEED_DATA
            if buf == self._same and self._at == 0:
                # Octet for octet what was read before: so is its meaning. Clients that poll, and load balancers, send
                # little else.
                request = self._same_request
                self._at = len(buf)
                self._looked = self._taken = 0
                self._method = request.method
                self._version = 11
                self._framing = self._same_framing
                self.keep_alive = True
                self.body_limit = self.limits.body_bytes
                self._reading = _DONE
                self._writing = _ANSWER
                self.requests += 1
                return request
            try:
                return self._request()
            except RemoteError:
                self._reading = _CLOSED
                self.keep_alive = False
                self._writing = _ANSWER
                self._method = None
                raise
        if reading < _DONE:
            if self._writing == _NOTHING:
                return self._drained()
            self._is_waiting = False
            return self._body_event()
        if reading == _CLOSED and self._writing == _NOTHING:
            return CLOSED
        return PAUSED

    def _request(self):
        buf = self._buf
        at = self._at
        eol = buf.find(b"\r\n", at)
        if eol == at and not self._is_blank:
            # RFC 9112 section 2.2: an empty line before the request is forgiven, once.
            self._is_blank = True
            self._at = at = at + 2
            eol = buf.find(b"\r\n", at)
        if eol < 0 or eol - at > self.limits.line_bytes:
            return self._no_line(buf, at)
        first = eol + 2
        known = self._known
        if known and buf.startswith(known, first):
            headers = self._known_headers
            framing = self._known_framing
            end = first + len(known)
        else:
            end = self._fields_end(first, at)
            if end is None:
                return NEED_DATA
            headers = parse_fields(buf, first, end - 2)
            framing = Framing(headers)
            if framing.host and not is_authority(framing.host):
                self._fail(400, "Host is no host")
            # Who asks once only need not be remembered.
            if self.requests and end - first <= _KNOWN_BYTES:
                self._known = buf[first:end]
                self._known_headers = headers
                self._known_framing = framing
        # The request line: method SP target SP version.
        space = scan_token(buf, at, eol)
        behind = scan_target(buf, space + 1, eol)
        version = buf[behind:eol]
        version = 11 if version == b" HTTP/1.1" else self._version_of(version)
        if space == at or buf[space] != 32 or behind <= space + 1:
            self._fail(400, "malformed request line")
        if space - at > _METHOD_BYTES:
            self._fail(501, "a method of more than %d octets" % _METHOD_BYTES)
        method = buf[at:space]
        target = buf[space + 1 : behind]
        authority = framing.host
        if authority is None:
            if version == 11:
                self._fail(400, "no Host")
            authority = b""
        if target[0] != 47 or method == b"CONNECT":
            target, authority = self._other_target(method, target, authority)
        length = framing.length
        if version == 11:
            self.keep_alive = not framing.close
        else:
            self.keep_alive = framing.keep_alive and not framing.close
            if framing.is_chunked:
                self._fail(400, "chunked content in HTTP/1.0")
        if framing.expects is not None and version == 11:
            self._expected(framing)
        if method == b"CONNECT" and (length or framing.is_chunked):
            self._fail(400, "content with CONNECT")
        self._at = end
        self._looked = self._seen = 0
        self._is_blank = False
        self._method = method
        self._version = version
        self._framing = framing
        self._writing = _ANSWER
        self.requests += 1
        if framing.is_chunked:
            if self.limits.require_length:
                self._fail(411, "chunked content")
            self._expect_body(None, True)
        elif length:
            self._expect_body(length, False)
        else:
            length = 0
            self._reading = _DONE
            if end == len(buf) and not at and end <= _KNOWN_BYTES and self.keep_alive and version == 11:
                request = Request(method, target, version, headers, length, authority)
                self._same = buf
                self._same_request = request
                self._same_framing = framing
                return request
        return Request(method, target, version, headers, length, authority)

    def _no_line(self, buf, at):
        have = len(buf) - at
        if self._is_ended:
            if have == 0:
                self._reading = _CLOSED
                self.keep_alive = False
                return CLOSED
            self._fail(400, "the connection ended inside a head")
        # What is no HTTP at all (TLS, a line that ends with LF alone) is told at once.
        space = scan_token(buf, at, min(len(buf), at + _METHOD_BYTES + 1))
        if space - at > _METHOD_BYTES:
            self._fail(501, "a method of more than %d octets" % _METHOD_BYTES)
        if space < len(buf) and (space == at or buf[space] != 32) and buf[at:] != b"\r":
            self._fail(400, "malformed request line")
        if have > self.limits.line_bytes + 1:
            self._fail(414, "the request line is longer than %d octets" % self.limits.line_bytes)
        if buf.find(b"\n", max(at, self._seen)) >= 0:
            self._fail(400, "malformed request line")
        self._seen = len(buf)
        return NEED_DATA

    def _version_of(self, text):
        if text == b" HTTP/1.0":
            return 10
        if len(text) == 9 and text.startswith(b" HTTP/") and text[7] == 46:
            if not text[6:7].isdigit() or not text[8:].isdigit():
                self._fail(400, "malformed request line")
            if text[6] != 0x31:
                self._fail(505, "not HTTP/1")
            return 11  # RFC 9110 section 2.5: a higher minor version is understood
        return self._fail(400, "malformed request line")

    def _other_target(self, method, target, authority):
        """RFC 9112 section 3.2: authority-form, asterisk-form, absolute-form."""
        if method == b"CONNECT":
            if not is_authority(target) or not target.rpartition(b":")[2].isdigit() or target[0] == 58:
                self._fail(400, "CONNECT wants a host and a port")
            return target, target
        if target == b"*" and method == b"OPTIONS":
            return target, authority
        scheme, _, rest = target.partition(b"://")
        if scheme.lower() not in (b"http", b"https"):
            self._fail(400, "the target is of no known form")
        end = len(rest)
        for mark in (b"/", b"?"):
            at = rest.find(mark)
            if 0 <= at < end:
                end = at
        # Its authority counts, whatever Host says (section 3.2.2).
        authority = rest[:end]
        path = rest[end:]
        if not authority or not is_authority(authority) or authority[0] == 58:
            self._fail(400, "the target is of no known form")
        if not path and method == b"OPTIONS":
            return b"*", authority
        return (path if path.startswith(b"/") else b"/" + path), authority

    def _expected(self, framing):
        """RFC 9110 section 10.1.1."""
        if framing.expects != b"100-continue":
            self._fail(417, "an expectation other than 100-continue")
        self._is_waiting = framing.is_chunked or bool(framing.length)

    def _drained(self):
        """The response is complete, the request is not: the rest of its content is dropped."""
        while True:
            event = self._body_event()
            if event is NEED_DATA:
                return event
            if type(event) is bytes:
                continue
            return self.next_event()

    def _message_read(self):
        if self._writing == _NOTHING:
            self._next()

    def _can_drain(self):
        """Whether the rest of the request may be read and dropped; decided before the response says so."""
        if self._reading == _DONE:
            return True
        left = self._left
        if self._reading != _LENGTH or self._is_waiting or left > self.limits.drain_bytes:
            return False
        return self.body_limit is None or left <= self.body_limit

    def _next(self):
        self._reading = _HEAD if self.keep_alive else _CLOSED
        self._writing = _NOTHING
        self._looked = self._seen = 0

    def _message_sent(self):
        self._writing = _NOTHING
        if self._reading >= _DONE or not self.keep_alive:
            self._next()

    # --- responses ---

    def send_continue(self):
        """b"" or, when the client waits for it, 100 (Continue). RemoteError 413 when its content would be too long."""
        if not self._is_waiting:
            return b""
        length = self._framing.length
        if length and self.body_limit is not None and length > self.body_limit:
            self._fail(413, "content of more than %d octets" % self.body_limit)
        self._is_waiting = False
        return b"HTTP/1.1 100 Continue\r\n\r\n"

    def send_informational(self, status, headers=()):
        """A 1xx response before the final one, as 103; b"" to a client of HTTP/1.0, which knows none."""
        if not 102 <= status <= 199 or self._writing != _ANSWER:
            raise LocalError("no informational response now")
        return status_line(status) + fields(headers) + b"\r\n" if self._version == 11 else b""

    def send_response(self, status, headers=(), body=b"", close=False):
        """A whole response. headers: pairs, or Prepared. body: bytes; for HEAD its length is said, it is not sent.

        close: the connection ends with it. Raises LocalError, and nothing has happened.
        """
        method = self._method
        if (
            close
            or not 200 <= status < 600
            or status == 204
            or status == 304
            or method == b"HEAD"
            or method == b"CONNECT"
        ):
            return self._start(status, headers, len(body), close, body)
        if self._writing != _ANSWER or self._reading != _DONE or self._version == 10 or not self.keep_alive:
            return self._start(status, headers, len(body), close, body)
        block = headers.octets if type(headers) is Prepared else fields(headers)
        data = b"".join(
            (status_line(status), self.common.octets, block, b"Content-Length: %d\r\n\r\n" % len(body), body)
        )
        self._reading = _HEAD
        self._writing = _NOTHING
        return data

    def send_again(self):
        """Whether what send_response() returned for a GET may be sent once more, octet for octet: then the response is
        complete. What goes into each response must still be the same: that is the caller's to know.
        """
        if self._writing != _ANSWER or self._reading != _DONE or self._version == 10 or not self.keep_alive:
            return False
        if self._method != b"GET":
            return False
        self._reading = _HEAD
        self._writing = _NOTHING
        return True

    def start_response(self, status, headers=(), length=None, close=False):
        """The head of a response whose content follows with send_data() and send_end().

        length: octets of content; None: in chunks, or to HTTP/1.0 until the connection ends. After 2xx to CONNECT the
        connection is_switched, and nothing of this follows.
        """
        return self._start(status, headers, length, close, None)

    def _start(self, status, headers, length, close, body):
        """body: None, or all of the content."""
        if self._writing != _ANSWER:
            raise LocalError("there is no request to answer")
        if not 200 <= status <= 599:
            raise LocalError("not the status of a response: %d" % status)
        method = self._method
        start = status_line(status) + self.common.octets + fields(headers)
        if method == b"CONNECT" and status < 300:
            if length:
                raise LocalError("no content goes with %d to CONNECT" % status)
            self._reading = _SWITCHED
            self._writing = _NOTHING
            return start + b"\r\n"
        writing = _OUT_LENGTH
        if status == 204 or status == 304:
            writing = _OUT_DROPPED
        elif length is not None:
            start += b"Content-Length: %d\r\n" % length
        elif self._version == 11:
            start += b"Transfer-Encoding: chunked\r\n"
            writing = _OUT_CHUNKS
        else:
            writing = _OUT_UNTIL_CLOSE
            close = method != b"HEAD"
        if close or not self._can_drain():
            self.keep_alive = False
        if not self.keep_alive:
            start += b"Connection: close\r\n"
        elif self._version == 10:
            start += b"Connection: keep-alive\r\n"
        start += b"\r\n"
        self._is_waiting = False
        if method == b"HEAD" or writing == _OUT_DROPPED:
            self._writing = _OUT_DROPPED
        else:
            self._writing = writing
            self._unsent = length
            if body:
                start += self.send_data(body)
        if body is not None:
            self.send_end()
        return start

    def send_upgrade(self, protocol, headers=()):
        """101: what follows is `protocol` (bytes), which the client has offered; take_rest() has the first of it.

        Raises LocalError when it has not, or its content has not been read yet.
        """
        framing = self._framing
        if self._writing != _ANSWER or self._reading != _DONE or self._version != 11 or not framing.upgrade:
            raise LocalError("the client does not want to upgrade now")
        if protocol.lower() not in [offer.lower() for offer in framing.upgrades]:
            raise LocalError("the client has not offered %s" % protocol.decode())
        data = b"".join(
            (
                status_line(101),
                self.common.octets,
                fields(headers),
                b"Connection: Upgrade\r\nUpgrade: ",
                protocol,
                b"\r\n\r\n",
            )
        )
        self._reading = _SWITCHED
        self._writing = _NOTHING
        return data


_EMPTY = Prepared()
