# SPDX-License-Identifier: MIT
"""What libos.hal has in C, over `cryptography` (PyPI): for tests of TLS on CPython, and a witness for the C."""

from __future__ import annotations

import hashlib
import hmac
import os
from typing import Any, ClassVar

from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa, x25519
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from cryptography.hazmat.primitives.ciphers import aead

from libos.tls.crypto import Crypto
from tests.tls import reference_mlkem

_HASHES = {32: hashes.SHA256(), 48: hashes.SHA384(), 64: hashes.SHA512()}
_RAW = {"encoding": serialization.Encoding.Raw, "format": serialization.PublicFormat.Raw}
_POINT = {"encoding": serialization.Encoding.X962, "format": serialization.PublicFormat.UncompressedPoint}


class Random:
    def bytes(self, count: int) -> bytes:
        return os.urandom(count)


class Hashes:
    sha256 = staticmethod(hashlib.sha256)
    sha384 = staticmethod(hashlib.sha384)
    sha512 = staticmethod(hashlib.sha512)
    equal = staticmethod(hmac.compare_digest)

    @staticmethod
    def hmac(bits: int, key: bytes, data: bytes) -> bytes:
        return hmac.digest(key, data, f"sha{bits}")

    @staticmethod
    def wipe(data: bytes | bytearray) -> None:
        """The C overwrites bytes too, which CPython does not allow."""
        if isinstance(data, bytearray):
            data[:] = bytes(len(data))


class Aead:
    def __init__(self, cipher: Any) -> None:
        self._cipher = cipher

    def seal(self, nonce: bytes, aad: bytes, data: bytes, head: bytes = b"", tail: bytes = b"") -> bytes:
        if self._cipher is None:
            raise ValueError("wiped")
        return bytes(head) + self._cipher.encrypt(bytes(nonce), bytes(data) + bytes(tail), bytes(aad))

    def seal_records(self, nonce: bytes, tail: int, sequence: int, data: bytes, limit: int) -> bytes:
        """Word by word what RFC 8446 section 5.2 says; the C does the same in one go."""
        records = []
        for at in range(0, len(data), limit):
            inner = bytes(data[at : at + limit]) + b"\x17"  # TLSInnerPlaintext: content, type
            header = b"\x17\x03\x03" + (len(inner) + 16).to_bytes(2, "big")
            last = tail ^ (sequence + len(records))
            records.append(self.seal(bytes(nonce[:8]) + last.to_bytes(4, "big"), header, inner, header))
        return b"".join(records)

    def open(self, nonce: bytes, aad: bytes, data: bytes) -> bytes | None:
        if self._cipher is None:
            raise ValueError("wiped")
        if len(data) < 16:
            return None
        try:
            return self._cipher.decrypt(bytes(nonce), bytes(data), bytes(aad))
        except InvalidTag:
            return None

    def wipe(self) -> None:
        self._cipher = None


class Aeads:
    """names: what to offer, as if this were the processor that it is on."""

    _CIPHERS: ClassVar = {
        "aes128gcm": (aead.AESGCM, 16),
        "aes256gcm": (aead.AESGCM, 32),
        "chacha20poly1305": (aead.ChaCha20Poly1305, 32),
    }

    def __init__(self, names: tuple[str, ...] = ("aes128gcm", "aes256gcm", "chacha20poly1305")) -> None:
        self.names = names

    def make(self, name: str, key: bytes) -> Aead:
        cipher, length = self._CIPHERS[name]
        if name not in self.names or len(key) != length:
            raise ValueError("key")
        return Aead(cipher(bytes(key)))


class X25519:
    @staticmethod
    def public(scalar: bytes) -> bytes:
        return x25519.X25519PrivateKey.from_private_bytes(bytes(scalar)).public_key().public_bytes(**_RAW)

    @staticmethod
    def agree(scalar: bytes, share: bytes) -> bytes:
        peer = x25519.X25519PublicKey.from_public_bytes(bytes(share))
        return x25519.X25519PrivateKey.from_private_bytes(bytes(scalar)).exchange(peer)


