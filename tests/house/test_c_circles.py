# SPDX-License-Identifier: MIT
"""The C files of a target call each other without circles. What is meant by "calls": see docs/architecture.md."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from mirage_py.support import paths

# What is no code: comments, and what stands in quotation marks.
_NO_CODE = re.compile(r"""/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'""", re.DOTALL)
# A function's body or an object with external linkage begins at the left margin; so do MicroPython's function objects.
_DEFINED = re.compile(
    r"^(?!(?:static|typedef|extern|return)\b|\#)(?:__attribute__\(\(.*?\)\)\s*)?"
    r"[A-Za-z_][\w \t*]*?\b([a-z_]\w*)\s*(?:\[[^\]]*\]\s*)?(?:\([^;{]*\)\s*\{|=|;)",
    re.MULTILINE,
)
_DEFINED_BY_MACRO = re.compile(r"^MP_DEFINE_CONST_FUN_OBJ_\w+\((\w+)", re.MULTILINE)


def calls(files: list[Path]) -> dict[str, dict[str, set[str]]]:
    """File -> the files that it uses names of -> those names."""
    texts = {path.name: _NO_CODE.sub(" ", path.read_text(encoding="utf-8")) for path in files}
    owners: dict[str, str] = {}
    for name, text in texts.items():
        for defined in [*_DEFINED.findall(text), *_DEFINED_BY_MACRO.findall(text)]:
            owners.setdefault(defined, name)
    found: dict[str, dict[str, set[str]]] = {}
    for name, text in texts.items():
        below = found.setdefault(name, {})
        for word in set(re.findall(r"[A-Za-z_]\w*", text)) & owners.keys():
            if owners[word] != name:
                below.setdefault(owners[word], set()).add(word)
    return found


def circles(edges: dict[str, dict[str, set[str]]]) -> dict[str, dict[str, set[str]]]:
    """What is left when files that use none of those left are taken away, until there are no more; empty: no circle."""
    left = dict(edges)
    while leaves := [name for name, below in left.items() if not below.keys() & left.keys()]:
        for name in leaves:
            del left[name]
    return {name: {other: names for other, names in below.items() if other in left} for name, below in left.items()}


@pytest.mark.parametrize("target", ["unix", "hvt"])
def test_c_files_call_each_other_without_circles(target: str) -> None:
    targets = paths.targets_dir()
    files = sorted([*(targets / "common").glob("*.c"), *(targets / target).rglob("*.c")])
    edges = calls(files)
    # What everybody knows of these, so that a test which sees nothing is noticed.
    assert "plat_monotonic_ns" in set().union(*edges["mphalport.c"].values())
    assert "mirage_main" in edges["start.c"]["mirage_main.c"]
    assert circles(edges) == {}


def test_circle_is_found(tmp_path: Path) -> None:
    (tmp_path / "a.c").write_text("void a_start(void) {\n    b_go(); /* c_go() */\n}\nint a_count;\n")
    (tmp_path / "b.c").write_text('static void x(void) {\n}\nvoid b_go(void) {\n    puts("c_go");\n    c_go();\n}\n')
    (tmp_path / "c.c").write_text("void c_go(void) {\n    a_count++;\n}\n")
    (tmp_path / "d.c").write_text("void d_go(void) {\n    a_start();\n}\n")
    found = circles(calls(sorted(tmp_path.glob("*.c"))))
    assert {name: set(below) for name, below in found.items()} == {
        "a.c": {"b.c"},
        "b.c": {"c.c"},
        "c.c": {"a.c"},
        "d.c": {"a.c"},
    }
