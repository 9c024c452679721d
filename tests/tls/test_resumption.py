# SPDX-License-Identifier: MIT
"""Tickets and what they resume (RFC 8446 sections 2.2, 4.2.11, 4.6.1)."""

from __future__ import annotations

from typing import Any

import pytest

from libos.tls import codec, errors, record
from libos.tls.tickets import LIFETIME_S, TicketKeys
from tests.tls.engines import (
    NOW_MS,
    WALL_S,
    Credential,
    Leaf,
    Verifier,
    client_context,
    client_engine,
    established,
    exchange,
    server_context,
    take_data,
)
from tests.tls.reference_crypto import reference_crypto

AEADS = ["aes128gcm", "aes256gcm", "chacha20poly1305"]
X25519, SECP256R1 = 0x001D, 0x0017


def first(clients: Any, servers: Any) -> Any:
    """The session of a full handshake."""
    client, server = established(clients, servers)
    assert not client.is_resumed
    assert not server.is_resumed
    return client.session


def is_resumed(clients: Any, servers: Any, session: Any, hostname: str = "localhost", later_ms: int = 0) -> bool:
    client = clients.engine(hostname, NOW_MS + later_ms, WALL_S, session=session)
    server = servers.engine(NOW_MS + later_ms)
    exchange(client, server)
    assert client.error is None, client.error
    assert client.is_resumed == server.is_resumed
    client.send(b"up")
    server.send(b"down")
    exchange(client, server)
    assert take_data(server) == b"up"
    assert take_data(client) == b"down"
    return client.is_resumed


@pytest.mark.parametrize("aead", AEADS)
def test_resumed(aead):
    crypto = reference_crypto(aeads=(aead,))
    clients, servers = client_context(crypto=crypto), server_context(crypto=crypto)
    session = first(clients, servers)
    verifier = clients.verifier
    assert len(verifier.calls) == 1
    client, server = established(clients, servers, session=session)
    assert client.is_resumed
    assert server.is_resumed
    assert client.group == server.group
    assert client.peer_chain == session.peer_chain
    assert len(verifier.calls) == 1
    # Each connection brings a ticket of its own, with another secret (appendix C.4).
    assert client.session.ticket != session.ticket
    assert client.session.secret != session.secret
    assert is_resumed(clients, servers, client.session)


def test_resumed_after_a_retry():
    servers = server_context(crypto=reference_crypto())
    servers.crypto.groups = (X25519,)
    clients = client_context(crypto=reference_crypto())
    clients.crypto.groups = (SECP256R1, X25519)
    assert is_resumed(clients, servers, first(clients, servers))


def test_server_without_tickets():
    clients, servers = client_context(), server_context(tickets=False)
    assert first(clients, servers) is None
    session = first(clients, server_context())
    assert not is_resumed(clients, servers, session)


@pytest.mark.parametrize("modes", [None, b"\1\0"])
def test_client_that_could_not_use_a_ticket_gets_none(modes, monkeypatch):
    """Section 4.2.9: it does not offer psk_dhe_ke."""
    real = codec.extension

    def changed(kind: int, data: bytes) -> bytes:
        if kind == codec.EXT_PSK_MODES:
            return b"" if modes is None else real(kind, modes)
        return real(kind, data)

    monkeypatch.setattr("libos.tls.offer.extension", changed)
    assert first(client_context(), server_context()) is None


def test_ticket_of_another_server():
    clients = client_context()
    session = first(clients, server_context())
    assert not is_resumed(clients, server_context(), session)


def test_ticket_for_another_hash():
    clients = client_context()
    servers = server_context(crypto=reference_crypto(aeads=("aes128gcm", "aes256gcm")))
    session = first(clients, servers)
    servers.suites = [0x1302]
    assert not is_resumed(clients, servers, session)


