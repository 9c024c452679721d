# SPDX-License-Identifier: MIT
"""The device graph: choices made, equal nodes shared, devices in the order in which they can be built.

Choosing is resolving: `resolve` walks from the application down, asks the context at every choice, and merges devices
that are equal (same kind, same settings, same group, on the same devices). What comes out is a list in dependency
order, in which every device has a local name of its own; or a UserError that names the device, the reason and what
could be chosen.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mirage_py.configure.device import NUMBER, Choice, Device, Kind, Node
from mirage_py.configure.keys import CONFIGURE, RUNTIME, Key, Value
from mirage_py.support.errors import UserError

# Far beyond any real graph: a choice whose options make ever new choices never ends.
_DEPTH_LIMIT = 100
_NODE_LIMIT = 2_000
_ENDLESS = "let the options of a choice name devices that exist"


@dataclass(frozen=True)
class Context:
    """What the user said at configure time.

    target: "unix" or "hvt". values: key name -> value, both of configure-time keys and of runtime keys whose default
    the user wants changed in the image.
    """

    target: str
    values: Mapping[str, Value] = field(default_factory=dict)


@dataclass(frozen=True)
class Decision:
    """A choice that was made: by which key, for which value, out of which that the target has."""

    key: str
    value: Value
    options: tuple[Value, ...]


@dataclass(frozen=True, eq=False)
class Placed:
    """A device in its place in the graph.

    local: its name in the generated main.py. arguments: the devices it is built on. parameters: which arguments of its
    kind these are. decisions: for each argument, the choices that led to it. keys: constructor parameter -> runtime
    key, its default as the user wants it.
    settings: constructor parameter -> value, configure-time keys replaced by their values.
    """

    device: Device
    local: str
    arguments: tuple[Placed, ...]
    decisions: tuple[tuple[Decision, ...], ...]
    keys: dict[str, Key]
    settings: dict[str, Any]

    @property
    def kind(self) -> Kind:
        return self.device.kind

    @property
    def parameters(self) -> tuple[str, ...]:
        return self.device.parameters


@dataclass(frozen=True, eq=False)
class Graph:
    """devices: in dependency order, the application last. context: as resolved. configured: every configure-time key
    that the graph asked, with the value it took."""

    context: Context
    devices: tuple[Placed, ...]
    configured: dict[str, Value]

    @property
    def application(self) -> Placed:
        return self.devices[-1]

    def runtime_keys(self) -> list[Key]:
        """The boot arguments of all devices, the application's first, then in dependency order."""
        ordered = [self.application, *self.devices[:-1]]
        return list({key.name: key for placed in ordered for key in placed.keys.values()}.values())

    def of_kind(self, name: str) -> list[Placed]:
        """The devices of the kind `name`."""
        return [placed for placed in self.devices if placed.kind.name == name]

    def users(self, placed: Placed) -> int:
        """How many devices are built directly on this one, small ones left out."""
        return sum(placed in other.arguments and not other.kind.is_small for other in self.devices)

    def number(self, placed: Placed, parameter: str) -> int:
        """Which of its like `placed` is, from 0: its setting `parameter`, else the first that is free, in order."""
        given = placed.settings.get(parameter)
        if given is not None:
            return int(given)
        alike = [other for other in self.devices if _is_alike(other, placed, parameter)]
        taken = {other.settings.get(parameter) for other in alike}
        free = [number for number in range(len(alike)) if number not in taken]
        return free[[other for other in alike if other.settings.get(parameter) is None].index(placed)]

    def features(self) -> set[str]:
        """What the devices need compiled into the runtime."""
        return {feature for placed in self.devices for feature in placed.kind.features}


def check(node: Node, context: Context) -> None:
    """Raise the UserError that `resolve` would for what is under `node`, whether or not an application uses it."""
    resolver = _Resolver(context)
    resolver.place_all([node])
    resolver.check_values(node)


