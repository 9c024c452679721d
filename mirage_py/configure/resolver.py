# SPDX-License-Identifier: MIT
"""Which modules an application reaches, and what the runtime must have compiled in for them.

A walk over syntax trees from the generated main.py; guest code is never imported. A module comes from the application's
directory, the library OS, MicroPython's frozen asyncio package, or the runtime itself (C). An import that none of them
has is an error naming file and line when starting would reach it: at the top of a module, outside of a `try` that
catches its failure. Elsewhere (in a function) it is noted, and raises ImportError when the guest gets there.
"""

from __future__ import annotations

import ast
import functools
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from mirage_py.support.errors import UserError

APPLICATION = "app"
LIBOS = "libos"
MICROPYTHON = "micropython"
GENERATED = "generated"

# Python's own modules that MicroPython lacks and we have, beside libos/.
_PYLIB = "pylib"
# Modules of MicroPython's that stand on parts of the library OS: for applications that have the devices for them.
_COMPAT = "compat"
# What is in there, and the device that it needs.
_COMPAT_DEVICES = {"ssl": "tls_contexts()", "tls": "tls_contexts()"}

# The C modules of the runtime (targets/common/mpconfigport.h); a name here may also be imported with a 'u' before it.
_EXTENSIBLE = frozenset({
    "array", "binascii", "collections", "errno", "hashlib", "heapq", "io", "json", "os", "random", "re", "select",
    "struct", "time",
})  # fmt: skip
# Ours (targets/common): hal/ imports them.
_OURS = frozenset({
    "_embedded",
    "_inflate",
    "_mirage",
})  # fmt: skip
# Those of the feature crypto (docs/crypto.md), which comes with them.
CRYPTO = frozenset({
    "_aead", "_ed25519", "_hashes", "_mlkem768", "_mlkem768_client", "_p256", "_p256_agree", "_p256_verify", "_p384",
    "_p384_verify", "_rsa", "_rsa_sign", "_x25519",
})  # fmt: skip
CRYPTO_FEATURE = "crypto"
_ALWAYS = frozenset({"__main__", "_asyncio", "builtins", "deflate", "gc", "math", "micropython", "sys"})
BUILTIN = _EXTENSIBLE | _OURS | CRYPTO | _ALWAYS
_CATCHES = ("ImportError", "Exception", "BaseException")
_COMPILER_NAMES = frozenset({"compile", "eval", "exec"})

# MicroPython's asyncio: file -> the files that it imports, and the names that asyncio/__init__.py loads when first
# asked. tests/configure/test_resolver.py compares both with the source.
_ASYNCIO_FILES = {
    "__init__": ("core",),
    "core": (),
    "event": ("core",),
    "funcs": ("core",),
    "lock": ("core",),
    "stream": ("core",),
}
ASYNCIO_LAZY = {
    "wait_for": "funcs",
    "wait_for_ms": "funcs",
    "gather": "funcs",
    "Event": "event",
    "ThreadSafeFlag": "event",
    "Lock": "lock",
    "open_connection": "stream",
    "start_server": "stream",
    "StreamReader": "stream",
    "StreamWriter": "stream",
}


@dataclass(frozen=True, order=True)
class Module:
    """One file to freeze. name: its path in the image. origin: which tree it is from. path: relative to that tree."""

    name: str
    origin: str
    path: str


@dataclass
class Resolution:
    """What a walk found. modules: by name. builtins: C modules imported. features: what the code itself needs of the
    runtime ("compiler"). asyncio_names: names of asyncio that the application's own modules use. absent: imports of
    nothing that the image may do without, as "FILE:LINE: ..."."""

    modules: list[Module] = field(default_factory=list)
    builtins: set[str] = field(default_factory=set)
    features: set[str] = field(default_factory=set)
    asyncio_names: set[str] = field(default_factory=set)
    absent: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class _Place:
    """A module's place: dotted name and whether it is a package's __init__."""

    dotted: str
    is_package: bool
    origin: str

    @property
    def package(self) -> str:
        return self.dotted if self.is_package else self.dotted.rpartition(".")[0]


