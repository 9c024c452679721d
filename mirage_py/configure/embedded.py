# SPDX-License-Identifier: MIT
"""Data in an image, as values that a kind's settings may have: main.py gets a memoryview of read-only memory."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mirage_py.support.errors import UserError
from mirage_py.support.folder import find_files

MAX_BYTES = 64 << 20
_NAME = re.compile(r"[A-Za-z0-9_./ -]{1,255}")


@dataclass(frozen=True)
class Embedded:
    """Octets that go into the image as they are. name: what main.py calls them. content: known when `configure` runs.

    is_secret: then nobody else may read the files that they are in, link.json and the image among them.
    Raises UserError for a name that cannot be written, and for more than 64 MiB.
    """

    name: str
    content: bytes = field(repr=False)
    is_secret: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not _NAME.fullmatch(self.name):
            raise UserError(f"{self.name!r} is not a name for embedded data", "use letters, digits, '.', '_', '-', '/'")
        if not isinstance(self.content, bytes):
            raise UserError(f"the embedded data {self.name} are not bytes", "give bytes")
        if len(self.content) > MAX_BYTES:
            raise UserError(
                f"the embedded data {self.name} are {len(self.content):,} octets",
                f"embed {MAX_BYTES:,} at most",
            )


@dataclass(frozen=True)
class Folder:
    """The files of a folder, read when the image is built. path: from where config.py is. compress: with .gz and .br
    twins of what gets smaller."""

    path: str
    compress: bool = True

    @property
    def name(self) -> str:
        return self.path

    def __post_init__(self) -> None:
        if not isinstance(self.path, str) or not self.path or "\0" in self.path:
            raise UserError(f"{self.path!r} is not the path of a folder", 'give one as in files("www")')
        try:
            self.path.encode()
        except UnicodeEncodeError as error:
            raise UserError(f"{self.path!r} is not UTF-8", "give the folder another name") from error


Value = Embedded | Folder


def found_in(value: Any) -> Iterator[Value]:
    """What is embedded in a setting: itself, or inside of lists and dictionaries."""
    if isinstance(value, Embedded | Folder):
        yield value
    elif isinstance(value, list | tuple):
        for item in value:
            yield from found_in(item)
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from found_in(item)


def collected(values: Iterable[Any]) -> dict[str, Value]:
    """All that is embedded in these settings, by name. Raises UserError when one name stands for two things."""
    by_name: dict[str, Value] = {}
    for value in found_in(list(values)):
        if by_name.setdefault(value.name, value) != value:
            raise UserError(f"two different things are embedded as {value.name}", "give one of them another name")
    return by_name


def check_folders(values: Iterable[Value], directory: Path) -> None:
    """Refuse now what building would refuse: folders that are not there, or have what cannot be served."""
    for value in values:
        if isinstance(value, Folder):
            find_files(directory / value.path)
