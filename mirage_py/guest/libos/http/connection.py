# SPDX-License-Identifier: MIT
"""One HTTP/1.1 connection (RFC 9112), what both ends share: events, framing, bodies both ways. No I/O, no clock.

Octets come in with receive_data(), `next_event()` tells what they mean, and each send_*() returns octets to send. What
the peer does wrong is a RemoteError out of next_event(); what our caller does wrong a LocalError, and nothing is sent.

Events: a Request or a Response; content as `bytes`, as it comes; an EndOfMessage after the content, but not where
`length` of the message is 0: that one ends with its head. NEED_DATA: receive more. PAUSED: nothing more is read before
we have answered, so stop receiving. CLOSED: nothing more will come, and when what was to be sent is sent, close.
"""

from micropython import const

from .errors import LocalError, RemoteError
from .head import MALFORMED, Headers, fields, parse_fields, scan_fields, scan_text
from .limits import Limits

# Of Connection, Upgrade and the like; nobody has use for ten.
_MAX_ELEMENTS = const(32)

# What is read next.
_HEAD = const(0)
_LENGTH = const(1)
_UNTIL_CLOSE = const(2)
_CHUNK_LINE = const(3)
_CHUNK_DATA = const(4)
_CHUNK_END = const(5)
_TRAILERS = const(6)
_DONE = const(7)
_SWITCHED = const(8)
_CLOSED = const(9)
# What is written next: nothing, a head, content of a length, chunks, content until the end, content that is not sent.
_NOTHING = const(0)
_ANSWER = const(1)
_OUT_LENGTH = const(2)
_OUT_CHUNKS = const(3)
_OUT_UNTIL_CLOSE = const(4)
_OUT_DROPPED = const(5)


class _Signal:
    def __init__(self, name):
        self.name = name

    def __repr__(self):
        return self.name


NEED_DATA = _Signal("NEED_DATA")
PAUSED = _Signal("PAUSED")
CLOSED = _Signal("CLOSED")


class EndOfMessage:
    """The content is complete. trailers: Headers, mostly empty."""

    def __init__(self, trailers):
        self.trailers = trailers


class Framing:
    """What the fields of a head say about the connection (RFC 9112 sections 6, 7.6.1; RFC 9110 sections 7.2, 7.8).

    length: Content-Length, or None. is_chunked. close, keep_alive, upgrade: options of Connection. upgrades: list of
    protocols as they came, for the case of `upgrade`. expects: Expect, in lower case, or None. host: Host, or None.
    Raises RemoteError where the end of the message could be understood in two ways.
    """

    def __init__(self, headers):
        self.length = None
        self.is_chunked = False
        self.close = self.keep_alive = self.upgrade = False
        self.expects = self.host = None
        self.upgrades = []
        codings = None
        for name, value in headers.pairs:
            if name not in _FRAMING:
                continue
            # An element takes 72 octets of heap, for as little as two of the peer's.
            if value.count(b",") >= _MAX_ELEMENTS:
                raise RemoteError(400, "a list of more than %d elements" % _MAX_ELEMENTS)
            if name == b"host":
                if self.host is not None:
                    raise RemoteError(400, "more than one Host")
                self.host = value
            elif name == b"content-length":
                # Even equal ones: who sends two is broken or hopes that somebody on the way took the other one.
                if self.length is not None:
                    raise RemoteError(400, "more than one Content-Length")
                if not value.isdigit() or len(value) > 18:
                    raise RemoteError(400, "Content-Length is no number")
                self.length = int(value)
            elif name == b"transfer-encoding":
                codings = (codings or []) + value.lower().split(b",")
            elif name == b"connection":
                for option in value.lower().split(b","):
                    option = option.strip(b" \t")
                    if option == b"close":
                        self.close = True
                    elif option == b"keep-alive":
                        self.keep_alive = True
                    elif option == b"upgrade":
                        self.upgrade = True
            elif name == b"expect":
                self.expects = value.lower()
            else:
                self.upgrades += [offer.strip(b" \t") for offer in value.split(b",") if offer.strip(b" \t")]
                if len(self.upgrades) > _MAX_ELEMENTS:
                    raise RemoteError(400, "a list of more than %d elements" % _MAX_ELEMENTS)
        if codings is not None:
            codings = [coding.strip(b" \t") for coding in codings]
            if self.length is not None:
                raise RemoteError(400, "both Content-Length and Transfer-Encoding")
            if codings[-1] != b"chunked" or codings.count(b"chunked") != 1:
                raise RemoteError(400, "chunked is not the last transfer coding, once")
            if len(codings) > 1:
                raise RemoteError(501, "a transfer coding other than chunked")
            self.is_chunked = True


