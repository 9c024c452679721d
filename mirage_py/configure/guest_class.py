# SPDX-License-Identifier: MIT
"""What a guest class takes and offers, read from its syntax tree: guest code is never imported.

With it, a config.py that does not fit its classes is an error at configure time and not a traceback at boot.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath

from mirage_py.configure.resolver import Trees
from mirage_py.support.errors import UserError

_BASES_LIMIT = 16


@dataclass(frozen=True)
class Callee:
    """A constructor or method. parameters: in order, without self; required: those without default.

    is_open: it takes any further ones (*args or **kwargs). where: "file:line".
    """

    where: str
    parameters: tuple[str, ...] = ()
    required: frozenset[str] = frozenset()
    keyword_only: frozenset[str] = frozenset()
    is_open: bool = False
    is_coroutine: bool = False


@dataclass(frozen=True)
class GuestClass:
    """name: of the class. where: "file:line". methods: by name, inherited ones included. attributes: names assigned in
    the class body or to self. is_complete: False when a base class could not be read, so there may be more."""

    name: str
    where: str
    methods: dict[str, Callee]
    attributes: frozenset[str]
    is_complete: bool

    @property
    def constructor(self) -> Callee:
        """What making an instance takes."""
        return self.methods.get("__init__", Callee(self.where, is_open=not self.is_complete))

    def has(self, name: str) -> bool:
        """Whether an instance has the method or attribute `name`, as far as can be seen."""
        return name in self.methods or name in self.attributes or "__getattr__" in self.methods or not self.is_complete


def find_class(module: str, name: str, trees: Trees) -> GuestClass:
    """The class `name` of the guest module `module`. Raises UserError when there is no such module or class."""
    file = trees.find(module)
    if file is None or not file[1]:
        place = "the library OS" if module.partition(".")[0] == "libos" else "the application's directory"
        raise UserError(
            f"there is no module {module!r} in {place}, where class {name} should be",
            f"make {module.replace('.', '/')}.py, or correct the name in config.py",
        )
    found = _find(module, name, trees, 0)
    if found is None:
        raise UserError(
            f"{trees.show(file[0], file[1])} has no class {name}", "correct the name in config.py, or write the class"
        )
    return found


def _find(module: str, name: str, trees: Trees, depth: int) -> GuestClass | None:
    file = trees.find(module)
    if file is None or not file[1] or depth > _BASES_LIMIT:
        return None
    origin, path, is_package = file
    tree = trees.parse(origin, path)
    for node in _statements(tree.body):
        if isinstance(node, ast.ClassDef) and node.name == name:
            return _read(node, module, trees.show(origin, path), trees, depth)
        if isinstance(node, ast.ImportFrom):
            for alias in node.names:
                if (alias.asname or alias.name) == name:
                    return _find(_source(node, module, is_package), alias.name, trees, depth + 1)
    return None


def _statements(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """The statements of a module, also those under if and try."""
    for node in body:
        yield node
        for inner in ("body", "orelse", "finalbody"):
            if isinstance(node, ast.If | ast.Try):
                yield from _statements(getattr(node, inner, []))


def _source(node: ast.ImportFrom, module: str, is_package: bool) -> str:
    if not node.level:
        return node.module or ""
    base = PurePosixPath(module.replace(".", "/"))
    for _ in range(node.level - is_package):
        base = base.parent
    return ".".join([*base.parts, *([node.module] if node.module else [])])


def _read(node: ast.ClassDef, module: str, file: str, trees: Trees, depth: int) -> GuestClass:
    methods: dict[str, Callee] = {}
    attributes: set[str] = set()
    is_complete = True
    for base in reversed(node.bases):
        parent = _find(module, base.id, trees, depth + 1) if isinstance(base, ast.Name) else None
        if parent is None:
            is_complete = is_complete and isinstance(base, ast.Name) and base.id == "object"
            continue
        methods.update(parent.methods)
        attributes |= parent.attributes
        is_complete = is_complete and parent.is_complete
    for item in node.body:
        if isinstance(item, ast.FunctionDef | ast.AsyncFunctionDef):
            methods[item.name] = _callee(item, file)
            attributes |= set(_assigned_to_self(item))
        elif isinstance(item, ast.Assign | ast.AnnAssign):
            targets = item.targets if isinstance(item, ast.Assign) else [item.target]
            attributes |= {target.id for target in targets if isinstance(target, ast.Name)}
    return GuestClass(node.name, f"{file}:{node.lineno}", methods, frozenset(attributes), is_complete)


def _callee(node: ast.FunctionDef | ast.AsyncFunctionDef, file: str) -> Callee:
    arguments = node.args
    positional = [argument.arg for argument in [*arguments.posonlyargs, *arguments.args]]
    optional = set(positional[len(positional) - len(arguments.defaults) :] if arguments.defaults else [])
    is_static = any(isinstance(item, ast.Name) and item.id == "staticmethod" for item in node.decorator_list)
    positional = positional if is_static else positional[1:]
    keyword_only = [argument.arg for argument in arguments.kwonlyargs]
    optional |= {name for name, default in zip(keyword_only, arguments.kw_defaults, strict=True) if default is not None}
    parameters = (*positional, *keyword_only)
    return Callee(
        where=f"{file}:{node.lineno}",
        parameters=parameters,
        required=frozenset(name for name in parameters if name not in optional),
        keyword_only=frozenset(keyword_only),
        is_open=arguments.vararg is not None or arguments.kwarg is not None,
        is_coroutine=isinstance(node, ast.AsyncFunctionDef),
    )


def _assigned_to_self(function: ast.FunctionDef | ast.AsyncFunctionDef) -> Iterator[str]:
    for node in ast.walk(function):
        if (
            isinstance(node, ast.Attribute)
            and isinstance(node.ctx, ast.Store)
            and isinstance(node.value, ast.Name)
            and node.value.id == "self"
        ):
            yield node.attr
