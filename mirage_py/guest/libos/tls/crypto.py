# SPDX-License-Identifier: MIT
"""What TLS asks of cryptography, over primitives that come in as objects (libos.hal). No algorithm is in here."""

from micropython import const

X25519MLKEM768 = const(0x11EC)
X25519 = const(0x001D)
SECP256R1 = const(0x0017)

_MLKEM_SHARE = const(1184)  # octets: FIPS 203, table 3
_MLKEM_CIPHERTEXT = const(1088)


class Crypto:
    """The primitives of an image, by the names that engines know.

    random: has bytes(count). hashes: sha256, sha384, sha512, hmac, equal, wipe. aeads: names, make(name, key). The
    others are None where the image has no use for them, and may have only some of their methods: no `verify` where all
    that it does is signing.
    """

    def __init__(self, random, hashes, aeads, x25519=None, p256=None, p384=None, mlkem768=None, rsa=None, ed25519=None):
        self.random = random.bytes
        self.sha256 = hashes.sha256
        self.sha384 = hashes.sha384
        self.sha512 = hashes.sha512
        self.hmac = hashes.hmac
        self.equal = hashes.equal
        self.wipe = hashes.wipe
        self.aeads = aeads.names
        self.aead = aeads.make
        self.discard = getattr(aeads, "discard", None)  # as hal.aead has it
        self._mlkem768 = mlkem768
        self._curves = {X25519: x25519, SECP256R1: p256}
        self._kinds = {"p256": p256, "p384": p384, "rsa": rsa, "ed25519": ed25519}
        groups = [group for group in (X25519, SECP256R1) if hasattr(self._curves[group], "agree")]
        if mlkem768 is not None and x25519 is not None:
            groups.insert(0, X25519MLKEM768)
        self.groups = tuple(groups)
        kinds = ("p256", "p384", "rsa", "ed25519")
        self.key_kinds = tuple([kind for kind in kinds if hasattr(self._kinds[kind], "verify")])

    # --- key agreement (RFC 8446 section 4.2.8; the hybrid: draft-ietf-tls-ecdhe-mlkem) ---

    def generate(self, group):
        """A key pair for one handshake: (private, share). private: for `agree`, once."""
        if group == X25519MLKEM768:
            seed = self.random(64)
            key, share = self._mlkem768.generate(seed)
            self.wipe(seed)
            scalar, public = self.generate(X25519)
            return (key, scalar), share + public
        curve = self._curves[group]
        for _ in range(8):
            scalar = self.random(32)
            try:
                return scalar, curve.public(scalar)
            except ValueError:
                pass  # zero, or not below P-256's order: once in 2**32
        raise ValueError("random numbers")

    def respond(self, group, share):
        """A server's answer to a client's share: (our share, the secret). ValueError for a share that is none."""
        if group == X25519MLKEM768:
            if len(share) != _MLKEM_SHARE + 32:
                raise ValueError("share")
            noise = self.random(32)
            ciphertext, secret = self._mlkem768.encapsulate(share[:_MLKEM_SHARE], noise)
            self.wipe(noise)
            public, other = self.respond(X25519, share[_MLKEM_SHARE:])
            return ciphertext + public, secret + other
        scalar, public = self.generate(group)
        try:
            return public, self._curves[group].agree(scalar, share)
        finally:
            self.wipe(scalar)

    def agree(self, group, private, share):
        """The secret of the server's share and our private key, which is then wiped. ValueError for a bad share."""
        if group == X25519MLKEM768:
            key, scalar = private
            try:
                if len(share) != _MLKEM_CIPHERTEXT + 32:
                    raise ValueError("share")
                secret = self._mlkem768.decapsulate(key, share[:_MLKEM_CIPHERTEXT])
                return secret + self.agree(X25519, scalar, share[_MLKEM_CIPHERTEXT:])
            finally:
                self.wipe(key)
        try:
            return self._curves[group].agree(private, share)
        finally:
            self.wipe(private)

    # --- signatures ---

    def _digest(self, algorithm, message):
        return getattr(self, algorithm[-6:])(message).digest()

    def verify(self, key, algorithm, message, signature):
        """Whether `signature` is one of `message` by `key`; False also for a key or an algorithm that we do not have.

        key: (kind, octets), of RSA (kind, modulus, exponent: a number). algorithm: "ecdsa_sha256", "rsa_pkcs1_sha384",
        "rsa_pss_sha512", "ed25519" and their like. An ECDSA signature is DER (RFC 3279 section 2.2.3).
        """
        kind = key[0]
        if kind not in self.key_kinds:
            return False
        hal = self._kinds[kind]
        if kind == "ed25519":
            return algorithm == kind and hal.verify(key[1], message, signature)
        scheme = algorithm[:-7]
        if scheme == "ecdsa" and kind != "rsa":
            return hal.verify(key[1], self._digest(algorithm, message), signature)
        if scheme[:4] == "rsa_" and kind == "rsa":
            return hal.verify(key[1], key[2], scheme == "rsa_pss", self._digest(algorithm, message), signature)
        return False

    def signer(self, kind, material):
        """Who signs with a private key. ValueError for a key that is none, or of a kind that this image lacks.

        material: octets: of ed25519 the seed, of p256 and p384 the scalar; of rsa a tuple (n, e, d, p, q, dp, dq, qi).
        """
        hal = self._kinds.get(kind)
        if not hasattr(hal, "key" if kind == "rsa" else "sign"):
            raise ValueError("no " + str(kind) + " in this image")
        if kind == "rsa":
            return RsaSigner(self, hal, material)
        return Signer(self, hal, kind, material)


class Signer:
    """A private key of a curve. public_key: as `Crypto.verify` takes it."""

    def __init__(self, crypto, hal, kind, material):
        self.kind = kind
        self._crypto = crypto
        self._hal = hal
        self._key = bytearray(material)
        self.public_key = (kind, hal.public(self._key))

    def sign(self, algorithm, message):
        """ECDSA as DER, its nonce by RFC 6979 with additional random octets (section 3.6)."""
        if self.kind == "ed25519":
            return self._hal.sign(self._key, message)
        crypto = self._crypto
        return self._hal.sign(self._key, crypto._digest(algorithm, message), crypto.random(32))

    def wipe(self):
        self._crypto.wipe(self._key)


class RsaSigner:
    """A private key of RSA. public_key: as `Crypto.verify` takes it."""

    def __init__(self, crypto, hal, material):
        self.kind = "rsa"
        self._crypto = crypto
        self._key = hal.key(*material)
        self.public_key = ("rsa", material[0], int.from_bytes(material[1], "big"))

    def sign(self, algorithm, message):
        """PKCS#1 v1.5, or PSS with a salt as long as the digest (RFC 8017)."""
        crypto = self._crypto
        digest = crypto._digest(algorithm, message)
        return self._key.sign(digest, crypto.random(len(digest)) if algorithm[:7] == "rsa_pss" else None)

    def wipe(self):
        self._key.wipe()
