# SPDX-License-Identifier: MIT
"""ECDSA, RSA and Ed25519 in C: beside `cryptography`, by the examples of their RFCs, and what a forger would send."""

from __future__ import annotations

import hashlib
import os

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed, decode_dss_signature, encode_dss_signature

from tests.tls.reference_crypto import Curve, Ed25519

pytestmark = pytest.mark.build

ORDERS = {
    "p256": 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551,
    "p384": 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFC7634D81F4372DDF581A0DB248B0A77AECEC196ACCC52973,
}
CURVES = {"p256": Curve(ec.SECP256R1()), "p384": Curve(ec.SECP384R1())}
HASHES = {32: hashes.SHA256(), 48: hashes.SHA384(), 64: hashes.SHA512()}
L = 2**252 + 27742317777372353535851937790883648493

# RFC 6979, A.2.5 and A.2.6, message "sample": key, and by hash r and s.
RFC6979 = {
    "p256": (
        "C9AFA9D845BA75166B5C215767B1D6934E50C3DB36E89B127B8A622B120F6721",
        {
            "sha256": (
                "EFD48B2AACB6A8FD1140DD9CD45E81D69D2C877B56AAF991C34D0EA84EAF3716",
                "F7CB1C942D657C41D436C7A1B6E29F65F3E900DBB9AFF4064DC4AB2F843ACDA8",
            ),
            "sha384": (
                "0EAFEA039B20E9B42309FB1D89E213057CBF973DC0CFC8F129EDDDC800EF7719",
                "4861F0491E6998B9455193E34E7B0D284DDD7149A74B95B9261F13ABDE940954",
            ),
            "sha512": (
                "8496A60B5E9B47C825488827E0495B0E3FA109EC4568FD3F8D1097678EB97F00",
                "2362AB1ADBE2B8ADF9CB9EDAB740EA6049C028114F2460F96554F61FAE3302FE",
            ),
        },
    ),
    "p384": (
        "6B9D3DAD2E1B8C1C05B19875B6659F4DE23C3B667BF297BA9AA47740787137D896D5724E4C70A825F872C9EA60D2EDF5",
        {
            "sha256": (
                "21B13D1E013C7FA1392D03C5F99AF8B30C570C6F98D4EA8E354B63A21D3DAA33BDE1E888E63355D92FA2B3C36D8FB2CD",
                "F3AA443FB107745BF4BD77CB3891674632068A10CA67E3D45DB2266FA7D1FEEBEFDC63ECCD1AC42EC0CB8668A4FA0AB0",
            ),
            "sha384": (
                "94EDBB92A5ECB8AAD4736E56C691916B3F88140666CE9FA73D64C4EA95AD133C81A648152E44ACF96E36DD1E80FABE46",
                "99EF4AEB15F178CEA1FE40DB2603138F130E740A19624526203B6351D0A3A94FA329C145786E679E7B82C71A38628AC8",
            ),
            "sha512": (
                "ED0959D5880AB2D869AE7F6C2915C6D60F96507F9CB3E047C0046861DA4A799CFE30F35CC900056D7C99CD7882433709",
                "512C8CCEEE3890A84058CE1E22DBC2198F42323CE8ACA9135329F03C068E5112DC7CC3EF3446DEFCEB01A45C2667FDD5",
            ),
        },
    ),
}


def algorithms(kind: str) -> list[str]:
    if kind == "ed25519":
        return [kind]
    schemes = ("rsa_pkcs1", "rsa_pss") if kind == "rsa" else ("ecdsa",)
    return [f"{scheme}_sha{bits}" for scheme in schemes for bits in (256, 384, 512)]


