# SPDX-License-Identifier: MIT
"""A client's ClientHello (RFC 8446 section 4.1.2) and the server's answer to it (section 4.1.3), for 1.3 and 1.2."""

import struct

from . import codec
from .codec import extension, vector8, vector16
from .errors import DECODE_ERROR, ILLEGAL_PARAMETER, TlsError
from .record import SUITES
from .signatures import acceptable

# SHA-256 of "HelloRetryRequest" (section 4.1.3).
_RETRY_RANDOM = (
    b"\xcf\x21\xad\x74\xe5\x9a\x61\x11\xbe\x1d\x8c\x02\x1e\x65\xb8\x91"
    b"\xc2\xa2\x11\x16\x7a\xbb\x8c\x5e\x07\x9e\x09\xe2\xc8\xa8\x33\x9c"
)


def is_ip_literal(hostname):
    """Such a name is not sent as a server_name (RFC 6066 section 3)."""
    return ":" in hostname or hostname.rsplit(".", 1)[-1].isdigit()


class Offer:
    """What we offer. message: as it was sent last. random, session_id: octets. hostname, wall_s, session, is_verifying:
    as the application gave them; session is None when it is not offered. sent: the types of its extensions.

    Between the first and the second hello (after HelloRetryRequest) only `shares` and `cookie` change.
    """

    def __init__(self, context, hostname, wall_s, session, is_verifying):
        crypto = context.crypto
        self.context = context
        self.hostname = hostname
        self.wall_s = wall_s
        self.session = session
        self.is_verifying = is_verifying
        self.random = bytes(crypto.random(32))
        self.session_id = bytes(crypto.random(32))  # not empty: the compatibility mode (section D.4)
        self.suites = [number for name in crypto.aeads for number in SUITES if SUITES[number][1] == name]
        self.cookie = None
        self.message = b""
        self.sent = ()

    def record_size_limit(self):
        """RFC 8449 section 4: TLS 1.3 counts the octet of the type, too; 1.2 has none, and no more than 2**14."""
        limit = self.context.record_size_limit + 1
        return limit if self.context.v12 is None else min(limit, 16384)

    def emit(self, shares, ticket_age=None):
        """Sets `message`. shares: list of (group, share). ticket_age: the obfuscated one; then the session's ticket is
        offered, and the binder, zeros, is for the caller to fill in.
        """
        context = self.context
        v12 = context.v12
        session = self.session
        found = []

        def add(kind, data):
            found.append((kind, data))

        if self.hostname and not is_ip_literal(self.hostname):
            add(codec.EXT_SERVER_NAME, vector16(b"\0" + vector16(self.hostname.encode())))
        add(codec.EXT_SUPPORTED_GROUPS, codec.number_list(context.crypto.groups))
        add(codec.EXT_SIGNATURE_ALGORITHMS, codec.number_list(acceptable(context.crypto)))
        if context.alpn:
            add(codec.EXT_ALPN, codec.alpn_list(context.alpn))
        if context.record_size_limit is not None:
            add(codec.EXT_RECORD_SIZE_LIMIT, struct.pack(">H", self.record_size_limit()))
        add(codec.EXT_SUPPORTED_VERSIONS, b"\x02\x03\x04" if v12 is None else b"\x04\x03\x04\x03\x03")
        add(codec.EXT_PSK_MODES, b"\x01\x01")  # with (EC)DHE only
        add(
            codec.EXT_KEY_SHARE,
            vector16(b"".join([struct.pack(">H", group) + vector16(share) for group, share in shares])),
        )
        if self.cookie is not None:
            add(codec.EXT_COOKIE, vector16(self.cookie))
        parts = [extension(kind, data) for kind, data in found]
        self.sent = [kind for kind, _ in found]
        suites = b"".join([struct.pack(">H", number) for number in self.suites])
        if v12 is not None:
            suites += v12.suites
            parts.append(v12.extensions(session))
        if ticket_age is not None:  # must be the last one (section 4.2.11)
            binders = vector16(vector8(bytes(len(session.secret))))
            identity = vector16(session.ticket) + struct.pack(">I", ticket_age)
            parts.append(extension(codec.EXT_PRE_SHARED_KEY, vector16(identity) + binders))
            self.sent.append(codec.EXT_PRE_SHARED_KEY)
        hello = (
            b"\x03\x03",
            self.random,
            vector8(self.session_id),
            vector16(suites),
            b"\x01\0",
            vector16(b"".join(parts)),
        )
        self.message = codec.message(codec.CLIENT_HELLO, b"".join(hello))


class ServerHello:
    """The server's answer. message: all of it. version: that was chosen. random, session_id: octets. suite: number.
    extensions: {type: octets}. is_retry: it is a HelloRetryRequest.
    """

    def __init__(self, message):
        """TlsError when it is malformed."""
        self.message = message
        reader = codec.Reader(message, "ServerHello", 4)
        self.version = reader.number(2)
        self.random = reader.octets(32)
        self.session_id = reader.vector(1)
        self.suite = reader.number(2)
        if len(self.session_id) > 32:
            raise TlsError(DECODE_ERROR, "malformed ServerHello")
        if reader.number(1):
            raise TlsError(ILLEGAL_PARAMETER, "compression")
        # TLS 1.2 allows a hello without any.
        self.extensions = reader.extensions() if reader.at < reader.end else {}
        self.is_retry = self.random == _RETRY_RANDOM
        chosen = self.extensions.get(codec.EXT_SUPPORTED_VERSIONS)
        if chosen is not None:
            if len(chosen) != 2:
                raise TlsError(DECODE_ERROR, "malformed ServerHello")
            if self.version != 0x0303:
                raise TlsError(ILLEGAL_PARAMETER, "legacy version wrong")
            self.version = chosen[0] << 8 | chosen[1]
            if self.version < 0x0304:
                raise TlsError(ILLEGAL_PARAMETER, "version below 1.3 chosen by an extension")
