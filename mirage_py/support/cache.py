# SPDX-License-Identifier: MIT
"""The cache: directories that appear complete or not at all, shared by any number of builds at once.

An entry is `ROOT/KIND/KEY/`, made in `ROOT/tmp/` and renamed into place under a lock. Beside its content it has a
record of every file's size, time and SHA-256: a file that was cut, changed or removed since makes the entry invalid,
and it is made again. A process killed at any point leaves at most a folder in `ROOT/tmp/`, which the next one to
make that entry removes. What nobody used for two months goes when something new is made.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from mirage_py.support import paths
from mirage_py.support.errors import UserError
from mirage_py.support.progress import Progress

RECORD = ".mirage-record.json"
# Another build of the same entry has died or hangs when it takes longer than this.
LOCK_TIMEOUT_S = 1800
_SILENT_WAIT_S = 0.5
UNUSED_S = 60 * 24 * 3600
_FULL = (errno.ENOSPC, errno.EDQUOT)
_READ_ONLY = (errno.EROFS, errno.EACCES, errno.EPERM)


def sha256_file(path: Path) -> str:
    """The SHA-256 of a file's content, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_tree(root: Path) -> str:
    """One SHA-256 over the names and contents of all files below `root`, without what interpreters leave behind."""
    digest = hashlib.sha256()
    for path in sorted(root.rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts:
            digest.update(f"{sha256_file(path)}  {path.relative_to(root).as_posix()}\n".encode())
    return digest.hexdigest()


# What else one can do where something cannot be written.
OTHER_CACHE = f"move the cache: {paths.CACHE_ENV}=DIR"


def disk_full_error(where: Path | str, otherwise: str = OTHER_CACHE) -> UserError:
    return UserError(f"the disk is full: cannot write {where}", f"free some space, or {otherwise}")


@contextmanager
def explained(where: Path, otherwise: str = OTHER_CACHE) -> Iterator[None]:
    """Turns a full disk, a read-only one and the like into an error of one line about `where`."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise disk_full_error(error.filename or where, otherwise) from error
        if error.errno in _READ_ONLY:
            raise UserError(
                f"cannot write {error.filename or where}: {error.strerror}", f"make it writable, or {otherwise}"
            ) from error
        raise


def make_directory(path: Path, otherwise: str = OTHER_CACHE) -> None:
    """Make a directory and those around it, where they are not there.

    Raises UserError where none can be: in a file, in /proc, at the end of a circle of links.
    """
    with explained(path, otherwise):
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            if error.errno in (*_FULL, *_READ_ONLY):
                raise
            raise UserError(f"cannot make the directory {path}: {error.strerror}", otherwise) from error


class Cache:
    """The cache below `root` (default: paths.cache_dir()), which need not exist yet."""

    def __init__(self, root: Path | None = None, progress: Progress | None = None) -> None:
        self.root = root if root is not None else paths.cache_dir()
        self.progress = progress if progress is not None else Progress()

    def path(self, kind: str, key: str) -> Path:
        """Where the entry is or would be."""
        return self.root / kind / key

    def find(self, kind: str, key: str) -> Path | None:
        """The entry, if it is there and undamaged. Takes no lock and works on a read-only cache."""
        entry = self.path(kind, key)
        return entry if _is_intact(entry) else None

    def make(self, kind: str, key: str, builder: Callable[[Path], None], what: str) -> Path:
        """The entry; `builder(folder)` fills it where it is not there or damaged.

        what: a noun for messages, such as "the runtime".
        Raises UserError when the cache cannot be written, or whatever the builder raises; nothing is left then.
        """
        found = self.find(kind, key)
        if found is not None:
            # Its time says when it was last of use.
            with suppress(OSError):
                os.utime(found)
            return found
        with explained(self.root), self.locked(f"{kind}-{key}", what):
            # The one who held the lock before may have made it.
            found = self.find(kind, key)
            if found is not None:
                return found
            made = self._make_locked(kind, key, builder, what)
            self._forget_unused(kind)
            return made

    def _forget_unused(self, kind: str) -> None:
        """Removes entries that were of no use for long: of other versions of the tool, of removed applications."""
        for entry in (self.root / kind).iterdir():
            with suppress(OSError):
                if time.time() - entry.stat().st_mtime > UNUSED_S:
                    remove_tree(entry)

    def _make_locked(self, kind: str, key: str, builder: Callable[[Path], None], what: str) -> Path:
        temporary = self.root / "tmp"
        make_directory(temporary)
        prefix = f"{kind}-{key}."
        # We hold the lock: what is there under this name belongs to a process that was killed.
        for stale in temporary.glob(f"{prefix}*"):
            remove_tree(stale)
        folder = temporary / f"{prefix}{os.getpid()}"
        folder.mkdir()
        entry = self.path(kind, key)
        try:
            builder(folder)
            _write_record(folder)
            if entry.exists():
                self.progress.note(f"{what} in the cache was damaged; made it again")
                os.rename(entry, temporary / f"{prefix}old")
            make_directory(entry.parent)
            os.rename(folder, entry)
        finally:
            for leftover in temporary.glob(f"{prefix}*"):
                remove_tree(leftover)
        return entry

    @contextmanager
    def locked(self, name: str, what: str) -> Iterator[None]:
        """Only one process at a time; says so when it has to wait. Raises UserError after half an hour."""
        locks = self.root / "locks"
        make_directory(locks)
        with exclusive(locks / f"{name}.lock", what, self.progress):
            yield


@contextmanager
def exclusive(lock_file: Path, what: str, progress: Progress) -> Iterator[None]:
    """Holds `lock_file`; the kernel frees it however the process ends."""
    # Late: importing it takes longer than a build that finds nothing to do.
    from filelock import FileLock, Timeout

    lock = FileLock(lock_file)
    try:
        lock.acquire(timeout=_SILENT_WAIT_S)
    except Timeout:
        progress.note(f"waiting for another build to finish with {what}")
        try:
            lock.acquire(timeout=LOCK_TIMEOUT_S, poll_interval=0.2)
        except Timeout:
            raise UserError(
                f"another process has held {lock_file} for {LOCK_TIMEOUT_S // 60} minutes", "look for it and end it"
            ) from None
    try:
        yield
    finally:
        lock.release()


def remove_tree(path: Path) -> None:
    """Removes a folder or file, read-only folders included; what cannot be removed stays."""
    if path.is_symlink() or path.is_file():
        with suppress(OSError):
            path.unlink()
        return
    for folder, _, _ in os.walk(path):
        with suppress(OSError):
            os.chmod(folder, 0o700)
    shutil.rmtree(path, ignore_errors=True)


def _files(entry: Path) -> list[Path]:
    return sorted(path for path in entry.rglob("*") if path.is_file() and not path.is_symlink() and path.name != RECORD)


def _write_record(entry: Path) -> None:
    record = {}
    for path in _files(entry):
        status = path.stat()
        record[path.relative_to(entry).as_posix()] = [status.st_size, status.st_mtime_ns, sha256_file(path)]
    (entry / RECORD).write_text(json.dumps(record), encoding="utf-8")


def _is_intact(entry: Path) -> bool:
    try:
        record = json.loads((entry / RECORD).read_text(encoding="utf-8"))
        items = record.items()
    except (OSError, ValueError, AttributeError):
        return False
    touched = False
    for name, value in items:
        path = entry / name
        try:
            size, mtime_ns, digest = value
            status = path.stat()
            if status.st_size != size:
                return False
            if status.st_mtime_ns != mtime_ns:
                # Copied or restored from an archive: its time says nothing, its content does.
                if sha256_file(path) != digest:
                    return False
                touched = True
        except (OSError, ValueError, TypeError):
            return False
    if touched:
        _refresh_record(entry)
    return True


def _refresh_record(entry: Path) -> None:
    temporary = entry / f"{RECORD}.{os.getpid()}"
    try:
        record = json.loads((entry / RECORD).read_text(encoding="utf-8"))
        for name, value in record.items():
            value[1] = (entry / name).stat().st_mtime_ns
        temporary.write_text(json.dumps(record), encoding="utf-8")
        temporary.replace(entry / RECORD)
    except OSError:
        # A read-only cache: the hashes are simply computed again next time.
        with suppress(OSError):
            temporary.unlink()