def resolve(root: Device, context: Context, first: Sequence[Node] = ()) -> Graph:
    """The graph under the application `root`, and what is under `first`, which comes first.

    Raises UserError for a device that does not exist on the target, a choice that is none, a circle, a key that two
    devices claim, and a value in the context for a key that the graph has not.
    """
    resolver = _Resolver(context)
    resolver.place_all([*first, root])
    resolver.check_values(root)
    _check_services(resolver.devices)
    _check_numbers(resolver.devices)
    return Graph(context, tuple(resolver.devices), resolver.configured)


class _Resolver:
    def __init__(self, context: Context) -> None:
        self.context = context
        self.devices: list[Placed] = []
        self.configured: dict[str, Value] = {}
        self._by_identity: dict[int, tuple[Placed, tuple[Decision, ...]]] = {}
        self._by_content: dict[Any, Placed] = {}
        self._locals: set[str] = set()
        self._owners: dict[str, tuple[Key, Placed | None]] = {}
        self._path: list[Node] = []
        self._alive: list[Node] = []  # identities are only good while their nodes live

    def place_all(self, roots: Sequence[Node]) -> None:
        for root in roots:
            # Names that config.py gave to devices: numbered names step aside for them.
            self._locals.update(node.local for node in reachable(root) if isinstance(node, Device))
        for root in roots:
            self._place(root)

    def _place(self, node: Node) -> tuple[Placed, tuple[Decision, ...]]:
        known = self._by_identity.get(id(node))
        if known is not None:
            return known
        if any(node is other for other in self._path) or len(self._path) > _DEPTH_LIMIT:
            self._refuse_circle(node)
        self._path.append(node)
        self._alive.append(node)
        placed: tuple[Placed, tuple[Decision, ...]]
        if isinstance(node, Choice):
            placed = self._choose(node)
        elif isinstance(node, Device):
            placed = (self._build(node), ())
        else:
            raise UserError(f"{node.title} is neither a device nor a choice", "give a device")
        self._path.pop()
        self._by_identity[id(node)] = placed
        return placed

    def _refuse_circle(self, node: Node) -> None:
        start = next((index for index, other in enumerate(self._path) if other is node), -4)
        circle = [other.title for other in self._path[start:]] + [node.title]
        raise UserError(
            f"devices are built on each other in a circle: {' -> '.join(circle)}", "build one of them on something else"
        )

    def _choose(self, choice: Choice) -> tuple[Placed, tuple[Decision, ...]]:
        value = self._value(choice)
        self._claim(choice.key, None, value)
        self._check_target(choice, value)
        placed, decisions = self._place(choice.option(value))
        fitting = tuple(option for option in choice.options if option == value or self._fits(choice, option))
        return placed, (Decision(choice.key.name, value, fitting), *decisions)

    def _value(self, choice: Choice) -> Value:
        value = self.context.values.get(choice.key.name)
        return choice.default(self.context.target) if value is None else value

    def _check_target(self, choice: Choice, value: Value) -> None:
        # Looked for here, before the devices under it are placed, because here the other choices are known.
        # A choice further down speaks for itself.
        misfit = self._misfit(choice.option(value), through_choices=False)
        if misfit is None:
            return
        fitting = [
            f"{choice.key.option} {option}"
            for option in choice.options
            if option != value and self._fits(choice, option)
        ]
        raise UserError(
            f"{choice.key.option} {value} does not go with -t {self.context.target}: {_reason(misfit)}",
            "choose " + " or ".join([*fitting, *(f"-t {target}" for target in misfit.targets)]),
        )

    def _fits(self, choice: Choice, value: Value) -> bool:
        return self._misfit(choice.option(value), through_choices=True) is None

    def _misfit(self, node: Node, *, through_choices: bool) -> Kind | None:
        """The first kind under `node`, by the choices as they stand, that the target has not."""
        seen: set[int] = set()
        waiting = [node]
        while waiting:
            node = waiting.pop()
            if id(node) in seen:
                continue
            seen.add(id(node))
            if isinstance(node, Choice):
                if through_choices:
                    waiting.append(node.option(self._value(node)))
            elif isinstance(node, Device):
                if self.context.target not in node.kind.targets:
                    return node.kind
                waiting.extend(reversed(node.arguments))
        return None

    def _build(self, device: Device) -> Placed:
        kind = device.kind
        if self.context.target not in kind.targets:
            raise UserError(
                f"{kind.name} does not exist on -t {self.context.target}: {_reason(kind)}",
                f"choose -t {' or -t '.join(kind.targets)}, or leave {kind.name} out of config.py",
            )
        pairs = [self._place(argument) for argument in device.arguments]
        arguments = tuple(placed for placed, _ in pairs)
        settings = {name: self._setting(value) for name, value in device.settings.items()}
        below = tuple((name, id(placed)) for name, placed in zip(device.parameters, arguments, strict=True))
        content = (id(kind), below, _frozen(settings), device.group, device.local)
        merged = self._by_content.get(content)
        if merged is not None:
            return merged
        keys = {parameter: self._defaulted(key) for parameter, key in device.keys().items() if key.stage == RUNTIME}
        settings.update(
            {
                parameter: self._configured_value(key.grouped(device.group))
                for parameter, key in kind.keys.items()
                if key.stage == CONFIGURE and parameter not in device.settings
            }
        )
        settings = {name: value for name, value in settings.items() if name not in keys}
        placed = Placed(device, self._local(device), arguments, tuple(d for _, d in pairs), keys, settings)
        for parameter, key in device.keys().items():
            self._claim(keys.get(parameter, key), placed, settings.get(parameter))
        self._by_content[content] = placed
        self.devices.append(placed)
        return placed

    def _setting(self, value: Any) -> Any:
        if isinstance(value, Key) and value.stage == CONFIGURE:
            return self._configured_value(value)
        return value

    def _configured_value(self, key: Key) -> Value:
        value = self.context.values.get(key.name)
        return key.default if value is None else value

    def _defaulted(self, key: Key) -> Key:
        value = self.context.values.get(key.name)
        return key if value is None else key.with_default(value)

    def _claim(self, key: Key, placed: Placed | None, value: Value) -> None:
        """Note that `placed`, or a choice (None), has a key; one name for two things is refused."""
        known, owner = self._owners.setdefault(key.name, (key, placed))
        # A configure-time key may be asked in several places, as the very same key. A boot argument goes to one device.
        if known != key or (owner is not placed and key.stage == RUNTIME):
            titles = " and ".join(p.local if p else "a choice" for p in (owner, placed))
            raise UserError(
                f"two devices have the key {key.option}: {titles}",
                'give one of them a group (group="lan" makes it --lan-...), or another name to a key of yours',
            )
        if key.stage == CONFIGURE:
            self.configured[key.name] = value

    def _local(self, device: Device) -> str:
        if device.local:
            if device.local in {placed.local for placed in self.devices}:
                raise UserError(
                    f"two different devices are called {device.local!r}", "give one of them another name in config.py"
                )
            return device.local
        base = device.kind.local
        number = 0
        while (name := f"{base}{'_' if base[-1].isdigit() else ''}{number}") in self._locals:
            number += 1
        self._locals.add(name)
        return name

    def check_values(self, root: Node) -> None:
        """Refuse values for keys that this configuration does not ask."""
        for name, value in self.context.values.items():
            if name not in self._owners:
                self._refuse_value(root, name, value)

    def _refuse_value(self, root: Node, name: str, value: Value) -> None:
        cause = f"--{name}: this application has no such key"
        for node in reachable(root):
            if isinstance(node, Choice) and node.key.name == name:
                self._check_target(node, value)
                cause = f"--{name} {value} has no effect: what it chooses is not part of this configuration"
            elif isinstance(node, Device) and name in {key.name for key in node.keys().values()}:
                cause = f"--{name} is a key of {node.kind.name}, which is not part of this configuration"
        made = " ".join(f"--{name} {value}" for name, value in self.configured.items() if value is not None)
        otherwise = f", or choose otherwise than -t {self.context.target} {made}" if made else ""
        raise UserError(cause, f"leave --{name} out{otherwise}", exit_code=2)


