# SPDX-License-Identifier: MIT
"""What mpy-cross gets to read: the same program in UTF-8, line for line, where it does not know what CPython does."""

from __future__ import annotations

import ast

import pytest

from mirage_py.build.source_text import for_compiler

BOM = b"\xef\xbb\xbf"


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"x = 1",
        b"x = 1\r\ny = '''a\r\nb'''\r\n",
        "# größe\nx = 'ä'\n".encode(),
        b"encoding = 1\n",
        b"# coding: utf-8\nx = 1\n",
        b"x = 1\n\x0c\ny = 2\n",
        b"x = '\x0c'\ny = '''\n\x0c a'''\n",
        b"def f():\n\tif 1:\n\t\treturn 1\n",
    ],
)
def test_what_both_read_alike_stays_as_it_is(content: bytes) -> None:
    assert for_compiler(content) == content


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (BOM + b"x = 1\n", b"x = 1\n"),
        (BOM + b"# coding: utf-8\r\nx = 1\r\n", b"# coding: utf-8\r\nx = 1\r\n"),
        (b"# coding: latin-1\nx = '\xe9'\n", "# coding: latin-1\nx = 'é'\n".encode()),
        (b"#!/usr/bin/python\n# -*- coding: cp1252 -*-\nx = '\x80'\n", None),
        (b"\x0cx = 1\n", b"x = 1\n"),
        (b"def f():\n    a = 1\n\x0c    b = 1\n \x0c\t\x0c    c = 1\n", b"def f():\n    a = 1\n    b = 1\n    c = 1\n"),
        (b"def f():\n\x0c    a = '''\n\x0c  b'''\n", b"def f():\n    a = '''\n\x0c  b'''\n"),
        (b"x = f'''\n\x0c {1}'''\n\x0cy = 1\n", b"x = f'''\n\x0c {1}'''\ny = 1\n"),
    ],
)
def test_what_only_cpython_reads_becomes_the_same_program(content: bytes, expected: bytes | None) -> None:
    found = for_compiler(content)
    assert expected is None or found == expected
    assert ast.dump(ast.parse(found.decode())) == ast.dump(ast.parse(content))
    assert found.count(b"\n") == content.count(b"\n")


@pytest.mark.parametrize(
    "content", [b"# coding: klingon\n", BOM + b"# coding: latin-1\n", b"# coding: ascii\nx = '\xe9'\n"]
)
def test_encoding_that_is_none_is_an_error(content: bytes) -> None:
    with pytest.raises(SyntaxError):
        for_compiler(content)
