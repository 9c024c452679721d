# SPDX-License-Identifier: MIT
"""The cache: whole entries or none, whatever happens meanwhile."""

import errno
import io
import multiprocessing
import os
import pwd
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from mirage_py.support.cache import RECORD, Cache, sha256_tree
from mirage_py.support.errors import UserError
from mirage_py.support.progress import Progress


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "käsch dir", Progress(stream=io.StringIO()))


def messages(cache: Cache) -> str:
    stream = cache.progress.stream
    assert isinstance(stream, io.StringIO)
    return stream.getvalue()


def fill(folder: Path) -> None:
    (folder / "sub").mkdir()
    (folder / "sub" / "a.txt").write_text("aaaa")
    (folder / "b.txt").write_text("b")


def never(folder: Path) -> None:
    raise AssertionError("made although it was there")


def leftovers(cache: Cache) -> list[Path]:
    return list((cache.root / "tmp").iterdir())


def test_an_entry_is_made_once(cache: Cache) -> None:
    made = cache.make("kind", "key", fill, "it")
    assert made == cache.root / "kind" / "key"
    assert (made / "sub" / "a.txt").read_text() == "aaaa"
    assert cache.make("kind", "key", never, "it") == made
    assert cache.find("kind", "key") == made
    assert cache.find("kind", "other") is None
    assert not leftovers(cache)


def test_a_failing_builder_leaves_nothing(cache: Cache) -> None:
    def fail(folder: Path) -> None:
        fill(folder)
        raise UserError("no")

    with pytest.raises(UserError, match="no"):
        cache.make("kind", "key", fail, "it")
    assert cache.find("kind", "key") is None
    assert not leftovers(cache)


@pytest.mark.parametrize("damage", ["cut", "changed", "removed", "record cut", "record removed"])
def test_a_damaged_entry_is_made_again(cache: Cache, damage: str) -> None:
    entry = cache.make("kind", "key", fill, "it")
    victim = entry / "sub" / "a.txt"
    if damage == "cut":
        victim.write_text("aa")
    elif damage == "changed":
        victim.write_text("axaa")
    elif damage == "removed":
        victim.unlink()
    elif damage == "record cut":
        (entry / RECORD).write_bytes((entry / RECORD).read_bytes()[:20])
    else:
        (entry / RECORD).unlink()
    assert cache.find("kind", "key") is None
    assert cache.make("kind", "key", fill, "the thing") == entry
    assert victim.read_text() == "aaaa"
    assert "the thing in the cache was damaged" in messages(cache)
    assert not leftovers(cache)


def test_an_entry_with_new_times_is_still_good(cache: Cache) -> None:
    entry = cache.make("kind", "key", fill, "it")
    os.utime(entry / "b.txt", (1, 1))
    assert cache.find("kind", "key") == entry
    # The new time is in the record now, so that the content is not read again each time.
    assert "1000000000" in (entry / RECORD).read_text()


@contextmanager
def bound_by_permissions() -> Iterator[None]:
    """root is not: act as nobody for a while."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(pwd.getpwnam("nobody").pw_uid)
    try:
        yield
    finally:
        os.seteuid(0)


def test_a_read_only_cache_serves_what_it_has() -> None:
    # pytest's own folders are readable by their owner only.
    with tempfile.TemporaryDirectory() as name:
        cache = Cache(Path(name), Progress(quiet=True))
        entry = cache.make("kind", "key", fill, "it")
        os.utime(entry / "b.txt", (1, 1))
        for folder, _, _ in os.walk(name):
            os.chmod(folder, 0o555)
        try:
            with bound_by_permissions():
                assert cache.make("kind", "key", never, "it") == entry
                with pytest.raises(UserError, match=r"cannot write .*MIRAGE_PY_CACHE=DIR"):
                    cache.make("kind", "other", fill, "it")
        finally:
            for folder, _, _ in os.walk(name):
                os.chmod(folder, 0o755)


@pytest.mark.parametrize("place", ["file", "file/below", "/proc/cache", "loop/x", "x" * 300])
def test_a_place_that_no_cache_can_be_in_is_one_line(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(UserError, match=r"cannot make the directory .*; .*MIRAGE_PY_CACHE=DIR"):
        Cache(tmp_path / place, Progress(quiet=True)).make("kind", "key", never, "it")


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_one_line(cache: Cache, number: int) -> None:
    def full(folder: Path) -> None:
        raise OSError(number, os.strerror(number), str(folder / "file"))

    with pytest.raises(UserError, match=r"the disk is full.*MIRAGE_PY_CACHE"):
        cache.make("kind", "key", full, "it")
    assert not leftovers(cache)


SLOW = """
    import sys, time
    from pathlib import Path
    from mirage_py.support.cache import Cache
    def build(folder):
        (folder / "half").write_text("x")
        print("building", flush=True)
        time.sleep({seconds})
        (folder / "half").write_text("whole")
    print(Cache(Path(sys.argv[1])).make("kind", "key", build, "it"), flush=True)
"""


def start_slow(cache: Cache, seconds: float) -> subprocess.Popen[str]:
    script = textwrap.dedent(SLOW.format(seconds=seconds))
    process = subprocess.Popen([sys.executable, "-c", script, str(cache.root)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "building\n"
    return process


def test_a_second_build_waits_says_so_and_finds_it_made(cache: Cache) -> None:
    with start_slow(cache, 1.5):
        entry = cache.make("kind", "key", never, "the thing")
        assert (entry / "half").read_text() == "whole"
        assert "waiting for another build to finish with the thing" in messages(cache)


def test_a_killed_build_leaves_no_entry_and_no_lock(cache: Cache) -> None:
    with start_slow(cache, 60) as process:
        process.send_signal(signal.SIGKILL)
    assert cache.find("kind", "key") is None
    assert len(leftovers(cache)) == 1
    started = time.monotonic()
    cache.make("kind", "key", fill, "it")
    assert time.monotonic() - started < 5
    assert not leftovers(cache)


def _make(root: str) -> str:
    def build(folder: Path) -> None:
        (folder / "pid").write_text(str(os.getpid()))
        time.sleep(0.2)

    return (Cache(Path(root), Progress(quiet=True)).make("kind", "key", build, "it") / "pid").read_text()


def test_many_at_once_get_the_one_entry(cache: Cache) -> None:
    with multiprocessing.get_context("fork").Pool(6) as pool:
        assert len(set(pool.map(_make, [str(cache.root)] * 6))) == 1


def test_what_nobody_used_for_two_months_goes_when_something_new_is_made(cache: Cache) -> None:
    entries = {name: cache.make("kind", name, fill, "it") for name in ("old", "used", "new")}
    other = cache.make("other", "old", fill, "it")
    for entry in (entries["old"], entries["used"], other):
        os.utime(entry, (1, 1))
    cache.make("kind", "used", never, "it")
    cache.make("kind", "newest", fill, "it")
    assert {name: entry.exists() for name, entry in entries.items()} == {"old": False, "used": True, "new": True}
    assert other.exists()


def test_the_digest_of_a_tree_is_of_names_and_contents(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name / "sub").mkdir(parents=True)
        (tmp_path / name / "sub" / "file").write_text("x")
    digest = sha256_tree(tmp_path / "one")
    (tmp_path / "one" / "__pycache__").mkdir()
    (tmp_path / "one" / "__pycache__" / "x.pyc").write_text("x")
    assert sha256_tree(tmp_path / "one") == sha256_tree(tmp_path / "two") == digest
    (tmp_path / "one" / "sub" / "file").rename(tmp_path / "one" / "file")
    assert sha256_tree(tmp_path / "one") != digest
