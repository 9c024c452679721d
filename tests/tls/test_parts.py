# SPDX-License-Identifier: MIT
"""What an image gets with a context: a server's has nothing of a client, nor the other way round; and how large."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from mirage_py.build import frozen
from mirage_py.support import paths

ROOT = paths.guest_dir()
# Octets of bytecode. A server has crypto.py and errors.py besides.
SERVER_BYTES = 25_000
CLIENT_BYTES = 25_000


def closure(module: str) -> set[str]:
    """The modules of libos.tls that come with this one."""
    found: set[str] = set()
    waiting = [module]
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        found.add(name)
        for node in ast.walk(ast.parse((ROOT / "libos/tls" / f"{name}.py").read_text())):
            if isinstance(node, ast.ImportFrom) and node.level:
                waiting += [node.module] if node.module else [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("libos"):
                raise AssertionError(f"{name}: an import that this test does not follow: {node.module}")
    return found


def size(modules: set[str], folder: Path) -> int:
    wanted = [frozen.Module(f"libos/tls/{name}.py", ROOT / "libos/tls" / f"{name}.py", "libos") for name in modules]
    frozen.compile_modules([frozen.read(module) for module in wanted], folder)
    return sum(path.stat().st_size for path in folder.rglob("*.mpy"))


def test_server_has_nothing_of_a_client():
    modules = closure("server")
    assert "server13" in modules
    assert not modules & {"client", "client13", "offer", "session", "v12", "v12_client", "v12_server", "credential"}


def test_client_has_nothing_of_a_server():
    modules = closure("client")
    assert "client13" in modules
    assert not modules & {"server", "server13", "client_hello", "tickets", "v12", "v12_client", "v12_server"}


@pytest.mark.parametrize(("module", "most"), [("server", SERVER_BYTES), ("client", CLIENT_BYTES)])
def test_bytecode(module, most, tmp_path):
    octets = size(closure(module), tmp_path)
    print(module, octets)
    assert 10_000 < octets < most
