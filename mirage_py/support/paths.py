# SPDX-License-Identifier: MIT
"""Where the tool's own data and its cache are, in a checkout and in an installed wheel alike."""

import os
from pathlib import Path

import platformdirs

from mirage_py.support.errors import UserError

CACHE_ENV = "MIRAGE_PY_CACHE"

_PACKAGE = Path(__file__).resolve().parents[1]


def _data_dir(name: str) -> Path:
    # A wheel carries the folder inside the package; a checkout (or an editable install of it) has it beside.
    packaged = _PACKAGE / "_data" / name
    return packaged if packaged.is_dir() else _PACKAGE.parent / name


def templates_dir() -> Path:
    """The Jinja2 templates of the generated files."""
    return _data_dir("templates")


def targets_dir() -> Path:
    """The C sources of the runtime and their makefile."""
    return _data_dir("targets")


def guest_dir() -> Path:
    """The folder that holds `libos/`, the part of this project that is frozen into images."""
    return _PACKAGE / "guest"


def cache_dir() -> Path:
    """The cache: sources, runtimes, compiled modules. Not created here. MIRAGE_PY_CACHE overrides the default.

    Raises UserError when it is a relative path.
    """
    return from_environment(CACHE_ENV) or Path(platformdirs.user_cache_dir("mirage-py"))


def from_environment(variable: str) -> Path | None:
    """The directory that an environment variable names; None when it is not set, or empty.

    Raises UserError when the path is relative: it would be another one in each directory.
    """
    value = os.environ.get(variable)
    if not value:
        return None
    path = Path(value)
    if not path.is_absolute():
        raise UserError(
            f"{variable}={value} is not an absolute path", f"give the whole path, as in {variable}={path.absolute()}"
        )
    return path
