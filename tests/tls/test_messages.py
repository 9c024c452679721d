# SPDX-License-Identifier: MIT
"""Messages that do not parse, or parse and may not be what they are: each with the alert that RFC 8446 wants."""

from __future__ import annotations

import contextlib
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libos.tls import authentication, client_hello, codec, errors, offer, signatures
from libos.tls.codec import extension, vector8, vector16, vector24
from libos.tls.errors import TlsError
from tests.tls.engines import (
    NOW_MS,
    Credential,
    client_context,
    client_engine,
    established,
    exchange,
    quick_crypto,
    server_context,
)
from tests.tls.reference_crypto import reference_crypto
from tests.tls.test_states import Held

X25519, SECP256R1 = 0x001D, 0x0017
RETRY = bytes.fromhex("cf21ad74e59a6111be1d8c021e65b891c2a211167abb8c5e079e09e2c8a8339c")
SHARE = quick_crypto().generate(X25519)[1]


# --- what a client says to a server ----------------------------------------------------------------------------------


def hello(
    *,
    version: int = 0x0303,
    session_id: bytes = b"",
    suites: bytes = b"\x13\x01",
    compression: bytes = b"\0",
    without: tuple[int, ...] = (),
    last: bytes = b"",
    **changed: bytes,
) -> bytes:
    """A ClientHello. changed: extensions, as `x43=octets`."""
    found = {
        codec.EXT_SUPPORTED_GROUPS: b"\0\4\0\x1d\0\x17",
        codec.EXT_SIGNATURE_ALGORITHMS: b"\0\2\4\3",
        codec.EXT_SUPPORTED_VERSIONS: b"\2\3\4",
        codec.EXT_KEY_SHARE: vector16(struct.pack(">H", X25519) + vector16(SHARE)),
    }
    found.update({int(name[1:]): data for name, data in changed.items()})
    parts = b"".join(extension(kind, data) for kind, data in found.items() if kind not in without) + last
    body = struct.pack(">H", version) + bytes(32) + vector8(session_id) + vector16(suites) + vector8(compression)
    return codec.message(codec.CLIENT_HELLO, body + vector16(parts))


def send_hello(message: bytes, context: Any = None) -> Any:
    server = (context or server_context()).engine(NOW_MS)
    server.receive_data(b"\x16\x03\x01" + vector16(message))
    return server


def psk(identities: bytes, binders: bytes) -> bytes:
    return extension(codec.EXT_PRE_SHARED_KEY, vector16(identities) + vector16(binders))


IDENTITY = vector16(b"ticket") + bytes(4)
BINDER = vector8(bytes(32))
MODES = extension(codec.EXT_PSK_MODES, b"\1\1")

GOOD_HELLOS = {
    "plain": {},
    "GREASE": {
        "suites": b"\x0a\x0a\x13\x01",
        "x2570": b"",
        "x10": b"\0\6\x1a\x1a\0\x1d\0\x17",
        "x43": b"\4\x3a\x3a\3\4",
        "x51": vector16(b"\x1a\x1a\0\1\0" + struct.pack(">H", X25519) + vector16(SHARE)),
        "x13": b"\0\4\x2a\x2a\4\3",
        "x16": b"\0\3\2\x0a\x0a",
        "x45": b"\2\x0b\1",
    },
    "unknown extensions": {"x65000": b"anything", "x21": bytes(500)},
    "4,000 extensions": {"last": b"".join(extension(kind, b"") for kind in range(1000, 5000))},
    "session id": {"session_id": bytes(32)},
    "empty server name list is no name of a host": {"x0": vector16(b"\1" + vector16(b"other"))},
    "unknown ticket": {"last": MODES + psk(IDENTITY, BINDER)},
    "many tickets": {"last": MODES + psk(IDENTITY * 50, BINDER * 50)},
    "ticket without (EC)DHE": {"last": extension(45, b"\1\0") + psk(IDENTITY, BINDER)},
    "status request": {"x5": b"\1\0\0\0\0"},
    "record size": {"x28": b"\x40\1"},
}


@pytest.mark.parametrize("changes", GOOD_HELLOS.values(), ids=GOOD_HELLOS)
def test_hello_is_taken(changes):
    server = send_hello(hello(**changes))
    assert server.error is None
    assert server.group == X25519


