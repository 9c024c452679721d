# SPDX-License-Identifier: MIT
"""Device kinds, devices and choices: what they refuse, naming the device, the reason and what would do."""

from __future__ import annotations

from typing import Any

import pytest

from mirage_py.configure.device import Choice, Device, Kind, Signature, optional
from mirage_py.configure.devices.application import application
from mirage_py.configure.devices.pci import PciInfo, pci_device
from mirage_py.configure.devices.signatures import NETWORK
from mirage_py.configure.devices.virtio_net import VIRTIO_NET, virtio_net
from mirage_py.configure.keys import CONFIGURE, Key
from mirage_py.dsl import clock, ethernet, generic_stack, tcp
from mirage_py.support.errors import UserError

CUP = Signature("cup")
SAUCER = Signature("saucer")


def kind(**values: Any) -> Kind:
    return Kind(**{"name": "cup", "offers": CUP, "implementation": "china.Cup", **values})


def test_kind_names_module_and_class() -> None:
    assert (kind().module, kind().class_name, kind().local) == ("china", "Cup", "cup")


@pytest.mark.parametrize(
    ("values", "part"),
    [
        ({"implementation": "Cup"}, "module.Class"),
        ({"implementation": "china.Cu p"}, "module.Class"),
        ({"targets": ("xen",)}, "unix, hvt"),
        ({"targets": ()}, "unix, hvt"),
        ({"offers": "cup"}, "Signature"),
        ({"arguments": {"on": "saucer"}}, "argument on"),
        ({"arguments": {"on": optional(SAUCER)}, "method": "cup"}, "make the first argument one that is always there"),
        ({"method": "cup"}, "make the first argument one that is always there"),
        ({"local": "my cup"}, "Python name"),
    ],
)
def test_wrong_kind_is_refused(values: dict[str, Any], part: str) -> None:
    with pytest.raises(UserError, match="device kind cup") as caught:
        kind(**values)
    assert part in str(caught.value)


def test_argument_of_wrong_kind_names_what_it_must_offer() -> None:
    with pytest.raises(UserError) as caught:
        ethernet(clock())
    assert str(caught.value) == (
        "ethernet: argument device must offer network, and clock offers clock; give a device that offers network"
    )


def test_argument_that_is_no_device_is_refused() -> None:
    with pytest.raises(UserError, match=r"tcp: argument ipv4 .* 'eth0' is not a device"):
        tcp("eth0")  # type: ignore[arg-type]


def test_wrong_number_of_arguments_says_which() -> None:
    on_saucer = kind(arguments={"saucer": SAUCER})
    with pytest.raises(UserError, match=r"takes 1 devices and was given 0; give it saucer \(saucer\)"):
        on_saucer()


# --- arguments that a device may do without ---

SAUCER_OR_NOT = kind(arguments={"table": SAUCER, "saucer": optional(SAUCER), "spoon": optional(CUP)})


def saucer() -> Device:
    return kind(name="saucer", offers=SAUCER)()


def test_optional_arguments_may_be_missing_none_or_named() -> None:
    table, under, spoon = saucer(), saucer(), kind()()
    made = [
        SAUCER_OR_NOT(table),
        SAUCER_OR_NOT(table, None, None),
        SAUCER_OR_NOT(table, under),
        SAUCER_OR_NOT(table, None, spoon),
        SAUCER_OR_NOT(table, spoon=spoon),
        SAUCER_OR_NOT(spoon=spoon, table=table),
        SAUCER_OR_NOT(table, under, spoon=spoon),
    ]
    assert [device.parameters for device in made] == [
        ("table",),
        ("table",),
        ("table", "saucer"),
        ("table", "spoon"),
        ("table", "spoon"),
        ("table", "spoon"),
        ("table", "saucer", "spoon"),
    ]
    assert made[3].arguments == made[4].arguments == made[5].arguments == (table, spoon)


def test_arguments_that_do_not_fit_an_optional_kind_are_refused() -> None:
    wanted = r"give it table \(saucer\), saucer \(saucer, optional\), spoon \(cup, optional\)"
    with pytest.raises(UserError, match=f"takes 1 to 3 devices and was given 0; {wanted}"):
        SAUCER_OR_NOT()
    with pytest.raises(UserError, match=f"takes 1 to 3 devices and was given 4; {wanted}"):
        SAUCER_OR_NOT(saucer(), None, None, None)
    with pytest.raises(UserError, match=r"cup: argument table .* None is not a device"):
        SAUCER_OR_NOT(None, saucer())
    with pytest.raises(UserError, match="cup: argument spoon must offer cup, and saucer offers saucer"):
        SAUCER_OR_NOT(saucer(), spoon=saucer())
    with pytest.raises(UserError, match="argument table is given twice; give it once"):
        SAUCER_OR_NOT(saucer(), table=saucer())
    with pytest.raises(UserError, match=r"'saucer'.* is not about a signature"):
        optional("saucer")  # type: ignore[arg-type]


