# SPDX-License-Identifier: MIT
"""PCI: the bus, and the functions on it that this unikernel uses."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mirage_py.configure.device import HVT, NUMBER, Device, Kind, Node
from mirage_py.configure.devices.signatures import PCI_BUS as OFFERS_BUS
from mirage_py.configure.devices.signatures import PCI_DEVICE as OFFERS_DEVICE
from mirage_py.support.errors import UserError

_SLOT = re.compile(r"[0-9a-f]{2}:[01][0-9a-f]\.[0-7]")
_NO_PCI = "is on the PCI bus, and a Linux process has none"


class _Hex(int):
    """A number that main.py shows as the specifications do."""

    def __repr__(self) -> str:
        return f"0x{int(self):04x}"


@dataclass(frozen=True)
class PciInfo:
    """Which PCI function is meant; what is None does not matter.

    vendor: 16 bits. device: 16 bits, or several that will do. class_code: class << 8 | subclass. slot: "00:02.0".
    index: which of the machine's functions that match, from 0; None: the first that no other device of the same
        description has, in the order of main.py.
    """

    vendor: int | None = None
    device: int | tuple[int, ...] | None = None
    class_code: int | None = None
    slot: str | None = None
    index: int | None = None


def _hardware(settings: Mapping[str, Any]) -> dict[str, Any]:
    if settings["slot"] is not None and settings["index"]:
        raise UserError(
            f"two devices are both the PCI function at {settings['slot']}", "give both users the same pci_device(...)"
        )
    return {"bus": "pci", **{name: value for name, value in settings.items() if value is not None}}


def _hex(number: int | None) -> int | None:
    return None if number is None else _Hex(number)


PCI_BUS = Kind(
    name="pci_bus",
    offers=OFFERS_BUS,
    implementation="libos.hal.pci.PciBus",
    doc="the PCI functions of the machine",
    features=("net",),
    targets=(HVT,),
    target_reason=_NO_PCI,
)

PCI_DEVICE = Kind(
    name="pci_device",
    local="pci",
    offers=OFFERS_DEVICE,
    implementation="libos.hal.pci.PciDevice",
    method="find",
    doc="one PCI function",
    arguments={"bus": OFFERS_BUS},
    settings={"vendor": None, "device": None, "class_code": None, "slot": None, "index": None},
    derived={"index": NUMBER},
    features=("net",),
    targets=(HVT,),
    target_reason=_NO_PCI,
    hardware=_hardware,
)


def pci_bus() -> Device:
    """The PCI bus of the machine."""
    return PCI_BUS()


def pci_device(info: PciInfo, name: str = "", *, bus: Node | None = None, group: str = "") -> Device:
    """The PCI function that `info` describes; `name` ("pci0") is what main.py and the image's note call it.

    Two of one description are two functions when their names or groups differ, and one device otherwise.
    """
    if not isinstance(info, PciInfo):
        raise UserError(
            f"pci_device: {info!r} does not describe a PCI function", "give a PciInfo(vendor=..., device=...)"
        )
    if info == PciInfo(index=info.index):
        raise UserError("pci_device: the PciInfo is empty", "give it a vendor and device, a class_code or a slot")
    if info.slot is not None and not _SLOT.fullmatch(info.slot):
        raise UserError(
            f"pci_device: {info.slot!r} is not a slot address", 'write bus:device.function, as in "00:02.0"'
        )
    if info.slot is not None and info.index is not None:
        raise UserError(f"pci_device: at slot {info.slot} there is one function", "leave the index out")
    if info.index is not None and info.index < 0:
        raise UserError(f"pci_device: index {info.index}", "count from 0")
    return PCI_DEVICE(
        bus or pci_bus(),
        local=name,
        group=group,
        vendor=_hex(info.vendor),
        device=tuple(_Hex(number) for number in info.device) if isinstance(info.device, tuple) else _hex(info.device),
        class_code=_hex(info.class_code),
        slot=info.slot,
        index=info.index,
    )
