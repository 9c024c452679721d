# SPDX-License-Identifier: MIT
"""Debian packages for the guests of these tests, unpacked in the cache: fetched once, without root."""

import re
import subprocess
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from mirage_py.support import apt
from mirage_py.support.cache import Cache
from mirage_py.support.errors import UserError
from tests.conftest import REQUIRE_ALL

SUITE = "bookworm"


def missing(what: str) -> None:
    """Ends the test: as skipped, or under `make test`, where nothing may be missing, as failed."""
    if REQUIRE_ALL:
        pytest.fail(what)
    pytest.skip(what)


def cached(
    entry: str,
    what: str,
    names: Iterable[str],
    also: Callable[[str], Iterable[str]] = lambda _: (),
    *,
    suite: str = SUITE,
    then: Callable[[Path], None] = lambda _: None,
    version: str = "1",
) -> Path:
    """The folder with the unpacked packages of Debian 12, whatever release this machine has.

    entry: its name in the cache. what: for progress. names: of packages; also: from the text of the Depends field of
    the first one, those of more. suite: another release. then: makes something of the folder; version: of what it
    makes. Where they cannot be had the test ends.
    """

    def fetch(folder: Path) -> None:
        with tempfile.TemporaryDirectory() as private:
            source = apt.PrivateApt(Path(private), suite, kind="deb")
            source.update()
            first, *others = names
            (file,) = source.download_packages(first, closure=False)
            depends = subprocess.run(
                ["dpkg-deb", "--field", file, "Depends"], capture_output=True, text=True, check=True, timeout=60
            ).stdout
            wanted = [first, *others, *also(depends)]
            apt.unpack(source.download_packages(*wanted, closure=False), folder)
            then(folder)

    try:
        return Cache().make(entry, f"{suite}-{version}", fetch, what)
    except UserError as error:
        missing(str(error))
        raise AssertionError from error


def named(pattern: str) -> Callable[[str], Iterable[str]]:
    """For `also`: the packages of a Depends field that `pattern`, with one group, finds."""
    return lambda depends: re.findall(pattern, depends)
