# SPDX-License-Identifier: MIT
"""DER, names, trust stores and identities by themselves; damaged certificates; how much work a chain may make."""

import datetime
import ipaddress
import itertools
import random
import struct

import pytest
from cryptography import x509
from hypothesis import given
from hypothesis import strategies as st

from libos.tls.identity import EmbeddedIdentity
from libos.tls.x509 import names, verify
from libos.tls.x509.certificate import Certificate, public_key, signature_algorithm, time_s
from libos.tls.x509.der import CertificateError, Reader, oid_text
from libos.tls.x509.keys import private_key
from libos.tls.x509.pack import pack, pack_pem
from libos.tls.x509.trust import Trust
from tests.tls.reference_crypto import reference_crypto
from tests.tls.x509 import authority, chains
from tests.tls.x509.authority import NOW_S, Issuer, der, key

CRYPTO = reference_crypto()


def certificate_of(name):
    return chains.CASES[name]().chain[0]


# --- DER ---


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        ("", "missing"),
        ("30", "missing"),
        ("3001", "cut off"),
        ("308100", "longer than it needs"),
        ("30817f", "longer than it needs"),
        ("30820080" + "00" * 128, "longer than it needs"),
        ("3080", "length of 0 octets"),
        ("308400000001", "length of 4 octets"),
        ("3081", "cut off"),
        ("308280", "cut off"),
        ("0400", "tag 0x04 where 0x30"),
    ],
)
def test_sequence_that_is_none(data, reason):
    with pytest.raises(CertificateError, match=reason) as caught:
        Reader(bytes.fromhex(data)).enter(0x30)
    assert caught.value.alert == 42


def test_tag_of_several_octets():
    with pytest.raises(CertificateError, match="several octets"):
        Reader(b"\x1f\x81\x01\0").skip()


@pytest.mark.parametrize("data", ["0200", "02020001", "0202007f", "0202ff80", "0202ffff"])
def test_integer_that_is_not_the_shortest(data):
    with pytest.raises(CertificateError, match="not the shortest"):
        Reader(bytes.fromhex(data)).integer()


def test_integers():
    assert Reader(b"\2\1\0").unsigned() == b"\0"
    assert Reader(b"\2\2\0\x80").unsigned() == b"\x80"
    assert Reader(b"\2\2\x7f\xff").small() == 32767
    for data in (b"\2\1\x80", b"\2\2\xff\0"):
        with pytest.raises(CertificateError, match="negative"):
            Reader(data).unsigned()
    for data in (b"\2\3\0\x80\0", b"\2\3\1\0\0"):
        with pytest.raises(CertificateError, match="too large"):
            Reader(data).small()


def test_booleans():
    assert Reader(b"\1\1\xff").boolean()
    assert not Reader(b"\1\1\0").boolean()
    assert not Reader(b"\2\1\0").boolean()
    for data in (b"\1\1\1", b"\1\0", b"\1\2\xff\xff"):
        with pytest.raises(CertificateError, match="BOOLEAN"):
            Reader(data).boolean()


def test_bit_strings():
    assert Reader(bytes.fromhex("030206c0")).bits() == 3
    assert Reader(bytes.fromhex("0303070080")).bits() == 1 << 8
    assert Reader(bytes.fromhex("03020006")).bits() == 0x60
    for data in ("0300", "030100", "030206c1", "030208ff", "030400010101", "0303070001"):
        with pytest.raises(CertificateError, match="BIT STRING"):
            Reader(bytes.fromhex(data)).bits()
    for data in ("0300", "030201fe"):
        with pytest.raises(CertificateError, match="whole octets"):
            Reader(bytes.fromhex(data)).octets()


def test_object_identifiers():
    for text in ("2.5.29.17", "1.2.840.113549.1.1.11", "0.9.2342", "2.999.1", "1.39.0"):
        encoded = x509.UnrecognizedExtension(x509.ObjectIdentifier(text), b"")
        builder = x509.SubjectAlternativeName([x509.RegisteredID(encoded.oid)]).public_bytes()
        assert oid_text(builder[4:]) == text
    assert oid_text(b"") == ""
    assert oid_text(b"\x80") == "80"
    assert len(oid_text(bytes(range(100)))) == 200


