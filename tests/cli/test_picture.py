# SPDX-License-Identifier: MIT
"""The picture of the device graph: valid, whole, readable at 1,000 pixels in light and dark, the same each time."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ET
from functools import cache
from itertools import combinations, pairwise
from pathlib import Path

import pytest
from click.testing import CliRunner

from mirage_py.build import build as building
from mirage_py.build import elf, frozen, sizes
from mirage_py.build.sizes import BYTECODE, IMAGE, Sizes
from mirage_py.cli import commands, describe, picture
from mirage_py.configure.codegen import Configuration, configure
from mirage_py.configure.ownership import modules_by_kind
from mirage_py.configure.request import Request
from mirage_py.support import svg

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
SVG = "{http://www.w3.org/2000/svg}"
BUILDS = {"hvt": ("hvt", {}), "direct": ("unix", {"net": "direct"}), "socket": ("unix", {"net": "socket"})}
# The relay's cards have no stack: --net is taken and chooses nothing.
CASES = [(example, build) for example in ("echo", "hello", "relay") for build in BUILDS]

# What a description of devices may hold that a picture could stumble over.
TWENTY = """
from mirage_py.dsl import *
fast = ixgbe_of_pci(pci_device(PciInfo(vendor=0x8086, device=0x10FB), "fast"), mtu=9000)
lan, wan = recorded_stack(group="lan"), generic_stack(fast, group="wan")
odd = key("odd", default="<&>\\"']]>\\u0001 é 漢字 " + "w" * 60)
long = key("a-key-with-a-name-that-goes-on-and-on-and-on", default="and a value that does as well")
kinds = [
    Kind(f"service_{n}", offers=Signature(f"service {n}"), implementation=f"app.ServiceWithALongName{n}",
         arguments={"stack": STACK, "log": LOG, "random": optional(RANDOM)}, doc="<b>&amp;</b>",
         keys={f"level{m}": key(f"level-{n}-{m}", type="int", default=m) for m in range(n % 7)})
    for n in range(20)
]
services = [kind(wan if n % 2 else lan, log(), random() if n % 3 else None) for n, kind in enumerate(kinds)]
register("big", unikernel("app.App", lan, wan, happy_eyeballs(wan), clock(), console(), *services, keys=[odd, long]))
"""
CLASSES = "class App:\n    def __init__(self, *a, **k): pass\n    async def start(self): pass\n" + "".join(
    f"class ServiceWithALongName{n}:\n    def __init__(self, stack, log, random=None, **levels): pass\n"
    for n in range(20)
)


@cache
def configured(directory: Path, build: str) -> Configuration:
    target, values = BUILDS[build]
    return configure(Request(directory / "config.py", None, target, values))


def drawn(configuration: Configuration, measured: Sizes | None = None) -> str:
    return picture.draw(configuration, measured, owned(configuration))


def owned(configuration: Configuration) -> dict[str, list[str]]:
    return modules_by_kind(configuration.graph, configuration.trees)


def measured(configuration: Configuration, octets: int, source: str = IMAGE) -> Sizes:
    names = [module.name for module in configuration.resolution.modules]
    return Sizes(dict.fromkeys(names, octets), source, 430_728 if source == IMAGE else None)


class Box:
    def __init__(self, group: ET.Element) -> None:
        self.name = group.get("data-device", "")
        rect = group.find(f"{SVG}rect")
        assert rect is not None
        self.x, self.y, self.width, self.height = (float(rect.get(n, "")) for n in ("x", "y", "width", "height"))
        self.right, self.bottom = self.x + self.width, self.y + self.height
        self.texts = [Text(element) for element in group.iter(f"{SVG}text")]
        self.classes = rect.get("class", "").split()
        self.tooltip = group.findtext(f"{SVG}title") or ""

    @property
    def words(self) -> list[str]:
        return [text.content for text in self.texts]


class Text:
    """Where a line of text is at most, by a width that is rather too large."""

    def __init__(self, element: ET.Element) -> None:
        self.content = element.text or ""
        self.size = float(element.get("font-size", "0"))
        width = svg.text_width(self.content, self.size, bold=element.get("font-weight") == "bold")
        x, y = float(element.get("x", "")), float(element.get("y", ""))
        self.x = x - width if element.get("text-anchor") == "end" else x
        self.right = self.x + width
        self.y, self.bottom = y - 0.8 * self.size, y + 0.25 * self.size

    def meets(self, other: Text | Box) -> bool:
        return self.x < other.right and other.x < self.right and self.y < other.bottom and other.y < self.bottom


def points_of(path: ET.Element) -> list[tuple[float, float]]:
    """The corners of a line: its ends, and the control points of its curves."""
    numbers = re.findall(r"[MLQ]([\d. -]+)", path.get("d", ""))
    pairs = [[float(n) for n in each.split()] for each in numbers]
    return [(pair[0], pair[1]) for pair in pairs]


def check(text: str, configuration: Configuration) -> dict[str, Box]:
    """All that makes a picture readable; its boxes by name."""
    root = ET.fromstring(text)
    width, height = float(root.get("width", "")), float(root.get("height", ""))
    assert width <= 1000
    assert root.get("viewBox") == f"0 0 {width:g} {height:g}"
    boxes = {box.name: box for group in root.iter(f"{SVG}g") if group.get("data-device") for box in [Box(group)]}
    texts = [Text(element) for element in root.iter(f"{SVG}text")]
    for one in texts:
        assert one.size >= 12
        assert one.x >= 0
        assert one.right <= width
        assert one.bottom <= height
    for first, second in combinations(texts, 2):
        assert not first.meets(second), (first.content, second.content)
    for box in boxes.values():
        assert box.right <= width
        assert box.bottom <= height
        for inner in box.texts:
            assert box.x < inner.x
            assert inner.right < box.right
            assert box.y < inner.y
            assert inner.bottom < box.bottom
    inside = {id(inner.content) for box in boxes.values() for inner in box.texts}
    for outer in texts:
        assert id(outer.content) in inside or not any(outer.meets(box) for box in boxes.values()), outer.content
    for a, b in combinations(boxes.values(), 2):
        assert a.right <= b.x or b.right <= a.x or a.bottom <= b.y or b.bottom <= a.y
    lines = [path for path in root.iter(f"{SVG}path") if path.get("data-from")]
    ends = {(path.get("data-from"), path.get("data-to")) for path in lines}
    wanted = {(placed.local, below.local) for placed in configuration.graph.devices for below in placed.arguments}
    assert wanted <= ends
    assert {placed.local for placed in configuration.graph.devices} <= set(boxes)
    for path in lines:
        points = points_of(path)
        start, end = boxes[path.get("data-from", "")], boxes[path.get("data-to", "")]
        assert start.x < points[0][0] < start.right
        assert (points[0][1], points[-1][1]) == (start.bottom, end.y)
        assert end.x < points[-1][0] < end.right
        for (x0, y0), (x1, y1) in pairwise(points):
            for box in boxes.values():
                crosses = min(x0, x1) < box.right and max(x0, x1) > box.x and y0 < box.bottom and y1 > box.y
                assert not crosses, (path.get("data-from"), path.get("data-to"), box.name)
    return boxes


@pytest.mark.parametrize(("example", "build"), CASES)
def test_examples_are_drawn_whole_and_readable(example: str, build: str) -> None:
    configuration = configured(EXAMPLES / example, build)
    check(drawn(configuration), configuration)
    boxes = check(drawn(configuration, measured(configuration, 987_654)), configuration)
    assert all(re.search(r"[\d.]+ KB|in \w+", " ".join(boxes[p.local].words)) for p in configuration.graph.devices)


@pytest.fixture
def twenty(tmp_path: Path) -> Path:
    (tmp_path / "config.py").write_text(TWENTY)
    (tmp_path / "app.py").write_text(CLASSES)
    return tmp_path


@pytest.mark.parametrize("build", BUILDS)
def test_an_application_with_twenty_kinds_of_its_own_is_drawn_whole_and_readable(twenty: Path, build: str) -> None:
    values = {f"{group}-net": value for group in ("lan", "wan") for value in BUILDS[build][1].values()}
    target = BUILDS[build][0]
    if build == "direct":
        # A PCI card is none of a process.
        config = (twenty / "config.py").read_text().replace("generic_stack(fast, ", "generic_stack(")
        (twenty / "config.py").write_text(config)
    configuration = configure(Request(twenty / "config.py", None, target, values))
    text = drawn(configuration)
    boxes = check(text, configuration)
    assert len(boxes) > 30
    assert "<b>&amp;</b>" in boxes["service_3_0"].tooltip
    assert "--odd: <&>\"']]>\ufffd é 漢字" in boxes["app"].tooltip
    assert len(boxes["service_6_0"].words) == 2 + picture.KEYS_SHOWN + 1
    assert "2 more keys" in boxes["service_6_0"].words


def test_the_same_graph_is_the_same_drawing_whatever_its_code_takes() -> None:
    configuration = configured(EXAMPLES / "echo", "hvt")
    assert drawn(configuration) == drawn(configured.__wrapped__(EXAMPLES / "echo", "hvt"))
    small, large = (drawn(configuration, measured(configuration, octets)) for octets in (10, 99_999))
    assert small != large
    assert re.sub(r"[\d.]+ KB", "", small) == re.sub(r"[\d.]+ KB", "", large)


def test_what_is_unset_is_folded_away_and_what_is_set_is_shown() -> None:
    configuration = configure(Request(EXAMPLES / "echo" / "config.py", None, "hvt", {"ipv4": "10.1.2.3/24"}))
    boxes = check(drawn(configuration), configuration)
    assert boxes["addressing0"].words[2:] == ["--ipv4 10.1.2.3/24", "3 keys unset"]
    assert "--ipv4-gateway: (unset)" in boxes["addressing0"].tooltip
    assert boxes["stack0"].words[2:] == ["--net direct", "1 key unset"]
    assert "(unset)" not in " ".join(word for box in boxes.values() for word in box.words)


def test_options_that_were_not_taken_are_beside_what_was_in_grey() -> None:
    text = drawn(configured(EXAMPLES / "echo", "hvt"))
    boxes = check(text, configured(EXAMPLES / "echo", "hvt"))
    grey = {tuple(box.words): box for box in boxes.values() if "other" in box.classes}
    assert sorted(grey) == [
        ("--congestion", "newreno (NewReno)"),
        ("--entropy", "cpu (Random)"),
        ("--net", "socket, not for hvt"),
        ("--nic", "ixgbe (Ixgbe)"),
        ("--nic", "tap, not for hvt"),
    ]
    assert grey["--nic", "ixgbe (Ixgbe)"].y == boxes["net0"].y
    assert 'data-from="ethernet0" data-to="(--nic ixgbe for net0)"' in text


def test_application_is_on_top_and_hardware_below() -> None:
    boxes = check(drawn(configured(EXAMPLES / "relay", "hvt")), configured(EXAMPLES / "relay", "hvt"))
    hardware = [box for box in boxes.values() if "hardware" in box.classes]
    assert [box.words for box in sorted(hardware, key=lambda box: box.words)] == [
        ["PCI function", "1af4:1041|1000"],
        ["PCI function #1", "1af4:1041|1000"],
    ]
    assert all(boxes["relay"].y < box.y for box in boxes.values() if box.name != "relay")
    assert all(box.y < hardware[0].y for box in boxes.values() if box not in hardware)


def contrast(one: str, other: str) -> float:
    """WCAG 2.2's ratio of two colours."""

    def luminance(colour: str) -> float:
        parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    lighter, darker = sorted((luminance(one), luminance(other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_from_every_ground_in_light_and_dark(scheme: str) -> None:
    styles = picture._styles()

    def fill(selector: str) -> str:
        found = re.search(r"fill: (#\w{6})", getattr(styles[selector], scheme))
        assert found, selector
        return found[1]

    rooms = [f".{room}" for room in picture._COLOURS]
    for ground in (".ground", ".band", *rooms):
        for words in ("text", ".quiet", ".size"):
            assert contrast(fill(words), fill(ground)) >= 4.5, (words, ground)
    for room in picture._COLOURS:
        assert contrast(fill(f".head.to-{room}, .tag.to-{room}"), fill(f".{room}")) >= 3.0, room
        assert contrast(fill(f".head.to-{room}, .tag.to-{room}"), fill(".band")) >= 3.0, room


# --- what it takes of the image --------------------------------------------------------------------------------------


def test_nothing_built_is_said(tmp_path: Path) -> None:
    configuration = configure(Request(EXAMPLES / "echo" / "config.py", tmp_path, "hvt"))
    assert "Nothing is built of this" in describe.svg(configuration)
    assert " KB<" not in describe.svg(configuration)


def test_sizes_of_the_image_are_shown_only_where_it_is_of_this_configuration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    configuration = configure(Request(EXAMPLES / "echo" / "config.py", tmp_path, "hvt"))
    image = tmp_path / configuration.image
    image.parent.mkdir()
    image.write_bytes(b"x" * 430_728)
    image.with_name(f"{image.name}.debug").write_bytes(b"\x7fELF")
    # What the linker adds to the note does not make it another image.
    linked = {**json.loads(json.dumps(configuration.note)), "minimum_memory_mb": 3}
    monkeypatch.setattr(elf, "read_note", lambda path: linked)
    monkeypatch.setattr(elf, "module_sizes", lambda path, names: dict.fromkeys(names, 1000))
    text = describe.svg(configuration)
    assert "The whole image, interpreter included: 430.7 KB." in text
    boxes = check(text, configuration)
    assert boxes["tcp0"].words[-1] != "1.0 KB"
    assert "1.0 KB" in boxes["udp0"].words
    assert "in pci0" in boxes["pci_bus0"].words
    monkeypatch.setattr(elf, "read_note", lambda path: {**configuration.note, "net": "none"})
    assert "Nothing is built of this" in describe.svg(configuration)


def test_compiled_modules_stand_in_for_an_image(tmp_path: Path) -> None:
    configuration = configure(Request(EXAMPLES / "hello" / "config.py", tmp_path, "hvt"))
    folder = building.build_folder(tmp_path) / "mpy"
    folder.mkdir(parents=True)
    for module in configuration.resolution.modules:
        given = sizes.module(module.name, module.path, module.origin, EXAMPLES / "hello")
        if given is not None and given.name != "libos/hal/clock.py":
            (folder / f"{frozen.read(given).digest}.mpy").write_bytes(b"x" * 2500)
    text = describe.svg(configuration)
    boxes = check(text, configuration)
    assert "2.5 KB" in boxes["console0"].words
    assert boxes["clock0"].words == ["clock0", "Clock"]
    assert "no image of just this is built" in text
    assert sizes.measure(tmp_path, tmp_path / "none", {}, [], []) is None
    assert BYTECODE != IMAGE


def test_code_belongs_to_the_device_that_alone_needs_it() -> None:
    configuration = configured(EXAMPLES / "echo", "hvt")
    mine = owned(configuration)
    assert "libos/wire/dhcp.py" in mine["libos.net.service.dhcp"]
    assert "libos/driver/virtio_net_hw.py" in mine["libos.driver.virtio_net"]
    assert {"libos/net/tcp/input.py", "libos/net/tcp/__init__.py"} <= set(mine["libos.net.tcp"])
    assert "libos/net/tcp/cubic.py" in mine["libos.net.tcp.cubic"]
    everything = [name for names in mine.values() for name in names]
    assert len(everything) == len(set(everything))
    # What several stand on is nobody's.
    assert not {"libos/wire/ethernet.py", "libos/app/args.py", "asyncio/core.py", "main.py"} & set(everything)
    assert set(everything) <= {module.name for module in configuration.resolution.modules}


# --- the command, and the picture in the documents -------------------------------------------------------------------


def test_describe_draws_without_graphviz(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.chdir(EXAMPLES / "hello")
    done = CliRunner().invoke(commands.cli, ["describe", "-t", "hvt", "--svg", str(tmp_path / "a.svg")])
    assert done.exit_code == 0, done.output
    assert ET.parse(tmp_path / "a.svg").getroot().tag == f"{SVG}svg"
    done = CliRunner().invoke(commands.cli, ["describe", "-t", "hvt", "--svg", str(tmp_path / "no" / "a.svg")])
    assert done.exit_code == 1
    assert done.stderr.endswith("a.svg: No such file or directory; name another file with --svg\n")
    assert done.stderr.count("\n") == 1


def test_picture_in_the_documents_is_what_the_tool_draws_now() -> None:
    configuration = configured(EXAMPLES / "echo", "hvt")
    kept = (ROOT / "docs" / "echo.svg").read_text()
    now = drawn(configuration, measured(configuration, 1000))

    def without_sizes(text: str) -> str:
        return re.sub(r"[\d.]+ KB", "KB", text)

    assert without_sizes(kept) == without_sizes(now), "make docs/echo.svg anew: README.md has the command"
    for page in ("README.md",):
        text = (ROOT / page).read_text()
        assert "docs/echo.svg" in text
        assert "mirage-py describe --svg ../../docs/echo.svg" in text
