# SPDX-License-Identifier: MIT
"""Client against server in memory, with every combination of what can be negotiated (RFC 8446)."""

from __future__ import annotations

from typing import Any

import pytest

from libos.tls import errors
from libos.tls.errors import TlsError
from tests.tls.engines import (
    NOW_MS,
    WALL_S,
    Credential,
    Verifier,
    certificate,
    client_context,
    client_engine,
    established,
    exchange,
    handshake,
    record_lengths,
    server_context,
    take_data,
)
from tests.tls.reference_crypto import reference_crypto

KINDS = ["p256", "p384", "rsa", "ed25519"]
AEADS = ["aes128gcm", "aes256gcm", "chacha20poly1305"]
X25519MLKEM768, X25519, SECP256R1 = 0x11EC, 0x001D, 0x0017


def check_data(client: Any, server: Any) -> None:
    client.send(b"question")
    server.send(b"answer" * 10000)
    exchange(client, server)
    assert take_data(server) == b"question"
    assert take_data(client) == b"answer" * 10000


def offering(*groups: int) -> Any:
    """Primitives with those groups, in that order."""
    crypto = reference_crypto()
    crypto.groups = groups
    return crypto


def check_failure(client: Any, server: Any, alert: int, *, is_server: bool) -> None:
    """One side refused with that alert, and the other one heard of it."""
    failed, told = (server, client) if is_server else (client, server)
    assert failed.error.alert == alert, failed.error
    assert not failed.error.is_remote
    assert told.error.alert == alert, told.error
    assert told.error.is_remote
    assert not failed.is_established
    assert not told.is_established
    assert failed.is_closed
    assert told.is_closed


# --- what is negotiated ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("aead", AEADS)
@pytest.mark.parametrize("group", [X25519MLKEM768, X25519, SECP256R1])
def test_established(kind, aead, group):
    crypto = reference_crypto(aeads=(aead,))
    crypto.groups = (group,)
    client, server = established(client_context(crypto=crypto), server_context(crypto=crypto, kinds=[kind]))
    assert client.version == server.version == 0x0304
    assert client.cipher == server.cipher
    assert aead[-6:].upper().replace("GCM", "") in client.cipher.replace("_", "")
    assert client.group == server.group == group
    assert client.peer_chain == [certificate(kind, ("localhost",))]
    assert not server.peer_chain
    assert not client.is_resumed
    check_data(client, server)


def test_server_prefers_its_suite_and_group():
    clients = client_context(crypto=reference_crypto(aeads=tuple(reversed(AEADS))))
    client, _ = established(clients, server_context(crypto=reference_crypto()))
    assert client.cipher == "TLS_AES_128_GCM_SHA256"
    assert client.group == X25519MLKEM768


def test_no_suite_in_common():
    client, server = handshake(
        client_context(crypto=reference_crypto(aeads=("aes128gcm",))),
        server_context(crypto=reference_crypto(aeads=("chacha20poly1305",))),
    )
    check_failure(client, server, errors.HANDSHAKE_FAILURE, is_server=True)


def test_no_group_in_common():
    client, server = handshake(client_context(crypto=offering(X25519)), server_context(crypto=offering(SECP256R1)))
    check_failure(client, server, errors.HANDSHAKE_FAILURE, is_server=True)


def test_no_signature_scheme_in_common():
    client, server = handshake(
        client_context(crypto=reference_crypto(without=("p384",))), server_context(kinds=["p384"])
    )
    check_failure(client, server, errors.HANDSHAKE_FAILURE, is_server=True)


@pytest.mark.parametrize("aead", AEADS)
def test_hello_retry_request(aead):
    """The client's first share is of a group that the server has not got."""
    clients = client_context(crypto=offering(SECP256R1, X25519))
    crypto = reference_crypto(aeads=(aead,))
    crypto.groups = (X25519,)
    client, server = established(clients, server_context(crypto=crypto))
    assert client.group == server.group == X25519
    check_data(client, server)


def test_client_of_a_server_without_ml_kem_needs_no_retry():
    client = client_engine(client_context(crypto=reference_crypto()))
    server = server_context(crypto=offering(X25519)).engine(NOW_MS)
    server.receive_data(client.take_output())
    client.receive_data(server.take_output())
    assert client.is_established
    assert client.group == X25519


@pytest.mark.parametrize(
    ("ours", "theirs", "chosen"),
    [
        ((b"h2", b"http/1.1"), (b"http/1.1",), b"http/1.1"),
        ((b"a", b"b"), (b"b", b"a"), b"b"),
        ((), (b"http/1.1",), None),
        ((b"http/1.1",), (), None),
    ],
)
def test_alpn(ours, theirs, chosen):
    client, server = established(client_context(alpn=ours), server_context(alpn=theirs))
    assert client.alpn == server.alpn == chosen


