# SPDX-License-Identifier: MIT
"""config.py: what it registers, and how what is wrong in it is reported: one line with file, line and exception."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from mirage_py import dsl
from mirage_py.configure import config_file
from mirage_py.configure.graph import Context, resolve
from mirage_py.support.errors import UserError

GOOD = """
from mirage_py.dsl import generic_stack, key, register, unikernel
register("echo", unikernel("echo.Echo", generic_stack(), keys=[key("port", type="tcp_port", default=7)]))
"""


def load(directory: Path, text: str | bytes) -> config_file.Registration:
    path = directory / "config.py"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return config_file.load(path)


def test_config_registers_name_root_and_memory(tmp_path: Path) -> None:
    found = load(tmp_path, GOOD.replace("7)]))", "7)]), memory_mb=8)"))
    assert (found.name, found.root.kind.implementation, found.memory_mb) == ("echo", "echo.Echo", 8)
    assert [key.name for key in found.root.keys().values()] == ["port"]


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("x = 1\ny = 1 // 0\n", "config.py:2: ZeroDivisionError: integer division or modulo by zero"),
        ("def f():\n    raise ValueError\n\nf()\n", "config.py:2: ValueError"),
        ("from mirage_py.dsl import nonsense\n", "config.py:1: ImportError: cannot import name 'nonsense'"),
        ("import json\njson.loads('{')\n", "config.py:2: JSONDecodeError"),
        ("import sys\nsys.exit(3)\n", "config.py:2: SystemExit: 3"),
        ("a = (\n", "config.py:1: SyntaxError: '(' was never closed"),
        ("a = 1\n  b = 2\n", "config.py:2: SyntaxError: unexpected indent"),
        ("raise Exception('two\\nlines')\n", "config.py:1: Exception: two lines"),
        ("class E(BaseException): pass\nraise E('x')\n", "config.py:2: E: x"),
    ],
)
def test_config_that_raises_is_one_line(tmp_path: Path, text: str, cause: str) -> None:
    with pytest.raises(UserError) as caught:
        load(tmp_path, text)
    assert caught.value.cause.startswith(cause)
    assert "\n" not in str(caught.value)


def test_config_nested_without_end_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^config\.py: an expression is nested too deeply; take it apart"):
        load(tmp_path, "x = " + "-" * 100_000 + "1\n")


def test_doc_of_a_key_is_a_text(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"config\.py:2: key 'a': doc=5 is not a text"):
        load(tmp_path, "from mirage_py.dsl import key\nkey('a', doc=5)\n")


def test_undecodable_config_is_a_syntax_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"config\.py:\d+: SyntaxError"):
        load(tmp_path, b"a = '\xff'\n")
    with pytest.raises(UserError, match=r"config\.py:\d+: SyntaxError"):
        load(tmp_path, b"a = 1\0\n")


def test_error_in_a_file_beside_config_names_that_file(tmp_path: Path) -> None:
    (tmp_path / "shared.py").write_text("def port():\n    return 1 // 0\n")
    with pytest.raises(UserError, match=r"^shared\.py:2: ZeroDivisionError"):
        load(tmp_path, "import shared\nshared.port()\n")


def test_file_beside_config_may_be_shared_and_is_read_anew(tmp_path: Path) -> None:
    for number in (80, 81):
        directory = tmp_path / str(number)
        directory.mkdir()
        (directory / "shared_port.py").write_text(f"PORT = {number}\n")
        found = load(directory, "from shared_port import PORT\n" + GOOD.replace("default=7", "default=PORT"))
        assert [key.default for key in found.root.keys().values()] == [number]
        assert not (directory / "__pycache__").exists()
    assert "shared_port" not in sys.modules


@pytest.mark.parametrize(
    ("line", "part"),
    [
        ('register("echo", unikernel("echo.Echo", "net"))', "'net' is not a device"),
        ('register("echo", ethernet(clock()))', "ethernet: argument device must offer network"),
        ('register("e c", unikernel("echo.Echo"))', "'e c' is not a name for an image"),
        ('register("echo", "echo.Echo")', "'echo.Echo' is not a unikernel"),
        ('register("echo", unikernel("echo.Echo"), memory_mb=0)', "memory_mb=0"),
        ('register("echo", unikernel("Echo"))', "does not name a class of a module"),
        (
            'register("a", unikernel("a.A")); register("b", unikernel("b.B"))',
            "second unikernel is registered: b after a",
        ),
        ('key("port", type="port")', "unknown type 'port'"),
        ('key("port", type="tcp_port", default=70000)', "--port: 70000 is not a TCP port"),
        ('choose("port", {})', "'port' is not a key"),
        ('choose(key("x", stage="configure"), {})', "no options"),
        ('choose(key("x", stage="configure"), {"a": 1, "b": 2})', "TypeError"),
        ('choose(key("x"), {"a": clock()})', "set at boot"),
    ],
)
def test_wrong_use_names_the_line_of_config(tmp_path: Path, line: str, part: str) -> None:
    with pytest.raises(UserError) as caught:
        load(tmp_path, f"from mirage_py.dsl import *\n{line}\n")
    assert caught.value.cause.startswith("config.py:2: ")
    assert part in caught.value.cause


def test_error_in_an_option_that_is_made_late_names_its_line(tmp_path: Path) -> None:
    text = """from mirage_py.dsl import *
by = key("which", type="choice", choices=["a", "b"], default="a", stage="configure")
def late():
    return 1 // 0
register("x", unikernel("x.X", choose(by, {"a": clock(), "b": late})))
"""
    with pytest.raises(UserError, match=r"config\.py:4: ZeroDivisionError"):
        load(tmp_path, text)


def test_nothing_registered_and_no_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"config\.py registers nothing"):
        load(tmp_path, "")
    with pytest.raises(UserError, match=r"there is no config\.py in .*; go to the directory"):
        config_file.load(tmp_path / "sub" / "config.py")
    with pytest.raises(UserError, match="cannot read"):
        config_file.load(tmp_path)


def test_config_is_no_program(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="not a program"):
        dsl.register("echo", dsl.unikernel("echo.Echo"))
    (tmp_path / "config.py").write_text(GOOD)
    done = subprocess.run([sys.executable, "config.py"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert "config.py is not a program; run `mirage-py configure` beside it" in done.stderr


def test_choose_by_a_key_of_the_users(tmp_path: Path) -> None:
    text = """from mirage_py.dsl import *
by = key("which", type="choice", choices=["c", "r"], default="c", stage="configure")
register("x", unikernel("x.X", choose(by, {"c": clock(), "r": clock})))
"""
    found = load(tmp_path, text)
    for value in ("c", "r"):
        assert resolve(found.root, Context("hvt", {"which": value})).of_kind("clock")


def test_every_name_of_the_dsl_is_there() -> None:
    for name in dsl.__all__:
        assert hasattr(dsl, name), name
