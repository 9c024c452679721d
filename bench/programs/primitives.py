# SPDX-License-Identifier: MIT
"""What each primitive of the hal takes: `NAME NANOSECONDS`, the best of some rounds of a few calls each."""

import time

from rsa_material import MATERIAL

from libos.hal.aead import Aeads
from libos.hal.ed25519 import Ed25519
from libos.hal.hashes import Hashes
from libos.hal.mlkem768_full import MlKem768Full
from libos.hal.p256_full import P256Full
from libos.hal.p384_full import P384Full
from libos.hal.rsa_full import RsaFull
from libos.hal.x25519 import X25519

ROUNDS = 40  # short ones, between which others may have the processor
RECORD = bytes(16384)
NONCE = bytes(12)


def measure(name, calls, function, *arguments):
    best = None
    for _ in range(ROUNDS):
        start = time.time_ns()
        for _ in range(calls):
            function(*arguments)
        took = (time.time_ns() - start) // calls
        if best is None or took < best:
            best = took
    print(name, best)


hashes, x25519, p256, p384 = Hashes(), X25519(), P256Full(), P384Full()
mlkem768, rsa, ed25519 = MlKem768Full(), RsaFull(), Ed25519()
scalar, digest = b"\x07" * 32, bytes(range(32))

measure("sha256_record", 5, hashes.sha256, RECORD)
measure("sha384_record", 5, hashes.sha384, RECORD)
measure("hmac", 200, hashes.hmac, 256, scalar, digest)
for name in Aeads().names:
    cipher = Aeads().make(name, scalar[: 16 if name == "aes128gcm" else 32])
    measure(name + "_record", 5, cipher.seal, NONCE, b"", RECORD)
share = x25519.public(scalar)
measure("x25519_agree", 10, x25519.agree, scalar, share)
point = p256.public(scalar)
measure("p256_sign", 5, p256.sign, scalar, digest, scalar)
measure("p256_verify", 2, p256.verify, point, digest, p256.sign(scalar, digest, b""))
measure("p256_agree", 2, p256.agree, scalar, point)
long = scalar + scalar[:16]
point = p384.public(long)
measure("p384_sign", 1, p384.sign, long, digest, scalar)
measure("p384_verify", 1, p384.verify, point, digest, p384.sign(long, digest, b""))
measure("ed25519_sign", 5, ed25519.sign, scalar, digest)
measure("ed25519_verify", 5, ed25519.verify, ed25519.public(scalar), digest, ed25519.sign(scalar, digest))
key, share = mlkem768.generate(scalar + scalar)
measure("mlkem768_generate", 5, mlkem768.generate, scalar + scalar)
measure("mlkem768_encapsulate", 5, mlkem768.encapsulate, share, scalar)
measure("mlkem768_decapsulate", 5, mlkem768.decapsulate, key, mlkem768.encapsulate(share, scalar)[0])
private = rsa.key(*MATERIAL)
measure("rsa2048_sign", 1, private.sign, digest, digest)
number = int.from_bytes(MATERIAL[1], "big")
measure("rsa2048_verify", 2, rsa.verify, MATERIAL[0], number, True, digest, private.sign(digest, digest))
