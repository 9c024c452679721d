# SPDX-License-Identifier: MIT
"""The stack on the interpreter that it is for: the same numbers as on CPython, and memory that runs out anywhere."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from mirage_py.build import frozen, runtime
from mirage_py.configure.resolver import BUILTIN
from mirage_py.support import paths
from tests.contract.images import obtain

APPS = Path(__file__).with_name("apps")
TRANSFER, CODECS = APPS / "transfer.py", APPS / "codecs.py"


def build(app, folder):
    """An executable for unix with an application and the stack in it."""
    engine = obtain("unix", ("net",))
    guest = paths.guest_dir()
    modules = [frozen.Module("main.py", app, "app")]
    files = [guest / name for name in ("libos/__init__.py", "libos/hal/dma.py")]
    for layer in ("wire", "net"):
        files += sorted((guest / "libos" / layer).rglob("*.py"))
    modules += [frozen.Module(str(path.relative_to(guest)), path, "libos") for path in files]
    compiled = frozen.compile_modules([frozen.read(module) for module in modules], folder / "mpy")
    frozen_c, image = folder / "frozen_content.c", folder / "image"
    frozen.freeze(compiled, engine, frozen_c)
    command = [runtime.COMPILER, *engine.flags("cflags"), "-O0", "-g0", "-w", frozen_c, engine.archive]
    command += runtime.module_flags(BUILTIN, ())
    subprocess.run([*command, *engine.flags("ldflags"), "-o", image], cwd=engine.working_directory, check=True)
    return image


def run(command, **environment):
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=120, env={**os.environ, **environment}, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.splitlines()


def run_on_cpython(app):
    fakes = Path(__file__).parents[1] / "fakes"
    return run([sys.executable, app], PYTHONPATH=os.pathsep.join([str(paths.guest_dir()), str(fakes)]))


@pytest.fixture(scope="module")
def on_micropython(tmp_path_factory):
    return run([build(TRANSFER, tmp_path_factory.mktemp("image"))])


@pytest.fixture(scope="module")
def on_cpython():
    return run_on_cpython(TRANSFER)


@pytest.mark.build
def test_codecs_on_micropython_and_cpython_are_the_same(tmp_path):
    ours = run([build(CODECS, tmp_path)])
    codecs = {path.stem for path in (paths.guest_dir() / "libos" / "wire").glob("[a-z]*.py")}
    assert codecs <= {line.split()[1] for line in ours}, "a codec is not tried"
    assert ours == run_on_cpython(CODECS)


@pytest.mark.build
def test_transfers_on_micropython_and_cpython_are_the_same(on_micropython, on_cpython):
    ours = [line for line in on_micropython if line.startswith("at ")]
    assert len(ours) == 8
    assert ours == [line for line in on_cpython if line.startswith("at ")]
    assert all("TCPMTUPSuccess" in line for line in ours[-2:])  # the path takes small packets only


@pytest.mark.build
def test_weeks_of_silence_on_micropython_and_cpython_are_the_same(on_micropython, on_cpython):
    ours = [line for line in on_micropython if line.startswith("weeks ")]
    assert len(ours) == 56
    assert ours == [line for line in on_cpython if line.startswith("weeks ")]
    for line in ours[::2]:
        assert line.endswith("[3000, 3000, 3000, 3000, 3000] [(0, 0), (0, 0)]"), line
    for line in ours[1::2]:
        assert line.endswith("[('ESTABLISHED', 0), ('ESTABLISHED', 0)]"), line


@pytest.mark.build
def test_fin_that_fills_the_window_on_micropython_and_cpython_is_the_same(on_micropython, on_cpython):
    ours = [line for line in on_micropython if line.startswith("end ")]
    assert ours == ["end CLOSE-WAIT FIN-WAIT-2 True 0", "end 0 0 0", "end True True"] * 2
    assert ours == [line for line in on_cpython if line.startswith("end ")]


@pytest.mark.build
def test_memory_that_runs_out_anywhere_loses_nothing(on_micropython):
    verdicts = [line for line in on_micropython if line.startswith("seed ")]
    assert len(verdicts) == 29
    for line in verdicts:
        assert line.endswith("intact True error None"), line
    left = [line for line in on_micropython if line.startswith("left ")]
    assert set(left) == {f"left {[(0,) * 6] * 2}"}


@pytest.mark.build
def test_datagrams_in_fragments_are_the_same_and_memory_that_runs_out_leaves_nothing(on_micropython, on_cpython):
    ours = [line for line in on_micropython if line.startswith("datagrams at ")]
    assert len(ours) == 2
    assert ours == [line for line in on_cpython if line.startswith("datagrams at ")]
    verdicts = [line for line in on_micropython if " intact " in line and line.startswith("datagrams ")]
    assert len(verdicts) == 7
    for line in verdicts:
        assert line.endswith("intact True pings True"), line
    left = [line for line in on_micropython if line.startswith("datagrams left ")]
    assert set(left) == {f"datagrams left {[(0,) * 5] * 2}"}
