# SPDX-License-Identifier: MIT
"""What is measured: examples/echo in its three builds, and the client, made in the cache as a user would make them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BUILDS = {
    "hvt": ["-t", "hvt"],
    "direct": ["-t", "unix", "--net", "direct"],
    "socket": ["-t", "unix", "--net", "socket"],
}
BUILD_TIMEOUT_S = 900


class BuildError(Exception):
    """Something could not be built; the text is its last line."""


def _environment() -> dict[str, str]:
    # The generated Makefile calls the tool by name or by module: this checkout's, with this interpreter.
    return {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}:{os.environ.get('PATH', '')}",
        "PYTHONPATH": str(ROOT),
    }


def _run(command: list[str], cwd: Path) -> None:
    done = subprocess.run(
        command,
        cwd=cwd,
        env=_environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=BUILD_TIMEOUT_S,
        check=False,
    )
    if done.returncode != 0:
        said = (done.stderr or done.stdout).strip().splitlines()
        raise BuildError(f"{' '.join(command)}: {said[-1] if said else done.returncode}")


class Application:
    """A copy of examples/echo with one build of it."""

    def __init__(self, build: str, work: Path) -> None:
        self.build = build
        self.directory = work / build
        self.path = self.directory / "dist" / ("echo.hvt" if build == "hvt" else "echo")

    def make(self) -> None:
        """Configure and build from nothing but the caches. Raises BuildError."""
        shutil.rmtree(self.directory, ignore_errors=True)
        shutil.copytree(ROOT / "examples" / "echo", self.directory, ignore=shutil.ignore_patterns("mirage", "dist"))
        _run([sys.executable, "-m", "mirage_py", "configure", *BUILDS[self.build], "--port", "7"], self.directory)
        _run(["make"], self.directory)

    def change_and_make(self, turn: int) -> float:
        """Change a line of echo.py, `make`; the seconds that it took."""
        source = self.directory / "echo.py"
        lines = [line for line in source.read_text().splitlines() if not line.startswith("CHANGED")]
        source.write_text("\n".join([*lines, f"CHANGED = {turn}", ""]))
        before, started = self.path.read_bytes(), time.monotonic()
        _run(["make"], self.directory)
        took_s = time.monotonic() - started
        if self.path.read_bytes() == before:
            raise BuildError("make changed nothing")
        return took_s


def build_client(work: Path) -> Path:
    """Compile bench/client.c; its path."""
    path = work / "client"
    work.mkdir(parents=True, exist_ok=True)
    _run(["cc", "-O2", "-Wall", "-Wextra", "-Werror", "-o", str(path), str(ROOT / "bench" / "client.c")], work)
    return path
