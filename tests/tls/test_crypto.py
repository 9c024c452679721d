# SPDX-License-Identifier: MIT
"""libos.tls.crypto over the reference: what engines are promised, whichever primitives are below."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from libos.tls import crypto as module
from libos.tls.crypto import Crypto
from tests.tls.reference_crypto import Hashes, reference_crypto

GROUPS = (0x11EC, 0x001D, 0x0017)


@pytest.fixture(scope="module")
def crypto() -> Crypto:
    return reference_crypto()


def rsa_material(bits: int = 2048) -> tuple[bytes, ...]:
    key = rsa.generate_private_key(65537, bits)
    numbers = key.private_numbers()
    public = numbers.public_numbers
    values = (public.n, public.e, numbers.d, numbers.p, numbers.q, numbers.dmp1, numbers.dmq1, numbers.iqmp)
    return tuple(value.to_bytes((value.bit_length() + 7) // 8, "big") for value in values)


@pytest.mark.parametrize("group", GROUPS)
def test_both_sides_agree(crypto: Crypto, group: int) -> None:
    private, share = crypto.generate(group)
    answer, secret = crypto.respond(group, share)
    assert crypto.agree(group, private, answer) == secret
    assert len(secret) == (64 if group == module.X25519MLKEM768 else 32)
    assert (len(share), len(answer)) == {0x11EC: (1216, 1120), 0x1D: (32, 32), 0x17: (65, 65)}[group]


@pytest.mark.parametrize("group", GROUPS)
def test_share_that_is_none_is_a_value_error(crypto: Crypto, group: int) -> None:
    private, share = crypto.generate(group)
    answer, _ = crypto.respond(group, share)
    for wrong in (b"", share[:-1], share + b"\0", bytes(len(share))):
        with pytest.raises(ValueError):  # noqa: PT011  the engine makes its own message of it
            crypto.respond(group, wrong)
    for wrong in (b"", answer[:-1], answer + b"\0", answer[:-32] + bytes(32)):
        with pytest.raises(ValueError):  # noqa: PT011
            crypto.agree(group, private, wrong)


def test_groups_are_those_that_there_are_primitives_for() -> None:
    assert reference_crypto().groups == GROUPS
    assert reference_crypto(without=("mlkem768",)).groups == (0x1D, 0x17)
    assert reference_crypto(without=("x25519",)).groups == (0x17,)


def test_random_numbers_that_are_no_scalar_end() -> None:
    class Zeros:
        def bytes(self, count: int) -> bytes:
            return bytes(count)

    with pytest.raises(ValueError, match="random"):
        reference_crypto(random=Zeros()).generate(module.SECP256R1)


@pytest.mark.parametrize("kind", ["p256", "p384", "ed25519", "rsa"])
def test_what_was_signed_is_verified(crypto: Crypto, kind: str) -> None:
    material = rsa_material() if kind == "rsa" else b"\1" * (48 if kind == "p384" else 32)
    signer = crypto.signer(kind, material)
    assert signer.kind == kind == signer.public_key[0]
    schemes = {"rsa": ("rsa_pkcs1", "rsa_pss"), "ed25519": ()}.get(kind, ("ecdsa",))
    algorithms = [f"{scheme}_sha{bits}" for scheme in schemes for bits in (256, 384, 512)] or ["ed25519"]
    for algorithm in algorithms:
        signature = signer.sign(algorithm, b"message")
        assert crypto.verify(signer.public_key, algorithm, b"message", signature)
        assert not crypto.verify(signer.public_key, algorithm, b"massage", signature)
        for wrong in (b"", signature[:-1], signature[:-1] + bytes([signature[-1] ^ 1])):
            assert not crypto.verify(signer.public_key, algorithm, b"message", wrong)
        for other in ("ecdsa_sha256", "rsa_pkcs1_sha256", "rsa_pss_sha256", "ed25519"):
            if other != algorithm:
                assert not crypto.verify(signer.public_key, other, b"message", signature)


def test_key_of_a_kind_that_is_not_there(crypto: Crypto) -> None:
    less = reference_crypto(without=("rsa", "p384"))
    assert crypto.key_kinds == ("p256", "p384", "rsa", "ed25519")
    assert less.key_kinds == ("p256", "ed25519")
    assert not less.verify(("rsa", b"\xff" * 256, 65537), "rsa_pss_sha256", b"", bytes(256))
    with pytest.raises(ValueError, match="no rsa in this image"):
        less.signer("rsa", rsa_material())


@pytest.mark.parametrize(("kind", "material"), [("p256", bytes(32)), ("p256", b"\1" * 31), ("p384", b"\xff" * 48)])
def test_private_key_that_is_none(crypto: Crypto, kind: str, material: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011
        crypto.signer(kind, material)


def test_secrets_are_overwritten_when_done() -> None:
    """The hal gets them to wipe: each random octet that went into a private key, and the key itself."""
    wiped = []

    class Watched(Hashes):
        @staticmethod
        def wipe(data: bytes) -> None:
            wiped.append(bytes(data))

    crypto = reference_crypto()
    crypto.wipe = Watched.wipe
    for group in GROUPS:
        private, share = crypto.generate(group)
        answer, _ = crypto.respond(group, share)
        crypto.agree(group, private, answer)
        for secret in private if isinstance(private, tuple) else (private,):
            assert secret in wiped
    signer = crypto.signer("p256", b"\1" * 32)
    signer.wipe()
    assert wiped[-1] == b"\1" * 32
