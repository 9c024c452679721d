# SPDX-License-Identifier: MIT
"""Certificates (RFC 5280 section 4): bytes -> values. Whether one is to be believed, verify.py says."""

from micropython import const

from libos.tls.x509.der import (
    INTEGER,
    NULL,
    OCTET_STRING,
    OID,
    SEQUENCE,
    SET,
    CertificateError,
    Reader,
    malformed,
    oid_text,
)

_UNSUPPORTED_CERTIFICATE = const(43)

# Bits of `key_usage`.
DIGITAL_SIGNATURE = const(1)
KEY_CERT_SIGN = const(32)

# RFC 5280 section 4.1.2.2: at most 20 octets, the sign's included.
_SERIAL_BYTES = const(20)
# BearSSL's bound, and the least that anybody still issues.
_RSA_BITS = (2048, 4096)
# More than authorities of the web put into one.
_NAMES = const(500)
_EXTENSIONS = const(64)
_PURPOSES = const(64)
# otherName, rfc822Name, dNSName, x400Address, directoryName, ediPartyName, URI, iPAddress, registeredID
_FORMS = b"\xa0\x81\x82\xa3\xa4\xa5\x86\x87\x88"

_RSA = b"\x2a\x86\x48\x86\xf7\x0d\x01\x01"
_EC_PUBLIC_KEY = b"\x2a\x86\x48\xce\x3d\x02\x01"
_ED25519 = b"\x2b\x65\x70"
_PSS = _RSA + b"\x0a"
_MGF1 = _RSA + b"\x08"
# SHA-256, 384, 512 are these and 1, 2, 3.
_SHA2 = b"\x60\x86\x48\x01\x65\x03\x04\x02"
_BITS = (256, 384, 512)
_CURVES = {
    b"\x2a\x86\x48\xce\x3d\x03\x01\x07": ("p256", 65),
    b"\x2b\x81\x04\x00\x22": ("p384", 97),
}
_WEAK = {
    _RSA + b"\x04": "MD5",
    _RSA + b"\x05": "SHA-1",
    b"\x2a\x86\x48\xce\x3d\x04\x01": "SHA-1",
}


def unsupported(what):
    return CertificateError(_UNSUPPORTED_CERTIFICATE, what)


def time_s(reader):
    """Unix seconds of a UTCTime or a GeneralizedTime as RFC 5280 section 4.1.2.5 allows them: to the second, with Z."""
    tag = reader.peek()
    text = reader.take(tag if tag in (0x17, 0x18) else 0x17)
    digits = 12 if tag == 0x17 else 14
    if len(text) != digits + 1 or text[digits] != 0x5A:
        raise malformed("a time that is not to the second and in UTC")
    numbers = []
    for octet in text[:digits]:
        if not 0x30 <= octet <= 0x39:
            raise malformed("a time that is not to the second and in UTC")
    for at in range(digits - 10, digits, 2):
        numbers.append(int(text[at : at + 2]))
    month, day, hour, minute, second = numbers
    year = int(text[: digits - 10])
    if tag == 0x17:
        year += 2000 if year < 50 else 1900
    leap = year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
    days = 0, 31, 29 if leap else 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31
    if not 1 <= month <= 12 or not 1 <= day <= days[month] or hour > 23 or minute > 59 or second > 59:
        raise malformed("a time that there is not")
    before = year - 1
    total = before * 365 + before // 4 - before // 100 + before // 400 + sum(days[:month]) + day - 719163
    return ((total * 24 + hour) * 60 + minute) * 60 + second


def public_key(spki):
    """A SubjectPublicKeyInfo as crypto.verify takes it: ("rsa", n, e), ("p256", point) … CertificateError otherwise."""
    reader = Reader(spki).enter(SEQUENCE)
    algorithm = reader.enter(SEQUENCE)
    kind = algorithm.take(OID)
    key = reader.octets()
    reader.finish()
    if kind == _EC_PUBLIC_KEY:
        name, length = _CURVES.get(algorithm.take(OID), (None, 0))
        if name is None:
            raise unsupported("a key on a curve that is not supported")
        # Compressed points are not for certificates (RFC 5480 section 2.2 allows them, nobody issues them).
        if len(key) != length or key[0] != 4:
            raise malformed("a public key that is no uncompressed point")
        found = name, key
    elif kind == _RSA + b"\x01":
        algorithm.skip(NULL)
        numbers = Reader(key).enter(SEQUENCE)
        n, e = numbers.unsigned(), numbers.unsigned()
        numbers.finish()
        bits = len(n) * 8
        top = n[0]
        while top < 128 and bits:
            bits -= 1
            top = top << 1 | 1
        if not _RSA_BITS[0] <= bits <= _RSA_BITS[1]:
            raise unsupported("an RSA key of %d bits: from %d to %d are accepted" % (bits, _RSA_BITS[0], _RSA_BITS[1]))
        if len(e) > 4 or not e[-1] & 1 or e == b"\x01" or not n[-1] & 1:
            raise malformed("an RSA key that cannot be one")
        found = "rsa", n, int.from_bytes(e, "big")
    elif kind == _ED25519:
        if len(key) != 32:
            raise malformed("an Ed25519 key of %d octets" % len(key))
        found = "ed25519", key
    else:
        raise unsupported("a key of a kind that is not supported: " + oid_text(kind))
    algorithm.finish()
    return found


