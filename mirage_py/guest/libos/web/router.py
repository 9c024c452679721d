# SPDX-License-Identifier: MIT
"""Which handler answers: by path, then by method."""

from ..http.errors import LocalError, RemoteError
from ..http.head import is_token
from ..http.paths import segments
from .response import HttpError, Response

# Targets that are known by their octets.
_KNOWN = 256
_KNOWN_BYTES = 256


class Route:
    """What answers at one path. methods: method (bytes) -> handler. limit: octets of a request's body, None: usual.
    is_static: the handlers get http.server.Request, and need no more.
    """

    is_static = False

    def __init__(self):
        self.methods = {}
        self.limit = None

    def add(self, method, handler, limit):
        if method in self.methods:
            raise ValueError("two handlers for %s of one path" % method.decode())
        self.methods[method] = handler
        if limit is not None:
            self.limit = limit

    def allow(self):
        """The value of Allow (RFC 9110 section 10.2.1)."""
        names = set(self.methods) | {b"OPTIONS"}
        if b"GET" in names:
            names.add(b"HEAD")
        return b", ".join(sorted(names))

    def handler(self, method):
        """Who answers a method. HEAD is GET without the body, OPTIONS says what there is, others are 405."""
        found = self.methods.get(method)
        if found is None and method == b"HEAD":
            found = self.methods.get(b"GET")
        if found is not None:
            return found
        allow = ((b"Allow", self.allow()),)
        if method == b"OPTIONS":
            return lambda _request: Response(b"", 204, allow)
        raise HttpError(405, None, allow)


class _Pattern:
    """A path with parameters. parts: for each segment text, or (name, convert) with convert None, int or "path"."""

    def __init__(self, text):
        self.text = text
        self.parts = [_part(part) for part in text[1:].split("/")]
        self.route = Route()
        names = [part[0] for part in self.parts if type(part) is tuple]
        if len(names) != len(set(names)):
            raise ValueError("two parameters of one name in %s" % text)
        if any(part[1] == "path" for part in self.parts[:-1] if type(part) is tuple):
            raise ValueError("<path:...> is not the last of %s" % text)

    def match(self, found):
        """The parameters, or None. found: the segments of a path."""
        parts = self.parts
        last = parts[-1]
        if type(last) is tuple and last[1] == "path":
            if len(found) < len(parts):
                return None
            found = found[: len(parts) - 1] + ["/".join(found[len(parts) - 1 :])]
        elif len(found) != len(parts):
            return None
        params = {}
        for part, segment in zip(parts, found):
            if type(part) is not tuple:
                if part != segment:
                    return None
                continue
            if part[1] is int:
                # No more digits than a number has that is meant.
                if not segment.isdigit() or len(segment) > 18:
                    return None
                segment = int(segment)
            elif not segment and part[1] is None:
                return None
            params[part[0]] = segment
        return params


def _part(text):
    if not (text.startswith("<") and text.endswith(">")):
        if "<" in text or ">" in text:
            raise ValueError("a parameter is a whole segment: %s" % text)
        return text
    kind, colon, name = text[1:-1].rpartition(":")
    convert = {"": None, "int": int, "path": "path"}.get(kind, 0)
    if convert == 0 or not is_token(name.encode()):
        raise ValueError("not a parameter: %s" % text)
    return (name, convert)


class Router:
    """Routes with and without parameters, and folders behind them."""

    def __init__(self):
        self.known = {}  # target as it came -> Route, for those without parameters
        self._routes = {}  # path as text -> Route
        self._patterns = []
        self._folders = []  # (prefix, folder), the longest prefix first

    def add(self, method, pattern, handler, limit=None):
        """method: "GET", or several with commas. pattern: "/users/<id>", "/n/<int:number>", "/files/<path:rest>"."""
        if not pattern.startswith("/"):
            raise ValueError("a path begins with a slash: %s" % pattern)
        if "<" in pattern:
            for known in self._patterns:
                if known.text == pattern:
                    route = known.route
                    break
            else:
                known = _Pattern(pattern)
                self._patterns.append(known)
                route = known.route
        else:
            route = self._routes.get(pattern)
            if route is None:
                route = self._routes[pattern] = Route()
        for name in method.split(","):
            name = name.strip().encode()
            if not is_token(name):
                raise LocalError("not a method: %s" % method)
            route.add(name, handler, limit)
        self.known.clear()

    def add_folder(self, prefix, folder):
        self._folders.append((prefix, folder))
        self._folders.sort(key=lambda pair: -len(pair[0]))
        self.known.clear()

    def find(self, head):
        """(Route, params) for a request that is not `known`. HttpError 404; RemoteError for a target that is none."""
        target = head.target
        if target == b"*":
            return _ANY, None
        if head.method == b"CONNECT":
            raise HttpError(501)
        path, mark, _ = target.partition(b"?")
        if mark:
            route = self.known.get(path)
            if route is not None:
                return route, None
        try:
            found = segments(path)
        except ValueError as error:
            raise RemoteError(400, str(error))
        text = "/" + "/".join(found)
        route = self._routes.get(text)
        if route is None:
            for pattern in self._patterns:
                params = pattern.match(found)
                if params is not None:
                    return pattern.route, params
            for prefix, folder in self._folders:
                if text.startswith(prefix):
                    route = folder.find(text[len(prefix) - 1 :])
                    if route is not None:
                        if not route.is_known:
                            return route, None
                        break
        if route is None:
            raise HttpError(404)
        # A path may be written in many ways, and at any length: they are to take no memory.
        if len(path) <= _KNOWN_BYTES:
            if len(self.known) >= _KNOWN:
                self.known.clear()
            self.known[path] = route
        return route, None


_ANY = Route()
