# SPDX-License-Identifier: MIT
"""Keys and certificates for tests, made with `cryptography` (PyPI): good ones, and wrong ones."""

from __future__ import annotations

import datetime
import functools
import ipaddress
from collections.abc import Iterable, Sequence
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

NOW = datetime.datetime(2026, 6, 1, tzinfo=datetime.UTC)
NOW_S = int(NOW.timestamp())
DAY = datetime.timedelta(days=1)
SERVER = ExtendedKeyUsageOID.SERVER_AUTH
CLIENT = ExtendedKeyUsageOID.CLIENT_AUTH


@functools.cache
def key(kind: str = "p256", number: int = 0) -> Any:
    """A private key, the same one for the same arguments. kind: "p256", "p384", "p521", "ed25519", "rsa", "rsa1024"."""
    if kind.startswith("rsa"):
        return rsa.generate_private_key(65537, int(kind[3:] or 2048))
    if kind == "ed25519":
        return ed25519.Ed25519PrivateKey.generate()
    curve = {"p256": ec.SECP256R1(), "p384": ec.SECP384R1(), "p521": ec.SECP521R1()}[kind]
    return ec.generate_private_key(curve)


def pem_of_key(private: Any, form: str = "pkcs8", encoding: str = "PEM", password: bytes | None = None) -> bytes:
    formats = {
        "pkcs8": serialization.PrivateFormat.PKCS8,
        "traditional": serialization.PrivateFormat.TraditionalOpenSSL,
    }
    cover = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
    return private.private_bytes(getattr(serialization.Encoding, encoding), formats[form], cover)


def pem(*certificates: x509.Certificate) -> bytes:
    return b"".join(certificate.public_bytes(serialization.Encoding.PEM) for certificate in certificates)


def der(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.DER)


def spki(private: Any) -> bytes:
    return private.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)] if text else [])


def general_name(text: str) -> x509.GeneralName:
    """ "dns:…", "ip:…" (or a network), "mail:…", "uri:…", "dir:…"; a host name without any of these."""
    form, colon, value = text.partition(":")
    if form == "ip" and colon:
        is_network = "/" in value
        return x509.IPAddress(ipaddress.ip_network(value) if is_network else ipaddress.ip_address(value))
    if form == "mail" and colon:
        return x509.RFC822Name(value)
    if form == "uri" and colon:
        return x509.UniformResourceIdentifier(value)
    if form == "dir" and colon:
        return x509.DirectoryName(name(value))
    return x509.DNSName(value if form == "dns" and colon else text)


def key_usage(*names: str) -> x509.KeyUsage:
    every = (
        "digital_signature content_commitment key_encipherment data_encipherment key_agreement key_cert_sign "
        "crl_sign encipher_only decipher_only"
    )
    return x509.KeyUsage(**{each: each in names for each in every.split()})


CA_USAGE = key_usage("key_cert_sign", "crl_sign")
LEAF_USAGE = key_usage("digital_signature")


class Issuer:
    """A name with a key, which issues. parent: who issued `certificate`; None: itself."""

    def __init__(self, subject: str, kind: str = "p256", parent: Issuer | None = None, number: int = 0, **how: Any):
        self.name = name(subject) if isinstance(subject, str) else subject
        self.key = key(kind, number)
        how = {"is_ca": True, "usage": CA_USAGE, "names": (), "purposes": None} | how
        self.parent = parent or self
        self.certificate = self.parent.issue(subject, private=self.key, **how)

    @property
    def der(self) -> bytes:
        return der(self.certificate)

    def issue(
        self,
        subject: str | x509.Name = "",
        *,
        private: Any = None,
        names: Iterable[str] = ("server.example",),
        is_ca: bool | None = False,
        path_length: int | None = None,
        usage: x509.KeyUsage | None = LEAF_USAGE,
        purposes: Sequence[x509.ObjectIdentifier] | None = (SERVER,),
        permitted: Sequence[str] | None = None,
        excluded: Sequence[str] | None = None,
        begin: datetime.datetime = NOW - DAY,
        end: datetime.datetime = NOW + 30 * DAY,
        algorithm: Any = None,
        padding: Any = None,
        issuer: x509.Name | None = None,
        extra: Iterable[tuple[x509.ExtensionType, bool]] = (),
    ) -> x509.Certificate:
        """A certificate by this issuer. private: the owner's key. extra: further extensions, and whether critical."""
        private = private or key("p256", 100)
        builder = x509.CertificateBuilder(
            issuer or self.name,
            name(subject) if isinstance(subject, str) else subject,
            private.public_key(),
            x509.random_serial_number(),
            begin,
            end,
        )
        extensions: list[tuple[x509.ExtensionType, bool]] = []
        if is_ca is not None:
            extensions.append((x509.BasicConstraints(is_ca, path_length), True))
        if usage is not None:
            extensions.append((usage, True))
        names = [general_name(text) for text in names]
        if names:
            extensions.append((x509.SubjectAlternativeName(names), False))
        if purposes is not None:
            extensions.append((x509.ExtendedKeyUsage(purposes), False))
        if permitted is not None or excluded is not None:
            subtrees = [
                None if some is None else [general_name(text) for text in some] for some in (permitted, excluded)
            ]
            extensions.append((x509.NameConstraints(*subtrees), True))
        for extension, is_critical in [*extensions, *extra]:
            builder = builder.add_extension(extension, is_critical)
        if algorithm is None and not isinstance(self.key, ed25519.Ed25519PrivateKey):
            algorithm = hashes.SHA256()
        if padding is not None:
            return builder.sign(self.key, algorithm, rsa_padding=padding)
        return builder.sign(self.key, algorithm)
