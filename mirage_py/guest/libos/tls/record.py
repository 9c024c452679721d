# SPDX-License-Identifier: MIT
"""Records under keys (RFC 8446 section 5): what protects one direction. No I/O.

A Connection (connection.py) has two such objects, `reader` and `writer`; None while its records are in the clear.
TLS 1.2 (RFC 5246 section 6.2, 5288, 7905) has objects with the same methods.
"""

from struct import pack, pack_into, unpack_from

from micropython import const

from .errors import UNEXPECTED_MESSAGE, TlsError

CHANGE_CIPHER_SPEC = const(20)
ALERT = const(21)
HANDSHAKE = const(22)
APPLICATION_DATA = const(23)

HEADER_BYTES = const(5)
MAX_PLAINTEXT = const(16384)
# What a ciphertext may have beside the plaintext (section 5.2). None of ours adds as much.
MAX_EXPANSION = const(256)

_TAG_BYTES = const(16)
_APPLICATION_DATA = const(23)
_FIRST_KIND = const(20)
_KINDS = (b"\x14", b"\x15", b"\x16", b"\x17")

# HkdfLabels with an empty context (section 7.1), and the number of HKDF-Expand's only block (RFC 5869 section 2.3).
_KEY_INFO = {16: b"\x00\x10\x09tls13 key\x00\x01", 32: b"\x00\x20\x09tls13 key\x00\x01"}
_IV_INFO = b"\x00\x0c\x08tls13 iv\x00\x01"
_UPDATE_INFO = {256: b"\x00\x20\x11tls13 traffic upd\x00\x01", 384: b"\x00\x30\x11tls13 traffic upd\x00\x01"}

# number -> (name, AEAD, bits of the hash, octets of the key) (section B.4)
SUITES = {
    0x1301: ("TLS_AES_128_GCM_SHA256", "aes128gcm", 256, 16),
    0x1302: ("TLS_AES_256_GCM_SHA384", "aes256gcm", 384, 32),
    0x1303: ("TLS_CHACHA20_POLY1305_SHA256", "chacha20poly1305", 256, 32),
}


class Keys:
    """One direction of TLS 1.3 under one traffic secret.

    overhead: octets that a record's body has more than its plaintext. sequence: records so far. kind: of the record
    that was opened last. secret: a bytearray of its own, overwritten by wipe().
    """

    overhead = _TAG_BYTES + 1

    def __init__(self, crypto, suite, secret):
        _, aead, bits, key_bytes = suite
        self.crypto = crypto
        self.suite = suite
        self.secret = bytearray(secret)
        expanded = crypto.hmac(bits, secret, _KEY_INFO[key_bytes])
        key = expanded[:key_bytes]
        self.aead = crypto.aead(aead, key)
        crypto.wipe(expanded)
        crypto.wipe(key)
        self.nonce = bytearray(crypto.hmac(bits, secret, _IV_INFO)[:12])
        # A sequence number ends before 2**32 (Connection sees to it): only the nonce's last four octets change.
        self.tail = unpack_from(">I", self.nonce, 8)[0]
        self.sequence = 0
        self.kind = 0

    def seal(self, kind, data):
        """The record with `data`, at most MAX_PLAINTEXT octets, header included."""
        sequence = self.sequence
        self.sequence = sequence + 1
        nonce = self.nonce
        pack_into(">I", nonce, 8, self.tail ^ sequence)
        header = pack(">BHH", _APPLICATION_DATA, 0x0303, len(data) + 17)
        return self.aead.seal(nonce, header, data, header, _KINDS[kind - _FIRST_KIND])

    def seal_data(self, data, limit, output):
        """Appends records with `data`, `limit` octets of it in each but the last, to `output`: in one object."""
        sequence = self.sequence
        output.append(self.aead.seal_records(self.nonce, self.tail, sequence, data, limit))
        self.sequence = sequence + (len(data) + limit - 1) // limit

    def open(self, record):
        """The plaintext of a record (memoryview, header included), its type in `kind`; None: not authentic."""
        sequence = self.sequence
        nonce = self.nonce
        pack_into(">I", nonce, 8, self.tail ^ sequence)
        plain = self.aead.open(nonce, record[:5], record[5:])
        if plain is None:
            return None
        self.sequence = sequence + 1
        if not plain or not plain[-1]:
            plain = plain.rstrip(b"\0")  # padding (section 5.4)
            if not plain:
                raise TlsError(UNEXPECTED_MESSAGE, "record without a type")
        self.kind = plain[-1]
        return plain[:-1]

    def successor(self):
        """The next keys of this direction (section 7.2); these are wiped."""
        bits = self.suite[2]
        keys = Keys(self.crypto, self.suite, self.crypto.hmac(bits, self.secret, _UPDATE_INFO[bits]))
        self.wipe()
        return keys

    def wipe(self):
        self.crypto.wipe(self.secret)
        self.crypto.wipe(self.nonce)
        self.aead.wipe()
