# SPDX-License-Identifier: MIT
"""What all tests share: grouping for xdist, and programs that are gone when the test is.

The guest's modules (mirage_py/guest) and the fakes of the C modules (tests/fakes) come onto sys.path through
`pythonpath` in pyproject.toml.
"""

import importlib.metadata
import os
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator, Sequence

import hypothesis
import pytest

# No test fails for being slow: hypothesis has a deadline of its own for each example.
hypothesis.settings.register_profile("mirage-py")
hypothesis.settings.load_profile("mirage-py")

# `make test` sets it: there, a missing program is a failure of the set-up, not a reason to skip.
REQUIRE_ALL = bool(os.environ.get("MIRAGE_PY_REQUIRE_ALL"))


def pytest_configure(config: pytest.Config) -> None:
    """Programs that tests start as `python -m mirage_py` find this checkout, installed in the environment or not."""
    try:
        importlib.metadata.distribution("mirage-py")
    except importlib.metadata.PackageNotFoundError:
        os.environ["PYTHONPATH"] = str(config.rootpath)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Machines and stopwatches share one worker, so that they do not compete with each other for the processor."""
    for item in items:
        shared = any(item.get_closest_marker(name) for name in ("qemu", "timing", "tap"))
        if shared and item.get_closest_marker("xdist_group") is None:
            item.add_marker(pytest.mark.xdist_group("machine"))


def need(program: str, package: str) -> str:
    """The path of `program`; the test is skipped where it is not installed (a failure under `make test`)."""
    path = shutil.which(program)
    if path is None:
        message = f"{program} is not installed (Debian package {package})"
        if REQUIRE_ALL:
            pytest.fail(message)
        pytest.skip(message)
    return path


class Guest:
    """A running machine or process: its console as text, and its end."""

    def __init__(self, argv: Sequence[str]) -> None:
        self.argv = list(argv)
        self._changed = threading.Condition()
        self._output = ""
        self._ended = False
        self.process = subprocess.Popen(
            self.argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, bufsize=0
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        while data := os.read(self.process.stdout.fileno(), 65536):
            with self._changed:
                self._output += data.decode("utf-8", "replace").replace("\r\n", "\n")
                self._changed.notify_all()
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    @property
    def output(self) -> str:
        """Everything on the console so far."""
        with self._changed:
            return self._output

    def expect(self, text: str, timeout: float = 30) -> str:
        """Waits (seconds) until `text` has been on the console; returns the console so far."""
        with self._changed:
            self._changed.wait_for(lambda: text in self._output or self._ended, timeout)
            if text not in self._output:
                state = "ended" if self._ended else f"{timeout} s passed"
                raise AssertionError(f"{state} without {text!r}; the console had:\n{self._output}")
            return self._output

    def type(self, data: bytes) -> None:
        """Types on the console."""
        assert self.process.stdin is not None
        self.process.stdin.write(data)

    def wait(self, timeout: float = 30) -> int:
        """Waits (seconds) for the end; returns the exit code, and the console is complete then."""
        try:
            code = self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"still running after {timeout} s; the console had:\n{self.output}") from None
        self._reader.join(5)
        return code

    def kill(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(10)
        self._reader.join(5)
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                pipe.close()


@pytest.fixture
def spawn() -> Iterator[Callable[[Sequence[str]], Guest]]:
    """Starts programs; whatever still runs when the test ends is killed."""
    guests: list[Guest] = []

    def start(argv: Sequence[str]) -> Guest:
        guests.append(Guest([str(word) for word in argv]))
        return guests[-1]

    yield start
    for guest in guests:
        guest.kill()