_FRAMING = (b"host", b"content-length", b"transfer-encoding", b"connection", b"expect", b"upgrade")


class Connection:
    """The part that server.ServerConnection and client.ClientConnection share.

    keep_alive: whether another message may follow; who clears it closes after this one. body_limit: octets of content
    that are taken, None for any number; limits.body_bytes at the start of each message.
    """

    def __init__(self, limits=None):
        self.limits = limits = limits or Limits()
        self.body_limit = limits.body_bytes
        self.keep_alive = True
        self._buf = b""
        self._at = 0  # what is before has been read
        self._looked = 0  # where the first line of the head begins that was not whole
        self._seen = 0  # up to here there was no end of that line
        self._is_ended = False
        self._reading = _HEAD
        self._writing = _NOTHING
        self._left = 0  # octets that are missing of content or chunk
        self._taken = 0  # octets of chunked or endless content so far
        self._extension_bytes = 0
        self._unsent = 0  # octets of content that we have promised

    def receive_data(self, data):
        """Octets from the transport (bytes); b"" when it has ended. Not while PAUSED: they would pile up."""
        if not data:
            self._is_ended = True
        elif self._at == len(self._buf):
            self._buf = data
            self._at = self._looked = self._seen = 0
        else:
            self._buf = self._buf[self._at :] + data
            self._looked -= self._at
            self._seen -= self._at
            self._at = 0

    @property
    def is_switched(self):
        """Whether what follows is no HTTP any more: after 101, or 2xx to CONNECT."""
        return self._reading == _SWITCHED

    @property
    def is_between(self):
        """Whether not an octet of the next message has come: a peer that is silent now is idle, not slow."""
        return self._reading == _HEAD and self._at == len(self._buf)

    def take_rest(self):
        """What has come behind the last message that was HTTP."""
        rest = self._buf[self._at :]
        self._buf = b""
        self._at = 0
        return rest

    # --- reading ---

    def _fail(self, status, reason):
        """The peer cannot be understood any more: nothing else is read."""
        self._reading = _CLOSED
        self.keep_alive = False
        self._buf = b""
        self._at = 0
        raise RemoteError(status, reason)

    def _fields_end(self, at, start):
        """Where the field lines that begin at `at` end; None when they are not all there. start: of the whole head."""
        buf = self._buf
        have = len(buf)
        limits = self.limits
        # A peer that sends octet by octet is not read from the beginning for each of them.
        if self._seen > at and buf.find(b"\n", self._seen) < 0:
            end = -2 - self._looked
        else:
            end = scan_fields(buf, max(at, self._looked), have)
            if end == MALFORMED:
                self._fail(400, "malformed header")
        if end < 0:
            self._looked = -2 - end
            self._seen = have
            if have - start > limits.head_bytes:
                self._fail(431, "the head is longer than %d octets" % limits.head_bytes)
            if self._is_ended:
                self._fail(400, "the connection ended inside a head")
            return None
        if end - start > limits.head_bytes:
            self._fail(431, "the head is longer than %d octets" % limits.head_bytes)
        if buf.count(b"\n", at, end) > limits.fields + 1:
            self._fail(431, "more than %d header lines" % limits.fields)
        return end

    def _expect_body(self, length, is_chunked):
        """A head has been read. length: of the content, or None for until the end (not is_chunked)."""
        self.body_limit = self.limits.body_bytes
        self._taken = self._extension_bytes = 0
        if is_chunked:
            self._reading = _CHUNK_LINE
        elif length is None:
            self._reading = _UNTIL_CLOSE
        elif length:
            self._left = length
            self._reading = _LENGTH
        else:
            self._reading = _DONE

    def _body_event(self):
        """The next event of content; None when the message has ended and somebody else knows what comes."""
        reading = self._reading
        buf = self._buf
        at = self._at
        have = len(buf) - at
        if not have:
            self._buf = buf = b""
            self._at = at = 0
        if reading == _LENGTH:
            left = self._left
            if self._taken == 0 and self.body_limit is not None and left > self.body_limit:
                self._fail(413, "content of more than %d octets" % self.body_limit)
            if left == 0:
                self._reading = _DONE
                return self._ended(_NO_TRAILERS)
            if have == 0:
                if self._is_ended:
                    self._fail(400, "the connection ended inside the content")
                return NEED_DATA
            self._taken = 1
            if have <= left:
                self._left = left - have
                self._at = at + have
                return buf if at == 0 else buf[at:]
            self._left = 0
            self._at = at + left
            return buf[at : at + left]
        if reading == _UNTIL_CLOSE:
            if have:
                self._at = at + have
                self._count(have)
                return buf[at:]
            if not self._is_ended:
                return NEED_DATA
            self._reading = _DONE
            return self._ended(_NO_TRAILERS)
        if reading <= _TRAILERS:
            return self._chunked_event()
        return None

    def _ended(self, trailers):
        if self._at == len(self._buf):
            # An idle connection keeps no content.
            self._buf = b""
            self._at = 0
        self._message_read()
        return EndOfMessage(trailers)

    def _count(self, more):
        self._taken += more
        if self.body_limit is not None and self._taken > self.body_limit:
            self._fail(413, "content of more than %d octets" % self.body_limit)

    def _chunked_event(self):
        """RFC 9112 section 7.1. All chunks that are there are one event: many small ones cost a peer more than us."""
        parts = []
        while True:
            buf = self._buf
            at = self._at
            have = len(buf) - at
            reading = self._reading
            if reading == _CHUNK_LINE:
                if not self._chunk_line(buf, at):
                    break
            elif reading == _CHUNK_DATA:
                if not have:
                    break
                take = min(have, self._left)
                parts.append(buf[at : at + take])
                self._at = at + take
                self._left -= take
                if not self._left:
                    self._reading = _CHUNK_END
            elif reading == _CHUNK_END:
                if have < 2:
                    if have and buf[at] != 13:
                        self._fail(400, "a chunk is longer than it says")
                    break
                if buf[at] != 13 or buf[at + 1] != 10:
                    self._fail(400, "a chunk is longer than it says")
                self._at = at + 2
                self._reading = _CHUNK_LINE
            else:
                if parts:
                    break
                end = self._fields_end(at, at)
                if end is None:
                    return NEED_DATA
                trailers = parse_fields(buf, at, end - 2)
                for name, _ in trailers.pairs:
                    # RFC 9110 section 6.5.1. Somebody on the way might merge them into the head.
                    if name in _FRAMING:
                        self._fail(400, "a trailer that frames the message")
                self._at = end
                self._reading = _DONE
                return self._ended(trailers)
        if parts:
            return parts[0] if len(parts) == 1 else b"".join(parts)
        if self._is_ended:
            self._fail(400, "the connection ended inside the content")
        return NEED_DATA

    def _chunk_line(self, buf, at):
        """Reads a chunk's size; False when it is not all there."""
        limit = self.limits.chunk_line_bytes
        end = buf.find(b"\r\n", at, at + limit + 2)
        if end < 0:
            if len(buf) - at > limit or buf.find(b"\n", at) >= 0:
                self._fail(400, "malformed chunk size")
            return False
        line = buf[at:end]
        rest = line.lstrip(b"0123456789abcdefABCDEF")
        digits = len(line) - len(rest)
        if not 0 < digits <= 16 or (rest and rest[0] != 0x3B) or scan_text(rest, 0, len(rest)) != len(rest):
            self._fail(400, "malformed chunk size")
        self._extension_bytes += len(rest)
        if self._extension_bytes > self.limits.extension_bytes:
            self._fail(400, "more than %d octets of chunk extensions" % self.limits.extension_bytes)
        self._at = end + 2
        size = int(line[:digits], 16)
        if size:
            self._count(size)
            self._left = size
            self._reading = _CHUNK_DATA
        else:
            self._looked = self._seen = 0
            self._reading = _TRAILERS
        return True

    # --- writing ---

    def send_data(self, data):
        """Content of a message that was started: the octets to send. LocalError when it is more than was promised."""
        writing = self._writing
        if writing == _OUT_CHUNKS:
            # An empty chunk would be the last one.
            return b"".join((b"%x\r\n" % len(data), data, b"\r\n")) if data else b""
        if writing == _OUT_LENGTH:
            if len(data) > self._unsent:
                raise LocalError("more content than Content-Length says")
            self._unsent -= len(data)
            return data
        if writing == _OUT_UNTIL_CLOSE:
            return data
        if writing == _OUT_DROPPED:
            return b""
        raise LocalError("no message has been started")

    def send_end(self, trailers=()):
        """The message that was started is complete. trailers: as headers; they go with chunked content only."""
        writing = self._writing
        if writing < _OUT_LENGTH:
            raise LocalError("no message has been started")
        data = b""
        if writing == _OUT_CHUNKS:
            data = b"0\r\n" + fields(trailers) + b"\r\n"
        elif writing == _OUT_LENGTH and self._unsent:
            raise LocalError("%d octets of content are missing" % self._unsent)
        self._message_sent()
        return data


_NO_TRAILERS = Headers([])
