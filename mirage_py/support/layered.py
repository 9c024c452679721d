# SPDX-License-Identifier: MIT
"""A layered drawing of a graph: boxes in rows, lines that run down between them and through none.

The method is Sugiyama's (IEEE Transactions on Systems, Man and Cybernetics 11(2), 1981): rows are given, the order in a
row comes from the barycentre of the neighbours, a line that passes a row has a lane in it. Lines that lead to the same
box share a lane, so that a box on which everything stands has one line going to it and not twenty. Between two rows,
each line has a track of its own for its horizontal part, as in the routing of circuits. The same input gives the same
drawing.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

SWEEPS = 16
BOX_GAP = 16  # between two boxes of a row
LANE_GAP = 12  # between two lanes, or a lane and a box
PORT_GAP = 12  # between two lines that leave a box
PORT_INSET = 14  # of the outermost lines from the corners
TRACK_GAP = 9
GAP_TOP = 12  # above the first track between two rows
GAP_BOTTOM = 18  # below the last one: an arrow's head is there


@dataclass(frozen=True)
class Rect:
    x: int
    y: int
    width: int
    height: int

    @property
    def right(self) -> int:
        return self.x + self.width

    @property
    def bottom(self) -> int:
        return self.y + self.height


@dataclass(frozen=True)
class Drawing:
    """boxes: name -> where. routes: (above, below) -> corners of the line, from the one box to the other.

    rows: the names in each row as drawn, which may be more rows than were given. height: of all of it."""

    boxes: dict[str, Rect]
    routes: dict[tuple[str, str], list[tuple[int, int]]]
    rows: list[list[str]]
    height: int


@dataclass(eq=False)
class _Item:
    """A box in its row, or the lane of the lines to `target` that pass the row."""

    target: str
    width: int
    is_lane: bool
    x: float = 0.0  # of its middle
    above: list[_Item] = field(default_factory=list)
    below: list[_Item] = field(default_factory=list)


def draw(
    rows: Sequence[Sequence[str]],
    edges: Iterable[tuple[str, str]],
    width: int,
    heights: Mapping[str, int],
    left: int,
    right: int,
    top: int = 0,
    label_height: int = 0,
    port_gap: int = PORT_GAP,
    port_inset: int = PORT_INSET,
) -> Drawing:
    """Boxes of one width between the columns `left` and `right`, from the row `top` on.

    rows: names from above to below; one that is too wide is broken. heights: name -> of the box at least; all boxes of
    a row are as high as the highest. edges: (above, below), each to a later row. label_height: what is free above the
    tracks between rows, for labels beside the lines that leave a box. port_gap, port_inset:
    between these lines, and from the box's corners to the outermost.
    Raises ValueError when an edge does not lead down, or not even one box fits.
    """
    if width > right - left:
        raise ValueError("a box is wider than the drawing")
    edges = sorted(set(edges))
    broken = _broken([list(row) for row in rows if row], edges, width, right - left)
    grid = _Grid(broken, edges, width)
    grid.order()
    grid.place(left, right)
    return _Router(grid, width, heights, label_height, port_gap, port_inset).drawing(top)


def _row_of(rows: Sequence[Sequence[str]]) -> dict[str, int]:
    return {name: number for number, row in enumerate(rows) for name in row}


def _passing(rows: Sequence[Sequence[str]], edges: Iterable[tuple[str, str]]) -> list[list[str]]:
    """For each row the boxes further down whose lines pass it, in the order of their names."""
    row_of = _row_of(rows)
    passing: list[set[str]] = [set() for _ in rows]
    for above, below in edges:
        if row_of[above] >= row_of[below]:
            raise ValueError(f"{below} is not below {above}")
        for row in range(row_of[above] + 1, row_of[below]):
            passing[row].add(below)
    return [sorted(names) for names in passing]


def _broken(rows: list[list[str]], edges: list[tuple[str, str]], width: int, room: int) -> list[list[str]]:
    """The rows, those that are too wide in several."""
    number = 0
    while number < len(rows):
        row = rows[number]
        lanes = len(_passing(rows, edges)[number])
        # What goes down has lanes here instead.
        fitting = next(
            (
                count
                for count in range(len(row), 1, -1)
                if count * (width + BOX_GAP) - BOX_GAP + (lanes + len(row) - count) * LANE_GAP <= room
            ),
            1,
        )
        parts = -(-len(row) // fitting)
        if parts == 1:
            number += 1
            continue
        first = -(-len(row) // parts)
        rows[number : number + 1] = [row[:first], row[first:]]
        number = 0  # lanes may have come to rows above
    return rows


class _Grid:
    """Rows of items, and who is joined to whom in the next row."""

    def __init__(self, rows: list[list[str]], edges: list[tuple[str, str]], width: int) -> None:
        self.edges = edges
        self.row_of = _row_of(rows)
        self.items: dict[tuple[str, int], _Item] = {}
        self.rows: list[list[_Item]] = []
        for number, (row, lanes) in enumerate(zip(rows, _passing(rows, edges), strict=True)):
            items = [_Item(name, width, False) for name in row] + [_Item(name, 0, True) for name in lanes]
            self.rows.append(items)
            self.items.update({(item.target, number): item for item in items})
        links = {(above, below): None for edge in edges for above, below in self.steps(edge)}
        for above, below in links:
            above.below.append(below)
            below.above.append(above)

    def steps(self, edge: tuple[str, str]) -> list[tuple[_Item, _Item]]:
        """The items that an edge joins on its way down, pair by pair."""
        above, below = edge
        way = [self.items[above, self.row_of[above]]]
        way += [self.items[below, row] for row in range(self.row_of[above] + 1, self.row_of[below] + 1)]
        return list(pairwise(way))

    # --- order ---

    def order(self) -> None:
        """Puts each row in the order in which the fewest lines cross that was found."""
        best, best_crossings = [list(row) for row in self.rows], self._crossings()
        for sweep in range(SWEEPS):
            numbers = range(1, len(self.rows)) if sweep % 2 == 0 else range(len(self.rows) - 2, -1, -1)
            for number in numbers:
                self._sort(number, downwards=sweep % 2 == 0)
            self._swap_neighbours()
            crossings = self._crossings()
            if crossings < best_crossings:
                best, best_crossings = [list(row) for row in self.rows], crossings
        self.rows = best

    def _sort(self, number: int, *, downwards: bool) -> None:
        row = self.rows[number]
        other = self._positions(number - 1 if downwards else number + 1)
        count = max(len(other), 1)

        def barycentre(pair: tuple[int, _Item]) -> float:
            position, item = pair
            near = item.above if downwards else item.below
            if not near:
                return (position + 0.5) / len(row)
            return sum(other[id(neighbour)] + 0.5 for neighbour in near) / len(near) / count

        self.rows[number] = [item for _, item in sorted(enumerate(row), key=barycentre)]

    def _positions(self, number: int) -> dict[int, int]:
        return {id(item): position for position, item in enumerate(self.rows[number])}

    def _crossings(self) -> int:
        total = 0
        for number in range(len(self.rows) - 1):
            below = self._positions(number + 1)
            ends = [end for item in self.rows[number] for end in sorted(below[id(b)] for b in item.below)]
            seen: list[int] = []
            for end in ends:
                total += len(seen) - bisect_left(seen, end + 1)
                insort(seen, end)
        return total

    def _swap_neighbours(self) -> None:
        """Neighbours change places where fewer lines cross then."""
        for number, row in enumerate(self.rows):
            above = self._positions(number - 1) if number else {}
            below = self._positions(number + 1) if number + 1 < len(self.rows) else {}
            for position in range(len(row) - 1):
                one, other = row[position], row[position + 1]
                gain = _gain(one.above, other.above, above) + _gain(one.below, other.below, below)
                if gain > 0:
                    row[position], row[position + 1] = other, one

    # --- columns ---

    def place(self, left: int, right: int) -> None:
        """Gives each item its column: near those that it is joined to, in order, with room between."""
        for row in self.rows:
            _space(row, [0.0] * len(row), left, right)
            middle = (left + right) / 2 - (row[0].x + row[-1].x) / 2
            _space(row, [item.x + middle for item in row], left, right)
        for sweep in range(SWEEPS):
            for row in self.rows if sweep % 2 == 0 else reversed(self.rows):
                _space(row, [_wanted(item) for item in row], left, right)
        self._straighten(left, right)

    def _straighten(self, left: int, right: int) -> None:
        """Lanes that follow each other are one straight line as far as there is room: small steps look like faults."""
        numbers = {id(item): (row, position) for row in self.rows for position, item in enumerate(row)}
        for row in self.rows:
            for item in row:
                if not item.is_lane or any(other.is_lane for other in item.above):
                    continue
                chain = [item]
                while chain[-1].below[0].is_lane:
                    chain.append(chain[-1].below[0])
                while chain:
                    chain = chain[_align(chain, [_freedom(*numbers[id(lane)], left, right) for lane in chain]) :]


def _freedom(row: Sequence[_Item], position: int, left: int, right: int) -> tuple[float, float]:
    """Between which columns an item of no width may move while its neighbours stay."""
    low = row[position - 1].x + row[position - 1].width / 2 + LANE_GAP if position else left
    high = row[position + 1].x - row[position + 1].width / 2 - LANE_GAP if position + 1 < len(row) else right
    return low, high


def _align(chain: Sequence[_Item], freedoms: Sequence[tuple[float, float]]) -> int:
    """Puts as many lanes from the first one on as can be into one column; returns how many these are."""
    low, high, count = *freedoms[0], 1
    for freedom in freedoms[1:]:
        if max(low, freedom[0]) > min(high, freedom[1]):
            break
        low, high, count = max(low, freedom[0]), min(high, freedom[1]), count + 1
    columns = sorted(item.x for item in chain[:count])
    if low <= high:
        for item in chain[:count]:
            item.x = min(max(columns[count // 2], low), high)
    return count


def _gain(one: Sequence[_Item], other: Sequence[_Item], order: Mapping[int, int]) -> int:
    """How many crossings fewer there are when two neighbours change places, who are joined to these."""
    return sum(
        (order[id(left)] > order[id(right)]) - (order[id(left)] < order[id(right)]) for left in one for right in other
    )


def _wanted(item: _Item) -> float:
    near = [*item.above, *item.below]
    if not near:
        return item.x
    # A lane that goes on as a lane is to be straight.
    weights = [8.0 if item.is_lane and other.is_lane else 1.0 for other in near]
    return sum(weight * other.x for weight, other in zip(weights, near, strict=True)) / sum(weights)


def _space(row: Sequence[_Item], wanted: Sequence[float], left: int, right: int) -> None:
    """Each item as near to its wanted column as order, room between and the margins allow, in whole pixels."""
    widths = [(one.width + other.width) / 2 for one, other in pairwise(row)]
    between = [LANE_GAP if one.is_lane or other.is_lane else BOX_GAP for one, other in pairwise(row)]
    low, high = left + row[0].width / 2, right - row[-1].width / 2
    # Very many lanes beside one box: they move together, and never into it.
    scale = min(1.0, (high - low - sum(widths)) / max(sum(between), 1))
    gaps = [width + gap * scale for width, gap in zip(widths, between, strict=True)]
    weights = [2.0 if item.is_lane else 1.0 for item in row]
    for item, x in zip(row, spaced(wanted, gaps, low, high, weights), strict=True):
        item.x = x


def spaced(
    wanted: Sequence[float], gaps: Sequence[float], low: float, high: float, weights: Sequence[float] = ()
) -> list[float]:
    """Numbers between low and high, each at least its gap behind the one before, with the least sum of squares of what
    they are away from `wanted` (isotonic regression by pooling adjacent violators). Gaps shrink where there is no room.
    """
    room, needed = high - low, sum(gaps)
    if needed > room:
        gaps = [gap * max(room, 0) / needed for gap in gaps]
    offsets = [0.0]
    for gap in gaps:
        offsets.append(offsets[-1] + gap)
    pools: list[tuple[float, float, int]] = []  # mean, weight, how many
    for number, (want, offset) in enumerate(zip(wanted, offsets, strict=True)):
        mean, weight, count = want - offset, weights[number] if weights else 1.0, 1
        while pools and pools[-1][0] > mean:
            other, its_weight, its_count = pools.pop()
            mean = (mean * weight + other * its_weight) / (weight + its_weight)
            weight, count = weight + its_weight, count + its_count
        pools.append((mean, weight, count))
    means = [mean for mean, _, count in pools for _ in range(count)]
    limit = high - offsets[-1]
    return [
        float(round(min(max(mean, low), max(limit, low)) + offset)) for mean, offset in zip(means, offsets, strict=True)
    ]


class _Router:
    """Lines: where they leave a box, where they enter the next one, and on which track they run between."""

    def __init__(
        self, grid: _Grid, width: int, heights: Mapping[str, int], label_height: int, port_gap: int, port_inset: int
    ) -> None:
        self.grid = grid
        self.width = width
        # Of each row.
        self.heights = [max(heights[item.target] for item in row if not item.is_lane) for row in grid.rows]
        self.label_height = label_height
        self.port_gap = port_gap
        self.port_inset = port_inset
        # (item, target of the line) -> column, at the lower edge of an item; and at the upper edge.
        self.leaves: dict[tuple[int, str], int] = {}
        self.enters: dict[int, int] = {}

    def drawing(self, top: int) -> Drawing:
        self._choose_ports()
        tops, tracks = [top], []
        for number in range(len(self.grid.rows) - 1):
            found = self._tracks(number)
            tracks.append(found)
            count = max(found.values(), default=-1) + 1
            gap = GAP_TOP + self.label_height + max(count - 1, 0) * TRACK_GAP + GAP_BOTTOM
            tops.append(tops[-1] + self.heights[number] + gap)
        boxes = {
            item.target: Rect(round(item.x) - self.width // 2, y, self.width, height)
            for row, y, height in zip(self.grid.rows, tops, self.heights, strict=True)
            for item in row
            if not item.is_lane
        }
        routes = {edge: self._route(edge, tops, tracks) for edge in self.grid.edges}
        rows = [[item.target for item in row if not item.is_lane] for row in self.grid.rows]
        return Drawing(boxes, routes, rows, tops[-1] + self.heights[-1] - top)

    def _choose_ports(self) -> None:
        for row in self.grid.rows:
            for item in row:
                self.enters[id(item)] = round(item.x)
        for _ in range(2):
            for row in self.grid.rows:
                for item in row:
                    self._choose_leaving(item)
            for row in self.grid.rows:
                for item in row:
                    self._choose_entering(item)
        self._straighten()

    def _choose_leaving(self, item: _Item) -> None:
        if item.is_lane:
            self.leaves[id(item), item.target] = round(item.x)
            return
        if not item.below:
            return
        below = sorted(item.below, key=lambda other: (self.enters[id(other)], other.target))
        wanted = [float(self.enters[id(other)]) for other in below]
        half = self.width / 2 - self.port_inset
        columns = spaced(wanted, [float(self.port_gap)] * (len(below) - 1), item.x - half, item.x + half)
        for other, x in zip(below, columns, strict=True):
            self.leaves[id(item), other.target] = round(x)

    def _choose_entering(self, item: _Item) -> None:
        if item.is_lane or not item.above:
            return
        columns = sorted(self.leaves[id(other), item.target] for other in item.above)
        half = self.width // 2 - self.port_inset
        self.enters[id(item)] = min(max(columns[len(columns) // 2], round(item.x) - half), round(item.x) + half)

    def _straighten(self) -> None:
        """A step of a few pixels looks like a mistake: the upper end gives way, unless it would meet its neighbour."""
        for row in self.grid.rows:
            for item in row:
                ports = {other.target: self.leaves[id(item), other.target] for other in item.below}
                for other in item.below if not item.is_lane else ():
                    x = self.enters[id(other)]
                    near = min((abs(x - port) for name, port in ports.items() if name != other.target), default=99)
                    is_near = 0 < abs(x - ports[other.target]) < 2 * TRACK_GAP and near >= self.port_gap
                    if is_near and abs(x - item.x) <= self.width / 2 - self.port_inset:
                        ports[other.target] = self.leaves[id(item), other.target] = x

    def _tracks(self, number: int) -> dict[str, int]:
        """Target -> the track of the lines that lead to it, for those that do not just go straight down."""
        uppers: dict[str, list[int]] = {}
        lowers: dict[str, int] = {}
        for item in self.grid.rows[number]:
            for other in item.below:
                uppers.setdefault(other.target, []).append(self.leaves[id(item), other.target])
                lowers[other.target] = self.enters[id(other)]
        spans = {
            target: (min(*columns, lowers[target]), max(*columns, lowers[target]))
            for target, columns in uppers.items()
            if any(x != lowers[target] for x in columns)
        }
        # Where one comes down on the column in which another goes on, the first must have turned off before.
        before: dict[str, set[str]] = {
            target: {
                other
                for other in spans
                if other != target and any(abs(x - lowers[target]) < PORT_GAP / 2 for x in uppers[other])
            }
            for target in spans
        }
        return _packed(spans, before)

    def _route(
        self, edge: tuple[str, str], tops: Sequence[int], tracks: Sequence[Mapping[str, int]]
    ) -> list[tuple[int, int]]:
        target = edge[1]
        number = self.grid.row_of[edge[0]]
        points: list[tuple[int, int]] = []
        for above, below in self.grid.steps(edge):
            start, end = self.leaves[id(above), target], self.enters[id(below)]
            bottom = tops[number] + self.heights[number]
            if not points:
                points.append((start, bottom))
            if start != end:
                y = bottom + GAP_TOP + self.label_height + tracks[number][target] * TRACK_GAP
                points += [(start, y), (end, y)]
            number += 1
            points.append((end, tops[number]))
        return _without_needless(points)


def _packed(spans: Mapping[str, tuple[int, int]], before: Mapping[str, set[str]]) -> dict[str, int]:
    """Tracks for horizontal lines: nothing overlaps, and each is below those that come `before` it."""
    tracks: dict[str, int] = {}
    taken: list[list[tuple[int, int]]] = []
    left = sorted(spans, key=lambda target: (spans[target], target))
    while left:
        # In a circle nothing is free: then the first one goes, and touches another line for a few pixels.
        target = next((name for name in left if not before[name] & set(left)), left[0])
        left.remove(target)
        low, high = spans[target]
        track = max((tracks[other] + 1 for other in before[target] if other in tracks), default=0)
        while track < len(taken) and any(
            low < other_high + LANE_GAP and other_low < high + LANE_GAP for other_low, other_high in taken[track]
        ):
            track += 1
        while len(taken) <= track:
            taken.append([])
        taken[track].append((low, high))
        tracks[target] = track
    return tracks


def _without_needless(points: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Only the ends and the corners."""
    kept = list(points[:1])
    for point, following in zip(points[1:], [*points[2:], None], strict=True):
        straight = following is not None and (
            kept[-1][0] == point[0] == following[0] or kept[-1][1] == point[1] == following[1]
        )
        if not straight and point != kept[-1]:
            kept.append(point)
    return kept
