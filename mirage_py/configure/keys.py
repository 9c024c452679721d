# SPDX-License-Identifier: MIT
"""Keys: the values a user may set, at configure time (they shape the graph) or at boot (they are boot arguments).

A key is checked where it is written: a default that does not fit its type is an error at configure time, never a
surprise at boot. The guest's own parser (libos.app.args) reads the runtime types again, from the boot arguments.
"""

from __future__ import annotations

import ipaddress
import keyword
import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from mirage_py.support.errors import UserError

Value = str | int | bool | None

CONFIGURE = "configure"
RUNTIME = "runtime"
STAGES = (CONFIGURE, RUNTIME)

# Names that the command line, or the built image, keeps for itself.
RESERVED = frozenset(
    {"color", "debug", "dry-run", "file", "help", "no-color", "output", "quiet", "target", "verbose", "version"}
)

_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
_CHOICE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_INTEGER = re.compile(r"[+-]?(0[xX][0-9a-fA-F]+|[0-9]+)")
_OCTET = re.compile(r"0|[1-9][0-9]{0,2}")
_DURATION = re.compile(r"([0-9]+)(ms|s|m|h)")
_DURATION_MS = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000}
_LOG_LEVELS = ("error", "warning", "info", "debug")
_LOG_SOURCE = re.compile(r"[A-Za-z0-9_.-]+|\*")


@dataclass(frozen=True)
class KeyType:
    """How the values of one type are written.

    parse: text -> value; raises ValueError. accepts: whether a Python value is one already.
    expects: what a value is, for messages: "'x' is not EXPECTS". metavar: its name in help texts.
    """

    parse: Callable[[str], Value]
    accepts: Callable[[Value], bool]
    expects: str
    metavar: str


def _is_integer(value: Value) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_port(value: Value) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= 65535


def _parse_integer(text: str) -> int:
    if not _INTEGER.fullmatch(text):
        raise ValueError(text)
    return int(text, 16 if "x" in text.lower() else 10)


def _parse_port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and _is_port(int(text))):
        raise ValueError(text)
    return int(text)


def _parse_bool(text: str) -> bool:
    if text.lower() in ("true", "yes", "on", "1"):
        return True
    if text.lower() in ("false", "no", "off", "0"):
        return False
    raise ValueError(text)


def _parse_ipv4(text: str) -> str:
    octets = text.split(".")
    # No leading zeros: "010" is eight for some and ten for others.
    if len(octets) != 4 or not all(_OCTET.fullmatch(octet) and int(octet) < 256 for octet in octets):
        raise ValueError(text)
    return text


def _parse_ipv4_cidr(text: str) -> str:
    address, slash, prefix = text.partition("/")
    if not slash or not _OCTET.fullmatch(prefix) or int(prefix) > 32:
        raise ValueError(text)
    return f"{_parse_ipv4(address)}/{prefix}"


def _parse_ipv6(text: str) -> str:
    if "%" in text:
        raise ValueError(text)
    ipaddress.IPv6Address(text)
    return text


def _parse_ipv6_cidr(text: str) -> str:
    address, slash, prefix = text.partition("/")
    if not slash or not _OCTET.fullmatch(prefix) or int(prefix) > 128:
        raise ValueError(text)
    return f"{_parse_ipv6(address)}/{prefix}"


def _parse_ip_list(text: str) -> str:
    for address in text.split(","):
        if "%" in address:
            raise ValueError(address)  # a zone: the image has one interface, and no names for it
        ipaddress.ip_address(address)
    return text


def _parse_duration(text: str) -> int:
    match = _DURATION.fullmatch(text)
    if not match:
        raise ValueError(text)
    return int(match[1]) * _DURATION_MS[match[2]]


def _parse_log_levels(text: str) -> str:
    for part in text.split(","):
        source, colon, level = part.rpartition(":")
        if level not in _LOG_LEVELS or (colon and not _LOG_SOURCE.fullmatch(source)):
            raise ValueError(text)
    return text


def _text_type(parse: Callable[[str], Value], expects: str, metavar: str) -> KeyType:
    return KeyType(parse, lambda value: False, expects, metavar)


TYPES: dict[str, KeyType] = {
    "str": KeyType(str, lambda value: isinstance(value, str), "a text", "TEXT"),
    "int": KeyType(_parse_integer, _is_integer, "a whole number", "NUMBER"),
    "bool": KeyType(_parse_bool, lambda value: isinstance(value, bool), "true or false", "BOOL"),
    "tcp_port": KeyType(_parse_port, _is_port, "a TCP port from 1 to 65535", "PORT"),
    "udp_port": KeyType(_parse_port, _is_port, "a UDP port from 1 to 65535", "PORT"),
    "ipv4": _text_type(_parse_ipv4, "an IPv4 address such as 10.0.0.2", "ADDRESS"),
    "ipv4_cidr": _text_type(_parse_ipv4_cidr, "an IPv4 address with its prefix length such as 10.0.0.2/24", "CIDR"),
    "ipv6": _text_type(_parse_ipv6, "an IPv6 address such as fd00::2", "ADDRESS"),
    "ipv6_cidr": _text_type(_parse_ipv6_cidr, "an IPv6 address with its prefix length such as fd00::2/64", "CIDR"),
    "loglevel": _text_type(
        _parse_log_levels,
        f"a log level ({', '.join(_LOG_LEVELS)}) or a list such as tcp:debug,*:info",
        "LEVELS",
    ),
    "duration": KeyType(
        _parse_duration,
        lambda value: _is_integer(value) and isinstance(value, int) and value >= 0,
        "a duration such as 500ms, 30s, 5m or 2h",
        "DURATION",
    ),
    "interval": KeyType(
        _parse_duration,
        lambda value: _is_integer(value) and isinstance(value, int) and value >= 0,
        "a duration such as 500ms, 30s, 5m or 2h",
        "DURATION",
    ),
    "ip_list": _text_type(_parse_ip_list, "a list of IP addresses such as 8.8.8.8,1.1.1.1", "ADDRESSES"),
    "choice": KeyType(str, lambda value: isinstance(value, str), "one of its choices", "CHOICE"),
}


