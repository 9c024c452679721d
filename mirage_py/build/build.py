# SPDX-License-Identifier: MIT
"""From what configure wrote to an image: compile the changed modules, freeze, link with the runtime, check, strip.

Everything happens in `mirage/build/`, one build at a time; the image gets its name in `dist/` in one step, when it is
complete and checked. The build is skipped when nothing that the image depends on has changed, which is decided by
content, not by time.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mirage_py.build import elf, embedded, frozen, runtime, sources
from mirage_py.build.runtime import COMPILER, Runtime, clean_environment
from mirage_py.support import generated, paths, process
from mirage_py.support.cache import Cache, disk_full_error, exclusive, explained, make_directory, remove_tree
from mirage_py.support.errors import UserError
from mirage_py.support.progress import Progress

TARGETS = ("unix", "hvt")
TIMEOUT_S = 120

_STATE = "state.json"
_OTHER_PLACE = "choose another directory with configure --output"
_CONFIG = {"name": str, "request": dict}
# Data that the compiler need only lay out: optimising it takes time and changes nothing.
# Bytecode gains nothing from the boundaries of 32 octets that the compiler prefers: they cost 12 KB.
_FROZEN_FLAGS = ("-O0", "-g0", "-malign-data=abi", "-w")


@dataclass(frozen=True)
class Application:
    """What configure wrote in `output`: the files config.json, link.json and manifest.json."""

    output: Path
    name: str
    target: str
    features: tuple[str, ...]
    # The runtime's own modules, in C, that it imports.
    builtins: tuple[str, ...]
    # Where the image goes, and what it says about itself.
    image: Path
    note: dict[str, Any]
    modules: tuple[frozen.Module, ...]
    # Data beside the code, as read now.
    embedded: tuple[embedded.Item, ...] = ()

    @property
    def debug_image(self) -> Path:
        """The same image with its symbols."""
        return self.image.with_name(f"{self.image.name}.debug")

    @property
    def folder(self) -> Path:
        return build_folder(self.output)


def build_folder(output: Path) -> Path:
    """What building leaves for the next time."""
    return output / "mirage" / "build"


def load(output: Path, micropython: Path) -> Application:
    """What is configured in `output`. micropython: the source tree that modules of origin "micropython" are in.

    Raises UserError when nothing is, or it was written by another version, or is damaged.
    """
    config = generated.read(output, "config.json", _CONFIG)
    link = generated.read(
        output, "link.json", {"target": str, "features": list, "builtins": list, "output": str, "note": dict}
    )
    manifest = generated.read(output, "manifest.json", {"modules": list})
    mirage = output / generated.FOLDER
    generated.check(mirage / "config.json", config["request"], {"directory": str})
    if link["target"] not in TARGETS or not all(
        isinstance(name, str) for name in [*link["features"], *link["builtins"]]
    ):
        raise generated.damaged(mirage / "link.json", "there is no such target, feature or module")
    origins = {
        "libos": paths.guest_dir(),
        "app": output / config["request"]["directory"],
        "micropython": micropython,
        "generated": mirage,
    }
    modules = []
    for entry in manifest["modules"]:
        generated.check(mirage / "manifest.json", entry, {"name": str, "origin": str, "path": str})
        if entry["origin"] not in origins:
            raise generated.damaged(mirage / "manifest.json", f"{entry['name']} is of no known origin")
        modules.append(frozen.Module(entry["name"], origins[entry["origin"]] / entry["path"], entry["origin"]))
    return Application(
        output=output,
        name=config["name"],
        target=link["target"],
        features=tuple(link["features"]),
        builtins=tuple(link["builtins"]),
        image=output / link["output"],
        note=link["note"],
        modules=tuple(modules),
        embedded=embedded.load(link.get("embedded", []), mirage / "link.json", origins["app"]),
    )


def build(output_dir: Path, *, progress: Progress | None = None, micropython: Path | None = None) -> Path:
    """Builds what is configured in `output_dir`; returns the image, which is new or was up to date.

    micropython: a MicroPython tree to use, in place of the cache and Debian's source package.
    Raises UserError for everything that the user can put right. An earlier image stays as it was then.
    """
    progress = progress if progress is not None else Progress()
    output = output_dir.absolute()
    with process.interruptible("the build"):
        # Before anything is fetched for it.
        generated.read(output, "config.json", _CONFIG)
        cache = Cache(progress=progress)
        runtime.require_toolchain()
        source = sources.obtain(sources.MICROPYTHON, cache, sources.given_directory(micropython))
        application = load(output, source)
        engine = runtime.obtain(application.target, application.features, cache)
        with explained(output, _OTHER_PLACE):
            make_directory(application.folder, _OTHER_PLACE)
            with exclusive(application.folder / ".lock", str(application.folder), progress):
                return _build(application, engine, progress)


def _build(application: Application, engine: Runtime, progress: Progress) -> Path:
    modules = [frozen.read(module) for module in application.modules]
    key = _build_key(application, engine, modules)
    image = application.image
    if _is_current(application, key):
        progress.detail(f"{image} is up to date")
        return image
    _check_destination(application)
    # What an earlier build left when it was killed.
    for leftover in (*application.folder.glob("*.new"), *image.parent.glob(f".{image.name}*.new")):
        leftover.unlink()
    with progress.step(f"building {image.name}"):
        compiled = frozen.compile_modules(modules, application.folder / "mpy")
        with _readable_by(application):
            linked = _link(application, engine, compiled)
            elf.check(linked, application.target)
            _publish(application, linked)
    _write_state(application, key)
    _forget_unused(application.folder / "mpy", compiled)
    embedded.forget_unused(application.embedded, application.folder / "packed")
    if progress.verbose:
        _tell_sizes(application, progress)
    return image


@contextmanager
def _readable_by(application: Application) -> Iterator[None]:
    """Files that are made meanwhile are nobody else's when a secret, such as a private key, goes into the image."""
    if not any(item.is_secret for item in application.embedded):
        yield
        return
    before = os.umask(0o077)
    try:
        # An existing file keeps its mode when it is written.
        for path in application.folder.glob("embedded*"):
            path.unlink()
        yield
    finally:
        os.umask(before)


