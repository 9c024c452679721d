# SPDX-License-Identifier: MIT
"""Plans: what is written, what is left alone, and that nothing is written when something stands in the way."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from mirage_py.configure.plan import KEPT, MARK, UNCHANGED, WRITTEN, File, Plan, is_generated
from mirage_py.support.errors import UserError

FIRST = File("Makefile", f"# {MARK} 1\nall:\n")
SECOND = File("mirage/main.py", f"# {MARK} 1\nprint()\n")


def plan(output: Path, *files: File) -> Plan:
    return Plan(output, files or (FIRST, SECOND))


def tree(directory: Path) -> dict[str, bytes]:
    return {str(p.relative_to(directory)): p.read_bytes() for p in sorted(directory.rglob("*")) if p.is_file()}


def test_empty_directory_gets_all_files(tmp_path: Path) -> None:
    assert plan(tmp_path / "new" / "dir").apply() == {"Makefile": WRITTEN, "mirage/main.py": WRITTEN}
    assert tree(tmp_path / "new" / "dir") == {"Makefile": FIRST.content, "mirage/main.py": SECOND.content}


def test_file_without_mark_is_a_programming_error() -> None:
    with pytest.raises(ValueError, match="first line"):
        File("Makefile", f"all:\n# {MARK}\n")


def test_same_again_touches_nothing(tmp_path: Path) -> None:
    plan(tmp_path).apply()
    before = (tmp_path / "Makefile").stat()
    assert plan(tmp_path).apply() == {"Makefile": UNCHANGED, "mirage/main.py": UNCHANGED}
    after = (tmp_path / "Makefile").stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)


def test_generated_file_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "Makefile").write_text(f"# {MARK} 0, older\n")
    assert plan(tmp_path).apply()["Makefile"] == WRITTEN
    assert (tmp_path / "Makefile").read_bytes() == FIRST.content


@pytest.mark.parametrize("in_the_way", ["Makefile", "mirage/main.py"])
@pytest.mark.parametrize("content", [b"all: mine\n", b"", b"\n# " + MARK.encode(), b"\xff\x00\xfe" * 5000])
def test_users_file_stops_everything(tmp_path: Path, in_the_way: str, content: bytes) -> None:
    (tmp_path / "mirage").mkdir()
    (tmp_path / in_the_way).write_bytes(content)
    with pytest.raises(UserError, match="in the way") as caught:
        plan(tmp_path).apply()
    assert in_the_way in caught.value.cause
    assert tree(tmp_path) == {in_the_way: content}


def test_users_file_is_kept_where_asked_and_the_rest_written(tmp_path: Path) -> None:
    (tmp_path / "Makefile").write_text("mine\n")
    assert plan(tmp_path).apply(keep_foreign=True) == {"Makefile": KEPT, "mirage/main.py": WRITTEN}
    assert (tmp_path / "Makefile").read_text() == "mine\n"


def test_directory_in_place_of_a_file_and_the_other_way_round(tmp_path: Path) -> None:
    (tmp_path / "Makefile").mkdir()
    with pytest.raises(UserError, match="it is a directory"):
        plan(tmp_path).apply()
    (tmp_path / "Makefile").rmdir()
    (tmp_path / "mirage").write_text("mine")
    with pytest.raises(UserError, match="a directory of this name is needed"):
        plan(tmp_path).apply()
    assert tree(tmp_path) == {"mirage": b"mine"}


def test_full_disk_leaves_everything_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "Makefile").write_text(f"# {MARK} 0\n")
    written = []
    real = os.fdopen

    def full(handle: int, mode: str) -> object:
        stream = real(handle, mode)
        written.append(handle)
        if len(written) == 2:
            stream.close()
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return stream

    monkeypatch.setattr(os, "fdopen", full)
    with pytest.raises(UserError, match="No space left"):
        plan(tmp_path).apply()
    assert tree(tmp_path) == {"Makefile": f"# {MARK} 0\n".encode()}


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_directory_that_may_not_be_written(tmp_path: Path) -> None:
    tmp_path.chmod(0o555)
    with pytest.raises(UserError, match="cannot write"):
        plan(tmp_path).apply()


def test_written_files_have_the_users_permissions(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        plan(tmp_path).apply()
    finally:
        os.umask(before)
    assert (tmp_path / "Makefile").stat().st_mode & 0o777 == 0o640


def test_remove_takes_only_what_is_marked(tmp_path: Path) -> None:
    plan(tmp_path).apply()
    (tmp_path / "Makefile").write_text("mine now\n")
    assert plan(tmp_path).remove() == [tmp_path / "mirage/main.py"]
    assert tree(tmp_path) == {"Makefile": b"mine now\n"}
    assert not (tmp_path / "mirage").exists()


def test_paths_of_any_bytes_are_written_as_they_are(tmp_path: Path) -> None:
    odd = os.fsdecode(b"/tmp/\xff\xc3\xbc")
    plan(tmp_path, File("Makefile", f"# {MARK}\n{odd}\n")).apply()
    assert (tmp_path / "Makefile").read_bytes().endswith(b"/tmp/\xff\xc3\xbc\n")
    assert is_generated(tmp_path / "Makefile")


def test_secret_file_is_nobody_elses(tmp_path: Path) -> None:
    secret = File("mirage/x.key", f"# {MARK} 1\nsecret\n", is_secret=True)
    assert "secret" not in repr(secret).partition("is_secret")[0]
    path = tmp_path / "mirage" / "x.key"
    before = os.umask(0)
    try:
        plan(tmp_path, FIRST, secret).apply()
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "Makefile").stat().st_mode & 0o777 == 0o666
    assert plan(tmp_path, secret).apply() == {"mirage/x.key": UNCHANGED}
    path.chmod(0o644)
    assert plan(tmp_path, secret).apply() == {"mirage/x.key": WRITTEN}
    assert path.stat().st_mode & 0o777 == 0o600
