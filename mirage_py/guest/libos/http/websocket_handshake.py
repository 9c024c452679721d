# SPDX-License-Identifier: MIT
"""The opening handshake of WebSocket (RFC 6455 section 4), the server's side and the client's."""

from binascii import b2a_base64

from .errors import RemoteError
from .sha1 import sha1

PROTOCOL = b"websocket"
VERSION = b"13"
_BASE64 = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"


def _accept(key):
    return b2a_base64(sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11")).strip()


def answer(request, protocols=(), origins=None):
    """(protocol or None, pairs for send_upgrade(PROTOCOL, pairs)) to a server's Request.

    protocols: bytes, what we speak: the first that the client has asked for is taken, None when there is none. origins:
    those of pages that may connect (b"https://example.com"), None for all; who sends no Origin is no browser, and may.
    Raises RemoteError: 400, 403, or 426, which is to be answered with Sec-WebSocket-Version: 13.
    """
    headers = request.headers
    if request.method != b"GET" or request.version != 11 or request.length != 0:
        raise RemoteError(400, "a WebSocket begins with GET, without content")
    if PROTOCOL not in [offer.lower() for offer in headers.elements(b"upgrade")]:
        raise RemoteError(426, "a WebSocket is wanted here")
    if b"upgrade" not in [option.lower() for option in headers.elements(b"connection")]:
        raise RemoteError(400, "Upgrade without Connection")
    if headers.get_all(b"sec-websocket-version") != [VERSION]:
        raise RemoteError(426, "another version of WebSocket")
    keys = headers.get_all(b"sec-websocket-key")
    if len(keys) != 1 or not _is_key(keys[0]):
        raise RemoteError(400, "malformed Sec-WebSocket-Key")
    if origins is not None and headers.get(b"origin") is not None and headers.get(b"origin") not in origins:
        raise RemoteError(403, "an origin that may not connect")
    pairs = [(b"Sec-WebSocket-Accept", _accept(keys[0]))]
    chosen = None
    for offer in headers.elements(b"sec-websocket-protocol"):
        if offer in protocols:
            chosen = offer
            pairs.append((b"Sec-WebSocket-Protocol", offer))
            break
    return chosen, pairs


def _is_key(key):
    """16 octets in base64."""
    return len(key) == 24 and key.endswith(b"==") and not key[:22].strip(_BASE64)


def ask(random, protocols=()):
    """(key, pairs for start_request(…, upgrade=PROTOCOL)). random: random(count) -> bytes."""
    key = b2a_base64(random(16)).strip()
    pairs = [(b"Sec-WebSocket-Key", key), (b"Sec-WebSocket-Version", VERSION)]
    if protocols:
        pairs.append((b"Sec-WebSocket-Protocol", b", ".join(protocols)))
    return key, pairs


def check(response, key, protocols=()):
    """The protocol that the server has chosen, or None. RemoteError when response does not begin a WebSocket."""
    headers = response.headers
    if response.status != 101:
        raise RemoteError(502, "the server answered %d instead of beginning a WebSocket" % response.status)
    if headers.get_all(b"sec-websocket-accept") != [_accept(key)]:
        raise RemoteError(502, "Sec-WebSocket-Accept does not belong to this request")
    if headers.get(b"sec-websocket-extensions") is not None:
        raise RemoteError(502, "an extension that nobody asked for")
    chosen = headers.get_all(b"sec-websocket-protocol")
    if len(chosen) > 1 or (chosen and chosen[0] not in protocols):
        raise RemoteError(502, "a protocol that nobody asked for")
    return chosen[0] if chosen else None
