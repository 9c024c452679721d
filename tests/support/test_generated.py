# SPDX-License-Identifier: MIT
"""What configure wrote, read again: whatever became of a file, one line says the one thing that helps."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from mirage_py.support import generated
from mirage_py.support.errors import UserError

GOOD = {"format": 1, "name": "tea", "cups": 3}
SHAPE = {"name": str, "cups": int}


def read(folder: Path, content: bytes) -> dict[str, object]:
    (folder / "mirage").mkdir(exist_ok=True)
    (folder / "mirage" / "config.json").write_bytes(content)
    return generated.read(folder, "config.json", SHAPE)


def test_what_was_written_is_read(tmp_path: Path) -> None:
    assert read(tmp_path, json.dumps(GOOD).encode()) == GOOD
    assert read(
        tmp_path,
        json.dumps({**GOOD, "name": os.fsdecode(b"\xff")}, ensure_ascii=False).encode("utf-8", "surrogateescape"),
    )


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "it is not JSON"),
        (b"{", "it is not JSON"),
        (b"\xff\xfe", "it is not JSON"),
        (b"[" * 100_000, "it is not JSON"),
        (b"[]", "it is not a JSON object"),
        (b"null", "it is not a JSON object"),
        (b"{}", "another version"),
        (json.dumps({**GOOD, "format": 2}).encode(), "another version"),
        (json.dumps({**GOOD, "name": 1}).encode(), "its 'name' is not as it was written"),
        (json.dumps({**GOOD, "cups": None}).encode(), "its 'cups' is not as it was written"),
        (json.dumps({**GOOD, "cups": True}).encode(), "its 'cups' is not as it was written"),
        (b'{"format": 1}', "its 'name' is not as it was written"),
    ],
)
def test_damage_is_named_with_the_one_remedy(tmp_path: Path, content: bytes, why: str) -> None:
    with pytest.raises(UserError) as caught:
        read(tmp_path, content)
    assert why in caught.value.cause
    assert str(tmp_path / "mirage" / "config.json") in caught.value.cause
    assert caught.value.remedy == generated.REMEDY


def test_what_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"nothing is configured in .*; run `mirage-py configure` in"):
        generated.read(tmp_path, "config.json", SHAPE)
    (tmp_path / "mirage" / "config.json").mkdir(parents=True)
    with pytest.raises(UserError, match="Is a directory; move it away"):
        generated.read(tmp_path, "config.json", SHAPE)
