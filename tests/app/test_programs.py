# SPDX-License-Identifier: MIT
"""The application's side of the guest, on the interpreter that images have: programs/*.py, each linked for unix.

A program runs its checks one after the other and prints a line for each; a test here is one such run.
"""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from mirage_py.build import frozen, runtime
from mirage_py.configure.resolver import APPLICATION, BUILTIN, MICROPYTHON, Trees, resolve_imports
from mirage_py.support import paths
from tests.conftest import Guest
from tests.contract import images

pytestmark = pytest.mark.build

PROGRAMS = Path(__file__).with_name("programs")
TIMEOUT_S = 240


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Links a program with all that it imports; returns the executable."""
    built: dict[str, Path] = {}

    def obtain(program: str) -> Path:
        if program not in built:
            built[program] = link(program, ["net", "socket"], tmp_path_factory.mktemp(program))
        return built[program]

    return obtain


@pytest.fixture
def run(image: Callable[[str], Path]) -> Callable[..., str]:
    """Runs a program to its end; returns its console."""

    def start(program: str, *args: str) -> str:
        command = [image(program), *args]
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=TIMEOUT_S, stdin=subprocess.DEVNULL, check=False
        )
        return done.stdout + done.stderr

    return start


def link(program: str, features: Sequence[str], folder: Path, *more: str | Path) -> Path:
    """more: for the compiler, as sources in C beside the program."""
    engine = images.obtain("unix", features)
    roots = {APPLICATION: PROGRAMS, MICROPYTHON: engine.source}
    source = PROGRAMS / f"{program}.py"
    found = resolve_imports(source.read_text(), Trees(PROGRAMS, paths.guest_dir())).modules
    modules = [frozen.Module("main.py", source, "app")]
    for module in found:
        if module.name != "main.py":
            root = roots.get(module.origin, paths.guest_dir())
            modules.append(frozen.Module(module.name, root / module.path, module.origin))
    compiled = frozen.compile_modules([frozen.read(module) for module in modules], folder / "mpy")
    frozen_c, image = folder / "frozen_content.c", folder / "image"
    frozen.freeze(compiled, engine, frozen_c)
    command = [runtime.COMPILER, *engine.flags("cflags"), "-O0", "-g0", "-w", frozen_c, *more, engine.archive]
    command += runtime.module_flags(BUILTIN, ())
    subprocess.run([*command, *engine.flags("ldflags"), "-o", image], cwd=engine.working_directory, check=True)
    return image


def assert_passed(console: str) -> None:
    lines = console.splitlines()
    assert "done" in lines, console
    assert not any(line.startswith("FAILED") for line in lines), console
    assert sum(line.startswith("ok ") for line in lines) > 5, console


def test_console_input(image: Callable[[str], Path], spawn: Callable[[Sequence[object]], Guest]) -> None:
    guest = spawn([image("console_checks")])
    guest.expect("type")
    time.sleep(0.2)
    guest.type(b"first\n\n")
    guest.type(b"x" * 5000 + b"\nno newline")
    assert guest.process.stdin is not None
    guest.process.stdin.close()
    guest.wait()
    assert guest.output.splitlines()[1:] == [
        "ok line_by_line_and_the_end",
        "ok others_run_while_one_waits_for_input",
        "done",
    ]


def test_event_loop(run: Callable[..., str]) -> None:
    assert_passed(run("loop_checks"))


def assert_told_what_an_application_does_wrong(console: str) -> None:
    assert "TypeError: not a coroutine: write `async def`" in console
    told = [line for line in console.splitlines() if "start() has returned" in line]
    assert len(told) == 1, console
    assert re.match(r"app: warning: start\(\) has returned, and listening on port \d+23 ends with it: `await", told[0])


def test_stack_over_system_sockets(run: Callable[..., str]) -> None:
    console = run("socket_checks")
    assert_passed(console)
    assert_told_what_an_application_does_wrong(console)


@pytest.mark.parametrize("link", ["plain", "offloads"])
def test_stack_over_our_own(run: Callable[..., str], link: str) -> None:
    console = run("direct_checks", link)
    assert_passed(console)
    assert_told_what_an_application_does_wrong(console)


def test_task_that_holds_the_loop_is_named(run: Callable[..., str]) -> None:
    lines = [line for line in run("loop_checks").splitlines() if line.startswith("loop: warning")]
    assert [re.sub(r"2\.\d s", "2 s", line) for line in lines] == [
        "loop: warning: the task outer_ends > inner held the loop for 2 s",
        "loop: warning: the task outer_goes_on > inner held the loop for 2 s",
    ]


def test_streams(run: Callable[..., str]) -> None:
    assert_passed(run("stream_checks"))


@pytest.mark.parametrize("below", ["sockets", "cable"])
def test_tls_flows_over_either_stack(run: Callable[..., str], below: str) -> None:
    assert_passed(run("tls_checks", below))


def test_addresses_and_names(run: Callable[..., str]) -> None:
    assert_passed(run("names_checks"))


def test_what_befalls_a_card_is_said(run: Callable[..., str]) -> None:
    assert_passed(run("device_checks"))