@dataclass(frozen=True)
class _Text:
    """A module being read. file: how messages name it. below: the nodes under a node that may import."""

    place: _Place
    file: str
    below: Callable[[ast.AST], Iterable[ast.AST]]


class Trees:
    """The trees of files that modules are looked for in.

    application: directory of config.py. guest: the directory that holds libos/, pylib/ and compat/. has_compat: whether
    the application has what compat/ stands on. Parsed files are kept.
    """

    def __init__(self, application: Path, guest: Path, *, has_compat: bool = False) -> None:
        self.libraries = (_PYLIB, _COMPAT) if has_compat else (_PYLIB,)
        self.roots = {APPLICATION: application, LIBOS: guest}
        self._parsed: dict[Path, ast.Module] = {}

    def find(self, dotted: str) -> tuple[str, str, bool] | None:
        """(origin, path relative to the tree, is a package) of the file of a module; None when there is no file.

        A directory without __init__.py counts as a package without a file: its path is "".
        """
        origin = LIBOS if dotted.partition(".")[0] == "libos" else APPLICATION
        root = self.roots[origin]
        relative = dotted.replace(".", "/")
        for path, is_package in ((f"{relative}/__init__.py", True), (f"{relative}.py", False)):
            if (root / path).is_file():
                return origin, path, is_package
            for library in self.libraries if origin == APPLICATION else ():
                if (self.roots[LIBOS] / library / path).is_file():
                    return LIBOS, f"{library}/{path}", is_package
        if (root / relative).is_dir() and any((root / relative).glob("*.py")):
            return origin, "", True
        return None

    def parse(self, origin: str, path: str) -> ast.Module:
        """The syntax tree of a file. Raises UserError when it cannot be read or is not Python."""
        full = self.roots[origin] / path
        tree = self._parsed.get(full)
        if tree is None:
            tree = _parse_library(full, _signature(full)) if origin == LIBOS else parse_file(full)
            self._parsed[full] = tree
        return tree

    def show(self, origin: str, path: str) -> str:
        """How messages name a file: relative in the application, whole in the library OS's directory."""
        return path if origin == APPLICATION else str(self.roots[origin] / path)


def _signature(path: Path) -> tuple[int, int]:
    try:
        status = path.stat()
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}", "make it readable") from error
    return status.st_size, status.st_mtime_ns


# The library OS is the same for all applications that one process configures, and most of what there is to read.
@functools.lru_cache(maxsize=512)
def _parse_library(path: Path, _signature: tuple[int, int]) -> ast.Module:
    return parse_file(path)


@functools.lru_cache(maxsize=512)
def _nodes(tree: ast.Module) -> list[ast.AST]:
    """All nodes of a tree. Whoever gets the list leaves it as it is."""
    return list(ast.walk(tree))


def parse_file(path: Path) -> ast.Module:
    """The syntax tree of `path`. Raises UserError naming file and line."""
    try:
        return _parsed(path.read_bytes(), path.name)
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}", "make it readable") from error


def _parsed(source: bytes | str, name: str) -> ast.Module:
    try:
        return ast.parse(source, filename=name)
    except SyntaxError as error:
        raise UserError(f"{name}:{error.lineno or 1}: SyntaxError: {error.msg}", "correct the line") from error
    except ValueError as error:  # a NUL octet
        raise UserError(f"{name}:1: SyntaxError: {error}", "correct the file") from error
    except (RecursionError, MemoryError) as error:
        raise _too_deep(name) from error


def _too_deep(name: str) -> UserError:
    return UserError(f"{name}: an expression or a statement is nested too deeply", "take it apart")


def resolve_imports(main: str, trees: Trees, *, without: Iterable[str] = ()) -> Resolution:
    """Everything that the generated main.py with the text `main` reaches.

    without: names of asyncio that something replaces before they are asked for; the files behind them are left out.
    Raises UserError for an import that cannot be resolved.
    """
    walk = _Walk(trees, frozenset(without))
    walk.found["main.py"] = Module("main.py", GENERATED, "main.py")
    walk.scan(_parsed(main, "mirage/main.py"), _Place("main", False, GENERATED), "mirage/main.py")
    return walk.result()


