# SPDX-License-Identifier: MIT
"""Guest classes read from their syntax trees: constructors, inherited members, classes imported from elsewhere."""

from __future__ import annotations

from pathlib import Path

import pytest

from mirage_py.configure.guest_class import GuestClass, find_class
from mirage_py.configure.resolver import Trees
from mirage_py.support import paths
from mirage_py.support.errors import UserError


def read(directory: Path, text: str, **others: str) -> GuestClass:
    for name, content in {"cup": text, **others}.items():
        path = directory / (name.replace("__", "/") + ".py")
        path.parent.mkdir(exist_ok=True)
        path.write_text(content)
    return find_class("cup", "Cup", Trees(directory, paths.guest_dir()))


def test_constructor_with_every_form_of_parameter(tmp_path: Path) -> None:
    found = read(tmp_path, "class Cup:\n    def __init__(self, a, b, /, c, d=1, *, e, f=2): pass\n").constructor
    assert found.parameters == ("a", "b", "c", "d", "e", "f")
    assert found.required == {"a", "b", "c", "e"}
    assert found.keyword_only == {"e", "f"}
    assert not found.is_open
    assert found.where == "cup.py:2"


@pytest.mark.parametrize("signature", ["self, *args", "self, **named", "self, a, *args, **named"])
def test_open_constructor(tmp_path: Path, signature: str) -> None:
    assert read(tmp_path, f"class Cup:\n    def __init__({signature}): pass\n").constructor.is_open


def test_class_without_constructor_takes_nothing(tmp_path: Path) -> None:
    found = read(tmp_path, "class Cup: pass\n").constructor
    assert found.parameters == ()
    assert not found.is_open


def test_members_are_methods_class_attributes_and_what_is_assigned_to_self(tmp_path: Path) -> None:
    found = read(
        tmp_path,
        "class Cup:\n    handle: int = 1\n    a = b = 2\n    def fill(self):\n        self.level = 1\n"
        "    @staticmethod\n    def make(size): pass\n    async def drink(self): pass\n",
    )
    assert all(found.has(name) for name in ("handle", "a", "b", "fill", "level", "make", "drink"))
    assert not found.has("lid")
    assert found.methods["make"].parameters == ("size",)
    assert found.methods["drink"].is_coroutine


def test_inherited_members_and_constructor(tmp_path: Path) -> None:
    found = read(
        tmp_path,
        "from pot import Vessel\nclass Cup(Vessel):\n    def drink(self): pass\n",
        pot="class Thing:\n    def weigh(self): pass\nclass Vessel(Thing, object):\n    def __init__(self, size): 0\n",
    )
    assert found.constructor.parameters == ("size",)
    assert found.has("weigh")
    assert not found.has("lid")


def test_base_that_cannot_be_read_may_have_anything(tmp_path: Path) -> None:
    found = read(tmp_path, "import io\nclass Cup(io.IOBase): pass\n")
    assert found.has("anything")
    assert found.constructor.is_open


def test_class_that_answers_for_any_name_may_have_it(tmp_path: Path) -> None:
    assert read(tmp_path, "class Cup:\n    def __getattr__(self, name): return 1\n").has("anything")


@pytest.mark.parametrize(
    ("text", "others"),
    [
        ("from pot import Cup\n", {"pot": "class Cup:\n    def __init__(self, a): pass\n"}),
        ("from pot import Mug as Cup\n", {"pot": "class Mug:\n    def __init__(self, a): pass\n"}),
        (
            "from set.pot import Cup\n",
            {"set__pot": "from .mug import Cup\n", "set__mug": "class Cup:\n    def __init__(self, a): 0\n"},
        ),
        (
            "try:\n    from pot import Cup\nexcept ImportError:\n    pass\n",
            {"pot": "class Cup:\n    def __init__(self, a): 0\n"},
        ),
        ("if True:\n    class Cup:\n        def __init__(self, a): pass\n", {}),
    ],
)
def test_class_is_followed_to_where_it_is_written(tmp_path: Path, text: str, others: dict[str, str]) -> None:
    assert read(tmp_path, text, **others).constructor.parameters == ("a",)


def test_imports_in_a_circle_and_missing_classes_end(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"cup\.py has no class Cup"):
        read(tmp_path, "from pot import Cup\n", pot="from cup import Cup\n")
    with pytest.raises(UserError, match=r"cup\.py has no class Cup"):
        read(tmp_path, "from nowhere import Cup\n")
    with pytest.raises(UserError, match=r"no module 'libos\.net\.nothing' in the library OS"):
        find_class("libos.net.nothing", "Nothing", Trees(tmp_path, paths.guest_dir()))