BAD_HELLOS = {
    "no extensions at all": (codec.message(1, hello()[4:45]), errors.PROTOCOL_VERSION),
    "SSL 3": (hello(version=0x0300), errors.PROTOCOL_VERSION),
    "TLS 1.1": (hello(version=0x0302, without=(43,)), errors.PROTOCOL_VERSION),
    "TLS 1.2": (hello(without=(43,)), errors.PROTOCOL_VERSION),
    "versions without 1.3": (hello(x43=b"\4\3\3\3\2"), errors.PROTOCOL_VERSION),
    "versions of another draft": (hello(x43=b"\2\x7f\x1c"), errors.PROTOCOL_VERSION),
    "versions empty": (hello(x43=b"\0"), errors.DECODE_ERROR),
    "versions odd": (hello(x43=b"\3\3\4\3"), errors.DECODE_ERROR),
    "versions too long": (hello(x43=b"\2\3\4\0"), errors.DECODE_ERROR),
    "session id too long": (hello(session_id=bytes(33)), errors.DECODE_ERROR),
    "no suites": (hello(suites=b""), errors.DECODE_ERROR),
    "odd suites": (hello(suites=b"\x13\x01\x13"), errors.DECODE_ERROR),
    "other suites": (hello(suites=b"\x13\x04\xc0\x2b"), errors.HANDSHAKE_FAILURE),
    "compression": (hello(compression=b"\1\0"), errors.ILLEGAL_PARAMETER),
    "only compression": (hello(compression=b"\1"), errors.ILLEGAL_PARAMETER),
    "no compression list": (hello(compression=b""), errors.DECODE_ERROR),
    "no groups": (hello(without=(10,)), errors.MISSING_EXTENSION),
    "no shares": (hello(without=(51,)), errors.MISSING_EXTENSION),
    "no schemes": (hello(without=(13,)), errors.MISSING_EXTENSION),
    "groups empty": (hello(x10=b"\0\0"), errors.DECODE_ERROR),
    "groups odd": (hello(x10=b"\0\3\0\x1d\0"), errors.DECODE_ERROR),
    "groups too long": (hello(x10=b"\0\2\0\x1d\0"), errors.DECODE_ERROR),
    "other groups": (hello(x10=b"\0\2\0\x18", x51=b"\0\0"), errors.HANDSHAKE_FAILURE),
    "schemes empty": (hello(x13=b"\0\0"), errors.DECODE_ERROR),
    "other schemes": (hello(x13=b"\0\2\2\1"), errors.HANDSHAKE_FAILURE),
    "PKCS#1 only": (hello(x13=b"\0\2\4\1"), errors.HANDSHAKE_FAILURE),
    "share of a group that is not offered": (hello(x10=b"\0\2\0\x17"), errors.ILLEGAL_PARAMETER),
    "share twice": (hello(x51=vector16((struct.pack(">H", X25519) + vector16(SHARE)) * 2)), errors.ILLEGAL_PARAMETER),
    "share empty": (hello(x51=vector16(b"\0\x1d\0\0")), errors.DECODE_ERROR),
    "share cut": (hello(x51=vector16(b"\0\x1d\0\x20" + SHARE[:31])), errors.DECODE_ERROR),
    "shares too long": (hello(x51=vector16(b"\0\x1d\0\x20" + SHARE) + b"\0"), errors.DECODE_ERROR),
    "share too short": (hello(x51=vector16(b"\0\x1d\0\x1f" + SHARE[:31])), errors.ILLEGAL_PARAMETER),
    "share of order 1": (hello(x51=vector16(b"\0\x1d\0\x20" + bytes(32))), errors.ILLEGAL_PARAMETER),
    "point not on the curve": (
        hello(x51=vector16(b"\0\x17\0\x41\4" + b"\1" * 64)),
        errors.ILLEGAL_PARAMETER,
    ),
    "point at infinity": (hello(x51=vector16(b"\0\x17\0\1\0")), errors.ILLEGAL_PARAMETER),
    "extension twice": (hello(last=extension(43, b"\2\3\4")), errors.ILLEGAL_PARAMETER),
    "unknown extension twice": (hello(last=extension(65000, b"") * 2), errors.ILLEGAL_PARAMETER),
    "server names empty": (hello(x0=b""), errors.DECODE_ERROR),
    "server name list empty": (hello(x0=b"\0\0"), errors.DECODE_ERROR),
    "server name empty": (hello(x0=vector16(b"\0\0\0")), errors.DECODE_ERROR),
    "server name twice": (hello(x0=vector16((b"\0" + vector16(b"a")) * 2)), errors.ILLEGAL_PARAMETER),
    "server name with a zero": (hello(x0=vector16(b"\0" + vector16(b"a\0b"))), errors.ILLEGAL_PARAMETER),
    "server name in 8 bits": (hello(x0=vector16(b"\0" + vector16(b"\xc3\xa4"))), errors.ILLEGAL_PARAMETER),
    "server name cut": (hello(x0=vector16(b"\0\0\5abc")), errors.DECODE_ERROR),
    "ALPN empty": (hello(x16=b"\0\0"), errors.DECODE_ERROR),
    "ALPN with an empty name": (hello(x16=b"\0\3\0\1a"), errors.DECODE_ERROR),
    "ALPN cut": (hello(x16=b"\0\3\5ab"), errors.DECODE_ERROR),
    "record size too small": (hello(x28=b"\0\x3f"), errors.ILLEGAL_PARAMETER),
    "record size malformed": (hello(x28=b"\0\0\0"), errors.DECODE_ERROR),
    "PSK is not the last": (hello(last=psk(IDENTITY, BINDER) + MODES), errors.ILLEGAL_PARAMETER),
    "PSK without modes": (hello(last=psk(IDENTITY, BINDER)), errors.MISSING_EXTENSION),
    "PSK modes malformed": (hello(last=extension(45, b"\2\1") + psk(IDENTITY, BINDER)), errors.DECODE_ERROR),
    "PSK without identities": (hello(last=MODES + psk(b"", BINDER)), errors.DECODE_ERROR),
    "PSK without binders": (hello(last=MODES + psk(IDENTITY, b"")), errors.DECODE_ERROR),
    "PSK with fewer binders": (hello(last=MODES + psk(IDENTITY * 2, BINDER)), errors.DECODE_ERROR),
    "PSK with more binders": (hello(last=MODES + psk(IDENTITY, BINDER * 2)), errors.DECODE_ERROR),
    "PSK with a short binder": (hello(last=MODES + psk(IDENTITY, b"\x1f" + bytes(32))), errors.DECODE_ERROR),
    "PSK with an empty identity": (hello(last=MODES + psk(b"\0\0" + bytes(5), BINDER)), errors.DECODE_ERROR),
}


