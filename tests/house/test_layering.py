# SPDX-License-Identifier: MIT
"""The house: which room may import from which, in the tool and in the guest, and no circles anywhere.

A violation is named with file and line. docs/architecture.md has the same tables for people: they are compared.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from mirage_py.configure.resolver import CRYPTO
from mirage_py.support import paths

PACKAGE = Path(paths.__file__).parents[1]
ARCHITECTURE = PACKAGE.parent / "docs" / "architecture.md"

# The tool: room -> the rooms that it may import from, besides itself. A file beside the folders is a room of its own.
HOST_ROOMS = {
    "support": set(),
    "configure": {"support"},
    "dsl": {"configure"},
    "build": {"support"},
    "nic": {"support"},
    "run": {"build", "support"},
    "cli": {"run", "nic", "build", "configure", "support"},
    "__main__": {"cli"},
}

# The library OS, likewise. What is under a layer it gets as an object. "net" is what lies in net/ itself, but
# for the stack, which stands on top of it all.
GUEST_ROOMS = {
    "wire": set(),
    "hal": set(),
    "driver": {"hal"},
    "net": {"wire"},
    "net/link": {"net", "wire"},
    "net/ip": {"net", "wire"},
    "net/tcp": {"net", "wire"},
    "net/service": {"net", "wire"},
    "net/stack": {"net", "net/tcp"},
    "tls/x509": set(),
    "tls": {"tls/x509"},
    "http": set(),
    "web": {"http"},
    "app": {"wire"},
}
C_MODULE = "_mirage"
# With those that an image has on demand.
C_MODULES = CRYPTO | {C_MODULE, "_embedded", "_inflate"}


def imports(path: Path, package: str) -> Iterator[tuple[int, str]]:
    """(line, dotted name) of everything that the file imports, wherever in it; relative imports made absolute.

    package: dotted name of the package that the file is in. `from a import b` gives a.b, as b may be a module.
    """
    for node in ast.walk(ast.parse(path.read_bytes(), filename=str(path))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parents = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*parents, *([node.module] if node.module else [])])
            for alias in node.names:
                yield node.lineno, f"{base}.{alias.name}"


def _package_of(root: Path, path: Path, name: str) -> str:
    return ".".join([name, *path.relative_to(root).parent.parts])


def host_violations(root: Path) -> list[str]:
    found = []
    for path in sorted(root.rglob("*.py")):
        relative = path.relative_to(root)
        if relative.parts[0] in ("guest", "_data") or relative == Path("__init__.py"):
            continue
        room = relative.with_suffix("").parts[0]
        if room not in HOST_ROOMS:
            found.append(f"{relative}: is in no room of the house")
            continue
        for line, name in imports(path, _package_of(root, path, "mirage_py")):
            top, _, rest = name.partition(".")
            target = rest.partition(".")[0]
            if top == "libos" or (top == "mirage_py" and target == "guest"):
                found.append(f"{relative}:{line}: the tool imports guest code: {name}")
            elif top == "mirage_py" and target in HOST_ROOMS and target not in HOST_ROOMS[room] | {room}:
                found.append(f"{relative}:{line}: {room} imports {name}")
    return found


def circles(root: Path, name: str, left_out: tuple[str, ...] = ()) -> list[str]:
    """Modules below `root`, the package `name`, that import each other in a circle, imports in functions included."""
    modules = {
        ".".join([name, *path.relative_to(root).with_suffix("").parts]).removesuffix(".__init__"): path
        for path in root.rglob("*.py")
        if path.relative_to(root).parts[0] not in left_out
    }
    edges = {}
    for module, path in modules.items():
        below = set()
        for _, imported in imports(path, _package_of(root, path, name)):
            # `from package import module` is not about what the package's own file has.
            known = imported if imported in modules else imported.rpartition(".")[0]
            if known in modules and known != module:
                below.add(known)
        edges[module] = below
    return _in_circles(edges)


def _in_circles(edges: Mapping[str, set[str]]) -> list[str]:
    """Those of a graph's nodes that lie on a circle, or between two."""
    left = {node: set(below) for node, below in edges.items()}
    # Whatever can be taken away leaf by leaf is in no circle, and so is what nobody leads to.
    while True:
        wanted = {target for below in left.values() for target in below}
        ends = [node for node, below in left.items() if not below & left.keys() or node not in wanted]
        if not ends:
            return sorted(left)
        for node in ends:
            del left[node]


def _guest_room(module: str) -> str | None:
    """The room of `libos.net.ip.ipv4`: net/ip. None for what is in none."""
    parts = module.split(".")[1:]
    for length in (2, 1):
        room = "/".join(parts[:length])
        if room in GUEST_ROOMS:
            return room
    return None


