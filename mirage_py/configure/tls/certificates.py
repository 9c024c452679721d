# SPDX-License-Identifier: MIT
"""Certificates and keys: read from files and looked at, or made. `cryptography` (PyPI) does the work.

Whatever is wrong is a UserError of one line. A private key's octets are in no message.
"""

from __future__ import annotations

import datetime
import ipaddress
import itertools
import re
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from mirage_py.support.errors import UserError

PrivateKey = ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | rsa.RSAPrivateKey
KEY_KINDS = ("p256", "p384", "rsa", "ed25519")
# BearSSL's most, and the least that clients take.
RSA_BITS = (2048, 4096)
MAX_CERTIFICATES = 16
MAX_CHAIN_BYTES = 60_000
_WEAK_HASHES = ("md5", "sha1")
_DAY = datetime.timedelta(days=1)
_LABEL = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)")
_USED_DAYS = 14
_MAX_FILE_BYTES = 8 << 20


def now() -> datetime.datetime:
    """The time, to the second, in UTC."""
    return datetime.datetime.now(datetime.UTC).replace(microsecond=0)


def day(when: datetime.datetime) -> str:
    """A date for people: 2026-03-01."""
    return when.strftime("%Y-%m-%d")


@dataclass(frozen=True)
class Identity:
    """Who one side is. chain: the own certificate, then who issued it. key: the own certificate's."""

    chain: tuple[x509.Certificate, ...]
    key: PrivateKey

    @property
    def leaf(self) -> x509.Certificate:
        return self.chain[0]

    @property
    def kind(self) -> str:
        return key_kind(self.leaf)

    @property
    def ends(self) -> datetime.datetime:
        """Until when the chain holds."""
        return min(certificate.not_valid_after_utc for certificate in self.chain)


# --- reading ---


def read_file(path: Path, what: str) -> bytes:
    """Raises UserError when there is no such file."""
    try:
        # A pipe would wait for ever, and no certificate is that large.
        if path.exists() and (not path.is_file() or path.stat().st_size > _MAX_FILE_BYTES):
            raise UserError(f"the {what} {path} is no file, or far too large for one", "name a PEM file")
        return path.read_bytes()
    except FileNotFoundError:
        raise UserError(f"there is no {what} {path}", "correct the name, or make it with `mirage-py cert`") from None
    except OSError as error:
        raise UserError(f"the {what} {path} cannot be read: {error.strerror}", "name a file that can") from error


def read_chain(path: Path) -> tuple[x509.Certificate, ...]:
    """All certificates in a PEM file, at least one. Raises UserError."""
    data = read_file(path, "certificate")
    try:
        chain = x509.load_pem_x509_certificates(data)
    except ValueError as error:
        if b"-----BEGIN CERTIFICATE-----" in data:
            raise UserError(f"{path}: a certificate in it is damaged", "get it anew from who issued it") from error
        raise UserError(f"{path} has no certificate in PEM", "name the file that begins a certificate") from error
    return tuple(chain)


def read_key(path: Path) -> PrivateKey:
    """The private key in a PEM file. Raises UserError."""
    data = read_file(path, "private key")
    if b"ENCRYPTED" in data:
        raise UserError(
            f"the private key in {path} is encrypted, and an image starts without anybody who knows the password",
            f"write it without one: openssl pkey -in {path.name} -out plain.key",
        )
    try:
        return _supported(serialization.load_pem_private_key(data, None), str(path))
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise UserError(f"{path} has no private key in PEM", "name the file that begins a PRIVATE KEY") from error


def _supported(key: object, where: str) -> PrivateKey:
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return key
    if isinstance(key, ec.EllipticCurvePrivateKey) and isinstance(key.curve, ec.SECP256R1 | ec.SECP384R1):
        return key
    if isinstance(key, rsa.RSAPrivateKey):
        if not RSA_BITS[0] <= key.key_size <= RSA_BITS[1]:
            raise UserError(
                f"{where}: an RSA key of {key.key_size} bits",
                f"use one of {RSA_BITS[0]} to {RSA_BITS[1]} bits, or better P-256",
            )
        return key
    raise UserError(f"{where}: a private key of a kind that is not supported", "use P-256, P-384, RSA or Ed25519")


