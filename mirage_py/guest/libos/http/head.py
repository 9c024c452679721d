# SPDX-License-Identifier: MIT
"""The head of a message: field lines (RFC 9110 section 5, RFC 9112 section 5) to values and back, strictly.

Names and values are octets. A name is kept in lower case; a value as it came, without the white space around it.
"""

import micropython
from micropython import const

from .errors import LocalError

MALFORMED = -1
_MAX_ELEMENTS = const(64)

# RFC 9110 section 5.6.2, a bit for each octet below 128: the octets of a token.
_TOKEN = b"\x00\x00\x00\x00\xfa\x6c\xff\x03\xfe\xff\xff\xc7\xff\xff\xff\x57"


# One strict pass over a head costs 2 ns an octet in viper; bytes.find alone, looking for the empty line, costs as much.
# Viper has no bounds checks: every index is compared with `end` first, which the caller takes from len(data).
@micropython.viper
def scan_fields(data: ptr8, at: int, end: int) -> int:  # noqa: F821
    """Where the field lines that begin at `at` end, behind the empty line.

    Strict: each line is `token ":" *( HTAB / SP / VCHAR / obs-text ) CRLF`. So no white space before the colon, no
    folded lines, no CR or LF by itself, no NUL nor other control characters.
    data: bytes. end: at most len(data). MALFORMED when these are no such lines; when they are not all there, -2 - x
    with x where the first line begins that is not whole: the place to go on from.
    """
    token = ptr8(_TOKEN)  # noqa: F821
    while True:
        line = at
        if at >= end:
            return -2 - line
        octet = int(data[at])
        if octet == 13:
            break
        while octet < 128 and (int(token[octet >> 3]) >> (octet & 7)) & 1:
            at += 1
            if at >= end:
                return -2 - line
            octet = int(data[at])
        if octet != 58 or at == line:
            return -1
        while True:
            at += 1
            if at >= end:
                return -2 - line
            octet = int(data[at])
            if octet < 32:
                if octet == 13:
                    break
                if octet != 9:
                    return -1
            elif octet == 127:
                return -1
        at += 1
        if at >= end:
            return -2 - line
        if int(data[at]) != 10:
            return -1
        at += 1
    at += 1
    if at >= end:
        return -2 - line
    if int(data[at]) != 10:
        return -1
    return at + 1


@micropython.viper
def scan_token(data: ptr8, at: int, end: int) -> int:  # noqa: F821
    """Where the token that begins at `at` ends; `at` where there is none."""
    token = ptr8(_TOKEN)  # noqa: F821
    while at < end:
        octet = int(data[at])
        if octet > 127 or not (int(token[octet >> 3]) >> (octet & 7)) & 1:
            break
        at += 1
    return at


@micropython.viper
def scan_target(data: ptr8, at: int, end: int) -> int:  # noqa: F821
    """Where the visible ASCII characters that begin at `at` end; "#" is none, as no target has a fragment."""
    while at < end:
        octet = int(data[at])
        if octet < 33 or octet > 126 or octet == 35:
            break
        at += 1
    return at


@micropython.viper
def scan_text(data: ptr8, at: int, end: int) -> int:  # noqa: F821
    """Where the octets that a field value may have (HTAB, SP, VCHAR, obs-text) end."""
    while at < end:
        octet = int(data[at])
        if (octet < 32 and octet != 9) or octet == 127:
            break
        at += 1
    return at


def is_token(data):
    end = len(data)
    return end > 0 and scan_token(data, 0, end) == end


def octets(text):
    """bytes of text or bytes; LocalError for what is neither, or not ASCII."""
    if isinstance(text, bytes):
        return text
    if not isinstance(text, str):
        raise LocalError("text or bytes, not %s" % type(text).__name__)
    data = text.encode()
    if len(data) != len(text):
        raise LocalError("not ASCII: %r" % text)
    return data


class Headers:
    """The field lines of a message, in their order; never changed.

    pairs: list of (name in lower case, value), both bytes.
    """

    def __init__(self, pairs):
        self.pairs = pairs

    def __iter__(self):
        return iter(self.pairs)

    def __len__(self):
        return len(self.pairs)

    def __contains__(self, name):
        return self.get(name) is not None

    def get(self, name, default=None):
        """The first value of the name (lower case; bytes or text), as bytes; default where there is none."""
        if isinstance(name, str):
            name = name.encode()
        for have, value in self.pairs:
            if have == name:
                return value
        return default

    def get_all(self, name):
        """All values of the name, in their order."""
        if isinstance(name, str):
            name = name.encode()
        return [value for have, value in self.pairs if have == name]

    def elements(self, name):
        """The elements of a list (RFC 9110 section 5.6.1) over all its lines; empty ones are left out.

        Only for fields without quoted strings. Of more than 64 the rest is left out: each is an object.
        """
        parts = b",".join(self.get_all(name)).split(b",", _MAX_ELEMENTS)[:_MAX_ELEMENTS]
        return [part.strip(b" \t") for part in parts if part.strip(b" \t")]


def parse_fields(data, at, end):
    """Headers of field lines that scan_fields found good: data[at:end] without the empty line."""
    pairs = []
    if end > at:
        for line in data[at : end - 2].split(b"\r\n"):
            name, _, value = line.partition(b":")
            pairs.append((name.lower(), value.strip(b" \t")))
    return Headers(pairs)


# What the connection says by itself: a caller that could say it would desynchronise the two ends.
_OURS = (b"content-length", b"transfer-encoding", b"connection", b"keep-alive", b"upgrade", b"host", b"expect")


class Prepared:
    """Field lines that have been checked and made into octets once, for many messages.

    Args: pairs: iterable of (name, value), bytes or ASCII text.
    Raises LocalError when a name is no token, a value has a control character (CR and LF: header injection), or the
    field is one that the connection sends by itself: content-length, transfer-encoding, connection, keep-alive,
    upgrade, host, expect.
    """

    def __init__(self, pairs=()):
        parts = []
        lines = 0
        for name, value in pairs:
            name = octets(name)
            if name.lower() in _OURS or b":" in name:
                raise LocalError("%r is not a header to set: the connection sends it, or it is no name" % name)
            parts.append(name)
            parts.append(b": ")
            parts.append(value if isinstance(value, bytes) else octets(value))
            parts.append(b"\r\n")
            lines += 1
        data = b"".join(parts)
        # The strict reader reads what is to be sent: a line that somebody slipped in would be one more.
        whole = data + b"\r\n"
        if scan_fields(whole, 0, len(whole)) != len(whole) or data.count(b"\n") != lines:
            raise LocalError("not a header: a name that is no token, or a control character in a value")
        self.octets = data


def fields(headers):
    """Octets of `headers`: a Prepared, or pairs as it takes them."""
    if isinstance(headers, Prepared):
        return headers.octets
    return Prepared(headers).octets if headers else b""
