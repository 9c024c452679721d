# SPDX-License-Identifier: MIT
"""A module's text as MicroPython's compiler reads it, which knows UTF-8 only: no byte order mark, no form feeds."""

from __future__ import annotations

import ast
import io
import re
import tokenize

_BOM = b"\xef\xbb\xbf"
# Whatever stands before a form feed in an indentation does not count (Lexical analysis, 2.1.8).
_LEADING_FORM_FEED = re.compile(rb"^[ \t\f]*\f(?=[ \t]*[^\s])", re.MULTILINE)


def for_compiler(content: bytes) -> bytes:
    """`content` of a Python file with the same meaning and the same lines, for mpy-cross.

    Raises SyntaxError for a coding line that names no encoding, or octets that are not of the encoding.
    """
    head = b"\n".join(content.split(b"\n", 2)[:2])
    if content.startswith(_BOM) or b"coding" in head:
        encoding, _ = tokenize.detect_encoding(io.BytesIO(content).readline)
        try:
            content = content.decode(encoding).encode()
        except UnicodeError as error:
            raise SyntaxError(f"not {encoding}: {error}") from error
    return _without_leading_form_feeds(content) if b"\f" in content else content


def _without_leading_form_feeds(content: bytes) -> bytes:
    # Those inside of a text stay: without one of them the tree is another.
    before = ast.dump(ast.parse(content))
    start = 0
    while match := _LEADING_FORM_FEED.search(content, start):
        shorter = content[: match.start()] + content[match.end() :]
        if ast.dump(ast.parse(shorter)) == before:
            content, start = shorter, match.start()
        else:
            start = match.end()
    return content