def _check_services(devices: Sequence[Placed]) -> None:
    """Two services that poll one network card would take each other's frames."""
    services: dict[Placed, Placed] = {}
    below: dict[Placed, set[Placed]] = {}
    for placed in devices:
        below[placed] = {placed}.union(*(below[argument] for argument in placed.arguments))
        for used in below[placed] if placed.kind.is_service else ():
            other = services.setdefault(used, placed)
            if used.kind.offers.has_one_service and other is not placed:
                raise UserError(
                    f"{used.local} is used by both {other.local} and {placed.local}",
                    f"build each on a {used.kind.offers.name} device of its own; of several that are alike, "
                    "PciInfo(index=1) names the second",
                )


def _is_alike(one: Placed, other: Placed, parameter: str) -> bool:
    """Whether the two differ in nothing but their names and the setting `parameter`."""
    return (
        one.kind is other.kind
        and one.arguments == other.arguments
        and _frozen({**one.settings, parameter: None}) == _frozen({**other.settings, parameter: None})
    )


def _check_numbers(devices: Sequence[Placed]) -> None:
    """Two names for the very same piece of hardware would be two drivers for it."""
    for position, placed in enumerate(devices):
        for parameter in (name for name, what in placed.kind.derived.items() if what == NUMBER):
            number = placed.settings.get(parameter)
            for other in devices[:position] if number is not None else ():
                if other.settings.get(parameter) == number and _is_alike(other, placed, parameter):
                    raise UserError(
                        f"{other.local} and {placed.local} are both number {number} of the same {placed.kind.name}",
                        f"give them different numbers ({parameter}=0, {parameter}=1), or none",
                    )


