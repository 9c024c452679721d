# SPDX-License-Identifier: MIT
"""mirage_py.run.network: which ports and addresses are chosen, and how QEMU is told."""

from __future__ import annotations

import os
import socket
from dataclasses import replace
from pathlib import Path

import pytest

from mirage_py.run import commands, native, network
from mirage_py.run.cards import Card
from mirage_py.run.image import Image, Port
from mirage_py.run.link import Link, claim, presumed
from mirage_py.run.options import RunOptions
from mirage_py.support.errors import UserError

KEYS = frozenset({"ipv4", "ipv4-gateway", "port"})


def card(number: int = 0, driver: str = "virtio_net", group: str = "") -> Card:
    keys = {name: f"{group}{name}" for name in ("ipv4", "ipv4-gateway")}
    return Card(f"pci{number}", 0x1AF4, (0x1041,), index=number, driver=driver, network=f"net{number}", keys=keys)


def image(*ports: Port, cards: tuple[Card, ...] = (card(),)) -> Image:
    return Image(Path("dist/echo.hvt"), "echo", "hvt", net="direct", cards=cards, ports=list(ports), keys=KEYS)


TWO = (card(), card(1, group="lan-"))


def only(image: Image, options: RunOptions) -> network.Network:
    (found,) = network.plan(image, options)
    return found


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
    plan = only(image(Port(7, "tcp", "port")), RunOptions())
    assert [str(forward) for forward in plan.forwards] == ["forwarding 127.0.0.1:8007 -> guest 7/tcp"]
    assert plan.guest_args == ["--ipv4", "10.0.2.15/24", "--ipv4-gateway", "10.0.2.2"]
    assert network.netdev(plan, None) == "user,id=net0,hostfwd=tcp:127.0.0.1:8007-10.0.2.15:7"


def with_dhcp(group: str = "", **defaults: str) -> Image:
    asks = replace(card(group=group), keys={name: f"{group}{name}" for name in ("dhcp", "ipv4", "ipv4-gateway")})
    return replace(image(cards=(asks,)), defaults=dict(defaults))


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
    plan = only(with_dhcp(**defaults), RunOptions(guest_args=arguments))
    assert plan.guest_args == added
    assert str(plan.guest) == "10.0.2.15/24"


@pytest.mark.parametrize(("arguments", "is_told"), [([], True), (["--dhcp"], False), (["--no-dhcp"], True)])
def test_tap_has_a_static_address_unless_dhcp_is_asked_for(arguments: list[str], is_told: bool) -> None:
    plan = only(with_dhcp(), RunOptions(tap=["tap0"], guest_args=arguments))
    assert plan.guest_args == (["--ipv4", "10.0.0.2/24", "--ipv4-gateway", "10.0.0.1"] if is_told else [])


def test_grouped_stack_is_told_under_its_own_names() -> None:
    assert only(with_dhcp("lan-"), RunOptions()).guest_args == []
    plan = only(with_dhcp("lan-"), RunOptions(guest_args=["--no-lan-dhcp"]))
    assert plan.guest_args == ["--lan-ipv4", "10.0.2.15/24", "--lan-ipv4-gateway", "10.0.2.2"]


def test_taken_port_is_replaced_by_a_free_one(taken: int) -> None:
    (forward,) = only(image(Port(taken, "tcp")), RunOptions()).forwards
    assert forward.guest_port == taken
    assert forward.host_port != taken


def test_port_that_is_another_one_this_time_is_said(taken: int, monkeypatch: pytest.MonkeyPatch) -> None:
    (forward,) = only(image(Port(taken, "tcp")), RunOptions()).forwards
    assert forward.warning is not None
    for part in (f"127.0.0.1:{taken}/tcp is taken", f"127.0.0.1:{forward.host_port} this time", f"PORT:{taken}"):
        assert part in forward.warning
    monkeypatch.setattr(network, "is_free", lambda address, port, proto: True)
    assert only(image(Port(taken, "tcp")), RunOptions()).forwards[0].warning is None
    # Nobody counts on a port under 1024.
    assert only(image(Port(80, "tcp")), RunOptions()).forwards[0].warning is None
    monkeypatch.setattr(network, "is_free", lambda address, port, proto: port != 8080)
    (forward,) = only(image(Port(80, "udp")), RunOptions()).forwards
    assert "127.0.0.1:8080/udp is taken" in str(forward.warning)
    assert "PORT:80/udp" in str(forward.warning)


