# SPDX-License-Identifier: MIT
"""The traces of RFC 8448: what the engines write, given the traces' random numbers and choices, is theirs to the octet.

Messages whose content is a matter of taste (which extensions, in which order) are the trace's: they come out of its own
records. Everything that is computed is computed here: secrets, keys, records, signatures' input, Finished, binders.
"""

from __future__ import annotations

from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa

from libos.tls import client13, codec, schedule, server13
from libos.tls.connection import Connection
from libos.tls.offer import Offer
from libos.tls.record import SUITES, Keys
from libos.tls.session import Session
from tests.tls import rfc8448
from tests.tls.engines import NOW_MS, WALL_S, client_context, server_context
from tests.tls.reference_crypto import reference_crypto

DATA = bytes(range(50))
TRACES = {
    "simple": rfc8448.SIMPLE,
    "retry": rfc8448.RETRY,
    "client authentication": rfc8448.CLIENT_AUTHENTICATION,
    "compatibility": rfc8448.COMPATIBILITY,
}
SECP256R1 = 0x0017
X25519 = 0x001D


def octets(trace: dict[str, str], name: str) -> bytes:
    return bytes.fromhex(trace[name])


def message(trace: dict[str, str], name: str) -> bytes:
    """The handshake message of a record in the clear."""
    return octets(trace, name)[5:]


class Scripted:
    """Random numbers that are not: each of `values`, in turn."""

    def __init__(self, *values: bytes) -> None:
        self.values = list(values)

    def bytes(self, count: int) -> bytes:
        value = self.values.pop(0)
        assert len(value) == count
        return value


class Wire:
    """A trace's messages under keys, opened with what the trace has of private keys."""

    def __init__(self, trace: dict[str, str]) -> None:
        crypto = reference_crypto()
        keys = schedule.Schedule(crypto, 256)
        hello = message(trace, "server_hello")
        share = codec.extensions(hello, 40 + hello[38] + 2, "")[codec.EXT_KEY_SHARE]
        group = int.from_bytes(share[:2], "big")
        private = trace["client_private_2" if "client_private_2" in trace else "client_private"]
        shared = crypto.agree(group, bytes.fromhex(private), share[4:])
        if "retry_request" in trace:
            transcript = keys.retried(message(trace, "client_hello"))
            for name in ("retry_request", "client_hello_2", "server_hello"):
                transcript.update(message(trace, name))
        else:
            transcript = keys.new_hash(message(trace, "client_hello") + hello)
        secret = keys.handshake_secret(shared)
        self.flight = self.open(
            trace, "server_flight", keys.expand(secret, schedule.SERVER_HANDSHAKE, transcript.digest())
        )
        self.answer = self.open(
            trace, "client_finished", keys.expand(secret, schedule.CLIENT_HANDSHAKE, transcript.digest())
        )

    def open(self, trace: dict[str, str], name: str, secret: bytes) -> dict[int, bytes]:
        """{type: message}."""
        record = octets(trace, name)
        if record[0] == 20:
            record = record[6:]
        plain = Keys(reference_crypto(), SUITES[0x1301], secret).open(memoryview(record))
        assert plain is not None
        found = {}
        while plain:
            end = 4 + int.from_bytes(plain[1:4], "big")
            found[plain[0]] = plain[:end]
            plain = plain[end:]
        return found


class TraceSigner:
    """Has signed already."""

    def __init__(self, proof: bytes) -> None:
        self.proof = proof
        self.signed = b""

    def sign(self, algorithm: str, signed: bytes) -> bytes:
        self.signed = signed
        return self.proof[8:]


class TraceCredential:
    names = ()

    def __init__(self, messages: dict[int, bytes]) -> None:
        self.chain = []
        entries = messages[codec.CERTIFICATE][8:]
        while entries:
            end = 3 + int.from_bytes(entries[:3], "big")
            self.chain.append(entries[3:end])
            entries = entries[end + 2 :]
        self.key_kind = TraceVerifier().verify(self.chain, 0, "").public_key[0]
        self.signer = TraceSigner(messages[codec.CERTIFICATE_VERIFY])


class TraceLeaf:
    def __init__(self, key: tuple[Any, ...]) -> None:
        self.public_key = key


