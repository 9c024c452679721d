# SPDX-License-Identifier: MIT
"""X25519, ECDH over P-256 and ML-KEM-768 in C, beside `cryptography`, and where numbers are odd."""

from __future__ import annotations

import os

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from tests.tls import reference_mlkem
from tests.tls.reference_crypto import X25519, Curve

pytestmark = pytest.mark.build

P25519 = 2**255 - 19
# The points of order 1, 2, 4 and 8, and their twins that are not reduced (RFC 7748 section 7).
ORDER_8 = (
    325606250916557431795983626356110631294008115727848805560023387167927233504,
    39382357235489614581723060781553021112529911719440698176882885853963445705823,
)
LOW_ORDER = [number.to_bytes(32, "little") for number in (0, 1, *ORDER_8, P25519 - 1, P25519, P25519 + 1)]
P256 = 2**256 - 2**224 + 2**192 + 2**96 - 1
N256 = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
B256 = 0x5AC635D8AA3A93E7B3EBBD55769886BC651D06B0CC53B0F63BCE3C3E27D2604B


@pytest.mark.parametrize("group", [0x11EC, 0x001D, 0x0017])
def test_agrees_with_the_reference_on_either_side(crypto, reference, group: int) -> None:
    for _ in range(10):
        for client, server in ((crypto, reference), (reference, crypto), (crypto, crypto)):
            private, share = client.generate(group)
            answer, secret = server.respond(group, share)
            assert client.agree(group, private, answer) == secret


def test_x25519_of_the_rfc(hal) -> None:
    """RFC 7748, section 5.2 and 6.1."""
    scalar = bytes.fromhex("a546e36bf0527c9d3b16154b82465edd62144c0ac1fc5a18506a2244ba449ac4")
    share = bytes.fromhex("e6db6867583030db3594c1a424b15f7c726624ec26b3353b10a903a6d0ab1c4c")
    secret = bytes.fromhex("c3da55379de9c6908e94ea4df28d084f32eccf03491c71f754b4075577a28552")
    assert hal("x25519").agree(scalar, share) == secret
    scalar = bytes.fromhex("4b66e9d4d1b4673c5ad22691957d6af5c11b6421e0ea01d42ca4169e7918ba0d")
    share = bytes.fromhex("e5210f12786811d3f4b7959d0538ae2c31dbe7106fc03c3efc4cd549c715a493")
    secret = bytes.fromhex("95cbde9476e8907d7aade45cb4b873f88b595a68799fa152e6f8f7647aac7957")
    assert hal("x25519").agree(scalar, share) == secret
    # Section 5.2's iteration, of which the first thousand.
    scalar = share = b"\x09" + bytes(31)
    for _ in range(1000):
        scalar, share = hal("x25519").agree(scalar, share), scalar
    assert scalar.hex() == "684cf59ba83309552800ef566f2f4d3c1c3887c49360e3875f2eb94d99532c51"


def test_x25519_share_of_low_order(hal) -> None:
    for point in LOW_ORDER:
        for share in (point, point[:31] + bytes([point[31] | 0x80])):
            with pytest.raises(ValueError, match="share"):
                hal("x25519").agree(os.urandom(32), share)


def test_x25519_share_that_is_not_reduced(hal) -> None:
    """From 2**255 - 19 on, and with the highest bit, which is ignored (RFC 7748 section 5)."""
    for _ in range(5):
        scalar = os.urandom(32)
        for low in range(2, 19):
            share = (P25519 + low).to_bytes(32, "little")
            expected = X25519.agree(scalar, low.to_bytes(32, "little"))
            assert hal("x25519").agree(scalar, share) == expected
            assert hal("x25519").agree(scalar, share[:31] + bytes([share[31] | 0x80])) == expected


def test_x25519_scalars_are_clamped(hal) -> None:
    share = X25519.public(os.urandom(32))
    for scalar in (bytes(32), b"\xff" * 32, b"\x07" + bytes(31), bytes(31) + b"\x80"):
        assert hal("x25519").public(scalar) == X25519.public(scalar)
        assert hal("x25519").agree(scalar, share) == X25519.agree(scalar, share)


def test_x25519_of_wrong_lengths(hal) -> None:
    for length in (0, 31, 33, 64):
        with pytest.raises(ValueError, match="length"):
            hal("x25519").public(bytes(length))
        with pytest.raises(ValueError, match="length"):
            hal("x25519").agree(bytes(32), b"\x09" * length)
        with pytest.raises(ValueError, match="length"):
            hal("x25519").agree(bytes(length), b"\x09" * 32)


def test_p256_against_the_reference(hal) -> None:
    curve = Curve(ec.SECP256R1())
    for scalar in (
        1,
        2,
        3,
        N256 - 1,
        N256 - 2,
        2**255,
        2**128,
        *(int.from_bytes(os.urandom(32)) % N256 for _ in range(20)),
    ):
        octets = scalar.to_bytes(32, "big")
        assert hal("p256").public(octets) == curve.public(octets), scalar
        peer = curve.public(os.urandom(32))
        assert hal("p256").agree(octets, peer) == curve.agree(octets, peer)


def test_p256_secret_with_leading_zeros(hal) -> None:
    """x coordinates that begin with zeros stay 32 octets long (RFC 8446 section 7.4.2)."""
    curve = Curve(ec.SECP256R1())
    found = 0
    for number in range(1, 2000):
        peer = curve.public(number.to_bytes(32, "big"))
        if peer[1] == 0:
            found += 1
            assert hal("p256").agree((1).to_bytes(32, "big"), peer) == peer[1:33]
    assert found > 2


