# SPDX-License-Identifier: MIT
"""Content codings of a response (RFC 9110 section 8.4.1): gzip (RFC 1952) and deflate, zlib's format (RFC 1950).

Octets come in pieces of any size, and go out in pieces of at most 16 KiB: however much they become, memory is bounded.
"""

from micropython import const

from .failure import wrong

_OUT_BYTES = const(16384)
# Of what has come at most this is kept: an incomplete header of a gzip member, or of a block of deflate.
_MAX_KEPT = const(4096)

_ADLER = const(1)
_CRC = const(2)

_HEADER = const(0)
_CONTENT = const(1)
_TRAILER = const(2)
_BETWEEN = const(3)

_FHCRC = const(2)
_FEXTRA = const(4)
_FNAME = const(8)
_FCOMMENT = const(16)


def is_known(coding):
    return coding in (b"gzip", b"x-gzip", b"deflate")


class Decoder:
    """inflate: hal.inflate.Inflate; coding: one that is_known()."""

    def __init__(self, inflate, coding):
        self._inflate = inflate
        self._is_gzip = coding != b"deflate"
        self._data = b""
        self._at = 0
        self._state = _HEADER
        self._inflater = None
        self._length = 0  # of what came out, modulo 2^32
        self._check = 0
        self._out = bytearray(_OUT_BYTES)

    def feed(self, data):
        """More octets of the coded content. What was fed before must have been taken: next() has returned None."""
        rest = self._data[self._at :]
        if len(rest) > _MAX_KEPT:
            raise wrong("decode", "a header that is too long")
        self._data = rest + data if rest else data
        self._at = 0

    def next(self):
        """A piece of the content; None when more must be fed. Raises TransferError for what was not coded so."""
        while True:
            state = self._state
            if state == _CONTENT:
                piece = self._content()
                if piece:
                    return piece
                if self._state == _CONTENT:
                    return None
            elif state == _TRAILER:
                if not self._trailer():
                    return None
            elif self._at == len(self._data) or not self._header():
                return None

    def end(self):
        """The content has ended. Raises TransferError when something is missing."""
        if self._state != _BETWEEN and (self._state != _HEADER or self._data):
            raise wrong("decode", "the compressed content is cut off")

    def _header(self):
        data = self._data
        at = self._at
        if self._is_gzip:
            end = _gzip_header_end(data, at)
            if end < 0:
                return False
            self._check = _CRC
        elif self._state == _BETWEEN:
            raise wrong("decode", "octets behind the compressed content")
        else:
            if len(data) - at < 2:
                return False
            # Some send deflate without zlib's header: what cannot be that header is taken for it.
            first = data[at]
            if first & 15 == 8 and first >> 4 <= 7 and (first << 8 | data[at + 1]) % 31 == 0:
                if data[at + 1] & 32:
                    raise wrong("decode", "zlib with a dictionary")
                self._check = _ADLER
                end = at + 2
            else:
                self._check = 0
                end = at
        self._at = end
        self._length = 0
        # A member after another one: its window is made anew, the first one's goes.
        self._inflater = self._inflate.new(self._check)
        self._state = _CONTENT
        return True

    def _content(self):
        inflater = self._inflater
        try:
            count = inflater.run(self._data, self._at, self._out)
        except ValueError:
            raise wrong("decode", "the content is not compressed as it says")
        self._at = inflater.position()
        self._length = (self._length + count) & 0xFFFFFFFF
        if inflater.is_done():
            self._state = _TRAILER
        return bytes(memoryview(self._out)[:count]) if count else b""

    def _trailer(self):
        kind = self._check
        size = 8 if kind == _CRC else 4 if kind == _ADLER else 0
        at = self._at
        if len(self._data) - at < size:
            return False
        data = self._data[at : at + size]
        inflater = self._inflater
        if kind == _ADLER and int.from_bytes(data, "big") != inflater.checksum():
            raise wrong("decode", "the content's checksum is wrong")
        if kind == _CRC and (
            int.from_bytes(data[:4], "little") != inflater.checksum()
            or int.from_bytes(data[4:], "little") != self._length
        ):
            raise wrong("decode", "the content's checksum is wrong")
        self._at = at + size
        self._inflater = None
        self._state = _BETWEEN
        return True


def _gzip_header_end(data, at):
    """Where the header of a member that begins at `at` ends; -1 when it is not all there."""
    have = len(data) - at
    if data[at] != 0x1F or (have > 1 and data[at + 1] != 0x8B) or (have > 2 and data[at + 2] != 8):
        raise wrong("decode", "the content is not gzip")
    if have < 10:
        return -1
    flags = data[at + 3]
    if flags & 0xE0:
        raise wrong("decode", "a gzip header with reserved bits")
    at += 10
    if flags & _FEXTRA:
        if len(data) < at + 2:
            return -1
        at += 2 + (data[at] | data[at + 1] << 8)
    for bit in (_FNAME, _FCOMMENT):
        if flags & bit:
            end = data.find(b"\0", at)
            if end < 0:
                return -1
            at = end + 1
    if flags & _FHCRC:
        at += 2
    return at if at <= len(data) else -1