class TraceVerifier:
    """Believes anybody."""

    def verify(self, chain: list[bytes], wall_s: int, purpose: str, hostname: str | None = None) -> TraceLeaf:
        key = x509.load_der_x509_certificate(chain[0]).public_key()
        if isinstance(key, rsa.RSAPublicKey):
            numbers = key.public_numbers()
            return TraceLeaf(("rsa", numbers.n.to_bytes(128, "big"), numbers.e))
        numbers = key.public_numbers()
        return TraceLeaf(("p256", b"\x04" + numbers.x.to_bytes(32, "big") + numbers.y.to_bytes(32, "big")))


class TraceServer(server13.ServerHandshake):
    def __init__(self, connection: Connection, trace: dict[str, str], wire: Wire) -> None:
        super().__init__(connection, WALL_S)
        self.trace = trace
        self.wire = wire

    def _encrypted_extensions(self, hello: Any, is_named: bool) -> bytes:
        return self.wire.flight[codec.ENCRYPTED_EXTENSIONS]

    def _certificate_request(self) -> bytes:
        super()._certificate_request()
        return self.wire.flight[codec.CERTIFICATE_REQUEST]

    def _hello_message(self, hello: Any, random: bytes, found: bytes) -> bytes:
        made = super()._hello_message(hello, random, found)
        if random != server13._RETRY_RANDOM:
            return made
        trace = message(self.trace, "retry_request")
        # The trace has a cookie, between what ours has.
        assert made[4:42] == trace[4:42]
        assert made[44:50] == trace[44:50]
        assert made[-6:] == trace[-6:]
        return trace

    def _send_ticket(self) -> None:
        if "ticket" in self.trace:
            writer = self.connection.writer
            keys = Keys(writer.crypto, writer.suite, writer.secret)
            self.connection.write(22, keys.open(memoryview(octets(self.trace, "ticket"))))


@pytest.mark.parametrize("trace", TRACES.values(), ids=TRACES)
def test_server_writes_the_trace(trace):
    wire = Wire(trace)
    hello = message(trace, "server_hello")
    crypto = reference_crypto(Scripted(octets(trace, "server_private"), hello[6:38]), ("aes128gcm",), ("mlkem768",))
    if "retry_request" in trace:
        crypto.groups = (SECP256R1,)
    credential = TraceCredential(wire.flight)
    is_asking = codec.CERTIFICATE_REQUEST in wire.flight
    context = server_context(
        crypto=crypto,
        credentials=[credential],
        verifier=TraceVerifier(),
        client_auth="required" if is_asking else "none",
        tickets=False,
    )
    server = Connection(context, NOW_MS)
    server.handshake = TraceServer(server, trace, wire)
    server.receive_data(octets(trace, "client_hello"))
    if "retry_request" in trace:
        assert server.take_output() == octets(trace, "retry_request")
        server.receive_data(octets(trace, "client_hello_2"))
    assert server.error is None
    assert server.take_output() == octets(trace, "server_hello") + octets(trace, "server_flight")
    server.receive_data(octets(trace, "client_finished"))
    assert server.is_established
    if "ticket" in trace:
        assert server.take_output() == octets(trace, "ticket")
    if "client_data" in trace:
        server.receive_data(octets(trace, "client_data"))
        assert server.data == [DATA]
        server.send(DATA)
        assert server.take_output() == octets(trace, "server_data")
    server.receive_data(octets(trace, "client_closes"))
    assert server.is_peer_closed
    server.close()
    assert server.take_output() == octets(trace, "server_closes")


class TraceOffer(Offer):
    def __init__(self, context: Any, trace: dict[str, str]) -> None:
        super().__init__(context, "server", WALL_S, None, True)
        hello = message(trace, "client_hello")
        self.random = hello[6:38]
        self.session_id = hello[39 : 39 + hello[38]]
        self.messages = [message(trace, name) for name in ("client_hello", "client_hello_2") if name in trace]

    def emit(self, shares: Any, ticket_age: int | None = None) -> None:
        super().emit(shares, ticket_age)
        self.message = self.messages.pop(0)
        assert all(share in self.message for _, share in shares)
        assert self.cookie is None or self.cookie in self.message
        self.sent = codec.extensions(self.message, self.message.index(b"\x01\x00", 39) + 2, "").keys()


