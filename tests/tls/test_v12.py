# SPDX-License-Identifier: MIT
"""TLS 1.2 against ourselves and against CPython's ssl (OpenSSL), both roles, over memory."""

from __future__ import annotations

import contextlib
import itertools
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from libos.tls.v12_client import ClientVersion12
from libos.tls.v12_server import ServerVersion12
from tests.tls import engines
from tests.tls.engines import NOW_MS, WALL_S, Credential, Verifier, established, take_data

BULK = bytes(range(251)) * 300


def servers(**options: Any) -> Any:
    return engines.server_context(v12=ServerVersion12(), **options)


def clients(**options: Any) -> Any:
    """They offer 1.3 as well."""
    crypto = options.pop("crypto", None) or engines.quick_crypto()
    return engines.client_context(crypto=crypto, v12=ClientVersion12(crypto), **options)


class Peer:
    """CPython's ssl over memory, with the engines' interface as far as the tests use it."""

    def __init__(self, context: ssl.SSLContext, *, is_server: bool, session: Any = None, name: str = "localhost"):
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.object = context.wrap_bio(
            self.incoming,
            self.outgoing,
            server_side=is_server,
            server_hostname=None if is_server else name,
            session=session,
        )
        self.received = b""
        self.is_established = False
        self.is_peer_closed = False
        self.error: Exception | None = None
        self._step()

    def _step(self) -> None:
        if self.error is not None or self.is_peer_closed:
            return
        try:
            if not self.is_established:
                self.object.do_handshake()
                self.is_established = True
            while True:
                data = self.object.read(65536)
                if not data:
                    self.is_peer_closed = True
                    return
                self.received += data
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLZeroReturnError:
            self.is_peer_closed = True
        except ssl.SSLError as error:
            self.error = error

    def receive_data(self, data: bytes) -> None:
        self.incoming.write(data)
        self._step()

    def take_output(self) -> bytes:
        return self.outgoing.read()

    def send(self, data: bytes) -> None:
        self.object.write(data)

    def close(self) -> None:
        with contextlib.suppress(ssl.SSLWantReadError):
            self.object.unwrap()


def openssl_server(tmp_path: Path, kind: str = "p256", **options: Any) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    load(context, tmp_path, kind)
    for name, value in options.items():
        setattr(context, name, value)
    return context


