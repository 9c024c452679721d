# SPDX-License-Identifier: MIT
"""A config.py: the functions that it declares its unikernel with, and how the tool loads one.

`mirage_py.dsl` hands the functions on, which is where a config.py has them from.
"""

from __future__ import annotations

import re
import sys
import traceback
import types
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mirage_py.configure.device import Choice, Device, Node
from mirage_py.configure.devices.application import application
from mirage_py.configure.keys import RUNTIME, Key, Value
from mirage_py.support.errors import UserError

DEFAULT_MEMORY_MB = 16
IMAGE_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,62}")


@dataclass(frozen=True)
class Registration:
    """What a config.py registered. name: of the image. root: the application. memory_mb: RAM that `run` gives it."""

    name: str
    root: Device
    memory_mb: int


# The registrations of the config.py that is being loaded; None while none is.
_registrations: ContextVar[list[Registration] | None] = ContextVar("registrations", default=None)


# Where it is; None while none is being loaded.
_directory: ContextVar[Path | None] = ContextVar("directory", default=None)


def directory() -> Path:
    """The directory of the config.py that is being loaded, from which its files' names count; else the current one."""
    return _directory.get() or Path.cwd()


def key(
    name: str,
    type: str = "str",
    default: Value = None,
    doc: str = "",
    stage: str = RUNTIME,
    choices: Iterable[str] = (),
) -> Key:
    """A key: a boot argument, or with stage="configure" an option of `mirage-py configure`."""
    return Key(name, type, default, doc, stage, tuple(choices))


def choose(by: Key, options: Mapping[Any, Node | Callable[[], Node]]) -> Choice:
    """The device that a configure-time key picks: `choose(key("disk", ...), {"ram": ..., "virtio": ...})`."""
    if not isinstance(by, Key):
        raise UserError(f"choose: {by!r} is not a key", 'make it with key("name", stage="configure", ...)')
    nodes = [option if isinstance(option, Node) else option() for option in options.values()]
    if not nodes:
        raise UserError(f"the choice by {by.option} has no options", "give it at least one")
    if not all(isinstance(node, Node) for node in nodes):
        raise UserError(f"choose: an option of {by.option} is not a device", "give a device for each value")
    return Choice(by, options, nodes[0].offers)


def unikernel(implementation: str, *devices: Node, keys: Iterable[Key] = ()) -> Device:
    """The application: its class ("echo.Echo" is Echo in echo.py), the devices it is built on, its keys."""
    return application(implementation, devices, list(keys))


def register(name: str, unikernel: Device, *, memory_mb: int = DEFAULT_MEMORY_MB) -> None:
    """Make `unikernel` what this config.py builds, as dist/NAME or dist/NAME.hvt.

    memory_mb: RAM in MiB that `mirage-py run` gives it unless told otherwise.
    """
    registrations = _registrations.get()
    if registrations is None:
        raise UserError("config.py is not a program", "run `mirage-py configure` beside it")
    if not isinstance(name, str) or not IMAGE_NAME.fullmatch(name):
        raise UserError(f"{name!r} is not a name for an image", "use letters, digits, '-' and '_', a letter first")
    if not isinstance(unikernel, Device):
        raise UserError(f"register: {unikernel!r} is not a unikernel", 'make it with unikernel("module.Class", ...)')
    if type(memory_mb) is not int or not 1 <= memory_mb <= 1 << 20:
        raise UserError(f"register: memory_mb={memory_mb!r} is not a number of MiB", "give a number from 1 to 1048576")
    if registrations:
        raise UserError(
            f"a second unikernel is registered: {name} after {registrations[0].name}",
            "register one, and put the other into a directory of its own",
        )
    registrations.append(Registration(name, unikernel, memory_mb))


def load(path: Path) -> Registration:
    """Run a config.py and return what it registered.

    Its directory is on the module path meanwhile, behind everything else, so that it may share code with other files.
    Raises UserError naming file, line and exception when it raises, and when it registers nothing.
    """
    path = path.absolute()
    try:
        if path.exists() and not path.is_file() and not path.is_dir():
            raise UserError(f"{path} is not a file", "name the application's config.py with -f")
        source = path.read_bytes()
    except FileNotFoundError:
        raise UserError(
            f"there is no {path.name} in {path.parent}",
            "go to the directory of an application, or name its file with -f",
        ) from None
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}", "name the application's config.py with -f") from error
    module = types.ModuleType("config")
    module.__file__ = str(path)
    before, no_bytecode = set(sys.modules), sys.dont_write_bytecode
    sys.path.append(str(path.parent))
    sys.dont_write_bytecode = True
    registrations: list[Registration] = []
    token = _registrations.set(registrations)
    directory_token = _directory.set(path.parent)
    try:
        with explained(path):
            try:
                code = compile(source, str(path), "exec")
            except ValueError as error:  # a NUL octet, before Python 3.11.4
                raise UserError(f"{path.name}:1: SyntaxError: {error}", "correct the file") from error
            except (MemoryError, RecursionError) as error:
                raise UserError(f"{path.name}: an expression is nested too deeply", "take it apart") from error
            exec(code, module.__dict__)
        if not registrations:
            raise UserError(f"{path.name} registers nothing", 'end it with register("name", unikernel(...))')
        return registrations[0]
    finally:
        _registrations.reset(token)
        _directory.reset(directory_token)
        sys.dont_write_bytecode = no_bytecode
        sys.path.remove(str(path.parent))
        for name in set(sys.modules) - before:
            file = getattr(sys.modules[name], "__file__", None)
            if file and Path(file).parent == path.parent:
                del sys.modules[name]


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn what the code of the config.py at `path` raises into a UserError that names file and line."""
    try:
        yield
    except SyntaxError as error:
        file = Path(error.filename).name if error.filename else path.name
        raise UserError(f"{file}:{error.lineno or 1}: SyntaxError: {error.msg}", "correct the line") from error
    except UserError as error:
        where = _line_in(error, path)
        if where is None:
            raise
        raise UserError(f"{where}: {error.cause}", error.remedy, error.exit_code) from error
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # SystemExit is one, too
        where = _line_in(error, path)
        if where is None:
            raise
        text = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        raise UserError(f"{where}: {text}", "correct config.py (--debug shows the traceback)") from error


def _line_in(error: BaseException, path: Path) -> str | None:
    """The innermost "file:line" of the traceback that is in the application's directory; None where there is none."""
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if Path(frame.filename) == path or Path(frame.filename).parent == path.parent:
            return f"{Path(frame.filename).name}:{frame.lineno}"
    return None
