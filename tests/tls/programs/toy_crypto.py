# SPDX-License-Identifier: MIT
"""Primitives for engines on a runtime without any but SHA-256: as bad as they are quick to write. MicroPython.

They notice damage, and both sides come to the same secrets; nothing is secret.
"""

import os
from hashlib import sha256

_STATE_BYTES = 512  # of a cipher's state, for what connections take in memory


class Hash:
    digest_size = 32
    block_size = 64

    def __init__(self, data):
        self.parts = bytearray(data)

    def update(self, data):
        self.parts.extend(data)

    def digest(self):
        return sha256(self.parts).digest()

    def copy(self):
        return Hash(self.parts)


class Aead:
    def __init__(self, key):
        self.key = bytes(key)
        self.state = bytearray(_STATE_BYTES)

    def _tag(self, nonce, aad, data):
        return sha256(self.key + bytes(nonce) + bytes(aad) + data).digest()[:16]

    def _stream(self, nonce, data):
        pad = sha256(self.key + bytes(nonce)).digest()[0]
        return bytes([octet ^ pad for octet in data])

    def seal(self, nonce, aad, data, head=b"", tail=b""):
        data = self._stream(nonce, bytes(data) + tail)
        return bytes(head) + data + self._tag(nonce, aad, data)

    def open(self, nonce, aad, data):
        data = bytes(data)
        if len(data) < 16 or data[-16:] != self._tag(nonce, aad, data[:-16]):
            return None
        return self._stream(nonce, data[:-16])

    def wipe(self):
        self.key = b""


class Signer:
    def __init__(self, key):
        self.key = key
        self.public_key = ("p256", key)

    def sign(self, algorithm, message):
        return sha256(self.key + message).digest()


class ToyCrypto:
    aeads = ("aes128gcm", "chacha20poly1305")
    key_kinds = ("p256",)

    def __init__(self, groups=(0x001D, 0x0017)):
        self.groups = groups

    def random(self, count):
        return bytearray(os.urandom(count))

    def sha256(self, data=b""):
        return Hash(data)

    def hmac(self, bits, key, data):
        return sha256(bytes(key) + b"|" + bytes(data)).digest()

    def equal(self, a, b):
        return bytes(a) == bytes(b)

    def wipe(self, data):
        if type(data) is bytearray:
            data[:] = bytes(len(data))

    def aead(self, name, key):
        return Aead(key)

    def generate(self, group):
        return b"", self.random(32)

    def respond(self, group, share):
        if len(share) != 32:
            raise ValueError("share")
        return bytes(share), bytes(share)

    def agree(self, group, private, share):
        return bytes(share)

    def verify(self, key, algorithm, message, signature):
        return sha256(key[1] + message).digest() == signature

    def signer(self, kind, material):
        return Signer(material)


def make_crypto(groups):
    return ToyCrypto(groups)


def material(name):
    return name.encode()
