# SPDX-License-Identifier: MIT
"""Device kinds, devices made from them, and choices between devices.

A `Kind` says what a device offers, what it is built on, and which guest class implements it. Calling a kind makes a
`Device`: a node of the graph, immutable, naming the nodes that it is built on. A `Choice` is a node that a
configure-time key decides.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mirage_py.configure.embedded import Embedded, Folder
from mirage_py.configure.keys import CONFIGURE, Key, Value
from mirage_py.configure.later import Later
from mirage_py.support.errors import UserError

UNIX = "unix"
HVT = "hvt"
TARGETS = (UNIX, HVT)

LOCAL_NAME = "local name"
USER_COUNT = "user count"
TARGET = "target"
NUMBER = "number among its like"
ORDER = "order among its kind"

_IMPLEMENTATION = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+", re.ASCII)
_GROUP = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
_LOCAL = re.compile(r"[a-z][a-z0-9_]*")


@dataclass(frozen=True)
class Signature:
    """What a device offers to those built on it: a name, and the methods and attributes behind it.

    has_one_service: at most one service of the event loop may be built on such a device, directly or not.
    """

    name: str
    methods: tuple[str, ...] = ()
    has_one_service: bool = False


@dataclass(frozen=True)
class Optional:
    """An argument that a device of the kind may do without: the guest class has a default for it."""

    signature: Signature


def optional(signature: Signature) -> Optional:
    """In a kind's `arguments`: a device may be built without this one. Raises UserError for what is no signature."""
    if not isinstance(signature, Signature):
        raise UserError(f"optional({signature!r}) is not about a signature", "give it a Signature")
    return Optional(signature)


class Node:
    """A node of the graph: a device, or a choice between devices. Compared by identity; the graph merges equal ones."""

    def __init__(self, offers: Signature) -> None:
        self.offers = offers

    @property
    def title(self) -> str:
        """What messages call the node."""
        raise NotImplementedError


