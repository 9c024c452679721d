# SPDX-License-Identifier: MIT
"""Ctrl-C at any moment from the tool's first line on: no traceback, exit code 130, nothing left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mirage_py.support import process
from mirage_py.support.errors import UserError

HELLO = Path(__file__).parents[2] / "examples" / "hello"

# Sends SIGINT to itself when a module is looked for.
PROGRAM = """
import os, runpy, signal, sys
wanted, is_ignored = sys.argv.pop(1), sys.argv[1] == "ignored"
if is_ignored:
    sys.argv.pop(1)
# Whoever started the tests in the background had them ignore it.
signal.signal(signal.SIGINT, signal.SIG_IGN if is_ignored else signal.default_int_handler)
class Interrupt:
    def find_spec(self, name, path=None, target=None):
        if name == wanted:
            os.kill(os.getpid(), 2)
sys.meta_path.insert(0, Interrupt())
runpy.run_module("mirage_py", run_name="__main__", alter_sys=True)
"""


@pytest.mark.parametrize(
    "module", ["mirage_py.cli", "click", "mirage_py.cli.options", "mirage_py.configure.codegen", "jinja2"]
)
def test_while_the_tool_is_loaded(tmp_path: Path, module: str) -> None:
    command = [sys.executable, "-c", PROGRAM, module, "configure", "-f", str(HELLO / "config.py"), "-o", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr.strip()) == (130, "", "")
    assert list(tmp_path.iterdir()) == []


def test_ignored_signal_stays_ignored_until_the_work_begins(tmp_path: Path) -> None:
    # As a shell without job control starts what it puts into the background.
    words = ["click", "ignored", "configure", "-f", str(HELLO / "config.py"), "-o", str(tmp_path)]
    assert (
        subprocess.run([sys.executable, "-c", PROGRAM, *words], capture_output=True, timeout=60, check=False).returncode
        == 0
    )
    assert (tmp_path / "Makefile").exists()


def test_nohup_is_heeded() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with process.interruptible("the test"), process.signals_held():
            signal.raise_signal(signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize("number", process.STOP_SIGNALS)
def test_signal_becomes_an_error_and_the_handlers_are_as_before(number: int) -> None:
    before = [signal.getsignal(one) for one in process.STOP_SIGNALS]
    if before[process.STOP_SIGNALS.index(signal.SIGHUP)] is signal.SIG_IGN and number == signal.SIGHUP:
        pytest.skip("run by nohup")
    cleaned = []

    def work() -> None:
        with process.interruptible("the test"):
            try:
                signal.raise_signal(number)
            finally:
                cleaned.append(number)

    with pytest.raises(UserError, match="the test was interrupted") as caught:
        work()
    assert caught.value.exit_code == 128 + number
    assert cleaned == [number]
    assert [signal.getsignal(one) for one in process.STOP_SIGNALS] == before


def test_signal_that_is_held_comes_behind() -> None:
    done: list[str] = []

    def work() -> None:
        with process.interruptible("the test"):
            with process.signals_held():
                signal.raise_signal(signal.SIGTERM)
                done.append("made, and noted")
            done.append("not reached")

    with pytest.raises(UserError):
        work()
    assert done == ["made, and noted"]


def test_signal_while_a_program_is_started_leaves_none_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[subprocess.Popen[str]] = []
    start = process._start

    def slowly(*arguments: Any) -> subprocess.Popen[str]:
        started.append(start(*arguments))
        signal.raise_signal(signal.SIGTERM)
        return started[-1]

    monkeypatch.setattr(process, "_start", slowly)

    def work() -> None:
        with process.interruptible("the test"):
            process.run(["sleep", "60"], package="coreutils", timeout_s=50)

    with pytest.raises(UserError):
        work()
    assert started[0].returncode == -signal.SIGKILL


def test_held_signals_are_no_matter_of_the_programs_started_meanwhile() -> None:
    with process.signals_held():
        child = subprocess.Popen(["sleep", "60"])
    child.send_signal(signal.SIGTERM)
    assert child.wait(10) == -signal.SIGTERM


def test_other_threads_do_without(monkeypatch: pytest.MonkeyPatch) -> None:
    import threading

    failures: list[BaseException] = []

    def work(call: Callable[[], object]) -> None:
        try:
            with process.interruptible("the test"), process.signals_held():
                call()
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=work, args=(os.getpid,))
    thread.start()
    thread.join(10)
    assert failures == []
