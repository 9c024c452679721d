# SPDX-License-Identifier: MIT
"""Boot arguments: the runtime keys of an application, parsed and checked.

A specification is a sequence of (name, type, default, doc). Types and what comes out:

    str         the text
    int         an int; decimal, 0x… or -…
    bool        `--name`, `--no-name`, `--name=true|false`
    tcp_port    1 to 65535; udp_port as well
    ipv4        "10.0.0.1", checked
    ipv4_cidr   "10.0.0.2/24", checked
    ipv6        "2001:db8::1", checked
    ipv6_cidr   "2001:db8::2/64", checked
    loglevel    what app.log.parse_levels() makes of it
    ip_list     ["8.8.8.8", "2001:db8::1"], checked, from a list with commas; given twice, the lists are joined
    duration    milliseconds, from `250ms`, `3s`, `2m`, `1h`
    interval    the same; `--name` alone is 0
    choice:a,b  one of the texts after the colon
"""

import sys

from .log import parse_levels

EXIT_USAGE = 64  # EX_USAGE of sysexits.h, as MirageOS has it
_CHOICE = "choice:"
_DURATION_MS = {"ms": 1, "s": 1000, "m": 60000, "h": 3600000}


def _parse_int(text):
    return int(text, 0)


def _parse_bool(text):
    if text in ("true", "yes", "1"):
        return True
    if text in ("false", "no", "0"):
        return False
    raise ValueError("neither true nor false")


def _parse_port(text):
    port = int(text)
    if not 1 <= port <= 65535:
        raise ValueError("not from 1 to 65535")
    return port


def _parse_ipv4(text):
    parts = text.split(".")
    if len(parts) != 4:
        raise ValueError("not an IPv4 address")
    for part in parts:
        # Not isdigit() alone: "010" would be eight for some and ten for others.
        if not part.isdigit() or len(part) > 3 or int(part) > 255 or (len(part) > 1 and part[0] == "0"):
            raise ValueError("not an IPv4 address")
    return text


def _parse_ipv4_cidr(text):
    address, slash, prefix = text.partition("/")
    _parse_ipv4(address)
    if not slash or not prefix.isdigit() or len(prefix) > 2 or int(prefix) > 32:
        raise ValueError("not ADDRESS/PREFIX with a prefix from 0 to 32")
    return text


def _parse_ipv6(text):
    if "%" in text:
        raise ValueError("an IPv6 address with a zone is not supported")
    head, gap, tail = text.partition("::")
    groups = _count_groups(head, not gap) + _count_groups(tail, True)
    if groups > 7 if gap else groups != 8:
        raise ValueError("not an IPv6 address")
    return text


def _count_groups(part, is_end):
    """How many groups of 16 bits are between double colons. The last of an address may be dotted: two groups."""
    if not part:
        return 0
    groups = part.split(":")
    count = len(groups)
    if is_end and "." in groups[-1]:
        _parse_ipv4(groups.pop())
        count += 1
    for group in groups:
        if not 1 <= len(group) <= 4 or group.strip("0123456789abcdefABCDEF"):
            raise ValueError("not an IPv6 address")
    return count


def _parse_ipv6_cidr(text):
    address, slash, prefix = text.partition("/")
    _parse_ipv6(address)
    if not slash or not prefix.isdigit() or len(prefix) > 3 or int(prefix) > 128:
        raise ValueError("not ADDRESS/PREFIX with a prefix from 0 to 128")
    return text


def _parse_ip_list(text):
    addresses = text.split(",")
    for address in addresses:
        if ":" in address:
            _parse_ipv6(address)
        else:
            _parse_ipv4(address)
    return addresses


def _parse_duration(text):
    digits = text.rstrip("hms")
    unit = _DURATION_MS.get(text[len(digits) :])
    if unit is None or not digits.isdigit():
        raise ValueError("not a duration such as 250ms, 3s, 2m or 1h")
    return int(digits) * unit


