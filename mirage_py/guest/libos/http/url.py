# SPDX-License-Identifier: MIT
"""URLs of http and https (RFC 3986), as a client takes them apart, builds them, and follows redirects with them."""

from . import percent
from .authority import is_authority

_PORTS = {"http": 80, "https": 443, "ws": 80, "wss": 443}
# What stands for itself in a path or query; "%" as well, for what is encoded already.
_PATH = b"/:@!$&'()*+,;=%"
_QUERY = b"/?:@!$&'()*+,;=%[]|"
_MAX_LENGTH = 8000


class Url:
    """scheme: "http", "https", "ws" or "wss". host: text in lower case, IPv6 without brackets. port: int.

    path: begins with "/". query: text without "?", or None. userinfo: text, or None. fragment: text, or None.
    """

    def __init__(self, scheme, host, port=None, path="/", query=None, fragment=None, userinfo=None):
        self.scheme = scheme
        self.host = host
        self.port = _PORTS[scheme] if port is None else port
        self.path = path or "/"
        self.query = query
        self.fragment = fragment
        self.userinfo = userinfo

    @property
    def is_secure(self):
        return self.scheme in ("https", "wss")

    @property
    def authority(self):
        """host[:port] as in Host: the port only where it is not the scheme's."""
        host = "[" + self.host + "]" if ":" in self.host else self.host
        return host if self.port == _PORTS[self.scheme] else "%s:%d" % (host, self.port)

    @property
    def target(self):
        """path[?query], as a request line has it."""
        return self.path if self.query is None else self.path + "?" + self.query

    @property
    def origin(self):
        """(scheme, host, port): what may share a connection, or credentials (RFC 6454)."""
        return self.scheme, self.host, self.port

    def __str__(self):
        text = "%s://%s%s" % (self.scheme, self.authority, self.target)
        return text if self.fragment is None else text + "#" + self.fragment


def parse(text):
    """Url of text (or bytes). Characters that a URL cannot have are percent-encoded, as browsers do.

    ValueError: another scheme, no host or a malformed one (names that are not ASCII are not converted), a bad port, a
    control character, more than 8000 characters.
    """
    text = _clean(text)
    scheme, colon, rest = text.partition("://")
    scheme = scheme.lower()
    if not colon or scheme not in _PORTS:
        raise ValueError("not an http or https URL: %r" % text)
    rest, fragment = _cut(rest, "#")
    rest, query = _cut(rest, "?")
    authority, slash, path = rest.partition("/")
    userinfo, at, host = authority.rpartition("@")
    host, port = _host_and_port(host)
    path = _encoded(slash + path, _PATH)
    return Url(
        scheme,
        host,
        port,
        remove_dot_segments(path),
        None if query is None else _encoded(query, _QUERY),
        None if fragment is None else _encoded(fragment, _QUERY),
        userinfo if at else None,
    )


def join(base, reference):
    """The Url that a reference (text or bytes, as of Location) means from base, a Url (RFC 3986 section 5.2).

    ValueError as parse() has it. A fragment is inherited when the reference has none (RFC 9110 section 10.2.2).
    """
    reference = _clean(reference)
    if reference.startswith("//"):
        url = parse(base.scheme + ":" + reference)
    elif _has_scheme(reference):
        url = parse(reference)
    else:
        rest, fragment = _cut(reference, "#")
        path, query = _cut(rest, "?")
        if not path:
            path = base.path
            if query is None:
                query = base.query
        elif not path.startswith("/"):
            path = base.path[: base.path.rfind("/") + 1] + path
        url = Url(
            base.scheme,
            base.host,
            base.port,
            remove_dot_segments(_encoded(path, _PATH)),
            None if query is None else _encoded(query, _QUERY),
            None if fragment is None else _encoded(fragment, _QUERY),
            base.userinfo,
        )
    if url.fragment is None:
        url.fragment = base.fragment
    return url


def remove_dot_segments(path):
    """RFC 3986 section 5.2.4, of an absolute path; "/" of an empty one."""
    if "/." not in path:
        return path or "/"
    kept = []
    parts = path.split("/")[1:]
    for index, part in enumerate(parts):
        if part == "..":
            if kept:
                kept.pop()
        elif part != ".":
            kept.append(part)
            continue
        if index == len(parts) - 1:
            kept.append("")
    return "/" + "/".join(kept)


def _clean(text):
    if not isinstance(text, str):
        # Octets above ASCII are encoded one by one: nobody knows which characters they are.
        text = "".join([chr(octet) if octet < 128 else "%%%02X" % octet for octet in text])
    text = text.strip(" ")
    if len(text) > _MAX_LENGTH:
        raise ValueError("a URL of more than %d characters" % _MAX_LENGTH)
    for character in text:
        if ord(character) < 32 or ord(character) == 127:
            raise ValueError("a control character in a URL")
    return text


def _cut(text, mark):
    text, found, rest = text.partition(mark)
    return text, rest if found else None


def _encoded(text, safe):
    return percent.encode(text, safe)


def _has_scheme(text):
    scheme, colon, _ = text.partition(":")
    return bool(colon) and scheme[:1].isalpha() and not ("/" in scheme or "?" in scheme or "#" in scheme)


def _host_and_port(text):
    if not is_authority(text.encode()):
        raise ValueError("not a host and port: %r" % text)
    if text.startswith("["):
        host, _, port = text[1:].partition("]")
        port = port[1:]
    else:
        host, _, port = text.partition(":")
    if not host or "%" in host:
        raise ValueError("not a host and port: %r" % text)
    if port and not int(port):
        raise ValueError("not a host and port: %r" % text)
    return host.lower(), int(port) if port else None