@pytest.mark.parametrize(("message", "alert"), BAD_HELLOS.values(), ids=BAD_HELLOS)
def test_hello_is_refused(message, alert):
    server = send_hello(message)
    assert server.error is not None
    assert server.error.alert == alert, server.error
    assert server.take_output() == b"\x15\x03\x03\x00\x02\x02" + bytes([alert])


def test_every_truncation_of_a_hello():
    whole = hello(x0=vector16(b"\0" + vector16(b"localhost")), x16=b"\0\3\2h2", session_id=bytes(32))
    for end in range(4, len(whole)):
        server = send_hello(codec.message(1, whole[4:end]))
        assert server.error is not None
        assert server.error.alert in (errors.DECODE_ERROR, errors.MISSING_EXTENSION, errors.PROTOCOL_VERSION)


SECOND_HELLOS = {
    "the same again": {},
    "no share": {"x51": b"\0\0"},
    "two shares": {
        "x51": vector16(
            b"".join(
                struct.pack(">H", group) + vector16(quick_crypto().generate(group)[1]) for group in (X25519, SECP256R1)
            )
        )
    },
    "early data": {"x51": vector16(b"\0\x17" + vector16(quick_crypto().generate(SECP256R1)[1])), "x42": b""},
    "another suite": {
        "x51": vector16(b"\0\x17" + vector16(quick_crypto().generate(SECP256R1)[1])),
        "suites": b"\x13\x03",
    },
    "without 1.3": {"x43": b"\2\3\3"},
}


@pytest.mark.parametrize("changes", SECOND_HELLOS.values(), ids=SECOND_HELLOS)
def test_second_hello_is_refused(changes):
    crypto = quick_crypto()
    crypto.groups = (SECP256R1,)
    server = send_hello(hello(), server_context(crypto=crypto))
    assert server.handshake.retry_group == SECP256R1
    server.receive_data(b"\x16\x03\x03" + vector16(hello(**changes)))
    assert server.error.alert == errors.ILLEGAL_PARAMETER


# --- what a server says to a client ----------------------------------------------------------------------------------


