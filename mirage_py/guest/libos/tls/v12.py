# SPDX-License-Identifier: MIT
"""What both sides of TLS 1.2 have in common (RFC 5246): keys, records, Finished, and what comes after a handshake.

Only ECDHE (RFC 8422) with AEADs (RFC 5288, 5289, 7905) and the extended master secret (RFC 7627). No renegotiation.
"""

import struct

from micropython import const

from .authentication import MAX_CHAIN
from .codec import CERTIFICATE, CLIENT_HELLO, FINISHED, HELLO_REQUEST, Reader, message, vector24
from .errors import BAD_CERTIFICATE, DECRYPT_ERROR, ILLEGAL_PARAMETER, INTERNAL_ERROR, UNEXPECTED_MESSAGE, TlsError
from .signatures import acceptable

CHANGE_CIPHER_SPEC = const(20)
ALERT = const(21)
HANDSHAKE = const(22)
# What a handshake expects where no message but a change_cipher_spec is due.
SPEC = const(-1)

_X25519MLKEM768 = const(0x11EC)
_TAG_BYTES = const(16)
_APPLICATION_DATA = const(23)
_MAX_HELLO = const(16384)
_FINISHED_BYTES = const(12)

# number -> (name, AEAD, bits of the hash, octets of the key, octets of the nonce that are the key's, whether it is RSA)
SUITES = {
    0xC02B: ("TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256", "aes128gcm", 256, 16, 4, False),
    0xC02F: ("TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", "aes128gcm", 256, 16, 4, True),
    0xC02C: ("TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384", "aes256gcm", 384, 32, 4, False),
    0xC030: ("TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384", "aes256gcm", 384, 32, 4, True),
    0xCCA9: ("TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256", "chacha20poly1305", 256, 32, 12, False),
    0xCCA8: ("TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256", "chacha20poly1305", 256, 32, 12, True),
}
# Of a signature: number -> (algorithm, the kinds of keys that make it). ECDSA's say nothing of the curve here.
_ECDSA = ("p256", "p384")
SCHEMES = {
    0x0403: ("ecdsa_sha256", _ECDSA),
    0x0503: ("ecdsa_sha384", _ECDSA),
    0x0603: ("ecdsa_sha512", _ECDSA),
    0x0807: ("ed25519", ("ed25519",)),
    0x0804: ("rsa_pss_sha256", ("rsa",)),
    0x0805: ("rsa_pss_sha384", ("rsa",)),
    0x0806: ("rsa_pss_sha512", ("rsa",)),
    0x0401: ("rsa_pkcs1_sha256", ("rsa",)),
    0x0501: ("rsa_pkcs1_sha384", ("rsa",)),
    0x0601: ("rsa_pkcs1_sha512", ("rsa",)),
}
_PREFERRED = (0x0403, 0x0503, 0x0603, 0x0807, 0x0804, 0x0805, 0x0806, 0x0401, 0x0501, 0x0601)


def choose(kind, offered):
    """(number, algorithm) to sign with a key of that kind, out of the peer's numbers; None when there is none."""
    for number in _PREFERRED:
        algorithm, kinds = SCHEMES[number]
        if number in offered and kind in kinds:
            return (number, algorithm)
    return None


def check_signature(crypto, key, number, message, signature):
    """Checks the peer's signature of what stands in `message`, in a scheme that we offered. key: as crypto has it."""
    algorithm, kinds = SCHEMES.get(number, ("", ()))
    if key[0] not in kinds or number not in acceptable(crypto):
        raise TlsError(ILLEGAL_PARAMETER, "signature of a kind that was not offered")
    if not crypto.verify(key, algorithm, message, signature):
        raise TlsError(DECRYPT_ERROR, "signature wrong")


def read_chain(data):
    """list of DER of a Certificate message (section 7.4.2)."""
    outer = Reader(data, "Certificate", 4)
    entries = Reader(outer.vector(3), "Certificate")
    outer.finish()
    chain = []
    while entries.at < entries.end:
        chain.append(entries.vector(3, 1))
        if len(chain) > MAX_CHAIN:
            raise TlsError(BAD_CERTIFICATE, "certificate chain too long")
    return chain


def write_chain(chain):
    """The Certificate message."""
    return message(CERTIFICATE, vector24(b"".join([vector24(der) for der in chain])))


def groups(crypto):
    """The groups that 1.2 knows."""
    return [group for group in crypto.groups if group != _X25519MLKEM768]


def prf(crypto, bits, secret, seed, count):
    """`count` octets of P_hash (section 5). seed: the label and the seed."""
    found = b""
    state = seed
    while len(found) < count:
        state = crypto.hmac(bits, secret, state)
        found += crypto.hmac(bits, secret, state + seed)
    return found[:count]


