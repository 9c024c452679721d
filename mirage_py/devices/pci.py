# SPDX-License-Identifier: MIT
"""PCI: the bus, and the functions on it that this unikernel uses."""

from __future__ import annotations

from dataclasses import dataclass

from mirage_py.device import HVT, Device, Kind, Node
from mirage_py.devices.signatures import PCI_BUS as OFFERS_BUS
from mirage_py.devices.signatures import PCI_DEVICE as OFFERS_DEVICE
from mirage_py.errors import UserError

_NO_PCI = "is on the PCI bus, and a Linux process has none"


class _Hex(int):
    """A number that main.py shows as the specifications do."""

    def __repr__(self) -> str:
        return f"0x{int(self):04x}"


@dataclass(frozen=True)
class PciInfo:
    """Which PCI function is meant; what is None does not matter.

    vendor: 16 bits. device: 16 bits, or several that will do. class_code: class << 8 | subclass. slot: "00:02.0".
    index: which of several that match, from 0.
    """

    vendor: int | None = None
    device: int | tuple[int, ...] | None = None
    class_code: int | None = None
    slot: str | None = None
    index: int = 0


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
    features=("net",),
    targets=(HVT,),
    target_reason=_NO_PCI,
    hardware=lambda device: {
        "bus": "pci",
        **{name: value for name, value in device.settings.items() if value is not None},
    },
)


def pci_bus() -> Device:
    """The PCI bus of the machine."""
    return PCI_BUS()


def pci_device(info: PciInfo, name: str = "", *, bus: Node | None = None) -> Device:
    """The PCI function that `info` describes; `name` ("pci0") is what main.py and the image's note call it."""
    if not isinstance(info, PciInfo):
        raise UserError(
            f"pci_device: {info!r} does not describe a PCI function", "give a PciInfo(vendor=..., device=...)"
        )
    if info == PciInfo(index=info.index):
        raise UserError("pci_device: the PciInfo is empty", "give it a vendor and device, a class_code or a slot")
    return PCI_DEVICE(
        bus or pci_bus(),
        local=name,
        vendor=_hex(info.vendor),
        device=tuple(_Hex(number) for number in info.device) if isinstance(info.device, tuple) else _hex(info.device),
        class_code=_hex(info.class_code),
        slot=info.slot,
        index=info.index or None,
    )
