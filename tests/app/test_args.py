# SPDX-License-Identifier: MIT
"""app.args: boot arguments, as `--help` promises them."""

import pytest

from libos.app.args import ArgumentError, help_text, parse, parse_arguments

SPEC = (
    ("port", "tcp_port", 7, "the port"),
    ("name", "str", None, "a name"),
    ("count", "int", "3", "a number"),
    ("fast", "bool", False, "a switch"),
    ("ipv4", "ipv4_cidr", "10.0.0.2/24", "the address"),
    ("ipv4-gateway", "ipv4", None, "the router"),
    ("logs", "loglevel", "info", "levels"),
    ("delay", "duration", "1s", "a while"),
    ("mode", "choice:red,green", "red", "a colour"),
)


def test_defaults_are_values():
    assert parse_arguments(SPEC, ()) == {
        "port": 7,
        "name": None,
        "count": 3,
        "fast": False,
        "ipv4": "10.0.0.2/24",
        "ipv4-gateway": None,
        "logs": {"*": 2},
        "delay": 1000,
        "mode": "red",
    }


@pytest.mark.parametrize(
    ("argv", "name", "value"),
    [
        (["--port", "80"], "port", 80),
        (["--port=80"], "port", 80),
        (["--port", "80", "--port", "81"], "port", 81),
        (["--name="], "name", ""),
        (["--name", "--port"], "name", "--port"),
        (["--name=a=b"], "name", "a=b"),
        (["--count", "-5"], "count", -5),
        (["--count", "0x10"], "count", 16),
        (["--fast"], "fast", True),
        (["--fast", "--no-fast"], "fast", False),
        (["--fast=yes"], "fast", True),
        (["--ipv4", "192.168.255.0/0"], "ipv4", "192.168.255.0/0"),
        (["--ipv4-gateway", "1.2.3.4"], "ipv4-gateway", "1.2.3.4"),
        (["--logs", "tcp:debug,*:error"], "logs", {"*": 0, "tcp": 3}),
        (["--delay", "250ms"], "delay", 250),
        (["--delay", "2m"], "delay", 120000),
        (["--mode", "green"], "mode", "green"),
    ],
)
def test_option_is_taken(argv, name, value):
    assert parse_arguments(SPEC, argv)[name] == value


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["port"], "'port' is not an option"),
        (["-p", "5"], "'-p' is not an option"),
        (["--prot", "5"], "there is no option --prot"),
        (["--port"], "--port needs a value"),
        (["--port", "0"], "--port: '0': not from 1 to 65535"),
        (["--port", "http"], "--port: 'http': not a number"),
        (["--count", "1.5"], "--count: '1.5': not a number"),
        (["--fast=perhaps"], "neither true nor false"),
        (["--no-port"], "there is no option --no-port"),
        (["--ipv4", "10.0.0.2"], "not ADDRESS/PREFIX"),
        (["--ipv4", "10.0.0.2/33"], "not ADDRESS/PREFIX"),
        (["--ipv4", "10.0.0.256/8"], "not an IPv4 address"),
        (["--ipv4-gateway", "010.0.0.1"], "not an IPv4 address"),
        (["--ipv4-gateway", "10.0.1"], "not an IPv4 address"),
        (["--logs", "loud"], "log level 'loud' is none of error, warning, info, debug"),
        (["--logs", ":info"], "without a source"),
        (["--delay", "5"], "not a duration"),
        (["--delay", "ms"], "not a duration"),
        (["--mode", "blue"], "none of red, green"),
    ],
)
def test_wrong_option_is_named(argv, message):
    with pytest.raises(ArgumentError) as caught:
        parse_arguments(SPEC, argv)
    assert message in str(caught.value)


def test_wrong_option_exits_64_with_one_line(capsys):
    with pytest.raises(SystemExit) as caught:
        parse(SPEC, ["--port", "x"], "echo")
    assert caught.value.code == 64
    assert capsys.readouterr().out == "echo: error: --port: 'x': not a number\n"


def test_help_lists_every_option_and_exits_0(capsys):
    with pytest.raises(SystemExit) as caught:
        parse(SPEC, ["--port", "5", "--help"], "echo")
    assert not caught.value.code
    text = capsys.readouterr().out
    assert text == help_text(SPEC, "echo") + "\n"
    for name, _, _, doc in SPEC:
        assert f"--{name}" in text
        assert doc in text
    assert "(default 10.0.0.2/24)" in text


ADDRESSES = (
    ("resolver", "ip_list", None, "the name servers"),
    ("stats", "interval", None, "print counters"),
    ("dhcp", "bool", None, "ask"),
)


@pytest.mark.parametrize(
    ("argv", "resolver", "stats", "dhcp"),
    [
        ([], None, None, None),
        (["--resolver", "8.8.8.8,1.1.1.1"], ["8.8.8.8", "1.1.1.1"], None, None),
        (["--resolver", "8.8.8.8", "--resolver=::1"], ["8.8.8.8", "::1"], None, None),
        (["--stats"], None, 0, None),
        (["--stats", "10s", "--no-dhcp"], None, 10_000, False),
        (["--stats", "--dhcp"], None, 0, True),
        (["--stats=250ms"], None, 250, None),
    ],
)
def test_lists_and_intervals(argv, resolver, stats, dhcp):
    assert parse_arguments(ADDRESSES, argv) == {"resolver": resolver, "stats": stats, "dhcp": dhcp}


def test_list_on_the_command_line_replaces_the_default():
    spec = (("resolver", "ip_list", "9.9.9.9", ""),)
    assert parse_arguments(spec, []) == {"resolver": ["9.9.9.9"]}
    assert parse_arguments(spec, ["--resolver", "8.8.8.8", "--resolver", "1.1.1.1"]) == {
        "resolver": ["8.8.8.8", "1.1.1.1"]
    }


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--resolver", "dns.example"], "--resolver: 'dns.example': not an IPv4 address"),
        (["--resolver", "1:2"], "not an IPv6 address"),
        (["--stats", "often"], "--stats: 'often': not a duration"),
        (["--resolver"], "--resolver needs a value"),
    ],
)
def test_wrong_lists_and_intervals_are_named(argv, message):
    with pytest.raises(ArgumentError) as caught:
        parse_arguments(ADDRESSES, argv)
    assert message in str(caught.value)


def test_interval_shows_that_its_value_may_be_left_out():
    assert "--stats [DURATION]" in help_text(ADDRESSES, "echo")
