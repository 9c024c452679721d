# SPDX-License-Identifier: MIT
"""How what `configure` writes becomes text: Python literals, JSON, templates."""

from __future__ import annotations

import json
import shlex
from typing import Any

from mirage_py import __version__
from mirage_py.configure.embedded import Embedded, Folder
from mirage_py.configure.keys import Key
from mirage_py.configure.plan import MARK
from mirage_py.support import paths


def guest_type(key: Key) -> str:
    """How libos.app.args knows the key's type; a choice carries its choices along."""
    return f"choice:{','.join(key.choices)}" if key.choices else key.type


def literal(value: Any) -> str:
    """`value` as Python source; embedded data by their name."""
    if isinstance(value, Embedded | Folder):
        return f"embedded({literal(value.name)})"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, list | tuple):
        items = ", ".join(literal(item) for item in value)
        if isinstance(value, tuple):
            return f"({items},)" if len(value) == 1 else f"({items})"
        return f"[{items}]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{literal(name)}: {literal(item)}" for name, item in value.items()) + "}"
    return repr(value)


def as_json(document: dict[str, Any]) -> str:
    text = json.dumps({"_": f"{MARK} {__version__}; do not edit", **document}, indent=2, ensure_ascii=False)
    # The mark belongs in the first line.
    return "{" + text.removeprefix("{").lstrip() + "\n"


def make_quoted(text: str) -> str:
    """A word for the shell, inside a makefile."""
    return shlex.quote(text).replace("$", "$$").replace("#", "\\#")


def render(template: str, **values: Any) -> str:
    # Loaded here: `mirage-py run`, `ps` and `--help` have no need of it.
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(paths.templates_dir()),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["literal"] = literal
    return environment.get_template(template).render(mark=f"{MARK} {__version__}", **values)
