# SPDX-License-Identifier: MIT
"""Whose code is what: of the modules in an image, those that are there for one kind of device alone."""

from __future__ import annotations

from collections import Counter

from mirage_py.configure.graph import Graph
from mirage_py.configure.resolver import Trees, resolve_module

# What every generated main.py imports besides the devices.
_OF_MAIN = "libos.app.args"


def modules_by_kind(graph: Graph, trees: Trees) -> dict[str, list[str]]:
    """Module of a device kind (libos.net.tcp) -> names of the files (libos/net/tcp/input.py) that are frozen for it.

    That is its own file, where that is a package's what lies in it, and what nothing but it reaches; what several
    reach is nobody's. Raises UserError for an import that cannot be resolved.
    """
    wanted = sorted({placed.kind.module for placed in graph.devices})
    reached = {dotted: {module.name for module in resolve_module(dotted, trees).modules} for dotted in wanted}
    for dotted in wanted:
        # A module of another's package reaches all of that through the package's own file: it is not there for it.
        for package in wanted:
            if dotted.startswith(f"{package}."):
                reached[dotted] -= reached[package] - {_file(dotted)}
                reached[package].discard(_file(dotted))
    reachers = Counter(name for names in reached.values() for name in names)
    reachers.update(module.name for module in resolve_module(_OF_MAIN, trees).modules)
    own = {_file(dotted): dotted for dotted in wanted} | {f"{_path(dotted)}/__init__.py": dotted for dotted in wanted}

    def owner(name: str) -> str | None:
        if name in own:
            return own[name]
        only = [dotted for dotted in wanted if name in reached[dotted]] if reachers[name] == 1 else []
        packages = [dotted for dotted in wanted if name.startswith(f"{_path(dotted)}/")]
        return next(iter([*only, *packages]), None)

    owners = {name: owner(name) for name in sorted(reachers)}
    return {dotted: [name for name, its in owners.items() if its == dotted] for dotted in wanted}


def _path(dotted: str) -> str:
    return dotted.replace(".", "/")


def _file(dotted: str) -> str:
    return f"{_path(dotted)}.py"
