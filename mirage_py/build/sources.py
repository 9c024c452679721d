# SPDX-License-Identifier: MIT
"""The pinned sources: from a tree that the user has, from the cache, or from Debian.

MicroPython; and for images with cryptography NSS, of which only HACL* is used, BearSSL, and a file of ring
(docs/crypto.md). What is pinned is the content of the files that we use: `NAME-VERSION.sha256` beside this file lists
them in the format of sha256sum. So any archive or tree with the same files will do, and nothing else is ever compiled:
only the listed files are copied into the cache, each verified on the way.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
import tarfile
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath

from mirage_py.support.apt import PrivateApt
from mirage_py.support.cache import Cache, explained, sha256_file
from mirage_py.support.errors import UserError

MICROPYTHON_ENV = "MIRAGE_PY_MICROPYTHON"
KIND = "source"


@dataclass(frozen=True)
class PinnedSource:
    """A source tree of which certain files are used, known by their content."""

    name: str
    version: str
    # The Debian release and source package that has it.
    suite: str
    package: str
    # What says where the user has a tree of it; and what of it is fetched, for people.
    variable: str = ""
    download: str = "15 MB with the package list"
    # The option that says so too.
    option: str = ""

    @cached_property
    def manifest(self) -> dict[str, str]:
        """SHA-256 in hexadecimal by path inside the tree."""
        path = Path(__file__).with_name(f"{self.name}-{self.version}.sha256")
        pairs = (line.split("  ", 1) for line in path.read_text(encoding="utf-8").splitlines())
        return {name: digest for digest, name in pairs}

    @cached_property
    def digest(self) -> str:
        """One SHA-256 over the manifest: it names this content."""
        lines = (f"{digest}  {name}\n" for name, digest in sorted(self.manifest.items()))
        return hashlib.sha256("".join(lines).encode()).hexdigest()

    @property
    def key(self) -> str:
        """The name of the entry in the cache."""
        return f"{self.name}-{self.version}-{self.digest[:16]}"

    @property
    def title(self) -> str:
        return f"the source of {self.name} {self.version}"

    @property
    def way(self) -> str:
        """How a user gives a tree of it."""
        return f"give a tree with {self.option} DIR" if self.option else f"give a tree with {self.variable}=DIR"

    def verify(self, tree: Path) -> str | None:
        """None when every listed file in `tree` has the listed content; else what is wrong with the first other one."""
        for name, digest in self.manifest.items():
            try:
                if sha256_file(tree / name) != digest:
                    return f"{name} differs"
            except OSError as error:
                return f"{name}: {error.strerror}"
        return None


# The archive is named by the stable release that keeps this version for years; the runtime's C is written against it.
MICROPYTHON = PinnedSource("micropython", "1.25.0", "trixie", "micropython", MICROPYTHON_ENV, option="--micropython")
NSS = PinnedSource("nss", "3.110", "trixie", "nss", "MIRAGE_PY_NSS", "90 MB, of which 1 MB is kept")
BEARSSL = PinnedSource("bearssl", "0.6", "trixie", "bearssl", "MIRAGE_PY_BEARSSL", "10 MB with the package list")
RING = PinnedSource("ring", "0.17.14", "trixie", "rust-ring", "MIRAGE_PY_RING", "12 MB with the package list")
ALL = (MICROPYTHON, NSS, BEARSSL, RING)


def is_cached(source: PinnedSource, cache: Cache) -> bool:
    return cache.find(KIND, source.key) is not None


def given_directory(option: Path | None, source: PinnedSource = MICROPYTHON) -> Path | None:
    """The tree that the user gave: the option, else the environment; None when neither."""
    if option is not None:
        return option
    value = os.environ.get(source.variable)
    return Path(value) if value else None


def obtain(source: PinnedSource, cache: Cache, directory: Path | None = None) -> Path:
    """The folder in the cache with the verified files of `source`.

    directory: a tree to take them from; without it what the environment names, for other sources than MicroPython; else
    the cache, and if it is not there, Debian's source package.
    Raises UserError when the tree is another version, or nothing can be fetched.
    """
    if directory is None and source is not MICROPYTHON:
        directory = given_directory(None, source)
    if directory is not None:
        _check_given(source, directory)
        return cache.make(KIND, source.key, lambda folder: _copy(source, directory, folder), source.title)
    return cache.make(KIND, source.key, lambda folder: _fetch(source, cache, folder), source.title)


def _check_given(source: PinnedSource, directory: Path) -> None:
    if not directory.is_dir():
        raise UserError(f"{directory} is not a directory", f"give one that holds {source.title}")
    problem = source.verify(directory)
    if problem is not None:
        raise UserError(
            f"{directory} is not {source.title}: {problem}", f"give an unchanged tree of version {source.version}"
        )


def _copy(source: PinnedSource, tree: Path, folder: Path) -> None:
    for name, digest in source.manifest.items():
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(tree / name, target)
        if sha256_file(target) != digest:
            raise UserError(f"{tree / name} changed while it was copied", "try again")


def _fetch(source: PinnedSource, cache: Cache, folder: Path) -> None:
    """Brings the source package with apt and extracts the listed files into `folder`."""
    private = folder / ".apt"
    private.mkdir()
    remedy = f"connect once to let apt fetch Debian's {source.package} {source.version}, or {source.way}"
    try:
        with cache.progress.step(f"fetching {source.title} (about {source.download})"):
            apt = PrivateApt(private, source.suite, kind="deb-src")
            apt.update()
            files = apt.download_source(source.package)
    except UserError as error:
        if "disk is full" in error.cause or "No space left" in error.cause:
            raise
        raise UserError(f"{source.title} is not in the cache, and {error.cause}", remedy) from error
    archives = [path for path in files if ".orig.tar" in path.name and not path.name.endswith(".asc")]
    if len(archives) != 1:
        raise UserError(f"Debian {source.suite} has no archive of {source.package}", remedy)
    with cache.progress.step(f"extracting {source.title}"):
        extract(source, archives[0], folder)
    shutil.rmtree(private)


def extract(source: PinnedSource, archive: Path, folder: Path) -> None:
    """Extracts exactly the listed files of `archive` (whatever its top folder is called) into `folder`, verified.

    Raises UserError when one is missing or has another content, or the archive cannot be read.
    """
    missing = set(source.manifest)
    try:
        with explained(folder), tarfile.open(archive) as tar:
            for member in tar:
                name = str(PurePosixPath(*PurePosixPath(member.name).parts[1:]))
                data = tar.extractfile(member) if name in missing and member.isreg() else None
                if data is None:
                    continue
                content = data.read()
                if hashlib.sha256(content).hexdigest() != source.manifest[name]:
                    raise UserError(f"{archive.name} is not {source.title}: {name} differs", source.way)
                target = folder / name
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(content)
                missing.discard(name)
    except (tarfile.TarError, EOFError) as error:
        raise UserError(f"{archive.name} cannot be read: {error}", source.way) from error
    if missing:
        raise UserError(f"{archive.name} is not {source.title}: {min(missing)} is missing", source.way)


def main() -> None:
    """`python -m mirage_py.build.sources [--all]`: fetches the sources into the cache; set-up uses it.

    Without --all MicroPython's alone, which every image needs.
    """
    try:
        for source in ALL if "--all" in sys.argv[1:] else (MICROPYTHON,):
            obtain(source, Cache(), given_directory(None, source))
    except UserError as error:
        sys.exit(f"mirage-py: error: {error}")


if __name__ == "__main__":
    main()
