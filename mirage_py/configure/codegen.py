# SPDX-License-Identifier: MIT
"""From a config.py and the user's choices to the plan of files: main.py, Makefile, manifest, config.json, link.json."""

from __future__ import annotations

import json
import os
import shlex
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mirage_py import __version__
from mirage_py.configure import config_file
from mirage_py.configure.device import HVT, LOCAL_NAME, NUMBER, TARGET, TARGETS, USER_COUNT, Kind
from mirage_py.configure.devices.loop import event_loop
from mirage_py.configure.devices.network import NIC
from mirage_py.configure.devices.signatures import DNS, HAPPY_EYEBALLS, IPV4, IPV6, NETWORK, STACK
from mirage_py.configure.devices.stack import NET, generic_stack
from mirage_py.configure.graph import Context, Graph, Placed, all_keys, check, resolve
from mirage_py.configure.guest_class import Callee, GuestClass, find_class
from mirage_py.configure.keys import Key, Value
from mirage_py.configure.plan import KEPT, MARK, File, Plan, is_generated
from mirage_py.configure.resolver import Resolution, Trees, resolve_imports, resolve_module
from mirage_py.support import paths
from mirage_py.support.errors import UserError

CONFIG_FORMAT = 1
CONFIG_NAME = "config.py"
DEFAULT_TARGET = HVT
TARGET_ENV = "MODE"
_MAIN = "mirage/main.py"
GENERATED_FILES = ("Makefile", _MAIN, "mirage/manifest.json", "mirage/config.json", "mirage/link.json")

# What asyncio has for networks, and what puts a stack of ours behind it.
_STREAMS_NAMES = frozenset({"open_connection", "start_server"})
_STREAMS_MODULE = "libos.app.streams"
_STREAMS_FUNCTION = "install"


@dataclass(frozen=True)
class Request:
    """What the user asked `configure` for.

    config: the config.py. output: where the files go; None: beside it. target: None: $MODE, else hvt.
    values: key name -> text, as on the command line.
    """

    config: Path = Path(CONFIG_NAME)
    output: Path | None = None
    target: str | None = None
    values: Mapping[str, str] = field(default_factory=dict)

    @property
    def directory(self) -> Path:
        """The directory of the application."""
        return self.config.absolute().parent

    @property
    def output_directory(self) -> Path:
        return (self.output or self.directory).absolute()


