# SPDX-License-Identifier: MIT
"""The engines on the interpreter that images have: checks, and the memory of connections."""

from __future__ import annotations

import ast
import subprocess
from pathlib import Path

import pytest

from mirage_py.build import frozen, runtime
from mirage_py.configure.resolver import BUILTIN
from mirage_py.support import paths
from tests.contract import images

pytestmark = pytest.mark.build

PROGRAMS = Path(__file__).with_name("programs")
TIMEOUT_S = 120
# Octets: what issue 10 allows an idle connection is 8 KB, the flow's own included.
IDLE_SERVER = 3500
HALF_OPEN = 8000
CHECKS = [
    node.name
    for node in ast.parse((PROGRAMS / "engine_checks.py").read_text()).body
    if isinstance(node, ast.FunctionDef) and node.name.startswith("check_")
]


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("engines")
    engine = images.obtain("unix", ["net"])
    modules = [frozen.Module("main.py", PROGRAMS / "engine_checks.py", "libos")]
    modules.append(frozen.Module("primitives.py", PROGRAMS / "toy_crypto.py", "libos"))
    guest = paths.guest_dir()
    names = ["libos/__init__.py", *(f"libos/tls/{path.name}" for path in sorted((guest / "libos/tls").glob("*.py")))]
    modules += [frozen.Module(name, guest / name, "libos") for name in names]
    extmod = engine.source / "extmod" / "asyncio"
    modules += [
        frozen.Module(f"asyncio/{name}.py", extmod / f"{name}.py", "micropython")
        for name in ("__init__", "core", "event", "funcs", "lock", "stream")
    ]
    compiled = frozen.compile_modules([frozen.read(module) for module in modules], folder / "mpy")
    frozen_c, image = folder / "frozen_content.c", folder / "image"
    frozen.freeze(compiled, engine, frozen_c)
    command = [runtime.COMPILER, *engine.flags("cflags"), "-O0", "-g0", "-w", frozen_c, engine.archive]
    command += runtime.module_flags(BUILTIN, ())
    subprocess.run([*command, *engine.flags("ldflags"), "-o", image], cwd=engine.working_directory, check=True)
    done = subprocess.run([image], capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    assert done.stdout.endswith("done\n"), done.stdout[-3000:] + done.stderr
    return done.stdout.splitlines()


@pytest.mark.parametrize("name", CHECKS)
def test_check(output, name):
    assert f"ok {name}" in output, "\n".join(output)


def test_memory_of_connections(output):
    line = next(line for line in output if line.startswith("memory"))
    server, client, half_open, grown = (int(number) for number in line.split()[1:5])
    print(line)
    assert server < IDLE_SERVER
    assert client < IDLE_SERVER + 3000  # the server's certificates, the session
    assert half_open < HALF_OPEN
    assert grown < 8000  # of 200 connections: what a conservative collector finds on the stack
