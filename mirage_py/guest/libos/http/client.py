# SPDX-License-Identifier: MIT
"""The client's end of a connection (RFC 9112). No I/O, no clock: connection.py says how it is driven."""

from micropython import const

from .connection import CLOSED, NEED_DATA, PAUSED, Connection, Framing
from .errors import LocalError, RemoteError
from .head import fields, is_token, octets, parse_fields, scan_target, scan_text
from .limits import Limits

_HEAD = const(0)  # as in connection.py
_DONE = const(7)
_SWITCHED = const(8)
_CLOSED = const(9)
_NOTHING = const(0)
_OUT_LENGTH = const(2)
_OUT_CHUNKS = const(3)

# Requests that may wait for their responses: pipelining is bounded.
_MAX_WAITING = const(64)
# Responses of 1xx before one final one.
_MAX_INFORMATIONAL = const(16)


class Response:
    """status, reason (bytes), version (10 or 11), headers (Headers).

    length: octets of content, None when that is not known before; 0: no event of content nor EndOfMessage follows.
    """

    is_informational = False

    def __init__(self, status, reason, version, headers, length):
        self.status = status
        self.reason = reason
        self.version = version
        self.headers = headers
        self.length = length


class Informational(Response):
    """A response of 1xx; the final one follows."""

    is_informational = True