def test_p256_scalar_that_is_none(hal) -> None:
    share = hal("p256").public((1).to_bytes(32, "big"))
    for scalar in (0, N256, N256 + 1, 2**256 - 1):
        octets = scalar.to_bytes(32, "big")
        with pytest.raises(ValueError, match="key"):
            hal("p256").public(octets)
        with pytest.raises(ValueError, match="share"):
            hal("p256").agree(octets, share)
    for length in (0, 31, 33):
        with pytest.raises(ValueError, match="length"):
            hal("p256").public(b"\x01" * length)


def p256_points() -> dict[str, bytes]:
    good = Curve(ec.SECP256R1()).public((7).to_bytes(32, "big"))
    x, y = int.from_bytes(good[1:33]), int.from_bytes(good[33:])
    # A point of the twist, and one that is on the curve but for b: what invalid-curve attacks send.
    other = next(x for x in range(1, 100) if pow(x**3 - 3 * x + B256, (P256 - 1) // 2, P256) != 1)

    def point(x: int, y: int, form: int = 4) -> bytes:
        return bytes([form]) + x.to_bytes(32, "big") + y.to_bytes(32, "big")

    return {
        "infinity": b"\0",
        "zeros": bytes(65),
        "origin": point(0, 0),
        "not on the curve": point(x, y ^ 1),
        "swapped": point(y, x),
        "x of the twist": point(other, 1),
        "x not reduced": point(P256, y),
        "y not reduced": point(x, P256 + 5),
        "both at the top": point(2**256 - 1, 2**256 - 1),
        "compressed": bytes([2 + y % 2]) + good[1:33],
        "hybrid form": point(x, y, 6 + y % 2),
        "compressed form, long": point(x, y, 2),
        "no form": point(x, y, 0),
        "cut": good[:-1],
        "long": good + b"\0",
        "raw": good[1:],
        "empty": b"",
    }


@pytest.mark.parametrize("name", sorted(p256_points()))
def test_p256_share_that_is_no_point(hal, name: str) -> None:
    with pytest.raises(ValueError, match=r"share|length"):
        hal("p256").agree((3).to_bytes(32, "big"), p256_points()[name])


def test_mlkem_against_the_reference(hal) -> None:
    for seed in (bytes(64), b"\xff" * 64, *(os.urandom(64) for _ in range(5))):
        key, share = hal("mlkem768").generate(seed)
        assert (key, share) == reference_mlkem.generate(seed)
        for noise in (bytes(32), os.urandom(32)):
            ciphertext, secret = hal("mlkem768").encapsulate(share, noise)
            assert (ciphertext, secret) == reference_mlkem.encapsulate(share, noise)
            assert hal("mlkem768").decapsulate(key, ciphertext) == secret


def test_mlkem_rejects_implicitly(hal) -> None:
    """A wrong ciphertext gives another secret, always the same (FIPS 203, algorithm 18), and no error."""
    key, share = hal("mlkem768").generate(os.urandom(64))
    ciphertext, secret = hal("mlkem768").encapsulate(share, os.urandom(32))
    for at in (0, 1, 500, 959, 960, 1087):
        damaged = bytearray(ciphertext)
        damaged[at] ^= 1
        other = hal("mlkem768").decapsulate(key, bytes(damaged))
        assert other != secret
        assert other == hal("mlkem768").decapsulate(key, bytes(damaged)) == reference_mlkem.decapsulate(key, damaged)
    for odd in (bytes(1088), b"\xff" * 1088):
        assert hal("mlkem768").decapsulate(key, odd) == reference_mlkem.decapsulate(key, odd)


def test_mlkem_key_that_is_none(hal) -> None:
    key, share = hal("mlkem768").generate(os.urandom(64))
    ciphertext, _ = hal("mlkem768").encapsulate(share, bytes(32))
    # One coefficient is 3329 or more: the first, one in the middle, the last.
    for value in (3329, 3330, 4095):
        for at in (0, 576, 1149):
            wrong = bytearray(share)
            wrong[at : at + 3] = (value | value << 12).to_bytes(3, "little")
            with pytest.raises(ValueError, match="share"):
                hal("mlkem768").encapsulate(bytes(wrong), bytes(32))
            with pytest.raises(ValueError, match="modulus"):
                reference_mlkem.encapsulate(bytes(wrong), bytes(32))
    for length in (0, 1, 1183, 1185):
        with pytest.raises(ValueError, match="length"):
            hal("mlkem768").encapsulate(bytes(length), bytes(32))
    for length in (0, 31, 33):
        with pytest.raises(ValueError, match="length"):
            hal("mlkem768").encapsulate(share, bytes(length))
    for length in (0, 1087, 1089):
        with pytest.raises(ValueError, match="length"):
            hal("mlkem768").decapsulate(key, bytes(length))
    with pytest.raises(ValueError, match="length"):
        hal("mlkem768").decapsulate(key[:-1], ciphertext)
    damaged = bytearray(key)
    damaged[2400 - 64] ^= 1  # the hash of the public half
    with pytest.raises(ValueError, match="key"):
        hal("mlkem768").decapsulate(bytes(damaged), ciphertext)
    with pytest.raises(ValueError, match="length"):
        hal("mlkem768").generate(bytes(63))
