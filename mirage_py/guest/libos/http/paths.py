# SPDX-License-Identifier: MIT
"""The path that a server is asked for, as it looks it up (RFC 3986 section 3.3)."""

from . import percent
from .utf8 import text_of


def segments(path):
    """The decoded segments of an absolute path as text: ["a", "b c"] of b"/a/b%20c", ["a", ""] of b"/a/".

    path: bytes, without the query. "." and ".." are resolved (section 5.2.4), encoded or not; one that would leave the
    root is an error. ValueError for malformed percent-encoding, for what is no UTF-8, and for a segment with a slash,
    a backslash or NUL: no two readers of such a path agree on where it leads.
    """
    if not path.startswith(b"/"):
        raise ValueError("not an absolute path")
    plain = b"%" not in path and b"\\" not in path and b"/." not in path
    parts = path[1:].split(b"/")
    if plain:
        return [text_of(part) for part in parts]
    found = []
    last = len(parts) - 1
    for index, part in enumerate(parts):
        part = percent.decode(part)
        if b"/" in part or b"\\" in part or b"\0" in part:
            raise ValueError("a path segment with a separator")
        if part == b"..":
            if not found:
                raise ValueError("a path that leaves the root")
            found.pop()
        elif part != b".":
            found.append(text_of(part))
            continue
        if index == last:
            found.append("")
    return found
