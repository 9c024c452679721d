# SPDX-License-Identifier: MIT
"""A certificate authority for these tests: one root, a leaf for each kind of key, one for clients."""

from __future__ import annotations

import datetime
import ipaddress
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

KEY_KINDS = ("p256", "p384", "rsa", "ed25519")
HOST = "server.test"
OTHER_HOST = "other.test"
CLIENT = "a client"
_DAY = datetime.timedelta(days=1)

PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey


@dataclass(frozen=True)
class Identity:
    """A certificate chain and its key, as PEM files."""

    chain: Path
    key: Path


@dataclass(frozen=True)
class Authority:
    """trust: the root; stranger: one who vouches for nobody here.

    servers: by kind of key, for HOST; other: for OTHER_HOST; client: for authentication.
    """

    folder: Path
    trust: Path
    stranger: Path
    servers: dict[str, Identity]
    other: Identity
    client: Identity


def _key(kind: str) -> PrivateKey:
    if kind == "rsa":
        return rsa.generate_private_key(public_exponent=65537, key_size=2048)
    if kind == "ed25519":
        return ed25519.Ed25519PrivateKey.generate()
    return ec.generate_private_key(ec.SECP256R1() if kind == "p256" else ec.SECP384R1())


def _hash(key: PrivateKey) -> hashes.SHA256 | None:
    return None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256()


def _usage(is_authority: bool, kind: str) -> x509.KeyUsage:
    # An RSA key may encipher too: GnuTLS asks for it where no ephemeral key is used, others do not care.
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=kind == "rsa" and not is_authority,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=is_authority,
        crl_sign=is_authority,
        encipher_only=False,
        decipher_only=False,
    )


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _builder(subject: str, issuer: str, key: PrivateKey, is_authority: bool, kind: str) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(_name(subject))
        .issuer_name(_name(issuer))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _DAY)
        .not_valid_after(now + 90 * _DAY)
        .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
        .add_extension(_usage(is_authority, kind), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _crl() -> x509.DistributionPoint:
    where = x509.UniformResourceIdentifier("http://crl.invalid/interop.crl")
    return x509.DistributionPoint([where], None, None, None)


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


class _Maker:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.root_key, self.middle_key = _key("p256"), _key("p256")
        self.root = (
            _builder("mirage interop root", "mirage interop root", self.root_key, True, "p256")
            .sign(self.root_key, hashes.SHA256())
        )  # fmt: skip
        self.middle = (
            _builder("mirage interop middle", "mirage interop root", self.middle_key, True, "p256")
            .add_extension(self._authority_id(self.root_key), critical=False)
            .sign(self.root_key, hashes.SHA256())
        )
        self.trust = folder / "ca.pem"
        self.trust.write_bytes(_pem(self.root))

    @staticmethod
    def _authority_id(key: PrivateKey) -> x509.AuthorityKeyIdentifier:
        return x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key())

    def leaf(self, name: str, subject: str, kind: str, purpose: x509.ObjectIdentifier, *hosts: str) -> Identity:
        """A leaf under the intermediate authority, with that one in its chain."""
        key = _key(kind)
        builder = (
            _builder(subject, "mirage interop middle", key, False, kind)
            .add_extension(self._authority_id(self.middle_key), critical=False)
            .add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
            # Nobody asks there; testssl.sh wants to see one.
            .add_extension(x509.CRLDistributionPoints([_crl()]), critical=False)
        )
        if hosts:
            names: list[x509.GeneralName] = [x509.DNSName(host) for host in hosts]
            names += [x509.IPAddress(ipaddress.ip_address(ip)) for ip in ("127.0.0.1", "10.98.1.1", "10.98.1.2")]
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        certificate = builder.sign(self.middle_key, _hash(self.middle_key))
        made = Identity(self.folder / f"{name}.pem", self.folder / f"{name}.key")
        made.chain.write_bytes(_pem(certificate) + _pem(self.middle))
        made.key.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        # nginx's workers are nobody's.
        made.key.chmod(0o644)
        return made


def make(folder: Path) -> Authority:
    """A new authority, its files in `folder`."""
    stranger = folder / "stranger"
    stranger.mkdir()
    _Maker(stranger)
    maker = _Maker(folder)
    server = ExtendedKeyUsageOID.SERVER_AUTH
    return Authority(
        folder,
        maker.trust,
        stranger / "ca.pem",
        {kind: maker.leaf(f"server-{kind}", HOST, kind, server, HOST) for kind in KEY_KINDS},
        maker.leaf("server-other", OTHER_HOST, "p256", server, OTHER_HOST, f"*.{OTHER_HOST}"),
        maker.leaf("client", CLIENT, "p256", ExtendedKeyUsageOID.CLIENT_AUTH),
    )
