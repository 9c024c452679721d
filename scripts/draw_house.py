#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Draws docs/house.svg: the rooms of the tool and of the library OS, and who imports from whom how often.

What the rooms are, docs/architecture.md says; the arrows are the imports that stand in the files today:

    .venv/bin/python scripts/draw_house.py
"""

from __future__ import annotations

import ast
import re
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from mirage_py.support import layered, svg  # noqa: E402
from mirage_py.support.svg import Style  # noqa: E402

PICTURE = ROOT / "docs" / "house.svg"
ARCHITECTURE = ROOT / "docs" / "architecture.md"
PACKAGE = ROOT / "mirage_py"
LIBOS = PACKAGE / "guest" / "libos"
C_MODULE = "_mirage"

WIDTH, MARGIN, GUTTER = 1000, 16, 30
BOX_WIDTH, BOX_HEIGHT, PADDING = 222, 107, 10
TEXT_PX, NAME_PX, TITLE_PX, LINE_HEIGHT = 12, 14, 20, 16
LABEL_HEIGHT, PORT_GAP, PORT_INSET = 12, 36, 34


@dataclass(frozen=True)
class House:
    """One of the two programs. rooms: name -> what it does. files: room -> (files, lines). arrows: (room, room) -> how
    many names the one imports from the other."""

    title: str
    rooms: Mapping[str, str]
    files: Mapping[str, tuple[int, int]]
    arrows: Mapping[tuple[str, str], int]


def described(title: str) -> dict[str, str]:
    """Room -> what it does, from the table of docs/architecture.md that begins with the column `title`."""
    table = re.search(
        rf"^\| {title} \|.*\n\|[-| ]+\n((?:\|.*\n)+)", ARCHITECTURE.read_text(encoding="utf-8"), re.MULTILINE
    )
    if table is None:
        raise SystemExit(f"draw_house: docs/architecture.md has no table of each {title}")
    rooms = {}
    for row in table[1].splitlines():
        room, _, what = (cell.strip() for cell in row.strip("|").split("|")[:3])
        plain = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", what).replace("`", "")
        rooms[room.strip("`").rstrip("/")] = plain
    return rooms


def imported(path: Path, package: str) -> Iterator[str]:
    """The dotted name of everything that a file imports, wherever in it; package: dotted name of its folder."""
    for node in ast.walk(ast.parse(path.read_bytes(), filename=str(path))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parents = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*parents, *([node.module] if node.module else [])])
            yield from (f"{base}.{alias.name}" for alias in node.names)


def room_of(name: str, rooms: Mapping[str, str]) -> str | None:
    """The room that a dotted name below the package lies in: "net.ip.ipv4" in net/ip. None for none."""
    parts = name.split(".")
    candidates = ("/".join(parts[:length]) for length in range(len(parts), 0, -1))
    return next((room for room in candidates if room in rooms), None)


def survey(title: str, root: Path, name: str, rooms: Mapping[str, str], left_out: tuple[str, ...] = ()) -> House:
    """The house as its files are. name: of the package at `root`. left_out: folders of it that are not looked into."""
    rooms = dict(rooms)
    files: Counter[str] = Counter()
    lines: Counter[str] = Counter()
    arrows: Counter[tuple[str, str]] = Counter()
    for path in sorted(root.rglob("*.py")):
        relative = path.relative_to(root)
        if relative.parts[0] in left_out:
            continue
        room = room_of(".".join(relative.with_suffix("").parts), rooms)
        if room is None:
            continue  # the package's own __init__
        files[room] += 1
        lines[room] += path.read_bytes().count(b"\n")
        for target in imported(path, ".".join([name, *relative.parent.parts])):
            top, _, rest = target.partition(".")
            other = room_of(rest, rooms) if top == name and rest else C_MODULE if top == C_MODULE else None
            if other is not None and other != room:
                arrows[room, other] += 1
    if any(below == C_MODULE for _, below in arrows):
        rooms[C_MODULE] = "the module in C: buffers, clocks, checksum, memory, PCI, wait"
    return House(title, rooms, {room: (files[room], lines[room]) for room in rooms}, arrows)


def tool() -> House:
    return survey("The tool: mirage_py/", PACKAGE, "mirage_py", described("room of the tool"), ("guest", "_data"))


def library_os() -> House:
    return survey("The library OS: mirage_py/guest/libos/", LIBOS, "libos", described("room of the library OS"))


def rows_of(house: House) -> list[list[str]]:
    """Rooms by the longest way to them from above; those of one row as the table has them."""
    depth: dict[str, int] = {}

    def place(room: str, path: tuple[str, ...] = ()) -> int:
        if room in path:
            raise SystemExit(f"draw_house: rooms import each other in a circle: {' -> '.join([*path, room])}")
        if room not in depth:
            above = [upper for upper, lower in house.arrows if lower == room]
            depth[room] = max((place(upper, (*path, room)) + 1 for upper in above), default=0)
        return depth[room]

    for room in house.rooms:
        place(room)
    return [[room for room in house.rooms if depth[room] == number] for number in range(max(depth.values()) + 1)]


def draw() -> str:
    """The picture as SVG."""
    parts = [
        svg.element("rect", width=WIDTH, height="100%", class_="ground"),
        svg.text(MARGIN, 36, "The house", TITLE_PX, bold=True),
        svg.text(
            MARGIN,
            60,
            "Boxes are rooms (folders, or a file beside them). A number is how many names the room above imports "
            "from the one that its arrow leads to.",
            TEXT_PX,
            class_="quiet",
        ),
    ]
    y = 84
    for number, house in enumerate((tool(), library_os())):
        top = y + 40
        drawing = layered.draw(
            rows_of(house),
            house.arrows,
            BOX_WIDTH,
            dict.fromkeys(house.rooms, BOX_HEIGHT),
            GUTTER,
            WIDTH - GUTTER,
            top=top,
            label_height=LABEL_HEIGHT,
            port_gap=PORT_GAP,
            port_inset=PORT_INSET,
        )
        bottom = top + drawing.height + 16
        parts.append(svg.element("rect", x=8, y=y, width=WIDTH - 16, height=bottom - y, rx=8, class_="band"))
        parts.append(svg.text(MARGIN + 4, y + 24, house.title, NAME_PX, bold=True))
        parts += _arrows(house, drawing, f"to-{number}")
        parts += [_room(house, room, rect, number) for room, rect in drawing.boxes.items()]
        y = bottom + 16
    notes = (
        "A room of the library OS does not import the one that it stands on: main.py, which configure writes, hands it "
        "over as an object.",
        "Made by scripts/draw_house.py from the imports in the files.",
    )
    for number, note in enumerate(notes):
        parts.append(svg.text(MARGIN, y + 12 + number * LINE_HEIGHT, note, TEXT_PX, class_="quiet"))
    height = y + 12 + len(notes) * LINE_HEIGHT
    return svg.document(WIDTH, height, "The house", "Which room of mirage-py imports from which.", _styles(), parts)


def _arrows(house: House, drawing: layered.Drawing, class_: str) -> Iterator[str]:
    for (above, below), points in drawing.routes.items():
        yield svg.line(points, class_=f"line {class_}", data_from=above, data_to=below)
        yield svg.arrow_head(*points[-1], class_=f"head {class_}")
    for (above, below), points in drawing.routes.items():
        count = str(house.arrows[above, below])
        yield svg.text(points[0][0] + 4, points[0][1] + 13, count, TEXT_PX, class_="count")


def _room(house: House, room: str, rect: layered.Rect, number: int) -> str:
    inner = rect.width - 2 * PADDING
    files, lines = house.files[room]
    size = f"{files} file{'s' if files != 1 else ''}, {lines:,} lines" if files else "in targets/"
    text = [
        svg.text(rect.x + PADDING, rect.y + 20, svg.fit(room, NAME_PX, inner, bold=True), NAME_PX, bold=True),
        svg.text(rect.x + PADDING, rect.y + 37, svg.fit(size, TEXT_PX, inner), TEXT_PX, class_="quiet"),
    ]
    text += [
        svg.text(rect.x + PADDING, rect.y + 54 + line * 15, words, TEXT_PX)
        for line, words in enumerate(svg.wrap(house.rooms[room], TEXT_PX, inner, 4))
    ]
    box = svg.element(
        "rect", x=rect.x, y=rect.y, width=rect.width, height=rect.height, rx=6, class_=f"box house-{number}"
    )
    title = svg.element("title", svg.safe(f"{room}: {house.rooms[room]}"))
    return svg.element("g", title + box + "".join(text), data_room=room)


def _styles() -> dict[str, Style]:
    return {
        "text": Style("fill: #1c2128", "fill: #e6e8eb"),
        ".quiet": Style("fill: #57606a", "fill: #a0a8b2"),
        ".ground": Style("fill: #ffffff", "fill: #14171b"),
        ".band": Style("fill: #f5f6f8", "fill: #1c2026"),
        ".box": Style("stroke-width: 1.2"),
        ".house-0": Style("fill: #fde9c8; stroke: #b7791f", "fill: #4a3513; stroke: #e0a84c"),
        ".house-1": Style("fill: #dcecfb; stroke: #2b6cb0", "fill: #17344f; stroke: #6cb0f0"),
        ".line": Style("fill: none; stroke-width: 1.4"),
        ".line.to-0": Style("stroke: #b7791f", "stroke: #e0a84c"),
        ".line.to-1": Style("stroke: #2b6cb0", "stroke: #6cb0f0"),
        ".head.to-0": Style("fill: #b7791f", "fill: #e0a84c"),
        ".head.to-1": Style("fill: #2b6cb0", "fill: #6cb0f0"),
    }


if __name__ == "__main__":
    PICTURE.write_text(draw(), encoding="utf-8")
    print(f"drew {PICTURE.relative_to(ROOT)}")