def test_key_may_be_fixed_like_a_setting() -> None:
    sweet = kind(keys={"sugar": Key("sugar", type="int", default=1), "milk": Key("milk")})
    assert set(sweet().keys()) == {"sugar", "milk"}
    fixed = sweet(sugar=2, milk=None)
    assert fixed.keys() == {}
    assert fixed.settings == {"sugar": 2, "milk": None}
    other = Key("cream")
    assert sweet(milk=other).keys()["milk"] is other
    with pytest.raises(UserError, match="has no setting 'salt'; its settings: sugar, milk"):
        sweet(salt=1)


def test_unknown_setting_lists_the_known() -> None:
    with pytest.raises(UserError, match="has no setting 'colour'; its settings: size"):
        kind(settings={"size": 1})(colour="blue")


@pytest.mark.parametrize("value", [object(), {1, 2}, [object()], lambda: 0])
def test_setting_that_is_no_literal_is_refused(value: object) -> None:
    with pytest.raises(UserError, match="cannot be written into main"):
        kind(settings={"size": 1})(size=value)


@pytest.mark.parametrize("name", ["Net0", "a b", "0a", "_a"])
def test_bad_local_name_and_group_are_refused(name: str) -> None:
    with pytest.raises(UserError, match="is not a name for a device"):
        kind()(local=name)
    with pytest.raises(UserError, match="is not a name for a group"):
        kind()(group=name)


def test_choice_needs_a_configure_time_key_and_options() -> None:
    by = Key("cup", stage=CONFIGURE)
    with pytest.raises(UserError, match="set at boot"):
        Choice(Key("cup"), {"a": kind()()}, CUP)
    with pytest.raises(UserError, match="no options"):
        Choice(by, {}, CUP)


def test_choice_makes_each_option_once_and_checks_it() -> None:
    choice = Choice(Key("cup", stage=CONFIGURE), {"a": kind(), "b": kind(offers=SAUCER)}, CUP)
    assert choice.option("a") is choice.option("a")
    with pytest.raises(UserError, match="must offer cup, and cup offers saucer"):
        choice.option("b")
    with pytest.raises(UserError, match=r"--cup c: there is no such choice; choose one of a, b"):
        choice.option("c")


def test_application_refuses_what_is_no_device_or_no_key() -> None:
    with pytest.raises(UserError, match="not a device"):
        application("echo.Echo", ["net"], [])  # type: ignore[list-item]
    with pytest.raises(UserError, match="not a key"):
        application("echo.Echo", [], ["port"])  # type: ignore[list-item]
    with pytest.raises(UserError, match="occurs twice"):
        application("echo.Echo", [], [Key("port"), Key("port")])
    with pytest.raises(UserError, match=r"module\.Class"):
        application("Echo", [generic_stack()], [])


def test_pci_device_needs_something_to_look_for() -> None:
    with pytest.raises(UserError, match="PciInfo is empty"):
        pci_device(PciInfo())
    with pytest.raises(UserError, match="does not describe"):
        pci_device("0000:00:03.0")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("info", "cause"),
    [
        (PciInfo(slot="2"), "'2' is not a slot address"),
        (PciInfo(slot="00:20.0"), "not a slot address"),
        (PciInfo(slot="00:02.0", index=1), "at slot 00:02.0 there is one function"),
        (PciInfo(vendor=0x8086, index=-1), "index -1"),
        (PciInfo(index=1), "PciInfo is empty"),
    ],
)
def test_pci_device_refuses_what_no_function_can_be(info: PciInfo, cause: str) -> None:
    with pytest.raises(UserError, match=cause) as refusal:
        pci_device(info)
    assert refusal.value.remedy


def test_pci_device_says_what_the_machine_must_attach() -> None:
    found = pci_device(PciInfo(vendor=0x8086, device=0x10FB), "pci0")
    assert found.kind.hardware is not None
    assert found.kind.hardware(found.settings) == {"bus": "pci", "vendor": 0x8086, "device": 0x10FB}
    assert found.local == "pci0"


def test_virtio_net_is_a_network_on_pci() -> None:
    card = virtio_net()
    assert isinstance(card, Device)
    assert card.kind is VIRTIO_NET
    assert card.offers is NETWORK