def server_hello(
    *,
    version: int = 0x0303,
    random: bytes = bytes(32),
    session_id: bytes | None = None,
    suite: int = 0x1301,
    compression: int = 0,
    without: tuple[int, ...] = (),
    last: bytes = b"",
    **changed: bytes,
) -> dict[str, Any]:
    found = {
        codec.EXT_SUPPORTED_VERSIONS: b"\3\4",
        codec.EXT_KEY_SHARE: struct.pack(">H", X25519) + vector16(SHARE),
    }
    found.update({int(name[1:]): data for name, data in changed.items()})
    parts = b"".join(extension(kind, data) for kind, data in found.items() if kind not in without) + last
    return {
        "head": struct.pack(">H", version) + random,
        "session_id": session_id,
        "tail": struct.pack(">HB", suite, compression) + vector16(parts),
    }


def answer(client: Any, made: dict[str, Any]) -> None:
    session_id = client.handshake.offer.session_id if made["session_id"] is None else made["session_id"]
    body = made["head"] + vector8(session_id) + made["tail"]
    client.receive_data(b"\x16\x03\x03" + vector16(codec.message(codec.SERVER_HELLO, body)))


GROUP = {"x51": struct.pack(">H", SECP256R1)}
BAD_SERVER_HELLOS = {
    "TLS 1.2": (server_hello(without=(43, 51)), errors.PROTOCOL_VERSION),
    "TLS 1.2, marked as a downgrade": (server_hello(without=(43,), random=bytes(24) + b"DOWNGRD\1"), 70),
    "TLS 1.4": (server_hello(x43=b"\3\5"), errors.PROTOCOL_VERSION),
    "TLS 1.2 by extension": (server_hello(x43=b"\3\3"), errors.ILLEGAL_PARAMETER),
    "version malformed": (server_hello(x43=b"\3"), errors.DECODE_ERROR),
    "legacy version": (server_hello(version=0x0304), errors.ILLEGAL_PARAMETER),
    "session id": (server_hello(session_id=bytes(32)), errors.ILLEGAL_PARAMETER),
    "no session id": (server_hello(session_id=b""), errors.ILLEGAL_PARAMETER),
    "session id too long": (server_hello(session_id=bytes(33)), errors.DECODE_ERROR),
    "suite that is none": (server_hello(suite=0x1304), errors.ILLEGAL_PARAMETER),
    "suite of TLS 1.2": (server_hello(suite=0xC02B), errors.ILLEGAL_PARAMETER),
    "compression": (server_hello(compression=1), errors.ILLEGAL_PARAMETER),
    "no share": (server_hello(without=(51,)), errors.MISSING_EXTENSION),
    "share of a group that was not sent": (server_hello(x51=b"\0\x17\0\1\0"), errors.ILLEGAL_PARAMETER),
    "share that is none": (server_hello(x51=b"\0\x1d\0\x20" + bytes(32)), errors.ILLEGAL_PARAMETER),
    "share empty": (server_hello(x51=b"\0\x1d\0\0"), errors.DECODE_ERROR),
    "share too long": (server_hello(x51=b"\0\x1d\0\x20" + bytes(33)), errors.DECODE_ERROR),
    "PSK that was not offered": (server_hello(x41=b"\0\0"), errors.UNSUPPORTED_EXTENSION),
    "extension that was not asked for": (server_hello(x16=b"\0\3\2h2"), errors.UNSUPPORTED_EXTENSION),
    "cookie": (server_hello(x44=b"\0\1a"), errors.UNSUPPORTED_EXTENSION),
    "extension twice": (server_hello(last=extension(43, b"\3\4")), errors.ILLEGAL_PARAMETER),
    "retry for nothing": (server_hello(random=RETRY, without=(51,)), errors.ILLEGAL_PARAMETER),
    "retry for the group that was sent": (server_hello(random=RETRY, x51=b"\0\x1d"), errors.ILLEGAL_PARAMETER),
    "retry for a group that is not offered": (server_hello(random=RETRY, x51=b"\0\x18"), errors.ILLEGAL_PARAMETER),
    "retry with a share": (server_hello(random=RETRY), errors.DECODE_ERROR),
    "retry with an empty cookie": (server_hello(random=RETRY, x44=b"\0\0", **GROUP), errors.DECODE_ERROR),
    "retry with a cut cookie": (server_hello(random=RETRY, x44=b"\0\5a", **GROUP), errors.DECODE_ERROR),
    "retry with a PSK": (server_hello(random=RETRY, x41=b"\0\0", **GROUP), errors.UNSUPPORTED_EXTENSION),
}


