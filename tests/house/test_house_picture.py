# SPDX-License-Identifier: MIT
"""docs/house.svg: the rooms in it are the rooms there are, and its arrows are the imports; it is readable."""

from __future__ import annotations

import importlib.util
import re
import sys
import xml.etree.ElementTree as ET
from itertools import combinations, pairwise
from pathlib import Path
from types import ModuleType

import pytest

from mirage_py.support import svg
from tests.house.test_layering import C_MODULE, GUEST_ROOMS, HOST_ROOMS

ROOT = Path(__file__).resolve().parents[2]
SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("draw_house", ROOT / "scripts" / "draw_house.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look there
    spec.loader.exec_module(module)
    return module


def rooms_and_arrows(text: str) -> tuple[set[str], set[tuple[str, str]]]:
    root = ET.fromstring(text)
    rooms = {group.get("data-room", "") for group in root.iter(f"{SVG}g")}
    lines = [path for path in root.iter(f"{SVG}path") if path.get("data-from")]
    return rooms, {(line.get("data-from", ""), line.get("data-to", "")) for line in lines}


def test_picture_has_the_rooms_and_arrows_that_there_are(script: ModuleType) -> None:
    # How many names and lines there are is another number each day.
    kept = rooms_and_arrows((ROOT / "docs" / "house.svg").read_text())
    assert kept == rooms_and_arrows(script.draw()), "draw it anew: .venv/bin/python scripts/draw_house.py"
    assert kept[0] == {*HOST_ROOMS, *GUEST_ROOMS, C_MODULE}
    assert "(house.svg)" in (ROOT / "docs" / "architecture.md").read_text()


def test_every_arrow_is_one_that_the_rooms_may_have(script: ModuleType) -> None:
    for house, allowed in ((script.tool(), HOST_ROOMS), (script.library_os(), {**GUEST_ROOMS, "hal": {C_MODULE}})):
        for above, below in house.arrows:
            assert below in allowed[above], (above, below)
        assert all(files and lines for room, (files, lines) in house.files.items() if room != C_MODULE)


def test_same_files_same_picture(script: ModuleType) -> None:
    assert script.draw() == script.draw()


def test_imports_are_counted(script: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "up").mkdir()
    (tmp_path / "down").mkdir()
    (tmp_path / "up" / "a.py").write_text(
        "from p.down import x, y\nimport p.down.z\nfrom ..down.z import w\nimport os\n"
    )
    (tmp_path / "down" / "z.py").write_text("from . import other\nimport _mirage\n")
    house = script.survey("p", tmp_path, "p", {"up": "", "down": ""})
    assert house.arrows == {("up", "down"): 4, ("down", C_MODULE): 1}
    assert house.files["up"] == (1, 4)
    assert script.rows_of(house) == [["up"], ["down"], [C_MODULE]]


def test_picture_is_readable(script: ModuleType) -> None:
    root = ET.fromstring(script.draw())
    width, height = int(root.get("width", "")), float(root.get("height", ""))
    assert width <= 1000
    boxes = []
    for group in root.iter(f"{SVG}g"):
        rect = group.find(f"{SVG}rect")
        assert rect is not None
        x, y, w, h = (float(rect.get(name, "")) for name in ("x", "y", "width", "height"))
        boxes.append((x, y, x + w, y + h))
    texts = []
    for text in root.iter(f"{SVG}text"):
        size, x, y = (float(text.get(name, "")) for name in ("font-size", "x", "y"))
        assert size >= 12
        wide = svg.text_width(text.text or "", size, bold=text.get("font-weight") == "bold")
        texts.append((x, y - 0.75 * size, x + wide, y + 0.25 * size))
        assert x + wide <= width
        assert y <= height

    # What a box cannot hold is cut off: then the table's words are to be fewer.
    assert not [text.text for text in root.iter(f"{SVG}text") if svg.ELLIPSIS in (text.text or "")]

    def meet(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
        return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]

    for one, other in combinations(texts, 2):
        assert not meet(one, other)
    for text_box in texts:
        around = [box for box in boxes if meet(text_box, box)]
        assert all(box[0] < text_box[0] and text_box[2] < box[2] and text_box[3] < box[3] for box in around)
    for path in root.iter(f"{SVG}path"):
        if path.get("data-from"):
            points = [tuple(map(float, pair.split())) for pair in re.findall(r"[ML]([\d.]+ [\d.]+)", path.get("d", ""))]
            for (x0, y0), (x1, y1) in pairwise(points):
                piece = (min(x0, x1), y0, max(x0, x1), y1)
                assert not [box for box in boxes if meet(piece, box)], path.get("data-to")
