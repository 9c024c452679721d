# SPDX-License-Identifier: MIT
"""SHA-2, HMAC, AES-GCM and ChaCha20-Poly1305 in C, in a runtime for unix, beside CPython and `cryptography`."""

from __future__ import annotations

import hashlib
import hmac
import os
import random

import pytest

pytestmark = pytest.mark.build

CIPHERS = [("aes128gcm", 16), ("aes256gcm", 32), ("chacha20poly1305", 32)]
NONCE = bytes(range(12))
# Around blocks of 16 and 64 octets, where tails begin; and a whole record.
LENGTHS = [0, 1, 15, 16, 17, 31, 32, 33, 63, 64, 65, 127, 128, 129, 255, 256, 257, 1000, 16384, 16401]


@pytest.mark.parametrize("name", ["sha256", "sha384", "sha512"])
def test_hash(crypto, name: str) -> None:
    reference = getattr(hashlib, name)
    made = getattr(crypto, name)
    assert (made().digest_size, made().block_size) == (reference().digest_size, reference().block_size)
    for length in (0, 1, 55, 56, 63, 64, 65, 111, 112, 119, 120, 127, 128, 129, 1000):
        data = os.urandom(length)
        assert made(data).digest() == reference(data).digest(), length
    pieces = [os.urandom(random.randrange(200)) for _ in range(20)]
    ours, theirs = made(), reference()
    for piece in pieces:
        ours.update(piece)
        theirs.update(piece)
        assert ours.digest() == theirs.digest()
        assert ours.digest() == theirs.digest(), "a digest ends nothing"


def test_hash_copies_go_their_own_ways(crypto) -> None:
    first = crypto.sha384(b"a")
    second = first.copy()
    first.update(b"b")
    second.update(b"c")
    third = second.copy()
    assert first.digest() == hashlib.sha384(b"ab").digest()
    assert second.digest() == third.digest() == hashlib.sha384(b"ac").digest()


@pytest.mark.parametrize("bits", [256, 384, 512])
def test_hmac(crypto, bits: int) -> None:
    for key_length in (0, 1, 32, 48, 63, 64, 65, 127, 128, 129, 200):
        key, data = os.urandom(key_length), os.urandom(key_length * 3)
        assert crypto.hmac(bits, key, data) == hmac.digest(key, data, f"sha{bits}")


def test_hmac_with_another_hash(crypto) -> None:
    for bits in (0, 1, 160, 224, 257 * 8):
        with pytest.raises(ValueError, match="hash"):
            crypto.hmac(bits, b"", b"")


def test_equal(crypto) -> None:
    assert crypto.equal(b"", b"")
    assert crypto.equal(bytes(64), bytearray(64))
    assert not crypto.equal(b"a", b"")
    assert not crypto.equal(bytes(32), bytes(33))
    for at in range(64):
        assert not crypto.equal(bytes(64), bytes(at) + b"\x80" + bytes(63 - at))


@pytest.mark.parametrize(("name", "key_length"), CIPHERS)
def test_cipher(crypto, reference, name: str, key_length: int) -> None:
    key = os.urandom(key_length)
    ours, theirs = crypto.aead(name, key), reference.aead(name, key)
    for length in LENGTHS:
        for aad_length in (0, 1, 5, 13, 16, 17):
            data, aad, nonce = os.urandom(length), os.urandom(aad_length), os.urandom(12)
            sealed = ours.seal(nonce, aad, data)
            assert sealed == theirs.seal(nonce, aad, data), (length, aad_length)
            assert ours.open(nonce, aad, sealed) == data
            if length > 1000:
                break


@pytest.mark.parametrize(("name", "key_length"), CIPHERS)
def test_cipher_with_head_and_tail(crypto, reference, name: str, key_length: int) -> None:
    """A record of TLS 1.3 in one go: its header, and the type behind the data (RFC 8446 section 5.2)."""
    key = bytes(key_length)
    for length in (0, 1, 16, 100):
        head, data, tail = b"\x17\x03\x03\x00\x10", os.urandom(length), b"\x17"
        sealed = crypto.aead(name, key).seal(NONCE, head, data, head, tail)
        assert sealed == head + reference.aead(name, key).seal(NONCE, head, data + tail)
        assert crypto.aead(name, key).open(NONCE, head, sealed[5:]) == data + tail


@pytest.mark.parametrize(("name", "key_length"), CIPHERS)
def test_records_in_one_object(crypto, reference, name: str, key_length: int) -> None:
    key, nonce, data = os.urandom(key_length), os.urandom(12), os.urandom(65536)
    ours, theirs = crypto.aead(name, key), reference.aead(name, key)
    tail = int.from_bytes(nonce[8:], "big")
    for length in (0, 1, 100, 16383, 16384, 16385, 65535, 65536):
        for limit in (100, 501, 16383, 16384):
            for sequence in (0, 0x7FFFFE):
                arguments = (nonce, tail, sequence, data[:length], limit)
                assert ours.seal_records(*arguments) == theirs.seal_records(*arguments), (length, limit, sequence)
    # Each is what seal() makes of its part: the second one, under its nonce.
    header = b"\x17\x03\x03\x00\x75"
    second = ours.seal(nonce[:8] + (tail ^ 8).to_bytes(4, "big"), header, data[100:200], header, b"\x17")
    assert ours.seal_records(nonce, tail, 7, memoryview(data)[:250], 100)[122:244] == second


