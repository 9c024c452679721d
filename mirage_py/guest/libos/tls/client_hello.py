# SPDX-License-Identifier: MIT
"""A server reads ClientHello (RFC 8446 section 4.1.2; RFC 5246 section 7.4.1.2)."""

from . import codec
from .errors import ILLEGAL_PARAMETER, PROTOCOL_VERSION, TlsError

_WHAT = "ClientHello"


class ClientHello:
    """What a client offers.

    message: all of it, header included. version: the legacy one. random, session_id: octets. suites: tuple of numbers,
    the client's order. extensions: {type: octets}. server_name: text in lower case, or None. alpn: list of bytes.
    groups, schemes: tuples of numbers, empty when not sent.
    """

    def __init__(self, message):
        """TlsError when it is malformed."""
        self.message = message
        total = len(message)
        # Read by hand: a server does it for every handshake. 4 + 2 + 32 octets come before session_id.
        if total < 39:
            raise codec.damaged(_WHAT)
        self.version = message[4] << 8 | message[5]
        self.random = message[6:38]
        at = 39 + message[38]
        if message[38] > 32 or at + 2 > total:
            raise codec.damaged(_WHAT)
        self.session_id = message[39:at]
        count = message[at] << 8 | message[at + 1]
        end = at + 2 + count
        if not count or count & 1 or end >= total:
            raise codec.damaged(_WHAT)
        self.suites = codec.numbers(message[at:end], _WHAT)
        at = end + 1 + message[end]
        if not message[end] or at > total:
            raise codec.damaged(_WHAT)
        if b"\0" not in message[end + 1 : at]:
            raise TlsError(ILLEGAL_PARAMETER, "compression")
        # TLS 1.2 allows a hello without any.
        found = self.extensions = codec.extensions(message, at, _WHAT) if at < total else {}
        self.is_compressing = message[end] != 1
        if self.version < 0x0301:
            raise TlsError(PROTOCOL_VERSION, "older than TLS")
        names = found.get(codec.EXT_SERVER_NAME)
        self.server_name = None if names is None else _server_name(names)
        offered = found.get(codec.EXT_ALPN)
        self.alpn = [] if offered is None else codec.alpn_names(offered, _WHAT)
        offered = found.get(codec.EXT_SUPPORTED_GROUPS)
        self.groups = () if offered is None else codec.numbers(offered, _WHAT)
        offered = found.get(codec.EXT_SIGNATURE_ALGORITHMS)
        self.schemes = () if offered is None else codec.numbers(offered, _WHAT)

    def versions(self):
        """The numbers of supported_versions (section 4.2.1); without it, the legacy one and what is below."""
        found = self.extensions.get(codec.EXT_SUPPORTED_VERSIONS)
        if found is None:
            return (min(self.version, 0x0303),)
        count = len(found)
        if count < 3 or not count & 1 or found[0] != count - 1:
            raise codec.damaged(_WHAT)
        return [found[at] << 8 | found[at + 1] for at in range(1, count, 2)]

    def shares(self):
        """{group: key share} (section 4.2.8)."""
        data = self.extensions[codec.EXT_KEY_SHARE]
        reader = codec.Reader(data, _WHAT)
        if reader.number(2) != len(data) - 2:
            raise codec.damaged(_WHAT)
        found = {}
        while reader.at < reader.end:
            group = reader.number(2)
            if group in found:
                raise TlsError(ILLEGAL_PARAMETER, "key share twice")
            found[group] = reader.vector(2, 1)
        return found


def _server_name(data):
    """The host name (RFC 6066 section 3), or None when there is none, or none that a certificate could be for."""
    outer = codec.Reader(data, _WHAT)
    names = codec.Reader(outer.vector(2, 1), _WHAT)
    outer.finish()
    found = None
    while names.at < names.end:
        kind = names.number(1)
        name = names.vector(2, 1)
        if kind == 0:
            if found is not None:
                raise TlsError(ILLEGAL_PARAMETER, "host name twice")
            found = name
    if found is None or len(found) > 255:
        return None
    if min(found) < 0x21 or max(found) > 0x7E:
        raise TlsError(ILLEGAL_PARAMETER, "host name is no text")
    return found.decode().lower()
