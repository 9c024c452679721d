# SPDX-License-Identifier: MIT
"""The graph: sharing, order, names, choices by key, and every contradiction that it refuses."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mirage_py import dsl
from mirage_py.configure.device import HVT, TARGETS, UNIX, Choice, Device, Kind, Node, Signature, optional
from mirage_py.configure.graph import Context, Graph, check, resolve
from mirage_py.configure.keys import CONFIGURE, Key, Value
from mirage_py.support.errors import UserError

THING = Signature("thing")


def thing(name: str, arguments: int = 0, **values: object) -> Kind:
    return Kind(
        name,
        offers=THING,
        implementation=f"things.{name.title()}",
        arguments={f"on{number}": THING for number in range(arguments)},
        **values,  # type: ignore[arg-type]
    )


def unikernel(*devices: Node, keys: list[Key] | None = None) -> Device:
    return dsl.unikernel("app.App", *devices, keys=keys or [])


def graph(root: Device, target: str = HVT, **values: Value) -> Graph:
    return resolve(root, Context(target, {name.replace("_", "-"): value for name, value in values.items()}))


def locals_of(found: Graph) -> list[str]:
    return [placed.local for placed in found.devices]


# --- what the three builds of an echo server become ---

IPV4_KEYS = ("hostname", "dhcp", "ipv4", "ipv4-gateway", "ipv6-only")
IPV6_KEYS = ("ipv6", "ipv6-gateway", "accept-router-advertisements", "ipv6-secret", "ipv4-only")


def test_hvt_is_our_stack_on_a_virtio_card() -> None:
    found = graph(unikernel(dsl.generic_stack()))
    assert locals_of(found) == [
        "pci_bus0",
        "pci0",
        "dma0",
        "net0",
        "ethernet0",
        "rng0",
        "random0",
        "congestion0",
        "arp0",
        "ipv4_0",
        "ndp0",
        "ipv6_0",
        "tcp0",
        "udp0",
        "icmp0",
        "icmp6_0",
        "netstack0",
        "loop0",
        "console0",
        "clock0",
        "log0",
        "dhcp0",
        "addressing0",
        "stack0",
        "app",
    ]
    assert found.of_kind("virtio_net")[0].local == "net0"
    assert found.features() == {"net"}


def test_unix_direct_is_our_stack_on_a_tap() -> None:
    found = graph(unikernel(dsl.generic_stack()), UNIX, net="direct")
    assert [placed.kind.name for placed in found.devices if placed.local == "net0"] == ["tap"]
    assert not found.of_kind("pci_bus")


def test_unix_without_more_uses_sockets() -> None:
    found = graph(unikernel(dsl.generic_stack()), UNIX)
    assert {"sockets", "socket_stack"} <= {placed.kind.name for placed in found.devices}
    assert found.features() == {"socket"}
    assert found.configured == {"net": "socket"}


def test_runtime_keys_come_from_the_devices_that_are_there() -> None:
    port = dsl.key("port", "tcp_port", 7)
    root = unikernel(dsl.generic_stack(), keys=[port])
    names = {
        variant: [key.name for key in graph(root, *variant[:1], **dict(variant[1:])).runtime_keys()]
        for variant in [(HVT,), (UNIX, ("net", "direct")), (UNIX, ("net", "socket"))]
    }
    assert list(names.values()) == [
        ["port", *IPV6_KEYS, "logs", "log-time", *IPV4_KEYS, "stats"],
        ["port", "interface", "host-ipv4", *IPV6_KEYS, "logs", "log-time", *IPV4_KEYS, "stats"],
        ["port", "logs", "log-time", "stats"],
    ]


def test_value_for_a_runtime_key_becomes_its_default() -> None:
    found = graph(unikernel(dsl.generic_stack(), keys=[dsl.key("port", "tcp_port", 7)]), port=8080, ipv4="10.1.1.1/8")
    defaults = {key.name: key.default for key in found.runtime_keys()}
    assert (defaults["port"], defaults["ipv4"]) == (8080, "10.1.1.1/8")


# --- contradictions ---


@pytest.mark.parametrize(
    ("target", "values", "parts"),
    [
        (HVT, {"net": "socket"}, ["--net socket", "-t hvt", "--net direct", "-t unix"]),
        (UNIX, {"net": "direct", "nic": "virtio"}, ["--nic virtio", "-t unix", "--nic tap", "-t hvt"]),
        (UNIX, {"nic": "virtio"}, ["--nic virtio", "-t unix", "--nic tap", "-t hvt"]),
        (UNIX, {"nic": "tap"}, ["--nic tap", "no effect", "--net socket"]),
        (HVT, {"nic": "tap"}, ["--nic tap", "-t hvt", "--nic virtio", "-t unix"]),
        (HVT, {"net": "carrier-pigeon"}, ["--net carrier-pigeon", "direct, socket"]),
        (HVT, {"interface": "tap1"}, ["--interface", "tap", "-t hvt"]),
        (HVT, {"colour": "blue"}, ["--colour", "no such key"]),
    ],
)
def test_contradiction_names_device_reason_and_choices(target: str, values: dict[str, Value], parts: list[str]) -> None:
    with pytest.raises(UserError) as caught:
        resolve(unikernel(dsl.generic_stack()), Context(target, values))
    for part in parts:
        assert part in str(caught.value)


def test_device_that_the_target_lacks_is_refused_with_its_reason() -> None:
    with pytest.raises(UserError, match=r"virtio_net does not exist on -t unix: .*PCI.*choose -t hvt"):
        graph(unikernel(dsl.ethernet(dsl.virtio_net())), UNIX)


def test_check_finds_the_contradiction_without_an_application() -> None:
    with pytest.raises(UserError, match="--net socket does not go with -t hvt"):
        check(dsl.generic_stack(), Context(HVT, {"net": "socket"}))


def test_circle_through_choices_is_refused_naming_it() -> None:
    wrapper = thing("wrapper", 1)
    nodes: dict[str, Node] = {}
    by = Key("which", "choice", "one", choices=("one",), stage=CONFIGURE)
    nodes["choice"] = Choice(by, {"one": lambda: wrapper(nodes["choice"])}, THING)
    with pytest.raises(UserError, match=r"circle: the choice by --which -> wrapper -> the choice by --which"):
        graph(unikernel(nodes["choice"]))


def test_choice_of_ever_new_choices_ends() -> None:
    by = Key("which", "choice", "one", choices=("one",), stage=CONFIGURE)

    def deeper() -> Node:
        return Choice(by, {"one": deeper}, THING)

    with pytest.raises(UserError, match="go on without end"):
        graph(unikernel(deeper()))


def test_key_of_two_devices_is_refused_and_a_group_helps() -> None:
    def two(group: str) -> Device:
        first = dsl.ipv4(dsl.ethernet(dsl.tap()))
        second = dsl.ipv4(dsl.ethernet(dsl.tap("other")), group=group)
        return unikernel(first, second)

    with pytest.raises(UserError, match=r"two devices have the key --ipv4: ipv4_0 and ipv4_1; .*group"):
        graph(two(""), UNIX)
    names = [key.name for key in graph(two("lan"), UNIX).runtime_keys()]
    first = ["interface", "host-ipv4", "ipv4", "ipv4-gateway", "ipv6-only"]
    second = ["other-interface", "other-host-ipv4", "lan-ipv4", "lan-ipv4-gateway", "lan-ipv6-only"]
    assert names == [*first, *second]


def test_key_of_application_and_device_is_refused() -> None:
    with pytest.raises(UserError, match="two devices have the key --logs"):
        graph(unikernel(dsl.generic_stack(), keys=[dsl.key("logs")]))


def test_two_devices_of_one_name_are_refused() -> None:
    first = dsl.pci_device(dsl.PciInfo(vendor=1, device=2), "pci0")
    second = dsl.pci_device(dsl.PciInfo(vendor=1, device=3), "pci0")
    with pytest.raises(UserError, match="called 'pci0'"):
        graph(unikernel(first, second))


# --- several of a kind ---


def test_two_cards_are_two_stacks_that_share_the_rest() -> None:
    cards = [
        dsl.virtio_of_pci(dsl.pci_device(dsl.PciInfo(vendor=0x1AF4, device=0x1041, index=n), f"pci{n}"))
        for n in range(2)
    ]
    stacks = [dsl.generic_stack(card, group=f"net{number}") for number, card in enumerate(cards)]
    found = graph(unikernel(*stacks))
    names = locals_of(found)
    for name in ("pci0", "pci1", "net0", "net1", "ipv4_0", "ipv4_1", "tcp0", "tcp1", "stack0", "stack1"):
        assert names.count(name) == 1
    for name in ("dma0", "random0", "loop0", "log0", "clock0", "pci_bus0"):
        assert names.count(name) == 1
        assert name[:-1] + "1" not in names
    assert found.users(found.of_kind("dma")[0]) == 2


def test_two_stacks_on_one_card_are_refused() -> None:
    card = dsl.default_network()
    with pytest.raises(UserError, match=r"net0 is used by both netstack0 and netstack1; .*PciInfo\(index=1\)"):
        graph(unikernel(dsl.generic_stack(card), dsl.generic_stack(card, group="lan")))


def numbers_of(found: Graph) -> list[int]:
    return [found.number(placed, "index") for placed in found.of_kind("pci_device")]


def test_stacks_of_different_groups_have_cards_of_their_own() -> None:
    stacks = [dsl.generic_stack(), dsl.generic_stack(group="lan"), dsl.generic_stack(group="wan")]
    assert numbers_of(graph(unikernel(*stacks))) == [0, 1, 2]
    # Of each kind the first is number 0.
    assert numbers_of(graph(unikernel(*stacks), **{"lan-nic": "ixgbe"})) == [0, 0, 1]


def test_functions_of_one_description_are_numbered_around_those_that_have_a_number() -> None:
    ids = {"vendor": 0x8086, "device": 0x10FB}
    infos = [dsl.PciInfo(**ids), dsl.PciInfo(**ids, index=1), dsl.PciInfo(**ids), dsl.PciInfo(vendor=0x8086)]
    devices = [dsl.pci_device(info, f"pci{number}") for number, info in enumerate(infos)]
    assert numbers_of(graph(unikernel(*devices))) == [0, 1, 2, 0]


def test_two_names_for_one_function_are_refused() -> None:
    info = dsl.PciInfo(vendor=0x8086, device=0x10FB, index=1)
    with pytest.raises(UserError, match=r"left and right are both number 1 of the same pci_device; .*index=0"):
        graph(unikernel(dsl.pci_device(info, "left"), dsl.pci_device(info, "right")))


def test_one_stack_asked_for_twice_is_one() -> None:
    found = graph(unikernel(dsl.generic_stack(), dsl.generic_stack()))
    assert len(found.of_kind("direct_stack")) == 1
    assert found.application.arguments[0] is found.application.arguments[1]


def test_numbered_names_step_aside_for_given_ones() -> None:
    kind = thing("cup")
    found = graph(unikernel(kind(group="a"), kind(local="cup0"), kind(group="b")))
    assert locals_of(found) == ["cup1", "cup0", "cup2", "app"]


def test_devices_differ_in_which_optional_argument_they_have() -> None:
    two = Kind("two", THING, "things.Two", arguments={"left": optional(THING), "right": optional(THING)})
    base = thing("base")()
    found = graph(unikernel(two(base), two(None, base), two(base, None), two()))
    assert [(p.local, p.parameters) for p in found.of_kind("two")] == [
        ("two0", ("left",)),
        ("two1", ("right",)),
        ("two2", ()),
    ]
    assert [placed.local for placed in found.application.arguments] == ["two0", "two1", "two0", "two2"]
    assert found.users(found.devices[0]) == 2


def test_stack_is_of_the_same_kinds_with_and_without_ipv6_dhcp_and_names() -> None:
    link = dsl.ethernet(dsl.default_network())
    ipv4 = dsl.unnumbered_ipv4(link)
    udp = dsl.udp(ipv4)
    only = dsl.netstack_of(link, dsl.tcp(ipv4), udp, dsl.icmp(ipv4))
    addressed = graph(unikernel(dsl.direct_stack(only, dsl.addressing(ipv4, None, udp))))
    static = graph(unikernel(dsl.direct_stack(dsl.netstack(dsl.default_network()))))
    full = graph(unikernel(dsl.generic_stack()))
    for name in ("ipv4", "udp", "tcp", "netstack", "direct_stack"):
        (one,), (other,), (third,) = addressed.of_kind(name), static.of_kind(name), full.of_kind(name)
        assert one.kind is other.kind is third.kind
    assert "addressing" not in static.of_kind("direct_stack")[0].parameters
    assert "ipv6" not in addressed.of_kind("addressing")[0].parameters
    assert [key.name for key in static.of_kind("ipv4")[0].keys.values()] == ["ipv4", "ipv4-gateway", "ipv6-only"]
    assert full.of_kind("ipv4")[0].keys == {}


def test_settings_tell_devices_apart_also_true_from_one() -> None:
    kind = thing("cup", settings={"size": None})
    found = graph(unikernel(kind(size=1), kind(size=True), kind(size=1), kind(size=[1]), kind(size=[1])))
    assert locals_of(found) == ["cup0", "cup1", "cup2", "app"]


def test_configure_key_as_setting_is_its_value() -> None:
    size = Key("size", "int", 3, stage=CONFIGURE)
    kind = thing("cup", settings={"size": None})
    assert graph(unikernel(kind(size=size))).devices[0].settings == {"size": 3}
    found = graph(unikernel(kind(size=size)), size=5)
    assert found.devices[0].settings == {"size": 5}
    assert found.configured == {"size": 5}


# --- properties ---


@st.composite
def acyclic(draw: st.DrawFn) -> Callable[[], Device]:
    """A graph of up to 12 devices in which equal ones are made again and again, never the same object."""
    shape = draw(
        st.lists(st.tuples(st.integers(0, 2), st.lists(st.integers(0, 100), max_size=3)), min_size=1, max_size=12)
    )
    kinds = {(name, count): thing(f"k{name}n{count}", count) for name in range(3) for count in range(4)}

    def make(index: int) -> Device:
        name, below = shape[index]
        arguments = [make(number % index) for number in below] if index else []
        return kinds[name, len(arguments)](*arguments)

    return lambda: unikernel(make(len(shape) - 1))


@given(acyclic())
def test_devices_come_after_what_they_are_built_on(make: Callable[[], Device]) -> None:
    found = graph(make())
    for index, placed in enumerate(found.devices):
        assert all(argument in found.devices[:index] for argument in placed.arguments)
    assert found.application is found.devices[-1]


@given(acyclic())
def test_equal_devices_are_shared_and_names_unique(make: Callable[[], Device]) -> None:
    found = graph(make())
    content = [(placed.kind, tuple(a.local for a in placed.arguments)) for placed in found.devices]
    assert len(set(content)) == len(content)
    assert len(set(locals_of(found))) == len(found.devices)
    assert all(name.isidentifier() for name in locals_of(found))


@given(acyclic())
def test_resolving_again_gives_the_same(make: Callable[[], Device]) -> None:
    assert locals_of(graph(make())) == locals_of(graph(make()))


@given(
    st.sampled_from(TARGETS),
    st.dictionaries(st.sampled_from(["net", "nic"]), st.sampled_from(["direct", "socket", "tap", "virtio"])),
)
def test_every_combination_either_resolves_to_the_target_or_says_why_not(target: str, values: dict[str, Value]) -> None:
    try:
        found = resolve(unikernel(dsl.generic_stack()), Context(target, values))
    except UserError as error:
        refusal = (error.cause, error.remedy)
    else:
        refusal = ("resolved", "resolved")
        assert all(target in placed.kind.targets for placed in found.devices)
        assert {**found.configured, **values} == found.configured
    assert all(refusal)
