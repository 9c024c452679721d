# SPDX-License-Identifier: MIT
"""The primitives on hvt: the answers of `cryptography`, on a processor with AES instructions and on others."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from libos.tls.crypto import Crypto
from tests.boot import guests
from tests.crypto.remote import PROGRAMS, encode
from tests.crypto.test_signatures import rsa_material
from tests.tls import reference_mlkem

pytestmark = [pytest.mark.build, pytest.mark.qemu, pytest.mark.slow]

APP = Path(__file__).with_name("apps") / "vectors"
TIMEOUT_S = 120
CIPHERS = {"chacha20poly1305": 32, "aes128gcm": 16, "aes256gcm": 32}
# How many names the agent has before the first object that it makes.
AGENT_TARGETS = len(re.findall(r'^    "\w+": ', (PROGRAMS / "agent.py").read_text(), re.MULTILINE))
RANDOM = ("-device", "virtio-rng-pci")  # for a processor without RDRAND


def vectors(reference: Crypto) -> list[tuple[str, str, str]]:
    """(cipher that it needs or "", call of programs/agent.py, its answer)."""
    made: list[tuple[str, str, str]] = []

    def add(target: str, method: str, *arguments: object, gives: object, needs: str = "") -> None:
        words = [encode(argument) for argument in arguments]
        answer = "(" + ",".join(map(encode, gives)) if isinstance(gives, tuple) else encode(gives)
        made.append((needs, " ".join([target, method, *words]), answer))

    for bits in (256, 384, 512):
        key, data = os.urandom(bits // 8), os.urandom(300)
        add("hashes", "hmac", bits, key, data, gives=reference.hmac(bits, key, data))
    scalar, private = os.urandom(32), os.urandom(32)
    share = reference._curves[0x1D].public(private)
    add("x25519", "public", scalar, gives=reference._curves[0x1D].public(scalar))
    add("x25519", "agree", scalar, share, gives=reference._curves[0x1D].agree(scalar, share))
    p256 = reference._curves[0x17]
    add("p256", "agree", scalar, p256.public(private), gives=p256.agree(scalar, p256.public(private)))
    digest = hashlib.sha256(b"vector").digest()
    for kind, octets in (("p256", 32), ("p384", 48)):
        curve, scalar = reference._kinds[kind], os.urandom(octets)
        add(kind, "public", scalar, gives=curve.public(scalar))
        add(kind, "verify", curve.public(scalar), digest, curve.sign(scalar, digest, b""), gives=True)
        add(kind, "verify", curve.public(scalar), bytes(32), curve.sign(scalar, digest, b""), gives=False)
    seed = os.urandom(64)
    key, encapsulation = reference_mlkem.generate(seed)
    ciphertext, secret = reference_mlkem.encapsulate(encapsulation, bytes(32))
    add("mlkem768", "generate", seed, gives=(key, encapsulation))
    add("mlkem768", "encapsulate", encapsulation, bytes(32), gives=(ciphertext, secret))
    add("mlkem768", "decapsulate", key, ciphertext, gives=secret)
    ed25519 = reference._kinds["ed25519"]
    add("ed25519", "sign", scalar[:32], b"vector", gives=ed25519.sign(scalar[:32], b"vector"))
    signer = reference.signer("rsa", rsa_material())
    for scheme in ("rsa_pkcs1", "rsa_pss"):
        signature = signer.sign(f"{scheme}_sha256", b"vector")
        add("rsa", "verify", *signer.public_key[1:], scheme == "rsa_pss", digest, signature, gives=True)
    # The object that `make` returns is the agent's next one. Those that every processor has come first.
    for number, (name, octets) in enumerate(CIPHERS.items(), AGENT_TARGETS):
        key, nonce, data = os.urandom(octets), os.urandom(12), os.urandom(777)
        made.append((name, f"aeads make s{name} {encode(key)}", f"o{number}"))
        sealed = reference.aead(name, key).seal(nonce, b"aad", data)
        add(f"o{number}", "seal", nonce, b"aad", data, gives=sealed, needs=name)
    return made


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory, reference: Crypto) -> Path:
    source = tmp_path_factory.mktemp("source") / "vectors"
    shutil.copytree(APP, source)
    shutil.copyfile(PROGRAMS / "agent.py", source / "agent.py")
    calls = vectors(reference)
    signers = [
        ("p256", os.urandom(32), "ecdsa_sha256"),
        ("p384", os.urandom(48), "ecdsa_sha384"),
        ("ed25519", os.urandom(32), "ed25519"),
        ("rsa", rsa_material(), "rsa_pss_sha256"),
        ("rsa", rsa_material(1024), "rsa_pkcs1_sha256"),
    ]
    (source / "vectors.py").write_text(f"CALLS = {calls!r}\nSIGNERS = {signers!r}\n")
    return guests.build(source, tmp_path_factory.mktemp("image") / "vectors", "-t", "hvt")


@pytest.mark.parametrize(
    ("cpu", "ciphers"),
    [
        ("max", "aes128gcm aes256gcm chacha20poly1305"),
        # With the one, and without the other instruction that AES-GCM needs.
        ("qemu64", "chacha20poly1305"),
        ("max,-aes", "chacha20poly1305"),
        ("max,-pclmulqdq", "chacha20poly1305"),
    ],
)
def test_answers_on_hvt(image: Path, cpu: str, ciphers: str) -> None:
    done = subprocess.run(
        [
            *guests.TOOL,
            "run",
            str(image),
            "--machine",
            "q35",
            *(f"--qemu-arg={word}" for word in ("-cpu", cpu, *RANDOM)),
        ],
        cwd=image.parent,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        stdin=subprocess.DEVNULL,
        check=False,
    )
    console = done.stdout + done.stderr
    assert done.returncode == 0, console
    assert f"ciphers: {ciphers}\n" in console.replace("\r", ""), console
    assert ", 0 wrong" in console, console