@given(st.binary(max_size=60))
def test_any_octets_are_a_certificate_error(data):
    for read in (Certificate, public_key, signature_algorithm, lambda data: time_s(Reader(data))):
        with pytest.raises(CertificateError):
            read(data)


# --- times ---


@given(st.datetimes(min_value=datetime.datetime(1950, 1, 1)))
def test_times(when):
    when = when.replace(microsecond=0, tzinfo=datetime.UTC)
    generalized = b"\x18\x0f" + when.strftime("%Y%m%d%H%M%SZ").zfill(15).encode()
    assert time_s(Reader(generalized)) == when.timestamp()
    if when.year < 2050:
        assert time_s(Reader(b"\x17\x0d" + when.strftime("%y%m%d%H%M%SZ").encode())) == when.timestamp()


@pytest.mark.parametrize(
    "text",
    [
        "2601010000Z", "260101000000", "260101000000+0000", "26010100000 Z", "261301000000Z", "260001000000Z",
        "260100000000Z", "260132000000Z", "260229000000Z", "260101240000Z", "260101006000Z", "260101000060Z",
        "20260101000000Z", "260101000000.0Z", "-60101000000Z",
    ],
)  # fmt: skip
def test_time_that_is_none(text):
    with pytest.raises(CertificateError, match="a time that"):
        time_s(Reader(bytes([0x17, len(text)]) + text.encode()))


def test_leap_days():
    for year, is_leap in ((1996, True), (2000, True), (2024, True), (2100, False)):
        data = b"\x18\x0f%d0229000000Z" % year
        if is_leap:
            time_s(Reader(data))
        else:
            with pytest.raises(CertificateError, match="a time that there is not"):
                time_s(Reader(data))


# --- certificates that are damaged ---

WHOLE = ["good_leaf_by_root", "good_rsa_pss_sha256", "good_many_names", "good_critical_policies", "good_ed25519"]


def read_all(data):
    """Everything that a verifier may ask of a certificate."""
    certificate = Certificate(data)
    certificate.public_key  # noqa: B018
    certificate.signature_algorithm  # noqa: B018
    certificate.dns_names  # noqa: B018
    certificate.ip_addresses  # noqa: B018
    names.names_of(certificate)
    if certificate.name_constraints is not None:
        names.NameConstraints(certificate.name_constraints, lambda count: None)
    return certificate


@pytest.mark.parametrize("name", WHOLE)
def test_every_truncation(name):
    data = certificate_of(name)
    read_all(data)
    step = 1 if len(data) < 2000 else 7
    for length in range(0, len(data), step):
        with pytest.raises(CertificateError):
            read_all(data[:length])
    with pytest.raises(CertificateError):
        read_all(data + b"\0")


@pytest.mark.parametrize("name", ["good_leaf_by_root", "good_critical_policies", "bad_excluded", "bad_directory"])
def test_every_damaged_bit(name):
    """A certificate with one bit changed is none, or its signature is wrong: never another error, never believed."""
    case = chains.CASES[name]()
    data = case.chain[-1]
    read_all(data)
    verifier = verify.Verifier(CRYPTO, Trust(pack(case.roots)))
    alerts = set()
    for at, bit in itertools.product(range(len(data)), range(8)):
        damaged = bytearray(data)
        damaged[at] ^= 1 << bit
        chain = [*case.chain[:-1], bytes(damaged)]
        with pytest.raises(CertificateError) as caught:
            verifier.verify(chain, NOW_S, "server", case.hostname)
        alerts.add(caught.value.alert)
    assert {42, 43} <= alerts