@pytest.mark.parametrize("trace", TRACES.values(), ids=TRACES)
def test_client_writes_the_trace(trace):
    wire = Wire(trace)
    privates = [octets(trace, name) for name in ("client_private", "client_private_2") if name in trace]
    crypto = reference_crypto(Scripted(bytes(32), bytes(32), *privates), without=("mlkem768",))
    credentials = [TraceCredential(wire.answer)] if codec.CERTIFICATE in wire.answer else []
    context = client_context(crypto=crypto, verifier=TraceVerifier(), credentials=credentials, record_size_limit=16384)
    client = Connection(context, NOW_MS)
    client.handshake = client13.ClientHandshake(client, TraceOffer(context, trace))
    assert client.take_output()[5:] == message(trace, "client_hello")
    if "retry_request" in trace:
        client.receive_data(octets(trace, "retry_request"))
        assert client.error is None
        assert client.take_output()[5:] == message(trace, "client_hello_2")
    client.receive_data(octets(trace, "server_hello") + octets(trace, "server_flight"))
    assert client.error is None
    assert client.is_established
    assert client.take_output() == octets(trace, "client_finished")
    if "ticket" in trace:
        client.receive_data(octets(trace, "ticket"))
        check_session(client.session)
    if "client_data" in trace:
        client.send(DATA)
        assert client.take_output() == octets(trace, "client_data")
        client.receive_data(octets(trace, "server_data"))
        assert client.data == [DATA]
    client.close()
    assert client.take_output() == octets(trace, "client_closes")
    client.receive_data(octets(trace, "server_closes"))
    assert client.is_peer_closed
    assert client.error is None


def check_session(session: Session) -> None:
    """It is the one that section 4 resumes: the binder comes out right."""
    hello = message(rfc8448.RESUMED, "client_hello")
    assert session.ticket in hello
    keys = schedule.Schedule(reference_crypto(), 256)
    assert keys.binder(session.secret, keys.new_hash(hello[:-35]).digest()) == hello[-32:]


def resumption_secret() -> bytes:
    """Of the ticket in section 3, which section 4 resumes."""
    trace = rfc8448.SIMPLE
    crypto = reference_crypto(Scripted(bytes(32), bytes(32), octets(trace, "client_private")), without=("mlkem768",))
    context = client_context(crypto=crypto, verifier=TraceVerifier(), record_size_limit=16384)
    client = Connection(context, NOW_MS)
    client.handshake = client13.ClientHandshake(client, TraceOffer(context, trace))
    client.receive_data(octets(trace, "server_hello") + octets(trace, "server_flight") + octets(trace, "ticket"))
    return client.session.secret


def test_schedule_of_the_resumed_trace():
    trace = rfc8448.RESUMED
    crypto = reference_crypto()
    keys = schedule.Schedule(crypto, 256)
    hello = message(trace, "server_hello")
    shared = crypto.agree(X25519, octets(trace, "client_private"), hello[58:90])
    transcript = keys.new_hash(message(trace, "client_hello") + hello)
    secret = keys.handshake_secret(shared, resumption_secret())
    server_secret = keys.expand(secret, schedule.SERVER_HANDSHAKE, transcript.digest())
    flight = Keys(crypto, SUITES[0x1301], server_secret).open(memoryview(octets(trace, "server_flight")))
    transcript.update(flight[:-36])
    assert flight[-32:] == keys.finished(server_secret, transcript.digest())


def test_server_resumes_the_trace_and_refuses_its_early_data():
    trace = rfc8448.RESUMED
    context = server_context(crypto=reference_crypto(aeads=("aes128gcm",)))
    state = server13._TICKET_VERSION + NOW_MS.to_bytes(8, "big") + bytes([32]) + resumption_secret() + b"server"
    context.tickets.open = lambda ticket, now_ms: state
    server = context.engine(NOW_MS)
    server.receive_data(octets(trace, "client_hello") + octets(trace, "early_data"))
    assert server.error is None
    assert server.is_resumed
    assert server.data == []
    assert b"\x00\x29\x00\x02\x00\x00" in server.take_output()


def test_server_refuses_the_trace_with_another_binder():
    context = server_context(crypto=reference_crypto(aeads=("aes128gcm",)))
    state = server13._TICKET_VERSION + NOW_MS.to_bytes(8, "big") + bytes([32]) + resumption_secret() + b"server"
    context.tickets.open = lambda ticket, now_ms: state
    server = context.engine(NOW_MS)
    hello = octets(rfc8448.RESUMED, "client_hello")
    server.receive_data(hello[:-1] + bytes([hello[-1] ^ 1]))
    assert server.error.alert == 51
    assert not server.is_resumed
