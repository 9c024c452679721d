# SPDX-License-Identifier: MIT
"""mirage_py.run.cards: which card in which slot, so that the guest's search for each ends at its own."""

from __future__ import annotations

import itertools

import _mirage
import pytest

from libos.hal.pci import PciBus
from mirage_py.run.cards import Card, Function, check, from_note, place
from mirage_py.run.session import pci_functions
from mirage_py.support.errors import UserError
from tests.fakes.machine import Machine, PciFunction

VIRTIO = {"vendor": 0x1AF4, "devices": (0x1041, 0x1000), "driver": "virtio_net"}
IXGBE = {"vendor": 0x8086, "devices": (0x10FB, 0x1557), "driver": "ixgbe"}


def cards(*fields: dict[str, object]) -> list[Card]:
    return [
        Card(**{"name": f"pci{number}", "network": f"net{number}", **one})  # type: ignore[arg-type]
        for number, one in enumerate(fields)
    ]


@pytest.mark.parametrize(
    ("machine", "first"),
    [("q35", 1), ("pc", 2), ("microvm", 1)],
)
def test_cards_stand_in_the_order_of_the_note(machine: str, first: int) -> None:
    found = place(cards(VIRTIO, {**IXGBE}, {**VIRTIO, "index": 1}), machine)
    assert found == {"pci0": first, "pci1": first + 1, "pci2": first + 2}


@pytest.mark.parametrize(
    ("fields", "slots"),
    [
        # The second of a kind may be asked for first.
        ([{**IXGBE, "index": 1}, {**IXGBE, "index": 0}], [2, 1]),
        # Whatever card is first.
        ([IXGBE, {"class_code": 0x0200, "driver": "virtio_net"}], [2, 1]),
        ([IXGBE, {"class_code": 0x0200, "index": 1, "driver": "virtio_net"}], [1, 2]),
        # By slot; the others fill what is left.
        ([IXGBE, {"slot": "00:01.0", "driver": "virtio_net"}], [2, 1]),
        ([{**IXGBE, "slot": "00:05.0"}, VIRTIO], [5, 1]),
        # The host bridge is of the same vendor, and comes first.
        ([{"vendor": 0x8086, "index": 1, "driver": "ixgbe"}, VIRTIO], [1, 2]),
        ([{**VIRTIO, "index": number} for number in (3, 2, 1, 0)], [4, 3, 2, 1]),
    ],
)
def test_each_finds_its_own(fields: list[dict[str, object]], slots: list[int]) -> None:
    wanted = cards(*fields)
    assert place(wanted, "q35") == {card.name: slot for card, slot in zip(wanted, slots, strict=True)}


@pytest.mark.parametrize(
    ("fields", "cause"),
    [
        ([{**IXGBE, "index": 1}], r"pci0 \(ixgbe 8086:10fb number 1\): the image asks for too few"),
        ([IXGBE, IXGBE], r"pci1 \(ixgbe 8086:10fb\): the guest would take device pci0 for it"),
        ([{"vendor": 0x8086, "driver": "ixgbe"}], r"the machine's own function 00:00.0"),
        ([{"slot": "02:00.0", "driver": "ixgbe"}], r"at 02:00.0\): `run` has no such slot"),
        ([{"slot": "00:1f.0", "driver": "ixgbe"}], "no such slot"),
        ([{"vendor": 0x10EC, "driver": "realtek"}], r"pci0 \(realtek vendor 10ec\): `run` does not know how"),
        ([{**VIRTIO, "index": number} for number in range(31)], "no slot left"),
    ],
)
def test_what_cannot_be_is_refused_by_name(fields: list[dict[str, object]], cause: str) -> None:
    with pytest.raises(UserError, match=cause) as refusal:
        place(cards(*fields), "q35")
    assert refusal.value.remedy


def test_place_of_a_card_that_the_user_attaches_stays_empty() -> None:
    wanted = cards({"vendor": 0x10EC, "driver": "realtek"}, IXGBE)
    assert place(wanted, "q35", ["pci0"]) == {"pci0": 1, "pci1": 2}
    # It has the index before ours.
    assert place(cards(IXGBE, {**IXGBE, "index": 1}), "q35", ["pci0"])["pci1"] == 2