def _reason(kind: Kind) -> str:
    return f"{kind.name} {kind.target_reason or 'is for ' + ' and '.join(kind.targets)}"


def _frozen(value: Any) -> Any:
    """Something hashable that is equal where `value` is. True and 1 are told apart: they are different settings."""
    if isinstance(value, Mapping):
        return tuple((name, _frozen(item)) for name, item in sorted(value.items()))
    if isinstance(value, list | tuple):
        return tuple(_frozen(item) for item in value)
    return (type(value).__name__, value)


def reachable(root: Node) -> list[Node]:
    """Every node under `root`, through every option of every choice, `root` first. Nothing twice."""
    found: list[Node] = []
    seen: set[int] = set()
    waiting = [root]
    while waiting:
        node = waiting.pop()
        if id(node) in seen:
            continue
        if len(found) > _NODE_LIMIT:
            raise UserError(f"{node.title}: its options go on without end", _ENDLESS)
        seen.add(id(node))
        found.append(node)
        if isinstance(node, Choice):
            waiting.extend(reversed([node.option(value) for value in node.options]))
        elif isinstance(node, Device):
            waiting.extend(reversed(node.arguments))
    return found


def all_keys(root: Node) -> dict[str, tuple[Key, list[str]]]:
    """Every key that some choice could bring in: name -> (key, titles of what has it). For help texts and parsing."""
    found: dict[str, tuple[Key, list[str]]] = {}
    for node in reachable(root):
        if isinstance(node, Choice):
            keys = [node.key]
        elif isinstance(node, Device):
            keys = list(node.keys().values())
        else:
            keys = []
        for key in keys:
            titles = found.setdefault(key.name, (key, []))[1]
            if node.title not in titles:
                titles.append(node.title)
    return found
