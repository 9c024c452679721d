# SPDX-License-Identifier: MIT
"""`mirage-py new`: a directory with an application to begin from."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from mirage_py.configure.config_file import IMAGE_NAME
from mirage_py.support import paths
from mirage_py.support.errors import UserError

# What a template's files are called where their own name would mean something here.
_NAMES = {"gitignore": ".gitignore"}
DEFAULT = "site"


def templates() -> list[str]:
    """The names of those that there are."""
    return sorted(path.name for path in _folder().iterdir() if path.is_dir())


def make(directory: Path, template: str = DEFAULT) -> list[Path]:
    """Make `directory`, with the files of a template; its last part is what the image is called. Returns the files.

    Raises UserError when the name is none for an image, or there is something already.
    """
    name = directory.name
    if not IMAGE_NAME.fullmatch(name):
        raise UserError(f"{name!r} is not a name for an image", "use letters, digits, '-' and '_', a letter first")
    if template not in templates():
        raise UserError(f"there is no template {template!r}", f"choose {' or '.join(templates())}", 2)
    if os.path.lexists(directory) and not (directory.is_dir() and not any(directory.iterdir())):
        raise UserError(f"{directory} is there already", "choose another name, or move it away")
    source = _folder() / template
    made: list[Path] = []
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for path in sorted(source.rglob("*")):
            if path.is_dir():
                continue
            relative = path.relative_to(source)
            target = directory / relative.parent / _NAMES.get(relative.name, relative.name)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)
            made.append(target)
        config = directory / "config.py"
        text = config.read_text(encoding="utf-8")
        config.write_text(text.replace(f'register("{template}"', f'register("{name}"'), encoding="utf-8")
    except OSError as error:
        raise UserError(f"cannot write {error.filename}: {error.strerror}", "choose another directory") from error
    return made


def _folder() -> Path:
    return paths.templates_dir() / "new"