def guest_violations(root: Path) -> list[str]:
    found = []
    for path in sorted((root / "libos").rglob("*.py")):
        relative = path.relative_to(root)
        if relative == Path("libos/__init__.py"):
            continue
        room = _guest_room(".".join(relative.with_suffix("").parts))
        if room is None:
            found.append(f"{relative}: is in no layer of the library OS")
            continue
        for line, name in imports(path, ".".join(relative.parent.parts)):
            top = name.partition(".")[0]
            if top == "mirage_py":
                found.append(f"{relative}:{line}: guest code imports the tool: {name}")
            elif top in C_MODULES and room != "hal":
                found.append(f"{relative}:{line}: only hal imports the C module")
            elif top == "libos" and _guest_room(name) not in GUEST_ROOMS[room] | {room}:
                found.append(f"{relative}:{line}: {room} imports {name}")
    return found


def pylib_violations(root: Path) -> list[str]:
    """Python's own modules, as we have them, stand on nothing of ours: any application may import them."""
    return [
        f"{path.relative_to(root)}:{line}: pylib imports {name}"
        for path in sorted((root / "pylib").rglob("*.py"))
        for line, name in imports(path, ".".join(path.relative_to(root).parent.parts))
        if name.partition(".")[0] in ("libos", "mirage_py", *C_MODULES)
    ]


# What modules of MicroPython's are made of, where we have them on parts of ours.
COMPAT_STANDS_ON = ("app", "tls", "tls/x509")


def compat_violations(root: Path) -> list[str]:
    """compat/ glues rooms of the library OS together behind MicroPython's names; no room knows of it."""
    found = []
    for path in sorted((root / "compat").rglob("*.py")):
        for line, name in imports(path, ".".join(path.relative_to(root).parent.parts)):
            top = name.partition(".")[0]
            if top in ("mirage_py", C_MODULE) or (top == "libos" and _guest_room(name) not in COMPAT_STANDS_ON):
                found.append(f"{path.relative_to(root)}:{line}: compat imports {name}")
    return found


def described_rooms(text: str, title: str) -> dict[str, set[str]]:
    """The table of docs/architecture.md that begins with the column `title`: room -> what it may import."""
    table = re.search(rf"^\| {title} \|.*\n\|[-| ]+\n((?:\|.*\n)+)", text, re.MULTILINE)
    assert table, f"docs/architecture.md has no table of each {title}"
    rooms = {}
    for row in table[1].splitlines():
        room, below = row.split("|")[1:3]
        rooms[room.strip().strip("`").rstrip("/")] = {name.rstrip("/") for name in re.findall(r"`([^`]+)`", below)}
    return rooms


def test_tool_imports_only_go_down() -> None:
    assert host_violations(PACKAGE) == []


def test_tool_has_no_import_circles() -> None:
    assert circles(PACKAGE, "mirage_py", ("guest", "_data")) == []


def test_rooms_have_no_circles() -> None:
    assert _in_circles(HOST_ROOMS) == []
    assert _in_circles(GUEST_ROOMS) == []


def test_guest_layers_import_what_they_may() -> None:
    assert guest_violations(paths.guest_dir()) == []


def test_pylib_stands_on_nothing_of_ours() -> None:
    assert pylib_violations(paths.guest_dir()) == []


def test_compat_stands_on_what_it_may() -> None:
    assert compat_violations(paths.guest_dir()) == []
    for folder in ("libos", "pylib"):
        known = {path.stem for path in (paths.guest_dir() / "compat").glob("*.py")}
        for path in (paths.guest_dir() / folder).rglob("*.py"):
            assert known.isdisjoint(name for _, name in imports(path, ".".join(path.parent.parts))), path


def test_guest_has_no_import_circles() -> None:
    assert circles(paths.guest_dir() / "libos", "libos") == []


def test_architecture_page_has_the_same_rooms() -> None:
    text = ARCHITECTURE.read_text()
    assert described_rooms(text, "room of the tool") == HOST_ROOMS
    assert described_rooms(text, "room of the library OS") == {**GUEST_ROOMS, "hal": {C_MODULE}}


# --- the test itself notices what it is for --------------------------------------------------------------------------


def write(root: Path, name: str, text: str) -> Path:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return root


@pytest.mark.parametrize(
    ("name", "text", "complaint"),
    [
        ("configure/keys.py", "from mirage_py import dsl\n", "configure/keys.py:1: configure imports mirage_py.dsl"),
        (
            "support/cache.py",
            "\nfrom mirage_py.configure.graph import Graph\n",
            "support/cache.py:2: support imports mirage_py.configure.graph.Graph",
        ),
        (
            "support/errors.py",
            "def f():\n    import mirage_py.cli.commands\n",
            "support/errors.py:2: support imports mirage_py.cli",
        ),
        ("configure/devices/tcp.py", "from ...run import qemu\n", "configure/devices/tcp.py:1: configure imports mir"),
        ("run/qemu.py", "from mirage_py import cli\n", "run/qemu.py:1: run imports mirage_py.cli"),
        ("dsl.py", "from mirage_py.support import paths\n", "dsl.py:1: dsl imports mirage_py.support.paths"),
        ("configure/codegen.py", "import libos.net.tcp\n", "configure/codegen.py:1: the tool imports guest code"),
        ("build/elf.py", "from mirage_py.guest import libos\n", "build/elf.py:1: the tool imports guest code"),
        ("surprise.py", "", "surprise.py: is in no room"),
    ],
)
def test_violation_in_the_tool_is_noticed(tmp_path: Path, name: str, text: str, complaint: str) -> None:
    found = host_violations(write(tmp_path, name, text))
    assert len(found) == 1
    assert found[0].startswith(complaint)


