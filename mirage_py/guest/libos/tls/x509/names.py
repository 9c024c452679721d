# SPDX-License-Identifier: MIT
"""Who a certificate is for: hosts (RFC 9525), addresses, and what an authority may name (RFC 5280 section 4.2.1.10)."""

from micropython import const

from libos.tls.x509.certificate import unsupported
from libos.tls.x509.der import OID, SEQUENCE, SET, CertificateError, Reader, malformed

_BAD_CERTIFICATE = const(42)

_EMAIL = const(0x81)
_DNS = const(0x82)
_DIRECTORY = const(0xA4)
_IP = const(0x87)
_FORMS = {_EMAIL: "e-mail address", _DNS: "host name", _DIRECTORY: "directory name", _IP: "IP address"}
# PKCS #9's emailAddress, in a subject.
_EMAIL_ADDRESS = b"\x2a\x86\x48\x86\xf7\x0d\x01\x09\x01"


def parse_ip(text):
    """4 or 16 octets of an IP address as people write it; None when `text` is none."""
    if ":" not in text:
        return _parse_ipv4(text)
    head, gap, tail = text.partition("::")
    if "::" in tail:
        return None
    before, after = _groups(head, not gap), _groups(tail, True)
    if before is None or after is None:
        return None
    missing = 16 - len(before) - len(after)
    if missing < 2 if gap else missing:
        return None
    return before + bytes(missing) + after


def _parse_ipv4(text):
    parts = text.split(".")
    if len(parts) != 4:
        return None
    octets = bytearray()
    for part in parts:
        if not _is_digits(part) or len(part) > 3 or (len(part) > 1 and part[0] == "0") or int(part) > 255:
            return None
        octets.append(int(part))
    return bytes(octets)


def _is_digits(text):
    for character in text:
        if not "0" <= character <= "9":
            return False
    return bool(text)


def _groups(text, is_last):
    """Octets of groups of 16 bits between colons; the last one may be an IPv4 address."""
    octets = b""
    if not text:
        return octets
    parts = text.split(":")
    for index, part in enumerate(parts):
        if is_last and index == len(parts) - 1 and "." in part:
            ip = _parse_ipv4(part)
            if ip is None:
                return None
            octets += ip
            continue
        if not 1 <= len(part) <= 4:
            return None
        value = 0
        for character in part.lower():
            digit = "0123456789abcdef".find(character)
            if digit < 0:
                return None
            value = value << 4 | digit
        octets += bytes((value >> 8, value & 255))
    return octets


def _is_host(name, allows_wildcard):
    """Whether the octets are a host name: labels of letters, digits, '-' and '_' (there are such), RFC 1123."""
    if not 1 <= len(name) <= 253:
        return False
    labels = name.split(b".")
    if allows_wildcard and labels[0] == b"*":
        # "*.com" would be for a whole registry.
        if len(labels) < 3:
            return False
        labels = labels[1:]
    for label in labels:
        if not 1 <= len(label) <= 63 or label[0] == 0x2D or label[-1] == 0x2D:
            return False
        for octet in label:
            if not (0x61 <= octet <= 0x7A or 0x30 <= octet <= 0x39 or octet == 0x2D or octet == 0x5F):
                return False
    return True


def check_host(certificate, hostname):
    """The certificate must be for `hostname`: a host name (in ASCII: RFC 5890's A-labels), or an IP address, as text.

    Only subjectAltName counts (RFC 9525 section 6.3); a '*' stands for exactly one label, the first. Raises
    CertificateError.
    """
    ip = parse_ip(hostname)
    if ip is not None:
        for tag, content in certificate.names:
            if tag == _IP and content == ip:
                return
    else:
        wanted = hostname.lower().encode()
        if wanted.endswith(b"."):
            wanted = wanted[:-1]
        if not _is_host(wanted, False):
            raise CertificateError(_BAD_CERTIFICATE, "not a host name: %r" % hostname[:80])
        rest = wanted[wanted.find(b".") :] if b"." in wanted else None
        for tag, content in certificate.names:
            if tag == _DNS:
                name = content.lower()
                if (name == wanted or (rest and name == b"*" + rest)) and _is_host(name, True):
                    return
    known = [_show(tag, content) for tag, content in certificate.names if tag in (_DNS, _IP)]
    more = ", …" if len(known) > 3 else ""
    text = ", ".join(known[:3]) + more if known else "no host"
    raise CertificateError(_BAD_CERTIFICATE, "the certificate is for %s, not for %s" % (text, hostname))


def _show(tag, content):
    if tag in (_DNS, _EMAIL):
        return str(content[:80], "ascii")
    if tag != _IP:
        return content[:40].hex() or ""  # MicroPython: b"".hex() is bytes
    if len(content) == 4:
        return ".".join([str(octet) for octet in content])
    return ":".join(["%x" % (content[at] << 8 | content[at + 1]) for at in range(0, 16, 2)])


