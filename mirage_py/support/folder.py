# SPDX-License-Identifier: MIT
"""A folder whose files go into an image: which they are, and what is refused."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path

from mirage_py.support.errors import UserError

MAX_FILES = 10_000
MAX_PATH_BYTES = 1024
# The one name with a dot in front that is meant to be served (RFC 8615).
_WELL_KNOWN = ".well-known"


@dataclass(frozen=True)
class FoundFile:
    """A file below a folder. name: "/style/main.css", as a URL has it, decoded. path: where it is."""

    name: str
    path: Path


def find_files(folder: Path) -> list[FoundFile]:
    """All files below `folder`, sorted by name. Names that begin with a dot are left out, but for `.well-known`: what
    an editor or git keeps beside a site is not to be seen by the world.

    Raises UserError when there are none, and for what cannot be served: links that lead out of the folder or in a
    circle, devices, names that are no text or have control characters.
    """
    remedy = "correct the name in config.py: it counts from the folder that config.py is in"
    if not folder.exists():
        raise UserError(f"there is no folder {folder}", remedy)
    if not folder.is_dir():
        raise UserError(f"{folder} is not a folder", remedy)
    top = folder.resolve()
    found: list[FoundFile] = []
    _walk(folder, top, "/", (top,), found)
    if not found:
        raise UserError(f"{folder} has no files", "put some there (names that begin with a dot do not count)")
    # By octets, as the image looks them up.
    return sorted(found, key=lambda file: file.name.encode())


def _walk(folder: Path, top: Path, prefix: str, above: tuple[Path, ...], found: list[FoundFile]) -> None:
    try:
        names = sorted(os.listdir(folder))
    except OSError as error:
        raise UserError(f"{folder} cannot be read: {error.strerror}", "make it readable") from error
    for name in names:
        if name.startswith(".") and name != _WELL_KNOWN:
            continue
        path = folder / name
        _check_name(path, name, prefix)
        try:
            real = path.resolve(strict=True)
            mode = real.stat().st_mode
        except (OSError, RuntimeError) as error:
            why = getattr(error, "strerror", None) or error
            raise UserError(f"{path} cannot be read: {why}", "remove it, or mend where it points") from error
        if not real.is_relative_to(top):
            raise UserError(f"{path} is a link that leads out of {top}: to {real}", "copy the file into the folder")
        if stat.S_ISDIR(mode):
            if real in above:
                raise UserError(f"{path} is a link to a folder that it is in", "remove the link")
            _walk(path, top, f"{prefix}{name}/", (*above, real), found)
        elif stat.S_ISREG(mode):
            if len(found) == MAX_FILES:
                raise UserError(f"{top} has more than {MAX_FILES:,} files", "serve fewer, or split them up")
            found.append(FoundFile(prefix + name, path))
        else:
            raise UserError(f"{path} is neither a file nor a folder", "remove it")


def _check_name(path: Path, name: str, prefix: str) -> None:
    shown = repr(os.fsencode(path))[2:-1]
    try:
        length = len((prefix + name).encode())
    except UnicodeEncodeError as error:
        raise UserError(f"{shown}: the name is not UTF-8", "give the file another name") from error
    if any(ord(letter) < 32 or ord(letter) == 127 for letter in name) or "\\" in name:
        raise UserError(f"{shown}: the name has a control character or a backslash", "give the file another name")
    if length > MAX_PATH_BYTES:
        raise UserError(f"{shown}: the name is longer than {MAX_PATH_BYTES} octets", "give the file a shorter name")
