# SPDX-License-Identifier: MIT
"""What the parts of the benchmark have at hand; everything in it has been made before they run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bench.apps import Application
from bench.linux_guest import LinuxGuest, assemble
from bench.row import Effort
from mirage_py.support.paths import cache_dir


@dataclass(frozen=True)
class Context:
    """work: the folder where everything is made. progress: tells a person what is done at the moment."""

    effort: Effort
    work: Path
    progress: Callable[[str], None]

    @property
    def client(self) -> Path:
        """bench/client.c."""
        return self.work / "client"

    @property
    def web_files(self) -> Path:
        """What web servers serve, and their certificates (bench/web_servers.py)."""
        return self.work / "apps" / "web-files"

    @property
    def plugin(self) -> Path:
        """bench/count.c."""
        return self.work / "count.so"

    def application(self, build: str) -> Application:
        """One of apps.BUILDS."""
        return Application(build, self.work / "apps")

    def image(self, build: str) -> Path:
        """Its executable or bootable file."""
        return self.application(build).path

    def program(self, name: str) -> Path:
        """One of bench/programs, linked."""
        return self.work / name / name

    @staticmethod
    def linux() -> LinuxGuest:
        """The Linux guest with MicroPython."""
        return assemble(cache_dir())


def work_folder() -> Path:
    """In the cache."""
    return cache_dir() / "bench"