def resolve_module(dotted: str, trees: Trees) -> Resolution:
    """Everything that one module reaches. Raises UserError as `resolve_imports` does."""
    walk = _Walk(trees, frozenset())
    walk.need(dotted, "config.py")
    return walk.result()


class _Walk:
    def __init__(self, trees: Trees, without: frozenset[str]) -> None:
        self.trees = trees
        self.without = without
        self.found: dict[str, Module] = {}
        self.builtins: set[str] = set()
        self.features: set[str] = set()
        self.asyncio_names: set[str] = set()
        # Module -> the first place that cannot do without it.
        self.missing: dict[str, str] = {}
        self.absent: list[str] = []

    def result(self) -> Resolution:
        """What was found. Raises UserError, naming each, for modules that are needed and nowhere."""
        if self.missing:
            raise _missing_error(self.missing)
        modules = sorted(self.found.values(), key=lambda module: (module.origin != GENERATED, module.name))
        return Resolution(modules, self.builtins, self.features, self.asyncio_names, self.absent)

    # --- modules ---

    def need(self, dotted: str, at: str) -> None:
        """Take in a module and the packages around it; where there is none, that is an error at the end of the walk."""
        if not self.offer(dotted):
            self.missing.setdefault(dotted, at)

    def offer(self, dotted: str) -> bool:
        """Take in a module and the packages around it; whether there is such a module."""
        top = dotted.partition(".")[0]
        if top == "asyncio":
            return self._offer_asyncio(dotted)
        parts = dotted.split(".")
        places = [".".join(parts[: count + 1]) for count in range(len(parts))]
        files = [self.trees.find(place) for place in places]
        if files[0] is None or top in BUILTIN:
            return self._offer_builtin(dotted, shadow=files[0])
        if any(file is None for file in files):
            return False
        for place, file in zip(places, files, strict=True):
            if file is not None:
                self._take(place, *file)
        return True

    def _take(self, dotted: str, origin: str, path: str, is_package: bool) -> None:
        if origin == APPLICATION and dotted == "main":
            raise UserError("main.py has the name of a module that every image has", "give main.py another name")
        name = path.removeprefix(f"{_PYLIB}/").removeprefix(f"{_COMPAT}/") if origin == LIBOS else path
        if not path or name in self.found:
            return
        self.found[name] = Module(name, origin, path)
        self.scan(self.trees.parse(origin, path), _Place(dotted, is_package, origin), self.trees.show(origin, path))

    def _offer_builtin(self, dotted: str, shadow: tuple[str, str, bool] | None) -> bool:
        name = dotted
        if name not in BUILTIN and name[:1] == "u" and name[1:] in _EXTENSIBLE:
            name = name[1:]
        if name not in BUILTIN:
            return False
        if shadow is not None and shadow[1]:
            raise UserError(f"{shadow[1]} has the name of a module of the runtime", f"give {shadow[1]} another name")
        self.builtins.add(name)
        if name in CRYPTO:
            self.features.add(CRYPTO_FEATURE)
        return True

    def _offer_asyncio(self, dotted: str) -> bool:
        own = self.trees.find("asyncio")
        if own is not None and own[1]:
            raise UserError(f"{own[1]} has the name of a module that every image has", f"give {own[1]} another name")
        wanted = dotted.partition(".")[2] or "__init__"
        if wanted not in _ASYNCIO_FILES:
            return False
        for name in {"__init__", wanted}:
            self._take_asyncio(name)
        return True

    def _take_asyncio(self, name: str) -> None:
        module = f"asyncio/{name}.py"
        if module not in self.found:
            self.found[module] = Module(module, MICROPYTHON, f"extmod/{module}")
            self.builtins.update({"_asyncio", "select", "sys", "time"})
            for other in _ASYNCIO_FILES[name]:
                self._take_asyncio(other)

    # --- the text of one module ---

    def scan(self, tree: ast.Module, place: _Place, file: str) -> None:
        """Follow every import of a module and note what its code needs."""
        nodes = _nodes(tree)
        for node in nodes:
            if isinstance(node, ast.Constant) and isinstance(node.value, complex):
                # The compiler takes it, and the interpreter has no such type.
                raise UserError(f"{file}:{node.lineno}: MicroPython in an image has no complex numbers", "do without")
        # Where no expression can import, only statements need be looked at: this is what `make` waits for.
        below = ast.iter_child_nodes if any(map(_dynamic_import, nodes)) else _statements
        try:
            self._imports(tree.body, _Text(place, file, below), optional=False)
        except RecursionError as error:
            raise _too_deep(file) from error
        if _names_compiler(nodes):
            self.features.add("compiler")
        self._use_asyncio(_asyncio_uses(nodes), place)

    def _use_asyncio(self, names: Iterable[str], place: _Place) -> None:
        for name in names:
            if place.origin == APPLICATION:
                self.asyncio_names.add(name)
            if name not in self.without:
                self._take_asyncio(ASYNCIO_LAZY[name])

    def _imports(self, body: Iterable[ast.AST], text: _Text, *, optional: bool) -> bool:
        """Follow the imports under `body`; whether all of them were found."""
        complete = True
        for node in body:
            if isinstance(node, ast.Import | ast.ImportFrom):
                complete &= self._import(node, text, optional)
            elif isinstance(node, ast.Try) and _catches_import_error(node):
                sure = self._imports(node.body, text, optional=True)
                # The handler is the other way to the same names: it is only walked when the first way is not sure.
                if not sure or not _only_imports(node.body):
                    for handler in node.handlers:
                        self._imports(handler.body, text, optional=optional)
                complete &= self._imports([*node.orelse, *node.finalbody], text, optional=optional)
            elif isinstance(node, ast.If) and _never_runs(node.test):
                complete &= self._imports(node.orelse, text, optional=optional)
            elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
                # Whoever calls it may never come: that is found out when the guest gets there.
                self._imports(text.below(node), text, optional=True)
            else:
                name = _dynamic_import(node)
                if name is not None and isinstance(node, ast.expr):
                    complete &= self._take_in(name, node, text, optional)
                complete &= self._imports(text.below(node), text, optional=optional)
        return complete

    def _import(self, node: ast.Import | ast.ImportFrom, text: _Text, optional: bool) -> bool:
        if isinstance(node, ast.Import):
            found = [self._take_in(alias.name, node, text, optional) for alias in node.names]
            return all(found)
        base = node.module or ""
        if node.level:
            base = _absolute(node, text.place, text.file)
        if not self._take_in(base, node, text, optional):
            return False
        for alias in node.names:
            if base == "asyncio" and alias.name in ASYNCIO_LAZY:
                self._use_asyncio([alias.name], text.place)
            elif alias.name != "*":
                # A submodule, where there is one; else a name in the package itself.
                self._offer_submodule(base, alias.name)
        return True

    def _offer_submodule(self, base: str, name: str) -> None:
        if base == "asyncio":
            self._offer_asyncio(f"asyncio.{name}")
        elif base not in BUILTIN and self.trees.find(f"{base}.{name}") is not None:
            self.offer(f"{base}.{name}")

    def _take_in(self, dotted: str, node: ast.expr | ast.stmt, text: _Text, optional: bool) -> bool:
        at = f"{text.file}:{node.lineno}"
        if not optional:
            self.need(dotted, at)
            return True
        if self.offer(dotted):
            return True
        if text.place.origin != LIBOS:
            self.absent.append(f"{at}: there is no module {dotted!r}; importing it raises ImportError in the guest")
        return False


