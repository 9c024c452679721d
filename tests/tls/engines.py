# SPDX-License-Identifier: MIT
"""Contexts, credentials and a wire for engines in memory."""

from __future__ import annotations

import datetime
import functools
from collections.abc import Sequence
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from libos.tls.client import ClientContext
from libos.tls.server import ServerContext
from tests.tls.reference_crypto import reference_crypto

NOW_MS = 1_000_000
WALL_S = 1_800_000_000
_RAW = {"encoding": serialization.Encoding.Raw, "format": serialization.PublicFormat.Raw}
_POINT = {"encoding": serialization.Encoding.X962, "format": serialization.PublicFormat.UncompressedPoint}


class Refused(ValueError):
    """What x509's CertificateError looks like to an engine."""

    def __init__(self, alert: int, reason: str) -> None:
        super().__init__(reason)
        self.alert = alert
        self.reason = reason


@functools.cache
def private_key(kind: str) -> Any:
    if kind == "p256":
        return ec.generate_private_key(ec.SECP256R1())
    if kind == "p384":
        return ec.generate_private_key(ec.SECP384R1())
    if kind == "ed25519":
        return ed25519.Ed25519PrivateKey.generate()
    return rsa.generate_private_key(65537, 2048)


def material(kind: str) -> Any:
    """The private key as crypto.signer takes it."""
    key = private_key(kind)
    if kind == "ed25519":
        return key.private_bytes_raw()
    if kind == "rsa":
        n = key.private_numbers()
        numbers = (n.public_numbers.n, n.public_numbers.e, n.d, n.p, n.q, n.dmp1, n.dmq1, n.iqmp)
        return tuple(number.to_bytes((number.bit_length() + 7) // 8, "big") for number in numbers)
    return key.private_numbers().private_value.to_bytes(key.curve.key_size // 8, "big")


def public_key(kind: str) -> tuple[Any, ...]:
    """The public key as crypto.verify takes it."""
    public = private_key(kind).public_key()
    if kind == "ed25519":
        return (kind, public.public_bytes(**_RAW))
    if kind == "rsa":
        numbers = public.public_numbers()
        return (kind, numbers.n.to_bytes(256, "big"), numbers.e)
    return (kind, public.public_bytes(**_POINT))


@functools.cache
def certificate(kind: str, names: tuple[str, ...]) -> bytes:
    """DER, self-signed."""
    key = private_key(kind)
    attributes = [(x509.NameOID.ORGANIZATION_NAME, kind), (x509.NameOID.COMMON_NAME, names[0])]
    subject = x509.Name([x509.NameAttribute(oid, value) for oid, value in attributes])
    made = x509.CertificateBuilder().subject_name(subject).issuer_name(subject).public_key(key.public_key())
    made = made.serial_number(1).not_valid_before(datetime.datetime(2020, 1, 1))
    made = made.not_valid_after(datetime.datetime(2040, 1, 1))
    made = made.add_extension(x509.SubjectAlternativeName([x509.DNSName(name) for name in names]), False)
    made = made.add_extension(x509.BasicConstraints(True, None), True)
    signed = made.sign(key, None if kind == "ed25519" else hashes.SHA256())
    return signed.public_bytes(serialization.Encoding.DER)


def key_pem(kind: str) -> bytes:
    return private_key(kind).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def certificate_pem(kind: str, names: tuple[str, ...]) -> bytes:
    return x509.load_der_x509_certificate(certificate(kind, names)).public_bytes(serialization.Encoding.PEM)


class Credential:
    def __init__(self, crypto: Any, kind: str = "p256", names: Sequence[str] = ("localhost",)) -> None:
        self.names = tuple(names)
        self.chain = [certificate(kind, self.names)]
        self.key_kind = kind
        self.signer = crypto.signer(kind, material(kind))


class Leaf:
    not_after_s = 2_000_000_000

    def __init__(self, key: tuple[Any, ...]) -> None:
        self.public_key = key


class Verifier:
    """Trusts the certificates that certificate() makes, for their names. calls: what it was asked."""

    def __init__(self, kinds: Sequence[str] = ("p256", "p384", "rsa", "ed25519")) -> None:
        self.kinds = kinds
        self.calls: list[tuple[str, Any]] = []

    def verify(self, chain: list[bytes], wall_s: int, purpose: str, hostname: str | None = None) -> Leaf:
        self.calls.append((purpose, hostname))
        try:
            found = x509.load_der_x509_certificate(chain[0])
        except ValueError:
            raise Refused(42, "malformed") from None
        names = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        if hostname is not None and hostname not in names.get_values_for_type(x509.DNSName):
            raise Refused(42, "for other names")
        for kind in self.kinds:
            if found.public_key() == private_key(kind).public_key():
                return Leaf(public_key(kind))
        raise Refused(48, "not trusted")


def quick_crypto() -> Any:
    """Without ML-KEM, whose reference takes its time."""
    return reference_crypto(without=("mlkem768",))


def server_context(*, crypto: Any = None, kinds: Sequence[str] = ("p256",), **options: Any) -> ServerContext:
    crypto = crypto or quick_crypto()
    credentials = options.pop("credentials", None) or [Credential(crypto, kind) for kind in kinds]
    return ServerContext(crypto, credentials, **options)


def client_context(*, crypto: Any = None, verifier: Any = None, **options: Any) -> ClientContext:
    return ClientContext(crypto or quick_crypto(), verifier or Verifier(), **options)


def client_engine(context: ClientContext, hostname: str = "localhost", **options: Any) -> Any:
    return context.engine(hostname, NOW_MS, WALL_S, **options)


def exchange(client: Any, server: Any) -> None:
    """Carries octets until neither side has any more."""
    while True:
        ours, theirs = client.take_output(), server.take_output()
        if not ours and not theirs:
            return
        if ours:
            server.receive_data(ours)
        if theirs:
            client.receive_data(theirs)


def handshake(clients: ClientContext, servers: ServerContext, **options: Any) -> tuple[Any, Any]:
    """(client, server), established or failed."""
    client, server = client_engine(clients, **options), servers.engine(NOW_MS, WALL_S)
    exchange(client, server)
    return client, server


def established(clients: ClientContext, servers: ServerContext, **options: Any) -> tuple[Any, Any]:
    client, server = handshake(clients, servers, **options)
    assert client.error is None, client.error
    assert server.error is None, server.error
    assert client.is_established
    assert server.is_established
    return client, server


def record_lengths(output: Sequence[bytes]) -> list[int]:
    """Octets of data in each sealed record of TLS 1.3; an object may have many records."""
    octets, lengths = b"".join(output), []
    while octets:
        lengths.append(int.from_bytes(octets[3:5], "big") - 17)
        octets = octets[lengths[-1] + 22 :]
    return lengths


def take_data(engine: Any) -> bytes:
    data = b"".join(engine.data)
    engine.data.clear()
    return data
