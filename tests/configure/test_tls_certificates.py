# SPDX-License-Identifier: MIT
"""Certificates that a user brings: what configure refuses, each in one line; and what of them becomes octets."""

from __future__ import annotations

import datetime
import os
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes

from libos.tls.identity import EmbeddedIdentity
from libos.tls.x509 import pack
from libos.tls.x509 import pem as pem_blocks
from libos.tls.x509.certificate import Certificate
from libos.tls.x509.trust import Trust
from mirage_py.configure.tls import certificates, octets
from mirage_py.support.errors import UserError
from tests.tls.reference_crypto import reference_crypto
from tests.tls.x509 import authority, chains
from tests.tls.x509.authority import DAY, NOW, Issuer, key, pem, pem_of_key

KINDS = ["p256", "p384", "rsa", "ed25519"]


class Files:
    """A certificate and its key as files."""

    def __init__(self, folder: Path) -> None:
        self.certificate, self.key = folder / "site.pem", folder / "site.key"

    def write(self, *chain: x509.Certificate, private: Any = None) -> None:
        self.certificate.write_bytes(pem(*chain))
        self.key.write_bytes(pem_of_key(private or key("p256", 100)))

    def read(self, purpose: str = "server") -> certificates.Identity:
        return certificates.read_identity(self.certificate, self.key, purpose, NOW)

    def refused(self, purpose: str = "server") -> str:
        with pytest.raises(UserError) as caught:
            self.read(purpose)
        text = str(caught.value)
        assert "\n" not in text
        assert caught.value.remedy
        assert "PRIVATE KEY-----" not in text
        return text


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


def chain(**how: Any) -> tuple[x509.Certificate, x509.Certificate, x509.Certificate]:
    """leaf, intermediate, root."""
    root = Issuer("root", number=1)
    issuer = Issuer("between", number=2, parent=root)
    return issuer.issue(**how), issuer.certificate, root.certificate


@pytest.mark.parametrize("kind", KINDS)
def test_good(files: Files, kind: str) -> None:
    leaf, issuer, root = chain(private=key(kind, 3), names=["a.example", "ip:10.0.0.1"])
    files.write(leaf, issuer, root, private=key(kind, 3))
    identity = files.read()
    assert identity.kind == kind
    assert certificates.names_of(identity.leaf) == ["a.example", "10.0.0.1"]
    assert identity.ends == NOW + 30 * DAY
    embedded = EmbeddedIdentity(reference_crypto(), octets.pack_identity(identity))
    assert embedded.chain == [authority.der(one) for one in (leaf, issuer, root)]
    assert embedded.names == ["a.example"]
    assert embedded.key_kind == kind
    message = b"hello"
    algorithm = {"p256": "ecdsa_sha256", "p384": "ecdsa_sha384", "rsa": "rsa_pss_sha256"}.get(kind, kind)
    signature = embedded.signer.sign(algorithm, message)
    assert reference_crypto().verify(embedded.signer.public_key, algorithm, message, signature)


def test_missing(files: Files) -> None:
    assert "there is no certificate" in files.refused()
    files.write(*chain())
    files.key.unlink()
    assert "there is no private key" in files.refused()


def test_no_files(files: Files, tmp_path: Path) -> None:
    files.write(*chain())
    for path in (files.certificate, files.key):
        path.unlink()
        os.mkfifo(path)
        assert "is no file" in files.refused()
        path.unlink()
        path.symlink_to(path.name)
        assert "cannot be read" in files.refused()
        path.unlink()
        files.write(*chain())


def test_other_contents(files: Files) -> None:
    files.write(*chain())
    good = files.certificate.read_bytes()
    for data in (b"", b"hello", pem_of_key(key())):
        files.certificate.write_bytes(data)
        assert "has no certificate in PEM" in files.refused()
    files.certificate.write_bytes(good.replace(b"MII", b"AAA"))
    assert "is damaged" in files.refused()
    files.certificate.write_bytes(good)
    for data in (b"", b"hello", good):
        files.key.write_bytes(data)
        assert "has no private key in PEM" in files.refused()
    files.key.write_bytes(pem_of_key(key(), password=b"secret"))
    assert "is encrypted" in files.refused()