@dataclass(frozen=True)
class Configuration:
    """A configured application: everything that the files say, and the plan that writes them."""

    request: Request
    registration: config_file.Registration
    graph: Graph
    resolution: Resolution
    features: tuple[str, ...]
    plan: Plan

    @property
    def target(self) -> str:
        return self.graph.context.target

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

    --net and --nic are always among them, so that one command line fits applications with and without a network.
    """
    with config_file.explained(config.absolute()):
        own = all_keys(registration.root) if registration else {}
    return {**{key.name: (key, []) for key in (NET, NIC)}, **own}


def make_graph(request: Request, registration: config_file.Registration) -> Graph:
    """The graph of an application for what the user chose. Raises UserError."""
    known = keys_of(registration, request.config)
    values: dict[str, Value] = {}
    for name, text in request.values.items():
        if name not in known:
            raise UserError(f"--{name}: this application has no such key", f"its keys: {', '.join(sorted(known))}", 2)
        values[name] = known[name][0].parse(text)
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
    trees = Trees(request.directory, paths.guest_dir())
    main, resolution = _Main(registration, graph, trees).generate()
    if own_main is not None:
        resolution = resolve_imports(own_main, trees)
    features = tuple(sorted(graph.features() | resolution.features))
    documents = _Documents(request, registration, graph, features, resolution)
    texts = (documents.makefile(), main, documents.manifest(), documents.config(), documents.link())
    files = tuple(File(path, text) for path, text in zip(GENERATED_FILES, texts, strict=True))
    return Configuration(request, registration, graph, resolution, features, Plan(request.output_directory, files))


def recorded_request(output: Path) -> Request:
    """What was asked of `configure` when it last wrote to `output`. Raises UserError when it never did."""
    path = output / "mirage" / "config.json"
    try:
        document = json.loads(path.read_bytes().decode("utf-8", "surrogateescape"))
        request = document["request"]
        directory = Path(os.path.normpath(output.absolute() / request["directory"]))
        return Request(directory / request["config"], output, document["target"], dict(request["values"]))
    except FileNotFoundError:
        raise UserError(
            f"nothing is configured in {output.absolute()}", "run `mirage-py configure` in the application's directory"
        ) from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} cannot be read: {error}", "run `mirage-py configure` again") from error


def refresh(output: Path, tell: Callable[[str], None] = lambda _text: None) -> list[Path]:
    """Configure again as was asked last time, so that what is built fits config.py and the application's imports.

    A generated file that the user took over is left alone; returns those. tell: gets each import that is left open.
    Raises UserError.
    """
    main = output / _MAIN
    is_own = main.is_file() and not is_generated(main)
    own_main = main.read_text(encoding="utf-8", errors="replace") if is_own else None
    configuration = configure(recorded_request(output), own_main=own_main)
    for text in configuration.resolution.absent:
        tell(text)
    states = configuration.plan.apply(keep_foreign=True)
    return [output / path for path, state in states.items() if state == KEPT]


def remove_generated(output: Path) -> list[Path]:
    """Remove what `configure` wrote to `output`, as far as it is still marked as generated; returns it."""
    return Plan(output, tuple(File(path, f"# {MARK}") for path in GENERATED_FILES)).remove()


class _Main:
    """The generated main.py."""

    def __init__(self, registration: config_file.Registration, graph: Graph, trees: Trees) -> None:
        self.registration = registration
        self.graph = graph
        self.trees = trees
        self.classes = {
            placed: find_class(placed.kind.module, placed.kind.class_name, trees) for placed in graph.devices
        }
        # Class -> its name in main.py: what main.py itself defines must not be hidden.
        self.names: dict[tuple[str, str], str] = {}

    def generate(self) -> tuple[str, Resolution]:
        """The text, and every module that it reaches."""
        for placed, cls in self.classes.items():
            self._check_signature(placed, cls)
        reached = resolve_module(self.graph.application.kind.module, self.trees)
        streams = _STREAMS_NAMES & reached.asyncio_names
        devices = [line for placed in self.graph.devices for line in self._device_lines(placed)]
        imports = {"libos.app.args": ["parse"]}
        if streams:
            imports[_STREAMS_MODULE] = [_STREAMS_FUNCTION]
            devices.append(f"{_STREAMS_FUNCTION}({', '.join(self._stack_for_streams())})")
        for (module, name), shown in self.names.items():
            imports.setdefault(module, []).append(name if shown == name else f"{name} as {shown}")
        # What drives hardware finds it missing or broken when it starts: a line, not a traceback.
        failures = []
        has_hardware = any(placed.kind.hardware is not None for placed in self.graph.devices)
        if has_hardware or (self.graph.context.target == HVT and self.graph.of_kind("random")):
            imports.setdefault("libos.hal.mmio", []).append("DeviceError")
            failures.append("DeviceError")
        # So does an address among the boot arguments that is none of a host, or does not go with another.
        if any(placed.kind.offers in (IPV4, IPV6) for placed in self.graph.devices):
            imports.setdefault("libos.net.errors", []).append("AddressError")
            failures.append("AddressError")
        text = _render(
            "main.py.j2",
            failures=f"({', '.join(failures)})" if len(failures) > 1 else "".join(failures),
            name=self.registration.name,
            target=self.graph.context.target,
            imports=[f"from {module} import {', '.join(sorted(names))}" for module, names in sorted(imports.items())],
            keys=[
                {"name": key.name, "type": guest_type(key), "default": key.spelled_default, "doc": key.doc}
                for key in self.graph.runtime_keys()
            ],
            devices=devices,
            loop=self.graph.of_kind("event_loop")[0].local,
            application=self.graph.application.local,
        )
        return text, resolve_imports(text, self.trees, without=_STREAMS_NAMES if streams else ())

    def _stack_for_streams(self) -> list[str]:
        """The stack, and what connects to names on it where there is such a thing."""
        found = [placed for placed in self.graph.devices if placed.kind.offers is STACK]
        below = [argument for placed in found for argument in placed.arguments]
        stacks = [placed.local for placed in found if placed not in below]
        if len(stacks) != 1:
            raise UserError(
                f"the application calls asyncio.start_server or open_connection, and has {len(stacks)} stacks",
                "give unikernel(...) one generic_stack()" if not stacks else "use stack.tcp.listen and connect instead",
            )
        connectors = [
            placed.local
            for offers in (HAPPY_EYEBALLS, DNS)
            for placed in self.graph.devices
            if placed.kind.offers is offers
        ]
        return [*stacks, *connectors[:1]]

    def _check_signature(self, placed: Placed, cls: GuestClass) -> None:
        missing = [name for name in placed.kind.offers.methods if not cls.has(name)]
        if missing:
            offers = placed.kind.offers.name
            raise UserError(
                f"{cls.where}: class {cls.name} lacks {', '.join(missing)}, which every {offers} device has",
                "write what is missing, or correct `offers` of the device kind",
            )
        start = cls.methods.get("start")
        if placed is self.graph.application and start is not None and not start.is_coroutine:
            raise UserError(f"{start.where}: start() of {cls.name} is not a coroutine", "write `async def start(self)`")

    def _device_lines(self, placed: Placed) -> list[str]:
        kind = placed.kind
        if kind.method:
            owner = placed.arguments[0]
            cls = self.classes[owner]
            callee = cls.methods.get(kind.method, Callee(cls.where, is_open=True))
            made_by = f"{owner.local}.{kind.method}"
            devices = dict(zip(placed.parameters[1:], placed.arguments[1:], strict=True))
        else:
            callee = self.classes[placed].constructor
            made_by = self._class_name(kind.module, kind.class_name)
            devices = dict(zip(placed.parameters, placed.arguments, strict=True))
        arguments = self._arguments(placed, callee, devices)
        lines = [f"{placed.local} = {made_by}({', '.join(arguments)})"]
        if kind.is_service:
            lines.append(f"{self.graph.of_kind('event_loop')[0].local}.attach({placed.local})")
        return lines

    def _class_name(self, module: str, name: str) -> str:
        taken = {
            "SPEC",
            "KEYS",
            "parse",
            "sys",
            "_mirage",
            "DeviceError",
            "AddressError",
            _STREAMS_FUNCTION,
            *self.names.values(),
        }
        if (module, name) not in self.names:
            shown, number = name, 2
            while shown in taken:
                shown, number = f"{name}{number}", number + 1
            self.names[module, name] = shown
        return self.names[module, name]

    def _arguments(self, placed: Placed, callee: Callee, devices: dict[str, Placed]) -> list[str]:
        """The arguments of one call: devices by position as far as that goes, the rest by name."""
        values = {parameter: f"KEYS[{literal(key.name)}]" for parameter, key in placed.keys.items()}
        values |= {name: literal(value) for name, value in placed.settings.items() if value is not None}
        for parameter, what in placed.kind.derived.items():
            if what == LOCAL_NAME:
                values[parameter] = literal(placed.local)
            elif what == TARGET:
                values[parameter] = literal(self.graph.context.target)
            elif what == USER_COUNT and (users := self.graph.users(placed)) > 1:
                values[parameter] = str(users)
            elif what == NUMBER and parameter not in values and (number := self.graph.number(placed, parameter)):
                values[parameter] = str(number)
        places = self._places(placed.kind, callee, values)
        given = {places[parameter]: device.local for parameter, device in devices.items()}
        self._check_order(placed.kind, callee, places, given)
        unknown = [name for name in values if name not in callee.parameters and not callee.is_open]
        missing = [name for name in callee.parameters if name in callee.required and name not in {**values, **given}]
        title = placed.kind.class_name
        if unknown:
            raise UserError(
                f"{callee.where}: {title} has no parameter {unknown[0]!r}, which config.py gives it",
                f"its parameters: {', '.join(callee.parameters) or 'none'}",
            )
        for parameter, place in places.items():
            if placed.kind.is_optional(parameter) and place in callee.required:
                raise UserError(
                    f"{callee.where}: parameter {place!r} of {title} has no default, and a {placed.kind.name} may be "
                    "built without it",
                    f"write {place}=None, or give the device kind {parameter} without optional(...)",
                )
        if missing:
            raise UserError(
                f"{callee.where}: {title} takes {missing[0]!r}, which config.py does not give it",
                "give it a device or a key for it, or give the parameter a default",
            )
        return self._ordered(callee, given, values)

    @staticmethod
    def _places(kind: Kind, callee: Callee, values: dict[str, str]) -> dict[str, str]:
        """Argument of the kind -> parameter of the constructor or method that it goes to, whether it is there or not.

        Arguments whose names the class lacks go by order; "*0", "*1" stand for the first and second of its *args.
        """
        names = list(kind.arguments)[1 if kind.method else 0 :]
        if all(name in callee.parameters for name in names):
            return {name: name for name in names}
        free = [name for name in callee.parameters if name not in values and name not in callee.keyword_only]
        if len(free) < len(names) and callee.is_open:
            free += [f"*{number}" for number in range(len(names) - len(free))]
        if len(free) < len(names):
            raise UserError(
                f"{callee.where}: {kind.class_name} takes {len(free)} devices, and config.py gives it {len(names)}",
                f"its parameters: {', '.join(callee.parameters) or 'none'}",
            )
        return dict(zip(names, free, strict=False))

    @staticmethod
    def _check_order(kind: Kind, callee: Callee, places: dict[str, str], given: dict[str, str]) -> None:
        """What goes to *args must have everything before it: it has no name to be given by."""
        order = list(places.items())
        for position, (parameter, place) in enumerate(order):
            left_out = [name for name, before in order[:position] if before not in given]
            if place.startswith("*") and place in given and left_out:
                raise UserError(
                    f"{callee.where}: {kind.class_name} takes {parameter!r} by its place, and {left_out[0]!r} before "
                    "it is left out",
                    "give the constructor parameters of these names, or put optional arguments last",
                )

    @staticmethod
    def _ordered(callee: Callee, given: dict[str, str], values: dict[str, str]) -> list[str]:
        """Devices by position as far as that goes, the rest by name: what stands behind one that is left out, too."""
        positional: list[str] = []
        for name in callee.parameters:
            if name not in given or name in callee.keyword_only:
                break
            positional.append(given.pop(name))
        rest = {**given, **values}
        open_ended = [rest.pop(name) for name in list(rest) if name.startswith("*")]
        named = sorted(rest, key=lambda name: [*callee.parameters, name].index(name))
        return [*positional, *open_ended, *(f"{name}={rest[name]}" for name in named)]


# What `run` tells a stack about the network that it puts a card on.
_ADDRESS_KEYS = ("dhcp", "ipv4", "ipv4-gateway")


class _Documents:
    """The generated files other than main.py."""

    def __init__(
        self,
        request: Request,
        registration: config_file.Registration,
        graph: Graph,
        features: tuple[str, ...],
        resolution: Resolution,
    ) -> None:
        self.request = request
        self.registration = registration
        self.graph = graph
        self.features = features
        self.resolution = resolution

    @property
    def image(self) -> str:
        suffix = ".hvt" if self.graph.context.target == HVT else ""
        return f"dist/{self.registration.name}{suffix}"

    def makefile(self) -> str:
        # -P: a file of the application's must not hide a module of the tool's.
        tool = f"{_make_quoted(sys.executable)} -P -m mirage_py"
        return _render(
            "Makefile.j2", name=self.registration.name, target=self.graph.context.target, image=self.image, tool=tool
        )

    def manifest(self) -> str:
        modules = [{"name": m.name, "origin": m.origin, "path": m.path} for m in self.resolution.modules]
        return _json({"format": CONFIG_FORMAT, "modules": modules})

    def config(self) -> str:
        return _json(
            {
                "format": CONFIG_FORMAT,
                **self._choices(),
                "features": list(self.features),
                "memory_mb": self.registration.memory_mb,
                "ports": self._ports(),
                "devices": [
                    {
                        "name": placed.local,
                        "kind": placed.kind.name,
                        "module": placed.kind.module,
                        "class": placed.kind.class_name,
                        "args": [argument.local for argument in placed.arguments],
                        "local": placed.local,
                    }
                    for placed in self.graph.devices
                ],
                "hardware": self._hardware(),
                "keys": {
                    "configure": dict(self.graph.configured),
                    "runtime": self._runtime_keys(),
                },
                "request": {
                    "directory": os.path.relpath(self.request.directory, self.request.output_directory),
                    "config": self.request.config.name,
                    "values": dict(self.request.values),
                },
            }
        )

    def link(self) -> str:
        return _json(
            {
                "format": CONFIG_FORMAT,
                "target": self.graph.context.target,
                "features": list(self.features),
                "output": self.image,
                "note": {
                    "format": CONFIG_FORMAT,
                    **self._choices(),
                    "devices": self._hardware(),
                    "ports": self._ports(),
                    "memory_mb": self.registration.memory_mb,
                    "keys": self._runtime_keys(),
                },
            }
        )

    def _choices(self) -> dict[str, Any]:
        kinds = {placed.kind.name for placed in self.graph.devices}
        networks = [placed.kind.name for placed in self.graph.devices if placed.kind.offers is NETWORK]
        nics = [kind.removesuffix("_net") for kind in networks if kind in ("tap", "virtio_net", "ixgbe")]
        net = "socket" if "sockets" in kinds else "direct" if networks else "none"
        return {
            "name": self.registration.name,
            "target": self.graph.context.target,
            "net": net,
            "nic": nics[0] if nics else "none",
        }

    def _hardware(self) -> list[dict[str, Any]]:
        return [
            {
                "name": placed.local,
                "kind": placed.kind.name,
                **placed.kind.hardware(self._settings(placed)),
                **self._purpose(placed),
            }
            for placed in self.graph.devices
            if placed.kind.hardware is not None
        ]

    def _settings(self, placed: Placed) -> dict[str, Any]:
        """The settings, with the numbers that the graph gave."""
        numbered = [name for name, what in placed.kind.derived.items() if what == NUMBER]
        return {**placed.settings, **{name: self.graph.number(placed, name) or None for name in numbered}}

    def _purpose(self, placed: Placed) -> dict[str, Any]:
        """Of a PCI function that is a network card: its driver, and the boot arguments of the stack on it, so that
        whoever attaches the card can tell the guest its addresses."""
        above = {placed}
        drivers = [other for other in self.graph.devices if placed in other.arguments]
        networks = [driver for driver in drivers if driver.kind.offers is NETWORK]
        if not networks:
            return {}
        keys: dict[str, str] = {}
        for other in self.graph.devices:
            if not above.isdisjoint(other.arguments):
                above.add(other)
                keys |= {
                    key.name: other.keys[name].name
                    for name, key in other.kind.keys.items()
                    if key.name in _ADDRESS_KEYS and name in other.keys
                }
        return {"driver": networks[0].kind.name, "network": networks[0].local, "keys": keys}

    def _ports(self) -> list[dict[str, Any]]:
        return [
            {"proto": key.type.removesuffix("_port"), "key": key.name, "port": key.default}
            for key in self.graph.application.keys.values()
            if key.type in ("tcp_port", "udp_port")
        ]

    def _runtime_keys(self) -> list[dict[str, Any]]:
        return [
            {"name": key.name, "type": guest_type(key), "default": key.spelled_default, "doc": key.doc}
            for key in self.graph.runtime_keys()
        ]


def guest_type(key: Key) -> str:
    """How libos.app.args knows the key's type; a choice carries its choices along."""
    return f"choice:{','.join(key.choices)}" if key.choices else key.type


def literal(value: Any) -> str:
    """`value` as Python source."""
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, list | tuple):
        items = ", ".join(literal(item) for item in value)
        if isinstance(value, tuple):
            return f"({items},)" if len(value) == 1 else f"({items})"
        return f"[{items}]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{literal(name)}: {literal(item)}" for name, item in value.items()) + "}"
    return repr(value)


def _json(document: dict[str, Any]) -> str:
    text = json.dumps({"_": f"{MARK} {__version__}; do not edit", **document}, indent=2, ensure_ascii=False)
    # The mark belongs in the first line.
    return "{" + text.removeprefix("{").lstrip() + "\n"


def _make_quoted(text: str) -> str:
    """A word for the shell, inside a makefile."""
    return shlex.quote(text).replace("$", "$$").replace("#", "\\#")


def _render(template: str, **values: Any) -> str:
    # Loaded here: `mirage-py run`, `ps` and `--help` have no need of it.
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(paths.templates_dir()),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["literal"] = literal
    return environment.get_template(template).render(mark=f"{MARK} {__version__}", **values)