def signature_algorithm(identifier):
    """An AlgorithmIdentifier as crypto.verify names it, "ecdsa_sha256" …; CertificateError when it has no such name."""
    reader = Reader(identifier).enter(SEQUENCE)
    oid = reader.take(OID)
    last = oid[-1] if oid else 0
    if oid[:-1] == b"\x2a\x86\x48\xce\x3d\x04\x03" and 2 <= last <= 4:
        name = "ecdsa_sha%d" % _BITS[last - 2]
    elif oid == _ED25519:
        name = "ed25519"
    elif oid[:-1] == _RSA and 11 <= last <= 13:
        # RFC 4055 section 5: the parameters are NULL, and are accepted when they are missing.
        if reader.peek() >= 0:
            reader.skip(NULL)
        name = "rsa_pkcs1_sha%d" % _BITS[last - 11]
    elif oid == _PSS:
        name = "rsa_pss_sha%d" % _pss_bits(reader.enter(SEQUENCE))
    elif oid in _WEAK:
        raise unsupported("signed with %s, which is too weak" % _WEAK[oid])
    else:
        raise unsupported("a signature of a kind that is not supported: " + oid_text(oid))
    reader.finish()
    return name


def _pss_bits(parameters):
    """The one hash that RSASSA-PSS-params (RFC 4055 section 3.1) name for both, with a salt as long as it."""
    # Each default is about SHA-1.
    if parameters.peek() != 0xA0:
        raise unsupported("RSASSA-PSS with SHA-1")
    bits = _sha2(parameters.enter(0xA0).enter(SEQUENCE))
    mask = parameters.enter(0xA1).enter(SEQUENCE)
    is_same = mask.take(OID) == _MGF1 and _sha2(mask.enter(SEQUENCE)) == bits
    salt = parameters.enter(0xA2).small() if parameters.peek() == 0xA2 else 20
    parameters.finish()
    if not is_same or salt * 8 != bits:
        raise unsupported("RSASSA-PSS with parameters that TLS does not have")
    return bits


def _sha2(algorithm):
    oid = algorithm.take(OID)
    if algorithm.peek() >= 0:
        algorithm.skip(NULL)
    algorithm.finish()
    if oid[:-1] != _SHA2 or not 1 <= oid[-1] <= 3:
        raise unsupported("RSASSA-PSS with a hash that is not supported")
    return _BITS[oid[-1] - 1]


def general_names(reader):
    """list of (tag, content as bytes) of GeneralNames (RFC 5280 section 4.2.1.6); tag 0x82 is a DNS name."""
    found = []
    while reader.peek() >= 0:
        tag = reader.peek()
        if len(found) == _NAMES:
            raise unsupported("a certificate of more than %d names" % _NAMES)
        content = reader.take(tag)
        if tag in (0x81, 0x82, 0x86) and not (content and _is_printable(content)):
            raise malformed("a name that is not text")
        if tag == 0x87 and len(content) not in (4, 16):
            raise malformed("an IP address of %d octets" % len(content))
        if bytes((tag,)) not in _FORMS:
            raise malformed("a name of an unknown form")
        found.append((tag, content))
    if not found:
        raise malformed("a list of no names")
    return found


def _is_printable(content):
    for octet in content:
        if not 32 < octet < 127:
            return False
    return True


