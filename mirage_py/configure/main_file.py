# SPDX-License-Identifier: MIT
"""The generated main.py: one local per device, in the order in which they can be made."""

from __future__ import annotations

from mirage_py.configure import config_file, embedded
from mirage_py.configure.device import HVT, LOCAL_NAME, NUMBER, ORDER, TARGET, USER_COUNT, Kind
from mirage_py.configure.devices.signatures import DNS, HAPPY_EYEBALLS, IPV4, IPV6, STACK, TLS_CONTEXTS
from mirage_py.configure.graph import Graph, Placed
from mirage_py.configure.guest_class import Callee, GuestClass, find_class
from mirage_py.configure.render import guest_type, literal, render
from mirage_py.configure.resolver import Resolution, Trees, resolve_imports, resolve_module
from mirage_py.support.errors import UserError

# What asyncio has for networks, and what puts a stack of ours behind it.
_STREAMS_NAMES = frozenset({"open_connection", "start_server"})
_STREAMS_MODULE = "libos.app.streams"
_STREAMS_FUNCTION = "install"
_TLS_KIND = "tls"
_EMBEDDED_MODULE = "libos.hal.files"
_EMBEDDED_FUNCTION = "embedded"
_REPL_MODULE = "libos.hal.repl"
_REPL_CLASS = "Repl"


class MainFile:
    """The generated main.py."""

    def __init__(
        self, registration: config_file.Registration, graph: Graph, trees: Trees, *, has_repl: bool = False
    ) -> None:
        self.has_repl = has_repl
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
        if self.has_repl:
            imports[_REPL_MODULE] = [_REPL_CLASS]
            devices.append(f"{self.graph.of_kind('event_loop')[0].local}.attach({_REPL_CLASS}())")
        if next(embedded.found_in([placed.settings for placed in self.graph.devices]), None) is not None:
            imports.setdefault(_EMBEDDED_MODULE, []).append(_EMBEDDED_FUNCTION)
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
        text = render(
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
        """The stack, and what connects to names on it where there is such a thing.

        It is the application's own argument. Where it has none, an HTTP client's TLS is not meant, but what is below.
        """
        every = [placed for placed in self.graph.devices if placed.kind.offers is STACK]
        found = [placed for placed in every if placed in self.graph.application.arguments]
        found = found or [placed for placed in every if placed.kind.name != _TLS_KIND]
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
        contexts = [f"contexts={placed.local}" for placed in found_contexts(self.graph)]
        return [*stacks, *connectors[:1], *contexts]

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
            _EMBEDDED_FUNCTION,
            _REPL_CLASS,
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
            elif what == ORDER and (order := self.graph.order(placed)):
                values[parameter] = str(order)
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


def found_contexts(graph: Graph) -> list[Placed]:
    """The device tls_contexts(), where there is one. Raises UserError for two: the module `tls` has one of all."""
    found = [placed for placed in graph.devices if placed.kind.offers is TLS_CONTEXTS]
    if len(found) > 1:
        raise UserError(f"{len(found)} tls_contexts() in one image", "give everybody the same one")
    return found


# What `run` tells a stack about the network that it puts a card on.