def test_circle_is_noticed(tmp_path: Path) -> None:
    write(tmp_path, "net/graph.py", "from libos.net import resolver\n")
    write(tmp_path, "net/resolver.py", "def f():\n    from .graph import resolve\n")
    write(tmp_path, "net/errors.py", "")
    write(tmp_path, "net/__init__.py", "from .errors import Oops\n")
    write(tmp_path, "stack.py", "from libos.net.graph import Graph\n")
    assert circles(tmp_path, "libos") == ["libos.net.graph", "libos.net.resolver"]


@pytest.mark.parametrize(
    ("name", "text", "complaint"),
    [
        ("libos/wire/tcp.py", "from libos.net import tcp\n", "libos/wire/tcp.py:1: wire imports libos.net.tcp"),
        ("libos/wire/tcp.py", "from ..hal import dma\n", "libos/wire/tcp.py:1: wire imports libos.hal.dma"),
        ("libos/net/tcp/x.py", "import _mirage\n", "libos/net/tcp/x.py:1: only hal imports the C module"),
        ("libos/tls/x.py", "from _aead import AesGcm\n", "libos/tls/x.py:1: only hal imports the C module"),
        (
            "libos/net/tcp/output.py",
            "from ...driver.tap import Tap\n",
            "libos/net/tcp/output.py:1: net/tcp imports libos.d",
        ),
        (
            "libos/net/ip/ipv4.py",
            "from libos.net.link.arp import Arp\n",
            "libos/net/ip/ipv4.py:1: net/ip imports libos.net.link.arp.Arp",
        ),
        ("libos/net/tcp/x.py", "from ..ip import ipv4\n", "libos/net/tcp/x.py:1: net/tcp imports libos.net.ip.ipv4"),
        ("libos/driver/tap.py", "from _mirage import copy\n", "libos/driver/tap.py:1: only hal imports the C module"),
        ("libos/driver/tap.py", "from libos.wire import tcp\n", "libos/driver/tap.py:1: driver imports libos.wire.tcp"),
        ("libos/hal/pci.py", "\n\nimport libos.wire.tcp\n", "libos/hal/pci.py:3: hal imports libos.wire.tcp"),
        ("libos/app/http.py", "from libos.net.tcp import Tcp\n", "libos/app/http.py:1: app imports libos.net.tcp.Tcp"),
        ("libos/app/http.py", "import mirage_py.keys\n", "libos/app/http.py:1: guest code imports the tool"),
        ("libos/extra/x.py", "", "libos/extra/x.py: is in no layer"),
        ("libos/surprise.py", "", "libos/surprise.py: is in no layer"),
    ],
)
def test_violation_in_the_guest_is_noticed(tmp_path: Path, name: str, text: str, complaint: str) -> None:
    found = guest_violations(write(tmp_path, name, text))
    assert len(found) == 1
    assert found[0].startswith(complaint)


def test_violation_in_pylib_is_noticed(tmp_path: Path) -> None:
    write(tmp_path, "pylib/typing.py", "import sys\nfrom libos.app import log\n")
    assert pylib_violations(tmp_path) == ["pylib/typing.py:2: pylib imports libos.app.log"]


def test_violation_in_compat_is_noticed(tmp_path: Path) -> None:
    write(
        tmp_path, "compat/ssl.py", "import tls\nfrom libos.tls.client import ClientContext\nfrom libos.net import udp\n"
    )
    write(tmp_path, "compat/tls.py", "import _mirage\n")
    assert compat_violations(tmp_path) == [
        "compat/ssl.py:3: compat imports libos.net.udp",
        "compat/tls.py:1: compat imports _mirage",
    ]


def test_what_is_allowed_is_allowed(tmp_path: Path) -> None:
    write(tmp_path, "libos/hal/pci.py", "import _mirage\nfrom libos.hal import mmio\n")
    write(tmp_path, "libos/driver/tap.py", "from libos.hal.dma import Frame\nimport struct\n")
    write(tmp_path, "libos/net/tcp/output.py", "from libos.wire import tcp\nfrom . import seq\nfrom .. import timers\n")
    write(tmp_path, "libos/app/stack.py", "import asyncio\nfrom .log import Log\n")
    assert guest_violations(tmp_path) == []
