# SPDX-License-Identifier: MIT
"""Private keys in every form that there is, and credentials made of files."""

import base64

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from libos.tls.credential import Credential
from libos.tls.x509 import pem
from libos.tls.x509.certificate import Certificate
from libos.tls.x509.keys import private_key
from tests.tls.x509 import authority
from tests.tls.x509.authority import Issuer, key, pem_of_key

KINDS = ["p256", "p384", "rsa", "rsa3072", "ed25519"]


def octets(number):
    return number.to_bytes((number.bit_length() + 7) // 8, "big")


def expected(private):
    if isinstance(private, ec.EllipticCurvePrivateKey):
        size = private.curve.key_size // 8
        return f"p{private.curve.key_size}", private.private_numbers().private_value.to_bytes(size, "big")
    if isinstance(private, rsa.RSAPrivateKey):
        it = private.private_numbers()
        public = it.public_numbers
        return "rsa", tuple(map(octets, (public.n, public.e, it.d, it.p, it.q, it.dmp1, it.dmq1, it.iqmp)))
    return "ed25519", private.private_bytes_raw()


class Signer:
    def __init__(self, kind, material):
        self.kind = kind
        self.material = material
        if kind == "rsa":
            self.public_key = kind, material[0], int.from_bytes(material[1], "big")
        else:
            size = 32 if kind == "p256" else 48
            curve = ec.SECP256R1() if kind == "p256" else ec.SECP384R1()
            numbers = ec.derive_private_key(int.from_bytes(material, "big"), curve).public_key().public_numbers()
            self.public_key = kind, b"\4" + numbers.x.to_bytes(size, "big") + numbers.y.to_bytes(size, "big")


class Crypto:
    """Of libos.tls.crypto.Crypto what a credential asks for."""

    signer = Signer


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("encoding", ["PEM", "DER"])
@pytest.mark.parametrize("form", ["pkcs8", "traditional"])
def test_key_in_each_form(kind, encoding, form):
    if kind == "ed25519" and form == "traditional":
        form = "pkcs8"
    private = key(kind)
    data = pem_of_key(private, form, encoding)
    assert private_key(data) == expected(private)
    assert private_key(memoryview(data)) == expected(private)


def test_key_as_text_among_other_blocks():
    certificate = Issuer("CA").certificate
    parameters = b"-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n"
    text = (b"Subject: me\r\n" + authority.pem(certificate) + parameters + pem_of_key(key())).decode()
    assert private_key(text) == expected(key())
    assert private_key(text.replace("\n", "\r\n")) == expected(key())


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "malformed"),
        (b"hello", "malformed"),
        (b"-----BEGIN PRIVATE KEY-----\nAAAA\n", "has no end"),
        (b"-----BEGIN PRIVATE KEY-----\nAA!A\n-----END PRIVATE KEY-----", "not base64"),
        (b"-----BEGIN PRIVATE KEY-----\nAAA\n-----END PRIVATE KEY-----", "cut off"),
        (b"-----BEGIN PRIVATE KEY-----\n-----END PRIVATE KEY-----", "cut off"),
        (b"-----BEGIN PRIVATE KEY-----\nA===\n-----END PRIVATE KEY-----", "cut off"),
        (b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END EC PRIVATE KEY-----", "where nothing such began"),
        (b"-----END PRIVATE KEY-----", "malformed"),
        (b"-----BEGIN X-----\n-----BEGIN Y-----\n", "before the end of X"),
        (pem_of_key(key()) * 2, "2 private keys"),
        (authority.pem(Issuer("CA").certificate), "0 private keys"),
        (pem_of_key(key(), password=b"secret"), "is encrypted"),
        (pem_of_key(key(), "traditional", password=b"secret"), "encrypted"),
        (pem_of_key(key("p521")), "curve that is not supported"),
        (pem_of_key(key("p521"), "traditional"), "curve that is not supported"),
        (pem_of_key(key("rsa1024")), "RSA key of 1024 bits"),
    ],
    ids=range(17),
)
def test_key_that_is_none(data, reason):
    with pytest.raises(ValueError, match=reason) as caught:
        private_key(data)
    assert "\n" not in str(caught.value)


def test_ec_key_out_of_range():
    data = pem_of_key(key(), "traditional", "DER")
    scalar = expected(key())[1]
    for wrong in (bytes(32), b"\xff" * 32):
        with pytest.raises(ValueError, match="out of range"):
            private_key(data.replace(scalar, wrong))


