# SPDX-License-Identifier: MIT
"""Folders that go into an image: what is found, and what is refused with a line."""

import os
from pathlib import Path

import pytest

from mirage_py.support import folder
from mirage_py.support.errors import UserError
from mirage_py.support.folder import find_files


def names(top: Path) -> list[str]:
    return [file.name for file in find_files(top)]


def put(top: Path, *paths: str) -> None:
    for path in paths:
        (top / path).parent.mkdir(parents=True, exist_ok=True)
        (top / path).write_text(path)


def test_files_are_named_as_a_url_has_them_and_sorted_by_octets(tmp_path: Path) -> None:
    put(tmp_path, "index.html", "a/b c.txt", "a/ü.txt", "a.txt", "Z", "100%.txt", "a?b#c")
    assert names(tmp_path) == ["/100%.txt", "/Z", "/a.txt", "/a/b c.txt", "/a/ü.txt", "/a?b#c", "/index.html"]


def test_names_with_a_dot_in_front_stay_out_but_for_the_well_known(tmp_path: Path) -> None:
    put(tmp_path, "a", ".git/config", ".htpasswd", "b/.a.swp", ".well-known/security.txt", ".well-known/.x")
    assert names(tmp_path) == ["/.well-known/security.txt", "/a"]


def test_links_inside_of_the_folder_are_followed(tmp_path: Path) -> None:
    put(tmp_path, "a/one")
    (tmp_path / "b").symlink_to("a")
    (tmp_path / "two").symlink_to("a/one")
    assert names(tmp_path) == ["/a/one", "/b/one", "/two"]


def test_the_folder_itself_may_be_a_link(tmp_path: Path) -> None:
    put(tmp_path, "real/one")
    (tmp_path / "www").symlink_to("real")
    assert names(tmp_path / "www") == ["/one"]


def refused(top: Path) -> str:
    with pytest.raises(UserError) as caught:
        find_files(top)
    assert caught.value.remedy
    assert "\n" not in caught.value.cause
    return caught.value.cause


def test_a_link_that_leads_out_is_refused(tmp_path: Path) -> None:
    put(tmp_path, "www/a", "secret")
    (tmp_path / "www" / "b").symlink_to("../secret")
    assert "www/b is a link that leads out of" in refused(tmp_path / "www")
    (tmp_path / "www" / "b").unlink()
    (tmp_path / "www" / "b").symlink_to(tmp_path)
    assert "leads out of" in refused(tmp_path / "www")


def test_a_link_in_a_circle_or_to_nothing_is_refused(tmp_path: Path) -> None:
    put(tmp_path, "a/one")
    (tmp_path / "a" / "up").symlink_to("..")
    assert "a/up is a link to a folder that it is in" in refused(tmp_path)
    (tmp_path / "a" / "up").unlink()
    (tmp_path / "a" / "up").symlink_to("up")
    assert "a/up cannot be read" in refused(tmp_path)
    (tmp_path / "a" / "up").unlink()
    (tmp_path / "a" / "up").symlink_to("gone")
    assert "a/up cannot be read: No such file" in refused(tmp_path)


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert "pipe is neither a file nor a folder" in refused(tmp_path)


@pytest.mark.parametrize("name", [b"a\nb", b"a\x7f", b"back\\slash", b"\xff\xfe.html"])
def test_odd_names_are_refused(tmp_path: Path, name: bytes) -> None:
    (tmp_path / os.fsdecode(name)).write_text("x")
    assert "the name" in refused(tmp_path)


def test_folders_that_are_none_or_empty_are_refused(tmp_path: Path) -> None:
    assert "there is no folder" in refused(tmp_path / "www")
    put(tmp_path, "file", "empty/.hidden")
    assert "is not a folder" in refused(tmp_path / "file")
    assert "empty has no files" in refused(tmp_path / "empty")


def test_too_many_and_too_long_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path, "a", "b", "c")
    monkeypatch.setattr(folder, "MAX_FILES", 2)
    assert "has more than 2 files" in refused(tmp_path)
    monkeypatch.setattr(folder, "MAX_FILES", 10)
    monkeypatch.setattr(folder, "MAX_PATH_BYTES", 5)
    put(tmp_path, "longer")
    assert "longer than 5 octets" in refused(tmp_path)
