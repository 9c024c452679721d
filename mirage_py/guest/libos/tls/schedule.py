# SPDX-License-Identifier: MIT
"""The key schedule (RFC 8446 section 7.1) over one hash. Stateless: a context keeps one for each hash.

Secrets are bytes of `size` octets; `hashed` is the transcript's hash at that point (section 4.4.1).
"""

from .codec import vector8

# Labels with their length, as HkdfLabel has them.
CLIENT_HANDSHAKE = b"\x12tls13 c hs traffic"
SERVER_HANDSHAKE = b"\x12tls13 s hs traffic"
CLIENT_TRAFFIC = b"\x12tls13 c ap traffic"
SERVER_TRAFFIC = b"\x12tls13 s ap traffic"
RESUMPTION_MASTER = b"\x10tls13 res master"
RESUMPTION = b"\x10tls13 resumption"
_DERIVED = b"\x0dtls13 derived"
_BINDER = b"\x10tls13 res binder"
_FINISHED = b"\x0etls13 finished\x00\x01"


class Schedule:
    def __init__(self, crypto, bits):
        """bits: 256 or 384."""
        self.bits = bits
        self.size = bits >> 3
        self.hmac = crypto.hmac
        self.new_hash = crypto.sha256 if bits == 256 else crypto.sha384
        self.zeros = bytes(self.size)
        self.empty = self.new_hash().digest()
        self.head = bytes((0, self.size))
        # What leads to the handshake secret where there is no PSK.
        self.derived = self.expand(self.extract(self.zeros, self.zeros), _DERIVED, self.empty)

    def extract(self, salt, secret):
        """HKDF-Extract (RFC 5869 section 2.2)."""
        return self.hmac(self.bits, salt, secret)

    def expand(self, secret, label, context):
        """HKDF-Expand-Label to `size` octets; with a transcript's hash as context it is Derive-Secret."""
        return self.hmac(self.bits, secret, b"".join((self.head, label, bytes((len(context),)), context, b"\x01")))

    def handshake_secret(self, shared, psk=None):
        """shared: of (EC)DHE."""
        derived = self.derived
        if psk is not None:
            derived = self.expand(self.extract(self.zeros, psk), _DERIVED, self.empty)
        return self.extract(derived, shared)

    def master_secret(self, handshake_secret):
        return self.extract(self.expand(handshake_secret, _DERIVED, self.empty), self.zeros)

    def finished(self, secret, hashed):
        """verify_data under a traffic secret (section 4.4.4)."""
        return self.hmac(self.bits, self.hmac(self.bits, secret, self.head + _FINISHED), hashed)

    def binder(self, psk, hashed):
        """A PSK's binder (section 4.2.11.2). hashed: of the transcript up to and with the hello without its binders."""
        return self.finished(self.expand(self.extract(self.zeros, psk), _BINDER, self.empty), hashed)

    def ticket_secret(self, resumption_master, nonce):
        """The PSK that goes with a ticket (section 4.6.1)."""
        return self.expand(resumption_master, RESUMPTION, nonce)

    def retried(self, message):
        """A transcript after HelloRetryRequest: it begins with the hash of the first hello (section 4.4.1)."""
        return self.new_hash(b"\xfe\x00\x00" + vector8(self.new_hash(message).digest()))
