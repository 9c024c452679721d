# SPDX-License-Identifier: MIT
"""Imports only go down: in the tool, and in the guest. A violation is named with file and line."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from mirage_py import paths

PACKAGE = Path(paths.__file__).parent

# The tool, bottom first. A module may import from its own row and from those below it; a row has no circles.
HOST_LAYERS = (
    ("errors", "paths"),
    # What the tool needs of the machine: processes, the cache, pinned sources, finished images.
    ("progress", "process", "cache", "apt", "sources", "elf", "frozen", "runtime"),
    ("keys", "plan"),
    ("device",),
    ("graph", "resolver", "guest_class"),
    ("devices",),
    ("dsl", "codegen", "describe"),
    ("build", "run", "nic"),
    ("doctor",),
    ("command",),
    ("cli",),
    ("__main__",),
)

# The library OS: layer -> the layers it may import. What is under a layer it gets as an object.
GUEST_LAYERS = {
    "wire": {"wire"},
    "hal": {"hal"},
    "driver": {"driver", "hal"},
    "net": {"net", "wire"},
    "app": {"app", "wire"},
}
C_MODULE = "_mirage"


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


def host_rank(module: str) -> int | None:
    """The row of a module of mirage_py, by the first part of its name; None for one that has none."""
    return next((rank for rank, row in enumerate(HOST_LAYERS) if module.partition(".")[0] in row), None)


def host_violations(root: Path) -> list[str]:
    found = []
    for path in sorted(root.rglob("*.py")):
        relative = path.relative_to(root)
        if relative.parts[0] in ("guest", "_data"):
            continue
        module = ".".join(relative.with_suffix("").parts)
        if module == "__init__":
            continue
        rank = host_rank(module)
        if rank is None:
            found.append(f"{relative}: has no layer; give it one in HOST_LAYERS")
            continue
        for line, name in imports(path, _package_of(root, path, "mirage_py")):
            top, _, rest = name.partition(".")
            if top == "libos" or rest.partition(".")[0] == "guest":
                found.append(f"{relative}:{line}: the tool imports guest code: {name}")
            target = host_rank(rest) if top == "mirage_py" else None
            if target is not None and target > rank:
                found.append(f"{relative}:{line}: imports {name}, which is above it")
    return found


def host_circles(root: Path) -> list[str]:
    """Modules that import each other in a circle, imports inside functions included."""
    modules = {
        ".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__"): path
        for path in root.rglob("*.py")
        if path.relative_to(root).parts[0] not in ("guest", "_data")
    }
    edges = {
        module: {
            known
            for _, name in imports(path, _package_of(root, path, "mirage_py"))
            for known in (name.removeprefix("mirage_py."), name.removeprefix("mirage_py.").rpartition(".")[0])
            if name.startswith("mirage_py.") and known in modules and known != module
        }
        for module, path in modules.items()
    }
    # Whatever can be taken away leaf by leaf is in no circle.
    while leaves := [module for module, below in edges.items() if not below & edges.keys()]:
        for module in leaves:
            del edges[module]
    return sorted(edges)


def guest_violations(root: Path) -> list[str]:
    found = []
    for path in sorted((root / "libos").rglob("*.py")):
        relative = path.relative_to(root)
        layer = relative.parts[1] if len(relative.parts) > 2 else ""
        if relative.parts[1] != "__init__.py" and layer not in GUEST_LAYERS:
            found.append(f"{relative}: is in no layer of the library OS")
            continue
        for line, name in imports(path, ".".join(relative.parent.parts)):
            top, _, rest = name.partition(".")
            if top == "mirage_py":
                found.append(f"{relative}:{line}: guest code imports the tool: {name}")
            elif top == C_MODULE and layer != "hal":
                found.append(f"{relative}:{line}: only hal imports the C module")
            elif top == "libos" and rest.partition(".")[0] not in GUEST_LAYERS.get(layer, set()):
                found.append(f"{relative}:{line}: {layer} imports {name}")
    return found


def test_tool_imports_only_go_down() -> None:
    assert host_violations(PACKAGE) == []


def test_tool_has_no_import_circles() -> None:
    assert host_circles(PACKAGE) == []


def test_guest_layers_import_what_they_may() -> None:
    assert guest_violations(paths.guest_dir()) == []


# --- the test itself notices what it is for --------------------------------------------------------------------------


def write(root: Path, name: str, text: str) -> Path:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return root


@pytest.mark.parametrize(
    ("name", "text", "complaint"),
    [
        ("keys.py", "from mirage_py import graph\n", "keys.py:1: imports mirage_py.graph, which is above it"),
        ("keys.py", "\nfrom mirage_py.graph import Graph\n", "keys.py:2: imports mirage_py.graph.Graph"),
        ("errors.py", "def f():\n    import mirage_py.cli\n", "errors.py:2: imports mirage_py.cli"),
        ("devices/tcp.py", "from ..codegen import literal\n", "devices/tcp.py:1: imports mirage_py.codegen.literal"),
        ("run/qemu.py", "from mirage_py import cli\n", "run/qemu.py:1: imports mirage_py.cli"),
        ("codegen.py", "import libos.net.tcp\n", "codegen.py:1: the tool imports guest code"),
        ("surprise.py", "", "surprise.py: has no layer"),
    ],
)
def test_violation_in_the_tool_is_noticed(tmp_path: Path, name: str, text: str, complaint: str) -> None:
    found = host_violations(write(tmp_path, name, text))
    assert len(found) == 1
    assert found[0].startswith(complaint)


def test_circle_in_the_tool_is_noticed(tmp_path: Path) -> None:
    write(tmp_path, "graph.py", "from mirage_py import resolver\n")
    write(tmp_path, "resolver.py", "def f():\n    from mirage_py.graph import resolve\n")
    write(tmp_path, "errors.py", "")
    assert host_circles(tmp_path) == ["graph", "resolver"]


@pytest.mark.parametrize(
    ("name", "text", "complaint"),
    [
        ("libos/wire/tcp.py", "from libos.net import tcp\n", "libos/wire/tcp.py:1: wire imports libos.net.tcp"),
        ("libos/wire/tcp.py", "from ..hal import dma\n", "libos/wire/tcp.py:1: wire imports libos.hal.dma"),
        ("libos/net/tcp.py", "import _mirage\n", "libos/net/tcp.py:1: only hal imports the C module"),
        (
            "libos/net/tcp/output.py",
            "from ...driver.tap import Tap\n",
            "libos/net/tcp/output.py:1: net imports libos.d",
        ),
        ("libos/driver/tap.py", "from _mirage import copy\n", "libos/driver/tap.py:1: only hal imports the C module"),
        ("libos/driver/tap.py", "from libos.wire import tcp\n", "libos/driver/tap.py:1: driver imports libos.wire.tcp"),
        ("libos/hal/pci.py", "\n\nimport libos.wire.tcp\n", "libos/hal/pci.py:3: hal imports libos.wire.tcp"),
        ("libos/app/http.py", "from libos.net.tcp import Tcp\n", "libos/app/http.py:1: app imports libos.net.tcp.Tcp"),
        ("libos/app/http.py", "import mirage_py.keys\n", "libos/app/http.py:1: guest code imports the tool"),
        ("libos/extra/x.py", "", "libos/extra/x.py: is in no layer"),
    ],
)
def test_violation_in_the_guest_is_noticed(tmp_path: Path, name: str, text: str, complaint: str) -> None:
    found = guest_violations(write(tmp_path, name, text))
    assert len(found) == 1
    assert found[0].startswith(complaint)


def test_what_is_allowed_is_allowed(tmp_path: Path) -> None:
    write(tmp_path, "libos/hal/pci.py", "import _mirage\nfrom libos.hal import mmio\n")
    write(tmp_path, "libos/driver/tap.py", "from libos.hal.dma import Frame\nimport struct\n")
    write(tmp_path, "libos/net/tcp/output.py", "from libos.wire import tcp\nfrom . import seq\nfrom .. import ipv4\n")
    write(tmp_path, "libos/app/stack.py", "import asyncio\nfrom .log import Log\n")
    assert guest_violations(tmp_path) == []
