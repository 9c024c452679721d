# SPDX-License-Identifier: MIT
"""mirage_py.run.network: which ports and addresses are chosen, and how QEMU is told."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from mirage_py.errors import UserError
from mirage_py.run import network
from mirage_py.run.image import Image, Port
from mirage_py.run.options import RunOptions

KEYS = frozenset({"ipv4", "ipv4-gateway", "port"})


def image(*ports: Port) -> Image:
    return Image(Path("dist/echo.hvt"), "echo", "hvt", net="direct", ports=list(ports), keys=KEYS)


@pytest.fixture
def taken():
    """A TCP port of 127.0.0.1 that somebody listens on."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        sock.listen(1)
        yield sock.getsockname()[1]


@pytest.mark.parametrize(
    ("arguments", "value"),
    [
        ([], None),
        (["--ipv4", "1.2.3.4/8"], "1.2.3.4/8"),
        (["--ipv4=1.2.3.4/8"], "1.2.3.4/8"),
        (["--ipv4=a", "--ipv4", "b"], "b"),
        (["--ipv4-gateway", "x"], None),
        (["--ipv4"], None),
    ],
)
def test_argument(arguments: list[str], value: str | None) -> None:
    assert network.argument(arguments, "ipv4") == value


def test_privileged_port_is_moved_to_8000_and_above(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(network, "is_free", lambda address, port, proto: True)
    plan = network.plan(image(Port(7, "tcp", "port")), RunOptions())
    assert [str(forward) for forward in plan.forwards] == ["forwarding 127.0.0.1:8007 -> guest 7/tcp"]
    assert plan.guest_args == ["--ipv4", "10.0.2.15/24", "--ipv4-gateway", "10.0.2.2"]
    assert network.netdev(plan, None) == "user,id=net0,hostfwd=tcp:127.0.0.1:8007-10.0.2.15:7"


def with_dhcp(**defaults: str) -> Image:
    return Image(
        Path("dist/echo.hvt"), "echo", "hvt", net="direct", keys=KEYS | {"dhcp"}, defaults=dict(defaults)
    )  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "defaults", "added"),
    [
        ([], {}, []),
        (["--dhcp"], {}, []),
        (["--dhcp", "--ipv4", "10.0.2.15/24"], {}, []),
        (["--no-dhcp"], {}, ["--ipv4", "10.0.2.15/24", "--ipv4-gateway", "10.0.2.2"]),
        (["--dhcp=false"], {}, ["--ipv4", "10.0.2.15/24", "--ipv4-gateway", "10.0.2.2"]),
        (["--no-dhcp", "--dhcp"], {}, []),
        (["--ipv4", "10.0.2.15/24"], {}, ["--ipv4-gateway", "10.0.2.2"]),
        ([], {"ipv4": "10.0.0.2/24"}, ["--ipv4", "10.0.2.15/24", "--ipv4-gateway", "10.0.2.2"]),
        ([], {"dhcp": "False"}, ["--ipv4", "10.0.2.15/24", "--ipv4-gateway", "10.0.2.2"]),
        ([], {"dhcp": "True", "ipv4": "10.0.0.2/24"}, []),
    ],
)
def test_user_mode_network_leaves_the_address_to_dhcp(
    arguments: list[str], defaults: dict[str, str], added: list[str]
) -> None:
    plan = network.plan(with_dhcp(**defaults), RunOptions(guest_args=arguments))
    assert plan.guest_args == added
    assert str(plan.guest) == "10.0.2.15/24"


@pytest.mark.parametrize(("arguments", "is_told"), [([], True), (["--dhcp"], False), (["--no-dhcp"], True)])
def test_tap_has_a_static_address_unless_dhcp_is_asked_for(arguments: list[str], is_told: bool) -> None:
    plan = network.plan(with_dhcp(), RunOptions(tap="tap0", guest_args=arguments))
    assert plan.guest_args == (["--ipv4", "10.0.0.2/24", "--ipv4-gateway", "10.0.0.1"] if is_told else [])


def test_taken_port_is_replaced_by_a_free_one(taken: int) -> None:
    (forward,) = network.plan(image(Port(taken, "tcp")), RunOptions()).forwards
    assert forward.guest_port == taken
    assert forward.host_port != taken


def test_two_ports_never_share_a_host_port(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(network, "is_free", lambda address, port, proto: True)
    plan = network.plan(image(Port(80, "tcp"), Port(8080, "tcp"), Port(80, "udp")), RunOptions())
    assert len({(forward.proto, forward.host_port) for forward in plan.forwards}) == 3


def test_port_of_a_boot_argument_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(network, "is_free", lambda address, port, proto: True)
    plan = network.plan(image(Port(7, "tcp", "port")), RunOptions(guest_args=["--port", "9000"]))
    assert [(forward.host_port, forward.guest_port) for forward in plan.forwards] == [(9000, 9000)]


def test_published_port_replaces_the_default_one(taken: int) -> None:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        free = sock.getsockname()[1]
    plan = network.plan(image(Port(7, "tcp", "port")), RunOptions(publish=[f"{free}:7"]))
    assert [(forward.host_port, forward.guest_port) for forward in plan.forwards] == [(free, 7)]
    with pytest.raises(UserError, match="is taken"):
        network.plan(image(), RunOptions(publish=[f"{taken}:7"]))


def test_same_host_port_published_twice() -> None:
    with pytest.raises(UserError, match="is taken"):
        network.plan(image(), RunOptions(publish=["0.0.0.0:48080:7", "48080:8"]))


def test_address_that_is_not_ours() -> None:
    with pytest.raises(UserError, match=r"192\.0\.2\.1 is not an address of this host"):
        network.plan(image(), RunOptions(publish=["192.0.2.1:48080:7"]))


def test_own_address_moves_the_user_mode_network() -> None:
    plan = network.plan(image(), RunOptions(guest_args=["--ipv4", "192.168.7.9/24"]))
    assert plan.guest_args == ["--ipv4-gateway", "192.168.7.1"]
    assert network.netdev(plan, None) == "user,id=net0,net=192.168.7.0/24,host=192.168.7.1"


@pytest.mark.parametrize(
    "arguments", [["--ipv4", "10.0.0.2/32"], ["--ipv4", "10.0.0.2/24", "--ipv4-gateway", "10.0.1.1"]]
)
def test_addresses_that_do_not_fit(arguments: list[str]) -> None:
    with pytest.raises(UserError, match="no address"):
        network.plan(image(), RunOptions(guest_args=arguments))


def test_tap() -> None:
    plan = network.plan(image(Port(7, "tcp", "port")), RunOptions(tap="tap0"))
    assert plan.forwards == []
    assert (str(plan.guest), str(plan.host)) == ("10.0.0.2/24", "10.0.0.1")
    assert plan.guest_args == ["--ipv4", "10.0.0.2/24", "--ipv4-gateway", "10.0.0.1"]
    assert network.netdev(plan, 5) == "tap,id=net0,fd=5"
    assert "ifname=tap0" in network.netdev(plan, None)


def test_mac_addresses_differ_and_stay() -> None:
    assert network.mac_address("tap0") == network.mac_address("tap0") != network.mac_address("tap1")
    assert network.mac_address("tap0").startswith("52:54:00:")