class Certificate:
    """One certificate. der: bytes or a memoryview. Raises CertificateError for what is none of X.509.

    subject, issuer: Names in DER, bytes. serial: octets. not_before_s, not_after_s: Unix seconds, both included.
    spki: SubjectPublicKeyInfo in DER. is_ca, path_length: of basicConstraints; the latter may be None.
    key_usage: bits, or None for all. purposes: OBJECT IDENTIFIERs of extKeyUsage, or None for all.
    names: (tag, content) of subjectAltName. name_constraints: the extension's octets, or None.
    unknown: a critical extension that nobody here knows, as text, or None.
    """

    def __init__(self, der):
        self.der = der
        top = Reader(der)
        certificate = top.enter(SEQUENCE)
        top.finish()
        start = certificate.at
        body = certificate.enter(SEQUENCE)
        # What is signed, without a copy.
        self.signed = memoryview(der)[start : certificate.at]
        self.signature_identifier = certificate.whole(SEQUENCE)
        self.signature = certificate.octets()
        certificate.finish()
        self._body(body)

    def _body(self, body):
        version = 0
        if body.peek() == 0xA0:
            reader = body.enter(0xA0)
            version = reader.small()
            reader.finish()
            # Version 1 is the default, which DER leaves out.
            if not 1 <= version <= 2:
                raise malformed("a certificate of version %d" % (version + 1))
        self.version = version + 1
        self.serial = body.integer()
        if len(self.serial) > _SERIAL_BYTES or self.serial[0] > 127:
            raise malformed("a serial number that is negative or too long")
        if body.whole(SEQUENCE) != self.signature_identifier:
            raise malformed("two signature algorithms that differ")
        self.issuer = _name(body)
        validity = body.enter(SEQUENCE)
        self.not_before_s = time_s(validity)
        self.not_after_s = time_s(validity)
        validity.finish()
        self.subject = _name(body)
        self.spki = body.whole(SEQUENCE)
        for tag in (0x81, 0x82):
            if body.peek() == tag and version:
                body.skip(tag)
        self.is_ca = False
        self.path_length = None
        self.key_usage = None
        self.purposes = None
        self.names = []
        self.name_constraints = None
        self.unknown = None
        if body.peek() == 0xA3 and version == 2:
            reader = body.enter(0xA3)
            self._extensions(reader.enter(SEQUENCE))
            reader.finish()
        body.finish()

    def _extensions(self, reader):
        seen = set()
        while reader.peek() >= 0:
            extension = reader.enter(SEQUENCE)
            oid = extension.take(OID)
            is_critical = extension.boolean()
            content = extension.take(OCTET_STRING)
            extension.finish()
            if oid in seen:
                raise malformed("two extensions " + oid_text(oid))
            if len(seen) == _EXTENSIONS:
                raise unsupported("a certificate of more than %d extensions" % _EXTENSIONS)
            seen.add(oid)
            number = oid[2] if len(oid) == 3 and oid[:2] == b"\x55\x1d" else 0
            value = Reader(content)
            if number == 15:
                self.key_usage = value.bits()
            elif number == 17:
                self.names = general_names(value.enter(SEQUENCE))
            elif number == 19:
                self._basic_constraints(value.enter(SEQUENCE))
            elif number == 30:
                self.name_constraints = content
                continue
            elif number == 37:
                self.purposes = _oids(value.enter(SEQUENCE))
            else:
                # Nobody here asks for a policy, so that any is good (32, RFC 5280 section 6.1.1 (c), (e)).
                if is_critical and number != 32 and self.unknown is None:
                    self.unknown = oid_text(oid)
                continue
            value.finish()
        if not seen:
            raise malformed("a list of no extensions")

    def _basic_constraints(self, reader):
        self.is_ca = reader.boolean()
        if reader.peek() == INTEGER:
            self.path_length = reader.small()
            if not self.is_ca:
                raise malformed("a path length without an authority")
        reader.finish()

    @property
    def public_key(self):
        """As crypto.verify takes it. Raises CertificateError when it is of no kind that can be verified with."""
        return public_key(self.spki)

    @property
    def signature_algorithm(self):
        """As crypto.verify names it. Raises CertificateError when it has no name for it, or it is weak."""
        return signature_algorithm(self.signature_identifier)

    @property
    def dns_names(self):
        """list of text, in lower case; "*.example.com" may be among them."""
        return [str(content, "ascii").lower() for tag, content in self.names if tag == 0x82]

    @property
    def ip_addresses(self):
        """list of addresses as 4 or 16 octets."""
        return [content for tag, content in self.names if tag == 0x87]


def _oids(reader):
    found = []
    while reader.peek() >= 0:
        if len(found) == _PURPOSES:
            raise unsupported("a certificate for more than %d purposes" % _PURPOSES)
        found.append(reader.take(OID))
    if not found:
        raise malformed("a list of no purposes")
    return found


def _name(body):
    """A Name's octets, after a look at their form: SEQUENCE OF SET OF SEQUENCE { type, value }."""
    start = body.at
    reader = body.enter(SEQUENCE)
    while reader.peek() >= 0:
        parts = reader.enter(SET)
        if parts.peek() < 0:
            raise malformed("a name with an empty part")
        while parts.peek() >= 0:
            pair = parts.enter(SEQUENCE)
            pair.skip(OID)
            pair.skip()
            pair.finish()
    return bytes(body.data[start : body.at])