class Curve:
    """ECDH and ECDSA over P-256 or P-384."""

    def __init__(self, curve: ec.EllipticCurve) -> None:
        self._curve = curve
        self._bytes = curve.key_size // 8

    def _private(self, scalar: bytes) -> ec.EllipticCurvePrivateKey:
        if len(scalar) != self._bytes:
            raise ValueError("length of a scalar")
        return ec.derive_private_key(int.from_bytes(scalar, "big"), self._curve)

    def _public(self, point: bytes) -> ec.EllipticCurvePublicKey:
        if len(point) != 2 * self._bytes + 1:
            raise ValueError("length of a point")
        return ec.EllipticCurvePublicKey.from_encoded_point(self._curve, bytes(point))

    def public(self, scalar: bytes) -> bytes:
        return self._private(scalar).public_key().public_bytes(**_POINT)

    def agree(self, scalar: bytes, share: bytes) -> bytes:
        return self._private(scalar).exchange(ec.ECDH(), self._public(share))

    def sign(self, scalar: bytes, digest: bytes, extra: bytes) -> bytes:
        """extra: what the C mixes into its nonce; here the library has its own."""
        return self._private(scalar).sign(bytes(digest), ec.ECDSA(Prehashed(_HASHES[len(digest)])))

    def verify(self, point: bytes, digest: bytes, signature: bytes) -> bool:
        try:
            self._public(point).verify(bytes(signature), bytes(digest), ec.ECDSA(Prehashed(_HASHES[len(digest)])))
        except (InvalidSignature, ValueError):
            return False
        return True


class Ed25519:
    @staticmethod
    def public(seed: bytes) -> bytes:
        return ed25519.Ed25519PrivateKey.from_private_bytes(bytes(seed)).public_key().public_bytes(**_RAW)

    @staticmethod
    def sign(seed: bytes, message: bytes) -> bytes:
        return ed25519.Ed25519PrivateKey.from_private_bytes(bytes(seed)).sign(bytes(message))

    @staticmethod
    def verify(public: bytes, message: bytes, signature: bytes) -> bool:
        try:
            ed25519.Ed25519PublicKey.from_public_bytes(bytes(public)).verify(bytes(signature), bytes(message))
        except (InvalidSignature, ValueError):
            return False
        return True


def _rsa_padding(digest: bytes, is_pss: bool) -> padding.AsymmetricPadding:
    if not is_pss:
        return padding.PKCS1v15()
    return padding.PSS(padding.MGF1(_HASHES[len(digest)]), len(digest))


class RsaKey:
    def __init__(self, numbers: list[int]) -> None:
        n, e, d, p, q, dp, dq, qi = numbers
        self._key = rsa.RSAPrivateNumbers(p, q, d, dp, dq, qi, rsa.RSAPublicNumbers(e, n)).private_key()

    def sign(self, digest: bytes, salt: bytes | None) -> bytes:
        """salt: of PSS, as long as the digest, though the library takes its own; None: PKCS#1 v1.5."""
        way = _rsa_padding(digest, salt is not None)
        return self._key.sign(bytes(digest), way, Prehashed(_HASHES[len(digest)]))

    def wipe(self) -> None:
        self._key = None


class Rsa:
    @staticmethod
    def key(*material: bytes) -> RsaKey:
        return RsaKey([int.from_bytes(number, "big") for number in material])

    @staticmethod
    def verify(n: bytes, e: int, is_pss: bool, digest: bytes, signature: bytes) -> bool:
        try:
            key = rsa.RSAPublicNumbers(e, int.from_bytes(n, "big")).public_key()
            key.verify(bytes(signature), bytes(digest), _rsa_padding(digest, is_pss), Prehashed(_HASHES[len(digest)]))
        except (InvalidSignature, ValueError):
            return False
        return True


def reference_crypto(random: Any = None, aeads: tuple[str, ...] | None = None, without: tuple[str, ...] = ()) -> Crypto:
    """All primitives, but those that `without` names ("mlkem768", "rsa" …).

    random: has bytes(count), where a test wants certain ones. aeads: names, in the order of preference.
    """
    primitives = {
        "x25519": X25519,
        "p256": Curve(ec.SECP256R1()),
        "p384": Curve(ec.SECP384R1()),
        "mlkem768": reference_mlkem,
        "rsa": Rsa,
        "ed25519": Ed25519,
    }
    for name in without:
        primitives[name] = None
    return Crypto(random or Random(), Hashes, Aeads(aeads) if aeads else Aeads(), **primitives)