_PARSERS = {
    "str": str,
    "int": _parse_int,
    "bool": _parse_bool,
    "tcp_port": _parse_port,
    "udp_port": _parse_port,
    "ipv4": _parse_ipv4,
    "ipv4_cidr": _parse_ipv4_cidr,
    "ipv6": _parse_ipv6,
    "ipv6_cidr": _parse_ipv6_cidr,
    "loglevel": parse_levels,
    "ip_list": _parse_ip_list,
    "duration": _parse_duration,
    "interval": _parse_duration,
}


class ArgumentError(ValueError):
    """An argument that does not parse; str() says which and why."""


def convert(name, kind, text):
    """The value of option `name` from its text. Raises ArgumentError."""
    if kind.startswith(_CHOICE):
        choices = kind[len(_CHOICE) :].split(",")
        if text not in choices:
            raise ArgumentError("--%s: %r: none of %s" % (name, text, ", ".join(choices)))
        return text
    try:
        return _PARSERS[kind](text)
    except ValueError as error:
        reason = str(error)
        if kind in ("int", "tcp_port", "udp_port") and reason.startswith("invalid"):
            reason = "not a number"
        raise ArgumentError("--%s: %r: %s" % (name, text, reason))


def parse_arguments(spec, argv):
    """Parses without printing or leaving.

    Returns a dict of name -> value, every name of the specification in it, or None when help was asked for.
    Raises ArgumentError. An option given twice has its last value, or both where it is a list.
    """
    kinds = {}
    values = {}
    given = set()
    for name, kind, default, _ in spec:
        kinds[name] = kind
        # Defaults may come as text (from the command line of `configure`) or as values.
        values[name] = convert(name, kind, default) if isinstance(default, str) else default
    index = 0
    while index < len(argv):
        word = argv[index]
        index += 1
        if word in ("--help", "-h"):
            return None
        if not word.startswith("--"):
            raise ArgumentError("%r is not an option" % word)
        name, equals, text = word[2:].partition("=")
        if name not in kinds and name.startswith("no-") and kinds.get(name[3:]) == "bool" and not equals:
            values[name[3:]] = False
            continue
        if name not in kinds:
            raise ArgumentError("there is no option --%s (--help lists them)" % name)
        if not equals:
            if kinds[name] == "bool":
                values[name] = True
                continue
            if kinds[name] == "interval" and (index == len(argv) or argv[index].startswith("--")):
                values[name] = 0
                continue
            if index == len(argv):
                raise ArgumentError("--%s needs a value" % name)
            text = argv[index]
            index += 1
        value = convert(name, kinds[name], text)
        if kinds[name] == "ip_list" and name in given:
            value = values[name] + value
        values[name] = value
        given.add(name)
    return values


def help_text(spec, program):
    """What `--help` prints."""
    lines = ["usage: %s [--OPTION VALUE]..." % program, ""]
    for name, kind, default, doc in spec:
        metavar = kind[len(_CHOICE) :].replace(",", "|") if kind.startswith(_CHOICE) else kind.upper()
        if kind == "interval":
            metavar = "[DURATION]"
        option = "--" + name if kind == "bool" else "--%s %s" % (name, metavar)
        note = "" if default is None else " (default %s)" % (default,)
        lines.append("  %-28s %s%s" % (option, doc, note))
    lines.append("  %-28s %s" % ("--help", "print this and exit"))
    return "\n".join(lines)


def parse(spec, argv, program="unikernel"):
    """Parses boot arguments for the generated main.

    Returns a dict of name -> value. `--help` prints the options and exits with 0; a bad argument prints one line and
    exits with 64 (both by SystemExit).
    """
    try:
        values = parse_arguments(spec, argv)
    except ArgumentError as error:
        print("%s: error: %s" % (program, error))
        sys.exit(EXIT_USAGE)
    if values is None:
        print(help_text(spec, program))
        sys.exit(0)
    return values