def test_alpn_without_a_protocol_in_common():
    client, server = handshake(client_context(alpn=(b"h2",)), server_context(alpn=(b"http/1.1",)))
    check_failure(client, server, errors.NO_APPLICATION_PROTOCOL, is_server=True)


# --- certificates ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "index"),
    [("one.example", 0), ("two.example", 1), ("TWO.example", 1), ("x.three.example", 2), ("y.x.three.example", 0)],
)
def test_server_chooses_its_certificate_by_name(name, index):
    crypto = reference_crypto()
    names = [("one.example",), ("two.example",), ("*.three.example",)]
    credentials = [Credential(crypto, "p256", each) for each in names]
    engine = client_context().engine(name, NOW_MS, None, verify=False)
    server = server_context(crypto=crypto, credentials=credentials).engine(NOW_MS)
    exchange(engine, server)
    assert engine.is_established
    assert server.server_name == name.lower()
    assert engine.peer_chain == credentials[index].chain


@pytest.mark.parametrize("without", [(), ("p256",)])
def test_server_chooses_its_certificate_by_what_the_client_verifies(without):
    clients = client_context(crypto=reference_crypto(without=without))
    client, _ = established(clients, server_context(kinds=["p256", "rsa"]))
    assert client.peer_chain == [certificate("rsa" if without else "p256", ("localhost",))]


def test_address_is_no_server_name():
    for name in ("192.0.2.1", "2001:db8::1"):
        engine = client_context().engine(name, NOW_MS, None, verify=False)
        server = server_context().engine(NOW_MS)
        exchange(engine, server)
        assert engine.is_established
        assert server.server_name is None


def test_replaced_credentials_are_for_new_connections():
    crypto = reference_crypto()
    servers = server_context(crypto=crypto)
    begun = servers.engine(NOW_MS)
    client, _ = established(client_context(), servers)
    servers.replace([Credential(crypto, "ed25519")])
    later, _ = established(client_context(), servers)
    assert client.peer_chain != later.peer_chain
    assert later.peer_chain == [certificate("ed25519", ("localhost",))]
    assert begun.error is None


@pytest.mark.parametrize(
    ("verifier", "hostname", "alert"),
    [(Verifier(()), "localhost", errors.UNKNOWN_CA), (Verifier(), "other.example", errors.BAD_CERTIFICATE)],
)
def test_client_refuses_certificate(verifier, hostname, alert):
    clients = client_context(verifier=verifier)
    client, server = client_engine(clients, hostname), server_context().engine(NOW_MS)
    exchange(client, server)
    check_failure(client, server, alert, is_server=False)
    assert verifier.calls == [("server", hostname)]
    assert clients.counters["failures"] == 1


def test_client_that_does_not_know_the_time_says_so():
    client = client_context().engine("localhost", NOW_MS, None)
    assert client.take_output() == b""
    assert "time" in client.error.reason
    assert client.is_closed
    client.receive_data(b"anything")
    with pytest.raises(TlsError):
        client.send(b"x")


def test_client_that_does_not_know_the_host_says_so():
    client = client_context().engine(None, NOW_MS, WALL_S)
    assert "name" in client.error.reason


def test_client_that_does_not_verify_needs_neither():
    clients = client_context(verifier=Verifier(()))
    client, server = clients.engine(None, NOW_MS, None, verify=False), server_context().engine(NOW_MS)
    exchange(client, server)
    check_data(client, server)


def test_server_without_the_key_of_its_certificate():
    crypto = reference_crypto()
    credential = Credential(crypto)
    credential.signer = crypto.signer("p256", bytes(31) + b"\1")
    client, server = handshake(client_context(), server_context(crypto=crypto, credentials=[credential]))
    check_failure(client, server, errors.DECRYPT_ERROR, is_server=False)


# --- certificates of clients -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("wanted", ["optional", "required"])
def test_client_certificate(kind, wanted):
    crypto = reference_crypto()
    verifier = Verifier()
    clients = client_context(credentials=[Credential(crypto, kind, ("somebody",))])
    client, server = established(clients, server_context(verifier=verifier, client_auth=wanted))
    assert server.peer_chain == [certificate(kind, ("somebody",))]
    assert verifier.calls == [("client", None)]
    check_data(client, server)
    assert client.session is None  # a ticket would carry no certificate


def test_client_certificate_is_not_asked_for():
    clients = client_context(credentials=[Credential(reference_crypto())])
    _, server = established(clients, server_context())
    assert not server.peer_chain