def master_secret(crypto, bits, shared, hashed):
    """RFC 7627 section 4. hashed: of all messages up to and with ClientKeyExchange."""
    return prf(crypto, bits, shared, b"extended master secret" + hashed, 48)


def finished(crypto, bits, master, label, hashed):
    """The Finished message (section 7.4.9). label: "client finished" or "server finished"."""
    return message(FINISHED, prf(crypto, bits, master, label + hashed, _FINISHED_BYTES))


def check_finished(crypto, bits, master, label, hashed, data):
    if not crypto.equal(data, finished(crypto, bits, master, label, hashed)):
        raise TlsError(DECRYPT_ERROR, "Finished wrong")


def key_pair(crypto, suite, master, client_random, server_random):
    """(the client's Keys, the server's) of a master secret (section 6.3). suite: its entry in SUITES."""
    _, aead, bits, key_bytes, iv_bytes, _ = suite
    block = prf(crypto, bits, master, b"key expansion" + server_random + client_random, 2 * (key_bytes + iv_bytes))
    at = 2 * key_bytes
    pair = (
        Keys(crypto, aead, block[:key_bytes], block[at : at + iv_bytes]),
        Keys(crypto, aead, block[key_bytes:at], block[at + iv_bytes :]),
    )
    crypto.wipe(block)
    return pair


class Keys:
    """One direction under one key, as record.Keys has it for TLS 1.3.

    AES-GCM's records carry eight octets of the nonce (RFC 5288 section 3); ours are the sequence number. Those of
    ChaCha20-Poly1305 carry none (RFC 7905 section 2).
    """

    def __init__(self, crypto, aead, key, iv):
        self.crypto = crypto
        self.aead = crypto.aead(aead, key)
        crypto.wipe(key)
        self.nonce = bytearray(iv)
        self.explicit = 12 - len(iv)
        self.overhead = self.explicit + _TAG_BYTES
        # A sequence number ends before 2**32 (Connection sees to it): its first four octets are zeros.
        self.tail = 0 if self.explicit else struct.unpack_from(">I", self.nonce, 8)[0]
        self.nonce.extend(bytes(self.explicit))
        self.sequence = 0
        self.kind = 0

    def seal(self, kind, data):
        """The record with `data`, header included."""
        sequence = self.sequence
        self.sequence = sequence + 1
        nonce = self.nonce
        size = len(data)
        aad = struct.pack(">QBHH", sequence, kind, 0x0303, size)
        if self.explicit:
            head = struct.pack(">BHHQ", kind, 0x0303, size + 24, sequence)
            nonce[4:] = head[5:]
        else:
            head = struct.pack(">BHH", kind, 0x0303, size + 16)
            struct.pack_into(">I", nonce, 8, self.tail ^ sequence)
        return self.aead.seal(nonce, aad, data, head)

    def seal_data(self, data, limit, output):
        """As record.Keys has it, in an object for each record."""
        for at in range(0, len(data), limit):
            output.append(self.seal(_APPLICATION_DATA, data[at : at + limit]))

    def open(self, record):
        """The plaintext of a record (a memoryview, header included), its type in `kind`; None: it is not authentic."""
        size = len(record) - 5 - self.overhead
        if size < 0:
            return None
        sequence = self.sequence
        nonce = self.nonce
        start = 5 + self.explicit
        if self.explicit:
            nonce[4:] = record[5:start]
        else:
            struct.pack_into(">I", nonce, 8, self.tail ^ sequence)
        kind = record[0]
        aad = struct.pack(">QBBBH", sequence, kind, record[1], record[2], size)
        plain = self.aead.open(nonce, aad, record[start:])
        if plain is None:
            return None
        self.sequence = sequence + 1
        self.kind = kind
        return plain

    def wipe(self):
        self.crypto.wipe(self.nonce)
        self.aead.wipe()


class Established:
    """The `handshake` of an established connection (connection.py). Who wants to renegotiate is refused and counted."""

    max_bytes = _MAX_HELLO

    def __init__(self, connection, is_server):
        self.connection = connection
        self.expected = CLIENT_HELLO if is_server else HELLO_REQUEST

    def receive(self, kind, data):
        connection = self.connection
        if kind != self.expected:
            raise TlsError(UNEXPECTED_MESSAGE, "message %d after the handshake" % kind)
        counters = connection.context.counters
        counters["renegotiations"] = counters.get("renegotiations", 0) + 1
        # So many in a row, and the connection ends.
        connection.note_idle()
        if not connection.is_closed:
            connection.write(ALERT, b"\x01\x64")  # a warning: no_renegotiation (RFC 5746 section 4.5)

    def change_cipher_spec(self):
        raise TlsError(UNEXPECTED_MESSAGE, "change_cipher_spec after the handshake")

    def limit_reached(self):
        raise TlsError(INTERNAL_ERROR, "too many records under one key")