def load(context: ssl.SSLContext, tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"{kind}.pem"
    path.write_bytes(engines.key_pem(kind) + engines.certificate_pem(kind, ("localhost",)))
    context.load_cert_chain(path)


def openssl_client(*kinds: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    for kind in kinds or ("p256",):
        context.load_verify_locations(cadata=engines.certificate_pem(kind, ("localhost",)).decode())
    return context


def meet(client: Any, server: Any) -> None:
    engines.exchange(client, server)
    assert client.error is None, client.error
    assert server.error is None, server.error
    assert client.is_established
    assert server.is_established


def talk(engine: Any, peer: Peer) -> None:
    engine.send(BULK)
    peer.send(BULK)
    engines.exchange(engine, peer)
    assert peer.received == BULK
    assert take_data(engine) == BULK
    engine.close()
    engines.exchange(engine, peer)
    assert peer.is_peer_closed
    peer.close()
    engines.exchange(engine, peer)
    assert engine.is_peer_closed
    assert engine.error is None


AEADS = {"aes128gcm": "AES128-GCM-SHA256", "aes256gcm": "AES256-GCM-SHA384", "chacha20poly1305": "CHACHA20-POLY1305"}


@pytest.mark.parametrize("kind", ["p256", "p384", "rsa", "ed25519"])
@pytest.mark.parametrize("aead", AEADS)
def test_server_to_openssl(kind: str, aead: str) -> None:
    context = openssl_client(kind)
    context.set_ciphers(f"ECDHE-{'RSA' if kind == 'rsa' else 'ECDSA'}-{AEADS[aead]}")
    server = servers(kinds=[kind]).engine(NOW_MS, WALL_S)
    client = Peer(context, is_server=False)
    meet(client, server)
    assert server.version == 0x0303
    assert client.object.version() == "TLSv1.2"
    assert server.cipher.startswith("TLS_ECDHE_")
    talk(server, client)


@pytest.mark.parametrize("kind", ["p256", "rsa", "ed25519"])
@pytest.mark.parametrize("aead", AEADS)
def test_client_to_openssl(tmp_path: Path, kind: str, aead: str) -> None:
    context = openssl_server(tmp_path, kind)
    context.set_ciphers(f"ECDHE-{'RSA' if kind == 'rsa' else 'ECDSA'}-{AEADS[aead]}")
    verifier = Verifier()
    client = engines.client_engine(clients(verifier=verifier))
    server = Peer(context, is_server=True)
    meet(client, server)
    assert client.version == 0x0303
    assert verifier.calls == [("server", "localhost")]
    assert client.peer_chain == [engines.certificate(kind, ("localhost",))]
    talk(client, server)


@pytest.mark.parametrize("curve", ["prime256v1", "X25519"])
def test_group_is_the_one_in_common(tmp_path: Path, curve: str) -> None:
    number = {"prime256v1": 0x0017, "X25519": 0x001D}[curve]
    context = openssl_server(tmp_path)
    if curve == "prime256v1":
        context.set_ecdh_curve(curve)
    client = engines.client_engine(clients())
    meet(client, Peer(context, is_server=True))
    assert client.group == number


def test_server_resumes_for_openssl() -> None:
    context = openssl_client()
    ours = servers()
    first = Peer(context, is_server=False)
    meet(first, ours.engine(NOW_MS, WALL_S))
    second = Peer(context, is_server=False, session=first.object.session)
    server = ours.engine(NOW_MS + 1000, WALL_S)
    meet(second, server)
    assert second.object.session_reused
    assert server.is_resumed
    assert ours.counters["resumed"] == 1
    talk(server, second)
    late = Peer(context, is_server=False, session=first.object.session)
    meet(late, ours.engine(NOW_MS + 7201 * 1000, WALL_S))
    assert not late.object.session_reused
    other = servers()
    meet(Peer(context, is_server=False, session=first.object.session), other.engine(NOW_MS, WALL_S))
    assert other.counters["resumed"] == 0


def test_client_resumes_with_openssl(tmp_path: Path) -> None:
    context = openssl_server(tmp_path)
    ours = clients()
    first = engines.client_engine(ours)
    meet(first, Peer(context, is_server=True))
    assert first.session is not None
    for _ in range(2):
        client = engines.client_engine(ours, session=first.session)
        server = Peer(context, is_server=True)
        meet(client, server)
        assert client.is_resumed
        assert server.object.session_reused
        assert client.peer_chain == first.peer_chain
        assert client.session is not None
        talk(client, server)
    # Another name is another session.
    verifier = Verifier()
    assert not ours.engine("example.org", NOW_MS, WALL_S, session=first.session).is_resumed
    assert verifier.calls == []


def test_alpn_and_server_name(tmp_path: Path) -> None:
    context = openssl_client()
    context.set_alpn_protocols(["h2", "http/1.1"])
    server = servers(alpn=(b"http/1.1",)).engine(NOW_MS, WALL_S)
    client = Peer(context, is_server=False)
    meet(client, server)
    assert client.object.selected_alpn_protocol() == "http/1.1"
    assert server.alpn == b"http/1.1"
    assert server.server_name == "localhost"
    theirs = openssl_server(tmp_path)
    theirs.set_alpn_protocols(["http/1.1"])
    ours = engines.client_engine(clients(alpn=(b"h2", b"http/1.1")))
    meet(ours, Peer(theirs, is_server=True))
    assert ours.alpn == b"http/1.1"


def test_no_protocol_in_common_is_an_alert() -> None:
    context = openssl_client()
    context.set_alpn_protocols(["h2"])
    server = servers(alpn=(b"http/1.1",)).engine(NOW_MS, WALL_S)
    engines.exchange(Peer(context, is_server=False), server)
    assert server.error.alert == 120


@pytest.mark.parametrize("kind", ["p256", "p384", "rsa", "ed25519"])
def test_server_asks_for_a_certificate(tmp_path: Path, kind: str) -> None:
    context = openssl_client()
    load(context, tmp_path, kind)
    verifier = Verifier()
    ours = servers(verifier=verifier, client_auth="required")
    server = ours.engine(NOW_MS, WALL_S)
    client = Peer(context, is_server=False)
    meet(client, server)
    assert verifier.calls == [("client", None)]
    assert server.peer_chain == [engines.certificate(kind, ("localhost",))]
    talk(server, client)
    # Who has shown a certificate shows it again.
    again = Peer(context, is_server=False, session=client.object.session)
    meet(again, ours.engine(NOW_MS, WALL_S))
    assert not again.object.session_reused


def test_client_without_a_certificate() -> None:
    optional = servers(verifier=Verifier(), client_auth="optional").engine(NOW_MS, WALL_S)
    meet(Peer(openssl_client(), is_server=False), optional)
    assert not optional.peer_chain
    required = servers(verifier=Verifier(), client_auth="required").engine(NOW_MS, WALL_S)
    engines.exchange(Peer(openssl_client(), is_server=False), required)
    assert required.error.alert == 40


def test_p384_of_a_server_needs_tls_13(tmp_path: Path) -> None:
    """In 1.2 a certificate is of a group that the client offers, and we exchange keys over no P-384."""
    client = engines.client_engine(clients())
    engines.exchange(client, Peer(openssl_server(tmp_path, "p384"), is_server=True))
    assert client.error.alert == 40
    assert client.error.is_remote


def test_p384_of_ours_is_not_shown(tmp_path: Path) -> None:
    context = openssl_server(tmp_path)
    context.verify_mode = ssl.CERT_OPTIONAL
    context.load_verify_locations(cadata=engines.certificate_pem("p384", ("localhost",)).decode())
    crypto = engines.quick_crypto()
    server = Peer(context, is_server=True)
    meet(engines.client_engine(clients(crypto=crypto, credentials=[Credential(crypto, "p384")])), server)
    assert server.object.getpeercert(binary_form=True) is None


@pytest.mark.parametrize("kind", ["p256", "rsa", "ed25519"])
def test_client_shows_a_certificate(tmp_path: Path, kind: str) -> None:
    context = openssl_server(tmp_path)
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(cadata=engines.certificate_pem(kind, ("localhost",)).decode())
    crypto = engines.quick_crypto()
    client = engines.client_engine(clients(crypto=crypto, credentials=[Credential(crypto, kind)]))
    server = Peer(context, is_server=True)
    meet(client, server)
    assert server.object.getpeercert(binary_form=True) == engines.certificate(kind, ("localhost",))
    talk(client, server)


def test_keylog_opens_both_sides(tmp_path: Path) -> None:
    lines: list[str] = []
    path = tmp_path / "keys"
    context = openssl_client()
    context.keylog_filename = str(path)
    server = servers(keylog=lines.append).engine(NOW_MS, WALL_S)
    meet(Peer(context, is_server=False), server)
    theirs = [line for line in path.read_text().splitlines() if line.startswith("CLIENT_RANDOM")]
    assert [line.lower() for line in lines] == [line.lower() for line in theirs]


def test_newest_version_wins() -> None:
    client, server = established(clients(), servers())
    assert client.version == server.version == 0x0304


def only_12(engine: Any) -> Any:
    """A client's engine as if it had never heard of 1.3: supported_versions is hidden from its hello."""
    hello = engine.take_output()
    at = hello.index(b"\x00\x2b\x00\x05\x04\x03\x04\x03\x03")
    hidden = hello[:at] + b"\x7f\x2b" + hello[at + 2 :]
    engine.handshake.offer.message = hidden[5:]
    engine.output.append(hidden)
    return engine


def ourselves(**options: Any) -> tuple[Any, Any]:
    """(client, server) of ours, before the hello has been carried."""
    session = options.pop("session", None)
    theirs = options.pop("servers", None) or servers()
    ours = options.pop("clients", None) or clients(**options)
    return only_12(engines.client_engine(ours, session=session)), theirs.engine(NOW_MS, WALL_S)


def test_downgrade_is_noticed() -> None:
    """Somebody has hidden from the server that the client speaks 1.3: the mark in the server's random tells."""
    client, server = ourselves()
    engines.exchange(client, server)
    assert client.error.alert == 47
    assert "downgraded" in client.error.reason
    assert server.error.is_remote


@pytest.fixture
def unmarked(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that does not say that it could speak 1.3."""
    monkeypatch.setattr("libos.tls.v12_server.DOWNGRADE_12", bytes(8))


@pytest.mark.usefixtures("unmarked")
def test_ourselves_with_limits() -> None:
    ours, theirs = clients(alpn=(b"x",), record_size_limit=500), servers(alpn=(b"x",), record_size_limit=300)
    client, server = ourselves(clients=ours, servers=theirs)
    meet(client, server)
    assert client.alpn == server.alpn == b"x"
    client.send(BULK)
    assert max(len(record) for record in client.output) <= 300 + 29
    server.send(BULK)
    assert max(len(record) for record in server.output) <= 501 + 29
    engines.exchange(client, server)
    assert take_data(client) == take_data(server) == BULK
    again, resumed = ourselves(clients=ours, servers=theirs, session=client.session)
    meet(again, resumed)
    assert again.is_resumed
    assert resumed.is_resumed


@pytest.mark.usefixtures("unmarked")
def test_renegotiation_is_refused_and_a_storm_ends() -> None:
    theirs = servers()
    client, server = ourselves(servers=theirs)
    meet(client, server)
    hello = engines.client_engine(clients()).take_output()[5:]
    client.write(22, hello)
    engines.exchange(client, server)
    client.send(b"goes on")
    engines.exchange(client, server)
    assert take_data(server) == b"goes on"
    assert theirs.counters["renegotiations"] == 1
    server.write(22, b"\0\0\0\0")  # HelloRequest
    engines.exchange(client, server)
    server.send(b"goes on")
    engines.exchange(client, server)
    assert take_data(client) == b"goes on"
    for _ in range(40):
        client.write(22, hello)
    server.receive_data(client.take_output())
    assert server.error.alert == 10
    assert theirs.counters["renegotiations"] == 33


@pytest.mark.usefixtures("unmarked")
def test_key_has_a_limit() -> None:
    ours = clients()
    ours.max_sealed = 5
    client, server = ourselves(clients=ours)
    meet(client, server)
    for _ in range(4):
        client.send(b"x")
    with pytest.raises(OSError, match="too many records"):
        client.send(b"x")


def test_fallback_of_a_client_that_could_do_better_is_refused() -> None:
    client, server = ourselves()
    hello = client.take_output()
    at = hello.index(b"\xc0\x2f")
    server.receive_data(hello[:at] + b"\x56\x00" + hello[at + 2 :])
    assert server.error.alert == 86


def records(data: bytes) -> list[bytes]:
    found = []
    while data:
        end = 5 + int.from_bytes(data[3:5], "big")
        found.append(data[:end])
        data = data[end:]
    return found


def messages(data: bytes) -> list[bytes]:
    """Handshake messages in the clear, each in a record of its own, and other records."""
    found = []
    for record in records(data):
        if record[0] != 22:
            found.append(record)
            continue
        body = record[5:]
        while body:
            end = 4 + int.from_bytes(body[1:4], "big")
            found.append(b"\x16\x03\x03" + end.to_bytes(2, "big") + body[:end])
            body = body[end:]
    return found


@pytest.mark.usefixtures("unmarked")
@pytest.mark.parametrize("missing", range(3))
def test_message_left_out_of_a_servers_flight(missing: int) -> None:
    client, server = ourselves()
    server.receive_data(client.take_output())
    parts = messages(server.take_output())
    assert [part[5] for part in parts] == [2, 11, 12, 14]
    client.receive_data(b"".join(parts[:missing] + parts[missing + 1 :]))
    assert client.error.alert == 10


@pytest.mark.usefixtures("unmarked")
@pytest.mark.parametrize("order", [order for order in itertools.permutations(range(4)) if order != (0, 1, 2, 3)])
def test_servers_flight_in_a_wrong_order(order: tuple[int, ...]) -> None:
    client, server = ourselves()
    server.receive_data(client.take_output())
    parts = messages(server.take_output())
    client.receive_data(b"".join(parts[number] for number in order))
    assert client.error.alert == 10


@pytest.mark.usefixtures("unmarked")
@pytest.mark.parametrize("twice", range(4))
def test_message_twice_in_a_servers_flight(twice: int) -> None:
    client, server = ourselves()
    server.receive_data(client.take_output())
    parts = messages(server.take_output())
    client.receive_data(b"".join(parts[: twice + 1] + parts[twice:]))
    assert client.error.alert == 10


@pytest.mark.usefixtures("unmarked")
@pytest.mark.parametrize(
    "order", [(1, 2), (0, 2), (2,), (1,), (1, 0, 2), (0, 0, 1, 2), (0, 1, 1, 2), (2, 0, 1), (0, 2, 1)]
)
def test_clients_flight_in_a_wrong_order(order: tuple[int, ...]) -> None:
    client, server = ourselves()
    server.receive_data(client.take_output())
    client.receive_data(server.take_output())
    parts = records(client.take_output())
    assert [part[0] for part in parts] == [22, 20, 22]
    server.receive_data(b"".join(parts[number] for number in order))
    assert server.error is not None
    assert server.error.alert in (10, 20)
    assert not server.is_established


@pytest.mark.usefixtures("unmarked")
def test_data_before_the_handshake_is_done() -> None:
    for step in range(3):
        client, server = ourselves()
        victim = server
        if step:
            server.receive_data(client.take_output())
        if step == 2:
            victim = client
            server.take_output()
        victim.receive_data(b"\x17\x03\x03\x00\x05hello")
        assert victim.error.alert == 10
        assert victim.data == []


def flights() -> Iterator[tuple[Any, bytes]]:
    """(who receives, what) of each flight of a handshake, all of it fresh each time."""
    for number in range(4):
        client, server = ourselves()
        sides = (server, client)
        for turn in range(number):
            sides[turn % 2].receive_data(sides[1 - turn % 2].take_output())
        yield sides[number % 2], sides[1 - number % 2].take_output()


def receiver(number: int) -> tuple[Any, bytes]:
    return next(itertools.islice(flights(), number, None))


@pytest.mark.usefixtures("unmarked")
@pytest.mark.parametrize("number", range(4))
def test_damage_in_each_octet_of_a_flight(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Never an exception, never data; and established by nothing but what the peer has sent."""
    plain_verify = Verifier.verify

    def verify(self: Any, *args: Any) -> Any:
        try:
            return plain_verify(self, *args)
        except engines.Refused:
            raise
        except Exception as error:
            raise engines.Refused(42, str(error)) from error

    monkeypatch.setattr(Verifier, "verify", verify)
    _, sent = receiver(number)
    # The minor version of a record in the clear is nobody's (RFC 8446 section 5.1).
    free = {len(b"".join(records(sent)[:count])) + 2 for count in range(len(records(sent)))}
    for at in range(len(sent)):
        victim, flight = receiver(number)
        if at >= len(flight):  # a signature is a few octets shorter than another one
            break
        damaged = bytearray(flight)
        damaged[at] ^= 1 << (at % 8)
        victim.receive_data(bytes(damaged))
        assert victim.data == []
        if number >= 2 and at not in free:
            assert not victim.is_established, at
            victim.receive_data(b"")  # a length may say that more is to come
            assert victim.error is not None


@pytest.mark.usefixtures("unmarked")
def test_truncated_handshakes_say_so() -> None:
    client, server = ourselves()
    hello = client.take_output()
    for at in range(1, len(hello), 5):
        _, victim = ourselves()
        victim.receive_data(hello[:at])
        victim.receive_data(b"")
        assert "truncated" in victim.error.reason
    server.receive_data(hello)
    flight = server.take_output()
    for at in range(1, len(flight), 31):
        other, peer = ourselves()
        peer.receive_data(other.take_output())
        other.receive_data(peer.take_output()[:at])
        other.receive_data(b"")
        assert "truncated" in other.error.reason


@pytest.mark.parametrize(
    ("old", "new", "alert"),
    [
        (b"\x00\x17\x00\x00", b"\x7f\x17\x00\x00", 40),  # no extended master secret
        (b"\xff\x01\x00\x01\x00", b"\xff\x01\x00\x01\x01", 40),  # renegotiation
        (b"\x00\x0b\x00\x02\x01\x00", b"\x00\x0b\x00\x02\x01\x01", 47),  # compressed points only
        (b"\x00\x0b\x00\x02\x01\x00", b"\x00\x0b\x00\x02\x02\x00", 47),
        (b"\x00\x0a\x00\x06\x00\x04\x00\x1d\x00\x17", b"\x00\x0a\x00\x06\x00\x04\x00\x30\x00\x31", 40),  # groups
        (b"\x00\x0d\x00", b"\x7f\x0d\x00", 40),  # no signature schemes: SHA-1
    ],
)
def test_hello_that_cannot_be_answered(old: bytes, new: bytes, alert: int) -> None:
    client, server = ourselves()
    hello = client.take_output()
    assert hello.count(old) == 1
    server.receive_data(hello.replace(old, new))
    assert server.error.alert == alert


@pytest.mark.usefixtures("unmarked")
@pytest.mark.parametrize(
    ("old", "new", "alert"),
    [
        (b"\x00\x17\x00\x00", b"\x00\x16\x00\x00", 110),  # encrypt-then-MAC, which nobody asked for
        (b"\xff\x01\x00\x01\x00", b"\xff\x01\x00\x01\x01", 40),
        (b"\xc0\x2b", b"\xc0\x09", 47),  # a suite with CBC
        (b"\x03\x00\x1d\x20", b"\x03\x00\x1e\x38", 50),  # X448, cut off
        (b"\x03\x00\x1d\x20", b"\x01\x00\x1d\x20", 47),  # a curve of its own
    ],
)
def test_answer_that_cannot_be(old: bytes, new: bytes, alert: int) -> None:
    client, server = ourselves()
    server.receive_data(client.take_output())
    answer = server.take_output()
    assert answer.count(old) == 1
    client.receive_data(answer.replace(old, new))
    assert client.error.alert == alert