def test_rsa_key_whose_parts_do_not_fit():
    material = expected(key("rsa"))[1]
    data = pem_of_key(key("rsa"), "traditional", "DER")
    wrong = bytes([material[3][0], *material[3][1:-1], material[3][-1] ^ 2])
    with pytest.raises(ValueError, match="do not fit together"):
        private_key(data.replace(material[3], wrong))


@pytest.mark.parametrize("kind", KINDS)
def test_key_damaged_or_cut_off_is_a_value_error(kind):
    """Whatever happens to the octets: a key or a ValueError."""
    data = pem_of_key(key(kind), "pkcs8", "DER")
    for length in range(len(data)):
        with pytest.raises(ValueError, match=r"."):
            private_key(data[:length])
    for at in range(len(data)):
        for bit in range(8):
            damaged = bytearray(data)
            damaged[at] ^= 1 << bit
            try:
                found, _ = private_key(bytes(damaged))
            except ValueError:
                continue
            assert found in ("p256", "p384", "rsa", "ed25519")


def test_pem_without_blocks():
    assert pem.decode("nothing\nhere") == []


def test_pem_decodes_what_base64_says():
    for length in range(1, 70):
        data = bytes(range(length))
        text = base64.encodebytes(data)
        assert pem.decode(b"-----BEGIN X Y-----\n" + text + b"-----END X Y-----") == [("X Y", data)]


def test_credential_of_pem():
    ca = Issuer("CA")
    leaf = ca.issue(names=["Www.Example", "*.some.example", "ip:127.0.0.1"], private=key("p384", 5))
    chain = authority.pem(leaf, ca.certificate)
    credential = Credential.of_pem(Crypto(), chain, pem_of_key(key("p384", 5)))
    assert credential.chain == [authority.der(leaf), ca.der]
    assert credential.key_kind == credential.signer.kind == "p384"
    assert credential.names == ["www.example", "*.some.example"]
    for name, is_ours in [
        ("www.example", True), ("WWW.example", True), ("a.some.example", True), ("a.b.some.example", False),
        ("some.example", False), (".some.example", False), ("example", False), ("", False), ("*.some.example", True),
    ]:  # fmt: skip
        assert credential.is_for(name) == is_ours, name


def test_credential_of_one_file():
    leaf = Issuer("CA").issue(private=key("rsa", 5))
    both = authority.pem(leaf) + pem_of_key(key("rsa", 5), "traditional")
    assert Credential.of_pem(Crypto(), both, both).key_kind == "rsa"


def test_credential_that_does_not_fit():
    leaf = authority.pem(Issuer("CA").issue(private=key("p256", 5)))
    with pytest.raises(ValueError, match="private key is not the certificate's"):
        Credential.of_pem(Crypto(), leaf, pem_of_key(key("p256", 6)))
    with pytest.raises(ValueError, match="for a key of kind p256, and the private key is rsa"):
        Credential.of_pem(Crypto(), leaf, pem_of_key(key("rsa")))
    with pytest.raises(ValueError, match="no certificate"):
        Credential.of_pem(Crypto(), pem_of_key(key()), pem_of_key(key()))


def test_certificate_that_is_good():
    ca = Issuer("CA", kind="rsa")
    leaf = ca.issue(
        "subject",
        names=["server.example", "*.Some.example", "ip:10.0.0.1", "ip:fd00::1"],
        purposes=[authority.SERVER, authority.CLIENT],
    )
    certificate = Certificate(memoryview(authority.der(leaf)))
    assert certificate.version == 3
    assert int.from_bytes(certificate.serial, "big") == leaf.serial_number  # DER has a zero before a high bit
    assert certificate.subject == leaf.subject.public_bytes()
    assert certificate.issuer == ca.name.public_bytes()
    assert certificate.not_before_s == authority.NOW_S - 86400
    assert certificate.not_after_s == authority.NOW_S + 30 * 86400
    assert certificate.dns_names == ["server.example", "*.some.example"]
    assert certificate.ip_addresses == [b"\x0a\0\0\1", b"\xfd" + bytes(14) + b"\1"]
    assert certificate.public_key == Signer(*expected(key("p256", 100))).public_key
    assert certificate.signature_algorithm == "rsa_pkcs1_sha256"
    assert bytes(certificate.signed) == leaf.tbs_certificate_bytes
    assert certificate.signature == leaf.signature
    assert not certificate.is_ca
    assert certificate.unknown is None
    assert len(certificate.purposes) == 2
