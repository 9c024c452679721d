# SPDX-License-Identifier: MIT
"""Coroutines that an application makes and drops, and handlers that are none: seen in its syntax trees.

Python says nothing when a coroutine is called without `await`: `flow.write(data)` does nothing at all. What is found is
told at configure time and is no error, for a tree does not say what a name stands for.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass, field

from mirage_py.configure.resolver import APPLICATION, Resolution, Trees

_FLOW_COROUTINES = frozenset({"close", "read", "write"})
_ASYNCIO_COROUTINES = frozenset(
    {"gather", "open_connection", "sleep", "sleep_ms", "start_server", "wait_for", "wait_for_ms"}
)

_Function = ast.FunctionDef | ast.AsyncFunctionDef


def warnings(resolution: Resolution, trees: Trees) -> list[str]:
    """A line for each coroutine that is dropped and each handler that is none, in the application's own modules."""
    return [
        text
        for module in resolution.modules
        if module.origin == APPLICATION
        for text in _Module(trees.parse(APPLICATION, module.path), module.path).warnings()
    ]


@dataclass
class _Scope:
    """The functions that are called by a bare name, or on self: name -> definition."""

    functions: dict[str, _Function]
    methods: dict[str, _Function] = field(default_factory=dict)


class _Module:
    def __init__(self, tree: ast.Module, file: str) -> None:
        self.tree = tree
        self.file = file
        self.asyncio = {
            alias.asname or alias.name
            for node in ast.walk(tree)
            if isinstance(node, ast.Import)
            for alias in node.names
            if alias.name == "asyncio"
        }
        # Function -> names in it that stand for flows.
        self.flows: dict[_Function, set[str]] = {}
        self.found: dict[int, list[str]] = {}

    def warnings(self) -> list[str]:
        """In the order of the lines."""
        scopes = list(_functions(self.tree))
        for function, scope in scopes:
            self._handlers(function, scope)
        for function, scope in scopes:
            self._dropped(function, scope)
        return [f"{self.file}:{line}: {text}" for line in sorted(self.found) for text in self.found[line]]

    def _tell(self, node: ast.stmt | ast.expr, text: str) -> None:
        self.found.setdefault(node.lineno, []).append(text)

    def _handlers(self, function: _Function, scope: _Scope) -> None:
        """What is given to listen() or start_server() as a handler."""
        for node in ast.walk(function):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
                continue
            owner, name = node.func.value, node.func.attr
            if name == "listen" and isinstance(owner, ast.Attribute) and owner.attr == "tcp":
                handler = _definition(node.args[1] if len(node.args) > 1 else None, scope)
                if handler is not None and (parameters := _parameters(handler)):
                    self.flows.setdefault(handler, set()).add(parameters[0])
            elif name == "start_server" and isinstance(owner, ast.Name) and owner.id in self.asyncio:
                handler = _definition(node.args[0] if node.args else None, scope)
            else:
                continue
            if handler is not None and not _makes_coroutine(handler):
                self._tell(handler, f"{handler.name}() handles connections, and is no coroutine: write `async def`")

    def _dropped(self, function: _Function, scope: _Scope) -> None:
        """Statements that call a coroutine and nothing else."""
        flows = self.flows.get(function, set()) | set(_connected(function))
        for node in _own_nodes(function):
            if not isinstance(node, ast.Expr) or not isinstance(node.value, ast.Call):
                continue
            call = node.value.func
            if self._is_coroutine(call, node.value, scope, flows):
                shown = ast.unparse(call)
                self._tell(node, f"{shown}() is a coroutine, and does nothing by itself: write `await {shown}(...)`")

    def _is_coroutine(self, call: ast.expr, whole: ast.Call, scope: _Scope, flows: set[str]) -> bool:
        if isinstance(call, ast.Name):
            return isinstance(scope.functions.get(call.id), ast.AsyncFunctionDef)
        if not isinstance(call, ast.Attribute):
            return False
        if isinstance(call.value, ast.Name):
            owner = call.value.id
            if owner == "self":
                return isinstance(scope.methods.get(call.attr), ast.AsyncFunctionDef)
            if owner in flows:
                return call.attr in _FLOW_COROUTINES
            if owner in self.asyncio:
                return call.attr in _ASYNCIO_COROUTINES
        is_stack = getattr(call.value, "id", getattr(call.value, "attr", "")) == "stack"
        return is_stack and call.attr == "listen" and not whole.args


def _functions(tree: ast.Module) -> Iterator[tuple[_Function, _Scope]]:
    """Every function of a module, with what its names stand for."""
    known = {node.name: node for node in tree.body if isinstance(node, _Function)}

    def walk(body: list[ast.stmt], scope: _Scope) -> Iterator[tuple[_Function, _Scope]]:
        for node in body:
            if isinstance(node, ast.ClassDef):
                methods = {item.name: item for item in node.body if isinstance(item, _Function)}
                yield from walk(node.body, _Scope(scope.functions, methods))
            elif isinstance(node, _Function):
                inner = {item.name: item for item in node.body if isinstance(item, _Function)}
                within = _Scope({**scope.functions, **inner}, scope.methods)
                yield node, within
                yield from walk(node.body, within)

    yield from walk(tree.body, _Scope(known))


def _own_nodes(function: _Function) -> Iterator[ast.AST]:
    """The nodes of a function, without those of functions and classes in it."""
    below: list[ast.AST] = list(function.body)
    while below:
        node = below.pop()
        if not isinstance(node, _Function | ast.ClassDef | ast.Lambda):
            yield node
            below.extend(ast.iter_child_nodes(node))


def _definition(handler: ast.expr | None, scope: _Scope) -> _Function | None:
    if isinstance(handler, ast.Name):
        return scope.functions.get(handler.id)
    if isinstance(handler, ast.Attribute) and isinstance(handler.value, ast.Name) and handler.value.id == "self":
        return scope.methods.get(handler.attr)
    return None


def _parameters(function: _Function) -> list[str]:
    names = [argument.arg for argument in (*function.args.posonlyargs, *function.args.args)]
    return names[1:] if names[:1] == ["self"] else names


def _makes_coroutine(function: _Function) -> bool:
    """Whether a call may return one: a generator is one here, and a plain function may hand on another one's."""
    return isinstance(function, ast.AsyncFunctionDef) or any(
        isinstance(node, ast.Yield | ast.YieldFrom) or (isinstance(node, ast.Return) and node.value is not None)
        for node in _own_nodes(function)
    )


def _connected(function: _Function) -> Iterator[str]:
    """Names that are given a flow: `flow = await stack.tcp.connect(...)`."""
    for node in _own_nodes(function):
        if (
            isinstance(node, ast.Assign)
            and isinstance(node.value, ast.Await)
            and isinstance(node.value.value, ast.Call)
        ):
            call = node.value.value.func
            is_tcp = isinstance(call, ast.Attribute) and call.attr == "connect" and "tcp" in ast.unparse(call.value)
            if is_tcp:
                yield from (target.id for target in node.targets if isinstance(target, ast.Name))
