# SPDX-License-Identifier: MIT
"""WebSocket (RFC 6455) after its handshake, both roles. No I/O, no clock; without extensions.

Octets come in with receive_data(); next_event() tells what they mean; take_output() is what has to be sent because of
them: pongs and closes. Each send_*() returns octets to send. Nothing that a peer sends raises: what it does wrong is a
Close event, and the output has the close that says so.
"""

import micropython
from micropython import const

from .errors import LocalError
from .parts import Parts
from .utf8 import scan_utf8

_CONTINUATION = const(0)
TEXT = 1
BINARY = 2
_CLOSE = const(8)
_PING = const(9)
_PONG = const(10)

NORMAL = 1000
GOING_AWAY = 1001
PROTOCOL_ERROR = 1002
NO_CODE = 1005  # the close frame had none
NO_CLOSE = 1006  # the transport ended without one
BAD_DATA = 1007
POLICY = 1008
TOO_BIG = 1009

_MAX_CONTROL_BYTES = const(125)


@micropython.viper
def _mask(data, length: int, key: int):
    """data: bytearray, changed in place. key: its four octets as a little-endian number."""
    words = ptr32(data)  # noqa: F821
    count = length >> 2
    index = 0
    while index < count:
        words[index] = int(words[index]) ^ key
        index += 1
    octets = ptr8(data)  # noqa: F821
    index = count << 2
    while index < length:
        octets[index] = int(octets[index]) ^ (key & 255)
        key >>= 8
        index += 1


class Close:
    """The connection is over for both. code, reason (text): the peer's, or why we failed it. is_remote: who said so."""

    def __init__(self, code, reason, is_remote):
        self.code = code
        self.reason = reason
        self.is_remote = is_remote


class Pong:
    """data: what came back."""

    def __init__(self, data):
        self.data = data


