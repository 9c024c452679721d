# SPDX-License-Identifier: MIT
"""Cryptography's primitives by themselves, on the interpreter that images have, beside OpenSSL's in `cryptography`."""

from __future__ import annotations

import hashlib
import hmac
import time
from collections.abc import Callable, Iterator

from bench.context import Context
from bench.driver import run
from bench.row import Row
from tests.tls.reference_crypto import Crypto, reference_crypto

PROGRAM = "primitives"
ROUNDS = 7
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
        for _ in range(20):
            function(*arguments)
        best = min(best, (time.process_time_ns() - start) / 20_000)
    return best


def beside() -> dict[str, float]:
    """The same by OpenSSL, where it is called by a name of its own: microseconds."""
    crypto: Crypto = reference_crypto()
    scalar, digest, record = b"\x07" * 32, bytes(range(32)), bytes(16384)
    x25519, p256 = crypto._curves[0x1D], crypto._curves[0x17]
    found = {
        "sha256_record": best_us(hashlib.sha256, record),
        "sha384_record": best_us(hashlib.sha384, record),
        "hmac": best_us(hmac.digest, scalar, digest, "sha256"),
        "x25519_agree": best_us(x25519.agree, scalar, x25519.public(scalar)),
        "p256_agree": best_us(p256.agree, scalar, p256.public(scalar)),
    }
    for cipher in crypto.aeads:
        key = scalar[: 16 if cipher == "aes128gcm" else 32]
        found[f"{cipher}_record"] = best_us(crypto.aead(cipher, key).seal, bytes(12), b"", record)
    return found


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
