# SPDX-License-Identifier: MIT
"""The primitives of images, all of them. MicroPython."""

from hashlib import sha256

from libos.hal.aead import Aeads
from libos.hal.ed25519 import Ed25519
from libos.hal.hashes import Hashes
from libos.hal.mlkem768_full import MlKem768Full
from libos.hal.p256_full import P256Full
from libos.hal.p384_full import P384Full
from libos.hal.random import Random
from libos.hal.rsa_full import RsaFull
from libos.hal.x25519 import X25519
from libos.tls.crypto import Crypto


def make_crypto(groups):
    primitives = (X25519, P256Full, P384Full, MlKem768Full, RsaFull, Ed25519)
    crypto = Crypto(Random(), Hashes(), Aeads(), *[kind() for kind in primitives])
    crypto.groups = groups
    return crypto


def material(name):
    """A private key."""
    return sha256(name.encode()).digest()
