# SPDX-License-Identifier: MIT
"""Embedded data in a config.py: what main.py and link.json say of it, and what is refused."""

import base64
import json
from pathlib import Path

import pytest

from mirage_py.configure.codegen import Configuration, configure
from mirage_py.configure.config_file import Registration
from mirage_py.configure.device import Kind, Signature
from mirage_py.configure.devices.application import application
from mirage_py.configure.embedded import Embedded, Folder, collected
from mirage_py.configure.later import Later, Preparation
from mirage_py.configure.plan import MARK, File
from mirage_py.configure.request import Request
from mirage_py.support.errors import UserError

APP = """
class Thing:
    def __init__(self, data, more=()):
        pass
class App:
    def __init__(self, *devices):
        pass
    async def start(self):
        pass
"""


def configured(folder: Path, devices: str) -> Configuration:
    (folder / "app.py").write_text(APP)
    (folder / "config.py").write_text(
        "from mirage_py.dsl import *\n"
        'SETTINGS = {"data": None, "more": None}\n'
        'THING = Kind(name="thing", offers=Signature("thing"), implementation="app.Thing", settings=SETTINGS)\n'
        f'register("app", unikernel("app.App", {devices}))\n'
    )
    return configure(Request(folder / "config.py", None, "unix"))


def texts(configuration: Configuration) -> tuple[str, dict[str, object]]:
    files = {file.path: file.text for file in configuration.plan.files}
    return files["mirage/main.py"], json.loads(files["mirage/link.json"])


def test_embedded_data_are_named_in_main_and_kept_in_link_json(tmp_path: Path) -> None:
    main, link = texts(configured(tmp_path, 'THING(data=Embedded("a.pem", b"\\0x"), more=[Embedded("b", b""), 1])'))
    assert 'thing0 = Thing(data=embedded("a.pem"), more=[embedded("b"), 1])' in main
    assert "from libos.hal.files import embedded" in main
    assert link["embedded"] == [
        {"name": "a.pem", "base64": base64.b64encode(b"\0x").decode()},
        {"name": "b", "base64": ""},
    ]
    assert "_embedded" in link["builtins"]  # type: ignore[operator]


def test_a_folder_is_named_by_its_path_and_checked_at_once(tmp_path: Path) -> None:
    (tmp_path / "www").mkdir()
    with pytest.raises(UserError, match="www has no files"):
        configured(tmp_path, 'files("www")')
    (tmp_path / "www" / "index.html").write_text("x")
    main, link = texts(configured(tmp_path, 'files("www"), files("www")'))
    assert main.count('files0 = Files(name="www", index=embedded("www"))') == 1
    assert "files1" not in main
    assert link["embedded"] == [{"name": "www", "folder": "www", "compress": True}]
    with pytest.raises(UserError, match="there is no folder"):
        configured(tmp_path, 'files("ww")')


def test_without_embedded_data_nothing_is_said_of_it(tmp_path: Path) -> None:
    main, link = texts(configured(tmp_path, "THING(data=1)"))
    assert "embedded" not in link
    assert "libos.hal.files" not in main


def test_one_name_for_two_things_is_refused(tmp_path: Path) -> None:
    one = 'THING(data=Embedded("a", b"1"))'
    configured(tmp_path, f"{one}, THING(data=1, more=[Embedded('a', b'1')])")
    with pytest.raises(UserError, match=r"config.py|two different things are embedded as a"):
        configured(tmp_path, f"{one}, THING(data=Embedded('a', b'2'))")
    with pytest.raises(UserError, match="two different things are embedded as www"):
        collected([Folder("www"), {"x": Folder("www", compress=False)}])


@pytest.mark.parametrize("name", ["", 'a"b', "a\nb", "ü", "x" * 256])
def test_odd_names_are_refused(name: str) -> None:
    with pytest.raises(UserError, match="is not a name for embedded data"):
        Embedded(name, b"")


def test_what_is_not_bytes_or_no_path_is_refused() -> None:
    with pytest.raises(UserError, match="are not bytes"):
        Embedded("a", "text")  # type: ignore[arg-type]
    with pytest.raises(UserError, match="not the path of a folder"):
        Folder("")
    with pytest.raises(UserError, match="not UTF-8"):
        Folder("\udcff")
    with pytest.raises(UserError, match="67,108,865 octets"):
        Embedded("a", bytes((64 << 20) + 1))


def test_secret_data_make_link_json_nobody_elses(tmp_path: Path) -> None:
    for is_secret in (True, False):
        configuration = configured(tmp_path, f'THING(data=Embedded("a.key", b"x", is_secret={is_secret}))')
        files = {file.path: file for file in configuration.plan.files}
        assert [path for path, file in files.items() if file.is_secret] == ["mirage/link.json"] * is_secret
        (entry,) = json.loads(files["mirage/link.json"].text)["embedded"]
        assert entry.get("secret", False) is is_secret


class Counted(Later):
    """Says how often it was asked, and where for."""

    def __init__(self) -> None:
        self.count = 0

    def prepare(self, preparation: Preparation) -> Embedded:
        self.count += 1
        preparation.notes.append("a note")
        preparation.warnings.append(f"a warning for {preparation.output.name}")
        preparation.files.append(File("mirage/more.txt", f"# {MARK}: more\n"))
        return Embedded("later", b"now")


def test_value_that_comes_later(tmp_path: Path) -> None:
    """It is asked for when files are planned, once, and not when config.py is loaded."""
    later = Counted()
    (tmp_path / "app.py").write_text(APP)
    (tmp_path / "config.py").write_text("")
    offers = Signature("thing")
    thing = Kind(name="thing", offers=offers, implementation="app.Thing", settings={"data": None, "more": None})
    root = application("app.App", (thing(data=later), thing(data=b"", more=[later, {"x": later}])), [])
    assert later.count == 0
    configuration = configure(Request(tmp_path / "config.py", None, "unix"), Registration("app", root, 16))
    assert later.count == 1
    main, link = texts(configuration)
    assert 'thing0 = Thing(data=embedded("later"))' in main
    assert 'more=[embedded("later"), {"x": embedded("later")}]' in main
    assert [entry["name"] for entry in link["embedded"]] == ["later"]  # type: ignore[attr-defined]
    assert configuration.notes == ("a note",)
    assert configuration.warnings() == [f"a warning for {tmp_path.name}"]
    assert [file.path for file in configuration.plan.files][-1] == "mirage/more.txt"
