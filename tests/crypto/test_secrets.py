# SPDX-License-Identifier: MIT
"""What is left of secrets: the stack of the process is read from outside after each call, with memory and without."""

from __future__ import annotations

import hashlib
import hmac
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.crypto.remote import Agent
from tests.crypto.test_signatures import ORDERS, octets, rsa_material
from tests.tls import reference_mlkem
from tests.tls.reference_crypto import X25519, Curve, ec

pytestmark = pytest.mark.build

P256, P384 = Curve(ec.SECP256R1()), Curve(ec.SECP384R1())


@pytest.fixture
def fresh(image: Path) -> Iterator[Agent]:
    """A process whose stack has only what the test itself put there."""
    agent = Agent(image)
    yield agent
    agent.close()


def region(agent: Agent, name: str) -> bytes:
    """The memory of the process that its maps call so; "": all that it may write."""
    process = Path(f"/proc/{agent.process.pid}")
    found = b""
    with open(process / "mem", "rb") as memory:
        for line in (process / "maps").read_text().splitlines():
            match = re.match(r"(\w+)-(\w+) (\S+) .*?(\[\w+\])?$", line)
            if match and match[3][:2] == "rw" and (not name or match[4] == name):
                memory.seek(int(match[1], 16))
                found += memory.read(int(match[2], 16) - int(match[1], 16))
    return found


def forms(secret: bytes) -> Iterator[bytes]:
    """As octets, and in words with the lowest first; sixteen octets of it are enough to be it."""
    for order in (secret, secret[::-1]):
        for at in range(0, len(order) - 15, 8):
            yield order[at : at + 16]


def assert_gone(agent: Agent, *secrets: bytes) -> None:
    stack = region(agent, "[stack]")
    assert len(stack) > 8192
    for number, secret in enumerate(secrets):
        for form in forms(secret):
            assert form not in stack, f"secret {number} is on the stack"


def nonce(scalar: bytes, digest: bytes, extra: bytes) -> bytes:
    """The first of RFC 6979 with additional data, for an order that its digest is below."""
    key, value = bytes(32), b"\1" * 32
    for mark in (b"\0", b"\1"):
        key = hmac.digest(key, value + mark + scalar + digest + extra, "sha256")
        value = hmac.digest(key, value, "sha256")
    return hmac.digest(key, value, "sha256")


def calls() -> dict[str, tuple[tuple, list[bytes]]]:
    """Name -> (call, the secrets that are in it and that it makes)."""
    scalar, peer, seed, noise, extra = os.urandom(32), os.urandom(32), os.urandom(64), os.urandom(32), os.urandom(32)
    digest = b"\x11" + os.urandom(31)
    share, point = X25519.public(peer), P256.public(peer)
    long, data = os.urandom(48), os.urandom(200)
    key, encapsulation = reference_mlkem.generate(seed)
    ciphertext, secret = reference_mlkem.encapsulate(encapsulation, noise)
    pads = [bytes(octet ^ pad for octet in scalar) for pad in (0x36, 0x5C)]
    inner = hashlib.sha256(pads[0] + b"\x36" * 32 + data).digest()
    return {
        "hmac": (("hashes", "hmac", 256, scalar, data), [scalar, *pads, inner]),
        "x25519 public": (("x25519", "public", scalar), [scalar]),
        "x25519 agree": (("x25519", "agree", scalar, share), [scalar, X25519.agree(scalar, share)]),
        "p256 public": (("p256", "public", scalar), [scalar]),
        "p256 agree": (("p256", "agree", scalar, point), [scalar, P256.agree(scalar, point)]),
        "p256 sign": (("p256", "sign", scalar, digest, extra), [scalar, nonce(scalar, digest, extra)]),
        "p384 public": (("p384", "public", long), [long]),
        "p384 sign": (("p384", "sign", long, digest, extra), [long]),
        "ed25519 sign": (("ed25519", "sign", scalar, data), [scalar, *halves(hashlib.sha512(scalar).digest())]),
        "mlkem768 generate": (("mlkem768", "generate", seed), [seed, key[:1152]]),
        "mlkem768 encapsulate": (("mlkem768", "encapsulate", encapsulation, noise), [noise, secret]),
        "mlkem768 decapsulate": (("mlkem768", "decapsulate", key, ciphertext), [noise, secret, key[:1152]]),
        "aead": (("aeads", "make", "chacha20poly1305", scalar), [scalar]),
    }


def halves(octets: bytes) -> list[bytes]:
    return [octets[:32], octets[32:]]


@pytest.mark.parametrize("name", sorted(calls()))
def test_nothing_is_left_on_the_stack(fresh: Agent, name: str) -> None:
    call, secrets = calls()[name]
    fresh.call(*call)
    assert_gone(fresh, *secrets)