def test_client_without_certificate_where_it_is_optional():
    client, server = established(client_context(), server_context(verifier=Verifier(), client_auth="optional"))
    assert not server.peer_chain
    check_data(client, server)
    assert client.session is not None


def test_client_without_certificate_where_it_is_required():
    client, server = handshake(client_context(), server_context(verifier=Verifier(), client_auth="required"))
    # The client is done before it hears of it (RFC 8446 section 4.4.2.4 has the alert).
    assert server.error.alert == errors.CERTIFICATE_REQUIRED
    assert client.error.alert == errors.CERTIFICATE_REQUIRED
    assert client.error.is_remote
    assert not server.is_established


def test_client_certificate_that_the_server_does_not_trust():
    clients = client_context(credentials=[Credential(reference_crypto())])
    client, server = handshake(clients, server_context(verifier=Verifier(()), client_auth="optional"))
    assert server.error.alert == client.error.alert == errors.UNKNOWN_CA


def test_client_certificate_without_its_key():
    crypto = reference_crypto()
    credential = Credential(crypto)
    credential.signer = crypto.signer("p256", bytes(31) + b"\1")
    clients = client_context(credentials=[credential])
    client, server = handshake(clients, server_context(verifier=Verifier(), client_auth="optional"))
    assert server.error.alert == client.error.alert == errors.DECRYPT_ERROR


def test_client_certificate_where_the_server_does_not_know_the_time():
    clients = client_context(credentials=[Credential(reference_crypto())])
    client = client_engine(clients)
    server = server_context(verifier=Verifier(), client_auth="required").engine(NOW_MS)
    exchange(client, server)
    assert server.error.alert == errors.INTERNAL_ERROR
    assert "time" in server.error.reason


def test_client_takes_the_certificate_that_the_server_can_verify():
    crypto = reference_crypto()
    clients = client_context(credentials=[Credential(crypto, "ed25519"), Credential(crypto, "rsa")])
    servers = server_context(crypto=reference_crypto(without=("ed25519",)), verifier=Verifier(), client_auth="required")
    _, server = established(clients, servers)
    assert server.peer_chain == [certificate("rsa", ("localhost",))]


# --- what contexts refuse --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        {"client_auth": "sometimes"},
        {"client_auth": "required"},
        {"record_size_limit": 63},
        {"record_size_limit": 16385},
    ],
)
def test_server_context_that_makes_no_sense(options):
    with pytest.raises(ValueError, match=r"record_size_limit|client_auth"):
        server_context(**options)


def test_server_context_without_credentials():
    servers = server_context()
    with pytest.raises(ValueError, match="certificate"):
        servers.replace([])


# --- record sizes (RFC 8449) -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("limit", [64, 100, 16384])
def test_client_limits_records(limit):
    client, server = established(client_context(record_size_limit=limit), server_context())
    server.send(bytes(range(256)) * 100)
    assert max(record_lengths(server.output)) == limit
    client.receive_data(server.take_output())
    assert take_data(client) == bytes(range(256)) * 100


def test_server_limits_records():
    client, server = established(client_context(record_size_limit=16384), server_context(record_size_limit=512))
    client.send(bytes(5000))
    assert max(record_lengths(client.output)) == 512
    server.receive_data(client.take_output())
    assert take_data(server) == bytes(5000)


def test_record_beyond_the_limit():
    client, server = established(client_context(record_size_limit=100), server_context())
    server.write_limit = 101
    server.send(bytes(101))
    exchange(client, server)
    assert client.error.alert == errors.RECORD_OVERFLOW
    assert client.data == []


def test_limit_is_not_enforced_where_the_client_does_not_know_it():
    client, server = established(client_context(), server_context(record_size_limit=512))
    client.send(bytes(16384))
    exchange(client, server)
    assert take_data(server) == bytes(16384)


# --- key log ---------------------------------------------------------------------------------------------------------


def test_key_log_is_the_same_on_both_sides():
    ours: list[str] = []
    theirs: list[str] = []
    established(client_context(keylog=ours.append), server_context(keylog=theirs.append))
    assert sorted(ours) == sorted(theirs)
    assert sorted(line.split()[0] for line in ours) == [
        "CLIENT_HANDSHAKE_TRAFFIC_SECRET",
        "CLIENT_TRAFFIC_SECRET_0",
        "SERVER_HANDSHAKE_TRAFFIC_SECRET",
        "SERVER_TRAFFIC_SECRET_0",
    ]
    assert len({line.split()[1] for line in ours}) == 1


def test_counters():
    servers = server_context()
    clients = client_context()
    client, _ = established(clients, servers)
    established(clients, servers, session=client.session)
    assert servers.counters == clients.counters == {"handshakes": 2, "resumed": 1, "failures": 0, "truncated": 0}