class ClientConnection(Connection):
    """limits: Limits; without, content may be of any length.

    is_reusable: whether a request may be sent that gets a response of its own on this connection.
    """

    def __init__(self, limits=None):
        if limits is None:
            limits = Limits()
            limits.body_bytes = None
        super().__init__(limits)
        self._waiting = []  # (method, whether an upgrade was asked for) of requests without a response, oldest first
        self._informational = 0
        self._is_last = False  # a request has said that it is

    @property
    def is_reusable(self):
        idle = self._reading == _HEAD and self._writing == _NOTHING and not self._waiting
        return idle and self.keep_alive and not self._is_last and not self._is_ended and self._at == len(self._buf)

    def next_event(self):
        """Response, Informational, bytes, EndOfMessage, NEED_DATA, PAUSED (switched) or CLOSED.

        Raises RemoteError (status 502; 413 for too much content): close then.
        """
        reading = self._reading
        try:
            if reading == _HEAD:
                return self._response()
            if reading < _DONE:
                return self._body_event()
        except RemoteError as error:
            self._reading = _CLOSED
            self.keep_alive = False
            if error.status != 413:
                error.status = 502
            raise
        return PAUSED if reading == _SWITCHED else CLOSED

    def _response(self):
        buf = self._buf
        at = self._at
        have = len(buf) - at
        if not self._waiting:
            if have:
                self._fail(502, "a response that nobody asked for")
            if not self._is_ended:
                return NEED_DATA
            self._reading = _CLOSED
            return CLOSED
        limit = self.limits.line_bytes
        eol = buf.find(b"\r\n", at, at + limit + 2)
        if eol < 0:
            if have > limit + 1 or buf.find(b"\n", at) >= 0:
                self._fail(502, "malformed status line")
            if self._is_ended:
                self._fail(502, "the connection ended before the response")
            return NEED_DATA
        line = buf[at:eol]
        end = self._fields_end(eol + 2, at)
        if end is None:
            return NEED_DATA
        # The space behind the status is sometimes left out with the reason.
        if line[:9] not in (b"HTTP/1.1 ", b"HTTP/1.0 ") or line[12:13] not in (b"", b" "):
            self._fail(502, "malformed status line")
        if not line[9:12].isdigit() or scan_text(line, 0, len(line)) != len(line):
            self._fail(502, "malformed status line")
        status = int(line[9:12])
        if not 100 <= status <= 599:
            self._fail(502, "malformed status line")
        version = 10 + line[7] - 48
        headers = parse_fields(buf, eol + 2, end - 2)
        framing = Framing(headers)
        if framing.is_chunked and version == 10:
            self._fail(502, "chunked content in HTTP/1.0")
        self._at = end
        self._looked = self._seen = 0
        method, upgrade = self._waiting[0]
        if status < 200:
            return self._interim(status, line[13:], version, headers, upgrade)
        self._informational = 0
        del self._waiting[0]
        if version == 11:
            persists = not framing.close
        else:
            persists = framing.keep_alive and not framing.close
        if not persists:
            self.keep_alive = False
        length = framing.length
        if method == b"CONNECT" and status < 300:
            self._reading = _SWITCHED
            length = 0
        elif method == b"HEAD" or status == 204 or status == 304:
            length = 0
            self._message_read()
        else:
            self._expect_body(length, framing.is_chunked)
            if length is None and not framing.is_chunked:
                self.keep_alive = False
            if self._reading == _DONE:
                self._message_read()
        return Response(status, line[13:], version, headers, length)

    def _interim(self, status, reason, version, headers, upgrade):
        if status == 101:
            if upgrade is None:
                self._fail(502, "101 that nobody asked for")
            if [offer.lower() for offer in headers.elements(b"upgrade")] != [upgrade]:
                self._fail(502, "101 to another protocol")
            self._waiting.clear()
            self._reading = _SWITCHED
            return Response(status, reason, version, headers, 0)
        self._informational += 1
        if self._informational > _MAX_INFORMATIONAL:
            self._fail(502, "more than %d informational responses" % _MAX_INFORMATIONAL)
        return Informational(status, reason, version, headers, 0)

    def _message_read(self):
        self._informational = 0
        goes_on = self.keep_alive and not (self._is_last and not self._waiting)
        self._reading = _HEAD if goes_on else _CLOSED

    def _message_sent(self):
        self._writing = _NOTHING

    # --- requests ---

    def send_request(self, method, target, host, headers=(), body=None, close=False):
        """A whole request. method, target, host: bytes or ASCII text; host as for Host: `name[:port]`.

        headers: pairs, or Prepared. body: bytes, or None. Raises LocalError, and nothing has happened.
        """
        data = self.start_request(method, target, host, headers, None if body is None else len(body), close=close)
        if body is None:
            return data
        data += self.send_data(body) if body else b""
        return data + self.send_end()

    def start_request(
        self,
        method,
        target,
        host,
        headers=(),
        length=None,
        chunked=False,
        close=False,
        expect_continue=False,
        upgrade=None,
    ):
        """The head of a request; content follows with send_data() and send_end() when it has a length, or is chunked.

        expect_continue: the server is asked to send 100 before there is content: wait for an event, or a second.
        upgrade: name of a protocol that is asked for.
        """
        method = octets(method)
        target = octets(target)
        host = octets(host)
        is_open = self.keep_alive and not self._is_last and self._reading < _DONE
        if not is_open or self._writing != _NOTHING or len(self._waiting) >= _MAX_WAITING:
            raise LocalError("no request can be sent now")
        for waiting, asked in self._waiting:
            # What follows them may not be HTTP.
            if waiting == b"CONNECT" or asked is not None:
                raise LocalError("no request can be sent now")
        if not is_token(method):
            raise LocalError("the method is no token")
        if not target or scan_target(target, 0, len(target)) != len(target):
            raise LocalError("the target has a character that a URL cannot have")
        if scan_target(host, 0, len(host)) != len(host):
            raise LocalError("the host has a character that a host cannot have")
        parts = [method, b" ", target, b" HTTP/1.1\r\nHost: ", host, b"\r\n", fields(headers)]
        writing = _NOTHING
        if chunked:
            parts.append(b"Transfer-Encoding: chunked\r\n")
            writing = _OUT_CHUNKS
        elif length is not None:
            parts.append(b"Content-Length: %d\r\n" % length)
            self._unsent = length
            writing = _OUT_LENGTH
        if expect_continue and writing:
            parts.append(b"Expect: 100-continue\r\n")
        if upgrade is not None:
            upgrade = octets(upgrade)
            if not is_token(upgrade):
                raise LocalError("the protocol is no token")
            parts.append(b"Connection: Upgrade\r\nUpgrade: " + upgrade + b"\r\n")
            upgrade = upgrade.lower()
        elif close:
            parts.append(b"Connection: close\r\n")
        parts.append(b"\r\n")
        self._is_last = close
        self._writing = writing
        self._waiting.append((method, upgrade))
        return b"".join(parts)
