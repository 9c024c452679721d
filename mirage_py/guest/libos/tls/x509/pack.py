# SPDX-License-Identifier: MIT
"""A trust store's blob out of certificates, while the image runs. The tool's is mirage_py/configure/tls/octets.py."""

import struct

from libos.tls.x509 import pem
from libos.tls.x509.certificate import KEY_CERT_SIGN, Certificate
from libos.tls.x509.der import CertificateError


def pack_pem(data):
    """The blob for trust.Trust of all certificates in a PEM text. ValueError for none, or a malformed one."""
    found = [der for label, der in pem.decode(data) if label in ("CERTIFICATE", "X509 CERTIFICATE")]
    if not found:
        raise ValueError("no certificate in PEM")
    return pack(found)


def pack(certificates):
    """The blob for trust.Trust. certificates: DER of each. Raises CertificateError for one that is malformed.

    Those whose keys cannot be verified with are left out; CertificateError when there are no others.
    """
    anchors = []
    useless = None
    for der in certificates:
        certificate = Certificate(der)
        try:
            certificate.public_key  # noqa: B018
        except CertificateError as error:
            useless = error
            continue
        may_issue = certificate.is_ca or (certificate.version == 1 and certificate.subject == certificate.issuer)
        if certificate.key_usage is not None and not certificate.key_usage & KEY_CERT_SIGN:
            may_issue = False
        # Who may not issue is trusted as itself, and then all of the certificate counts.
        key = certificate.spki if may_issue else bytes(der)
        path_length = 255 if certificate.path_length is None else min(certificate.path_length, 254)
        constraints = certificate.name_constraints or b""
        record = struct.pack(
            ">BBQHHH", may_issue, path_length, max(0, certificate.not_after_s),
            len(certificate.subject), len(key), len(constraints),
        )  # fmt: skip
        record += certificate.subject + key + constraints
        anchors.append((sum(certificate.subject) & 0xFFFF, record))
    if useless is not None and not anchors:
        raise useless
    anchors = sorted(set(anchors))
    at = 6 + 6 * len(anchors)
    blob = bytearray(b"MPT1" + struct.pack(">H", len(anchors)))
    for key, record in anchors:
        blob += struct.pack(">HI", key, at)
        at += len(record)
    for _, record in anchors:
        blob += record
    return bytes(blob)