@pytest.mark.parametrize(("name", "key_length"), CIPHERS)
def test_records_of_wrong_lengths(crypto, name: str, key_length: int) -> None:
    cipher = crypto.aead(name, bytes(key_length))
    for nonce_length, limit in ((11, 100), (13, 100), (0, 100), (12, 0), (12, -1), (12, 16385)):
        with pytest.raises(ValueError, match="length"):
            cipher.seal_records(bytes(nonce_length), 0, 0, b"data", limit)
    cipher.wipe()
    with pytest.raises(ValueError, match="wiped"):
        cipher.seal_records(NONCE, 0, 0, b"data", 100)


@pytest.mark.parametrize(("name", "key_length"), CIPHERS)
def test_damaged_or_cut_is_none(crypto, name: str, key_length: int) -> None:
    cipher = crypto.aead(name, os.urandom(key_length))
    sealed = cipher.seal(NONCE, b"aad", b"seventeen octets!")
    for bit in range(8 * len(sealed)):
        damaged = bytearray(sealed)
        damaged[bit // 8] ^= 1 << bit % 8
        assert cipher.open(NONCE, b"aad", bytes(damaged)) is None
    for length in range(len(sealed)):
        assert cipher.open(NONCE, b"aad", sealed[:length]) is None
    assert cipher.open(NONCE, b"aad", sealed + b"\0") is None
    assert cipher.open(NONCE, b"aae", sealed) is None
    assert cipher.open(NONCE, b"", sealed) is None
    assert cipher.open(bytes(12), b"aad", sealed) is None
    assert cipher.open(NONCE, b"aad", sealed) == b"seventeen octets!"


@pytest.mark.parametrize(("name", "key_length"), CIPHERS)
def test_cipher_of_wrong_lengths(crypto, name: str, key_length: int) -> None:
    for length in (0, 15, 17, 24, 31, 33, 48 - key_length):
        with pytest.raises(ValueError, match="cipher"):
            crypto.aead(name, bytes(length))
    cipher = crypto.aead(name, bytes(key_length))
    for length in (0, 8, 11, 13, 16):
        for call in (cipher.seal, cipher.open):
            with pytest.raises(ValueError, match="length"):
                call(bytes(length), b"", bytes(32))
    with pytest.raises(ValueError, match="cipher"):
        crypto.aead("rc4", bytes(16))


@pytest.mark.parametrize(("name", "key_length"), CIPHERS)
def test_wiped_cipher_does_nothing(crypto, name: str, key_length: int) -> None:
    cipher = crypto.aead(name, bytes(key_length))
    sealed = cipher.seal(NONCE, b"", b"data")
    cipher.wipe()
    cipher.wipe()
    with pytest.raises(ValueError, match="wiped"):
        cipher.seal(NONCE, b"", b"data")
    with pytest.raises(ValueError, match="wiped"):
        cipher.open(NONCE, b"", sealed)


def test_ciphers_come_with_the_processors_instructions(crypto) -> None:
    with open("/proc/cpuinfo") as file:
        flags = next(line for line in file if line.startswith("flags")).split()
    has_aes = {"aes", "pclmulqdq", "ssse3", "sse4_1"} <= set(flags)
    gcm = ("aes128gcm", "aes256gcm") if has_aes else ()
    assert crypto.aeads == (*gcm, "chacha20poly1305")


@pytest.mark.parametrize(("name", "key_length"), CIPHERS)
def test_discarded_record_is_room_for_the_next(crypto, agent, reference, name: str, key_length: int) -> None:
    """Of full length; whatever is in it is overwritten, and nobody gets it twice."""
    key = bytes(key_length)
    ours, theirs = crypto.aead(name, key), reference.aead(name, key)
    kept = []
    for length in (16384, 16384, 16400, 65608, 16384, 100, 65608, 16384):
        for filling in (b"\xff", b"\x00"):
            crypto.discard(filling * (length + 16))
        for _ in range(6):
            data = os.urandom(length)
            kept.append((ours.seal(NONCE, b"aad", data), theirs.seal(NONCE, b"aad", data)))
    assert all(found == expected for found, expected in kept)
    assert agent.call("checks", "discarded", 16384) == b""
    assert len(agent.call("checks", "discarded", 100)) == 116  # too short to be worth it
    for other in (bytearray(20000), None, 5, "text"):
        assert crypto.discard(other) is None