@pytest.mark.parametrize("name", sorted(calls()))
def test_nothing_is_left_when_there_was_no_memory(fresh: Agent, name: str) -> None:
    call, secrets = calls()[name]
    with pytest.raises(MemoryError):
        fresh.call(*call, prefix="starved")
    assert_gone(fresh, *secrets)
    fresh.call(*call)


def test_nothing_of_a_key_of_rsa_is_left_on_the_stack(fresh: Agent) -> None:
    material = rsa_material()
    key = fresh.call("rsa", "key", *material)
    key.sign(hashlib.sha256(b"m").digest(), os.urandom(32))
    # As octets, and as words of 31 bits in 32, which its arithmetic works with.
    secrets = list(material[2:])
    for number in material[3:]:
        value = int.from_bytes(number, "big")
        secrets.append(b"".join((value >> 31 * at & 0x7FFFFFFF).to_bytes(4, "little") for at in range(20)))
    assert_gone(fresh, *secrets)


def aes_words(key: bytes) -> bytes:
    """The second round key of AES-128: four words that only the key's schedule has (FIPS 197 section 5.2)."""

    def times(a: int, b: int) -> int:
        product = 0
        while b:
            product ^= a * (b & 1)
            a, b = (a << 1) ^ (0x11B if a & 0x80 else 0), b >> 1
        return product

    def substitute(octet: int) -> int:
        inverse = next((other for other in range(256) if times(octet, other) == 1), 0)
        turned = inverse
        for _ in range(4):
            inverse = (inverse << 1 | inverse >> 7) & 255
            turned ^= inverse
        return turned ^ 0x63

    words = [key[at : at + 4] for at in range(0, 16, 4)]
    last = bytes(substitute(octet) for octet in words[3][1:] + words[3][:1])
    previous, made = bytes([last[0] ^ 1]) + last[1:], []
    for word in words:
        previous = bytes(a ^ b for a, b in zip(word, previous, strict=True))
        made.append(previous)
    return b"".join(made)


def test_a_wiped_cipher_is_nowhere(fresh: Agent) -> None:
    names = fresh.call("aeads", "names")
    if "aes128gcm" not in names:
        pytest.skip("this processor has no AES instructions")
    key = os.urandom(16)
    cipher = fresh.call("aeads", "make", "aes128gcm", key)
    assert aes_words(key) in region(fresh, ""), "the scan would find it"
    cipher.seal(bytes(12), b"", os.urandom(100))
    assert_gone(fresh, key, aes_words(key))
    cipher.wipe()
    assert aes_words(key) not in region(fresh, "")


def test_a_wiped_key_of_rsa_is_nowhere(fresh: Agent) -> None:
    # The arguments' own octets are still on the heap: what is looked for is that numbers follow each other.
    material = rsa_material(1024)
    key = fresh.call("rsa", "key", *material)
    joined = material[3][-16:] + material[4][:16]
    assert joined in region(fresh, "")
    key.wipe()
    assert joined not in region(fresh, "")


def test_wipe_overwrites_bytes_of_the_heap_and_no_constant(fresh: Agent) -> None:
    secret = os.urandom(40)
    public = fresh.call("x25519", "public", bytes(32))
    fresh.call("hashes", "wipe", secret)
    # The line that said it to the process had it in hexadecimal digits.
    assert secret not in region(fresh, "")
    fresh.call("hashes", "wipe", b"")
    assert fresh.call("x25519", "public", bytes(32)) == public


def test_a_plaintext_of_a_wrong_tag_is_nowhere(fresh: Agent) -> None:
    key, text = os.urandom(32), os.urandom(200)
    cipher = fresh.call("aeads", "make", "chacha20poly1305", key)
    other = Agent(fresh.process.args[0])
    sealed = other.call("aeads", "make", "chacha20poly1305", key).seal(bytes(12), b"", text)
    other.close()
    assert cipher.open(bytes(12), b"", sealed[:-1] + bytes([sealed[-1] ^ 1])) is None
    assert text[64:96] not in region(fresh, "")
    assert cipher.open(bytes(12), b"", sealed) == text
    assert text[64:96] in region(fresh, ""), "the scan would find it"


def test_orders_and_octets_are_what_the_helpers_say() -> None:
    digest, scalar = (
        hashlib.sha256(b"sample").digest(),
        bytes.fromhex("C9AFA9D845BA75166B5C215767B1D6934E50C3DB36E89B127B8A622B120F6721"),
    )
    assert nonce(scalar, digest, b"").hex() == "a6e3c57dd01abe90086538398355dd4c3b17aa873382b0f24d6129493d8aad60"
    assert octets(ORDERS["p256"]) == ORDERS["p256"].to_bytes(32, "big")
    assert aes_words(bytes.fromhex("2b7e151628aed2a6abf7158809cf4f3c")).hex() == "a0fafe1788542cb123a339392a6c7605"