def key_kind(certificate: x509.Certificate) -> str:
    """ "p256", "p384", "rsa" or "ed25519". Raises UserError for anything else."""
    try:
        key = certificate.public_key()
    except (ValueError, UnsupportedAlgorithm):
        key = None
    if isinstance(key, ed25519.Ed25519PublicKey):
        return "ed25519"
    if isinstance(key, rsa.RSAPublicKey):
        return "rsa"
    if isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP256R1 | ec.SECP384R1):
        return f"p{key.curve.key_size}"
    raise UserError(
        f"the certificate for {title(certificate)} has a key of a kind that is not supported",
        "use P-256, P-384, RSA or Ed25519",
    )


def kind_of_key(key: PrivateKey) -> str:
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return "ed25519"
    return "rsa" if isinstance(key, rsa.RSAPrivateKey) else f"p{key.curve.key_size}"


def title(certificate: x509.Certificate) -> str:
    """What messages call a certificate: its first host, else its subject."""
    names = names_of(certificate)
    return names[0] if names else _name(certificate.subject)


def issuer_title(certificate: x509.Certificate) -> str:
    """What messages call who issued it."""
    return "itself" if certificate.issuer == certificate.subject else _name(certificate.issuer)


def _name(name: x509.Name) -> str:
    common = name.get_attributes_for_oid(NameOID.COMMON_NAME)
    text = str(common[0].value) if common else name.rfc4514_string() or "nobody"
    return re.sub(r"[^ -~]", "?", text)[:80]


def names_of(certificate: x509.Certificate) -> list[str]:
    """Host names and addresses of subjectAltName, as people write them."""
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, ValueError):
        return []
    hosts = [name.lower() for name in names.get_values_for_type(x509.DNSName)]
    return [*hosts, *(str(ip) for ip in names.get_values_for_type(x509.IPAddress))]


def is_authority(certificate: x509.Certificate) -> bool:
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except (x509.ExtensionNotFound, ValueError):
        return False


def has_issued(issuer: x509.Certificate, certificate: x509.Certificate) -> bool:
    """Whether names and signature say that `issuer` has issued `certificate`."""
    try:
        certificate.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False
    return True


# --- looking ---


def read_identity(
    certificate: Path, key: Path, purpose: str = "server", when: datetime.datetime | None = None
) -> Identity:
    """A chain and its key, from files that fit together and can be used for `purpose`, "server" or "client", now.

    Raises UserError for what a peer would refuse: a wrong order, another certificate's key, dates, weak signatures,
    no names.
    """
    chain, private = read_chain(certificate), read_key(key)
    identity = Identity(chain, private)
    _check_fit(identity, certificate, key)
    for one in chain:
        _check_one(one, certificate, when or now())
    _check_chain(chain, certificate)
    _check_purpose(chain[0], certificate, purpose)
    return identity


def _check_fit(identity: Identity, certificate: Path, key: Path) -> None:
    wanted = public_octets(identity.key)
    if spki(identity.leaf) == wanted:
        return
    places = [place for place, one in enumerate(identity.chain, 1) if spki(one) == wanted]
    if places:
        raise UserError(
            f"{certificate}: the certificates are in a wrong order: the one that {key.name} belongs to is number "
            f"{places[0]}",
            "put it first, and then who issued it",
        )
    raise UserError(
        f"the private key in {key} is not that of the certificate in {certificate}", "give the two that belong together"
    )