def test_random_damage():
    """Several octets changed, inserted and removed, also those that lengths are made of."""
    rng = random.Random(1)
    alerts = set()
    data = [chains.CASES[name]().chain[-1] for name in (*WHOLE, "bad_excluded", "bad_mail_excluded", "bad_directory")]
    for _ in range(20000):
        damaged = bytearray(rng.choice(data))
        for _ in range(rng.randrange(1, 5)):
            at = rng.randrange(len(damaged))
            kind = rng.randrange(4)
            if kind == 0:
                damaged[at] = rng.randrange(256)
            elif kind == 1:
                damaged[at] = (damaged[at] + rng.choice([-1, 1])) & 255
            elif kind == 2:
                del damaged[at : at + rng.randrange(1, 9)]
            else:
                damaged[at:at] = rng.randbytes(rng.randrange(1, 5))
        try:
            read_all(bytes(damaged))
        except CertificateError as error:
            alerts.add(error.alert)
    assert alerts == {42, 43}


def test_certificate_of_another_version():
    data = certificate_of("good_leaf_by_root")
    version = bytes.fromhex("a003020102")
    assert data.count(version) == 1
    for number in (0, 3):
        with pytest.raises(CertificateError, match=f"version {number + 1}"):
            Certificate(data.replace(version, version[:-1] + bytes([number])))
    # Version 2 has no extensions.
    with pytest.raises(CertificateError, match="octets after the end"):
        Certificate(data.replace(version, version[:-1] + b"\1"))


def test_second_extension_of_a_kind():
    """`cryptography` makes no such thing: one is renamed into another."""
    extensions = [
        (x509.UnrecognizedExtension(x509.ObjectIdentifier(f"1.2.3.{number}"), b"x"), False) for number in (4, 5)
    ]
    data = der(Issuer("CA").issue(extra=extensions))
    with pytest.raises(CertificateError, match=r"two extensions 1\.2\.3\.4"):
        Certificate(data.replace(b"\6\3\x2a\3\5", b"\6\3\x2a\3\4"))


# --- names ---


@given(st.one_of(st.ip_addresses().map(str), st.text("0123456789abcdef:.", max_size=20)))
def test_addresses_are_what_python_takes_for_such(text):
    try:
        expected = ipaddress.ip_address(text).packed
    except ValueError:
        expected = None
    assert names.parse_ip(text) == expected


@pytest.mark.parametrize(
    "text",
    ["::", "::1", "1::", "1:2:3:4:5:6:7:8", "1:2:3:4:5:6:1.2.3.4", "::1.2.3.4", "1::8", "0.0.0.0", "255.255.255.255",
     "1:2:3:4:5:6:7::", "::2:3:4:5:6:7:8", "1::3:4:5:6:7:8"],
)  # fmt: skip
def test_addresses(text):
    assert names.parse_ip(text) == ipaddress.ip_address(text).packed


@pytest.mark.parametrize(
    "text",
    ["", ":", ":::", "1::2::3", "1:2:3:4:5:6:7", "1:2:3:4:5:6:7:8:9", "::1:2:3:4:5:6:7:8", "12345::", "g::", "1.2.3",
     "1.2.3.4.5", "256.1.1.1", "01.1.1.1", "1.1.1.1 ", "::1.2.3.4:5", "1.2.3.4::", "fe80::1%eth0", "1:", ":1",
     "+1.1.1.1"],
)  # fmt: skip
def test_no_address(text):
    assert names.parse_ip(text) is None


# --- who is trusted ---


def test_trust_store_of_many():
    subjects = [f"root {number}" for number in range(300)]
    # Sums of octets meet: "root 12" and "root 21" are one bucket.
    roots = [Issuer(subject, number=1) for subject in subjects]
    blob = pack([root.der for root in [*roots, roots[5]]])
    trust = Trust(memoryview(blob))
    assert trust.count == 300
    for root in roots:
        (anchor,) = trust.find(root.name.public_bytes())
        assert anchor.key == authority.spki(root.key)
        assert anchor.may_issue
        assert anchor.path_length is None
        assert anchor.name_constraints is None
        assert anchor.not_after_s == NOW_S + 30 * 86400
    assert trust.find(authority.name("root").public_bytes()) == []
    assert trust.find(authority.name("nobody").public_bytes()) == []


