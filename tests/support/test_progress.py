# SPDX-License-Identifier: MIT
"""Progress: silent for what is quick, a line for what is not."""

import io
import time

import pytest

from mirage_py.support import progress
from mirage_py.support.progress import Progress


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "PATIENCE_S", 0.05)


def test_a_quick_step_says_nothing() -> None:
    stream = io.StringIO()
    with Progress(stream=stream).step("a thing"):
        pass
    time.sleep(0.1)
    assert stream.getvalue() == ""


def test_a_slow_step_is_announced_and_its_end_told() -> None:
    stream = io.StringIO()
    with Progress(stream=stream).step("a thing"):
        time.sleep(0.2)
        assert stream.getvalue() == "mirage-py: a thing ...\n"
    assert stream.getvalue().splitlines()[1].startswith("mirage-py: a thing: done in 0.")


def test_a_step_that_fails_hands_the_error_on() -> None:
    stream = io.StringIO()
    with pytest.raises(ValueError, match="no"), Progress(stream=stream).step("a thing"):
        raise ValueError("no")


def test_quiet_is_quiet_and_verbose_tells_details() -> None:
    stream = io.StringIO()
    quiet = Progress(quiet=True, stream=stream)
    quiet.note("a note")
    with quiet.step("a thing"):
        time.sleep(0.1)
    assert stream.getvalue() == ""
    Progress(stream=stream).detail("a detail")
    assert stream.getvalue() == ""
    Progress(verbose=True, stream=stream).detail("a detail")
    assert stream.getvalue() == "mirage-py: a detail\n"


@pytest.mark.parametrize(("kind", "animated"), [("xterm", True), ("dumb", False)])
def test_a_terminal_gets_an_animation_unless_it_cannot(
    monkeypatch: pytest.MonkeyPatch, kind: str, animated: bool
) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setenv("TERM", kind)
    stream = Terminal()
    with Progress(stream=stream).step("a thing"):
        time.sleep(0.3)
    assert "a thing ..." in stream.getvalue()
    assert ("\x1b[" in stream.getvalue()) == animated
