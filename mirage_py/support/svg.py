# SPDX-License-Identifier: MIT
"""Drawings as SVG that any viewer shows: text that fits, lines with round corners, light and dark.

Only shapes, classes and a style sheet: no script, no variables, no fonts of our own. Colours follow the viewer's
`prefers-color-scheme`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape, quoteattr

FONT = "'DejaVu Sans', Verdana, 'Segoe UI', Roboto, Helvetica, Arial, sans-serif"
ELLIPSIS = "…"
RADIUS = 6

# Widths in hundredths of the font's size, as DejaVu Sans has them, which is wider than what else may be used.
# What is not here (accents, other scripts) is taken as wide as an emoji.
_REGULAR = {
    30: "'ijlIJ", 36: " ,./:;\\|f-", 41: "()[]t!r", 47: '"', 53: "*_`sz?", 59: "cLFkvxy",
    64: "PTYaoeESbdghnpqu$0123456789{}", 70: "KAVBRXZC", 79: "UHNDG&OQ", 87: "w#+<=>^~M", 100: "%mW@",
}  # fmt: skip
_BOLD = {
    35: "'ijl ", 38: "/IJ\\|,.", 42: ":;-", 50: "f!()[]tr_`", 54: '"*', 60: "?zcs", 65: "Lvxy",
    71: "kaEFTeo$0123456789hnu{}", 77: "SYbdgpqCPZBAKRVX", 85: "UGD#+<=>HN^~OQ", 92: "&w", 110: "%@MmW",
}  # fmt: skip
_WIDEST = 130

# What XML cannot hold at all.
_CONTROL = re.compile("[^\t\n\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def _table(widths: Mapping[int, str]) -> dict[str, int]:
    return {character: width for width, characters in widths.items() for character in characters}


_TABLES = {False: _table(_REGULAR), True: _table(_BOLD)}


def text_width(text: str, size_px: float, *, bold: bool = False) -> float:
    """How wide `text` is at most, in pixels."""
    table = _TABLES[bold]
    return sum(table.get(character, _WIDEST) for character in text) * size_px / 100


def fit(text: str, size_px: float, width_px: float, *, bold: bool = False) -> str:
    """`text`, or as much of it as fits, with an ellipsis in place of the rest."""
    if text_width(text, size_px, bold=bold) <= width_px:
        return text
    for length in range(len(text) - 1, 0, -1):
        shorter = text[:length].rstrip() + ELLIPSIS
        if text_width(shorter, size_px, bold=bold) <= width_px:
            return shorter
    return ELLIPSIS


def wrap(text: str, size_px: float, width_px: float, lines: int) -> list[str]:
    """`text` in at most so many lines, broken between words; what does not fit is left out, with an ellipsis."""
    found: list[str] = []
    words = text.split()
    while words and len(found) < lines:
        count = len(words)
        if len(found) < lines - 1:
            while count > 1 and text_width(" ".join(words[:count]), size_px) > width_px:
                count -= 1
        found.append(fit(" ".join(words[:count]), size_px, width_px))
        words = words[count:]
    return found


def safe(text: str) -> str:
    """`text` as character data of XML."""
    return escape(_CONTROL.sub("\ufffd", text))


def element(name: str, content: str = "", /, **attributes: object) -> str:
    """An element; attributes that are None are left out, `class_` is "class", other '_' are '-'."""
    given = "".join(
        f" {key.rstrip('_').replace('_', '-')}={quoteattr(_CONTROL.sub('�', str(value)))}"
        for key, value in attributes.items()
        if value is not None
    )
    return f"<{name}{given}>{content}</{name}>" if content else f"<{name}{given}/>"


@dataclass(frozen=True)
class Style:
    """How a class looks: CSS declarations, and those that the dark scheme has instead."""

    light: str
    dark: str = ""


def text(
    x: float, y: float, content: str, size_px: int, *, class_: str = "", bold: bool = False, anchor: str | None = None
) -> str:
    """A line of text whose baseline is at y."""
    return element(
        "text",
        safe(content),
        x=f"{x:g}",
        y=f"{y:g}",
        font_size=size_px,
        font_weight="bold" if bold else None,
        text_anchor=anchor,
        class_=class_ or None,
    )


def line(points: Sequence[tuple[int, int]], **attributes: object) -> str:
    """A line through `points`, which turns with round corners."""
    steps = [f"M{points[0][0]} {points[0][1]}"]
    for before, corner, after in zip(points, points[1:], points[2:], strict=False):
        radius = min(RADIUS, _length(before, corner) / 2, _length(corner, after) / 2)
        start, end = _towards(corner, before, radius), _towards(corner, after, radius)
        steps.append(f"L{start[0]:g} {start[1]:g}Q{corner[0]} {corner[1]} {end[0]:g} {end[1]:g}")
    steps.append(f"L{points[-1][0]} {points[-1][1]}")
    return element("path", d="".join(steps), **attributes)


def _length(one: tuple[int, int], other: tuple[int, int]) -> int:
    return abs(one[0] - other[0]) + abs(one[1] - other[1])


def _towards(corner: tuple[int, int], end: tuple[int, int], distance: float) -> tuple[float, float]:
    length = _length(corner, end) or 1
    return tuple(a + (b - a) * distance / length for a, b in zip(corner, end, strict=True))  # type: ignore[return-value]


def arrow_head(x: int, y: int, *, class_: str) -> str:
    """The head of an arrow that points down to (x, y)."""
    return element("path", d=f"M{x} {y}l-4 -8h8z", class_=class_)


def document(
    width: int, height: int, title: str, description: str, styles: Mapping[str, Style], parts: Iterable[str]
) -> str:
    """The whole file. It is `width` pixels wide where there is room, and shrinks with its page.

    styles: selector, such as ".box", -> how it looks. parts: elements, from the one behind to the one in front.
    """
    light = "\n".join(f"{selector} {{ {style.light} }}" for selector, style in styles.items())
    dark = "\n".join(f"  {selector} {{ {style.dark} }}" for selector, style in styles.items() if style.dark)
    sheet = f"{light}\n@media (prefers-color-scheme: dark) {{\n{dark}\n}}\n"
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" '
        f'font-family="{FONT}" role="img">'
    )
    body = "\n".join(parts)
    about = f"<title>{safe(title)}</title>\n<desc>{safe(description)}</desc>\n<style>\n{safe(sheet)}</style>"
    return f"{head}\n{about}\n{body}\n</svg>\n"
