# SPDX-License-Identifier: MIT
"""Every message in every state in which it is not due, on both sides: an alert, and no connection.

The messages are real ones, of another handshake of the same pair; under the keys that the peer would use then.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from libos.tls import codec, errors
from libos.tls.record import HANDSHAKE
from tests.tls.engines import (
    NOW_MS,
    WALL_S,
    Credential,
    Verifier,
    client_context,
    client_engine,
    established,
    exchange,
    quick_crypto,
    server_context,
)

X25519, SECP256R1 = 0x001D, 0x0017
NAMES = {
    codec.HELLO_REQUEST: "HelloRequest",
    codec.CLIENT_HELLO: "ClientHello",
    codec.SERVER_HELLO: "ServerHello",
    codec.NEW_SESSION_TICKET: "NewSessionTicket",
    codec.END_OF_EARLY_DATA: "EndOfEarlyData",
    codec.ENCRYPTED_EXTENSIONS: "EncryptedExtensions",
    codec.CERTIFICATE: "Certificate",
    codec.SERVER_KEY_EXCHANGE: "ServerKeyExchange",
    codec.CERTIFICATE_REQUEST: "CertificateRequest",
    codec.SERVER_HELLO_DONE: "ServerHelloDone",
    codec.CERTIFICATE_VERIFY: "CertificateVerify",
    codec.CLIENT_KEY_EXCHANGE: "ClientKeyExchange",
    codec.FINISHED: "Finished",
    21: "CertificateURL",
    22: "CertificateStatus",
    codec.KEY_UPDATE: "KeyUpdate",
    25: "CompressedCertificate",
    codec.MESSAGE_HASH: "message_hash",
    255: "255",
}


def servers(**options: Any) -> Any:
    return server_context(verifier=Verifier(), client_auth="required", **options)


def clients(**options: Any) -> Any:
    crypto = options.pop("crypto", None) or quick_crypto()
    return client_context(crypto=crypto, credentials=[Credential(crypto, "p256", ("client",))], **options)


def split(flight: bytes) -> list[bytes]:
    found = []
    while flight:
        end = 4 + int.from_bytes(flight[1:4], "big")
        found.append(flight[:end])
        flight = flight[end:]
    return found


class Held:
    """A peer whose messages under handshake keys are kept back: `flight`, to be sent one by one with send()."""

    def __init__(self, engine: Any) -> None:
        self.engine = engine
        self.flight: list[bytes] = []
        self.keys: Any = None
        self.write = engine.write
        self.set_writer = engine.set_writer
        engine.write = self.hold
        engine.set_writer = self.change

    def hold(self, kind: int, data: bytes) -> None:
        if kind == HANDSHAKE and self.engine.writer is not None and not self.flight:
            self.flight = split(bytes(data))
        elif kind != HANDSHAKE or self.engine.writer is None:
            self.write(kind, data)

    def change(self, keys: Any) -> None:
        if self.keys is None:
            self.keys = keys
        self.engine.writer = keys

    def send(self, other: Any, message: bytes) -> None:
        other.receive_data(self.keys.seal(HANDSHAKE, message))


def specimens() -> tuple[dict[int, bytes], dict[int, bytes]]:
    """{type: message}, real ones of a handshake and invented ones; with a server's own, and with a client's."""
    client, server = Held(client_engine(clients())), Held(servers().engine(NOW_MS, WALL_S))
    hello = client.engine.take_output()
    server.engine.receive_data(hello)
    answer = server.engine.take_output()
    client.engine.receive_data(answer)
    for message in server.flight:
        server.send(client.engine, message)
    found = {kind: codec.message(kind, b"") for kind in NAMES}
    found[codec.KEY_UPDATE] = b"\x18\x00\x00\x01\x00"
    found[codec.NEW_SESSION_TICKET] = codec.message(4, b"\0\0\1\0" + bytes(4) + b"\0\0\3abc\0\0")
    end = 5 + (answer[3] << 8 | answer[4])
    of_server, of_client = [answer[5:end], *server.flight], [hello[5:], *client.flight]
    return (
        found | {message[0]: message for message in of_client + of_server},
        found | {message[0]: message for message in of_server + of_client},
    )


OF_SERVER, OF_CLIENT = specimens()


def specimen(state: Any, kind: int) -> bytes:
    """What the peer of an engine in that state would send."""
    return (OF_CLIENT if state.__name__.startswith("server") else OF_SERVER)[kind]


def in_the_clear(message: bytes) -> bytes:
    return b"\x16\x03\x03" + codec.vector16(message)


# --- states: each makes (the engine, a function that sends it a message) ---------------------------------------------

State = tuple[Any, Callable[[bytes], None]]


def plain(engine: Any) -> State:
    return engine, lambda message: engine.receive_data(in_the_clear(message))


def server_at_the_beginning() -> State:
    return plain(servers().engine(NOW_MS, WALL_S))


def server_after_its_retry() -> State:
    crypto = quick_crypto()
    crypto.groups = (X25519,)
    ours = quick_crypto()
    ours.groups = (SECP256R1, X25519)
    server = servers(crypto=crypto).engine(NOW_MS, WALL_S)
    server.receive_data(client_engine(clients(crypto=ours)).take_output())
    assert server.handshake.retry_group == X25519
    return plain(server)


def server_waiting(count: int) -> State:
    """The client has sent `count` of Certificate, CertificateVerify."""
    client, server = Held(client_engine(clients())), servers().engine(NOW_MS, WALL_S)
    server.receive_data(client.engine.take_output())
    client.engine.receive_data(server.take_output())
    for message in client.flight[:count]:
        client.send(server, message)
    assert server.error is None
    return server, lambda message: client.send(server, message)


def server_waiting_for_certificate() -> State:
    return server_waiting(0)


def server_waiting_for_proof() -> State:
    return server_waiting(1)


def server_waiting_for_finished() -> State:
    return server_waiting(2)


def server_established() -> State:
    client, server = established(clients(), servers())
    return server, lambda message: server.receive_data(client.writer.seal(HANDSHAKE, message))


def client_at_the_beginning() -> State:
    return plain(client_engine(clients()))


def client_after_a_retry() -> State:
    crypto = quick_crypto()
    crypto.groups = (X25519,)
    ours = quick_crypto()
    ours.groups = (SECP256R1, X25519)
    client, server = client_engine(clients(crypto=ours)), servers(crypto=crypto).engine(NOW_MS, WALL_S)
    server.receive_data(client.take_output())
    client.receive_data(server.take_output())
    assert client.handshake.is_retried
    return plain(client)


def client_waiting(count: int) -> State:
    """The server has sent `count` of EncryptedExtensions, CertificateRequest, Certificate, CertificateVerify."""
    client, server = client_engine(clients()), Held(servers().engine(NOW_MS, WALL_S))
    server.engine.receive_data(client.take_output())
    client.receive_data(server.engine.take_output())
    for message in server.flight[:count]:
        server.send(client, message)
    assert client.error is None
    return client, lambda message: server.send(client, message)


def client_waiting_for_extensions() -> State:
    return client_waiting(0)


def client_waiting_for_request_or_certificate() -> State:
    return client_waiting(1)


def client_waiting_for_certificate() -> State:
    return client_waiting(2)


def client_waiting_for_proof() -> State:
    return client_waiting(3)


def client_waiting_for_finished() -> State:
    return client_waiting(4)


def client_established() -> State:
    client, server = established(clients(), servers())
    return client, lambda message: client.receive_data(server.writer.seal(HANDSHAKE, message))


def client_resuming() -> State:
    """After EncryptedExtensions, where no certificate is due."""
    context, other = client_context(), server_context()
    first, _ = established(context, other)
    client, server = client_engine(context, session=first.session), Held(other.engine(NOW_MS))
    server.engine.receive_data(client.take_output())
    client.receive_data(server.engine.take_output())
    server.send(client, server.flight[0])
    assert client.is_resumed
    assert client.error is None
    return client, lambda message: server.send(client, message)


# state: what is due in it
STATES = {
    server_at_the_beginning: {codec.CLIENT_HELLO},
    server_after_its_retry: {codec.CLIENT_HELLO},
    server_waiting_for_certificate: {codec.CERTIFICATE},
    server_waiting_for_proof: {codec.CERTIFICATE_VERIFY},
    server_waiting_for_finished: {codec.FINISHED},
    server_established: {codec.KEY_UPDATE},
    client_at_the_beginning: {codec.SERVER_HELLO},
    client_after_a_retry: {codec.SERVER_HELLO},
    client_waiting_for_extensions: {codec.ENCRYPTED_EXTENSIONS},
    client_waiting_for_request_or_certificate: {codec.CERTIFICATE_REQUEST, codec.CERTIFICATE},
    client_waiting_for_certificate: {codec.CERTIFICATE},
    client_waiting_for_proof: {codec.CERTIFICATE_VERIFY},
    client_waiting_for_finished: {codec.FINISHED},
    client_established: {codec.KEY_UPDATE, codec.NEW_SESSION_TICKET},
    client_resuming: {codec.FINISHED},
}
CASES = [(state, kind) for state, due in STATES.items() for kind in NAMES if kind not in due]
ALERTS = {errors.UNEXPECTED_MESSAGE, errors.DECODE_ERROR}  # the latter when it is longer than any that is due


@pytest.mark.parametrize(("state", "kind"), CASES, ids=[f"{state.__name__}-{NAMES[kind]}" for state, kind in CASES])
def test_message_that_is_not_due(state, kind):
    engine, send = state()
    engine.take_output()
    send(specimen(state, kind))
    assert engine.error is not None
    assert engine.error.alert in ALERTS, engine.error
    assert not engine.error.is_remote
    assert engine.is_closed
    assert not engine.is_established
    assert engine.data == []
    assert len(engine.take_output()) in (7, 24)  # the alert, in the clear or not


@pytest.mark.parametrize("state", STATES, ids=[state.__name__ for state in STATES])
def test_every_type_of_message_but_those_that_are_due(state):
    for kind in range(256):
        if kind not in STATES[state] and kind not in NAMES:
            engine, send = state()
            send(bytes([kind, 0, 0, 0]))
            assert engine.error.alert == errors.UNEXPECTED_MESSAGE
            if kind > 40:
                break


@pytest.mark.parametrize("state", STATES, ids=[state.__name__ for state in STATES])
def test_message_of_another_handshake(state):
    """What is due, but of another connection: nobody is fooled, in the end."""
    if state in (server_at_the_beginning, server_established, client_established):
        return  # nothing of theirs belongs to one handshake only
    for kind in STATES[state]:
        engine, send = state()
        send(specimen(state, kind))
        if kind in (codec.CLIENT_HELLO, codec.CERTIFICATE, codec.CERTIFICATE_REQUEST, codec.ENCRYPTED_EXTENSIONS):
            assert engine.error is None
            assert not engine.is_established
        else:
            assert engine.error is not None
            assert engine.error.alert in (errors.DECRYPT_ERROR, errors.ILLEGAL_PARAMETER)


@pytest.mark.parametrize("state", STATES, ids=[state.__name__ for state in STATES])
def test_transport_that_ends(state):
    engine, _ = state()
    engine.take_output()
    engine.receive_data(b"")
    assert engine.error.reason.startswith("truncated")
    assert engine.take_output() == b""


def test_messages_that_are_left_out():
    """A server that goes straight to Finished, with or without parts before: nobody is authenticated by silence."""
    for left_out in ({0}, {1}, {2}, {3}, {2, 3}, {1, 2, 3}, {0, 1, 2, 3}):
        client, server = client_engine(clients()), Held(servers().engine(NOW_MS, WALL_S))
        server.engine.receive_data(client.take_output())
        client.receive_data(server.engine.take_output())
        for number, message in enumerate(server.flight):
            if number not in left_out:
                server.send(client, message)
        assert client.error is not None
        assert client.error.alert in {errors.UNEXPECTED_MESSAGE, errors.DECRYPT_ERROR}
        assert not client.is_established


def test_second_request_for_a_certificate():
    client, send = client_waiting_for_certificate()
    send(OF_SERVER[codec.CERTIFICATE_REQUEST])
    assert client.error.alert == errors.UNEXPECTED_MESSAGE


def test_specimens_are_what_they_are_called():
    client, server = established(clients(), servers())
    exchange(client, server)
    for found in (OF_SERVER, OF_CLIENT):
        assert all(message[0] == kind for kind, message in found.items())
        assert {kind for kind, message in found.items() if len(message) > 4} == {1, 2, 4, 8, 11, 13, 15, 20, 24}