def _check_one(certificate: x509.Certificate, path: Path, when: datetime.datetime) -> None:
    begins, ends = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    if when > ends:
        raise UserError(f"{path}: the certificate for {title(certificate)} has expired on {day(ends)}", "renew it")
    if when < begins:
        raise UserError(
            f"{path}: the certificate for {title(certificate)} is not valid before {begins:%Y-%m-%d %H:%M} UTC",
            "wait for that, or set this computer's clock",
        )
    try:
        algorithm = certificate.signature_hash_algorithm
        certificate.extensions  # noqa: B018 - malformed ones are found when they are asked for
    except UnsupportedAlgorithm:
        algorithm = None
    except ValueError as error:
        raise UserError(
            f"{path}: the certificate for {title(certificate)} is malformed", "have it issued anew"
        ) from error
    if algorithm is not None and algorithm.name in _WEAK_HASHES and certificate.issuer != certificate.subject:
        raise UserError(
            f"{path}: the certificate for {title(certificate)} is signed with {algorithm.name.upper()}: too weak",
            "have it issued anew",
        )
    key = certificate.public_key()
    if isinstance(key, rsa.RSAPublicKey) and key.key_size < RSA_BITS[0]:
        raise UserError(
            f"{path}: the certificate for {title(certificate)} has an RSA key of {key.key_size} bits: too weak",
            f"use {RSA_BITS[0]} bits or more, or better P-256",
        )


def _check_chain(chain: Sequence[x509.Certificate], path: Path) -> None:
    if len(chain) > MAX_CERTIFICATES or sum(len(der(one)) for one in chain) > MAX_CHAIN_BYTES:
        raise UserError(f"{path} has {len(chain)} certificates: that is no chain", "leave those out that are not of it")
    for number, (one, issuer) in enumerate(itertools.pairwise(chain), 1):
        if not has_issued(issuer, one):
            later = any(has_issued(other, one) for other in chain)
            what = "are in a wrong order" if later else "do not belong together"
            raise UserError(
                f"{path}: the certificates {what}: number {number + 1} has not issued number {number}",
                "put the own certificate first, and then who issued the one before",
            )
        if not is_authority(issuer):
            raise UserError(
                f"{path}: certificate number {number + 1}, {title(issuer)}, is no authority's", "leave it out"
            )


def _check_purpose(leaf: x509.Certificate, path: Path, purpose: str) -> None:
    wanted = ExtendedKeyUsageOID.SERVER_AUTH if purpose == "server" else ExtendedKeyUsageOID.CLIENT_AUTH
    try:
        purposes = list(leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value)
    except x509.ExtensionNotFound:
        purposes = [wanted]
    if wanted not in purposes and ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE not in purposes:
        raise UserError(
            f"{path}: the certificate for {title(leaf)} is not for a TLS {purpose}", "have one issued that is"
        )
    try:
        may_sign = leaf.extensions.get_extension_for_class(x509.KeyUsage).value.digital_signature
    except x509.ExtensionNotFound:
        may_sign = True
    if not may_sign:
        raise UserError(
            f"{path}: the key of the certificate for {title(leaf)} may not sign",
            "have one issued with digitalSignature",
        )
    if purpose == "server" and not names_of(leaf):
        raise UserError(
            f"{path}: the certificate names no host: clients look for names in subjectAltName only",
            "have one issued with the host's name there",
        )


def is_for(certificate: x509.Certificate, host: str) -> bool:
    """Whether it names `host`, a host name or an address; exactly, or a host name by a wildcard."""
    names = names_of(certificate)
    host = host.lower()
    return host in names or (not is_ip(host) and "*." + host.partition(".")[2] in names)


# --- making ---


