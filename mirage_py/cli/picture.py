# SPDX-License-Identifier: MIT
"""The device graph as a picture: the application on top, the hardware below, each device on what it is built on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from mirage_py.build.sizes import IMAGE, Sizes
from mirage_py.configure.codegen import Configuration
from mirage_py.configure.device import Choice, Device
from mirage_py.configure.graph import Graph, Placed
from mirage_py.configure.keys import Key
from mirage_py.support import layered, svg
from mirage_py.support.layered import Drawing, Rect
from mirage_py.support.svg import Style

WIDTH = 1000
MARGIN = 16
GUTTER = 90  # what the layers are called, beside them
BOX_WIDTH = 160
PADDING = 8
NAME_PX = 13
TEXT_PX = 12
TITLE_PX = 20
LINE_HEIGHT = 16
KEYS_SHOWN = 4
TOP = 96  # of the first box, below title and what was chosen
BAND = 12  # what a layer's ground goes beyond its boxes

# The layers, each below the one before; within one, devices are in rows by what stands on what.
LAYERS = ("application", "library OS", "driver", "platform", "hardware")
_APPLICATION, _LIBRARY, _DRIVER, _PLATFORM, _HARDWARE = range(5)

# Room of a device's class -> (what the legend calls it, its layer). The longest prefix counts.
_ROOMS = {
    "": ("own", "the application's own", _APPLICATION),
    "libos.app": ("face", "for applications", _LIBRARY),
    "libos.net.service": ("face", "for applications", _LIBRARY),
    "libos.net": ("net", "TCP, UDP, the stack", _LIBRARY),
    "libos.net.ip": ("ip", "IP", _LIBRARY),
    "libos.net.link": ("link", "link", _LIBRARY),
    "libos.driver": ("driver", "driver", _DRIVER),
    "libos.hal": ("hal", "platform", _PLATFORM),
}
_HARDWARE_ROOM = ("hardware", "hardware", _HARDWARE)
_OTHER_ROOM = ("other", "other options of a choice", 0)

# Room -> ground, border in light; ground, border in dark.
_COLOURS = {
    "own": ("#fde9c8", "#b7791f", "#4a3513", "#e0a84c"),
    "face": ("#dcecfb", "#2b6cb0", "#17344f", "#6cb0f0"),
    "net": ("#d9f2ec", "#1f7a68", "#12403a", "#55c2ad"),
    "ip": ("#e3f3d3", "#4d7c1f", "#2a3f17", "#93c55c"),
    "link": ("#f3f0c8", "#857a12", "#3d3a13", "#cfc24e"),
    "driver": ("#fbe0dc", "#b4442f", "#4c2019", "#ee8d78"),
    "hal": ("#ebe3f9", "#6b46b0", "#33254f", "#b394ee"),
    "hardware": ("#e4e6ea", "#5a6270", "#30343b", "#a3abb8"),
}


@dataclass
class _Box:
    """A box and what stands in it. tags: how it was chosen. notes: lines below its name."""

    name: str
    room: tuple[str, str, int]
    title: str
    subtitle: str
    tags: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    folded: str = ""
    size: str = ""
    tooltip: str = ""
    depth: int = 0
    layer: int = 0

    @property
    def lines(self) -> int:
        return 1 + bool(self.subtitle or self.size) + len(self.tags) + len(self.notes) + bool(self.folded)

    @property
    def height(self) -> int:
        return self.lines * LINE_HEIGHT + PADDING + 2


def draw(configuration: Configuration, sizes: Sizes | None, owned: Mapping[str, list[str]]) -> str:
    """The picture as SVG, `WIDTH` pixels wide.

    sizes: of what was built; None: nothing was, and the picture says so. owned: module of a kind -> its frozen files.
    The same graph gives the same drawing, whatever the sizes are.
    """
    contents = _Contents(configuration.graph, sizes, owned)
    boxes, edges, order = contents.collect()
    for box in boxes.values():
        _put_in_layer(box, boxes, edges)
    edges += contents.options(boxes)
    places = sorted({(box.layer, box.depth) for box in boxes.values()})
    rows = [[name for name in order if (boxes[name].layer, boxes[name].depth) == place] for place in places]
    heights = {box.name: box.height for box in boxes.values()}
    drawing = layered.draw(rows, edges, BOX_WIDTH, heights, GUTTER, WIDTH - MARGIN, top=TOP)
    title = f"{configuration.registration.name} for {configuration.target}"
    bottom = TOP + drawing.height + BAND
    legend = list(_legend(boxes.values(), bottom + 14))
    notes = list(_paragraph(_about_sizes(sizes, owned), bottom + 14 + legend[-1].bottom_below))
    height = bottom + 14 + legend[-1].bottom_below + len(notes) * LINE_HEIGHT + MARGIN
    parts = [
        svg.element("rect", width=WIDTH, height=height, class_="ground"),
        *_bands(boxes, drawing),
        svg.text(MARGIN, 34, svg.fit(title, TITLE_PX, WIDTH - 2 * MARGIN, bold=True), TITLE_PX, bold=True),
        *_paragraph(_chosen(configuration), 58),
        *_lines(boxes, drawing),
        *(_drawn(box, drawing.boxes[box.name]) for box in boxes.values()),
        *(part.text for part in legend),
        *notes,
    ]
    description = (
        f"Which device of {title} is built on which; boxes are devices, lines lead down to what they stand on."
    )
    return svg.document(WIDTH, height, title, description, _styles(), parts)


# --- what is in the picture ---


class _Contents:
    """Boxes and lines: the devices, the options that were not taken, and what the machine must attach."""

    def __init__(self, graph: Graph, sizes: Sizes | None, owned: Mapping[str, list[str]]) -> None:
        self.graph = graph
        self.sizes = sizes
        self.owned = owned
        self.boxes: dict[str, _Box] = {}
        self.edges: dict[tuple[str, str], None] = {}
        # Device -> boxes that begin beside it; option that was not taken -> who would stand on it.
        self.beside: dict[str, list[str]] = {}
        self.users: dict[str, list[str]] = {}

    def collect(self) -> tuple[dict[str, _Box], list[tuple[str, str]], list[str]]:
        """Boxes, from the application down; edges; and names as they begin in their rows: as in main.py, options that
        were not taken beside the device that was."""
        for placed in reversed(self.graph.devices):
            self.boxes[placed.local] = self._device(placed)
        first: dict[str, str] = {}
        for placed in reversed(self.graph.devices):
            self._say_size(placed, first)
            for argument in placed.arguments:
                self.edges[placed.local, argument.local] = None
            self._add_choices(placed)
            self._add_hardware(placed)
        order = [name for placed in self.graph.devices for name in [placed.local, *self.beside.get(placed.local, ())]]
        return self.boxes, list(self.edges), order

    def _device(self, placed: Placed) -> _Box:
        keys = list(placed.keys.values())
        given = [key for key in keys if key.default is not None and key.default is not False]
        shown = given[:KEYS_SHOWN]
        kind = placed.kind
        tooltip = [f"{placed.local}: {kind.implementation}", *([kind.doc] if kind.doc else [])]
        tooltip += [f"{key.option}: {_value(key)}" for key in keys]
        return _Box(
            placed.local,
            _room(kind.module),
            placed.local,
            kind.class_name,
            notes=[line for key in shown for line in _key_lines(key)],
            folded=_folded(len(keys) - len(given), len(given) - len(shown)),
            tooltip="\n".join(tooltip),
        )

    def _say_size(self, placed: Placed, first: dict[str, str]) -> None:
        if self.sizes is None:
            return
        other = first.setdefault(placed.kind.module, placed.local)
        own = placed.kind.module.replace(".", "/")
        names = [name for name in self.owned.get(placed.kind.module, ()) if name in self.sizes.by_module]
        if not any(name in (f"{own}.py", f"{own}/__init__.py") for name in names):
            return
        total = sum(self.sizes.by_module[name] for name in names)
        # Code is there once, however many devices it serves.
        self.boxes[placed.local].size = _kilobytes(total) if other == placed.local else f"in {other}"

    def _add_choices(self, placed: Placed) -> None:
        """The tags of what was chosen for `placed`, and grey boxes for what was not."""
        for node, argument, decisions in zip(placed.device.arguments, placed.arguments, placed.decisions, strict=True):
            for decision in decisions:
                tag = f"--{decision.key} {_shown(decision.value)}"
                if tag not in self.boxes[argument.local].tags:
                    self.boxes[argument.local].tags.append(tag)
                if not isinstance(node, Choice):
                    break
                for value in node.options:
                    if value != decision.value:
                        self._add_option(placed, argument, node, value, value in decision.options)
                node = node.option(decision.value)

    def _add_option(self, placed: Placed, taken: Placed, choice: Choice, value: object, fits: bool) -> None:
        name = f"(--{choice.key.name} {_shown(value)} for {taken.local})"
        option = choice.option(value)  # type: ignore[arg-type]
        what = option.kind.class_name if isinstance(option, Device) else option.title
        self.boxes[name] = _Box(
            name,
            (_OTHER_ROOM[0], _OTHER_ROOM[1], self.boxes[taken.local].room[2]),
            choice.key.option,
            f"{_shown(value)} ({what})" if fits else f"{_shown(value)}, not for {self.graph.context.target}",
            tooltip=f"not chosen: {choice.key.option} {_shown(value)} ({what})",
        )
        if name not in self.beside.setdefault(taken.local, []):
            self.beside[taken.local].append(name)
        self.users.setdefault(name, []).append(placed.local)

    def options(self, boxes: Mapping[str, _Box]) -> list[tuple[str, str]]:
        """Puts the options that were not taken beside the device that was; a line to each from the nearest user."""
        edges = []
        for taken, names in self.beside.items():
            for name in names:
                if name in self.users:
                    boxes[name].layer, boxes[name].depth = boxes[taken].layer, boxes[taken].depth
                    nearest = max(self.users[name], key=lambda user: (boxes[user].layer, boxes[user].depth))
                    edges.append((nearest, name))
        return edges

    def _add_hardware(self, placed: Placed) -> None:
        if placed.kind.hardware is None:
            return
        name = f"(hardware of {placed.local})"
        # As the image's note has it, numbers among their likes included.
        settings = dict(placed.settings)
        settings |= {n: self.graph.number(placed, n) or None for n in placed.kind.derived if n in settings}
        found = placed.kind.hardware(settings)
        title, subtitle = _hardware_text(found)
        self.boxes[name] = _Box(name, _HARDWARE_ROOM, title, subtitle, tooltip=f"what {placed.local} drives")
        self.beside.setdefault(placed.local, []).append(name)
        self.edges[placed.local, name] = None


def _hardware_text(found: Mapping[str, object]) -> tuple[str, str]:
    """What a machine must attach, in two lines, as the specifications write it."""
    if found.get("bus") != "pci":
        return f"a {found.get('bus', '?')} of Linux", ""
    words = []
    if isinstance(vendor := found.get("vendor"), int):
        devices = found.get("device")
        numbers = devices if isinstance(devices, list | tuple) else [devices]
        words.append(f"{vendor:04x}:" + "|".join(f"{n:04x}" if isinstance(n, int) else "*" for n in numbers))
    if isinstance(code := found.get("class_code"), int):
        words.append(f"class {code:04x}")
    words += [f"at {found['slot']}"] if found.get("slot") is not None else []
    number = found.get("index")
    return "PCI function" + (f" #{number}" if number is not None else ""), " ".join(words)


def _room(module: str) -> tuple[str, str, int]:
    prefix = module
    while prefix not in _ROOMS:
        prefix = prefix.rpartition(".")[0]
    return _ROOMS[prefix]


def _put_in_layer(box: _Box, boxes: Mapping[str, _Box], edges: Iterable[tuple[str, str]]) -> None:
    """Below all that stand on it: `boxes` are in an order in which these come first, but for what was added to it."""
    above = [boxes[upper] for upper, lower in edges if lower == box.name]
    box.layer = max([box.room[2], *(other.layer for other in above)])
    box.depth = max((other.depth + 1 for other in above if other.layer == box.layer), default=0)


def _key_lines(key: Key) -> list[str]:
    """A key with its value in one line or two; what is still too long is cut when it is drawn."""
    value, inner = _value(key), BOX_WIDTH - 2 * PADDING
    whole = f"{key.option} {value}"
    if svg.text_width(whole, TEXT_PX) <= inner:
        return [whole]
    indented = f"    {value}"
    if svg.text_width(key.option, TEXT_PX) <= inner:
        return [key.option, indented]
    value = svg.fit(value, TEXT_PX, inner / 2)
    return [f"{svg.fit(key.option, TEXT_PX, inner - svg.text_width(f' {value}', TEXT_PX))} {value}"]


def _value(key: Key) -> str:
    return key.show(key.default) or "(unset)"


def _shown(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _folded(unset: int, more: int) -> str:
    """A line for the keys that are not shown."""
    if more:
        return f"{unset + more} more keys"
    return f"{unset} key{'s' if unset != 1 else ''} unset" if unset else ""


def _kilobytes(octets: int) -> str:
    return f"{octets / 1000:.1f} KB"


# --- what stands around it ---


def _chosen(configuration: Configuration) -> list[str]:
    chosen = [
        f"--{name} {_shown(value)}" for name, value in configuration.graph.configured.items() if value is not None
    ]
    return [
        "Each device stands on those that its lines lead down to.",
        f"Configured with {', '.join([f'-t {configuration.target}', *chosen])}.",
    ]


def _about_sizes(sizes: Sizes | None, owned: Mapping[str, list[str]]) -> list[str]:
    if sizes is None:
        return ["Nothing is built of this: how much code each device brings is not known before `make`."]
    own = {name for names in owned.values() for name in names}
    devices = sum(octets for name, octets in sizes.by_module.items() if name in own)
    shared = sum(octets for name, octets in sizes.by_module.items() if name not in own)
    if sizes.source != IMAGE:
        return ["KB: bytecode of the device alone, as far as it is compiled; no image of just this is built."]
    text = [
        f"KB: frozen code that is there for the device alone, {_kilobytes(devices)} in all; what several share is "
        f"{_kilobytes(shared)} more."
    ]
    if sizes.image_bytes is not None:
        text.append(f"The whole image, interpreter included: {_kilobytes(sizes.image_bytes)}.")
    return text


def _paragraph(sentences: Iterable[str], y: int) -> Iterator[str]:
    for number, sentence in enumerate(sentences):
        shown = svg.fit(sentence, TEXT_PX, WIDTH - 2 * MARGIN)
        yield svg.text(MARGIN, y + number * LINE_HEIGHT, shown, TEXT_PX, class_="quiet")


@dataclass
class _LegendPart:
    text: str
    bottom_below: int


def _legend(boxes: Iterable[_Box], y: int) -> Iterator[_LegendPart]:
    """A swatch and a name for each room that is there, in as many lines as it takes; how far down that goes."""
    rooms = [*dict.fromkeys(room[:2] for room in _ROOMS.values()), _HARDWARE_ROOM[:2], _OTHER_ROOM[:2]]
    there = {box.room[:2] for box in boxes}
    x, line = MARGIN, 0
    for room, words in (room for room in rooms if room in there):
        width = round(svg.text_width(words, TEXT_PX)) + 16 + 20
        if x + width > WIDTH - MARGIN:
            x, line = MARGIN, line + 1
        top = y + line * 22
        swatch = svg.element("rect", x=x, y=top, width=14, height=14, rx=3, class_=f"box {room}")
        label = svg.text(x + 20, top + 12, words, TEXT_PX)
        yield _LegendPart(svg.element("g", swatch + label, class_="legend"), (line + 1) * 22 + 14)
        x += width


# --- drawing it ---


def _bands(boxes: Mapping[str, _Box], drawing: Drawing) -> Iterator[str]:
    """The ground of each layer, with its name in the gutter."""
    layers = sorted({box.layer for box in boxes.values()})
    spans = {layer: [drawing.boxes[box.name] for box in boxes.values() if box.layer == layer] for layer in layers}
    for layer, rects in spans.items():
        top, bottom = min(rect.y for rect in rects) - BAND, max(rect.bottom for rect in rects) + BAND
        yield svg.element("rect", x=MARGIN // 2, y=top, width=WIDTH - MARGIN, height=bottom - top, rx=8, class_="band")
        yield svg.text(MARGIN, top + 22, LAYERS[layer], TEXT_PX, class_="quiet")


def _lines(boxes: Mapping[str, _Box], drawing: Drawing) -> Iterator[str]:
    heads: dict[tuple[int, int], str] = {}
    for (above, below), points in drawing.routes.items():
        room = boxes[below].room[0]
        yield svg.line(points, class_=f"line to-{room}", data_from=above, data_to=below)
        heads[points[-1]] = room
    for (x, y), room in heads.items():
        yield svg.arrow_head(x, y, class_=f"head to-{room}")


def _drawn(box: _Box, rect: Rect) -> str:
    """A box with what stands in it, and in full what is told when a pointer rests on it."""
    room, inner = box.room[0], rect.width - 2 * PADDING
    x, y = rect.x + PADDING, rect.y + LINE_HEIGHT
    is_other = room == _OTHER_ROOM[0]
    height = box.height if is_other else rect.height
    parts = [
        svg.element("title", svg.safe(box.tooltip)),
        svg.element("rect", x=rect.x, y=rect.y, width=rect.width, height=height, rx=6, class_=f"box {room}"),
    ]

    def add(words: str, size_px: int = TEXT_PX, class_: str = "", width: float = inner, bold: bool = False) -> None:
        nonlocal y
        parts.append(svg.text(x, y, svg.fit(words, size_px, width, bold=bold), size_px, class_=class_, bold=bold))
        y += LINE_HEIGHT

    add(box.title, TEXT_PX if is_other else NAME_PX, "quiet" if is_other else "", bold=not is_other)
    if box.subtitle or box.size:
        taken = svg.text_width(box.size, TEXT_PX) + PADDING if box.size else 0
        if box.size:
            parts.append(svg.text(rect.right - PADDING, y, box.size, TEXT_PX, class_="size", anchor="end"))
        add(box.subtitle, class_="quiet", width=inner - taken)
    for tag in box.tags:
        add(tag, class_=f"tag to-{room}")
    for note in box.notes:
        add(note)
    if box.folded:
        add(box.folded, class_="quiet")
    return svg.element("g", "".join(parts), data_device=box.name)


def _styles() -> dict[str, Style]:
    styles = {
        "text": Style("fill: #1c2128", "fill: #e6e8eb"),
        ".quiet": Style("fill: #57606a", "fill: #a0a8b2"),
        ".size": Style("fill: #1c2128", "fill: #e6e8eb"),
        ".ground": Style("fill: #ffffff", "fill: #14171b"),
        ".band": Style("fill: #f5f6f8", "fill: #1c2026"),
        ".box": Style("stroke-width: 1.2"),
        ".line": Style("fill: none; stroke-width: 1.4"),
        ".other": Style("fill: none; stroke: #9aa1aa; stroke-dasharray: 4 3", "stroke: #6d7580"),
        ".line.to-other": Style("stroke: #b5bac1; stroke-dasharray: 4 3", "stroke: #5a616b"),
        ".head.to-other": Style("fill: #b5bac1", "fill: #5a616b"),
    }
    for room, (ground, border, dark_ground, dark_border) in _COLOURS.items():
        styles[f".{room}"] = Style(f"fill: {ground}; stroke: {border}", f"fill: {dark_ground}; stroke: {dark_border}")
        styles[f".line.to-{room}"] = Style(f"stroke: {border}", f"stroke: {dark_border}")
        styles[f".head.to-{room}, .tag.to-{room}"] = Style(f"fill: {border}", f"fill: {dark_border}")
    return styles
