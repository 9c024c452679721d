# SPDX-License-Identifier: MIT
"""`mirage-py new`: what it makes can be configured, and is what examples/ has."""

import os
from pathlib import Path

import pytest

from mirage_py.configure import scaffold
from mirage_py.configure.codegen import configure
from mirage_py.configure.request import Request
from mirage_py.support.errors import UserError

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


@pytest.mark.parametrize("template", scaffold.templates())
@pytest.mark.parametrize("target", ["unix", "hvt"])
def test_what_is_made_can_be_configured(tmp_path: Path, template: str, target: str) -> None:
    made = scaffold.make(tmp_path / "my-app", template)
    assert tmp_path / "my-app" / ".gitignore" in made
    configuration = configure(Request(tmp_path / "my-app" / "config.py", None, target))
    assert configuration.registration.name == "my-app"


@pytest.mark.parametrize("template", scaffold.templates())
def test_it_is_the_example_of_that_name(tmp_path: Path, template: str) -> None:
    made = scaffold.make(tmp_path / template, template)
    here = {str(path.relative_to(tmp_path / template)): path.read_bytes() for path in made}
    del here[".gitignore"]
    there = EXAMPLES / template
    skipped = ("mirage", "dist", "Makefile", "__pycache__")
    assert here == {
        str(path.relative_to(there)): path.read_bytes()
        for path in there.rglob("*")
        if path.is_file() and path.relative_to(there).parts[0] not in skipped
    }


def test_an_empty_directory_may_be_there(tmp_path: Path) -> None:
    (tmp_path / "site").mkdir()
    assert scaffold.make(tmp_path / "site")


@pytest.mark.parametrize("name", ["7up", "a b", "..", "ü", "a.b"])
def test_a_name_that_is_none_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(UserError, match="is not a name for an image"):
        scaffold.make(tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_what_is_there_is_not_touched(tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").write_text("x")
    (tmp_path / "file").write_text("x")
    (tmp_path / "link").symlink_to("nowhere")
    for name in ("full", "file", "link"):
        with pytest.raises(UserError, match="is there already"):
            scaffold.make(tmp_path / name)
    assert (tmp_path / "full" / "x").read_text() == "x"


def test_a_template_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no template 'x'"):
        scaffold.make(tmp_path / "a", "x")


def test_a_directory_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(UserError, match="cannot write"):
        scaffold.make(tmp_path / "file" / "site")
    assert os.listdir(tmp_path) == ["file"]