def _tell_sizes(application: Application, progress: Progress) -> None:
    """What takes how much of the image: sections, and the modules' code and constants, the largest first."""
    for item in application.embedded:
        progress.detail(f"{item.size_bytes:9,} embedded: {item.name}")
    for section in elf.section_sizes(application.image):
        progress.detail(f"{section.size_bytes:9,} {section.name}{'' if section.in_file else ' (memory only)'}")
    sizes = elf.module_sizes(application.debug_image, [module.name for module in application.modules])
    for name, size_bytes in sorted(sizes.items(), key=lambda item: -item[1]):
        progress.detail(f"{size_bytes:9,} {name}")


def _build_key(application: Application, engine: Runtime, modules: Sequence[frozen.Source]) -> str:
    parts = [
        engine.key,
        application.note,
        application.builtins,
        [[source.module.name, source.digest] for source in modules],
        _FROZEN_FLAGS,
    ]
    if application.embedded:
        parts.append(embedded.key(application.embedded))
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _signature(path: Path) -> list[int]:
    status = path.stat()
    return [status.st_size, status.st_mtime_ns]


def _is_current(application: Application, key: str) -> bool:
    try:
        state = json.loads((application.folder / _STATE).read_text(encoding="utf-8"))
        expected = {"key": key, "image": _signature(application.image), "debug": _signature(application.debug_image)}
    except (OSError, ValueError):
        return False
    return bool(state == expected)


def _write_state(application: Application, key: str) -> None:
    state = {"key": key, "image": _signature(application.image), "debug": _signature(application.debug_image)}
    temporary = application.folder / f"{_STATE}.new"
    temporary.write_text(json.dumps(state), encoding="utf-8")
    temporary.replace(application.folder / _STATE)


def _check_destination(application: Application) -> None:
    """Raises UserError when a file that is not ours has the image's name."""
    image = application.image
    remedy = "move it away, or choose another directory with configure --output"
    if image.parent.exists() and not image.parent.is_dir():
        raise UserError(f"{image.parent} is in the way: a directory of this name is needed", remedy)
    for path in (image, application.debug_image):
        if not os.path.lexists(path):
            continue
        if not (path.is_file() and _is_ours(application, path)):
            raise UserError(f"{path} is in the way: it was not built by mirage-py", remedy)


def _is_ours(application: Application, path: Path) -> bool:
    """Whether we built the file at `path`, whole or damaged since."""
    try:
        return elf.read_note(path) is not None
    except UserError:
        # Its note is of another format, or was cut off: then it was us if we built something by this name here.
        if elf.NOTE_NAME.encode() in path.read_bytes():
            return True
        return (application.folder / _STATE).exists() and path.read_bytes()[:4] == b"\x7fELF"


