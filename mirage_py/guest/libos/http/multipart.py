# SPDX-License-Identifier: MIT
"""multipart/form-data (RFC 7578, RFC 2046 section 5.1), read as it comes: a part's content is never kept. No I/O."""

from micropython import const

from . import media
from .errors import RemoteError
from .head import MALFORMED, parse_fields, scan_fields

_PREAMBLE = const(0)
_HEAD = const(1)
_CONTENT = const(2)
_DELIMITER = const(3)
_EPILOGUE = const(4)
_END = const(5)

MAX_PARTS = 128
_HEAD_BYTES = const(8192)
_FIELDS = const(16)
_PREAMBLE_BYTES = const(4096)
_PADDING_BYTES = const(64)
# Of characters that a boundary may have (RFC 2046 section 5.1.1).
_BOUNDARY = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789'()+_,-./:=? "


class Part:
    """A part begins. name: of the field, bytes. filename: bytes, or None where it is no file; it is the peer's word.

    headers: Headers.
    """

    def __init__(self, name, filename, headers):
        self.name = name
        self.filename = filename
        self.headers = headers


class PartEnd:
    """The content of a part is complete."""


class FormEnd:
    """The closing delimiter has come: the form is complete."""


PART_END = PartEnd()
FORM_END = FormEnd()


def boundary_of(headers):
    """The boundary of a multipart/form-data, bytes. RemoteError 415 for other content, 400 for a bad boundary."""
    try:
        kind, parameters = media.parse(headers.get(b"content-type", b""))
    except ValueError:
        raise RemoteError(400, "malformed Content-Type")
    if kind != b"multipart/form-data":
        raise RemoteError(415, "not a multipart/form-data")
    boundary = parameters.get(b"boundary", b"")
    if not 1 <= len(boundary) <= 70 or boundary.strip(_BOUNDARY) or boundary.endswith(b" "):
        raise RemoteError(400, "a boundary that cannot be one")
    return boundary


class MultipartReader:
    """boundary: bytes. max_parts: more than these are refused."""

    def __init__(self, boundary, max_parts=MAX_PARTS):
        self._delimiter = b"\r\n--" + boundary
        # The first delimiter has no line before it.
        self._buf = b"\r\n"
        self._at = 0
        self._state = _PREAMBLE
        self._parts_left = max_parts
        self._is_ended = False
        self._skipped = 0
        self._seen = 0  # octets of a head that has not ended, up to its last whole line

    def receive_data(self, data):
        """Octets of the content; b"" when it has ended."""
        if data:
            self._buf = self._buf[self._at :] + data
            self._at = 0
        else:
            self._is_ended = True

    def next_event(self):
        """Part, bytes, PART_END, FORM_END, or None: receive more.

        RemoteError: 400 for what is malformed or ended too early, 413 for too many parts, 431 for too long a head.
        """
        while True:
            state = self._state
            if state == _CONTENT or state == _PREAMBLE:
                data = self._content()
                if state == _CONTENT:
                    if data:
                        return data
                    if self._state == _DELIMITER:
                        return PART_END
                else:
                    self._skipped += len(data)
                    if self._skipped > _PREAMBLE_BYTES:
                        raise RemoteError(400, "no boundary")
                    if data or self._state == _DELIMITER:
                        continue
            elif state == _DELIMITER:
                if self._behind_delimiter():
                    continue
            elif state == _HEAD:
                part = self._head()
                if part is not None:
                    return part
            elif state == _EPILOGUE:
                self._state = _END
                return FORM_END
            else:
                self._at = len(self._buf)
                return None
            if self._is_ended:
                raise RemoteError(400, "the content ended inside a form")
            return None

    def _content(self):
        """Takes what is surely no part of a delimiter; goes behind one where nothing is left before it."""
        buf = self._buf
        at = self._at
        end = buf.find(self._delimiter, at)
        if end < 0:
            # A delimiter may have begun near the end.
            end = buf.find(b"\r", max(at, len(buf) - len(self._delimiter) + 1))
            if end < 0:
                end = len(buf)
        elif end == at:
            self._at = at + len(self._delimiter)
            self._state = _DELIMITER
            return b""
        self._at = end
        return buf[at:end]

    def _behind_delimiter(self):
        """False when more is needed. Only white space may stand between a delimiter and the end of its line."""
        buf = self._buf
        at = self._at
        if buf.startswith(b"--", at):
            self._state = _EPILOGUE
            return True
        end = buf.find(b"\r\n", at)
        if end < 0:
            if len(buf) - at > _PADDING_BYTES:
                raise RemoteError(400, "a malformed boundary")
            return False
        if buf[at:end].strip(b" \t"):
            raise RemoteError(400, "a malformed boundary")
        if not self._parts_left:
            raise RemoteError(413, "more parts than allowed")
        self._parts_left -= 1
        self._at = end + 2
        self._state = _HEAD
        return True

    def _head(self):
        buf = self._buf
        at = self._at
        if buf.find(b"\n", at + self._seen) < 0:
            end = -2 - at
        else:
            end = scan_fields(buf, at, len(buf))
            self._seen = len(buf) - at
        if end == MALFORMED:
            raise RemoteError(400, "malformed header in a part")
        if (end < 0 and len(buf) - at > _HEAD_BYTES) or end - at > _HEAD_BYTES:
            raise RemoteError(431, "a part's head is longer than %d octets" % _HEAD_BYTES)
        if end < 0:
            return None
        headers = parse_fields(buf, at, end - 2)
        if len(headers) > _FIELDS:
            raise RemoteError(431, "more than %d header lines in a part" % _FIELDS)
        try:
            kind, parameters = media.parse(headers.get(b"content-disposition", b""))
        except ValueError:
            raise RemoteError(400, "malformed Content-Disposition")
        name = parameters.get(b"name")
        if kind != b"form-data" or name is None:
            raise RemoteError(400, "a part without a name")
        self._at = end
        self._seen = 0
        self._state = _CONTENT
        return Part(name, parameters.get(b"filename"), headers)