def test_trust_store_of_none():
    assert Trust(pack([])).find(b"0\0") == []
    for blob in (b"", b"MPT2\0\0", b"0" * 40):
        with pytest.raises(ValueError, match="no trust store"):
            Trust(blob)


def test_trust_store_of_pem():
    one, two = Issuer("one"), Issuer("two", path_length=3, permitted=["example.com"])
    blob = pack_pem(authority.pem(one.certificate, two.certificate))
    assert blob == pack([two.der, one.der])
    (anchor,) = Trust(blob).find(two.name.public_bytes())
    assert anchor.path_length == 3
    assert Certificate(two.der).name_constraints == anchor.name_constraints
    with pytest.raises(ValueError, match="no certificate"):
        pack_pem(b"nothing")
    weak = der(Issuer("CA").issue(private=chains.UnfitRsa(1024)))
    assert Trust(pack([weak, one.der])).count == 1
    with pytest.raises(CertificateError, match="RSA key of 1024"):
        pack([weak])


def test_verifier_that_trusts_nobody():
    with pytest.raises(ValueError, match="neither"):
        verify.Verifier(CRYPTO, None)
    with pytest.raises(ValueError, match="32 octets"):
        verify.Verifier(CRYPTO, None, [b"short"])


def test_key_that_this_image_cannot_verify_with():
    case = chains.CASES["good_rsa_pkcs1_sha256"]()
    crypto = reference_crypto(without=("rsa",))
    with pytest.raises(CertificateError, match="no code to verify with a rsa key") as caught:
        verify.Verifier(crypto, Trust(pack(case.roots))).verify(case.chain, NOW_S, "server")
    assert caught.value.alert == 43


# --- work ---


class Counting:
    def __init__(self):
        self.count = 0
        self.key_kinds = CRYPTO.key_kinds
        self.sha256 = CRYPTO.sha256

    def verify(self, *args):
        self.count += 1
        return CRYPTO.verify(*args)


@pytest.mark.parametrize("name", ["bad_signature_storm", "bad_many_paths", "bad_circle", "bad_path_of_seven"])
def test_signatures_are_bounded(name):
    case = chains.CASES[name]()
    crypto = Counting()
    with pytest.raises(CertificateError):
        verify.Verifier(crypto, Trust(pack(case.roots))).verify(case.chain, NOW_S, "server")
    assert crypto.count <= verify.MAX_SIGNATURES
    if name == "bad_signature_storm":
        assert crypto.count == verify.MAX_SIGNATURES


def test_signature_of_an_honest_chain_costs_one_check_each():
    case = chains.CASES["good_any_order"]()
    crypto = Counting()
    verify.Verifier(crypto, Trust(pack(case.roots))).verify(case.chain, NOW_S, "server")
    assert crypto.count == 4


# --- identities ---


def identity(names_of, kind, parts, chain):
    items = [kind.encode(), *names_of, *parts, *chain]
    head = b"MPI1" + struct.pack(">HHH", len(names_of), len(parts), len(chain))
    return head + b"".join(struct.pack(">I", len(item)) + item for item in items)


@pytest.mark.parametrize("kind", ["p256", "p384", "rsa", "ed25519"])
def test_embedded_identity(kind):
    leaf = Certificate(der(Issuer("CA").issue(private=key(kind, 3))))
    _, material = private_key(authority.pem_of_key(key(kind, 3)))
    parts = material if kind == "rsa" else [material]
    blob = identity([b"server.example", b"*.x.example"], kind, parts, [bytes(leaf.der), b"other"])
    for data in (blob, memoryview(blob)):
        found = EmbeddedIdentity(CRYPTO, data)
        assert found.chain == [leaf.der, b"other"]
        assert found.names == ["server.example", "*.x.example"]
        assert found.key_kind == found.signer.kind == kind
        assert found.signer.public_key == leaf.public_key
        assert found.is_for("a.x.example")
    for wrong in (b"", b"x" + blob[1:], blob[:-1], blob + b"\0\0\0\0"):
        with pytest.raises(ValueError, match="no identity"):
            EmbeddedIdentity(CRYPTO, wrong)
