# SPDX-License-Identifier: MIT
"""The runtime: MicroPython and our C for a target and a set of features, compiled once and kept in the cache.

make works on copies in a folder whose path has neither spaces nor other letters, because MicroPython's makefiles
cannot cope with them. What it leaves behind is moved into the cache with relative paths only, so that the entry works
wherever it lies: `cflags` and `ldflags` mean what they say when the compiler runs in the entry's `targets` folder.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import shlex
import shutil
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from mirage_py.build import sources
from mirage_py.support import paths, process
from mirage_py.support.cache import Cache, disk_full_error, explained, remove_tree, sha256_tree
from mirage_py.support.errors import UserError

KIND = "runtime"
# Part of the key: to be raised when this file lays an entry out differently.
LAYOUT = 1
COMPILER = "gcc"
BUILD_TIMEOUT_S = 1200
QUERY_TIMEOUT_S = 30

# What an application's build takes from make's BUILD folder.
_RESULTS = ("runtime.a", "genhdr", "cflags.txt", "ldflags.txt", "runtime.json")
_OPTIONAL_RESULTS = ("link.ld",)
_HEADER_SUFFIXES = (".h", ".ld")


@dataclass(frozen=True)
class Runtime:
    """A compiled runtime in the cache. `source` is the MicroPython tree that it was compiled from."""

    folder: Path
    key: str
    source: Path

    @property
    def working_directory(self) -> Path:
        """Where the compiler must run for the flags to mean what they say."""
        return self.folder / "targets"

    @property
    def archive(self) -> Path:
        return self.folder / "build" / "runtime.a"

    @property
    def qstr_header(self) -> Path:
        return self.folder / "build" / "genhdr" / "qstrdefs.preprocessed.h"

    def flags(self, name: str) -> list[str]:
        """The flags in `cflags` or `ldflags`."""
        text = (self.folder / "build" / f"{name}.txt").read_text(encoding="utf-8")
        return [line for line in text.splitlines() if line]


# Modules in C that an image has where something imports them (objmodule.c, as changed in targets/common/changes).
_ON_DEMAND = (
    "array", "binascii", "collections", "deflate", "errno", "hashlib", "heapq", "io", "json", "math", "os", "random",
    "re", "struct",
    # Ours (targets/common).
    "_embedded",
    "_inflate",
)  # fmt: skip
# Those of cryptography, which also a REPL has only where the application imports them.
_CRYPTO = (
    "_aead", "_ed25519", "_hashes", "_mlkem768", "_mlkem768_client", "_p256", "_p256_agree", "_p256_verify", "_p384",
    "_p384_verify", "_rsa", "_rsa_sign", "_x25519",
)  # fmt: skip
# What may import whatever it likes while it runs.
_IMPORTS_ANYTHING = frozenset({"compiler", "repl"})


def module_flags(builtins: Iterable[str], features: Iterable[str]) -> list[str]:
    """The linker's flags that bring the modules in C which an image imports.

    builtins: their names; others, which every runtime has, may be among them. features: as for `obtain`.
    """
    names = list(_ON_DEMAND) if not _IMPORTS_ANYTHING.isdisjoint(features) else sorted(set(_ON_DEMAND) & set(builtins))
    names += sorted(set(_CRYPTO) & set(builtins))
    return [f"-Wl,-u,mp_module_{name}" for name in names]


def clean_environment(temporary: Path) -> dict[str, str]:
    """What compilers get to see of the environment: nothing that would change what they produce."""
    return {
        "PATH": os.environ.get("PATH", os.defpath),
        "LC_ALL": "C.UTF-8",
        "TMPDIR": str(temporary),
        # MicroPython puts the date of the build into its headers; this is the date of its release.
        "SOURCE_DATE_EPOCH": "1745020800",
    }


def compiler_version() -> str:
    """What the compiler says about its version and make. Raises UserError when there is none."""
    result = process.run([COMPILER, "--version"], package="gcc", timeout_s=QUERY_TIMEOUT_S)
    # Its first word is the name that it was called by.
    return result.stdout.partition("\n")[0].partition(" ")[2]


def require_toolchain() -> None:
    """Raises UserError when this machine lacks something to compile with, naming the Debian package."""
    if platform.machine() != "x86_64":
        raise UserError(f"images are built on x86-64 only, and this machine is {platform.machine()}")
    for program, package in ((COMPILER, "gcc"), ("make", "make"), ("objcopy", "binutils"), ("strip", "binutils")):
        if shutil.which(program) is None:
            raise UserError(f"{program} is not installed", f"install the package {package}")


def runtime_key(target: str, features: Iterable[str], targets_digest: str, compiler: str) -> str:
    """Names a runtime by everything that it depends on."""
    digests = [source.digest for source in (sources.MICROPYTHON, *further_sources(features))]
    parts = [LAYOUT, target, sorted(features), targets_digest, *digests, compiler]
    return f"{target}-{hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:24]}"


def further_sources(features: Iterable[str]) -> tuple[sources.PinnedSource, ...]:
    """What a runtime with these features is compiled from beside MicroPython."""
    return (sources.NSS, sources.BEARSSL, sources.RING) if "crypto" in features else ()


def obtain(target: str, features: Iterable[str], cache: Cache, micropython: Path | None = None) -> Runtime:
    """The runtime of a target ("unix" or "hvt") with these features, from the cache or compiled now.

    micropython: a source tree that the user gave, see sources.obtain.
    Raises UserError when the compiler, a package or the source is missing, or compiling fails.
    """
    names = sorted(features)
    source = sources.obtain(sources.MICROPYTHON, cache, sources.given_directory(micropython))
    trees = {further.name: sources.obtain(further, cache) for further in further_sources(names)}
    key = runtime_key(target, names, sha256_tree(paths.targets_dir()), compiler_version())
    what = f"the runtime ({target}: {' '.join(names) or 'no features'})"

    def builder(folder: Path) -> None:
        folders = [(sources.MICROPYTHON, source), *((one, trees[one.name]) for one in further_sources(names))]
        for pinned, tree in folders:
            damage = pinned.verify(tree)
            if damage is not None:
                raise UserError(f"{tree}: {damage} from what it was", "remove this folder, and build again")
        require_toolchain()
        with cache.progress.step(f"compiling {what}, once for this machine"):
            _compile(target, names, source, trees, folder, cache)

    return Runtime(cache.make(KIND, key, builder, what), key, source)


def _compile(
    target: str, features: list[str], source: Path, trees: dict[str, Path], folder: Path, cache: Cache
) -> None:
    work = _working_directory(folder)
    try:
        with explained(work):
            shutil.copytree(
                paths.targets_dir(), work / "targets", ignore=shutil.ignore_patterns("__pycache__"), symlinks=False
            )
            (work / "mpy").symlink_to(source)
            for name, tree in trees.items():
                (work / name).symlink_to(tree)
        arguments = {
            "TARGET": target,
            "FEATURES": " ".join(features),
            "MPY_DIR": f"{work}/mpy",
            "BUILD": f"{work}/build",
            # The folder's name is not to be seen in what is made: the same runtime is the same everywhere.
            "CC": f"{COMPILER} -ffile-prefix-map={work}=/mirage-py",
            # Nothing is frozen into the runtime itself.
            "CROSS": "mpy-cross",
            **{f"{name.upper()}_DIR": f"{work}/{name}" for name in trees},
            "PYTHON": shlex.quote(sys.executable).replace("$", "$$"),
        }
        jobs = len(os.sched_getaffinity(0))
        command: list[str | Path] = ["make", "--no-print-directory", "-C", work / "targets", f"-j{jobs}"]
        command += [f"{name}={value}" for name, value in arguments.items()]
        result = process.run(command, package="make", timeout_s=BUILD_TIMEOUT_S, env=clean_environment(work), cwd=work)
        if result.code != 0:
            raise _compile_error(result, work, cache)
        with explained(folder):
            _collect(work, folder, source)
    finally:
        if work != folder / "work":
            remove_tree(work)
    remove_tree(folder / "work")


def _working_directory(folder: Path) -> Path:
    """A new folder that makefiles can work in: inside of `folder` if its path allows it."""
    work = folder / "work"
    if re.fullmatch(r"[A-Za-z0-9_./+-]+", str(work)):
        work.mkdir()
        return work
    return Path(tempfile.mkdtemp(prefix="mirage-py-", dir="/tmp"))


def _compile_error(result: process.Result, work: Path, cache: Cache) -> UserError:
    if result.disk_was_full:
        return disk_full_error(work)
    log = cache.root / "runtime-build.log"
    with explained(log):
        log.write_text(result.stdout + result.stderr, encoding="utf-8")
    lines = (result.stderr + "\n" + result.stdout).splitlines()
    wrong = re.compile(r"\b(fatal error|error|Error|undefined reference)\b")
    first = next((line for line in lines if wrong.search(line)), result.last_line())
    remedy = f"see {log}"
    if "sys/" in first or "stdio.h" in first or "-lc" in first:
        remedy = f"install the package libc6-dev, or {remedy}"
    return UserError(f"compiling the runtime failed: {first.replace(f'{work}/', '')}", remedy)


def _collect(work: Path, folder: Path, source: Path) -> None:
    """Moves what applications need from make's folder into the entry."""
    build = folder / "build"
    build.mkdir()
    for name in _RESULTS + _OPTIONAL_RESULTS:
        made = work / "build" / name
        if made.is_dir():
            shutil.copytree(made, build / name)
        elif made.exists():
            shutil.copyfile(made, build / name)
        elif name in _RESULTS:
            raise UserError(
                f"the runtime's makefile did not make {name}", "this is a fault in mirage-py: please report it"
            )
    for name in ("cflags.txt", "ldflags.txt"):
        text = (build / name).read_text(encoding="utf-8")
        (build / name).write_text(text.replace(f"{work}/", "../"), encoding="utf-8")
    for path in sorted((work / "targets").rglob("*")):
        if path.suffix in _HEADER_SUFFIXES and path.is_file():
            target = folder / "targets" / path.relative_to(work / "targets")
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)
    # Relative: the cache as a whole may move. It is two levels up from KIND/KEY, and this entry will be at that level.
    (folder / "mpy").symlink_to(Path("..", "..", source.parent.name, source.name))