class WebSocket:
    """is_client: which role. random: random(count) -> bytes, for a client's masks. max_message_bytes: of a message."""

    def __init__(self, is_client, random=None, max_message_bytes=1 << 20):
        self._random = random if is_client else None
        self._is_client = is_client
        self._max_bytes = max_message_bytes
        self._buf = b""
        self._at = 0
        self._is_ended = False
        self._out = []
        self._pong = None
        self._opcode = -1  # of the frame whose payload is being read; -1: a header comes next
        self._is_last = False
        self._left = 0
        self._key = 0
        self._control = b""
        self._kind = 0  # of the message of which fragments have come
        self._parts = Parts()
        self._carry = b""  # the beginning of a character
        self.is_open = True  # we may send
        self._close = None

    def receive_data(self, data):
        """Octets from the transport; b"" when it has ended."""
        if self._close is not None:
            return
        if not data:
            self._is_ended = True
        elif self._at == len(self._buf):
            self._buf = data
            self._at = 0
        else:
            self._buf = self._buf[self._at :] + data
            self._at = 0

    def take_output(self):
        """What has to be sent now; b"" when nothing."""
        if self._pong is not None:
            # Only the newest ping is answered (section 5.5.3): a flood of them gets one pong each time.
            if self.is_open:
                self._out.insert(0, self._frame(_PONG, self._pong))
            self._pong = None
        if not self._out:
            return b""
        data = b"".join(self._out)
        self._out = []
        return data

    # --- reading ---

    def next_event(self):
        """str or bytes: a message; Pong; Close: send the output, then close; None: receive more."""
        if self._close is not None:
            return self._close
        while True:
            if self._opcode < 0:
                if not self._header():
                    break
                if self._close is not None:
                    return self._close
            available = min(self._left, len(self._buf) - self._at)
            if available:
                self._payload(available)
                if self._close is not None:
                    return self._close
            if self._left:
                break
            event = self._frame_read()
            if event is not None:
                return event
        if self._is_ended:
            return self._closed(NO_CLOSE, "the connection ended without a close", True)
        if self._at == len(self._buf):
            # Who is silent keeps no message.
            self._buf = b""
            self._at = 0
        return None

    def _closed(self, code, reason, is_remote):
        self._close = Close(code, reason, is_remote)
        self.is_open = False
        self._buf = self._control = self._carry = b""
        self._parts = Parts()
        self._at = 0
        return self._close

    def _fail(self, code, reason):
        if self.is_open:
            self._out.append(self._close_frame(code, reason))
        return self._closed(code, reason, False)

    def _header(self):
        """Reads a frame's header (section 5.2); False when it is not all there."""
        buf = self._buf
        at = self._at
        have = len(buf) - at
        if have < 2:
            return False
        first = buf[at]
        second = buf[at + 1]
        opcode = first & 15
        length = second & 127
        if first & 0x70 or 2 < opcode < 8 or opcode > 10:
            return self._fail(PROTOCOL_ERROR, "a frame of an unknown kind")
        if bool(second & 128) == self._is_client:
            return self._fail(PROTOCOL_ERROR, "a masked frame" if self._is_client else "a frame without a mask")
        is_last = first >= 128
        if opcode >= 8:
            if length > _MAX_CONTROL_BYTES or not is_last:
                return self._fail(PROTOCOL_ERROR, "a control frame that is too long, or in fragments")
        elif (opcode == 0) != (self._kind != 0):
            return self._fail(PROTOCOL_ERROR, "a fragment out of order")
        start = 2 if length < 126 else 4 if length == 126 else 10
        size = start if self._is_client else start + 4
        if have < size:
            return False
        if length == 126:
            length = buf[at + 2] << 8 | buf[at + 3]
            if length < 126:
                return self._fail(PROTOCOL_ERROR, "a length that is not in its shortest form")
        elif length == 127:
            length = int.from_bytes(buf[at + 2 : at + 10], "big")
            if length < 65536 or length >> 63:
                return self._fail(PROTOCOL_ERROR, "a length that is not in its shortest form")
        if opcode < 8:
            if self._parts.length + length > self._max_bytes:
                return self._fail(TOO_BIG, "a message of more than %d octets" % self._max_bytes)
            if opcode:
                self._kind = opcode
        if not self._is_client:
            self._key = int.from_bytes(buf[at + start : at + size], "little")
        self._at = at + size
        self._opcode = opcode
        self._is_last = is_last
        self._left = length
        return True

    def _payload(self, count):
        """Takes `count` octets of payload."""
        data = self._buf[self._at : self._at + count]
        self._at += count
        self._left -= count
        if not self._is_client:
            key = self._key
            data = bytearray(data)
            _mask(data, count, key)
            data = bytes(data)
            turn = 8 * (count & 3)
            self._key = (key >> turn | key << (32 - turn)) & 0xFFFFFFFF
        if self._opcode >= 8:
            self._control += data
            return
        if self._kind == TEXT and not self._is_text(data):
            self._fail(BAD_DATA, "text that is not UTF-8")
            return
        self._parts.add(data)

    def _is_text(self, data):
        """Checks text as it comes (section 8.1), so that nobody waits for the end of what is none."""
        if self._carry:
            data = self._carry + data
        end = scan_utf8(data, 0, len(data))
        if end < 0:
            return False
        self._carry = data[end:]
        return True

    def _frame_read(self):
        """A frame is complete: the event, if it is one."""
        opcode = self._opcode
        self._opcode = -1
        if opcode < 8:
            if not self._is_last:
                return None
            if self._carry:
                return self._fail(BAD_DATA, "text that is not UTF-8")
            data = self._parts.take()
            kind = self._kind
            self._kind = 0
            return str(data, "utf-8") if kind == TEXT else data
        data = self._control
        self._control = b""
        if opcode == _PING:
            self._pong = data
            return None
        if opcode == _PONG:
            return Pong(data)
        return self._close_read(data)

    def _close_read(self, data):
        """Section 5.5.1."""
        if not data:
            code, reason = NO_CODE, b""
        else:
            if len(data) == 1:
                return self._fail(PROTOCOL_ERROR, "a close with half a code")
            code = data[0] << 8 | data[1]
            reason = data[2:]
            if not _is_code(code):
                return self._fail(PROTOCOL_ERROR, "a close with a code that is none")
            if scan_utf8(reason, 0, len(reason)) != len(reason):
                return self._fail(BAD_DATA, "text that is not UTF-8")
        if self.is_open:
            self._out.append(self._frame(_CLOSE, data[:2]))
        return self._closed(code, str(reason, "utf-8"), True)

    # --- writing ---

    def _frame(self, opcode, data, is_last=True):
        length = len(data)
        masked = 128 if self._is_client else 0
        first = opcode | 128 if is_last else opcode
        if length < 126:
            head = bytes((first, masked | length))
        elif length < 65536:
            head = bytes((first, masked | 126, length >> 8, length & 255))
        else:
            head = bytes((first, masked | 127)) + length.to_bytes(8, "big")
        if not masked:
            return head + data
        key = self._random(4)
        data = bytearray(data)
        _mask(data, length, int.from_bytes(key, "little"))
        return b"".join((head, key, data))

    def _close_frame(self, code, reason):
        data = b"" if code == NO_CODE else bytes((code >> 8, code & 255)) + reason.encode()
        if len(data) > _MAX_CONTROL_BYTES:
            raise LocalError("a reason of more than 123 octets")
        return self._frame(_CLOSE, data)

    def send(self, message):
        """A whole message: text of str, binary of bytes, bytearray or memoryview."""
        if isinstance(message, str):
            return self.send_fragment(message.encode(), TEXT)
        return self.send_fragment(message, BINARY)

    def send_fragment(self, data, kind, is_last=True):
        """A part of a message. kind: TEXT or BINARY for the first one, 0 for those that follow. data: octets."""
        if not self.is_open:
            raise LocalError("the connection is closed")
        return self._frame(kind, data, is_last)

    def send_ping(self, data=b""):
        """data: up to 125 octets, which come back as a Pong."""
        if not self.is_open or len(data) > _MAX_CONTROL_BYTES:
            raise LocalError("no ping after a close, nor of more than 125 octets")
        return self._frame(_PING, data)

    def send_close(self, code=NORMAL, reason=""):
        """b"" when one has been sent before. Nothing may be sent after it; the peer's answer is a Close event."""
        if not self.is_open:
            return b""
        if code != NO_CODE and not _is_code(code):
            raise LocalError("not a code to close with: %d" % code)
        data = self._close_frame(code, reason)
        self.is_open = False
        return data


def _is_code(code):
    """Whether a close frame may have it (section 7.4; 1012 to 1014 from IANA's registry)."""
    return 1000 <= code <= 1003 or 1007 <= code <= 1014 or 3000 <= code <= 4999
