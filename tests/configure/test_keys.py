# SPDX-License-Identifier: MIT
"""Keys: every type's values, and what is refused at configure time; the guest's own parser agrees."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libos.app import args
from mirage_py.configure.keys import CONFIGURE, TYPES, Key
from mirage_py.support.errors import UserError

GOOD = {
    "str": ["", "a b", "ü", "--x"],
    "int": ["0", "-7", "+3", "0x10", "123456789012345678901234567890"],
    "bool": ["true", "false", "yes", "no", "1", "0"],
    "tcp_port": ["1", "7", "65535"],
    "udp_port": ["1", "53", "65535"],
    "ipv4": ["0.0.0.0", "10.0.0.2", "255.255.255.255"],
    "ipv4_cidr": ["10.0.0.2/24", "10.0.0.2/0", "10.0.0.2/32"],
    "ipv6": ["::", "::1", "fd00::2", "FE80::1", "1:2:3:4:5:6:7:8", "::ffff:10.0.0.1", "1::", "1:2:3:4:5:6:7::"],
    "ipv6_cidr": ["fd00::2/64", "::/0", "::1/128"],
    "loglevel": ["info", "tcp:debug,*:info", "error", "a.b:warning"],
    "duration": ["0ms", "250ms", "3s", "2m", "1h"],
    "interval": ["0ms", "250ms", "3s", "2m", "1h"],
    "ip_list": ["8.8.8.8", "8.8.8.8,1.1.1.1", "2001:db8::1", "::1,10.0.2.3", "1:2:3:4:5:6:7:8"],
    "choice": ["red", "green"],
}
BAD = {
    "str": [],
    "int": ["", "x", "1.5", "1 2", "0x"],
    "bool": ["", "maybe", "2"],
    "tcp_port": ["", "0", "65536", "-1", "x", "²"],
    "udp_port": ["0", "65536"],
    "ipv4": ["", "10.0.0", "10.0.0.256", "10.0.0.01", "10.0.0.2/24", "a.b.c.d", "1.2.3.4.5", "1.2.3.²"],
    "ipv4_cidr": ["10.0.0.2", "10.0.0.2/33", "10.0.0.2/", "10.0.0/8", "10.0.0.2/x"],
    "ipv6": [
        "",
        ":",
        ":::",
        "1",
        "10.0.0.1",
        "fe80::1%eth0",
        "1::2::3",
        "12345::",
        "::g",
        "::1/64",
        "::1.2.3",
        "::01.2.3.4",
        "1:2:3:4:5:6:7:8:9",
        "1:2:3:4:5:6:7:8::",
        "1:",
        ":1",
        "::\u0661",
    ],
    "ipv6_cidr": ["fd00::2", "fd00::2/", "fd00::2/129", "fd00::2/x", "10.0.0.2/24", "fe80::1%1/64", "/64"],
    "loglevel": ["", "loud", "tcp:", ":info", "tcp:info,"],
    "interval": ["", "5", "soon"],
    "ip_list": ["", "8.8.8.8,", "dns.example", "8.8.8", "1:2", "1:2:3:4:5:6:7:8:9", "::g", "12345::", "fe80::1%eth0"],
    "duration": ["", "5", "5 s", "s", "-1s", "1d", "1.5s"],
    "choice": ["", "blue", "Red"],
}


def make(kind: str, default: object = None) -> Key:
    return Key("thing", kind, default, choices=("red", "green") if kind == "choice" else ())  # type: ignore[arg-type]


def guest_kind(kind: str) -> str:
    return "choice:red,green" if kind == "choice" else kind


def test_tables_cover_every_type() -> None:
    assert set(GOOD) == set(BAD) == set(TYPES)


@pytest.mark.parametrize(("kind", "text"), [(kind, text) for kind, texts in GOOD.items() for text in texts])
def test_good_text_is_read_here_as_in_the_guest(kind: str, text: str) -> None:
    value = make(kind).parse(text)
    in_guest = args.convert("thing", guest_kind(kind), text)
    if kind == "ip_list":
        in_guest = ",".join(in_guest)
    if kind != "loglevel":  # there the guest makes a table of it
        assert value == in_guest


@pytest.mark.parametrize(("kind", "text"), [(kind, text) for kind, texts in BAD.items() for text in texts])
def test_bad_text_is_one_line_that_names_key_and_expectation(kind: str, text: str) -> None:
    with pytest.raises(UserError, match="--thing") as caught:
        make(kind).parse(text)
    assert caught.value.exit_code == 2
    assert repr(text) in caught.value.cause
    assert caught.value.remedy


@given(st.sampled_from(sorted(GOOD)), st.text(max_size=20))
def test_whatever_is_accepted_here_is_accepted_in_the_guest(kind: str, text: str) -> None:
    try:
        value = make(kind).parse(text)
    except UserError:
        return
    default = make(kind, value).spelled_default
    spec = [("thing", guest_kind(kind), default, "")]
    assert args.parse_arguments(spec, []) is not None


@given(st.integers(min_value=0, max_value=10**10))
def test_shown_duration_reads_back(milliseconds: int) -> None:
    key = make("duration", milliseconds)
    assert key.parse(key.show(milliseconds)) == milliseconds


@pytest.mark.parametrize(
    ("kind", "default"),
    [("int", True), ("tcp_port", 0), ("tcp_port", "http"), ("bool", 1), ("ipv4", 5), ("duration", -1), ("str", 7)],
)
def test_default_of_another_type_is_refused(kind: str, default: object) -> None:
    with pytest.raises(UserError, match="--thing"):
        make(kind, default)


def test_default_may_be_text_or_value_and_compares_equal() -> None:
    assert make("tcp_port", "80") == make("tcp_port", 80)
    assert make("duration", "2s").default == 2000
    assert make("duration", "2s").spelled_default == "2s"


@pytest.mark.parametrize(
    "name", ["", "Port", "1port", "a_b", "a--b", "-a", "a-", "class", "target", "help", "ü", "a b"]
)
def test_bad_name_is_refused(name: str) -> None:
    with pytest.raises(UserError, match=r"name"):
        Key(name)


def test_unknown_type_and_stage_list_the_choices() -> None:
    with pytest.raises(UserError, match="tcp_port"):
        Key("x", "port")
    with pytest.raises(UserError, match="configure, runtime"):
        Key("x", stage="boot")


def test_choices_belong_to_the_type_choice() -> None:
    with pytest.raises(UserError, match="choices"):
        Key("x", "str", choices=("a",))
    with pytest.raises(UserError, match="choices"):
        Key("x", "choice")
    with pytest.raises(UserError, match="written as choices"):
        Key("x", "choice", choices=("a,b",))


def test_group_prefixes_the_option() -> None:
    assert Key("ipv4").grouped("lan").option == "--lan-ipv4"
    assert Key("ipv4").grouped("") == Key("ipv4")
    assert Key("a-b", stage=CONFIGURE).parameter == "a_b"