@pytest.mark.parametrize(("made", "alert"), BAD_SERVER_HELLOS.values(), ids=BAD_SERVER_HELLOS)
def test_server_hello_is_refused(made, alert):
    client = client_engine(client_context())
    client.take_output()
    answer(client, made)
    assert client.error is not None
    assert client.error.alert == alert, client.error
    assert client.take_output()[-7:] == b"\x15\x03\x03\x00\x02\x02" + bytes([alert])


def test_cookie_comes_back():
    client = client_engine(client_context())
    first = client.take_output()
    answer(client, server_hello(random=RETRY, x44=vector16(b"a cookie"), without=(51,)))
    second = client.take_output()
    assert extension(codec.EXT_COOKIE, vector16(b"a cookie")) in second
    assert first[11:43] in second
    assert client.error is None
    answer(client, server_hello(random=RETRY, x44=vector16(b"a cookie"), without=(51,)))
    assert client.error.alert == errors.UNEXPECTED_MESSAGE


def test_suite_changes_after_a_retry():
    client = client_engine(client_context())
    answer(client, server_hello(random=RETRY, **GROUP))
    assert client.error is None
    answer(client, server_hello(suite=0x1303, x51=b"\0\x17" + vector16(quick_crypto().generate(SECP256R1)[1])))
    assert client.error.alert == errors.ILLEGAL_PARAMETER


def test_psk_of_another_hash_or_index_is_chosen():
    clients, servers = client_context(), server_context()
    session = established(clients, servers)[0].session
    for changes, alert in (
        ({"x41": b"\0\1"}, errors.ILLEGAL_PARAMETER),
        ({"x41": b"\0\0", "suite": 0x1302}, errors.ILLEGAL_PARAMETER),
        ({"x41": b"\0"}, errors.DECODE_ERROR),
    ):
        client = client_engine(clients, session=session)
        answer(client, server_hello(**changes))
        assert client.error.alert == alert


def flight_of(context: Any) -> tuple[Any, Held]:
    """(client, server) behind ServerHello."""
    client, server = client_engine(context), Held(server_context().engine(NOW_MS))
    server.engine.receive_data(client.take_output())
    client.receive_data(server.engine.take_output())
    return client, server


BAD_EXTENSIONS = {
    "not asked for": (extension(codec.EXT_ALPN, b"\0\3\2h2"), errors.UNSUPPORTED_EXTENSION),
    "early data": (extension(codec.EXT_EARLY_DATA, b""), errors.UNSUPPORTED_EXTENSION),
    "in the wrong message": (extension(codec.EXT_KEY_SHARE, b"\0\x1d"), errors.ILLEGAL_PARAMETER),
    "server name with one": (extension(codec.EXT_SERVER_NAME, b"\0"), errors.DECODE_ERROR),
    "twice": (extension(codec.EXT_SERVER_NAME, b"") * 2, errors.ILLEGAL_PARAMETER),
    "cut": (b"\0\0\0\1", errors.DECODE_ERROR),
}


@pytest.mark.parametrize(("parts", "alert"), BAD_EXTENSIONS.values(), ids=BAD_EXTENSIONS)
def test_encrypted_extensions_are_refused(parts, alert):
    client, server = flight_of(client_context())
    server.send(client, codec.message(codec.ENCRYPTED_EXTENSIONS, vector16(parts)))
    assert client.error.alert == alert, client.error


@pytest.mark.parametrize(
    ("parts", "alert"),
    [
        (extension(codec.EXT_ALPN, b"\0\3\2h3"), errors.ILLEGAL_PARAMETER),
        (extension(codec.EXT_ALPN, b"\0\6\2h2\2h2"), errors.ILLEGAL_PARAMETER),
        (extension(codec.EXT_ALPN, b""), errors.DECODE_ERROR),
        (extension(codec.EXT_RECORD_SIZE_LIMIT, b"\0\x3f"), errors.ILLEGAL_PARAMETER),
        (extension(codec.EXT_RECORD_SIZE_LIMIT, b"\x40\2"), errors.ILLEGAL_PARAMETER),
        (extension(codec.EXT_RECORD_SIZE_LIMIT, b"\x40"), errors.DECODE_ERROR),
    ],
)
def test_encrypted_extensions_that_were_asked_for_are_refused(parts, alert):
    client, server = flight_of(client_context(alpn=(b"h2",), record_size_limit=1000))
    server.send(client, codec.message(codec.ENCRYPTED_EXTENSIONS, vector16(parts)))
    assert client.error.alert == alert, client.error


