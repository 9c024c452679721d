# SPDX-License-Identifier: MIT
"""Links test applications with a runtime from the cache, where it is compiled on first use."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from mirage_py.build import frozen, runtime
from mirage_py.configure.resolver import BUILTIN
from mirage_py.support.cache import Cache
from mirage_py.support.errors import UserError
from tests.conftest import REQUIRE_ALL

APPS = Path(__file__).with_name("apps")
_ASYNCIO = ("__init__", "core", "event", "funcs", "lock", "stream")


def obtain(target: str, features: Sequence[str]) -> runtime.Runtime:
    """The runtime; the test is skipped where it cannot be compiled (a failure under `make test`)."""
    try:
        return runtime.obtain(target, features, Cache())
    except UserError as error:
        if REQUIRE_ALL:
            raise
        pytest.skip(str(error))


def link(engine: runtime.Runtime, sources: Sequence[Path], folder: Path) -> Path:
    """An executable with these modules frozen, and asyncio. The first is what runs, whatever its name."""
    modules = [frozen.Module("main.py", sources[0], "app")]
    modules += [frozen.Module(path.name, path, "app") for path in sources[1:]]
    extmod = engine.source / "extmod" / "asyncio"
    modules += [frozen.Module(f"asyncio/{name}.py", extmod / f"{name}.py", "micropython") for name in _ASYNCIO]
    compiled = frozen.compile_modules([frozen.read(module) for module in modules], folder / "mpy")
    frozen_c, image = folder / "frozen_content.c", folder / "image"
    frozen.freeze(compiled, engine, frozen_c)
    command = [runtime.COMPILER, *engine.flags("cflags"), "-O0", "-g0", "-w", frozen_c, engine.archive]
    command += runtime.module_flags(BUILTIN, ())
    subprocess.run([*command, *engine.flags("ldflags"), "-o", image], cwd=engine.working_directory, check=True)
    return image
