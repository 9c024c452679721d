# SPDX-License-Identifier: MIT
"""The peer's certificates and its proof of their key (RFC 8446 section 4.4), for both sides of TLS 1.3, and for 1.2."""

from . import codec
from .errors import BAD_CERTIFICATE, DECRYPT_ERROR, ILLEGAL_PARAMETER, INTERNAL_ERROR, UNSUPPORTED_EXTENSION, TlsError
from .signatures import SCHEMES

# Of a chain; verifying it has bounds of its own. A message may have 64 KiB.
MAX_CHAIN = 100


def read_chain(message):
    """(request context, list of DER) of a Certificate message of TLS 1.3 (section 4.4.2)."""
    reader = codec.Reader(message, "Certificate", 4)
    context = reader.vector(1)
    entries = codec.Reader(reader.vector(3), "Certificate")
    reader.finish()
    chain = []
    while entries.at < entries.end:
        chain.append(entries.vector(3, 1))
        # We ask for neither of the extensions that may be here: OCSP (RFC 6066) and SCTs (RFC 6962).
        if codec.extensions(codec.vector16(entries.vector(2)), 0, "Certificate"):
            raise TlsError(UNSUPPORTED_EXTENSION, "certificate with an extension that was not asked for")
        if len(chain) > MAX_CHAIN:
            raise TlsError(BAD_CERTIFICATE, "certificate chain too long")
    return context, chain


def write_chain(context, chain):
    """The Certificate message."""
    entries = b"".join([codec.vector24(der) + b"\0\0" for der in chain])
    return codec.message(codec.CERTIFICATE, codec.vector8(context) + codec.vector24(entries))


def check_chain(verifier, chain, wall_s, purpose, hostname=None):
    """The leaf, a Certificate (x509/certificate.py), of a chain that `verifier` takes; else TlsError with its alert.

    wall_s: Unix seconds, or None when nobody knows: then no chain is good.
    """
    if wall_s is None:
        raise TlsError(INTERNAL_ERROR, "the time is unknown: certificates cannot be verified")
    try:
        return verifier.verify(chain, wall_s, purpose, hostname)
    except Exception as error:
        # CertificateError, which an image without certificates to verify has not got.
        alert = getattr(error, "alert", None)
        if alert is None:
            raise
        raise TlsError(alert, "certificate: " + error.reason)


def check_verify(crypto, key, message, signed):
    """Checks a CertificateVerify message of TLS 1.3 against the peer's key.

    key: as crypto.verify takes it. signed: SERVER_CONTEXT or CLIENT_CONTEXT and the transcript's hash.
    """
    reader = codec.Reader(message, "CertificateVerify", 4)
    number = reader.number(2)
    signature = reader.vector(2)
    reader.finish()
    scheme = SCHEMES.get(number)
    if scheme is None or scheme[1] != key[0] or key[0] not in crypto.key_kinds:
        raise TlsError(ILLEGAL_PARAMETER, "signature of a kind that was not offered")
    if not crypto.verify(key, scheme[0], signed, signature):
        raise TlsError(DECRYPT_ERROR, "signature wrong")
