# SPDX-License-Identifier: MIT
"""What of certificates goes into an image: an identity with its key, and a trust store.

Formats: libos/tls/identity.py and libos/tls/x509/trust.py in the guest, whose pack.py makes the latter too.
"""

from __future__ import annotations

import datetime
import re
import struct
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.utils import CryptographyDeprecationWarning

from mirage_py.configure.tls import certificates
from mirage_py.configure.tls.certificates import Identity
from mirage_py.support.errors import UserError

# Where systems keep the authorities that they trust, one file each.
SYSTEM_STORES = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
)
_BLOCK = re.compile(rb"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", re.DOTALL)
_SPKI = (serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def pack_identity(identity: Identity) -> bytes:
    """For libos.tls.identity.EmbeddedIdentity."""
    hosts = [name.encode() for name in certificates.names_of(identity.leaf) if not certificates.is_ip(name)]
    material = certificates.key_material(identity.key)
    chain = [certificates.der(one) for one in identity.chain]
    items = [identity.kind.encode(), *hosts, *material, *chain]
    head = b"MPI1" + struct.pack(">HHH", len(hosts), len(material), len(chain))
    return head + b"".join(struct.pack(">I", len(item)) + item for item in items)


@dataclass(frozen=True)
class TrustStore:
    """blob: for libos.tls.x509.trust.Trust. kinds: of keys that are in it. left_out: a line for each that is not."""

    blob: bytes
    count: int
    kinds: frozenset[str]
    left_out: tuple[str, ...] = ()


def system_store(paths: Iterable[str] = SYSTEM_STORES) -> Path:
    """The file with this machine's trusted authorities. Raises UserError when there is none."""
    for text in paths:
        if Path(text).is_file():
            return Path(text)
    raise UserError(
        "this computer has no trust store", 'install the package ca-certificates, or name a file with trust="ca.pem"'
    )


def read_trust(path: Path, when: datetime.datetime | None = None) -> TrustStore:
    """The trust store of all certificates in a PEM file. Raises UserError when none of them can be trusted."""
    data = certificates.read_file(path, "certificate")
    blocks = _BLOCK.findall(data)
    if not blocks:
        raise UserError(f"{path} has no certificate in PEM", "name a file of authorities' certificates")
    found, damaged = [], []
    for number, block in enumerate(blocks, 1):
        try:
            with warnings.catch_warnings():
                # A serial number of zero, as an authority in Debian's store has it, is that authority's fault.
                warnings.simplefilter("ignore", CryptographyDeprecationWarning)
                found.append(x509.load_pem_x509_certificate(block))
        except ValueError as error:
            damaged.append(f"certificate number {number}: {error}")
    store = pack_trust(found, when, damaged)
    if not store.count:
        raise UserError(
            f"{path}: no certificate in it can be trusted: {store.left_out[0]}",
            "name a file with authorities that hold",
        )
    return store


def pack_trust(
    found: Iterable[x509.Certificate], when: datetime.datetime | None = None, damaged: Iterable[str] = ()
) -> TrustStore:
    """Those that have expired, or that an image could not verify with, are left out. damaged: lines of left_out."""
    when = when or certificates.now()
    anchors: set[tuple[int, bytes]] = set()
    kinds: set[str] = set()
    left_out = list(damaged)
    for certificate in found:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", CryptographyDeprecationWarning)
                kind = _usable_kind(certificate, when)
                anchor = _anchor(certificate)
        except (UserError, ValueError) as error:
            left_out.append(f"{certificates.title(certificate)}: {getattr(error, 'cause', error)}")
            continue
        anchors.add(anchor)
        kinds.add(kind)
    records = sorted(anchors)
    at = 6 + 6 * len(records)
    blob = bytearray(b"MPT1" + struct.pack(">H", len(records)))
    for key, record in records:
        blob += struct.pack(">HI", key, at)
        at += len(record)
    for _, record in records:
        blob += record
    return TrustStore(bytes(blob), len(records), frozenset(kinds), tuple(left_out))


def _usable_kind(certificate: x509.Certificate, when: datetime.datetime) -> str:
    ends = certificate.not_valid_after_utc
    if when > ends:
        raise UserError(f"has expired on {certificates.day(ends)}", "")
    try:
        key = certificate.public_key()
    except (ValueError, UnsupportedAlgorithm) as error:
        raise UserError("has a key that is not supported", "") from error
    if isinstance(key, rsa.RSAPublicKey):
        low, high = certificates.RSA_BITS
        if not low <= key.key_size <= high:
            raise UserError(f"has an RSA key of {key.key_size} bits", "")
        return "rsa"
    if isinstance(key, ed25519.Ed25519PublicKey):
        return "ed25519"
    if isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP256R1 | ec.SECP384R1):
        return f"p{key.curve.key_size}"
    raise UserError("has a key that is not supported", "")


def _anchor(certificate: x509.Certificate) -> tuple[int, bytes]:
    """(the index's key, the record)."""
    subject = certificate.subject.public_bytes()
    path_length, constraints = 255, b""
    is_old = certificate.version is x509.Version.v1 and certificate.subject == certificate.issuer
    may_issue = certificates.is_authority(certificate) or is_old
    for extension in certificate.extensions:
        if isinstance(extension.value, x509.BasicConstraints) and extension.value.path_length is not None:
            path_length = min(extension.value.path_length, 254)
        elif isinstance(extension.value, x509.KeyUsage) and not extension.value.key_cert_sign:
            may_issue = False
        elif isinstance(extension.value, x509.NameConstraints):
            constraints = extension.value.public_bytes()
    key = certificate.public_key().public_bytes(*_SPKI) if may_issue else certificates.der(certificate)
    not_after_s = max(0, int(certificate.not_valid_after_utc.timestamp()))
    head = struct.pack(
        ">BBQHHH", may_issue, path_length, not_after_s, len(subject), len(key), len(constraints)
    )  # fmt: skip
    return sum(subject) & 0xFFFF, head + subject + key + constraints
