# SPDX-License-Identifier: MIT
"""The layered drawing: boxes apart and inside the margins, lines from box to box and through none, few crossings."""

from __future__ import annotations

import random
from itertools import combinations, pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mirage_py.support import layered
from mirage_py.support.layered import Drawing, Rect, draw, spaced

LEFT, RIGHT, WIDTH = 50, 900, 150


def drawn(rows: list[list[str]], edges: list[tuple[str, str]]) -> Drawing:
    return draw(rows, edges, WIDTH, {name: 30 + 10 * (len(name) % 3) for row in rows for name in row}, LEFT, RIGHT, 20)


def meets(points: tuple[tuple[int, int], tuple[int, int]], rect: Rect) -> bool:
    """Whether a horizontal or vertical line goes through the inside of a box."""
    (x0, x1), (y0, y1) = sorted((points[0][0], points[1][0])), sorted((points[0][1], points[1][1]))
    return x0 < rect.right and x1 > rect.x and y0 < rect.bottom and y1 > rect.y


def check(drawing: Drawing, rows: list[list[str]], edges: list[tuple[str, str]]) -> None:
    boxes = drawing.boxes
    assert sorted(boxes) == sorted(name for row in rows for name in row)
    for rect in boxes.values():
        assert rect.x >= LEFT
        assert rect.right <= RIGHT
        assert rect.width == WIDTH
        assert rect.y >= 20
        assert rect.bottom <= 20 + drawing.height
    for one, other in combinations(boxes.values(), 2):
        assert one.right <= other.x or other.right <= one.x or one.bottom <= other.y or other.bottom <= one.y, (
            "two boxes overlap"
        )
    assert set(drawing.routes) == set(edges)
    for (above, below), points in drawing.routes.items():
        assert points[0][1] == boxes[above].bottom
        assert boxes[above].x < points[0][0] < boxes[above].right
        assert points[-1][1] == boxes[below].y
        assert boxes[below].x < points[-1][0] < boxes[below].right
        for piece in pairwise(points):
            assert piece[0][0] == piece[1][0] or piece[0][1] == piece[1][1], "a line is neither across nor down"
            assert piece[0][1] <= piece[1][1], "a line goes up"
            assert LEFT <= piece[1][0] <= RIGHT
            assert not [name for name, rect in boxes.items() if meets(piece, rect)]


@st.composite
def graphs(random_draw: st.DrawFn) -> tuple[list[list[str]], list[tuple[str, str]]]:
    sizes = random_draw(st.lists(st.integers(1, 8), min_size=1, max_size=8))
    rows = [[f"n{row}_{column}" for column in range(size)] for row, size in enumerate(sizes)]
    pairs = [(a, b) for upper, lower in combinations(rows, 2) for a in upper for b in lower]
    edges = random_draw(st.lists(st.sampled_from(pairs), max_size=60, unique=True)) if pairs else []
    return rows, edges


@settings(max_examples=80, deadline=None)
@given(graphs())
def test_any_graph_is_drawn_with_nothing_on_anything(graph: tuple[list[list[str]], list[tuple[str, str]]]) -> None:
    rows, edges = graph
    check(drawn(rows, edges), rows, edges)


@settings(max_examples=20, deadline=None)
@given(graphs(), st.randoms(use_true_random=False))
def test_same_graph_same_drawing_in_whatever_order_its_edges_come(
    graph: tuple[list[list[str]], list[tuple[str, str]]], order: random.Random
) -> None:
    rows, edges = graph
    shuffled = list(edges)
    order.shuffle(shuffled)
    assert drawn(rows, edges) == drawn(rows, shuffled)


def test_very_many_lines_past_one_box_do_not_go_through_it() -> None:
    rows = [["top"], ["middle"], *([f"below{n}_{m}" for m in range(4)] for n in range(25))]
    edges = [("top", name) for row in rows[1:] for name in row]
    check(drawn(rows, edges), rows, edges)


def test_row_that_is_too_wide_is_broken_evenly() -> None:
    found = drawn([["top"], [f"box{n}" for n in range(10)]], [("top", f"box{n}") for n in range(10)])
    assert [len(row) for row in found.rows] == [1, 4, 3, 3]


def test_lines_that_can_do_without_crossing_do() -> None:
    upper, lower = [f"a{n}" for n in range(5)], [f"b{n}" for n in range(5)]
    edges = [(a, b) for a, b in zip(upper, reversed(lower), strict=True)]
    found = drawn([upper, lower], edges)
    assert all(len(points) == 2 for points in found.routes.values()), "not straight down"


def test_lines_to_one_box_share_their_way() -> None:
    upper = ["a", "b", "c"]
    rows = [upper, ["x"], ["y"], ["z"]]
    edges = [*((name, "z") for name in upper), ("a", "x"), ("x", "y"), ("y", "z")]
    found = drawn(rows, edges)
    check(found, rows, edges)
    below_x = [tuple(p for p in found.routes[name, "z"] if p[1] > found.boxes["x"].bottom) for name in upper]
    assert len(set(below_x)) == 1


def test_edge_that_does_not_lead_down_is_refused() -> None:
    for edge in (("b", "a"), ("a", "a"), ("a", "c")):
        with pytest.raises(ValueError, match="is not below"):
            drawn([["a", "c"], ["b"]], [edge])
    with pytest.raises(ValueError, match="wider than the drawing"):
        draw([["a"]], [], 1000, {"a": 10}, 0, 900)


def test_horizontal_lines_between_two_rows_have_room() -> None:
    rows = [[f"a{n}" for n in range(5)], [f"b{n}" for n in range(5)]]
    edges = [(a, b) for a in rows[0] for b in rows[1]]
    found = drawn(rows, edges)
    check(found, rows, edges)
    across: dict[int, dict[str, list[int]]] = {}
    for (_, below), points in found.routes.items():
        for one, other in pairwise(points):
            if one[1] == other[1]:
                across.setdefault(one[1], {}).setdefault(below, []).extend([one[0], other[0]])
    for spans in across.values():
        for one, other in combinations([(min(xs), max(xs)) for xs in spans.values()], 2):
            assert one[1] + layered.LANE_GAP <= other[0] or other[1] + layered.LANE_GAP <= one[0]


@given(
    st.lists(st.floats(-1000, 1000), min_size=1, max_size=12),
    st.floats(1, 50),
)
def test_spaced_keeps_order_distance_and_limits(wanted: list[float], gap: float) -> None:
    gaps = [gap] * (len(wanted) - 1)
    found = spaced(wanted, gaps, -800, 800)
    assert all(-801 <= x <= 801 for x in found)
    # Whole pixels: half of one may be lost at each end.
    assert all(b - a >= gap - 1 for a, b in pairwise(found))


def test_spaced_leaves_what_fits_where_it_is() -> None:
    assert spaced([10, 50, 90], [20, 20], 0, 100) == [10, 50, 90]
    assert spaced([50, 50, 50], [20, 20], 0, 100) == [30, 50, 70]
    assert spaced([95, 95], [20], 0, 100) == [80, 100]
