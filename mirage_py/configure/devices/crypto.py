# SPDX-License-Identifier: MIT
"""The primitives of cryptography, each a device, so that an image has those that its configuration needs."""

from __future__ import annotations

from collections.abc import Sequence

from mirage_py.configure.device import Device, Kind, Node, Signature, optional
from mirage_py.configure.devices.random import random as default_random
from mirage_py.configure.devices.signatures import CRYPTO as OFFERS
from mirage_py.configure.devices.signatures import RANDOM
from mirage_py.support.errors import UserError

FEATURE = "crypto"
KEY_KINDS = ("p256", "p384", "rsa", "ed25519")
GROUPS = ("x25519mlkem768", "x25519", "secp256r1")

# Who offers them differs in how much of the primitive there is.
HASHES_OFFERED = Signature("hashes")
AEADS_OFFERED = Signature("ciphers")
X25519_OFFERED = Signature("x25519")
P256_OFFERED = Signature("p256")
P384_OFFERED = Signature("p384")
MLKEM768_OFFERED = Signature("mlkem768")
RSA_OFFERED = Signature("rsa")
ED25519_OFFERED = Signature("ed25519")


def _primitive(name: str, offers: Signature, implementation: str, doc: str) -> Kind:
    return Kind(name=name, offers=offers, implementation=f"libos.hal.{implementation}", doc=doc, features=(FEATURE,))


HASHES = _primitive("hashes", HASHES_OFFERED, "hashes.Hashes", "SHA-256, SHA-384, SHA-512, HMAC")
AEADS = _primitive("aeads", AEADS_OFFERED, "aead.Aeads", "AES-GCM on the processor's AES, ChaCha20-Poly1305")
X25519 = _primitive("x25519", X25519_OFFERED, "x25519.X25519", "key agreement over Curve25519")
P256 = _primitive("p256", P256_OFFERED, "p256.P256", "signatures over P-256")
P256_AGREE = _primitive("p256_agree", P256_OFFERED, "p256_agree.P256Agree", "signatures and agreement over P-256")
P256_FULL = _primitive("p256_full", P256_OFFERED, "p256_full.P256Full", "signatures, made and verified, over P-256")
P384 = _primitive("p384", P384_OFFERED, "p384.P384", "signatures over P-384")
P384_VERIFY = _primitive("p384_verify", P384_OFFERED, "p384_verify.P384Verify", "signatures over P-384 verified")
P384_FULL = _primitive("p384_full", P384_OFFERED, "p384_full.P384Full", "signatures, made and verified, over P-384")
MLKEM768 = _primitive("mlkem768", MLKEM768_OFFERED, "mlkem768.MlKem768", "ML-KEM-768, a server's side")
MLKEM768_FULL = _primitive("mlkem768_full", MLKEM768_OFFERED, "mlkem768_full.MlKem768Full", "ML-KEM-768, both sides")
RSA_SIGN = _primitive("rsa_sign", RSA_OFFERED, "rsa_sign.RsaSign", "signatures by RSA")
RSA_VERIFY = _primitive("rsa_verify", RSA_OFFERED, "rsa_verify.RsaVerify", "signatures by RSA verified")
RSA_FULL = _primitive("rsa_full", RSA_OFFERED, "rsa_full.RsaFull", "signatures by RSA, made and verified")
ED25519 = _primitive("ed25519", ED25519_OFFERED, "ed25519.Ed25519", "signatures over edwards25519")

CRYPTO = Kind(
    name="crypto",
    offers=OFFERS,
    implementation="libos.tls.crypto.Crypto",
    doc="what TLS asks of cryptography",
    arguments={
        "random": RANDOM,
        "hashes": HASHES_OFFERED,
        "aeads": AEADS_OFFERED,
        "x25519": optional(X25519_OFFERED),
        "p256": optional(P256_OFFERED),
        "p384": optional(P384_OFFERED),
        "mlkem768": optional(MLKEM768_OFFERED),
        "rsa": optional(RSA_OFFERED),
        "ed25519": optional(ED25519_OFFERED),
    },
    features=(FEATURE,),
)


def crypto(
    *,
    signs: Sequence[str] = (),
    verifies: Sequence[str] = (),
    groups: Sequence[str] = GROUPS,
    client: bool = False,
    random: Node | None = None,
) -> Device:
    """The primitives for TLS: signs: the kinds of our own keys; verifies: those of the peers' and their authorities'.

    Kinds are "p256", "p384", "rsa", "ed25519". groups: of "x25519mlkem768", "x25519", "secp256r1" those to offer.
    client: whether we are a client as well. random: random() unless given. An image has no more than that takes.
    Raises UserError for a kind or a group that there is not.
    """
    _check("signs", signs, KEY_KINDS)
    _check("verifies", verifies, KEY_KINDS)
    _check("groups", groups, GROUPS)
    if not groups:
        raise UserError("crypto: groups is empty", f"name some of {', '.join(GROUPS)}")
    has_hybrid = "x25519mlkem768" in groups
    p256 = {
        (True, True): P256_FULL,
        (True, False): P256_AGREE,
        (False, True): P256_FULL,
        (False, False): P256 if "p256" in signs else None,
    }["secp256r1" in groups, "p256" in verifies]
    p384 = _of("p384", signs, verifies, P384, P384_VERIFY, P384_FULL)
    rsa = _of("rsa", signs, verifies, RSA_SIGN, RSA_VERIFY, RSA_FULL)
    return CRYPTO(
        random or default_random(),
        HASHES(),
        AEADS(),
        x25519=X25519() if has_hybrid or "x25519" in groups else None,
        p256=p256() if p256 is not None else None,
        p384=p384() if p384 is not None else None,
        mlkem768=(MLKEM768_FULL if client else MLKEM768)() if has_hybrid else None,
        rsa=rsa() if rsa is not None else None,
        ed25519=ED25519() if "ed25519" in (*signs, *verifies) else None,
    )


def _of(name: str, signs: Sequence[str], verifies: Sequence[str], sign: Kind, verify: Kind, full: Kind) -> Kind | None:
    choice = {(True, True): full, (True, False): sign, (False, True): verify}
    return choice.get((name in signs, name in verifies))


def _check(what: str, given: Sequence[str], known: Sequence[str]) -> None:
    if isinstance(given, str):
        raise UserError(f"crypto: {what}={given!r} is one name", f'write {what}=["{given}"]')
    for name in given:
        if name not in known:
            raise UserError(f"crypto: {what}: there is no {name!r}", f"choose among {', '.join(known)}")
