# SPDX-License-Identifier: MIT
"""The PCI devices of an image in a machine: which card `run` attaches for each, and in which slot, so that the guest's
search for each (libos.hal.pci.PciBus.find) ends at its own."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mirage_py.support.errors import UserError

VIRTIO_NET = "virtio_net"
IXGBE = "ixgbe"

# Orders that are tried before giving up; eight cards have 40,320.
ORDERS_MAX = 50_000
_LAST_SLOT = 0x1E


@dataclass(frozen=True)
class Function:
    """A PCI function of the machine: where it is, and what its header says. owner: the card's name, if it is one."""

    bus: int
    slot: int
    function: int
    vendor: int
    device: int
    class_code: int
    owner: str = ""

    @property
    def address(self) -> str:
        return f"{self.bus:02x}:{self.slot:02x}.{self.function}"


@dataclass(frozen=True)
class Card:
    """A PCI function that an image drives, as its note describes it.

    name: what main.py calls it ("pci0"). vendor, devices, class_code, slot, index: how the guest looks for it.
    driver: the kind of what drives it; network: what main.py calls that ("net0"), empty for what is no network card.
    keys: "dhcp", "ipv4", "ipv4-gateway" -> the boot argument of the stack on it; empty where there is none.
    """

    name: str
    vendor: int | None = None
    devices: tuple[int, ...] = ()
    class_code: int | None = None
    slot: str | None = None
    index: int = 0
    driver: str = ""
    network: str = ""
    keys: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        words = []
        if self.vendor is not None:
            words.append(f"{self.vendor:04x}:{self.devices[0]:04x}" if self.devices else f"vendor {self.vendor:04x}")
        if self.class_code is not None:
            words.append(f"class {self.class_code:04x}")
        if self.slot is not None:
            words.append(f"at {self.slot}")
        if self.index:
            words.append(f"number {self.index}")
        return f"{self.name} ({' '.join([*([self.driver] if self.driver else []), *words])})"

    def matches(self, function: Function) -> bool:
        """Whether the guest's description fits the function; the index aside."""
        return (
            self.vendor in (None, function.vendor)
            and (not self.devices or function.device in self.devices)
            and self.class_code in (None, function.class_code)
            and self.slot in (None, function.address)
        )

    def find(self, functions: Iterable[Function]) -> Function | None:
        """What the guest will find, out of the machine's functions in the order of their addresses."""
        return next(itertools.islice(filter(self.matches, functions), self.index, None), None)


# What is attached for a driver: vendor, device, class.
_MADE = {VIRTIO_NET: (0x1AF4, 0x1041, 0x0200), IXGBE: (0x8086, 0x10FB, 0x0200)}

# The functions that QEMU's machines have by themselves, as `run` starts them.
_OWN = {
    "q35": (Function(0, 0, 0, 0x8086, 0x29C0, 0x0600), Function(0, 0x1F, 0, 0x8086, 0x2918, 0x0601)),
    "pc": (
        Function(0, 0, 0, 0x8086, 0x1237, 0x0600),
        Function(0, 1, 0, 0x8086, 0x7000, 0x0601),
        Function(0, 1, 1, 0x8086, 0x7010, 0x0101),
        Function(0, 1, 3, 0x8086, 0x7113, 0x0680),
    ),
    "microvm": (Function(0, 0, 0, 0x1B36, 0x0008, 0x0600),),
}


def from_note(devices: Iterable[Mapping[str, Any]]) -> tuple[Card, ...]:
    """The PCI devices out of the list in an image's note."""
    found = []
    for entry in devices:
        if entry.get("bus") != "pci":
            continue
        device = entry.get("device")
        found.append(
            Card(
                name=entry["name"],
                vendor=entry.get("vendor"),
                devices=() if device is None else (device,) if isinstance(device, int) else tuple(device),
                class_code=entry.get("class_code"),
                slot=entry.get("slot"),
                index=entry.get("index") or 0,
                driver=entry.get("driver") or "",
                network=entry.get("network") or "",
                keys=entry.get("keys") or {},
            )
        )
    return tuple(found)


def named(cards: Sequence[Card], name: str, option: str) -> Card:
    """The card called `name`, by its own name or its network device's. Raises UserError."""
    for card in cards:
        if name in (card.name, card.network):
            return card
    known = ", ".join(str(card) for card in cards)
    raise UserError(f"{option}: the image has no device {name}", f"its devices: {known or 'none'}")


# A name as main.py has them; "./a=b" is a file.
_NAMED = re.compile(r"([A-Za-z_]\w*)=(.+)", re.ASCII | re.DOTALL)


def is_named(text: str) -> bool:
    """Whether an option's value names the card that it is for: NAME=VALUE."""
    return _NAMED.fullmatch(text) is not None