def _missing_error(missing: Mapping[str, str]) -> UserError:
    """One error for all of them. missing: module -> "file:line"."""
    where = "in the application, the library OS or the runtime"
    tops = dict.fromkeys(f"{name.partition('.')[0]}.py" for name in missing)
    if len(missing) == 1:
        ((name, at),) = missing.items()
        if name in _COMPAT_DEVICES:
            device = _COMPAT_DEVICES[name]
            return UserError(
                f"{at}: the module {name!r} needs cryptography, of which config.py has none",
                f"give unikernel(...) a {device}, or import {name} in a try with except ImportError",
            )
        return UserError(
            f"{at}: there is no module {name!r} {where}",
            f"put {next(iter(tops))} beside config.py, or import it in a try with except ImportError",
        )
    listed = ", ".join(f"{name!r} ({at})" for name, at in missing.items())
    return UserError(
        f"there are no modules {listed} {where}",
        f"put {', '.join(tops)} beside config.py, or import them in a try with except ImportError",
    )


def _absolute(node: ast.ImportFrom, place: _Place, file: str) -> str:
    package = place.package.split(".") if place.package else []
    up = node.level - 1
    if up >= len(package):
        raise UserError(
            f"{file}:{node.lineno}: a relative import reaches beyond the package", "name the module in full"
        )
    parts = package[: len(package) - up]
    return ".".join([*parts, node.module] if node.module else parts)


