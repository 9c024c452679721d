# SPDX-License-Identifier: MIT
"""Signature schemes (RFC 8446 section 4.2.3), and what a CertificateVerify signs (section 4.4.3)."""

# number -> (algorithm as crypto.verify and signers take it, kind of key). In TLS 1.2 ECDSA's numbers say nothing of the
# curve, and PKCS#1 signs messages; in 1.3 PKCS#1 is only in certificates.
SCHEMES = {
    0x0403: ("ecdsa_sha256", "p256"),
    0x0503: ("ecdsa_sha384", "p384"),
    0x0807: ("ed25519", "ed25519"),
    0x0804: ("rsa_pss_sha256", "rsa"),
    0x0805: ("rsa_pss_sha384", "rsa"),
    0x0806: ("rsa_pss_sha512", "rsa"),
}
PKCS1_SCHEMES = {
    0x0401: ("rsa_pkcs1_sha256", "rsa"),
    0x0501: ("rsa_pkcs1_sha384", "rsa"),
    0x0601: ("rsa_pkcs1_sha512", "rsa"),
}
# In the order in which we would have them. A dict has none in MicroPython.
_PREFERRED = (0x0403, 0x0807, 0x0503, 0x0804, 0x0805, 0x0806, 0x0401, 0x0501, 0x0601)

SERVER_CONTEXT = b" " * 64 + b"TLS 1.3, server CertificateVerify\0"
CLIENT_CONTEXT = b" " * 64 + b"TLS 1.3, client CertificateVerify\0"


def acceptable(crypto):
    """The numbers of all that we verify, in messages or in certificates; preferred first."""
    kinds = crypto.key_kinds
    return [number for number in _PREFERRED if (SCHEMES.get(number) or PKCS1_SCHEMES[number])[1] in kinds]


def choose(kind, offered):
    """(number, algorithm) for a key of that kind out of the peer's numbers, for 1.3; None when there is none."""
    for number in _PREFERRED:
        scheme = SCHEMES.get(number)
        if scheme is not None and scheme[1] == kind and number in offered:
            return (number, scheme[0])
    return None