def assign(values: Sequence[str], cards: Sequence[Card], option: str, *, taken: Iterable[str] = ()) -> dict[str, str]:
    """Card's name -> value, for an option that is given as VALUE, for the next card without one, or as NAME=VALUE.

    taken: names of cards that have something else already. Raises UserError for more values than cards.
    """
    found: dict[str, str] = {}
    loose = []
    for text in values:
        match = _NAMED.fullmatch(text)
        if match is None:
            loose.append(text)
            continue
        card = named(cards, match[1], f"{option} {text}")
        if card.name in found:
            raise UserError(f"{option} {text}: {card.name} has {found[card.name]} already", "give it one of them")
        found[card.name] = match[2]
    free = [card.name for card in cards if card.name not in found and card.name not in taken]
    if len(loose) > len(free):
        raise UserError(
            f"{option} {loose[len(free)]}: there is no network card left for it ({len(cards)} in the image)",
            f"give at most one {option} for each card",
        )
    return {**found, **dict(zip(free, loose, strict=False))}


def place(cards: Sequence[Card], machine: str, without: Iterable[str] = ()) -> dict[str, int]:
    """Card's name -> the slot on bus 0 where it has to be.

    machine: "q35", "pc" or "microvm". without: names of the cards that the user attaches; their slots stay empty, and
    QEMU gives the lowest empty one to a device that asks for none.
    Raises UserError, naming the card, when `run` cannot make it, or no order lets the guest find each.
    """
    absent = set(without)
    for card in cards:
        if card.name not in absent and card.driver not in _MADE:
            raise UserError(
                f"{card}: `run` does not know how to make such a device",
                f"attach it yourself: --without {card.name} --qemu-arg=-device --qemu-arg=...",
            )
    own = _OWN.get(machine, ())
    used = {function.slot for function in own}
    fixed = {card.name: _fixed_slot(card, used) for card in cards if card.slot is not None}
    free = [slot for slot in range(1, _LAST_SLOT + 1) if slot not in used and slot not in fixed.values()]
    loose = [card for card in cards if card.slot is None]
    if len(loose) > len(free):
        raise UserError(f"{loose[len(free)]}: the machine has no slot left for it", "use fewer devices")
    for order in itertools.islice(itertools.permutations(loose), ORDERS_MAX):
        slots = {**fixed, **{card.name: slot for card, slot in zip(order, free, strict=False)}}
        if all(_finds_its_own(card, own, cards, slots) for card in cards):
            return slots
    slots = {**fixed, **{card.name: slot for card, slot in zip(loose, free, strict=False)}}
    raise _no_order(cards, _functions(own, cards, slots))


def _fixed_slot(card: Card, used: set[int]) -> int:
    assert card.slot is not None
    bus, _, rest = card.slot.partition(":")
    slot, _, function = rest.partition(".")
    number = int(slot, 16)
    if bus != "00" or function != "0" or number in used:
        raise UserError(
            f"{card}: `run` has no such slot on this machine",
            f"use function 0 of a free slot on bus 00, or --without {card.name} and attach it with --qemu-arg",
        )
    return number


def _functions(own: Sequence[Function], cards: Sequence[Card], slots: Mapping[str, int]) -> list[Function]:
    made = []
    for card in cards:
        # What the user attaches is taken to be what the image describes.
        vendor, device, class_code = _MADE.get(
            card.driver, (card.vendor or 0, card.devices[0] if card.devices else 0, card.class_code or 0)
        )
        made.append(Function(0, slots[card.name], 0, vendor, device, class_code, card.name))
    return sorted([*own, *made], key=lambda function: (function.bus, function.slot, function.function))


def _finds_its_own(card: Card, own: Sequence[Function], cards: Sequence[Card], slots: Mapping[str, int]) -> bool:
    found = card.find(_functions(own, cards, slots))
    return found is not None and found.owner == card.name


def _no_order(cards: Sequence[Card], functions: list[Function]) -> UserError:
    for card in cards:
        found = card.find(functions)
        if found is None:
            return UserError(
                f"{card}: the image asks for too few such devices to have one of that number",
                "count the indices of pci_device from 0, or attach the others yourself with --without and --qemu-arg",
            )
        if found.owner != card.name:
            what = f"device {found.owner}" if found.owner else f"the machine's own function {found.address}"
            break
    return UserError(
        f"{card}: the guest would take {what} for it", "describe it more closely: vendor and device, or another index"
    )


def check(cards: Sequence[Card], absent: Iterable[str], functions: Iterable[Function]) -> None:
    """Raise UserError, naming the card, unless the guest will find each of `cards` in the machine as QEMU has it.

    absent: names of the cards that the user attaches. functions: of the machine; an owner is a card that we attached.
    """
    ordered = sorted(functions, key=lambda function: (function.bus, function.slot, function.function))
    attached_by_user = set(absent)
    for card in cards:
        found = card.find(ordered)
        if found is None:
            raise UserError(
                f"{card} is missing: QEMU has no such PCI device",
                f"attach one with --qemu-arg=-device, or leave --without {card.name} out"
                if card.name in attached_by_user
                else "leave the --qemu-arg that takes its place out",
            )
        if found.owner != ("" if card.name in attached_by_user else card.name):
            raise UserError(
                f"{card}: the guest would find {found.owner or 'another device'} at {found.address} in its place",
                "give the devices in --qemu-arg later slots (addr=0x10 and up), or describe it by its slot",
            )
