# SPDX-License-Identifier: MIT
"""SVG: text that is never wider than thought, escaping, round corners."""

from __future__ import annotations

import string
import xml.etree.ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mirage_py.support import svg

# Advance widths of DejaVu Sans 2.37, regular and bold, in thousandths of the font's size: the widest of what is used.
WIDEST = {
    "a": (613, 675), "e": (615, 678), "i": (278, 343), "l": (278, 343), "m": (974, 1042), "w": (818, 924),
    "A": (684, 774), "M": (863, 995), "W": (989, 1103), "I": (295, 372), "T": (611, 682), "Q": (787, 850),
    "0": (636, 696), "-": (361, 415), "_": (500, 500), ".": (318, 380), " ": (318, 348), "(": (390, 457),
    "@": (1000, 1000), "%": (950, 1002), "#": (838, 838), "…": (1000, 1000), "/": (337, 365), ":": (337, 400),
}  # fmt: skip


@pytest.mark.parametrize("character", WIDEST)
def test_text_is_not_wider_than_thought(character: str) -> None:
    regular, bold = WIDEST[character]
    assert svg.text_width(character, 10) >= regular / 100 - 0.05
    assert svg.text_width(character, 10, bold=True) >= bold / 100 - 0.05


def test_widths_of_all_of_ascii_are_known_and_others_are_wide() -> None:
    for character in string.printable[:95]:
        assert svg.text_width(character, 100) < 120
    assert svg.text_width("漢", 100) >= 100
    assert svg.text_width("é", 100) >= 62


@given(st.text(max_size=40), st.integers(20, 300), st.booleans())
def test_what_fits_fits(text: str, width: int, bold: bool) -> None:
    found = svg.fit(text, 12, width, bold=bold)
    assert svg.text_width(found, 12, bold=bold) <= width
    assert found == text or found.endswith(svg.ELLIPSIS)
    assert text.startswith(found.removesuffix(svg.ELLIPSIS)) or found == text


@given(st.text(max_size=80), st.integers(60, 300), st.integers(1, 4))
def test_wrapped_lines_fit(text: str, width: int, count: int) -> None:
    found = svg.wrap(text, 12, width, count)
    assert len(found) <= count
    assert all(svg.text_width(line, 12) <= width for line in found)


def test_wrapped_text_is_whole_where_there_is_room() -> None:
    assert svg.wrap("what everybody stands on", 12, 80, 3) == ["what", "everybody", "stands on"]


@given(st.text(max_size=60))
def test_any_text_makes_a_valid_document(text: str) -> None:
    parts = [svg.text(1, 2, text, 12), svg.element("g", class_=text, data_x=text)]
    root = ET.fromstring(svg.document(10, 10, text, text, {}, parts))
    assert len(list(root)) == 5


def test_corners_are_round_and_short_pieces_rounder() -> None:
    assert svg.line([(0, 0), (0, 20), (30, 20)]) == '<path d="M0 0L0 14Q0 20 6 20L30 20"/>'
    assert svg.line([(0, 0), (0, 20), (4, 20), (4, 40)]) == '<path d="M0 0L0 18Q0 20 2 20L2 20Q4 20 4 22L4 40"/>'