@dataclass(frozen=True, eq=False)
class Kind:
    """A kind of device.

    name: what messages and `query devices` call it. offers: its signature. In arguments, keys, settings and derived, a
        parameter is one of the guest class's constructor (or of `method`); arguments whose names it lacks go by order.
    implementation: the guest class, "package.module.Class": of the library OS, or of the application's directory.
    doc: one line. arguments: constructor parameter -> signature of the device it takes, in the constructor's order;
        optional(signature) where a device may do without. What is left out stays at the class's default.
    keys: constructor parameter -> the key whose value it gets. A device may fix it as if it were a setting.
    settings: constructor parameter -> default, for values that config.py fixes; None leaves the parameter out. A
        setting may be a configure-time key.
    derived: constructor parameter -> LOCAL_NAME (the device's name in main.py), USER_COUNT (how many devices are
        built directly on it), TARGET (what is built for) or NUMBER (how many come before it that are alike but for
        this; left out when none) or ORDER (how many of its kind do). A setting of the same name stands above NUMBER.
    method: where given, the device is not constructed but got by calling this method of its first argument;
        `implementation` then names the class of what comes back.
    features: what it needs compiled into the runtime. targets: where it exists, and why only there: a clause that
        goes on after the kind's name ("drives a PCI device").
    local: its name in the generated main.py, without number; the kind's own name unless given.
    is_service: the event loop polls it.
    is_small: wants so little of what it is built on that USER_COUNT leaves it out.
    hardware: what a machine must attach for a device with these settings, as data for the image's note.
    """

    name: str
    offers: Signature
    implementation: str
    doc: str = ""
    arguments: Mapping[str, Signature | Optional] = field(default_factory=dict)
    keys: Mapping[str, Key] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    derived: Mapping[str, str] = field(default_factory=dict)
    method: str = ""
    features: tuple[str, ...] = ()
    targets: tuple[str, ...] = TARGETS
    target_reason: str = ""
    local: str = ""
    is_service: bool = False
    is_small: bool = False
    hardware: Callable[[Mapping[str, Any]], dict[str, Any]] | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.implementation, str) or not _IMPLEMENTATION.fullmatch(self.implementation):
            raise UserError(
                f"device kind {self.name}: {self.implementation!r} does not name a class of a module",
                "write it as 'module.Class'",
            )
        unknown = [target for target in self.targets if target not in TARGETS]
        if unknown or not self.targets:
            raise UserError(
                f"device kind {self.name} names the unknown target {', '.join(unknown) or '(none)'}",
                f"choose from {', '.join(TARGETS)}",
            )
        if not isinstance(self.offers, Signature):
            raise UserError(f"device kind {self.name}: offers={self.offers!r} is not a signature", "give a Signature")
        for parameter, signature in self.arguments.items():
            if not isinstance(signature, Signature | Optional):
                raise UserError(
                    f"device kind {self.name}: argument {parameter} is {signature!r}, not a signature",
                    "give a Signature, or optional(Signature)",
                )
        if self.method and (not self.arguments or self.is_optional(next(iter(self.arguments)))):
            raise UserError(
                f"device kind {self.name}: its devices are got by {self.method}() of their first argument, which may "
                "be missing",
                "make the first argument one that is always there",
            )
        if not self.local:
            object.__setattr__(self, "local", re.sub(r"\W", "_", self.name.lower(), flags=re.ASCII))
        if not _LOCAL.fullmatch(self.local):
            raise UserError(
                f"device kind {self.name}: {self.local!r} cannot be a Python name",
                "use lower-case letters, digits, '_'",
            )

    @property
    def module(self) -> str:
        """The guest module that implements it: `libos.net.tcp`."""
        return self.implementation.rpartition(".")[0]

    @property
    def class_name(self) -> str:
        """The class in that module: `Tcp`."""
        return self.implementation.rpartition(".")[2]

    def is_optional(self, parameter: str) -> bool:
        """Whether a device may be built without the argument `parameter`."""
        return isinstance(self.arguments[parameter], Optional)

    def signature(self, parameter: str) -> Signature:
        """What the device must offer that the argument `parameter` takes."""
        argument = self.arguments[parameter]
        return argument.signature if isinstance(argument, Optional) else argument

    def __call__(self, *arguments: Node | None, group: str = "", local: str = "", **values: Any) -> Device:
        """A device of this kind.

        arguments: one node per argument of the kind, in order; an optional one may be None, or missing at the end.
        group: prefix of the device's keys, for a kind that occurs twice. local: a name for the generated main.py in
        place of the numbered one. values: by name, for the kind's settings and keys; the parameter of a key that has a
        value here is no boot argument any more (None: it is left out), and optional arguments may be named too.
        Raises UserError when an argument is missing, too many, or of the wrong signature, or a name is unknown.
        """
        named = {name: values.pop(name) for name in list(values) if self._is_named_argument(name)}
        return Device(self, self._in_order(arguments, named), values, group, local)

    def _is_named_argument(self, name: str) -> bool:
        return name in self.arguments and name not in self.settings and name not in self.keys

    def _in_order(self, given: Sequence[Node | None], named: Mapping[str, Node | None]) -> list[Node | None]:
        """What is given by name, in its place among the arguments; None for those between that are not given."""
        arguments = list(given)
        for position, parameter in enumerate(self.arguments if named else ()):
            if parameter not in named:
                if position >= len(arguments):
                    arguments.append(None)
            elif position < len(given):
                raise UserError(f"{self.name}: argument {parameter} is given twice", "give it once")
            else:
                arguments.append(named[parameter])
        return arguments