def rsa_material(bits: int = 2048, e: int = 65537) -> tuple[bytes, ...]:
    numbers = rsa.generate_private_key(e, bits).private_numbers()
    n = numbers.public_numbers.n
    values = (n, e, numbers.d, numbers.p, numbers.q, numbers.dmp1, numbers.dmq1, numbers.iqmp)
    return tuple(value.to_bytes((value.bit_length() + 7) // 8, "big") for value in values)


@pytest.mark.parametrize("kind", ["p256", "p384", "rsa", "ed25519"])
def test_signs_and_verifies_as_the_reference(crypto, reference, kind: str) -> None:
    for _ in range(3):
        material = rsa_material() if kind == "rsa" else os.urandom(48 if kind == "p384" else 32)
        ours, theirs = crypto.signer(kind, material), reference.signer(kind, material)
        assert ours.public_key == theirs.public_key
        key = ours.public_key
        for algorithm in algorithms(kind):
            message = os.urandom(100)
            for signature in (ours.sign(algorithm, message), theirs.sign(algorithm, message)):
                assert crypto.verify(key, algorithm, message, signature)
                assert reference.verify(key, algorithm, message, signature)
                assert not crypto.verify(key, algorithm, message + b"!", signature)
                for other in algorithms(kind):
                    if other != algorithm:
                        assert not crypto.verify(key, other, message, signature)
                for at in (0, 1, 2, len(signature) // 2, len(signature) - 1):
                    damaged = bytearray(signature)
                    damaged[at] ^= 4
                    assert not crypto.verify(key, algorithm, message, bytes(damaged))
                for wrong in (b"", signature[:-1], signature + b"\0", b"\0" + signature, signature[1:]):
                    assert not crypto.verify(key, algorithm, message, wrong)


# --- ECDSA ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["p256", "p384"])
def test_nonces_are_those_of_rfc_6979(hal, kind: str) -> None:
    scalar, expected = RFC6979[kind]
    for name, (r, s) in expected.items():
        digest = hashlib.new(name, b"sample").digest()
        signature = hal(kind).sign(bytes.fromhex(scalar), digest, b"")
        assert signature == encode_dss_signature(int(r, 16), int(s, 16)), name
        # Random numbers make it another one, of the same message; the same ones the same.
        more = [hal(kind).sign(bytes.fromhex(scalar), digest, extra) for extra in (b"a", b"b", b"a")]
        assert len({signature, *more}) == 3
        assert more[0] == more[2]


@pytest.mark.parametrize("kind", ["p256", "p384"])
def test_integers_of_signatures_are_the_shortest(hal, kind: str) -> None:
    """Their first octet is zero where the next begins with a one, and only there."""
    scalar, lengths = bytes(ORDERS[kind].bit_length() // 8 - 1) + b"\x07", set()
    public = CURVES[kind].public(scalar)
    for number in range(600):
        digest = hashlib.sha256(b"%d" % number).digest()
        signature = hal(kind).sign(scalar, digest, b"")
        lengths.add(len(signature))
        if number % 100 == 0 or len(signature) < 2 * len(scalar) + 6:
            assert CURVES[kind].verify(public, digest, signature)
            assert hal(kind).verify(public, digest, signature)
    assert {2 * len(scalar) + 6, 2 * len(scalar) + 7, 2 * len(scalar) + 8} <= lengths
    assert min(lengths) < 2 * len(scalar) + 6


@pytest.mark.parametrize("kind", ["p256", "p384"])
def test_numbers_out_of_range_are_no_signature(hal, kind: str) -> None:
    order, digest = ORDERS[kind], hashlib.sha256(b"x").digest()
    scalar = (5).to_bytes(order.bit_length() // 8, "big")
    public = CURVES[kind].public(scalar)
    one = hal(kind).sign(scalar, digest, b"")
    r, s = decode_dss_signature(one)
    assert hal(kind).verify(public, digest, encode_dss_signature(r, s))
    assert hal(kind).verify(public, digest, encode_dss_signature(r, order - s)), "the twin, which ECDSA allows"
    odd = (0, 1, order - 1, order, order + 1, 2 * order, r + order, s + order, 2 ** order.bit_length() - 1)
    for number in odd:
        for pair in ((number, s), (r, number), (number, number)):
            if pair != (r, s):
                assert not hal(kind).verify(public, digest, encode_dss_signature(*pair)), pair


@pytest.mark.parametrize("kind", ["p256", "p384"])
def test_digest_that_is_zero_or_above_the_order(hal, kind: str) -> None:
    scalar = bytes(ORDERS[kind].bit_length() // 8 - 1) + b"\x09"
    public = CURVES[kind].public(scalar)
    for length in (32, 48, 64):
        for digest in (
            bytes(length),
            b"\xff" * length,
            ORDERS[kind].to_bytes(48, "big").lstrip(b"\0").ljust(64, b"\0")[:length],
        ):
            signature = hal(kind).sign(scalar, digest, b"")
            assert CURVES[kind].verify(public, digest, signature)
            assert hal(kind).verify(public, digest, signature)


@pytest.mark.parametrize("kind", ["p256", "p384"])
def test_signature_that_is_not_der(hal, kind: str) -> None:
    scalar = bytes(ORDERS[kind].bit_length() // 8 - 1) + b"\x03"
    public, digest = CURVES[kind].public(scalar), hashlib.sha256(b"y").digest()
    # One whose r and s are of full length, so that what is done to them below is not valid by chance.
    good = next(
        signature
        for extra in range(1000)
        if len(signature := hal(kind).sign(scalar, digest, b"%d" % extra)) == 2 * len(scalar) + 8
    )
    assert hal(kind).verify(public, digest, good)
    r_end = 4 + good[3]
    r, s = good[2:r_end], good[r_end:]

    def sequence(body: bytes) -> bytes:
        return b"\x30" + bytes([len(body)]) + body

    wrong = {
        "length in the long form": b"\x30\x81" + good[1:],
        "length in a longer form": b"\x30\x82\0" + good[1:],
        "indefinite length": b"\x30\x80" + good[2:] + b"\0\0",
        "r's length in the long form": sequence(b"\x02\x81" + r[1:] + s),
        "a zero before r": sequence(b"\x02" + bytes([r[1] + 1]) + b"\0" + r[2:] + s),
        "two zeros before s": sequence(r + b"\x02" + bytes([s[1] + 2]) + b"\0\0" + s[2:]),
        "r without its zero": sequence(b"\x02" + bytes([r[1] - 1]) + r[3:] + s),
        "an empty r": sequence(b"\x02\0" + s),
        "an empty s": sequence(r + b"\x02\0"),
        "a set": b"\x31" + good[1:],
        "an octet string for r": sequence(b"\x04" + r[1:] + s),
        "a third integer": sequence(r + s + b"\x02\x01\x01"),
        "r only": sequence(r),
        "octets behind": good + b"\0",
        "octets behind, counted": sequence(r + s + b"\0"),
        "longer than it is": b"\x30" + bytes([good[1] + 1]) + good[2:],
        "shorter than it is": b"\x30" + bytes([good[1] - 1]) + good[2:],
        "raw": r[-len(scalar) :] + s[-len(scalar) :],
        "empty": b"",
        "empty sequence": b"\x30\0",
        "long": sequence(r + s)[:2] + r + s + bytes(200),
    }
    for name, signature in wrong.items():
        assert not hal(kind).verify(public, digest, signature), name
    for length in range(len(good)):
        assert not hal(kind).verify(public, digest, good[:length])


@pytest.mark.parametrize("kind", ["p256", "p384"])
def test_public_key_that_is_none(hal, kind: str) -> None:
    size = ORDERS[kind].bit_length() // 8
    scalar, digest = bytes(size - 1) + b"\x03", hashlib.sha256(b"z").digest()
    public = CURVES[kind].public(scalar)
    signature = hal(kind).sign(scalar, digest, b"")
    off = bytearray(public)
    off[-1] ^= 1
    y_form = bytes([2 + public[-1] % 2])
    points = [b"", b"\0", bytes(2 * size + 1), bytes(off), public[:-1], public + b"\0", public[1:]]
    points += [y_form + public[1 : size + 1], y_form + public[1:], b"\4" + b"\xff" * (2 * size)]
    points += [b"\x06" + public[1:], b"\x07" + public[1:]]
    for point in points:
        assert not hal(kind).verify(point, digest, signature)


@pytest.mark.parametrize("kind", ["p256", "p384"])
def test_private_key_that_is_none(hal, kind: str) -> None:
    size, order = ORDERS[kind].bit_length() // 8, ORDERS[kind]
    for number in (0, order, order + 1, 2 ** (8 * size) - 1):
        scalar = number.to_bytes(size, "big")
        with pytest.raises(ValueError, match="key"):
            hal(kind).public(scalar)
        with pytest.raises(ValueError, match="key"):
            hal(kind).sign(scalar, bytes(32), b"")
    for length in (0, size - 1, size + 1):
        with pytest.raises(ValueError, match="length"):
            hal(kind).sign(b"\1" * length, bytes(32), b"")
    with pytest.raises(ValueError, match="hash"):
        hal(kind).sign(b"\1" * size, bytes(20), b"")


# --- Ed25519 ----------------------------------------------------------------------------------------------------------


def test_ed25519_of_the_rfc(hal) -> None:
    """RFC 8032, section 7.1, test 2, and by the reference's signatures, which are deterministic."""
    seed = bytes.fromhex("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb")
    public = bytes.fromhex("3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c")
    signature = bytes.fromhex(
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
        "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"
    )
    assert hal("ed25519").public(seed) == public
    assert hal("ed25519").sign(seed, b"\x72") == signature
    for length in (0, 1, 63, 64, 127, 128, 1000):
        seed, message = os.urandom(32), os.urandom(length)
        assert hal("ed25519").sign(seed, message) == Ed25519.sign(seed, message)


def test_ed25519_that_is_forged(hal) -> None:
    seed, message = os.urandom(32), b"message"
    public, signature = Ed25519.public(seed), Ed25519.sign(seed, message)
    assert hal("ed25519").verify(public, message, signature)
    s = int.from_bytes(signature[32:], "little")
    for number in (s + L, s + 2 * L, 0, L, 2**256 - 1):
        if number < 2**256:
            assert not hal("ed25519").verify(public, message, signature[:32] + number.to_bytes(32, "little"))
    for point in (b"\xff" * 32, b"\xed" + b"\xff" * 30 + b"\x7f", b"\xee" + b"\xff" * 31, b"\x02" + bytes(31)):
        assert not hal("ed25519").verify(point, message, signature)
        assert not hal("ed25519").verify(public, message, point + signature[32:])
    for length in (0, 31, 33):
        assert not hal("ed25519").verify(public[:length].ljust(length, b"\0"), message, signature)


# --- RSA --------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, 2048)


def raised(key: rsa.RSAPrivateKey, padded: bytes) -> bytes:
    """The signature of these octets, whatever they are: what a forger who has the key could make."""
    numbers = key.private_numbers()
    n = numbers.public_numbers.n
    return pow(int.from_bytes(padded, "big"), numbers.d, n).to_bytes((n.bit_length() + 7) // 8, "big")


def octets(number: int) -> bytes:
    return number.to_bytes((number.bit_length() + 7) // 8, "big")


INFO = bytes.fromhex("3031300d060960864801650304020105000420")


def test_pkcs1_padding_that_is_not_exact(hal, key) -> None:
    n, digest = octets(key.public_key().public_numbers().n), hashlib.sha256(b"m").digest()

    def verifies(padded: bytes) -> bool:
        return hal("rsa").verify(n, 65537, False, digest, raised(key, padded))

    tail = b"\0" + INFO + digest
    good = b"\0\1" + b"\xff" * (256 - 2 - len(tail)) + tail
    assert verifies(good)
    no_null = bytes.fromhex("302f300b0609608648016503040201" + "0420") + digest
    wrong = {
        "type 2": b"\0\2" + good[2:],
        "type 0": b"\0\0" + good[2:],
        "a one before": b"\1" + good[1:],
        "a zero in the padding": good[:10] + b"\0" + good[11:],
        "another octet in the padding": good[:10] + b"\xfe" + good[11:],
        "short padding, octets behind": b"\0\1" + b"\xff" * 8 + tail + bytes(256 - 10 - len(tail)),
        "no padding": b"\0\1" + tail + bytes(256 - 2 - len(tail)),
        "no zero before": good[: -len(tail)] + b"\xff" + tail[1:],
        "no parameters": b"\0\1" + b"\xff" * (256 - 3 - len(no_null)) + b"\0" + no_null,
        "another hash": good[: -len(tail)] + tail.replace(b"\x04\x02\x01", b"\x04\x02\x02"),
        "another digest": good[:-1] + bytes([good[-1] ^ 1]),
        "a digest alone": b"\0\1" + b"\xff" * (256 - 3 - 32) + b"\0" + digest,
        "a long length": b"\0\1" + b"\xff" * (256 - 4 - len(INFO) - 32) + b"\0" + b"\x30\x81" + INFO[1:] + digest,
        "zeros": bytes(256),
    }
    for name, padded in wrong.items():
        assert len(padded) == 256, name
        assert not verifies(padded), name


def test_pss_padding_that_is_not_exact(hal, key) -> None:
    n, digest = octets(key.public_key().public_numbers().n), hashlib.sha256(b"m").digest()

    def mask(seed: bytes, length: int) -> bytes:
        blocks = (hashlib.sha256(seed + count.to_bytes(4, "big")).digest() for count in range(length // 32 + 1))
        return b"".join(blocks)[:length]

    def padded(salt: bytes, before: bytes = b"\1", trailer: bytes = b"\xbc", top: int = 0x7F, zero: int = 0) -> bytes:
        seed = hashlib.sha256(bytes(8) + digest + salt).digest()
        block = (before + salt).rjust(256 - 33, b"\0")
        block = bytes([zero]) + block[1:] if zero else block
        masked = bytes(a ^ b for a, b in zip(block, mask(seed, len(block)), strict=True))
        return bytes([masked[0] & top]) + masked[1:] + seed + trailer

    def verifies(octets: bytes) -> bool:
        return hal("rsa").verify(n, 65537, True, digest, raised(key, octets))

    assert verifies(padded(os.urandom(32)))
    for length in (0, 1, 20, 31, 33, 48, 64, 190):
        assert not verifies(padded(os.urandom(length))), f"a salt of {length} octets"
    assert not verifies(padded(bytes(32), before=b"\2"))
    assert not verifies(padded(bytes(32), before=b"\0"))
    assert not verifies(padded(bytes(32), trailer=b"\xcc"))
    assert not verifies(padded(bytes(32), zero=0x20))
    # The highest bit of the message, below the modulus though it is set, where the modulus allows that.
    assert not verifies(b"\x40" + padded(bytes(32))[1:])


@pytest.mark.parametrize("bits", [1024, 1025, 1031, 1032, 1033, 2047, 2048, 3072, 4096])
def test_rsa_of_any_length(crypto, reference, bits: int) -> None:
    """A modulus of 8 k + 1 bits has a message of an octet less (RFC 8017 section 9.1.1)."""
    material = rsa_material(bits)
    ours, theirs = crypto.signer("rsa", material), reference.signer("rsa", material)
    for algorithm in ("rsa_pkcs1_sha256", "rsa_pss_sha256", "rsa_pss_sha384"):
        for signature in (ours.sign(algorithm, b"m"), theirs.sign(algorithm, b"m")):
            assert crypto.verify(ours.public_key, algorithm, b"m", signature)
            assert reference.verify(ours.public_key, algorithm, b"m", signature)


def test_digest_that_does_not_fit(crypto) -> None:
    """PSS of SHA-512 needs 130 octets, of which 1024 bits are 128."""
    signer = crypto.signer("rsa", rsa_material(1024))
    with pytest.raises(ValueError, match="key"):
        signer.sign("rsa_pss_sha512", b"m")
    assert not crypto.verify(signer.public_key, "rsa_pss_sha512", b"m", bytes(128))


@pytest.mark.parametrize("e", [3, 17, 257, 2**31 + 11])
def test_rsa_of_other_exponents(crypto, reference, e: int) -> None:
    key = None
    while key is None:
        try:
            p, q = (rsa.generate_private_key(65537, 2048).private_numbers().p for _ in range(2))
            d = pow(e, -1, (p - 1) * (q - 1))
            key = tuple(octets(value) for value in (p * q, e, d, p, q, d % (p - 1), d % (q - 1), pow(q, -1, p)))
        except ValueError:
            pass  # not prime to the group's order
    signer = crypto.signer("rsa", key)
    for algorithm in ("rsa_pkcs1_sha256", "rsa_pss_sha256"):
        signature = signer.sign(algorithm, b"m")
        assert crypto.verify(signer.public_key, algorithm, b"m", signature)
        assert not crypto.verify(signer.public_key, algorithm, b"n", signature)


def test_modulus_and_exponent_that_are_none(hal, key) -> None:
    n = key.public_key().public_numbers().n
    digest = hashlib.sha256(b"m").digest()
    signature = key.sign(digest, padding.PKCS1v15(), Prehashed(hashes.SHA256()))
    assert hal("rsa").verify(octets(n), 65537, False, digest, signature)
    assert hal("rsa").verify(b"\0\0" + octets(n), 65537, False, digest, signature), (
        "zeros before a modulus are none of it"
    )
    for e in (0, 1, 2, 4, 65536, -1, -65537, 2**32 + 1, 2**61, 2**100 + 1):
        assert not hal("rsa").verify(octets(n), e, False, digest, signature), e
    for modulus in (b"", b"\0", b"\1", bytes(256), octets(n - 1), octets(n)[:-1], octets(n) + b"\1", b"\xff" * 513):
        assert not hal("rsa").verify(modulus, 65537, False, digest, signature)
    # A signature that is not below the modulus, and one with a zero too many.
    number = int.from_bytes(signature, "big")
    if number + n < 2**2048:
        assert not hal("rsa").verify(octets(n), 65537, False, digest, octets(number + n))
    for wrong in (b"\0" + signature, octets(n), b"\xff" * 256, bytes(256), signature[:-1]):
        assert not hal("rsa").verify(octets(n), 65537, False, digest, wrong)
    short = rsa.generate_private_key(65537, 1024).public_key().public_numbers().n >> 8 | 1
    assert not hal("rsa").verify(octets(short), 65537, False, digest, bytes(127))


@pytest.mark.parametrize("part", range(8))
def test_private_key_of_rsa_with_a_wrong_part(crypto, part: int) -> None:
    material = list(rsa_material())
    damaged = bytearray(material[part])
    damaged[-1] ^= 2
    for wrong in (bytes(damaged), b"", bytes(len(damaged)), b"\xff" * 600):
        if part == 2:
            continue  # d is not made use of: the other numbers say the same
        with pytest.raises(ValueError, match="key"):
            crypto.signer("rsa", [*material[:part], wrong, *material[part + 1 :]])


def test_wiped_key_signs_nothing(crypto) -> None:
    signer = crypto.signer("rsa", rsa_material())
    signer.wipe()
    with pytest.raises(ValueError, match="wiped"):
        signer.sign("rsa_pss_sha256", b"")
