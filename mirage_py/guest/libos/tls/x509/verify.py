# SPDX-License-Identifier: MIT
"""Whether a chain of certificates is to be believed (RFC 5280 section 6): a path to somebody who is trusted.

No network and no clock: there is no revocation, and the time is an argument.
"""

from micropython import const

from libos.tls.x509.certificate import DIGITAL_SIGNATURE, KEY_CERT_SIGN, Certificate, public_key, unsupported
from libos.tls.x509.der import CertificateError
from libos.tls.x509.names import NameConstraints, check_host, names_of

_BAD_CERTIFICATE = const(42)
_CERTIFICATE_EXPIRED = const(45)
_CERTIFICATE_UNKNOWN = const(46)
_UNKNOWN_CA = const(48)

# A chain of the web has two to four. What is more is not looked at.
MAX_CERTIFICATES = const(16)
# Authorities between the own certificate and who is trusted.
MAX_PATH = const(6)
# Cross-signed authorities make several paths; an attacker's make many.
MAX_SIGNATURES = const(24)
# Candidates that are looked at before a signature is.
MAX_STEPS = const(100)
# Of names with constraints. An honest chain has a hundred names and ten constraints.
MAX_COMPARISONS = const(10000)

_PURPOSE = b"\x2b\x06\x01\x05\x05\x07\x03"
_PURPOSES = {"server": _PURPOSE + b"\x01", "client": _PURPOSE + b"\x02"}
_ANY_PURPOSE = b"\x55\x1d\x25\x00"


class Verifier:
    """crypto: verifies signatures. trust: a Trust, or None. pins: SHA-256 of SubjectPublicKeyInfos, 32 octets each.

    With trust and pins, a path must lead to somebody who is trusted and pass a pinned key. With pins alone, a path must
    lead to a pinned key, which may be the own certificate's: names, dates and purposes are looked at all the same.
    """

    def __init__(self, crypto, trust=None, pins=()):
        self._crypto = crypto
        self._trust = trust
        self._pins = [bytes(pin) for pin in pins]
        for pin in self._pins:
            if len(pin) != 32:
                raise ValueError("a pin is 32 octets, not %d" % len(pin))
        if trust is None and not self._pins:
            raise ValueError("neither a trust store nor pins: nobody would be trusted")

    def verify(self, chain, wall_s, purpose, hostname=None):
        """The peer's own Certificate, when it is to be believed.

        chain: DER of each certificate; the own one is first, the others in any order. wall_s: Unix seconds, or None
        when the time is not known. purpose: "server" or "client": what the peer is. hostname: the host name or IP
        address, as text, that it must be for; None: any. Raises CertificateError.
        """
        if wall_s is None:
            raise CertificateError(_CERTIFICATE_UNKNOWN, "the time is not known, so no certificate can be verified")
        if not chain:
            raise CertificateError(_BAD_CERTIFICATE, "no certificate")
        if len(chain) > MAX_CERTIFICATES:
            raise CertificateError(_BAD_CERTIFICATE, "a chain of %d certificates" % len(chain))
        leaf = Certificate(chain[0])
        path = _Path(self._crypto, self._trust, self._pins, chain, wall_s, _PURPOSES[purpose])
        path.check_dates(leaf)
        path.check(leaf, purpose)
        if leaf.key_usage is not None and not leaf.key_usage & DIGITAL_SIGNATURE:
            raise CertificateError(_BAD_CERTIFICATE, "the certificate's key may not sign")
        if hostname is not None:
            check_host(leaf, hostname)
        path.key(leaf.spki)
        if not path.find([leaf]):
            raise path.error or path.junk or CertificateError(_UNKNOWN_CA, "nobody who is trusted has issued it")
        return leaf


