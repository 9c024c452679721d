# SPDX-License-Identifier: MIT
"""Files and modules that documents, comments and messages name are where they say: a move leaves no old path behind."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
GUEST = ROOT / "mirage_py" / "guest"

# What happened once is told in the words of then.
HISTORY = ("CHANGELOG.md", "docs/decisions/")

# A path into one of the folders at the top, or into the library OS as its pages name it: `net/tcp/output.py`.
# A name in capitals stands for any.
_PATH = re.compile(
    r"(?<![\w/.<{*-])((?:mirage_py|libos|tests|docs|targets|bench|scripts|templates|examples|support|configure|build|run|nic|cli"
    r"|wire|hal|driver|net|app)/(?:[\w.-]+/)*(?![A-Z]+\.)[\w-]+\.(?:py|c|h|S|ld|md|j2|txt|sh|sha256|json))(?![\w*])"
)
_MODULE = re.compile(r"(?<![\w./-])((?:mirage_py|libos|tests)(?:\.[A-Za-z_]\w*)+)")

# Where paths and modules are made up: examples of what is refused.
MADE_UP = ("tests/house/", "tests/configure/test_guest_class.py", "tests/configure/test_resolver.py")


def _tracked() -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "-z"], check=False, cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    if listed.returncode:
        pytest.skip("this is not a git checkout")
    names = [name for name in listed.stdout.split("\0") if name and not name.startswith(HISTORY + MADE_UP)]
    return [path for path in map(ROOT.joinpath, names) if path.is_file() and path.stat().st_size < 1 << 20]


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return ""


def path_is_there(name: str, beside: Path) -> bool:
    """Whether a path that the file `beside` names leads somewhere: from the top, a room of the house, or its folder."""
    roots = (ROOT, ROOT / "mirage_py", GUEST, GUEST / "libos", beside.parent, ROOT / "targets")
    return any((root / name).exists() for root in roots)


def module_is_there(name: str) -> bool:
    """Whether `libos.net.tcp.Tcp` begins with a module, and what follows is a name that stands in it."""
    first, *rest = name.split(".")
    at = GUEST / "libos" if first == "libos" else ROOT / first
    while rest and (at / rest[0]).is_dir():
        at /= rest.pop(0)
    if not rest:
        return True
    file = at / f"{rest[0]}.py"
    if file.is_file():
        rest.pop(0)
    else:
        file = at / "__init__.py"
    return not rest or (file.is_file() and re.search(rf"\b{re.escape(rest[0])}\b", file.read_text()) is not None)


def missing(path: Path, text: str) -> list[str]:
    found = []
    for number, line in enumerate(text.splitlines(), 1):
        found += [
            f"{path.relative_to(ROOT)}:{number}: {name}"
            for name in _PATH.findall(line)
            if not path_is_there(name, path)
        ]
        found += [
            f"{path.relative_to(ROOT)}:{number}: {name}" for name in _MODULE.findall(line) if not module_is_there(name)
        ]
    return found


def test_every_path_and_module_that_is_named_is_there() -> None:
    assert [line for path in _tracked() for line in missing(path, _text(path))] == []


@pytest.mark.parametrize(
    "text",
    [
        "see mirage_py/codegen.py",
        "`net/ipv4.py` has it",
        "libos.net.ipv4.Ipv4",
        "from mirage_py.graph import Graph",
        "mirage_py.configure.graph.Grapf",
        "tests/host/test_build.py",
    ],
)
def test_an_old_path_is_noticed(text: str) -> None:
    assert len(missing(ROOT / "README.md", text)) == 1


def test_what_is_there_is_not_complained_about() -> None:
    text = (
        "mirage_py/configure/graph.py net/ip/ipv4.py libos.net.ip.ipv4.Ipv4 mirage_py.configure.graph.Graph tests.net"
    )
    assert missing(ROOT / "README.md", text) == []
