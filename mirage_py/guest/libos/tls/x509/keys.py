# SPDX-License-Identifier: MIT
"""Private keys: PKCS#8 (RFC 5958), SEC 1 (RFC 5915) and PKCS#1 (RFC 8017), in PEM or DER."""

from libos.tls.x509 import pem
from libos.tls.x509.der import INTEGER, OCTET_STRING, OID, SEQUENCE, Reader

_LABELS = ("PRIVATE KEY", "EC PRIVATE KEY", "RSA PRIVATE KEY")
_EC = b"\x2a\x86\x48\xce\x3d\x02\x01"
_RSA = b"\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01"
_ED25519 = b"\x2b\x65\x70"
# OBJECT IDENTIFIER -> (kind, the group's order)
_CURVES = {
    b"\x2a\x86\x48\xce\x3d\x03\x01\x07": (
        "p256",
        b"\xff\xff\xff\xff\0\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff"
        b"\xbc\xe6\xfa\xad\xa7\x17\x9e\x84\xf3\xb9\xca\xc2\xfc\x63\x25\x51",
    ),
    b"\x2b\x81\x04\x00\x22": (
        "p384",
        b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"
        b"\xff\xff\xff\xff\xff\xff\xff\xff\xc7\x63\x4d\x81\xf4\x37\x2d\xdf"
        b"\x58\x1a\x0d\xb2\x48\xb0\xa7\x7a\xec\xec\x19\x6a\xcc\xc5\x29\x73",
    ),
}


def private_key(data):
    """(kind, material), as crypto.signer takes them, of the one private key in `data`: bytes or text, PEM or DER.

    kind: "p256", "p384", "rsa" or "ed25519". material: octets of the scalar or seed; for RSA (n, e, d, p, q, dp, dq,
    qi), octets without leading zeros. Raises ValueError that says what is wrong; never shows anything of the key.
    """
    if isinstance(data, str):
        data = data.encode()
    data = bytes(data)
    if b"-----BEGIN " not in data:
        return _parse(data)
    blocks = pem.decode(data)
    for label, _ in blocks:
        if label == "ENCRYPTED PRIVATE KEY":
            raise ValueError("the private key is encrypted: give it without a password")
    found = [der for label, der in blocks if label in _LABELS]
    if len(found) != 1:
        raise ValueError("%d private keys, not one" % len(found))
    return _parse(found[0])


def _parse(der):
    """Which of the three it is, the second element tells."""
    top = Reader(der)
    sequence = top.enter(SEQUENCE)
    top.finish()
    start = sequence.at
    sequence.skip(INTEGER)
    tag = sequence.peek()
    sequence.at = start
    if tag == SEQUENCE:
        return _pkcs8(sequence)
    return _sec1(sequence, None) if tag == OCTET_STRING else _pkcs1(sequence)


def _pkcs8(key):
    if key.small() > 1:
        raise ValueError("PKCS#8 of an unknown version")
    algorithm = key.enter(SEQUENCE)
    kind = algorithm.take(OID)
    inner = Reader(key.take(OCTET_STRING))
    if kind == _EC:
        found = _sec1(inner.enter(SEQUENCE), algorithm.take(OID))
    elif kind == _RSA:
        found = _pkcs1(inner.enter(SEQUENCE))
    elif kind == _ED25519:
        seed = inner.take(OCTET_STRING)
        if len(seed) != 32:
            raise ValueError("an Ed25519 key of %d octets" % len(seed))
        found = "ed25519", seed
    else:
        raise ValueError("a private key of a kind that is not supported: P-256, P-384, RSA and Ed25519 are")
    inner.finish()
    return found


def _sec1(key, curve):
    """curve: what PKCS#8 said, else it is in the key itself."""
    if key.small() != 1:
        raise ValueError("an EC private key of an unknown version")
    scalar = key.take(OCTET_STRING)
    if key.peek() == 0xA0:
        named = key.enter(0xA0).take(OID)
        if curve is not None and curve != named:
            raise ValueError("an EC private key that names two curves")
        curve = named
    if curve not in _CURVES:
        raise ValueError("an EC private key on a curve that is not supported: P-256 and P-384 are")
    kind, order = _CURVES[curve]
    # Writers that leave leading zeros out are wrong (RFC 5915 section 3), and there are such.
    scalar = bytes(max(0, len(order) - len(scalar))) + scalar
    if len(scalar) != len(order) or not bytes(len(order)) < scalar < order:
        raise ValueError("an EC private key that is out of range")
    return kind, scalar


def _pkcs1(key):
    if key.small() != 0:
        raise ValueError("an RSA private key of several primes")
    n, e, d, p, q, dp, dq, qi = [key.unsigned() for _ in range(8)]
    key.finish()
    bits = len(n) * 8
    if not 2048 <= bits <= 4096:
        raise ValueError("an RSA key of %d bits: from 2048 to 4096 are supported" % bits)
    product = int.from_bytes(p, "big") * int.from_bytes(q, "big")
    if int.from_bytes(n, "big") != product or not n[-1] & 1:
        raise ValueError("an RSA private key whose parts do not fit together")
    return "rsa", (n, e, d, p, q, dp, dq, qi)
