# SPDX-License-Identifier: MIT
"""What is measured: applications made in the cache as a user would make them, and the programs that measure them."""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from bench.machine import QEMU
from bench.web_servers import make_files
from mirage_py.build import build, frozen, runtime
from mirage_py.configure.resolver import APPLICATION, MICROPYTHON, Trees, resolve_imports
from mirage_py.support import paths
from mirage_py.support.cache import Cache

ROOT = Path(__file__).resolve().parent.parent
ECHO = ROOT / "examples" / "echo"
GUESTS = ROOT / "bench" / "guests"
SERVICES = GUESTS / "services"
BUILD_TIMEOUT_S = 900
PLUGIN_UNKNOWN_FROM = 11  # the major version of QEMU whose callbacks have other arguments
# A function of the C module that an image's own modules do not call while it starts: a call of it makes a mark.
MARK = "_mirage.memory()"
MARK_FUNCTION = "mirage_memory"


class BuildError(Exception):
    """Something could not be built; the text is its last line."""


@dataclass(frozen=True)
class Build:
    """An application's source, what configure is told, and the image's name.

    has_web_files: the folder `www` and the certificates of bench/web_servers.py lie beside it. more: further sources.
    """

    source: Path
    arguments: tuple[str, ...]
    image: str
    has_web_files: bool = False
    more: tuple[Path, ...] = ()


_HVT, _DIRECT, _SOCKET = ("-t", "hvt"), ("-t", "unix", "--net", "direct"), ("-t", "unix", "--net", "socket")
_PORT = ("--port", "7")
_SERVER_ONLY = ("--tls-min", "1.3")
BUILDS = {
    "hvt": Build(ECHO, (*_HVT, *_PORT), "echo.hvt"),
    "ixgbe": Build(ECHO, (*_HVT, "--nic", "ixgbe", *_PORT), "echo.hvt"),
    "direct": Build(ECHO, (*_DIRECT, *_PORT), "echo"),
    "socket": Build(ECHO, (*_SOCKET, *_PORT), "echo"),
    "change": Build(ECHO, (*_HVT, *_PORT), "echo.hvt"),
    "start": Build(ECHO, (*_HVT, *_PORT), "echo.hvt"),
    "services-hvt": Build(SERVICES, _HVT, "services.hvt"),
    "services-direct": Build(SERVICES, _DIRECT, "services"),
    "web-socket": Build(GUESTS / "web", _SOCKET, "web", True),
    "web-direct": Build(GUESTS / "web", _DIRECT, "web", True),
    "web-hvt": Build(GUESTS / "web", _HVT, "web.hvt", True),
    # What a server takes, and what all of TLS does, beside the echo server without ("hvt").
    "secure": Build(GUESTS / "secure", (*_HVT, *_PORT, *_SERVER_ONLY), "echo.hvt", True, (ECHO / "echo.py",)),
    "both": Build(GUESTS / "both", (*_HVT, *_PORT), "echo.hvt", True, (ECHO / "echo.py",)),
}


def _environment() -> dict[str, str]:
    # The generated Makefile calls the tool by name or by module: this checkout's, with this interpreter.
    return {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}:{os.environ.get('PATH', '')}",
        "PYTHONPATH": str(ROOT),
    }


def _run(command: list[str], cwd: Path) -> str:
    try:
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
    except (OSError, subprocess.TimeoutExpired) as error:
        raise BuildError(f"{command[0]}: {error}") from None
    if done.returncode != 0:
        said = (done.stderr or done.stdout).strip().splitlines()
        raise BuildError(f"{' '.join(command)}: {said[-1] if said else done.returncode}")
    return done.stdout


class Application:
    """A copy of an application with one build of it."""

    def __init__(self, name: str, work: Path) -> None:
        self.build = BUILDS[name]
        self.directory = work / name
        self.files = work / "web-files"
        self.path = self.directory / "dist" / self.build.image

    @property
    def symbols(self) -> Path:
        """The image with its symbols."""
        return self.path.with_name(f"{self.path.name}.debug")

    def configure(self) -> None:
        """From nothing. Raises BuildError."""
        shutil.rmtree(self.directory, ignore_errors=True)
        ignored = shutil.ignore_patterns("mirage", "dist", "__pycache__", "Makefile")
        shutil.copytree(self.build.source, self.directory, ignore=ignored)
        for source in self.build.more:
            shutil.copy(source, self.directory)
        if self.build.has_web_files:
            make_files(self.files)
            shutil.copytree(self.files, self.directory, dirs_exist_ok=True)
        _run([sys.executable, "-m", "mirage_py", "configure", *self.build.arguments], self.directory)

    def make(self) -> None:
        """Configure and build from nothing but the caches. Raises BuildError."""
        self.configure()
        _run(["make"], self.directory)

    def make_with_marks(self) -> None:
        """The same with a mark behind each statement of main.py, and where echo.py listens; marks() has their names."""
        self.configure()
        main, echo = self.directory / "mirage" / "main.py", self.directory / "echo.py"
        source, names = with_marks(main.read_text())
        main.write_text(source)
        listens = re.search(r"^( +)self\.stack\.tcp\.listen\(.*\)\n", echo.read_text(), re.MULTILINE)
        if listens is None:
            raise BuildError("examples/echo/echo.py does not listen where it did")
        text = echo.read_text()
        marked = text[: listens.end()] + f"{listens[1]}__import__('_mirage').memory()\n" + text[listens.end() :]
        echo.write_text(marked)
        (self.directory / "marks.json").write_text(json.dumps([*names, "echo.start() until it listens"]))
        # `make` would configure again, and write its own main.py.
        build(self.directory)

    def marks(self) -> list[str]:
        """What ends at each mark, in their order."""
        return [str(name) for name in json.loads((self.directory / "marks.json").read_text())]

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