class NameConstraints:
    """What an authority may name. value: the extension's octets. Raises CertificateError when they are none.

    spend: called with how many comparisons are to be made; raises CertificateError when that is too many.
    """

    def __init__(self, value, spend):
        self._spend = spend
        reader = Reader(value)
        body = reader.enter(SEQUENCE)
        reader.finish()
        if body.peek() < 0:
            raise malformed("name constraints that constrain nothing")
        self._permitted = self._subtrees(body, 0xA0)
        self._excluded = self._subtrees(body, 0xA1)
        body.finish()

    def check(self, names):
        """All of `names`, (tag, content), must be allowed. Raises CertificateError for the first that is not."""
        for tag, content in names:
            excluded = self._excluded.get(tag, ())
            permitted = self._permitted.get(tag)
            if not excluded and permitted is None:
                continue
            if tag not in _FORMS:
                raise unsupported("a name constraint on a form of name that is not supported")
            self._spend(1 + len(content) // 16 + len(excluded) + len(permitted or ()))
            name = _comparable(tag, content)
            for base in excluded:
                if _is_within(tag, name, base, True):
                    raise _refused("excludes", tag, content)
            if permitted is not None:
                for base in permitted:
                    if _is_within(tag, name, base, False):
                        break
                else:
                    raise _refused("does not permit", tag, content)

    def _subtrees(self, body, tag):
        """tag of a name -> list of bases."""
        found = {}
        if body.peek() != tag:
            return found
        reader = body.enter(tag)
        if reader.peek() < 0:
            raise malformed("name constraints without a name")
        while reader.peek() >= 0:
            # minimum is 0 and maximum is missing, always (RFC 5280), and DER leaves the 0 out.
            subtree = reader.enter(SEQUENCE)
            form = subtree.peek()
            base = subtree.take(form if form >= 0 else _DNS)
            subtree.finish()
            self._spend(1 + len(base) // 16)
            if form == _IP:
                base = _network(base)
            elif form in _FORMS:
                base = _comparable(form, base)
                host = base[1:] if base[:1] == b"." else base
                if form == _DNS and base and not _is_host(host, False):
                    raise malformed("a name constraint that is no host name")
            found.setdefault(form, []).append(base)
        return found


def _refused(verb, tag, content):
    return CertificateError(_BAD_CERTIFICATE, "an authority %s the %s %s" % (verb, _FORMS[tag], _show(tag, content)))


def names_of(certificate):
    """All names that constraints are about, of subjectAltName and subject, as (tag, content)."""
    names = certificate.names
    if len(certificate.subject) > 2:
        names = names + [(_DIRECTORY, certificate.subject)]
        # RFC 5280: an address in the subject counts where there is none in subjectAltName. Here it counts anyway.
        for part in _parts(certificate.subject):
            for oid, value in part:
                if oid == _EMAIL_ADDRESS:
                    names.append((_EMAIL, value[1]))
    return names


def _network(base):
    """(network, mask) as numbers, and octets of an address."""
    half = len(base) // 2
    if half not in (4, 16) or len(base) != 2 * half:
        raise malformed("a name constraint that is no network")
    mask = int.from_bytes(base[half:], "big")
    missing = (1 << 8 * half) - 1 - mask
    if missing & missing + 1:
        raise malformed("a name constraint whose mask has gaps")
    return int.from_bytes(base[:half], "big") & mask, mask, half


def _comparable(tag, content):
    """A name so that equal ones are equal octets."""
    if tag == _DNS:
        return content.lower()
    if tag == _EMAIL:
        local, at, host = content.rpartition(b"@")
        return local + at + host.lower()
    if tag == _IP:
        return int.from_bytes(content, "big"), len(content)
    return _parts(content)


def _is_within(tag, name, base, is_excluded):
    """Whether a name is below `base`. A wildcard is excluded when one of its hosts is, permitted when all are."""
    if tag == _DNS:
        if is_excluded and name[:2] == b"*.":
            first = base.find(b".")
            if first > 0 and base[first:] == name[1:]:
                return True
        return _is_below(name, base)
    if tag == _EMAIL:
        if b"@" in base:
            return name == base
        host = name[name.rfind(b"@") + 1 :]
        return host.endswith(base) if base[:1] == b"." else host == base or not base
    if tag == _IP:
        network, mask, length = base
        return name[1] == length and name[0] & mask == network
    return name[: len(base)] == base


def _is_below(name, base):
    if not base:
        return True
    if base[:1] == b".":
        return name.endswith(base)
    return name == base or name.endswith(b"." + base)


def _parts(name):
    """A Name as a list of its parts, each a sorted list of (type, value), made comparable.

    RFC 5280 section 7.1 compares texts without regard to case and repeated spaces, whichever string type they are in.
    Beyond ASCII there is no such comparison here.
    """
    reader = Reader(name)
    sequence = reader.enter(SEQUENCE)
    reader.finish()
    found = []
    while sequence.peek() >= 0:
        part = sequence.enter(SET)
        pairs = []
        while part.peek() >= 0:
            pair = part.enter(SEQUENCE)
            oid = pair.take(OID)
            tag = pair.peek()
            value = pair.take(tag if tag >= 0 else OID)
            pair.finish()
            # UTF8String, PrintableString, T61String, IA5String are one thing for those that compare.
            if tag in (0x0C, 0x13, 0x14, 0x16):
                tag = 0
                value = b" ".join(value.lower().split())
            pairs.append((oid, (tag, value)))
        found.append(sorted(pairs))
    return found
