# SPDX-License-Identifier: MIT
"""mirage_py.run.image: finding the image, and reading what it needs."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from mirage_py.run.image import Port, from_document, load
from mirage_py.run.options import RunOptions
from mirage_py.support.errors import UserError
from tests.run.guest import tiny

CONFIG = {
    "format": 1,
    "name": "echo",
    "target": "hvt",
    "net": "direct",
    "memory_mb": 32,
    "ports": [{"proto": "tcp", "key": "port", "port": 7}],
    "keys": {"runtime": [{"name": "ipv4", "default": "10.0.0.2/24"}]},
}


def configured(directory: Path, text: str | None = None) -> None:
    (directory / "mirage").mkdir()
    (directory / "mirage" / "config.json").write_text(json.dumps(CONFIG) if text is None else text)


def refusal(options: RunOptions) -> UserError:
    with pytest.raises(UserError) as caught:
        load(options)
    return caught.value


def test_nothing_configured(tmp_path: Path) -> None:
    assert "mirage-py configure" in refusal(RunOptions(output_dir=tmp_path)).remedy


@pytest.mark.parametrize("text", ["", "{}", "[]", "{"])
def test_damaged_configuration(tmp_path: Path, text: str) -> None:
    configured(tmp_path, text)
    assert "cannot be read" in refusal(RunOptions(output_dir=tmp_path)).cause


def test_not_built(tmp_path: Path) -> None:
    configured(tmp_path)
    error = refusal(RunOptions(output_dir=tmp_path))
    assert "not built" in error.cause
    assert "make" in error.remedy


def test_no_such_file(tmp_path: Path) -> None:
    assert "No such file" in refusal(RunOptions(image=tmp_path / "x")).cause


def test_no_elf_file(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("#!/bin/sh\n")
    assert "not an image" in refusal(RunOptions(image=tmp_path / "x")).cause


@pytest.mark.skipif(shutil.which("gcc") is None, reason="gcc is not installed")
def test_note_says_what_is_needed(tmp_path: Path) -> None:
    image = load(RunOptions(image=tiny.build(tmp_path / "tiny.hvt", memory_mb=8, **tiny.NETWORK_NOTE)))
    assert (image.name, image.target, image.memory_mb) == ("tiny", "hvt", 8)
    assert image.needs_network
    assert image.ports == [Port(7, "tcp", "port")]
    assert "ipv4" in image.keys


def test_configuration_says_what_is_needed_without_a_note(tmp_path: Path) -> None:
    configured(tmp_path)
    (tmp_path / "dist").mkdir()
    path = tmp_path / "dist" / "echo.hvt"
    shutil.copyfile("/bin/true", path)
    image = load(RunOptions(output_dir=tmp_path))
    assert (image.path, image.memory_mb, image.needs_network) == (path, 32, True)
    assert load(RunOptions(image=path)).defaults == {"ipv4": "10.0.0.2/24"}


def test_elf_file_of_somebody_else() -> None:
    assert "not one that mirage-py built" in refusal(RunOptions(image=Path("/bin/true"))).cause


def test_what_a_bootable_images_note_says_besides() -> None:
    document = {**CONFIG, "minimum_memory_mb": 3, "power_button": True}
    image = from_document(Path("echo.hvt"), document)
    assert (image.minimum_memory_mb, image.has_power_button) == (3, True)
    older = from_document(Path("echo.hvt"), CONFIG)
    assert (older.minimum_memory_mb, older.has_power_button) == (1, False)
