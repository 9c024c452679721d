# SPDX-License-Identifier: MIT
"""Reads the JSON files that `configure` wrote, whoever needs them: what is wrong with one is said in one way."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mirage_py.support.errors import UserError

FORMAT = 1
FOLDER = "mirage"
# `configure` does not overwrite a file that has lost its first line, so this is what always helps.
REMEDY = "move it away, and run `mirage-py configure` again"


def damaged(path: Path, why: object) -> UserError:
    """The error for a generated file that is not as it was written."""
    return UserError(f"{path} cannot be read: {why}", REMEDY)


def read(output: Path, name: str, shape: Mapping[str, type]) -> dict[str, Any]:
    """The object in `output/mirage/NAME`. shape: key -> type of what it has to have.

    Raises UserError when nothing is configured there, and when the file cannot be read, is not of our format, or lacks
    something of `shape`.
    """
    path = output.absolute() / FOLDER / name
    try:
        # Paths of the machine in it come out as they went in, whatever their encoding.
        document = json.loads(path.read_bytes().decode("utf-8", "surrogateescape"))
    except FileNotFoundError:
        raise UserError(
            f"nothing is configured in {output.absolute()}", "run `mirage-py configure` in the application's directory"
        ) from None
    except NotADirectoryError as error:
        above = next(folder for folder in path.parents if folder.exists())
        raise UserError(f"{above} is not a directory", "name the one that was configured with --output") from error
    except OSError as error:
        raise damaged(path, error.strerror) from error
    except (ValueError, RecursionError) as error:
        raise damaged(path, f"it is not JSON ({error})") from error
    if not isinstance(document, dict):
        raise damaged(path, "it is not a JSON object")
    if document.get("format") != FORMAT:
        raise damaged(path, "it was written by another version of mirage-py")
    check(path, document, shape)
    return document


def check(path: Path, document: Any, shape: Mapping[str, type]) -> None:
    """Raises UserError unless `document`, out of the file at `path`, is an object with all of `shape`."""
    for key, kind in shape.items():
        value = document.get(key) if isinstance(document, dict) else None
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            raise damaged(path, f"its {key!r} is not as it was written")
