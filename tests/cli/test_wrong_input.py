# SPDX-License-Identifier: MIT
"""Wrong input of every kind on every command: one line with cause and remedy, no traceback, and nothing is lost."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from mirage_py.cli import commands as cli

HELLO = Path(__file__).parents[2] / "examples" / "hello"
# "cause; remedy", and no word of a fault of ours.
ONE_LINE = re.compile(r"mirage-py: error: (?!.*(Traceback|--debug|please report))[^\n]+; [^\n]+\n")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An application, and beside it what is no directory and no file."""
    for name in ("config.py", "hello.py"):
        (tmp_path / name).write_bytes((HELLO / name).read_bytes())
    (tmp_path / "file").write_text("x")
    (tmp_path / "random").write_bytes(bytes(range(256)) * 16)
    (tmp_path / "elf").write_bytes(b"\x7fELF")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "dir").mkdir()
    os.mkfifo(tmp_path / "fifo")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MODE", raising=False)
    monkeypatch.setenv("MIRAGE_PY_STATE", str(tmp_path / "state"))
    monkeypatch.setenv("MIRAGE_PY_CACHE", str(tmp_path / "cache"))
    return tmp_path


def contents(folder: Path) -> dict[str, bytes | None]:
    return {str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


@pytest.mark.parametrize(
    "line",
    [
        "configure -t hvt -t xen",
        "configure -t ''",
        "configure -o ''",
        "configure -f ''",
        "configure -f dir",
        "configure -f fifo",
        "configure -f loop",
        "configure -f /dev/zero",
        "configure -f random",
        "configure -f elf",
        "configure -f " + "x" * 300,
        "configure -o file",
        "configure -o file/below",
        "configure -o loop",
        "configure -o /proc/below",
        "configure --net ''",
        "configure --net direct=x -t unix",
        "configure --count ''",
        "configure --count 1e3",
        "configure --count ٣x",
        "configure --pause -1s",
        "configure --dry-run=yes",
        "configure -- --count 3",
        "build -o dir",
        "build -o file",
        "build -o file/below",
        "build -o /nowhere",
        "build -o ''",
        "build --micropython ''",
        "build --jobs 3",
        "run",
        "run -o ''",
        "run -o file",
        "run --qemu ''",
        "run --link ''",
        "run --pcap ''",
        "run --without ''",
        "run --memory 0",
        "run --memory 99999999",
        "run --memory 1.5",
        "run --gdb-port 0",
        "run --gdb-port 65536",
        "run --machine isapc",
        "run --accel xen",
        "run --name x",
        "run -d --name a/b",
        "run file",
        "run dir",
        "run fifo",
        "run loop",
        "run elf",
        "run random",
        "run /dev/zero",
        "run /bin/true",
        "run /nowhere",
        "run one two",
        "ps x",
        "ps --json=x",
        "logs",
        "logs ''",
        "logs ../config",
        "logs nobody -f",
        "stop",
        "stop nobody",
        "stop a b",
        "describe -t ''",
        "describe --svg ''",
        "describe --dot=x",
        "query",
        "query colour",
        "query name dir",
        "query name fifo",
        "query name random",
        "query name /bin/true",
        "query files elf",
        "clean -o /nowhere",
        "clean -o file",
        "clean everything",
        "doctor x",
        "frobnicate",
        "''",
        "--color pink ps",
    ],
)
def test_line_is_refused_in_one_line(here: Path, line: str) -> None:
    before = contents(here)
    words = [word.strip("'") for word in line.split()]
    result = CliRunner().invoke(cli.cli, words, prog_name="mirage-py")
    assert result.exit_code in (1, 2), result.output
    assert ONE_LINE.fullmatch(result.stderr), result.stderr
    assert result.stdout == ""
    assert contents(here) == before


@pytest.mark.parametrize("state", ["file", "state"])
def test_state_directory_of_the_wrong_kind(here: Path, monkeypatch: pytest.MonkeyPatch, state: str) -> None:
    monkeypatch.setenv("MIRAGE_PY_STATE", str(here / "file") if state == "file" else state)
    for words in (["ps"], ["logs", "x"], ["stop", "x"]):
        result = CliRunner().invoke(cli.cli, words, prog_name="mirage-py")
        assert result.exit_code == 1
        assert "MIRAGE_PY_STATE" in result.stderr


@pytest.mark.parametrize("words", [[], ["--nope"], ["x"], ["--socket"], ["--socket", "s", "--log", "loud"]])
def test_nic_is_refused_in_one_line_too(here: Path, words: list[str]) -> None:
    command = [sys.executable, "-P", "-m", "mirage_py", "nic", *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert re.fullmatch(r"mirage-py nic: error: [^\n]+; [^\n]+\n", done.stderr), done.stderr
