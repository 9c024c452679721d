# SPDX-License-Identifier: MIT
"""Cookies (RFC 6265, and the prefixes and SameSite of its revision): octets to values and back."""

from . import dates
from .errors import LocalError
from .head import is_token, octets, scan_target

MAX_COOKIES = 100
_MAX_BYTES = 4096  # of name and value together: what clients keep (section 6.1)


def parse(headers):
    """{name: value}, bytes, of a request's Cookie lines; of several of a name the first, which has the longest path.

    What is malformed is left out, and so is what is beyond the hundredth.
    """
    found = {}
    for line in headers.get_all(b"cookie"):
        for pair in line.split(b";", 2 * MAX_COOKIES):
            name, equals, value = pair.strip(b" \t").partition(b"=")
            if len(value) > 1 and value[0] == 34 and value[-1] == 34:
                value = value[1:-1]
            if equals and is_token(name) and name not in found and _is_value(value):
                if len(found) == MAX_COOKIES:
                    return found
                found[name] = value
    return found


def _is_value(value):
    """cookie-octet (section 4.1.1), and what others send in spite of it, as "#" and spaces: no separators."""
    for octet in value:
        if octet < 32 or octet > 126 or octet == 59 or octet == 34 or octet == 92:
            return False
    return True


def build(
    name,
    value,
    max_age_s=None,
    expires_s=None,
    domain=None,
    path="/",
    secure=False,
    http_only=True,
    same_site="Lax",
):
    """The value of Set-Cookie, bytes. All texts: str or bytes.

    max_age_s: 0 deletes it. expires_s: Unix seconds. same_site: "Strict", "Lax", "None", or None to leave it out.
    Raises LocalError for what would say something else than meant (a semicolon, a control character), for more than
    4096 octets, for SameSite=None without secure, and for names with __Secure- or __Host- that promise what is not so.
    """
    name = octets(name)
    value = octets(value)
    if not is_token(name):
        raise LocalError("the name of a cookie is no token")
    if not _is_value(value) or b" " in value or b"," in value:
        raise LocalError("the value of a cookie has a character that it cannot have: percent-encode it")
    if len(name) + len(value) > _MAX_BYTES:
        raise LocalError("a cookie of more than %d octets" % _MAX_BYTES)
    if same_site not in (None, "Strict", "Lax", "None"):
        raise LocalError("same_site is Strict, Lax or None")
    if not secure and (same_site == "None" or name.startswith(b"__Secure-") or name.startswith(b"__Host-")):
        raise LocalError("this cookie must be secure")
    if name.startswith(b"__Host-") and (domain is not None or path != "/"):
        raise LocalError("a cookie for this host has no domain, and the path /")
    parts = [name + b"=" + value]
    if max_age_s is not None:
        parts.append(b"Max-Age=%d" % max_age_s)
    if expires_s is not None:
        parts.append(b"Expires=" + dates.format(expires_s))
    if domain is not None:
        parts.append(b"Domain=" + _attribute(domain))
    if path is not None:
        parts.append(b"Path=" + _attribute(path))
    if secure:
        parts.append(b"Secure")
    if http_only:
        parts.append(b"HttpOnly")
    if same_site is not None:
        parts.append(b"SameSite=" + same_site.encode())
    return b"; ".join(parts)


def _attribute(text):
    data = octets(text)
    if b";" in data or scan_target(data, 0, len(data)) != len(data):
        raise LocalError("an attribute of a cookie with a character that it cannot have")
    return data