def test_key_of_another(files: Files) -> None:
    files.write(*chain(), private=key("p256", 55))
    assert "is not that of the certificate" in files.refused()


def test_key_of_a_kind_that_is_not_supported(files: Files) -> None:
    files.write(*chain(private=key("p521")), private=key("p521"))
    assert "of a kind that is not supported" in files.refused()
    files.write(*chain(private=key("rsa1024")), private=key("rsa1024"))
    assert "RSA key of 1024 bits" in files.refused()


def test_wrong_order(files: Files) -> None:
    leaf, issuer, root = chain()
    files.write(issuer, leaf)
    assert "wrong order: the one that site.key belongs to is number 2" in files.refused()
    files.write(leaf, root, issuer)
    assert "wrong order: number 2 has not issued number 1" in files.refused()
    files.write(leaf, root)
    assert "do not belong together: number 2 has not issued number 1" in files.refused()
    other = Issuer("leaf", number=4, is_ca=False, usage=authority.LEAF_USAGE, names=["x.example"])
    files.write(other.issue(), other.certificate)
    assert "number 2, x.example, is no authority's" in files.refused()
    files.write(*[leaf] + [issuer] * 20)
    assert "21 certificates: that is no chain" in files.refused()


def test_dates(files: Files) -> None:
    files.write(*chain(begin=NOW - 9 * DAY, end=NOW - DAY))
    assert "for server.example has expired on 2026-05-31" in files.refused()
    files.write(*chain(begin=NOW + DAY, end=NOW + 9 * DAY))
    assert "for server.example is not valid before 2026-06-02 00:00 UTC" in files.refused()
    root = Issuer("root", number=1)
    expired = Issuer("between", number=2, parent=root, begin=NOW - 9 * DAY, end=NOW - DAY)
    files.write(expired.issue(), expired.certificate)
    assert "for between has expired" in files.refused()