class _Path:
    """One search for a path, and what it may cost."""

    def __init__(self, crypto, trust, pins, chain, wall_s, purpose):
        self._crypto = crypto
        self._trust = trust
        self._pins = pins
        self._chain = chain
        self._others = None
        self._wall_s = wall_s
        self._purpose = purpose
        self._signatures = MAX_SIGNATURES
        self._steps = MAX_STEPS
        self._comparisons = MAX_COMPARISONS
        # Why the first candidate that there was did not do; what came along and cannot be read.
        self.error = None
        self.junk = None

    def find(self, path):
        """Whether the path, Certificates from the own one up, can be continued to somebody who is trusted."""
        last = path[-1]
        if self._is_trusted_itself(path):
            return True
        for anchor in self._trust.find(last.issuer) if self._trust else ():
            try:
                if self._is_anchored(anchor, path):
                    return True
            except CertificateError as error:
                self._note(error)
        if len(path) > MAX_PATH:
            self._note(CertificateError(_UNKNOWN_CA, "a path of more than %d certificates" % MAX_PATH))
            return False
        for candidate in self._candidates():
            if candidate.subject != last.issuer or _is_in(candidate, path):
                continue
            try:
                self._check_issuer(candidate, path)
            except CertificateError as error:
                self._note(error)
                continue
            if self.find(path + [candidate]):
                return True
        return False

    def _is_trusted_itself(self, path):
        """Whether the path's last one is trusted as it is: its key is all that counts, or it is in the trust store."""
        last = path[-1]
        if not self._trust:
            return self._is_pinned(last.spki)
        for anchor in self._trust.find(last.subject) if len(path) == 1 else ():
            if not anchor.may_issue and anchor.key == last.der:
                return self._has_pin(path, last.spki)
        return False

    def _is_pinned(self, spki):
        return self._crypto.sha256(spki).digest() in self._pins

    def _has_pin(self, path, spki):
        if not self._pins or self._is_pinned(spki):
            return True
        for certificate in path:
            if self._is_pinned(certificate.spki):
                return True
        self._note(CertificateError(_BAD_CERTIFICATE, "none of the keys is pinned"))
        return False

    def _candidates(self):
        """Certificates that came along. One that is malformed or not needed does no harm."""
        if self._others is None:
            self._others = []
            for der in self._chain[1:]:
                try:
                    self._others.append(Certificate(der))
                except CertificateError as error:
                    self.junk = error
        return self._others

    def _note(self, error):
        if self.error is None:
            self.error = error

    def _step(self):
        self._steps -= 1
        if self._steps < 0:
            raise unsupported("too many paths")

    def _is_anchored(self, anchor, path):
        """Whether `anchor` has issued the path's last one, and may have."""
        self._step()
        if not anchor.may_issue:
            raise CertificateError(_UNKNOWN_CA, "who issued it is trusted, and is no authority")
        if self._wall_s > anchor.not_after_s:
            raise CertificateError(_CERTIFICATE_EXPIRED, "an authority that is trusted has expired")
        _check_length(anchor.path_length, path)
        self._check_signature(path[-1], anchor.key)
        self._check_names(anchor.name_constraints, path)
        return self._has_pin(path, anchor.key)

    def _check_issuer(self, issuer, path):
        """Whether `issuer` may have issued the path's last one, and has (RFC 5280 section 6.1.3 and 6.1.4)."""
        self._step()
        if not issuer.is_ca:
            raise CertificateError(_BAD_CERTIFICATE, "issued by a certificate that is no authority's")
        if issuer.key_usage is not None and not issuer.key_usage & KEY_CERT_SIGN:
            raise CertificateError(_BAD_CERTIFICATE, "an authority's key may not sign certificates")
        self.check_dates(issuer)
        self.check(issuer, "authority")
        _check_length(issuer.path_length, path)
        # First the signature: what follows is work that only a real issuer can ask for.
        self._check_signature(path[-1], issuer.spki)
        self._check_names(issuer.name_constraints, path)

    def check_dates(self, certificate):
        if self._wall_s < certificate.not_before_s:
            raise CertificateError(_CERTIFICATE_EXPIRED, "a certificate is not valid yet")
        if self._wall_s > certificate.not_after_s:
            raise CertificateError(_CERTIFICATE_EXPIRED, "a certificate has expired")

    def check(self, certificate, role):
        """What holds for each certificate of a path."""
        if certificate.unknown is not None:
            raise unsupported("a critical extension that is not known: " + certificate.unknown)
        purposes = certificate.purposes
        if purposes is not None and self._purpose not in purposes and _ANY_PURPOSE not in purposes:
            raise unsupported("a certificate that is not for this purpose (%s)" % role)
        if certificate.name_constraints is not None and not certificate.is_ca:
            raise CertificateError(_BAD_CERTIFICATE, "name constraints in a certificate that is no authority's")

    def _check_names(self, value, path):
        if value is not None:
            constraints = NameConstraints(value, self._spend)
            for index, certificate in enumerate(path):
                # An authority that renews its key names itself (RFC 5280 section 6.1.3 (b)).
                if index == 0 or certificate.subject != certificate.issuer:
                    constraints.check(names_of(certificate))

    def _spend(self, count):
        self._comparisons -= count
        if self._comparisons < 0:
            raise unsupported("too many names and name constraints")

    def key(self, spki):
        """The public key, when this image can verify with it."""
        key = public_key(spki)
        if key[0] not in self._crypto.key_kinds:
            raise unsupported("this image has no code to verify with a %s key" % key[0])
        return key

    def _check_signature(self, certificate, spki):
        key = self.key(spki)
        algorithm = certificate.signature_algorithm
        self._signatures -= 1
        if self._signatures < 0:
            raise unsupported("too many signatures")
        if not self._crypto.verify(key, algorithm, certificate.signed, certificate.signature):
            raise CertificateError(_BAD_CERTIFICATE, "a signature is wrong")


def _check_length(limit, path):
    """limit: how many authorities may stand between the issuer and the own certificate, or None."""
    if limit is not None:
        between = 0
        for certificate in path[1:]:
            if certificate.subject != certificate.issuer:
                between += 1
        if between > limit:
            raise CertificateError(_BAD_CERTIFICATE, "a path that is longer than an authority allows")


def _is_in(certificate, path):
    """Whether a path has this name and key already: then it would go in a circle."""
    for other in path:
        if other.subject == certificate.subject and other.spki == certificate.spki:
            return True
    return False
