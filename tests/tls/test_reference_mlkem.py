# SPDX-License-Identifier: MIT
"""The plain ML-KEM-768 that tests stand on, beside the one of `cryptography`."""

from __future__ import annotations

import os

import pytest
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey, MLKEM768PublicKey

from tests.tls import reference_mlkem


@pytest.mark.parametrize("seed", [bytes(64), b"\xff" * 64, None], ids=["zeros", "ones", "random"])
def test_agrees_with_another_implementation(seed: bytes | None) -> None:
    seed = os.urandom(64) if seed is None else seed
    try:
        other = MLKEM768PrivateKey.from_seed_bytes(seed)
    except UnsupportedAlgorithm:
        pytest.fail("this build of cryptography has no ML-KEM: install its wheel")
    private, public = reference_mlkem.generate(seed)
    assert other.public_key().public_bytes_raw() == public
    ciphertext, secret = reference_mlkem.encapsulate(public, seed[:32])
    assert other.decapsulate(ciphertext) == secret == reference_mlkem.decapsulate(private, ciphertext)
    theirs, their_ciphertext = MLKEM768PublicKey.from_public_bytes(public).encapsulate()
    assert reference_mlkem.decapsulate(private, their_ciphertext) == theirs
    damaged = bytes([ciphertext[0] ^ 1]) + ciphertext[1:]
    assert other.decapsulate(damaged) == reference_mlkem.decapsulate(private, damaged) != secret


def test_keys_that_are_none() -> None:
    private, public = reference_mlkem.generate(bytes(64))
    ciphertext, _ = reference_mlkem.encapsulate(public, bytes(32))
    # The first coefficient (12 bits) as 3329, the modulus itself, and as 4095.
    unreduced = [bytes([value & 255, value >> 8 | public[1] & 0xF0]) + public[2:] for value in (3329, 4095)]
    for key in (public[:-1], public + b"\0", *unreduced):
        with pytest.raises(ValueError, match="encapsulation key"):
            reference_mlkem.encapsulate(key, bytes(32))
    with pytest.raises(ValueError, match="length"):
        reference_mlkem.decapsulate(private, ciphertext[:-1])