BAD_CERTIFICATES = {
    "none": (b"\0" + vector24(b""), errors.DECODE_ERROR),
    "empty": (b"\0" + vector24(vector24(b"") + b"\0\0"), errors.DECODE_ERROR),
    "for a request": (b"\1a" + vector24(vector24(b"a") + b"\0\0"), errors.ILLEGAL_PARAMETER),
    "cut": (b"\0" + vector24(vector24(b"a") + b"\0"), errors.DECODE_ERROR),
    "followed by something": (b"\0" + vector24(vector24(b"a") + b"\0\0") + b"\0", errors.DECODE_ERROR),
    "with an extension": (
        b"\0" + vector24(vector24(b"a") + vector16(extension(5, b"\1"))),
        errors.UNSUPPORTED_EXTENSION,
    ),
    "101 of them": (b"\0" + vector24((vector24(b"a") + b"\0\0") * 101), errors.BAD_CERTIFICATE),
    "no certificate": (b"\0" + vector24(vector24(b"a") + b"\0\0"), errors.BAD_CERTIFICATE),
}


@pytest.mark.parametrize(("body", "alert"), BAD_CERTIFICATES.values(), ids=BAD_CERTIFICATES)
def test_certificate_is_refused(body, alert):
    client, server = flight_of(client_context())
    server.send(client, server.flight[0])
    server.send(client, codec.message(codec.CERTIFICATE, body))
    assert client.error.alert == alert, client.error


@pytest.mark.parametrize(
    ("change", "alert"),
    [
        (lambda body: b"\4\1" + body[2:], errors.ILLEGAL_PARAMETER),  # PKCS#1
        (lambda body: b"\5\3" + body[2:], errors.ILLEGAL_PARAMETER),  # of another curve
        (lambda body: b"\xff\xff" + body[2:], errors.ILLEGAL_PARAMETER),
        (lambda body: body + b"\0", errors.DECODE_ERROR),
        (lambda body: body[:-1], errors.DECODE_ERROR),
        (lambda body: b"\4\3\0\0", errors.DECRYPT_ERROR),
        (lambda body: body[:-1] + bytes([body[-1] ^ 1]), errors.DECRYPT_ERROR),
    ],
)
def test_certificate_verify_is_refused(change, alert):
    client, server = flight_of(client_context())
    for message in server.flight[:2]:
        server.send(client, message)
    server.send(client, codec.message(codec.CERTIFICATE_VERIFY, change(server.flight[2][4:])))
    assert client.error.alert == alert, client.error


@pytest.mark.parametrize(
    ("body", "alert"),
    [
        (b"\1a" + vector16(extension(13, b"\0\2\4\3")), errors.ILLEGAL_PARAMETER),
        (b"\0" + vector16(b""), errors.MISSING_EXTENSION),
        (b"\0" + vector16(extension(13, b"\0\0")), errors.DECODE_ERROR),
        (b"\0", errors.DECODE_ERROR),
    ],
)
def test_certificate_request_is_refused(body, alert):
    client, server = flight_of(client_context())
    server.send(client, server.flight[0])
    server.send(client, codec.message(codec.CERTIFICATE_REQUEST, body))
    assert client.error.alert == alert, client.error


@pytest.mark.parametrize("data", [b"", bytes(31), bytes(32), bytes(33)])
def test_finished_is_refused(data):
    client, server = flight_of(client_context())
    for message in server.flight[:3]:
        server.send(client, message)
    server.send(client, codec.message(codec.FINISHED, data))
    assert client.error.alert == (errors.DECRYPT_ERROR if len(data) == 32 else errors.DECODE_ERROR)
    assert not client.is_established


# --- codecs ----------------------------------------------------------------------------------------------------------

PARSERS = {
    "ClientHello": client_hello.ClientHello,
    "ServerHello": offer.ServerHello,
    "Certificate": authentication.read_chain,
    "extensions": lambda data: codec.extensions(data, 0, ""),
    "numbers": lambda data: codec.numbers(data, ""),
    "ALPN": lambda data: codec.alpn_names(data, ""),
}


