# SPDX-License-Identifier: MIT
"""Where the tool's data is."""

from pathlib import Path

import pytest

from mirage_py.run import state
from mirage_py.support import paths
from mirage_py.support.errors import UserError


def test_the_guest_library_is_inside_the_package() -> None:
    assert paths.guest_dir() == Path(paths.__file__).parents[1] / "guest"


def test_in_a_checkout_the_data_is_beside_the_package() -> None:
    assert (paths.targets_dir() / "common" / "port_abi.h").is_file()
    assert paths.templates_dir().name == "templates"


def test_the_environment_moves_the_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MIRAGE_PY_CACHE", str(tmp_path / "a b"))
    assert paths.cache_dir() == tmp_path / "a b"


def test_the_default_cache_is_the_users(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("MIRAGE_PY_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert paths.cache_dir() == tmp_path / "mirage-py"


def test_a_relative_path_would_be_another_one_in_each_directory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MIRAGE_PY_CACHE", "my/cache")
    with pytest.raises(
        UserError, match=r"MIRAGE_PY_CACHE=my/cache is not an absolute path; .*MIRAGE_PY_CACHE=/.*/my/c"
    ):
        paths.cache_dir()
    monkeypatch.setenv("MIRAGE_PY_STATE", ".")
    with pytest.raises(UserError, match=r"MIRAGE_PY_STATE=\. is not an absolute path"):
        state.state_dir()