@pytest.mark.parametrize("words", [["--ipv4", "10.0.0.2"], ["--ipv4=10.0.0.2"]])
def test_address_without_its_prefix_length(words: list[str]) -> None:
    with pytest.raises(UserError, match=r"^--ipv4 10\.0\.0\.2: the prefix length is missing; .*10\.0\.0\.2/24"):
        network.plan(image(), RunOptions(guest_args=words))
    with pytest.raises(UserError, match=r"--lan-ipv4 10\.0\.0\.2: the prefix"):
        network.plan(with_dhcp("lan-"), RunOptions(guest_args=["--lan-ipv4", "10.0.0.2"]))


def test_port_for_gdb_that_is_taken(taken: int) -> None:
    with pytest.raises(UserError, match=rf"--gdb: port 127\.0\.0\.1:{taken}/tcp is taken; .*--gdb-port"):
        commands.plan(image(), RunOptions(gdb=taken), {})


def test_two_ports_never_share_a_host_port(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(network, "is_free", lambda address, port, proto: True)
    plan = only(image(Port(80, "tcp"), Port(8080, "tcp"), Port(80, "udp")), RunOptions())
    assert len({(forward.proto, forward.host_port) for forward in plan.forwards}) == 3


def test_port_of_a_boot_argument_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(network, "is_free", lambda address, port, proto: True)
    plan = only(image(Port(7, "tcp", "port")), RunOptions(guest_args=["--port", "9000"]))
    assert [(forward.host_port, forward.guest_port) for forward in plan.forwards] == [(9000, 9000)]


def test_published_port_replaces_the_default_one(taken: int) -> None:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        free = sock.getsockname()[1]
    plan = only(image(Port(7, "tcp", "port")), RunOptions(publish=[f"{free}:7"]))
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
    plan = only(image(), RunOptions(guest_args=["--ipv4", "192.168.7.9/24"]))
    assert plan.guest_args == ["--ipv4-gateway", "192.168.7.1"]
    assert network.netdev(plan, None) == "user,id=net0,net=192.168.7.0/24,host=192.168.7.1"


@pytest.mark.parametrize(
    "arguments",
    [
        ["--ipv4", "10.0.0.2/32"],
        ["--ipv4", "10.0.0.2/32", "--ipv4-gateway", "10.0.0.2"],
        ["--ipv4", "10.0.0.2/32", "--ipv4-gateway", "169.254.1.1"],
        ["--ipv4", "10.0.0.2/24", "--ipv4-gateway", "10.0.1.1"],
    ],
)
def test_addresses_that_do_not_fit(arguments: list[str]) -> None:
    with pytest.raises(UserError, match="no address"):
        network.plan(image(), RunOptions(guest_args=arguments))


@pytest.mark.parametrize(
    ("guest", "gateway", "around"),
    [
        ("10.0.0.5", "10.0.0.1", "10.0.0.0/24"),
        ("10.128.0.7", "10.128.3.1", "10.128.0.0/22"),
        ("10.0.0.1", "10.255.0.1", "10.0.0.0/8"),
    ],
)
def test_a_host_alone_and_its_gateway_are_on_one_link(guest: str, gateway: str, around: str) -> None:
    words = ["--ipv4", f"{guest}/32", "--ipv4-gateway", gateway]
    plan = only(image(), RunOptions(guest_args=words))
    assert plan.guest_args == []
    assert network.netdev(plan, None) == f"user,id=net0,net={around},host={gateway}"
    on_tap = only(image(), RunOptions(tap=["tap0"], guest_args=words))
    assert (str(on_tap.host), str(on_tap.on_link)) == (gateway, around)
    assert str(only(image(), RunOptions(guest_args=["--ipv4", "10.0.0.2/25"])).on_link) == "10.0.0.0/25"


def test_linux_process_with_a_host_address_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native.tap, "exists", lambda name: False)
    words = ["--ipv4", "10.0.0.5/32"]
    taps = native._missing_taps(image(), [*words, "--ipv4-gateway", "10.0.0.1"])
    assert {name: str(address) for name, address in taps.items()} == {"tap0": "10.0.0.1/24"}
    with pytest.raises(UserError, match=r"10\.0\.0\.5/32 leaves the host no address; .*--ipv4-gateway"):
        native._missing_taps(image(), words)


