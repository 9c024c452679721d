# SPDX-License-Identifier: MIT
"""How many octets each module takes: in the image that was built, else in its compiled modules."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mirage_py.build import build, elf, frozen
from mirage_py.support.errors import UserError
from mirage_py.support.paths import guest_dir

IMAGE = "image"
BYTECODE = "bytecode"


@dataclass(frozen=True)
class Sizes:
    """by_module: name as in the manifest -> octets. source: IMAGE (frozen code and constants, as linked) or BYTECODE
    (.mpy files, which are a little larger). image_bytes: of the whole image, where there is one."""

    by_module: dict[str, int]
    source: str
    image_bytes: int | None = None


def measure(
    output: Path, image: Path, note: Mapping[str, Any], names: Iterable[str], modules: Iterable[frozen.Module]
) -> Sizes | None:
    """The sizes of what was built in `output`; None when nothing was that fits.

    image: its path. note: what it must say of itself, or it is an image of other choices. names: of all modules, as in
    the manifest. modules: those that are compiled from a file which is there, of the application and the library OS.
    """
    debug = image.with_name(f"{image.name}.debug")
    with suppress(UserError):
        if debug.is_file() and _says(elf.read_note(debug), note):
            found = elf.module_sizes(debug, names)
            return Sizes(found, IMAGE, image.stat().st_size if image.is_file() else None)
    compiled: dict[str, int] = {}
    for module in modules:
        with suppress(UserError, OSError):
            path = build.build_folder(output) / "mpy" / f"{frozen.read(module).digest}.mpy"
            compiled[module.name] = path.stat().st_size
    return Sizes(compiled, BYTECODE) if compiled else None


def _says(read: Mapping[str, Any] | None, note: Mapping[str, Any]) -> bool:
    """Whether an image's note has everything of `note`; the linker knows more of it."""
    wanted = json.loads(json.dumps(note))
    return read is not None and all(name in read and read[name] == value for name, value in wanted.items())


def module(name: str, path: str, origin: str, application: Path) -> frozen.Module | None:
    """A module of the manifest with its file; None for what comes from MicroPython's source or is generated."""
    roots = {"app": application, "libos": guest_dir()}
    return frozen.Module(name, roots[origin] / path, origin) if origin in roots else None
