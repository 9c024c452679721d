# SPDX-License-Identifier: MIT
"""Runs what docs/ tells a user to type, as written.

In a Markdown file, a fence marked `sh` is run by bash (where the fence before it left off), a fence marked
`python NAME` or `text NAME` is a file that the reader writes, and a fence marked `output` holds lines that must appear,
in this order, in what the last `sh` fence printed; a line `...` stands for anything.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.boot.guests import EXAMPLES

DOCS = EXAMPLES.parent / "docs"
FENCE = re.compile(r"^```(\w+)(?: +(\S+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
pytestmark = [pytest.mark.build, pytest.mark.slow, pytest.mark.qemu]


@dataclass
class Fence:
    """One fenced block of a Markdown file."""

    language: str
    name: str
    text: str
    line: int


def fences(path: Path) -> list[Fence]:
    """The fenced blocks of `path`, in order."""
    text = path.read_text()
    return [
        Fence(match[1], match[2] or "", match[3], text.count("\n", 0, match.start()) + 1)
        for match in FENCE.finditer(text)
    ]


def missing_line(expected: str, printed: str) -> str | None:
    """The first line of `expected` that does not appear in `printed` after those before it."""
    rest = iter(printed.splitlines())
    for wanted in expected.splitlines():
        if wanted.strip() in ("...", ""):
            continue
        if not any(wanted.strip() in line for line in rest):
            return wanted
    return None


def run_document(path: Path, directory: Path, env: dict[str, str]) -> None:
    """Do what the document says, in `directory`."""
    printed = ""
    where = directory / ".cwd"
    where.write_text(str(directory))
    for fence in fences(path):
        place = f"{path.name}:{fence.line}"
        if fence.language == "sh":
            script = f'cd "$(cat "{where}")"\nset -eu\n{fence.text}\npwd > "{where}"\n'
            done = subprocess.run(
                ["bash", "-c", script],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=300,
                env=env,
                check=False,
            )
            printed = done.stdout
            assert done.returncode == 0, f"{place}: exit {done.returncode}\n{printed}"
        elif fence.language == "output":
            lost = missing_line(fence.text, printed)
            assert lost is None, f"{place}: expected {lost!r} in:\n{printed}"
        elif fence.name:
            target = Path(where.read_text().strip()) / fence.name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(fence.text)


@pytest.mark.parametrize("name", ["tutorial.md", "device-kinds.md", "fetch.md", "site.md"])
def test_document_executed_as_written(name: str, tmp_path: Path) -> None:
    tools = tmp_path / "bin"
    tools.mkdir()
    for command in ("mirage-py", "configure"):
        found = shutil.which(command, path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
        assert found, f"{command} is not installed beside {sys.executable}"
        (tools / command).symlink_to(found)
    directory = tmp_path / "reader"
    directory.mkdir()
    env = {**os.environ, "PATH": f"{tools}:{os.environ['PATH']}", "MIRAGE_PY_STATE": str(tmp_path / "state")}
    run_document(DOCS / name, directory, env)


def test_missing_line_finds_what_is_not_there() -> None:
    assert missing_line("a\n...\nc\n", "xa\nb\nc\n") is None
    assert missing_line("c\na\n", "a\nc\n") == "a"