def with_marks(source: str) -> tuple[str, list[str]]:
    """main.py with a mark behind each statement from `import _mirage` on, and the statements' names in order.

    Statements inside of the `try` are marked one by one; the last one, which runs the loop, ends at no mark.
    """
    tree = ast.parse(source)
    names: list[str] = []

    def marked(statements: list[ast.stmt]) -> list[ast.stmt]:
        out: list[ast.stmt] = []
        for statement in statements:
            out.append(statement)
            if isinstance(statement, ast.Try):
                statement.body = marked(statement.body)
            elif is_ready:
                names.append(ast.unparse(statement).splitlines()[0])
                out.extend(ast.parse(MARK).body)
        return out

    is_ready = False
    body: list[ast.stmt] = []
    for statement in tree.body[:-1]:
        is_ready = is_ready or ast.unparse(statement) == "import _mirage"
        body += marked([statement])
    tree.body = [*body, tree.body[-1]]
    if not names:
        raise BuildError("main.py does not import _mirage")
    # Whoever overwrites generated files looks for their first line.
    return f"{source.splitlines()[0]}\n{ast.unparse(ast.fix_missing_locations(tree))}\n", names


def build_client(work: Path) -> Path:
    """Compile bench/client.c; its path."""
    path = work / "client"
    work.mkdir(parents=True, exist_ok=True)
    _run(["cc", "-O2", "-Wall", "-Wextra", "-Werror", "-o", str(path), str(ROOT / "bench" / "client.c")], work)
    return path


def plugin_version(qemu_version: str) -> int:
    """The version of the plugin interface, by what `--version` printed. BuildError when that cannot be read."""
    match = re.search(r"version (\d+)\.", qemu_version)
    if match is None:
        raise BuildError(f"{QEMU} --version says {qemu_version.strip()[:80]!r}")
    major = int(match[1])
    if major >= PLUGIN_UNKNOWN_FROM:
        raise BuildError(f"QEMU {major} has another plugin interface than bench/count.c was written for")
    return 1 if major < 9 else 2


def build_plugin(work: Path) -> Path:
    """Compile bench/count.c for the QEMU in the path; its path."""
    path = work / "count.so"
    version = plugin_version(_run([QEMU, "--version"], ROOT))
    flags = ["-O2", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-fvisibility=hidden"]
    source = ROOT / "bench" / "count.c"
    _run(["cc", *flags, f"-DPLUGIN_VERSION={version}", "-o", str(path), str(source)], work)
    return path


def build_program(name: str, work: Path) -> Path:
    """Link bench/programs/NAME.py and what it imports with the runtime of the unix target; the executable."""
    source = ROOT / "bench" / "programs" / f"{name}.py"
    folder = work / name
    folder.mkdir(parents=True, exist_ok=True)
    resolution = resolve_imports(source.read_text(), Trees(source.parent, paths.guest_dir()))
    found = resolution.modules
    engine = runtime.obtain("unix", sorted({"net"} | resolution.features), Cache())
    roots = {APPLICATION: source.parent, MICROPYTHON: engine.source}
    modules = [frozen.Module("main.py", source, "app")]
    modules += [
        frozen.Module(module.name, roots.get(module.origin, paths.guest_dir()) / module.path, module.origin)
        for module in found
        if module.name != "main.py"
    ]
    compiled = frozen.compile_modules([frozen.read(module) for module in modules], folder / "mpy")
    content, image = folder / "frozen_content.c", folder / name
    frozen.freeze(compiled, engine, content)
    command = [runtime.COMPILER, *engine.flags("cflags"), "-O0", "-g0", "-w", content, engine.archive]
    command += runtime.module_flags(resolution.builtins, ())
    _run([str(word) for word in (*command, *engine.flags("ldflags"), "-o", image)], engine.working_directory)
    return image