class Device(Node):
    """One device of a kind, over the nodes it is built on.

    parameters: names of the arguments that it has, in the kind's order. arguments: the node for each of them.
    settings: constructor parameter -> what config.py fixes.
    """

    def __init__(
        self,
        kind: Kind,
        arguments: Sequence[Node | None],
        settings: Mapping[str, Any],
        group: str = "",
        local: str = "",
    ) -> None:
        super().__init__(kind.offers)
        self.kind = kind
        self.settings = {**kind.settings, **settings}
        self.group = group
        self.local = local
        self._check_arguments(arguments)
        given = {
            parameter: node for parameter, node in zip(kind.arguments, arguments, strict=False) if node is not None
        }
        self.parameters = tuple(given)
        self.arguments = tuple(given.values())
        self._check(settings)

    def _check_arguments(self, arguments: Sequence[Node | None]) -> None:
        kind = self.kind
        required = [index for index, parameter in enumerate(kind.arguments) if not kind.is_optional(parameter)]
        least, most = max(required, default=-1) + 1, len(kind.arguments)
        if not least <= len(arguments) <= most:
            takes = str(most) if least == most else f"{least} to {most}"
            wanted = ", ".join(
                f"{parameter} ({kind.signature(parameter).name}{', optional' if kind.is_optional(parameter) else ''})"
                for parameter in kind.arguments
            )
            raise UserError(
                f"{kind.name} takes {takes} devices and was given {len(arguments)}",
                f"give it {wanted}" if wanted else "give it none",
            )
        for argument, parameter in zip(arguments, kind.arguments, strict=False):
            if argument is not None or not kind.is_optional(parameter):
                require(argument, kind.signature(parameter), f"{kind.name}: argument {parameter}")

    def _check(self, settings: Mapping[str, Any]) -> None:
        kind = self.kind
        for name in settings:
            if name not in kind.settings and name not in kind.keys:
                raise UserError(
                    f"{kind.name} has no setting {name!r}",
                    f"its settings: {', '.join([*kind.settings, *kind.keys]) or 'none'}",
                )
        for name, value in self.settings.items():
            if not _is_literal(value) and not isinstance(value, Key):
                raise UserError(
                    f"{kind.name}: setting {name} is {value!r}, which cannot be written into main.py",
                    "give a number, a text, bytes, true, false, none, Embedded(...), a list or a dictionary of these, "
                    "or a key",
                )
        if self.group and not _GROUP.fullmatch(self.group):
            raise UserError(
                f"{kind.name}: {self.group!r} is not a name for a group", "use lower-case letters, digits and '-'"
            )
        if self.local and not _LOCAL.fullmatch(self.local):
            raise UserError(
                f"{kind.name}: {self.local!r} is not a name for a device", "use lower-case letters, digits and '_'"
            )

    @property
    def title(self) -> str:
        return self.kind.name

    def keys(self, number: int = 0) -> dict[str, Key]:
        """Constructor parameter -> key, under the device's group. number: how many of its kind come before it."""
        open_keys = {parameter: key for parameter, key in self.kind.keys.items() if parameter not in self.settings}
        found = {parameter: key.numbered(number).grouped(self.group) for parameter, key in open_keys.items()}
        for parameter, value in self.settings.items():
            if isinstance(value, Key):
                found[parameter] = value
        return found


class Choice(Node):
    """A node that a configure-time key decides.

    key: of the stage CONFIGURE. options: value of the key -> node, or a function that makes it when it is chosen.
    defaults: target -> value of the key where the user gives none; for the other targets the key's own default.
    follows: a key whose value, where the user gives one, counts for this choice too unless its own key has one: what is
    said of all is said of a second one.
    """

    def __init__(
        self,
        key: Key,
        options: Mapping[Any, Node | Callable[[], Node]],
        offers: Signature,
        defaults: Mapping[str, Value] | None = None,
        follows: Key | None = None,
    ) -> None:
        super().__init__(offers)
        if key.stage != CONFIGURE:
            raise UserError(
                f"key {key.name!r} is set at boot and cannot choose between devices", 'give it stage="configure"'
            )
        if not options:
            raise UserError(f"the choice by {key.option} has no options", "give it at least one")
        self.key = key
        self.options = dict(options)
        self.defaults = dict(defaults or {})
        self.follows = None if follows == key else follows
        self._made: dict[Any, Node] = {}

    @property
    def title(self) -> str:
        return f"the choice by {self.key.option}"

    def option(self, value: Value) -> Node:
        """The node behind `value`; made once. Raises UserError for a value that is no option or does not fit."""
        if value not in self.options:
            known = ", ".join(str(option) for option in self.options)
            raise UserError(
                f"{self.key.option} {value}: there is no such choice", f"choose one of {known}", exit_code=2
            )
        if value not in self._made:
            found = self.options[value]
            node = found if isinstance(found, Node) else found()
            require(node, self.offers, f"{self.title}: {value}")
            self._made[value] = node
        return self._made[value]

    def default(self, target: str) -> Value:
        """What is chosen on `target` where the user says nothing."""
        return self.defaults.get(target, self.key.default)


def _is_literal(value: object) -> bool:
    if isinstance(value, list | tuple):
        return all(_is_literal(item) for item in value)
    if isinstance(value, dict):
        return all(_is_literal(item) for pair in value.items() for item in pair)
    return value is None or isinstance(value, bool | int | float | str | bytes | Embedded | Folder | Later)


def require(node: object, signature: Signature, what: str) -> None:
    """Raise UserError unless `node` is a device, or a choice between devices, that offers `signature`."""
    if not isinstance(node, Node):
        raise UserError(
            f"{what} must be a device that offers {signature.name}, and {node!r} is not a device",
            f"give a device that offers {signature.name}",
        )
    if node.offers.name != signature.name:
        raise UserError(
            f"{what} must offer {signature.name}, and {node.title} offers {node.offers.name}",
            f"give a device that offers {signature.name}",
        )
