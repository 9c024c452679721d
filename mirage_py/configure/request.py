# SPDX-License-Identifier: MIT
"""What the user asks `configure` for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

CONFIG_NAME = "config.py"


@dataclass(frozen=True)
class Request:
    """What the user asked `configure` for.

    config: the config.py. output: where the files go; None: beside it. target: None: $MODE, else hvt.
    values: key name -> text, as on the command line.
    """

    config: Path = Path(CONFIG_NAME)
    output: Path | None = None
    target: str | None = None
    values: Mapping[str, str] = field(default_factory=dict)

    @property
    def directory(self) -> Path:
        """The directory of the application."""
        return self.config.absolute().parent

    @property
    def output_directory(self) -> Path:
        return (self.output or self.directory).absolute()