def test_tap() -> None:
    plan = only(image(Port(7, "tcp", "port")), RunOptions(tap=["tap0"]))
    assert plan.forwards == []
    assert (str(plan.guest), str(plan.host)) == ("10.0.0.2/24", "10.0.0.1")
    assert plan.guest_args == ["--ipv4", "10.0.0.2/24", "--ipv4-gateway", "10.0.0.1"]
    assert network.netdev(plan, 5) == "tap,id=net0,fd=5"
    assert "ifname=tap0" in network.netdev(plan, None)


def test_mac_addresses_differ_and_stay() -> None:
    assert network.mac_address("tap0") == network.mac_address("tap0") != network.mac_address("tap1")
    assert network.mac_address("tap0").startswith("52:54:00:")


# --- several cards ---


def test_each_card_has_a_network_and_a_mac_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(network, "is_free", lambda address, port, proto: True)
    first, second = network.plan(image(Port(7, "tcp", "port"), cards=TWO), RunOptions())
    assert first.guest_args == ["--ipv4", "10.0.2.15/24", "--ipv4-gateway", "10.0.2.2"]
    assert second.guest_args == ["--lan-ipv4", "10.0.3.15/24", "--lan-ipv4-gateway", "10.0.3.2"]
    assert first.mac != second.mac
    assert network.netdev(first, None) == "user,id=net0,hostfwd=tcp:127.0.0.1:8007-10.0.2.15:7"
    assert network.netdev(second, None) == "user,id=net1,net=10.0.3.0/24,host=10.0.3.2"


@pytest.mark.parametrize(
    ("taps", "found"),
    [
        (["a"], ["a", None]),
        (["a", "b"], ["a", "b"]),
        (["pci1=b"], [None, "b"]),
        (["net1=b", "a"], ["a", "b"]),
        (["net0=b", "a"], ["b", "a"]),
    ],
)
def test_taps_belong_to_cards_by_name_or_in_order(taps: list[str], found: list[str | None]) -> None:
    plans = network.plan(image(cards=TWO), RunOptions(tap=taps))
    assert [plan.tap for plan in plans] == found
    assert len({plan.guest.network for plan in plans}) == 2


def test_ports_lead_to_the_first_stack_on_the_user_mode_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(network, "is_free", lambda address, port, proto: True)
    app = image(Port(7, "tcp", "port"), cards=TWO)
    assert [len(plan.forwards) for plan in network.plan(app, RunOptions(tap=["a"]))] == [0, 1]
    assert [len(plan.forwards) for plan in network.plan(app, RunOptions(tap=["a", "b"]))] == [0, 0]
    # A card without a stack may have a host behind it, but only somebody who says so knows.
    relay = image(cards=tuple(replace(one, keys={}) for one in TWO))
    assert [len(plan.forwards) for plan in network.plan(relay, RunOptions())] == [0, 0]
    plans = network.plan(relay, RunOptions(publish=["48007:7"]))
    assert [len(plan.forwards) for plan in plans] == [1, 0]
    assert plans[0].guest_args == []