@dataclass(frozen=True)
class Key:
    """A value that a user may set.

    name: as on the command line without the dashes, lower case, words joined by '-'.
    type: a name in TYPES. default: a value of that type, or the text that a user would write; None: not set.
        A duration's value is in milliseconds.
    doc: one line for help texts. stage: CONFIGURE or RUNTIME. choices: for the type "choice", what may be chosen.
    further: what is otherwise where another device of the kind comes before this one: 1, 2 … -> fields of the key, as
        in {"default": "tap1"}. So two devices that need different values have them by default.
    Raises UserError when anything of this does not fit together.
    """

    name: str
    type: str = "str"
    default: Value = None
    doc: str = ""
    stage: str = RUNTIME
    choices: tuple[str, ...] = ()
    further: Callable[[int], dict[str, Any]] | None = field(default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not _NAME.fullmatch(self.name):
            raise UserError(
                f"{self.name!r} is not a name for a key", "use lower-case letters, digits and '-', as in 'control-port'"
            )
        if self.name in RESERVED or keyword.iskeyword(self.parameter):
            raise UserError(f"key {self.name!r}: the name is taken", "choose another name")
        if self.type not in TYPES:
            raise UserError(
                f"key {self.name!r} has the unknown type {self.type!r}", f"choose one of {', '.join(TYPES)}"
            )
        if self.stage not in STAGES:
            raise UserError(
                f"key {self.name!r} has the unknown stage {self.stage!r}", f"choose one of {', '.join(STAGES)}"
            )
        if not isinstance(self.doc, str):
            raise UserError(f"key {self.name!r}: doc={self.doc!r} is not a text", "write a line for --help")
        object.__setattr__(self, "choices", tuple(self.choices))
        if not all(isinstance(choice, str) and _CHOICE.fullmatch(choice) for choice in self.choices):
            raise UserError(
                f"key {self.name!r}: {', '.join(map(repr, self.choices))} cannot all be written as choices",
                "use letters, digits, '.', '_' and '-'",
            )
        if bool(self.choices) != (self.type == "choice"):
            raise UserError(
                f"key {self.name!r} of type {self.type} has the choices {', '.join(self.choices) or 'none'}",
                "choices go with the type 'choice', which needs them",
            )
        object.__setattr__(self, "default", self.check(self.default))

    @property
    def option(self) -> str:
        """The command-line option: `--control-port`."""
        return "--" + self.name

    @property
    def parameter(self) -> str:
        """The Python name: `control_port`."""
        return self.name.replace("-", "_")

    @property
    def metavar(self) -> str:
        """What stands for a value in help texts."""
        return "|".join(self.choices) if self.choices else TYPES[self.type].metavar

    def show(self, value: Value) -> str:
        """`value` as a user writes it; empty where it is not set."""
        if value is None:
            return ""
        if isinstance(value, bool):
            return str(value).lower()
        if self.type in ("duration", "interval") and isinstance(value, int):
            unit = next(unit for unit in ("h", "m", "s", "ms") if value % _DURATION_MS[unit] == 0)
            return f"{value // _DURATION_MS[unit]}{unit if value else 'ms'}"
        return str(value)

    @property
    def spelled_default(self) -> Value:
        """The default for a boot argument's specification: a duration as text, anything else as it is."""
        is_time = self.type in ("duration", "interval")
        return self.show(self.default) if is_time and self.default is not None else self.default

    def parse(self, text: str) -> Value:
        """The value that a user wrote as `text`. Raises UserError."""
        try:
            if self.choices and text not in self.choices:
                raise ValueError(text)
            return TYPES[self.type].parse(text)
        except ValueError:
            expects = f"one of {', '.join(self.choices)}" if self.choices else TYPES[self.type].expects
            raise UserError(f"{self.option}: {text!r} is not {expects}", f"give {expects}", exit_code=2) from None

    def check(self, value: Value) -> Value:
        """`value` itself when it is of the key's type, or read as text. Raises UserError."""
        if value is None:
            return None
        if isinstance(value, str):
            return self.parse(value)
        if not TYPES[self.type].accepts(value):
            raise UserError(f"{self.option}: {value!r} is not {TYPES[self.type].expects}", "correct the default")
        return value

    def with_default(self, value: Value) -> Key:
        """The same key with another default."""
        return replace(self, default=value)

    def numbered(self, number: int) -> Key:
        """The same key for the device before which `number` others of its kind come."""
        return self if self.further is None or not number else replace(self, **self.further(number))

    def grouped(self, group: str) -> Key:
        """The same key under a group's prefix: `--lan-ipv4`."""
        return replace(self, name=f"{group}-{self.name}") if group else self
