# SPDX-License-Identifier: MIT
"""From a config.py and the user's choices to the plan of files: main.py, Makefile, manifest, config.json, link.json."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mirage_py.configure import config_file, coroutines, embedded
from mirage_py.configure.device import HVT, TARGETS
from mirage_py.configure.devices.loop import REPL, REPL_FEATURE, event_loop
from mirage_py.configure.devices.network import NIC
from mirage_py.configure.devices.signatures import TLS_CONTEXTS
from mirage_py.configure.devices.stack import NET, generic_stack
from mirage_py.configure.documents import Documents
from mirage_py.configure.graph import Context, Graph, all_keys, check, resolve
from mirage_py.configure.keys import Key, Value
from mirage_py.configure.later import Preparation, prepared
from mirage_py.configure.main_file import MainFile
from mirage_py.configure.plan import KEPT, MARK, File, Plan, is_generated
from mirage_py.configure.request import Request
from mirage_py.configure.resolver import Resolution, Trees, resolve_imports
from mirage_py.configure.tls import DEVELOPMENT_FILES
from mirage_py.support import generated, paths
from mirage_py.support.errors import EXIT_USAGE, UserError

DEFAULT_TARGET = HVT
TARGET_ENV = "MODE"
_MAIN, CONFIG_PATH, _LINK = "mirage/main.py", "mirage/config.json", "mirage/link.json"
GENERATED_FILES = ("Makefile", _MAIN, "mirage/manifest.json", CONFIG_PATH, _LINK)


@dataclass(frozen=True)
class Configuration:
    """A configured application: everything that the files say, and the plan that writes them."""

    request: Request
    registration: config_file.Registration
    graph: Graph
    resolution: Resolution
    features: tuple[str, ...]
    plan: Plan
    trees: Trees
    # Where the image goes below the output directory, and what it says about itself.
    image: str
    note: Mapping[str, Any]
    # What the user is told, a line each, and what is hardly meant.
    notes: tuple[str, ...] = ()
    cautions: tuple[str, ...] = ()

    @property
    def target(self) -> str:
        return self.graph.context.target

    def warnings(self) -> list[str]:
        """What is no error, and hardly meant: a line each."""
        trees = Trees(self.request.directory, paths.guest_dir())
        return [*self.cautions, *coroutines.warnings(self.resolution, trees)]

    @property
    def summary(self) -> str:
        """One line: what was configured, and what was chosen."""
        chosen = [f"--{name} {value}" for name, value in self.graph.configured.items() if value is not None]
        return " ".join([f"configured {self.registration.name} with -t {self.target}", *chosen])


def choose_target(given: str | None) -> str:
    """The target: as given, else $MODE, else hvt. Raises UserError for an unknown one."""
    target = given or os.environ.get(TARGET_ENV) or DEFAULT_TARGET
    if target not in TARGETS:
        source = "-t" if given else f"{TARGET_ENV}="
        raise UserError(f"{source}{' ' if given else ''}{target}: unknown target", f"choose {' or '.join(TARGETS)}", 2)
    return target


def keys_of(registration: config_file.Registration | None, config: Path) -> dict[str, tuple[Key, list[str]]]:
    """Every key that `configure` takes for this application: name -> (key, titles of what has it).

    --net and --nic are always among them, so that one command line fits applications with and without a network; --repl
    is every application's.
    """
    with config_file.explained(config.absolute()):
        own = all_keys(registration.root) if registration else {}
    return {**{key.name: (key, []) for key in (NET, NIC, REPL)}, **own}


def make_graph(request: Request, registration: config_file.Registration) -> Graph:
    """The graph of an application for what the user chose. Raises UserError."""
    known = keys_of(registration, request.config)
    values: dict[str, Value] = {}
    for name, text in request.values.items():
        if name not in known:
            raise UserError(f"--{name}: this application has no such key", f"its keys: {', '.join(sorted(known))}", 2)
        values[name] = known[name][0].parse(text)
    values.pop(REPL.name, None)
    context = Context(choose_target(request.target), values)
    with config_file.explained(request.config.absolute()):
        own = all_keys(registration.root)
        unasked = {name: value for name, value in values.items() if name not in own}
        if unasked:
            # A contradiction is one whether or not this application has a network.
            check(generic_stack(), Context(context.target, unasked))
            context = Context(context.target, {name: value for name, value in values.items() if name in own})
        return resolve(registration.root, context, first=[event_loop()])


def configure(
    request: Request, registration: config_file.Registration | None = None, *, own_main: str | None = None
) -> Configuration:
    """Everything that `request` leads to; nothing is written yet.

    registration: what config_file.load(request.config) returned, where the caller has it already.
    own_main: the text of a main.py that the user wrote in place of the generated one. Raises UserError.
    """
    registration = registration or config_file.load(request.config)
    graph = make_graph(request, registration)
    has_compat = any(placed.kind.offers is TLS_CONTEXTS for placed in graph.devices)
    trees = Trees(request.directory, paths.guest_dir(), has_compat=has_compat)
    with config_file.explained(request.config.absolute()):
        preparation = prepare(request, graph)
        found = embedded.collected(placed.settings for placed in graph.devices)
    embedded.check_folders(found.values(), request.directory)
    has_repl = REPL.name in request.values and REPL.parse(request.values[REPL.name]) is True
    main, resolution = MainFile(registration, graph, trees, has_repl=has_repl).generate()
    if own_main is not None:
        resolution = resolve_imports(own_main, trees)
    features = tuple(sorted(graph.features() | resolution.features | ({REPL_FEATURE} if has_repl else set())))
    documents = Documents(request, registration, graph, features, resolution)
    texts = (documents.makefile(), main, documents.manifest(), documents.config(), documents.link())
    files = [
        File(path, text, is_secret=path == _LINK and documents.has_secret)
        for path, text in zip(GENERATED_FILES, texts, strict=True)
    ]
    return Configuration(
        request,
        registration,
        graph,
        resolution,
        features,
        Plan(request.output_directory, (*files, *preparation.files)),
        trees,
        documents.image,
        documents.note(),
        tuple(preparation.notes),
        tuple(preparation.warnings),
    )


def prepare(request: Request, graph: Graph) -> Preparation:
    """Give the devices' settings those values that had to wait for it; what else comes of that. Raises UserError."""
    defaults = {key.name: key.default for key in graph.runtime_keys()}
    preparation = Preparation(request.output_directory, defaults)
    for placed in graph.devices:
        for name, value in placed.settings.items():
            placed.settings[name] = prepared(value, preparation)
    return preparation