def _link(application: Application, engine: Runtime, compiled: Sequence[Path]) -> Path:
    """Freezes and links; returns the image with symbols, in the build folder."""
    folder = application.folder
    frozen_c, frozen_o = folder / "frozen_content.c", folder / "frozen_content.o"
    note_s = folder / "image_note.s"
    linked = folder / "image.new"
    frozen.freeze(compiled, engine, frozen_c)
    note_s.write_text(elf.note_assembly(application.note, is_machine=application.target == "hvt"), encoding="ascii")
    _compiler(application, engine, [*engine.flags("cflags"), *_FROZEN_FLAGS, "-c", frozen_c, "-o", frozen_o])
    objects = [note_s, frozen_o]
    if application.embedded:
        # In the build's folder, so that the names of its files need not be quoted.
        source, target = embedded.write(application.embedded, folder), folder / "embedded.o"
        _compiler(application, engine, ["-c", source.name, "-o", target.name], folder)
        objects.append(target)
    ldflags = engine.flags("ldflags")
    # Libraries come behind the objects that need them.
    libraries = [flag for flag in ldflags if flag.startswith("-l")]
    options = [flag for flag in ldflags if not flag.startswith("-l")]
    options += runtime.module_flags(application.builtins, application.features)
    _compiler(application, engine, [*options, *objects, engine.archive, *libraries, "-o", linked])
    return linked


def _compiler(
    application: Application, engine: Runtime, arguments: Sequence[str | Path], folder: Path | None = None
) -> None:
    result = process.run(
        [COMPILER, *arguments],
        package="gcc",
        timeout_s=TIMEOUT_S,
        cwd=folder or engine.working_directory,
        env=clean_environment(application.folder),
    )
    if result.disk_was_full:
        raise disk_full_error(application.folder, _OTHER_PLACE)
    if result.code != 0:
        lines = result.stderr.splitlines()
        reason = next((line for line in lines if "error" in line or "undefined" in line), result.last_line())
        if "cannot find -lc" in result.stderr:
            raise UserError("the C library for static executables is missing", "install the package libc6-dev")
        raise UserError(
            f"linking {application.image.name} failed: {reason}", "this is a fault in mirage-py: please report it"
        )


def _publish(application: Application, linked: Path) -> None:
    """Puts the image, stripped, and its twin with symbols under their final names: each whole or not at all."""
    image, debug = application.image, application.debug_image
    image.parent.mkdir(exist_ok=True)
    # In dist/ itself, which may be another file system.
    stripped, symbols = (image.with_name(f".{path.name}.new") for path in (image, debug))
    try:
        result = process.run(["strip", "-o", stripped, linked], package="binutils", timeout_s=TIMEOUT_S)
        if result.disk_was_full:
            raise disk_full_error(stripped, _OTHER_PLACE)
        if result.code != 0:
            raise UserError(f"strip failed: {result.last_line()}", "check that the package binutils is whole")
        elf.check(stripped, application.target)
        shutil.copyfile(linked, symbols)
        symbols.replace(debug)
        stripped.replace(image)
        linked.unlink()
    finally:
        for temporary in (stripped, symbols):
            with suppress(OSError):
                temporary.unlink(missing_ok=True)


def _forget_unused(folder: Path, used: Sequence[Path]) -> None:
    names = {path.name for path in used}
    for path in folder.iterdir():
        if path.name not in names:
            path.unlink(missing_ok=True)


def clean(output_dir: Path) -> list[Path]:
    """Removes what building made in `output_dir`: the images that are ours, and the build folder; returns them.

    Raises UserError when there is no such directory, or something of it cannot be removed.
    """
    output = output_dir.absolute()
    if not output.is_dir():
        raise UserError(f"there is no directory {output}", "name the one that was configured with --output")
    removed = []
    dist = output / "dist"
    for path in sorted(dist.iterdir()) if dist.is_dir() else ():
        if not path.is_file() or path.is_symlink():
            continue
        try:
            ours = elf.read_note(path) is not None
        except UserError:
            ours = path.name.startswith(".") and path.name.endswith(".new")
        if ours:
            try:
                path.unlink()
            except OSError as error:
                raise _stays(path, str(error.strerror)) from error
            removed.append(path)
    with suppress(OSError):
        # Only when it is empty now: other files in it are the user's.
        dist.rmdir()
    folder = build_folder(output)
    if folder.is_dir():
        remove_tree(folder)
        if folder.exists():
            raise _stays(folder, "something in it stays")
        removed.append(folder)
    return removed


def _stays(path: Path, why: str) -> UserError:
    return UserError(f"cannot remove {path}: {why}", "make its directory writable")