def check_names(names: Iterable[str]) -> tuple[str, ...]:
    """Host names in lower case and addresses, each once. Raises UserError for one that a certificate cannot have."""
    found: dict[str, None] = {}
    for name in names:
        if is_ip(name):
            found[str(ipaddress.ip_address(name))] = None
            continue
        text = name.lower()
        labels = text.removeprefix("*.").split(".")
        # A name that ends in a number is an address with a slip of the pen: no client looks for it as a name.
        is_name = all(_LABEL.fullmatch(label) for label in labels) and not labels[-1].isdigit()
        if len(text) > 253 or not is_name or not text.isascii():
            raise UserError(
                f"{name!r} is not a host name or an address",
                "give one such as www.example.org, *.example.org or 10.0.0.2",
            )
        if text.startswith("*.") and len(labels) < 2:
            raise UserError(f"{name!r} is for all of a registry: no client takes that", "name a domain below it")
        found[text] = None
    if not found:
        raise UserError("a certificate without a name", "name at least one host")
    return tuple(found)


def make_key(kind: str = "p256") -> PrivateKey:
    """A new private key. kind: of KEY_KINDS; "rsa" has 3072 bits."""
    if kind == "rsa":
        return rsa.generate_private_key(65537, 3072)
    if kind == "ed25519":
        return ed25519.Ed25519PrivateKey.generate()
    return ec.generate_private_key(ec.SECP384R1() if kind == "p384" else ec.SECP256R1())


# What a development authority may name: this machine and networks that are nobody's on the internet, so that a stolen
# key of it is no danger to whoever trusts it.
LOCAL_DOMAINS = ("localhost", "local", "test", "example", "internal", "home.arpa", "lan")
LOCAL_NETWORKS = (
    "127.0.0.0/8", "::1/128", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16", "100.64.0.0/10",
    "192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24", "fc00::/7", "fe80::/10", "2001:db8::/32",
)  # fmt: skip


def make_authority(
    name: str, kind: str = "p256", days: int = 3650, domains: Iterable[str] = (), when: datetime.datetime | None = None
) -> Identity:
    """A certificate authority of its own, which may name hosts of LOCAL_DOMAINS, LOCAL_NETWORKS and `domains` only.

    domains: host names and addresses, as check_names gives them.
    """
    key = make_key(kind)
    when = when or now()
    # Two of one name would confuse those who trust both.
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"{name} {secrets.token_hex(3)}")])
    hosts = [*LOCAL_DOMAINS, *(text.removeprefix("*.") for text in domains if not is_ip(text))]
    networks = [*LOCAL_NETWORKS, *(text for text in domains if is_ip(text))]
    permitted: list[x509.GeneralName] = [x509.DNSName(text) for text in dict.fromkeys(hosts)]
    permitted += [x509.IPAddress(ipaddress.ip_network(text)) for text in networks]
    builder = _builder(subject, subject, key, when, days)
    builder = builder.add_extension(x509.BasicConstraints(True, 0), True)
    builder = builder.add_extension(_usage(key_cert_sign=True, crl_sign=True), True)
    builder = builder.add_extension(x509.NameConstraints(permitted, None), True)
    builder = builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)
    return Identity((_signed(builder, key),), key)


def make_leaf(
    authority: Identity,
    names: Sequence[str],
    kind: str = "p256",
    days: int = 90,
    *,
    client: bool = False,
    key: PrivateKey | None = None,
    when: datetime.datetime | None = None,
) -> Identity:
    """A certificate for `names` (of check_names) by an authority, with a new key unless given; the chain has it alone.

    client: for a TLS client; the names are its own then. It never outlives the authority.
    """
    key = key or make_key(kind)
    when = when or now()
    ca = authority.leaf
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0][:64])])
    general: list[x509.GeneralName] = [
        x509.IPAddress(ipaddress.ip_address(text)) if is_ip(text) else x509.DNSName(text) for text in names
    ]
    builder = _builder(subject, ca.subject, key, when, days, ca.not_valid_after_utc)
    builder = builder.add_extension(x509.BasicConstraints(False, None), True)
    builder = builder.add_extension(_usage(digital_signature=True), True)
    purpose = ExtendedKeyUsageOID.CLIENT_AUTH if client else ExtendedKeyUsageOID.SERVER_AUTH
    builder = builder.add_extension(x509.ExtendedKeyUsage([purpose]), False)
    builder = builder.add_extension(x509.SubjectAlternativeName(general), False)
    builder = builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)
    issuer_key = authority.key.public_key()
    builder = builder.add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key), False)
    return Identity((_signed(builder, authority.key),), key)


