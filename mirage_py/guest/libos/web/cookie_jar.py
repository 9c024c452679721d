# SPDX-License-Identifier: MIT
"""What a client keeps of cookies, and sends back (RFC 6265 section 5; prefixes of its revision). In memory only.

There is no list of public suffixes here: a server may set a cookie for a domain above its own, if that has a dot.
"""

from libos.http import dates
from libos.http.head import is_token

_MAX_COOKIES = 200
_MAX_PER_HOST = 50
_MAX_BYTES = 4096  # of a name and its value
_MAX_HEADER = 8192
_NEVER_S = 1 << 62


class _Cookie:
    def __init__(self, name, value, domain, path):
        self.name = name
        self.value = value
        self.domain = domain  # text
        self.path = path  # text
        self.is_host_only = True
        self.is_secure = False
        self.expires_s = _NEVER_S


class CookieJar:
    """store() what came, header() for what goes; at most 200 cookies, 50 of a host: the oldest make room."""

    def __init__(self):
        self._cookies = []  # oldest first

    def __len__(self):
        return len(self._cookies)

    def clear(self):
        self._cookies.clear()

    def store(self, url, values, now_s):
        """values: of the Set-Cookie lines of a response of `url` (http.url.Url). What must not be set is left out."""
        for value in values[:_MAX_PER_HOST]:
            cookie = _parse(url, value, now_s)
            if cookie is not None:
                self._add(cookie, now_s)

    def header(self, url, now_s):
        """The value of Cookie for a request of `url`, or None. Longest paths first, then the oldest."""
        host = url.host
        found = []
        for cookie in self._cookies:
            if cookie.expires_s <= now_s or (cookie.is_secure and not url.is_secure):
                continue
            if host != cookie.domain and (cookie.is_host_only or not _is_below(host, cookie.domain)):
                continue
            if _is_in(url.path, cookie.path):
                found.append(cookie)
        found.sort(key=lambda cookie: -len(cookie.path))
        data = b"; ".join([cookie.name + b"=" + cookie.value for cookie in found])
        if len(data) > _MAX_HEADER:
            data = data[: data.rfind(b"; ", 0, _MAX_HEADER)]
        return data or None

    def _add(self, new, now_s):
        kept = []
        same_host = 0
        for cookie in reversed(self._cookies):
            is_same = (cookie.name, cookie.domain, cookie.path) == (new.name, new.domain, new.path)
            if is_same or cookie.expires_s <= now_s:
                continue
            if cookie.domain == new.domain:
                same_host += 1
                if same_host >= _MAX_PER_HOST:
                    continue
            kept.append(cookie)
        kept.reverse()
        if new.expires_s > now_s:
            kept.append(new)
        self._cookies = kept[-_MAX_COOKIES:]


def _is_below(host, domain):
    """Whether host is a name below domain; an address is below nothing."""
    return host.endswith("." + domain) and not host.replace(".", "").isdigit() and ":" not in host


def _is_in(path, prefix):
    """RFC 6265 section 5.1.4."""
    return path == prefix or (path.startswith(prefix) and (prefix.endswith("/") or path[len(prefix)] == "/"))


def _parse(url, data, now_s):
    """The _Cookie of a Set-Cookie value; None for one that is ignored."""
    parts = data.split(b";")
    name, equals, value = parts[0].partition(b"=")
    name = name.strip(b" \t")
    value = value.strip(b" \t")
    if not equals or not is_token(name) or len(name) + len(value) > _MAX_BYTES:
        return None
    for octet in value:
        if octet < 32 or octet == 127:
            return None
    end = url.path.rfind("/")
    cookie = _Cookie(name, value, url.host, url.path[:end] or "/")
    max_age_s = None
    for part in parts[1:]:
        what, _, said = part.partition(b"=")
        what = what.strip(b" \t").lower()
        said = said.strip(b" \t")
        if what == b"secure":
            cookie.is_secure = True
        elif what == b"path" and said.startswith(b"/") and max(said) < 128:
            cookie.path = str(said, "utf-8")
        elif what == b"max-age" and said[said.startswith(b"-") :].isdigit() and len(said) < 16:
            max_age_s = int(said)
        elif what == b"expires":
            # Many write HTTP's own form with dashes in it. What cannot be read is as good as none.
            expires_s = dates.parse(said)
            if expires_s is None:
                expires_s = dates.parse(said.replace(b"-", b" "))
            if expires_s is not None:
                cookie.expires_s = expires_s
        elif what == b"domain" and said.lstrip(b"."):
            if max(said) > 127:
                return None
            domain = str(said.lstrip(b"."), "utf-8").lower()
            if domain != url.host:
                if "." not in domain or not _is_below(url.host, domain):
                    return None
                cookie.domain = domain
            cookie.is_host_only = False
    if max_age_s is not None:
        cookie.expires_s = now_s + max_age_s if max_age_s > 0 else 0
    if cookie.is_secure and not url.is_secure:
        return None
    if name.startswith(b"__Secure-") and not cookie.is_secure:
        return None
    if name.startswith(b"__Host-") and not (cookie.is_secure and cookie.is_host_only and cookie.path == "/"):
        return None
    return cookie