@pytest.mark.parametrize(
    ("options", "cause"),
    [
        ({"tap": ["a", "b", "c"]}, r"--tap c: there is no network card left"),
        ({"tap": ["a", "a"]}, r"two cards on the same TAP"),
        ({"tap": ["pci7=a"]}, r"no device pci7; its devices: pci0 \(virtio_net 1af4:1041\), pci1 "),
        ({"tap": ["pci0=a", "net0=b"]}, r"pci0 has a already"),
        ({"tap": ["a", "b"], "publish": ["48080:7"]}, "no card of the guest is on the user-mode network"),
        ({"without": ["pci9"]}, r"--without pci9: the image has no device pci9"),
        ({"pcap": ["a", "b"]}, "--pcap b: a is the file already"),
        ({"pcap": ["pci1=a", "a"]}, "two cards in the same file"),
        ({"pcap": ["/nosuch/a"]}, "there is no such directory"),
        ({"pcap": ["pci5=a"]}, "no device pci5"),
    ],
)
def test_what_does_not_fit_the_cards_is_refused(options: dict[str, list[str]], cause: str) -> None:
    with pytest.raises(UserError, match=cause) as refusal:
        network.plan(image(cards=TWO), RunOptions(**options))  # type: ignore[arg-type]
    assert refusal.value.remedy


def test_card_that_is_left_out_gets_nothing() -> None:
    (plan,) = network.plan(image(cards=TWO), RunOptions(without=["pci0"], tap=["a"]))
    assert (plan.card.name, plan.number, plan.tap) == ("pci1", 1, "a")


def test_pcap_files_are_told_apart_by_the_cards_names(tmp_path: Path) -> None:
    def files(*values: str) -> list[Path | None]:
        return [plan.pcap for plan in network.plan(image(cards=TWO), RunOptions(pcap=list(values)))]

    assert files(f"{tmp_path}/t.pcap") == [tmp_path / "t.pcap", tmp_path / "t.pci1.pcap"]
    assert files(f"pci1={tmp_path}/t.pcap") == [None, tmp_path / "t.pcap"]
    assert files(f"{tmp_path}/a=b") == [tmp_path / "a=b", tmp_path / "a=b.pci1"]


# --- wires ---


def test_wire_has_two_ends_and_lets_go_with_its_holder(tmp_path: Path) -> None:
    first, second = claim(tmp_path / "wire"), claim(tmp_path / "wire")
    try:
        assert (first.end, second.end) == (0, 1)
        assert (first.local, first.remote) == (second.remote, second.local)
        with pytest.raises(UserError, match="both ends are held"):
            claim(tmp_path / "wire")
        os.close(first.lock)
        first = claim(tmp_path / "wire")
        assert first.end == 0
    finally:
        os.close(first.lock)
        os.close(second.lock)


def test_ends_of_a_wire_are_neighbours(tmp_path: Path) -> None:
    ends = [Link(tmp_path / "w", end) for end in (0, 1)]
    plans = [network.plan(image(), RunOptions(), {"pci0": end})[0] for end in ends]
    assert [str(plan.guest) for plan in plans] == ["10.255.0.1/24", "10.255.0.2/24"]
    assert [plan.host for plan in plans] == [plans[1].guest.ip, plans[0].guest.ip]
    assert plans[0].mac != plans[1].mac
    assert network.netdev(plans[0], None) == (
        f"dgram,id=net0,local.type=unix,local.path={tmp_path}/w.0,remote.type=unix,remote.path={tmp_path}/w.1"
    )


def test_wires_belong_to_the_cards_that_have_no_tap(tmp_path: Path) -> None:
    def ends(**options: list[str]) -> list[str]:
        return list(network.plan_links(image(cards=TWO), RunOptions(**options), presumed))  # type: ignore[arg-type]

    path = f"{tmp_path}/w"
    assert ends(link=[path]) == ["pci0"]
    assert ends(link=[path], tap=["a"]) == ["pci1"]
    assert ends(link=[path], tap=["pci0=a"]) == ["pci1"]
    assert ends(link=[f"net1={path}"]) == ["pci1"]
    with pytest.raises(UserError, match="no network card left"):
        ends(link=[path, path], tap=["a"])
    with pytest.raises(UserError, match="no such directory"):
        ends(link=["/nosuch/w"])
    with pytest.raises(UserError, match="too long"):
        ends(link=[path + "w" * 100])
    with pytest.raises(UserError, match="both --tap and --link"):
        network.plan(image(cards=TWO), RunOptions(tap=["pci0=a"]), {"pci0": presumed(Path(path))})
