# SPDX-License-Identifier: MIT
"""The engines beside OpenSSL, by CPython's ssl over memory: no sockets, no processes."""

from __future__ import annotations

import contextlib
import ssl
from pathlib import Path
from typing import Any

import pytest

from tests.tls.engines import (
    NOW_MS,
    WALL_S,
    Credential,
    Verifier,
    certificate_pem,
    client_context,
    client_engine,
    key_pem,
    quick_crypto,
    server_context,
    take_data,
)
from tests.tls.reference_crypto import reference_crypto

KINDS = ["p256", "p384", "rsa", "ed25519"]
SUITES = {
    "aes128gcm": "TLS_AES_128_GCM_SHA256",
    "aes256gcm": "TLS_AES_256_GCM_SHA384",
    "chacha20poly1305": "TLS_CHACHA20_POLY1305_SHA256",
}
NAMES = ("localhost",)
X25519, SECP256R1 = 0x001D, 0x0017


class OpenSsl:
    """A connection of CPython's, with an engine's methods."""

    def __init__(self, context: ssl.SSLContext, *, is_server: bool, session: Any = None) -> None:
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        name = None if is_server else "localhost"
        self.ssl = context.wrap_bio(self.incoming, self.outgoing, is_server, name, session)
        self.is_established = False
        self.is_peer_closed = False
        self.data: list[bytes] = []
        self._step()

    def receive_data(self, data: bytes) -> None:
        self.incoming.write(data)
        self._step()

    def take_output(self) -> bytes:
        return self.outgoing.read()

    def send(self, data: bytes) -> None:
        self.ssl.write(data)

    def close(self) -> None:
        with contextlib.suppress(ssl.SSLWantReadError):
            self.ssl.unwrap()

    def _step(self) -> None:
        try:
            if not self.is_established:
                self.ssl.do_handshake()
                self.is_established = True
            while True:
                data = self.ssl.read(65536)
                if not data:
                    self.is_peer_closed = True
                    return
                self.data.append(data)
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLZeroReturnError:
            self.is_peer_closed = True


def carry(one: Any, other: Any) -> None:
    while True:
        ours, theirs = one.take_output(), other.take_output()
        if not ours and not theirs:
            return
        if ours:
            other.receive_data(ours)
        if theirs:
            one.receive_data(theirs)


def check(ours: Any, theirs: Any) -> None:
    """Both are established and talk; and close."""
    carry(ours, theirs)
    assert ours.error is None, ours.error
    assert ours.is_established
    assert theirs.is_established
    assert theirs.ssl.version() == "TLSv1.3"
    assert theirs.ssl.cipher()[0] == ours.cipher
    for data in (b"", b"x", b"many octets" * 10000):
        if data:
            theirs.send(data)
            ours.send(data)
        carry(ours, theirs)
        assert take_data(ours) == take_data(theirs) == data
    theirs.close()
    carry(ours, theirs)
    assert ours.is_peer_closed
    ours.close()
    carry(ours, theirs)
    assert ours.error is None


def their_client() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    for kind in KINDS:
        context.load_verify_locations(cadata=certificate_pem(kind, NAMES).decode())
    return context


def their_server(folder: Path, kind: str = "p256") -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    (folder / "cert.pem").write_bytes(certificate_pem(kind, NAMES) + key_pem(kind))
    context.load_cert_chain(folder / "cert.pem")
    return context


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("aead", SUITES)
def test_our_server(kind, aead):
    servers = server_context(crypto=reference_crypto(aeads=(aead,), without=("mlkem768",)), kinds=[kind])
    server = servers.engine(NOW_MS)
    check(server, OpenSsl(their_client(), is_server=False))
    assert server.cipher == SUITES[aead]
    assert server.server_name == "localhost"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("aead", SUITES)
def test_our_client(kind, aead, tmp_path):
    clients = client_context(crypto=reference_crypto(aeads=(aead,), without=("mlkem768",)))
    client = client_engine(clients)
    check(client, OpenSsl(their_server(tmp_path, kind), is_server=True))
    assert client.cipher == SUITES[aead]


def test_our_server_asks_for_another_group():
    crypto = quick_crypto()
    crypto.groups = (SECP256R1,)
    server = server_context(crypto=crypto).engine(NOW_MS)
    theirs = OpenSsl(their_client(), is_server=False)
    server.receive_data(theirs.take_output())
    assert server.handshake.retry_group == SECP256R1
    check(server, theirs)
    assert server.group == SECP256R1


def test_our_client_is_asked_for_another_group(tmp_path):
    context = their_server(tmp_path)
    context.set_ecdh_curve("prime256v1")
    client = client_engine(client_context())
    theirs = OpenSsl(context, is_server=True)
    theirs.receive_data(client.take_output())
    client.receive_data(theirs.take_output())
    assert client.handshake.is_retried
    check(client, theirs)
    assert client.group == SECP256R1


