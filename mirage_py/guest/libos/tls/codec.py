# SPDX-License-Identifier: MIT
"""What handshake messages are made of (RFC 8446 section 3.4): octets <-> values, strictly. No I/O.

Whatever is too short, too long, empty where it may not be or followed by something is a decode_error.
"""

from struct import pack, unpack, unpack_from

from micropython import const

from .errors import DECODE_ERROR, ILLEGAL_PARAMETER, TlsError

# Handshake messages (section 4; RFC 5246 section 7.4).
HELLO_REQUEST = const(0)
CLIENT_HELLO = const(1)
SERVER_HELLO = const(2)
NEW_SESSION_TICKET = const(4)
END_OF_EARLY_DATA = const(5)
ENCRYPTED_EXTENSIONS = const(8)
CERTIFICATE = const(11)
SERVER_KEY_EXCHANGE = const(12)
CERTIFICATE_REQUEST = const(13)
SERVER_HELLO_DONE = const(14)
CERTIFICATE_VERIFY = const(15)
CLIENT_KEY_EXCHANGE = const(16)
FINISHED = const(20)
KEY_UPDATE = const(24)
MESSAGE_HASH = const(254)

# Extensions (section 4.2).
EXT_SERVER_NAME = const(0)
EXT_SUPPORTED_GROUPS = const(10)
EXT_POINT_FORMATS = const(11)
EXT_SIGNATURE_ALGORITHMS = const(13)
EXT_ALPN = const(16)
EXT_MASTER_SECRET = const(23)  # RFC 7627
EXT_RECORD_SIZE_LIMIT = const(28)  # RFC 8449
EXT_SESSION_TICKET = const(35)
EXT_PRE_SHARED_KEY = const(41)
EXT_EARLY_DATA = const(42)
EXT_SUPPORTED_VERSIONS = const(43)
EXT_COOKIE = const(44)
EXT_PSK_MODES = const(45)
EXT_CERTIFICATE_AUTHORITIES = const(47)
EXT_SIGNATURE_ALGORITHMS_CERT = const(50)
EXT_KEY_SHARE = const(51)
EXT_RENEGOTIATION_INFO = const(0xFF01)

# Of a message: as many as fit the longest hello. Chrome's has 18 with GREASE.
_MAX_EXTENSIONS = const(4096)


def damaged(what):
    """The error of a message that does not parse."""
    return TlsError(DECODE_ERROR, "malformed " + what)


class Reader:
    """Reads a message from the front.

    data: bytes. what: what errors call it. Each method raises TlsError(decode_error) when the octets are not there.
    """

    def __init__(self, data, what, at=0):
        self.data = data
        self.at = at
        self.end = len(data)
        self.what = what

    def number(self, count):
        """The number in the next `count` octets, 1 to 4."""
        at = self.at
        if at + count > self.end:
            raise damaged(self.what)
        value = 0
        for octet in self.data[at : at + count]:
            value = value << 8 | octet
        self.at = at + count
        return value

    def octets(self, count):
        at = self.at
        if at + count > self.end:
            raise damaged(self.what)
        self.at = at + count
        return self.data[at : at + count]

    def vector(self, count, low=0):
        """The vector whose length is in `count` octets; at least `low` octets long."""
        length = self.number(count)
        if length < low:
            raise damaged(self.what)
        return self.octets(length)

    def extensions(self):
        """The rest of the message: extensions, {type: octets}."""
        start = self.at
        self.at = self.end
        return extensions(self.data, start, self.what)

    def finish(self):
        """Nothing may be left."""
        if self.at != self.end:
            raise damaged(self.what)


def extensions(data, at, what):
    """{type: octets} of the vector of extensions that `data` has at `at`, and ends with.

    One type twice is an illegal_parameter (section 4.2). A dict has no order: see is_last().
    """
    end = len(data)
    if at + 2 > end or at + 2 + (data[at] << 8 | data[at + 1]) != end:
        raise damaged(what)
    at += 2
    found = {}
    while at < end:
        if at + 4 > end:
            raise damaged(what)
        kind, length = unpack_from(">HH", data, at)
        at += 4
        if at + length > end:
            raise damaged(what)
        if kind in found or len(found) == _MAX_EXTENSIONS:
            raise TlsError(ILLEGAL_PARAMETER, what + " has an extension twice")
        found[kind] = data[at : at + length]
        at += length
    return found


def is_last(data, kind, found):
    """Whether the extension of that type ends the message."""
    return data.endswith(extension(kind, found[kind]))


def message(kind, body):
    """A handshake message: its type, its length, its body."""
    return pack(">I", kind << 24 | len(body)) + body


def vector8(data):
    return bytes((len(data),)) + data


def vector16(data):
    return pack(">H", len(data)) + data


def vector24(data):
    return pack(">I", len(data))[1:] + data


def extension(kind, data):
    return pack(">HH", kind, len(data)) + data


def numbers(data, what):
    """The 16-bit numbers of a vector that is its whole extension: groups, signature schemes. At least one."""
    count = len(data)
    if count < 4 or count & 1 or (data[0] << 8 | data[1]) != count - 2:
        raise damaged(what)
    return unpack(">%dH" % (count // 2), data)[1:]


def number_list(values):
    """The octets of such a vector."""
    return vector16(pack(">%dH" % len(values), *values))


def alpn_names(data, what):
    """The protocol names of the extension (RFC 7301 section 3.1), list of bytes, none empty."""
    end = len(data)
    if end < 4 or (data[0] << 8 | data[1]) != end - 2:
        raise damaged(what)
    names = []
    at = 2
    while at < end:
        start = at + 1
        at = start + data[at]
        if at == start or at > end:
            raise damaged(what)
        names.append(data[start:at])
    return names


def alpn_list(names):
    """The octets of the extension that offers, or with one name chooses."""
    return vector16(b"".join([vector8(name) for name in names]))
