# SPDX-License-Identifier: MIT
"""The device graph for human eyes: a tree, text for Graphviz, a picture, and the answers to `mirage-py query`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mirage_py.configure import ownership
from mirage_py.configure.codegen import Configuration
from mirage_py.configure.graph import Decision, Graph, Placed, all_keys
from mirage_py.configure.keys import Key
from mirage_py.support.errors import UserError

IMAGE_QUERIES = ("name", "keys", "devices")


@dataclass
class Branch:
    """A line of the tree, and what stands under it."""

    text: str
    branches: list[Branch] = field(default_factory=list)


def tree(configuration: Configuration) -> Branch:
    """The graph as a tree from the application down. A device that occurs again is only named."""
    graph = configuration.graph
    shown: set[str] = set()

    def branch(placed: Placed, decisions: tuple[Decision, ...]) -> Branch:
        text = f"{placed.local}  {placed.kind.implementation}" + "".join(f"  [{_decided(d)}]" for d in decisions)
        if placed.local in shown:
            return Branch(f"{placed.local}  (above)")
        shown.add(placed.local)
        text += "".join(f"  {key.option} {_value(key)}" for key in placed.keys.values())
        return Branch(text, [branch(a, d) for a, d in zip(placed.arguments, placed.decisions, strict=True)])

    top = branch(graph.application, ())
    loose = [branch(placed, ()) for placed in graph.devices if placed.local not in shown]
    name, target = configuration.registration.name, configuration.target
    return Branch(f"{name} for {target}", [top, *loose])


def _decided(decision: Decision) -> str:
    others = [str(option) for option in decision.options if option != decision.value]
    return f"--{decision.key} {decision.value}" + (f", or {', '.join(others)}" if others else "")


def _value(key: Key) -> str:
    return key.show(key.default) or "(unset)"


def lines(branch: Branch, indent: str = "") -> Iterator[str]:
    """The tree as plain lines."""
    yield indent + branch.text
    for child in branch.branches:
        yield from lines(child, indent + "  ")


def dot(configuration: Configuration) -> str:
    """The graph in Graphviz' language: a diamond for the application, boxes for devices, circles for choices, dashed
    lines for the values of keys."""
    graph = configuration.graph
    text = [f"digraph {_quoted(configuration.registration.name)} {{", "  node [shape=box];"]
    for placed in graph.devices:
        shape = ", shape=diamond" if placed is graph.application else ""
        label = _quoted(f"{placed.local}\n{placed.kind.implementation}")
        text.append(f"  {_quoted(placed.local)} [label={label}{shape}];")
        for key in placed.keys.values():
            text.append(f"  {_quoted(key.option)} [shape=plaintext, label={_quoted(f'{key.option} {_value(key)}')}];")
            text.append(f"  {_quoted(placed.local)} -> {_quoted(key.option)} [style=dashed];")
    text += sorted(set(_edges(graph)))
    return "\n".join([*text, "}", ""])


def _edges(graph: Graph) -> Iterator[str]:
    for placed in graph.devices:
        for argument, decisions in zip(placed.arguments, placed.decisions, strict=True):
            above = placed.local
            for decision in decisions:
                circle = f"--{decision.key}"
                yield f"  {_quoted(circle)} [shape=circle];"
                yield f"  {_quoted(above)} -> {_quoted(circle)}{_labelled(above, decisions)};"
                above = circle
            yield f"  {_quoted(above)} -> {_quoted(argument.local)}{_labelled(above, decisions)};"


def _labelled(above: str, decisions: tuple[Decision, ...]) -> str:
    value = next((decision.value for decision in decisions if above == f"--{decision.key}"), None)
    return "" if value is None else f" [label={_quoted(str(value))}]"


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


def svg(configuration: Configuration) -> str:
    """The picture as SVG, with the octets of each device where this configuration is built. Raises UserError."""
    from mirage_py.build import sizes
    from mirage_py.cli import picture

    request = configuration.request
    modules = (
        sizes.module(module.name, module.path, module.origin, request.directory)
        for module in configuration.resolution.modules
    )
    measured = sizes.measure(
        request.output_directory,
        request.output_directory / configuration.image,
        configuration.note,
        [module.name for module in configuration.resolution.modules],
        [module for module in modules if module is not None],
    )
    return picture.draw(configuration, measured, ownership.modules_by_kind(configuration.graph, configuration.trees))


# --- query ---------------------------------------------------------------------------------------------------------


def query(configuration: Configuration, what: str) -> Any:
    """The answer to `mirage-py query WHAT` as plain data."""
    answers: dict[str, Callable[[], Any]] = {
        "name": lambda: configuration.registration.name,
        "packages": lambda: _packages(configuration),
        "files": lambda: _files(configuration),
        "keys": lambda: _keys(configuration),
        "devices": lambda: _devices(configuration.graph),
        "Makefile": lambda: next(file.text for file in configuration.plan.files if file.path == "Makefile"),
    }
    return answers[what]()


def query_image(image: Path, what: str) -> Any:
    """The same from what an image says about itself. Raises UserError for what it does not say."""
    from mirage_py.build import elf

    if what not in IMAGE_QUERIES:
        raise UserError(
            f"an image does not say its {what}", f"ask for {', '.join(IMAGE_QUERIES)}, or leave the image out"
        )
    note = elf.read_note(image)
    if note is None:
        raise UserError(f"{image} is not an image of mirage-py", "name a file that `make` built")
    return note[what]


def query_lines(what: str, answer: Any) -> Iterator[str]:
    """An answer as text, a line for each thing, its columns two spaces apart."""
    if isinstance(answer, str):
        yield answer.rstrip("\n")
        return
    rows = [_ROWS[what](item) for item in answer]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))] if rows else []
    for row in rows:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


_ROWS: dict[str, Callable[[Any], tuple[str, ...]]] = {
    "packages": lambda item: (item["name"], item["origin"], str(len(item["modules"]))),
    "files": lambda item: (item["path"], item["role"], item["origin"]),
    "keys": lambda item: (
        f"--{item['name']}",
        item.get("stage", "runtime"),
        item["type"],
        "" if item["default"] is None else str(item["default"]),
        item["doc"],
    ),
    "devices": lambda item: (
        item["name"],
        item["kind"],
        ", ".join(item["args"]) if "args" in item else _hardware_text(item),
    ),
}


def _hardware_text(item: dict[str, Any]) -> str:
    """What the device is, as the specifications write it; then what it is for."""
    words = []
    if "vendor" in item:
        device = item.get("device")
        devices = device if isinstance(device, list) else ["*" if device is None else device]
        words += [f"{item['vendor']:04x}:{one if one == '*' else format(one, '04x')}" for one in devices]
    if "class_code" in item:
        words.append(f"class={item['class_code']:04x}")
    words += [f"{name}={item[name]}" for name in ("bus", "slot", "index", "driver", "network") if name in item]
    words += [f"--{key}" for key in item.get("keys", {}).values()]
    return " ".join(words)


def _packages(configuration: Configuration) -> list[dict[str, Any]]:
    packages: dict[tuple[str, str], list[str]] = {}
    for module in configuration.resolution.modules:
        package = module.name.rpartition("/")[0].replace("/", ".")
        packages.setdefault((package or module.name.removesuffix(".py"), module.origin), []).append(module.name)
    return [
        {"name": name, "origin": origin, "modules": modules} for (name, origin), modules in sorted(packages.items())
    ]


def _files(configuration: Configuration) -> list[dict[str, str]]:
    generated = [{"path": f.path, "role": "generated", "origin": "configure"} for f in configuration.plan.files]
    frozen = [{"path": m.name, "role": "frozen", "origin": m.origin} for m in configuration.resolution.modules]
    return [*generated, *frozen]


def _keys(configuration: Configuration) -> list[dict[str, Any]]:
    graph = configuration.graph
    configurable = all_keys(configuration.registration.root)
    asked = [
        {
            "name": name,
            "stage": "configure",
            "type": configurable[name][0].type,
            "default": value,
            "doc": configurable[name][0].doc,
            "choices": list(configurable[name][0].choices),
        }
        for name, value in graph.configured.items()
    ]
    runtime = [
        {
            "name": k.name,
            "stage": "runtime",
            "type": k.type,
            "default": k.spelled_default,
            "doc": k.doc,
            "choices": list(k.choices),
        }
        for k in graph.runtime_keys()
    ]
    return [*asked, *runtime]


def _devices(graph: Graph) -> list[dict[str, Any]]:
    return [
        {
            "name": placed.local,
            "kind": placed.kind.name,
            "class": placed.kind.implementation,
            "args": [argument.local for argument in placed.arguments],
            "doc": placed.kind.doc,
        }
        for placed in graph.devices
    ]