def test_note_is_read() -> None:
    (found,) = from_note(
        [
            {"name": "net0", "kind": "tap", "bus": "tap"},
            {"name": "pci0", "kind": "pci_device", "bus": "pci", "class_code": 0x0200, "driver": "ixgbe", "keys": {}},
        ]
    )
    assert str(found) == "pci0 (ixgbe class 0200)"


MACHINE = [Function(0, 0, 0, 0x8086, 0x29C0, 0x0600), Function(0, 1, 0, 0x8086, 0x10FB, 0x0200, "pci0")]


def test_machine_is_checked_for_the_devices_that_the_user_attaches() -> None:
    wanted = cards(IXGBE, VIRTIO)
    theirs = Function(0, 2, 0, 0x1AF4, 0x1041, 0x0200)
    check(wanted, ["pci1"], [*MACHINE, theirs])
    with pytest.raises(
        UserError, match=r"pci1 \(virtio_net 1af4:1041\) is missing: QEMU has no such PCI device; .*--without pci1"
    ):
        check(wanted, ["pci1"], MACHINE)
    # A device of theirs that comes before ours.
    first = Function(0, 0, 1, 0x8086, 0x10FB, 0x0200)
    with pytest.raises(UserError, match=r"pci0 .* would find another device at 00:00\.1"):
        check(wanted, ["pci1"], [*MACHINE, theirs, first])
    # Theirs is not there, and ours would be taken for it.
    with pytest.raises(UserError, match=r"pci0 .*would find pci1"):
        check(cards(IXGBE, {**IXGBE, "index": 1}), ["pci0"], [Function(0, 2, 0, 0x8086, 0x10FB, 0x0200, "pci1")])


def test_qmps_answer_is_read_through_bridges() -> None:
    def device(slot: int, **more: object) -> dict[str, object]:
        ids = {"vendor": 0x8086, "device": 0x10FB}
        return {"slot": slot, "function": 0, "id": ids, "class_info": {"class": 0x0200}, "qdev_id": "", **more}

    bridge = device(3, pci_bridge={"devices": [device(0, qdev_id="mine")]})
    found = pci_functions([{"bus": 0, "devices": [bridge, device(4)]}])
    assert [one.address for one in found] == ["00:03.0", "01:00.0", "00:04.0"]
    assert [one.owner for one in found] == ["", "mine", ""]


def test_every_order_of_equal_cards_is_put_right() -> None:
    for order in itertools.permutations(range(4)):
        wanted = cards(*({**IXGBE, "index": number} for number in order))
        assert [place(wanted, "pc")[card.name] - 2 for card in wanted] == list(order)


@pytest.mark.parametrize(
    "fields",
    [
        [VIRTIO, {**VIRTIO, "index": 1}, IXGBE, {**IXGBE, "index": 1}],
        [{**IXGBE, "index": 1}, {"class_code": 0x0200, "driver": "virtio_net"}, {**IXGBE, "index": 0}],
        [
            {"slot": "00:04.0", "driver": "ixgbe"},
            {"vendor": 0x1AF4, "driver": "virtio_net"},
            {**IXGBE, "index": 1},
            IXGBE,
        ],
        [
            {"vendor": 0x8086, "index": 1, "driver": "ixgbe"},
            {"vendor": 0x1AF4, "class_code": 0x0200, "driver": "virtio_net"},
        ],
    ],
)
def test_guest_finds_what_was_placed_for_it(fields: list[dict[str, object]]) -> None:
    """The guest's own search, in a machine with these cards in these slots."""
    wanted = cards(*fields)
    slots = place(wanted, "q35")
    machine = Machine({0x00: PciFunction(0x8086, 0x29C0, 0x0600), 0xF8: PciFunction(0x8086, 0x2918, 0x0601)})
    for card in wanted:
        ids = {"virtio_net": (0x1AF4, 0x1041), "ixgbe": (0x8086, 0x10FB)}[card.driver]
        machine.add(slots[card.name] << 3, PciFunction(*ids, 0x0200))
    _mirage.reset(machine=machine)
    bus = PciBus()
    for card in wanted:
        found = bus.find(card.vendor, card.devices or None, card.class_code, card.slot, card.index)
        assert found.slot == f"00:{slots[card.name]:02x}.0"