def recorded_request(output: Path) -> Request:
    """What was asked of `configure` when it last wrote to `output`. Raises UserError when it never did."""
    document = generated.read(output, "config.json", {"target": str, "request": dict})
    request, path = document["request"], output / CONFIG_PATH
    generated.check(path, request, {"directory": str, "config": str, "values": dict})
    values = request["values"]
    if document["target"] not in TARGETS or not all(isinstance(text, str) for text in values.values()):
        raise generated.damaged(path, "there is no such target, or no such value of a key")
    directory = Path(os.path.normpath(output.absolute() / request["directory"]))
    return Request(directory / request["config"], output, document["target"], dict(values))


def _silent(_text: str) -> None:
    pass


def refresh(output: Path, tell: Callable[[str], None] = _silent, warn: Callable[[str], None] = _silent) -> list[Path]:
    """Configure again as was asked last time, so that what is built fits config.py and the application's imports.

    A generated file that the user took over is left alone; returns those. tell: gets each import that is left open, and
    what else `configure` would say; warn: its warnings of what becomes of the image. Raises UserError.
    """
    main = output / _MAIN
    is_own = main.is_file() and not is_generated(main)
    own_main = main.read_text(encoding="utf-8", errors="replace") if is_own else None
    request = recorded_request(output)
    try:
        configuration = configure(request, own_main=own_main)
    except UserError as error:
        if error.exit_code != EXIT_USAGE:
            raise
        # Nobody has given an option now.
        raise UserError(
            f"{error.cause}, as {output / CONFIG_PATH} has it", "run `mirage-py configure` again"
        ) from error
    for text in (*configuration.resolution.absent, *configuration.notes):
        tell(text)
    for text in configuration.cautions:
        warn(f"warning: {text}")
    states = configuration.plan.apply(keep_foreign=True)
    return [output / path for path, state in states.items() if state == KEPT]


def remove_generated(output: Path) -> list[Path]:
    """Remove what `configure` wrote to `output`, as far as it is still marked as generated; returns it."""
    return Plan(output, tuple(File(path, f"# {MARK}") for path in (*GENERATED_FILES, *DEVELOPMENT_FILES))).remove()