def test_ticket_for_another_hash_after_a_retry():
    clients = client_context()
    servers = server_context()
    session = first(clients, servers)
    servers.suites = [0x1302]
    clients.crypto.groups = (SECP256R1, X25519)
    servers.crypto.groups = (X25519,)
    assert not is_resumed(clients, servers, session)


def test_ticket_for_another_suite_of_the_same_hash():
    clients = client_context()
    servers = server_context()
    session = first(clients, servers)
    servers.suites = [0x1303]
    assert is_resumed(clients, servers, session)


def test_ticket_that_was_changed():
    clients, servers = client_context(), server_context()
    session = first(clients, servers)
    for at in (0, 8, 20, len(session.ticket) - 1):
        ticket = bytearray(session.ticket)
        ticket[at] ^= 1
        session.ticket = bytes(ticket)
        assert not is_resumed(clients, servers, session)


@pytest.mark.parametrize("size", [1, 8, 20, 21, 1025, 60000])
def test_ticket_of_any_length(size):
    clients, servers = client_context(), server_context()
    session = first(clients, servers)
    session.ticket = (session.ticket * (size // len(session.ticket) + 1))[:size]
    client, server = client_engine(clients, session=session), servers.engine(NOW_MS)
    exchange(client, server)
    if size < 15000:
        assert server.is_established
        assert not server.is_resumed
    else:  # no hello is that long
        assert server.error.alert == errors.DECODE_ERROR


def test_wrong_binder():
    clients, servers = client_context(), server_context()
    session = first(clients, servers)
    session.secret = bytes(32)
    client, server = client_engine(clients, session=session), servers.engine(NOW_MS)
    exchange(client, server)
    assert server.error.alert == client.error.alert == errors.DECRYPT_ERROR


def test_ticket_for_another_name():
    crypto = reference_crypto()
    names = ("one.example", "two.example")
    servers = server_context(crypto=crypto, credentials=[Credential(crypto, "p256", names)])
    clients = client_context()
    client, server = client_engine(clients, "one.example"), servers.engine(NOW_MS)
    exchange(client, server)
    session = client.session
    assert is_resumed(clients, servers, session, "one.example")
    assert not is_resumed(clients, servers, session, "two.example")  # the client does not even offer it
    session.hostname = "two.example"
    assert not is_resumed(clients, servers, session, "two.example")  # nor would the server take it


def test_client_does_not_resume_what_it_has_not_verified():
    clients, servers = client_context(), server_context()
    client, server = clients.engine("localhost", NOW_MS, None, verify=False), servers.engine(NOW_MS)
    exchange(client, server)
    session = client.session
    assert not is_resumed(clients, servers, session)
    again, server = clients.engine("localhost", NOW_MS, None, session, verify=False), servers.engine(NOW_MS)
    exchange(again, server)
    assert again.is_resumed
    # What came of an unverified session is no better.
    assert not is_resumed(clients, servers, again.session)


def test_client_does_not_resume_when_the_certificate_has_expired():
    clients, servers = client_context(), server_context()
    session = first(clients, servers)
    assert session.expires_s == Leaf.not_after_s
    session.expires_s = WALL_S - 1
    assert not is_resumed(clients, servers, session)


@pytest.mark.parametrize("later_ms", [0, LIFETIME_S * 1000 - 1])
def test_ticket_within_its_life(later_ms):
    clients, servers = client_context(), server_context()
    assert is_resumed(clients, servers, first(clients, servers), later_ms=later_ms)


def test_ticket_after_its_life():
    clients, servers = client_context(), server_context()
    session = first(clients, servers)
    assert not is_resumed(clients, servers, session, later_ms=LIFETIME_S * 1000)
    session.lifetime_ms = 10**9  # a client that does not care
    assert not is_resumed(clients, servers, session, later_ms=LIFETIME_S * 1000 + 1)


def test_client_whose_clock_went_back():
    clients, servers = client_context(), server_context()
    session = first(clients, servers)
    session.received_ms = NOW_MS + 1
    assert not is_resumed(clients, servers, session)


def test_lifetime_is_a_week_at_most():
    clients, servers = client_context(), server_context()
    client, server = established(clients, servers)
    server.write(record.HANDSHAKE, codec.message(4, b"\xff" * 8 + b"\0" + b"\0\x03abc" + b"\0\0"))
    exchange(client, server)
    assert client.session.ticket == b"abc"
    assert client.session.lifetime_ms == 7 * 86400 * 1000


def test_ticket_without_a_life_is_not_kept():
    client, server = established(client_context(), server_context())
    session = client.session
    server.write(record.HANDSHAKE, codec.message(4, bytes(8) + b"\0" + b"\0\x03abc" + b"\0\0"))
    exchange(client, server)
    assert client.session is session


def test_many_tickets_leave_one():
    client, server = established(client_context(), server_context())
    for number in range(30):
        server.write(record.HANDSHAKE, codec.message(4, b"\0\0\1\0" + bytes(4) + b"\0\0\1%c" % (65 + number) + b"\0\0"))
    exchange(client, server)
    assert client.session.ticket == b"^"
    for _ in range(30):
        server.write(record.HANDSHAKE, codec.message(4, b"\0\0\1\0" + bytes(4) + b"\0\0\1a\0\0"))
    exchange(client, server)
    assert client.error.alert == errors.UNEXPECTED_MESSAGE


@pytest.mark.parametrize(
    "body", [b"", bytes(8), bytes(9) + b"\0\0\0\0", bytes(9) + b"\0\1a\0\1", bytes(9) + b"\0\1a\0\0\0"]
)
def test_malformed_ticket(body):
    client, server = established(client_context(), server_context())
    server.write(record.HANDSHAKE, codec.message(4, body))
    exchange(client, server)
    assert client.error.alert == errors.DECODE_ERROR


def test_session_resumes_at_a_server_with_another_certificate():
    crypto = reference_crypto()
    clients, servers = client_context(), server_context(crypto=crypto)
    session = first(clients, servers)
    servers.replace([Credential(crypto, "ed25519")])
    assert is_resumed(clients, servers, session)


def test_verifier_is_asked_anew_without_a_session():
    verifier = Verifier()
    clients, servers = client_context(verifier=verifier), server_context()
    first(clients, servers)
    first(clients, servers)
    assert len(verifier.calls) == 2


# --- keys of tickets -------------------------------------------------------------------------------------------------


def test_keys_rotate():
    keys = TicketKeys(reference_crypto())
    assert keys.open(bytes(100), 0) is None
    old = keys.seal(b"old", 0)
    assert keys.open(old, LIFETIME_S * 1000 - 1) == b"old"
    new = keys.seal(b"new", LIFETIME_S * 1000)
    assert old[:8] != new[:8]
    assert len(keys.keys) == 2
    assert keys.open(old, LIFETIME_S * 1000) == b"old"
    keys.seal(b"newest", 2 * LIFETIME_S * 1000)
    assert keys.open(old, 2 * LIFETIME_S * 1000) is None
    assert keys.open(new, 2 * LIFETIME_S * 1000) == b"new"
    assert len(keys.keys) == 2


def test_keys_of_a_server_that_slept():
    keys = TicketKeys(reference_crypto())
    old = keys.seal(b"old", 0)
    assert keys.open(old, 10 * LIFETIME_S * 1000) is None
    assert len(keys.keys) == 1


@pytest.mark.parametrize("aead", AEADS)
def test_keys_of_each_aead(aead):
    keys = TicketKeys(reference_crypto(aeads=(aead,)))
    assert keys.open(keys.seal(b"state", 5), 5) == b"state"


def test_same_state_gives_other_tickets():
    keys = TicketKeys(reference_crypto())
    assert keys.seal(b"state", 0) != keys.seal(b"state", 0)