@pytest.mark.parametrize("parse", PARSERS.values(), ids=PARSERS)
@given(data=st.binary(max_size=200))
def test_any_octets_parse_or_are_refused(parse, data):
    with contextlib.suppress(TlsError):
        parse(data)


@given(
    st.dictionaries(st.integers(0, 65535), st.binary(max_size=40), max_size=20),
    st.binary(max_size=10),
)
def test_extensions_round_trip(found, before):
    data = before + vector16(b"".join(extension(kind, octets) for kind, octets in found.items()))
    assert codec.extensions(data, len(before), "") == found
    if found:
        last = list(found)[-1]
        assert codec.is_last(data, last, found)
        for end in range(len(before), len(data)):
            with pytest.raises(TlsError):
                codec.extensions(data[:end], len(before), "")


@given(st.lists(st.integers(0, 65535), min_size=1, max_size=50))
def test_numbers_round_trip(values):
    data = codec.number_list(values)
    assert list(codec.numbers(data, "")) == values
    for wrong in (data + b"\0", data[:-1], data[:-2], b""):
        with pytest.raises(TlsError):
            codec.numbers(wrong, "")


@given(st.lists(st.binary(min_size=1, max_size=255), min_size=1, max_size=10))
def test_alpn_round_trip(names):
    data = codec.alpn_list(names)
    assert codec.alpn_names(data, "") == names
    for wrong in (data + b"\0", data[:-1]):
        with pytest.raises(TlsError):
            codec.alpn_names(wrong, "")


@given(st.binary(max_size=20), st.lists(st.binary(min_size=1, max_size=100), max_size=5))
def test_chain_round_trip(context, chain):
    message = authentication.write_chain(context, chain)
    assert authentication.read_chain(message) == (context, chain)
    for end in range(4, len(message)):
        with pytest.raises(TlsError):
            authentication.read_chain(message[:end])


@given(
    st.lists(st.sampled_from([b"h2", b"http/1.1", b"x" * 255]), unique=True),
    st.sampled_from([None, 64, 16384]),
    st.sampled_from(["a.example", "192.0.2.1", "::1", None]),
    st.sampled_from([(X25519,), (SECP256R1, X25519), (0x11EC, X25519)]),
)
def test_offer_is_read_as_it_was_meant(alpn, limit, hostname, groups):
    crypto = reference_crypto()
    crypto.groups = groups
    context = client_context(crypto=crypto, alpn=tuple(alpn), record_size_limit=limit)
    made = offer.Offer(context, hostname, 0, None, False)
    shares = [(group, bytes(32)) for group in groups]
    made.emit(shares)
    read = client_hello.ClientHello(made.message)
    assert read.random == made.random
    assert read.session_id == made.session_id
    assert list(read.suites) == made.suites
    assert read.alpn == alpn
    assert read.groups == groups
    assert list(read.schemes) == signatures.acceptable(crypto)
    assert read.shares() == dict(shares)
    assert read.versions() == [0x0304]
    assert read.server_name == (hostname if hostname == "a.example" else None)
    assert set(read.extensions) == set(made.sent)
    assert not read.is_compressing


def test_reader_is_strict():
    for take in (
        lambda reader: reader.number(4),
        lambda reader: reader.octets(4),
        lambda reader: reader.vector(1),
        lambda reader: reader.vector(2),
        lambda reader: reader.finish(),
        lambda reader: reader.extensions(),
    ):
        with pytest.raises(TlsError, match="malformed thing"):
            take(codec.Reader(b"\3ab", "thing"))
    assert codec.Reader(b"\2ab", "thing").vector(1, 2) == b"ab"
    with pytest.raises(TlsError):
        codec.Reader(b"\2ab", "thing").vector(1, 3)


def test_signature_schemes_are_chosen_in_our_order():
    assert signatures.choose("rsa", (0x0806, 0x0804)) == (0x0804, "rsa_pss_sha256")
    assert signatures.choose("p256", (0x0503,)) is None
    assert signatures.choose("rsa", (0x0401,)) is None
    assert signatures.acceptable(reference_crypto(without=("rsa", "p384", "ed25519"))) == [0x0403]


def test_credential_without_names():
    crypto = quick_crypto()
    credential = Credential(crypto)
    credential.names = ()
    client = client_context().engine("any.example", NOW_MS, None, verify=False)
    server = server_context(crypto=crypto, credentials=[credential]).engine(NOW_MS)
    exchange(client, server)
    assert client.is_established
