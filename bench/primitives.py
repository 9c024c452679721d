# SPDX-License-Identifier: MIT
"""Cryptography's primitives by themselves, on the interpreter that images have, beside OpenSSL's in `cryptography`."""

from __future__ import annotations

import hashlib
import hmac
import time
from collections.abc import Callable, Iterator

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa, x25519
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from cryptography.hazmat.primitives.ciphers import aead

from bench.context import Context
from bench.driver import run
from bench.row import Row

PROGRAM = "primitives"
ROUNDS = 40
TITLES = {
    "sha256_record": "SHA-256 of 16 KiB",
    "sha384_record": "SHA-384 of 16 KiB",
    "hmac": "HMAC-SHA-256 of 32 octets",
    "aes128gcm_record": "AES-128-GCM, a record of 16 KiB",
    "aes256gcm_record": "AES-256-GCM, a record of 16 KiB",
    "chacha20poly1305_record": "ChaCha20-Poly1305, a record of 16 KiB",
    "x25519_agree": "X25519",
    "p256_sign": "P-256, sign",
    "p256_verify": "P-256, verify",
    "p256_agree": "P-256, ECDH",
    "p384_sign": "P-384, sign",
    "p384_verify": "P-384, verify",
    "ed25519_sign": "Ed25519, sign",
    "ed25519_verify": "Ed25519, verify",
    "mlkem768_generate": "ML-KEM-768, generate",
    "mlkem768_encapsulate": "ML-KEM-768, encapsulate",
    "mlkem768_decapsulate": "ML-KEM-768, decapsulate",
    "rsa2048_sign": "RSA-2048, sign and check",
    "rsa2048_verify": "RSA-2048, verify",
}


def best_us(function: Callable[..., object], *arguments: object) -> float:
    """The fastest of some rounds, in microseconds of processor time."""
    best = float("inf")
    for _ in range(ROUNDS):
        start = time.process_time_ns()
        for _ in range(5):
            function(*arguments)
        best = min(best, (time.process_time_ns() - start) / 5_000)
    return best


def beside() -> dict[str, float]:
    """The same by OpenSSL: microseconds."""
    scalar, digest, record, nonce = b"\x07" * 32, bytes(range(32)), bytes(16384), bytes(12)
    x25519_key = x25519.X25519PrivateKey.from_private_bytes(scalar)
    p256, p384 = ec.derive_private_key(7, ec.SECP256R1()), ec.derive_private_key(7, ec.SECP384R1())
    ed25519_key = ed25519.Ed25519PrivateKey.from_private_bytes(scalar)
    rsa_key = rsa.generate_private_key(65537, 2048)
    ecdsa = ec.ECDSA(Prehashed(hashes.SHA256()))
    pss = padding.PSS(padding.MGF1(hashes.SHA256()), 32), Prehashed(hashes.SHA256())
    return {
        "sha256_record": best_us(hashlib.sha256, record),
        "sha384_record": best_us(hashlib.sha384, record),
        "hmac": best_us(hmac.digest, scalar, digest, "sha256"),
        "aes128gcm_record": best_us(aead.AESGCM(scalar[:16]).encrypt, nonce, record, b""),
        "aes256gcm_record": best_us(aead.AESGCM(scalar).encrypt, nonce, record, b""),
        "chacha20poly1305_record": best_us(aead.ChaCha20Poly1305(scalar).encrypt, nonce, record, b""),
        "x25519_agree": best_us(x25519_key.exchange, x25519_key.public_key()),
        "p256_agree": best_us(p256.exchange, ec.ECDH(), p256.public_key()),
        "p256_sign": best_us(p256.sign, digest, ecdsa),
        "p256_verify": best_us(p256.public_key().verify, p256.sign(digest, ecdsa), digest, ecdsa),
        "p384_sign": best_us(p384.sign, digest, ecdsa),
        "p384_verify": best_us(p384.public_key().verify, p384.sign(digest, ecdsa), digest, ecdsa),
        "ed25519_sign": best_us(ed25519_key.sign, digest),
        "ed25519_verify": best_us(ed25519_key.public_key().verify, ed25519_key.sign(digest), digest),
        "rsa2048_sign": best_us(rsa_key.sign, digest, *pss),
        "rsa2048_verify": best_us(rsa_key.public_key().verify, rsa_key.sign(digest, *pss), digest, *pss),
    }


def speed(context: Context) -> Iterator[Row]:
    """A row for each primitive."""
    context.progress("primitives of cryptography")
    output = run([str(context.program(PROGRAM))])
    others = beside()
    for line in output.splitlines():
        name, took = line.split()
        if name in TITLES:
            row = Row(TITLES[name], "us")
            row.ours.append(int(took) / 1000)
            if name in others:
                row.beside = "OpenSSL, called from CPython"
                row.theirs.append(others[name])
            yield row
