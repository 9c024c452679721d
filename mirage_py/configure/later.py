# SPDX-License-Identifier: MIT
"""Settings whose values are known only when `configure` writes: where to, and what for.

A config.py is loaded for --help too. So what reads or makes files for an image waits: it is a `Later` in a kind's
settings, and `codegen.configure` puts its value in its place.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mirage_py.configure.keys import Value
from mirage_py.configure.plan import File


@dataclass
class Preparation:
    """What a `Later` knows, and what it leaves behind.

    output: the directory that the files go to. defaults: name of each boot argument -> its value in the image.
    files: to write along with the others. notes: lines for the user. warnings: likewise, about what is hardly meant.
    values: what there is already.
    """

    output: Path
    defaults: Mapping[str, Value]
    files: list[File] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    values: dict[Later, Any] = field(default_factory=dict)

    def value(self, later: Later) -> Any:
        """Its value, for which it is asked once: several devices may have it."""
        if later not in self.values:
            self.values[later] = later.prepare(self)
        return self.values[later]


class Later:
    """A value that comes later. Equal ones have equal values: they must be hashable."""

    def prepare(self, preparation: Preparation) -> Any:
        """The value, as a setting may have it. Nothing is written here. Raises UserError."""
        raise NotImplementedError


def prepared(value: Any, preparation: Preparation) -> Any:
    """`value`, with the values of what comes later in it."""
    if isinstance(value, Later):
        return preparation.value(value)
    if isinstance(value, list | tuple):
        return type(value)(prepared(item, preparation) for item in value)
    if isinstance(value, Mapping):
        return {name: prepared(item, preparation) for name, item in value.items()}
    return value