@pytest.mark.parametrize("ours", [(b"h2", b"http/1.1"), (b"http/1.1",)])
def test_alpn(ours, tmp_path):
    context = their_client()
    context.set_alpn_protocols(["other", "http/1.1"])
    server, theirs = server_context(alpn=ours).engine(NOW_MS), OpenSsl(context, is_server=False)
    check(server, theirs)
    assert server.alpn == b"http/1.1"
    assert theirs.ssl.selected_alpn_protocol() == "http/1.1"
    context = their_server(tmp_path)
    context.set_alpn_protocols(["http/1.1", "h2"])
    client = client_engine(client_context(alpn=ours))
    check(client, OpenSsl(context, is_server=True))
    assert client.alpn == b"http/1.1"


def test_their_client_resumes():
    context, servers = their_client(), server_context()
    first, server = OpenSsl(context, is_server=False), servers.engine(NOW_MS)
    check(server, first)
    session = first.ssl.session
    assert session.has_ticket
    assert session.ticket_lifetime_hint == 7200
    again, server = OpenSsl(context, is_server=False, session=session), servers.engine(NOW_MS)
    check(server, again)
    assert server.is_resumed
    assert again.ssl.session_reused


def test_our_client_resumes(tmp_path):
    context, clients = their_server(tmp_path), client_context()
    client = client_engine(clients)
    check(client, OpenSsl(context, is_server=True))
    assert client.session is not None
    again, theirs = client_engine(clients, session=client.session), OpenSsl(context, is_server=True)
    check(again, theirs)
    assert again.is_resumed
    assert theirs.ssl.session_reused


def test_our_client_resumes_after_a_retry(tmp_path):
    context, clients = their_server(tmp_path), client_context()
    context.set_ecdh_curve("prime256v1")
    client = client_engine(clients)
    check(client, OpenSsl(context, is_server=True))
    again, theirs = client_engine(clients, session=client.session), OpenSsl(context, is_server=True)
    check(again, theirs)
    assert theirs.ssl.session_reused


@pytest.mark.parametrize("kind", KINDS)
def test_certificate_of_their_client(kind, tmp_path):
    context = their_client()
    (tmp_path / "cert.pem").write_bytes(certificate_pem(kind, NAMES) + key_pem(kind))
    context.load_cert_chain(tmp_path / "cert.pem")
    server = server_context(verifier=Verifier(), client_auth="required").engine(NOW_MS, WALL_S)
    check(server, OpenSsl(context, is_server=False))
    assert len(server.peer_chain) == 1


@pytest.mark.parametrize("kind", KINDS)
def test_certificate_of_our_client(kind, tmp_path):
    context = their_server(tmp_path)
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(cadata=certificate_pem(kind, NAMES).decode())
    client = client_engine(client_context(credentials=[Credential(quick_crypto(), kind)]))
    theirs = OpenSsl(context, is_server=True)
    check(client, theirs)
    assert theirs.ssl.getpeercert()["subject"][1] == (("commonName", "localhost"),)


def test_their_server_wants_a_certificate_that_we_have_not_got(tmp_path):
    context = their_server(tmp_path)
    context.verify_mode = ssl.CERT_REQUIRED
    client, theirs = client_engine(client_context()), OpenSsl(context, is_server=True)
    with pytest.raises(ssl.SSLError, match="PEER_DID_NOT_RETURN_A_CERTIFICATE"):
        carry(client, theirs)
    client.receive_data(theirs.take_output())
    assert client.error.alert == 116
    assert client.error.is_remote


def test_their_client_of_1_2_only():
    context = their_client()
    context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_2
    server, theirs = server_context().engine(NOW_MS), OpenSsl(context, is_server=False)
    with pytest.raises(ssl.SSLError, match="TLSV1_ALERT_PROTOCOL_VERSION"):
        carry(server, theirs)
    assert server.error.alert == 70


def test_their_server_of_1_2_only(tmp_path):
    context = their_server(tmp_path)
    context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_2
    client, theirs = client_engine(client_context()), OpenSsl(context, is_server=True)
    with pytest.raises(ssl.SSLError, match=r"UNSUPPORTED_PROTOCOL|WRONG_VERSION"):
        carry(client, theirs)
    client.receive_data(theirs.take_output())
    assert client.error.alert == 70
    assert client.error.is_remote


def test_key_log_is_theirs(tmp_path):
    context = their_client()
    context.keylog_filename = str(tmp_path / "keys")
    lines: list[str] = []
    server = server_context(keylog=lines.append).engine(NOW_MS)
    check(server, OpenSsl(context, is_server=False))
    theirs = (tmp_path / "keys").read_text().splitlines()
    assert set(lines) <= set(theirs)
    assert len(lines) == 4


def test_their_hello_with_everything_damaged():
    """Their hello has what ours has not: padding, extensions, groups that we do not know."""
    hello = OpenSsl(their_client(), is_server=False).take_output()
    for bit in range(0, 8 * len(hello), 5):
        changed = bytearray(hello)
        changed[bit >> 3] ^= 1 << (bit & 7)
        server = server_context().engine(NOW_MS)
        server.receive_data(changed)
        assert server.error is None or server.error.alert != 80
        assert not server.is_established
