# SPDX-License-Identifier: MIT
"""Coroutines that are called and dropped, and handlers that are none, are told at configure time."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from mirage_py.cli.commands import cli
from mirage_py.configure.coroutines import warnings
from mirage_py.configure.resolver import Trees, resolve_module
from mirage_py.support import paths

SERVER = """\
import asyncio

class Tea:
    def __init__(self, stack):
        self.stack = stack

    async def start(self):
        self.stack.tcp.listen(7, self.handle)
        %s

    %s handle(self, flow):
        data = 1
        %s

    async def later(self):
        pass

async def brew():
    pass
"""


def told(
    tmp_path: Path, start: str = "await self.stack.listen()", kind: str = "async def", handle: str = ""
) -> list[str]:
    (tmp_path / "tea.py").write_text(SERVER % (start, kind, handle or "pass"))
    trees = Trees(tmp_path, paths.guest_dir())
    return warnings(resolve_module("tea", trees), trees)


@pytest.mark.parametrize(
    ("statement", "shown"),
    [
        ("flow.write(b'x')", "flow.write"),
        ("flow.close()", "flow.close"),
        ("asyncio.sleep(1)", "asyncio.sleep"),
        ("asyncio.wait_for(flow.read(), 1)", "asyncio.wait_for"),
        ("self.later()", "self.later"),
        ("brew()", "brew"),
        ("self.stack.listen()", "self.stack.listen"),
        ("while data:\n            flow.write(b'x')", "flow.write"),
    ],
)
def test_coroutine_that_is_dropped(tmp_path: Path, statement: str, shown: str) -> None:
    line = 13 + statement.count("\n")
    text = f"tea.py:{line}: {shown}() is a coroutine, and does nothing by itself: write `await {shown}(...)`"
    assert told(tmp_path, handle=statement) == [text]


@pytest.mark.parametrize(
    "statement",
    [
        "await flow.write(b'x')",
        "flow.abort()",
        "flow.shutdown_write()",
        "asyncio.create_task(brew())",
        "task = brew()",
        "data.write(b'x')",
        "return flow.write(b'x')",
        "self.stack.tcp.listen(8, self.later)",
    ],
)
def test_what_is_none_or_not_dropped(tmp_path: Path, statement: str) -> None:
    assert told(tmp_path, handle=statement) == []


def test_connected_flow_is_one_too(tmp_path: Path) -> None:
    start = "flow = await self.stack.tcp.connect('10.0.0.1', 7)\n        flow.write(b'x')"
    assert [text.partition(": ")[2].partition(" ")[0] for text in told(tmp_path, start)] == ["flow.write()"]


def test_handler_that_is_no_coroutine(tmp_path: Path) -> None:
    text = "tea.py:11: handle() handles connections, and is no coroutine: write `async def`"
    assert told(tmp_path, kind="def") == [text]
    assert told(tmp_path, kind="def", handle="return self.later()") == []
    assert told(tmp_path, kind="def", handle="yield") == []
    start = "await asyncio.start_server(self.handle, '0.0.0.0', 8)"
    (tmp_path / "tea.py").write_text(
        (SERVER % (start, "def", "pass")).replace("self.stack.tcp.listen(7, self.handle)", "")
    )
    trees = Trees(tmp_path, paths.guest_dir())
    assert warnings(resolve_module("tea", trees), trees) == [text]


@pytest.mark.parametrize("example", ["echo", "hello", "relay"])
def test_examples_have_none(example: str) -> None:
    folder = Path(__file__).parents[2] / "examples" / example
    trees = Trees(folder, paths.guest_dir())
    assert warnings(resolve_module(example, trees), trees) == []


def test_configure_tells(tmp_path: Path) -> None:
    (tmp_path / "tea.py").write_text(SERVER % ("pass", "async def", "flow.write(b'x')"))
    (tmp_path / "config.py").write_text(
        "from mirage_py.dsl import generic_stack, register, unikernel\n"
        "register('tea', unikernel('tea.Tea', generic_stack()))\n"
    )
    done = CliRunner().invoke(cli, ["configure", "-f", str(tmp_path / "config.py")])
    assert done.exit_code == 0
    assert "warning: tea.py:13: flow.write() is a coroutine" in done.output