def _catches_import_error(node: ast.Try) -> bool:
    for handler in node.handlers:
        kinds = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
        for kind in kinds:
            if kind is None or (isinstance(kind, ast.Name) and kind.id in _CATCHES):
                return True
    return False


def _never_runs(test: ast.expr) -> bool:
    """Whether it is TYPE_CHECKING, which only type checkers take for true."""
    if isinstance(test, ast.Attribute) and isinstance(test.value, ast.Name):
        return test.attr == "TYPE_CHECKING"
    return isinstance(test, ast.Name) and test.id == "TYPE_CHECKING"


def _statements(node: ast.AST) -> Iterator[ast.AST]:
    """The statements, handlers and cases right under a statement, and no expressions."""
    for name in ("body", "handlers", "orelse", "finalbody", "cases"):
        below = getattr(node, name, None)
        if isinstance(below, list):
            yield from below


def _only_imports(body: Iterable[ast.stmt]) -> bool:
    return all(isinstance(node, ast.Import | ast.ImportFrom) for node in body)


def _dynamic_import(node: ast.AST) -> str | None:
    """The module that `__import__("name")` asks for."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "__import__" and node.args:
        name = node.args[0]
        if isinstance(name, ast.Constant) and isinstance(name.value, str):
            return name.value
    return None


def _names_compiler(nodes: Iterable[ast.AST]) -> bool:
    """Whether a module may get hold of eval, exec or compile, by whatever name it calls them then.

    What this does not see (a name put together at run time) raises there, as a missing name does: it never computes
    something else.
    """
    has_builtins = False
    texts: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Name):
            if node.id in _COMPILER_NAMES and isinstance(node.ctx, ast.Load):
                return True
        elif isinstance(node, ast.Attribute):
            texts.add(node.attr)
        elif isinstance(node, ast.Constant):
            if isinstance(node.value, str):
                texts.add(node.value)
        elif isinstance(node, ast.ImportFrom):
            if node.module == "builtins":
                texts.update(alias.name for alias in node.names)
                has_builtins = True
        elif isinstance(node, ast.Import):
            has_builtins |= any(alias.name == "builtins" for alias in node.names)
    return has_builtins and not texts.isdisjoint(_COMPILER_NAMES)


def _asyncio_uses(nodes: list[ast.AST]) -> Iterator[str]:
    """The lazily loaded names of asyncio that a module reads, as attributes of whatever it calls asyncio.

    A module that hands asyncio itself on (as an argument, to getattr) may use any of them.
    """
    aliases = {
        alias.asname or "asyncio"
        for node in nodes
        if isinstance(node, ast.Import)
        for alias in node.names
        if alias.name == "asyncio" or (alias.asname is None and alias.name.startswith("asyncio."))
    }
    if not aliases:
        return
    bases: set[int] = set()
    for node in nodes:
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in aliases:
            bases.add(id(node.value))
            if isinstance(node.ctx, ast.Load) and node.attr in ASYNCIO_LAZY:
                yield node.attr
    for node in nodes:
        if (
            isinstance(node, ast.Name)
            and node.id in aliases
            and isinstance(node.ctx, ast.Load)
            and id(node) not in bases
        ):
            yield from ASYNCIO_LAZY
            return