def test_weak(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    """`cryptography` signs with SHA-1 no more: another algorithm stands for it."""
    root = Issuer("root", number=1)
    files.write(root.issue(algorithm=hashes.SHA224()))
    monkeypatch.setattr(certificates, "_WEAK_HASHES", ("sha224",))
    assert "signed with SHA224: too weak" in files.refused()
    weak = Issuer("weak", kind="rsa1024")
    files.write(weak.issue(), weak.certificate)
    assert "RSA key of 1024 bits: too weak" in files.refused()


def test_purposes(files: Files) -> None:
    files.write(*chain(purposes=[authority.CLIENT]))
    assert "is not for a TLS server" in files.refused()
    assert files.read("client").kind == "p256"
    files.write(*chain())
    assert "is not for a TLS client" in files.refused("client")
    files.write(*chain(usage=authority.key_usage("key_encipherment")))
    assert "may not sign" in files.refused()


def test_no_names(files: Files) -> None:
    files.write(*chain(names=[], subject="server.example"))
    assert "names no host" in files.refused()
    files.write(*chain(names=[], purposes=None))
    assert files.read("client").kind == "p256"


def test_names() -> None:
    leaf = chain(names=["a.example", "*.b.example", "ip:::1"])[0]
    for host, is_for in [
        ("A.example", True), ("x.b.example", True), ("x.y.b.example", False), ("b.example", False), ("::1", True),
        ("127.0.0.1", False), ("example", False),
    ]:  # fmt: skip
        assert certificates.is_for(leaf, host) == is_for
    assert certificates.check_names(["A.B", "a.b", "::1", "0:0:0:0:0:0:0:1", "*.x.y"]) == ("a.b", "::1", "*.x.y")


def test_what_expires_soon() -> None:
    root = Issuer("root", number=1)
    for days, left, is_soon in [(90, 13, True), (90, 15, False), (7, 3, False), (7, 2, True)]:
        leaf = root.issue(begin=NOW - (days - left) * DAY, end=NOW + left * DAY)
        identity = certificates.Identity((leaf,), key("p256", 100))
        assert certificates.expires_soon(identity, NOW) == is_soon


# --- trust ---


def test_trust_store_is_the_guests() -> None:
    """Both make the same octets."""
    issuers = [
        Issuer("one", kind="rsa"), Issuer("two", path_length=2, permitted=["example.com"], excluded=["ip:10.0.0.0/8"]),
        Issuer("three", kind="ed25519", usage=None), Issuer("leaf", is_ca=False, usage=authority.LEAF_USAGE),
        Issuer("four", kind="p384", usage=authority.key_usage("crl_sign")), Issuer("five", path_length=0),
    ]  # fmt: skip
    issuers += [Issuer(f"more {number}", number=1) for number in range(40)]
    found = [issuer.certificate for issuer in issuers]
    store = octets.pack_trust(found, NOW)
    assert store.blob == pack.pack([authority.der(one) for one in found])
    assert store.count == Trust(store.blob).count == len(found)
    assert store.kinds == {"rsa", "p256", "p384", "ed25519"}
    assert store.left_out == ()


def test_trust_leaves_out_what_cannot_be_used(tmp_path: Path) -> None:
    expired = Issuer("old", begin=NOW - 9 * DAY, end=NOW - DAY).certificate
    weak = Issuer("root").issue("weak", private=chains.UnfitRsa(1024), names=[])
    odd = Issuer("odd", kind="p521").certificate
    store = octets.pack_trust([expired, Issuer("good").certificate, weak, odd], NOW)
    assert store.count == 1
    assert store.left_out == (
        "old: has expired on 2026-05-31",
        "weak: has an RSA key of 1024 bits",
        "odd: has a key that is not supported",
    )
    path = tmp_path / "ca.pem"
    path.write_bytes(pem(expired))
    with pytest.raises(UserError, match="no certificate in it can be trusted: old: has expired"):
        octets.read_trust(path, NOW)


def test_system_store(tmp_path: Path) -> None:
    path = tmp_path / "store.pem"
    path.write_bytes(pem(Issuer("root").certificate))
    assert octets.system_store([str(tmp_path / "no"), str(path)]) == path
    with pytest.raises(UserError, match="no trust store"):
        octets.system_store([str(tmp_path / "no")])


def test_system_store_of_this_computer() -> None:
    """What it has, a guest can use: nearly all of it, in half the octets of the certificates."""
    path = next((Path(text) for text in octets.SYSTEM_STORES if Path(text).is_file()), None)
    if path is None:
        pytest.skip("this computer has no trust store (Debian package ca-certificates)")
    found = [der for _, der in pem_blocks.decode(path.read_bytes())]
    store = octets.read_trust(path, datetime.datetime(2025, 1, 1, tzinfo=datetime.UTC))
    assert store.count >= 0.9 * len(found)
    assert len(store.blob) < 0.65 * sum(map(len, found))
    trust, known = Trust(store.blob), 0
    for der in found:
        one = Certificate(der)
        anchors = trust.find(one.subject)
        assert all(anchor.may_issue for anchor in anchors)
        known += any(anchor.key == one.spki for anchor in anchors)
    assert known >= 0.9 * len(found)


def test_damaged_certificate_in_a_trust_store(tmp_path: Path) -> None:
    good, path = pem(Issuer("root").certificate), tmp_path / "ca.pem"
    path.write_bytes(good.replace(b"MII", b"AAA") + good)
    store = octets.read_trust(path, NOW)
    assert store.count == 1
    assert store.left_out[0].startswith("certificate number 1: ")
    path.write_bytes(b"nothing")
    with pytest.raises(UserError, match="has no certificate in PEM"):
        octets.read_trust(path)