def permits(authority: x509.Certificate, name: str) -> bool:
    """Whether an authority's name constraints, as `make_authority` makes them, allow a host name or an address."""
    try:
        permitted = authority.extensions.get_extension_for_class(x509.NameConstraints).value.permitted_subtrees or []
    except x509.ExtensionNotFound:
        return True
    for base in permitted:
        if isinstance(base, x509.DNSName) and not is_ip(name):
            host = name.removeprefix("*.")
            if host == base.value or host.endswith("." + base.value):
                return True
        elif isinstance(base, x509.IPAddress) and is_ip(name):
            network, address = base.value, ipaddress.ip_address(name)
            if isinstance(network, ipaddress.IPv4Network | ipaddress.IPv6Network) and address in network:
                return True
    return False


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: PrivateKey,
    when: datetime.datetime,
    days: int,
    latest: datetime.datetime | None = None,
) -> x509.CertificateBuilder:
    # An hour back: clocks differ, and a guest's is the host's.
    ends = when + days * _DAY
    if latest is not None:
        ends = min(ends, latest)
    begins = when - datetime.timedelta(hours=1)
    number = x509.random_serial_number()
    return x509.CertificateBuilder(issuer, subject, key.public_key(), number, begins, ends)


def _usage(**set_bits: bool) -> x509.KeyUsage:
    every = (
        "digital_signature content_commitment key_encipherment data_encipherment key_agreement key_cert_sign "
        "crl_sign encipher_only decipher_only"
    )
    return x509.KeyUsage(**{name: set_bits.get(name, False) for name in every.split()})


def _signed(builder: x509.CertificateBuilder, key: PrivateKey) -> x509.Certificate:
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return builder.sign(key, None)
    is_p384 = isinstance(key, ec.EllipticCurvePrivateKey) and key.key_size == 384
    return builder.sign(key, hashes.SHA384() if is_p384 else hashes.SHA256())


# --- as octets ---


def der(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.DER)


def pem(certificates: Iterable[x509.Certificate]) -> str:
    return "".join(one.public_bytes(serialization.Encoding.PEM).decode() for one in certificates)


def key_pem(key: PrivateKey) -> str:
    """PKCS#8, without a password."""
    cover = serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, cover).decode()


def spki(certificate: x509.Certificate) -> bytes:
    """SubjectPublicKeyInfo in DER, as it is in the certificate."""
    return certificate.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def public_octets(key: PrivateKey) -> bytes:
    return key.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def key_material(key: PrivateKey) -> tuple[bytes, ...]:
    """What crypto.signer takes: the scalar, the seed, or n, e, d, p, q, dp, dq, qi of RSA."""
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return (key.private_bytes_raw(),)
    if isinstance(key, ec.EllipticCurvePrivateKey):
        return (key.private_numbers().private_value.to_bytes(key.key_size // 8, "big"),)
    it = key.private_numbers()
    public = it.public_numbers
    numbers = (public.n, public.e, it.d, it.p, it.q, it.dmp1, it.dmq1, it.iqmp)
    return tuple(number.to_bytes((number.bit_length() + 7) // 8, "big") for number in numbers)


def expires_soon(identity: Identity, when: datetime.datetime | None = None) -> bool:
    """Whether less than two weeks are left, or a third of its time if that is shorter."""
    leaf = identity.leaf
    third = (leaf.not_valid_after_utc - leaf.not_valid_before_utc) / 3
    return identity.ends - (when or now()) < min(third, _USED_DAYS * _DAY)


def is_ip(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return "%" not in text
