# SPDX-License-Identifier: MIT
"""Intel's 82599 10 Gigabit Ethernet controller, on a card or as `mirage-py nic` emulates it."""

from mirage_py.configure.device import HVT, LOCAL_NAME, Device, Kind, Node
from mirage_py.configure.devices.dma import dma
from mirage_py.configure.devices.pci import PciInfo, pci_device
from mirage_py.configure.devices.signatures import DMA, NETWORK, PCI_DEVICE
from mirage_py.configure.keys import Key
from mirage_py.support.errors import UserError

# 82599 datasheet, section 9.3.2: the SFI/SFP+ variants, which are wired as the driver expects.
IXGBE_PCI = PciInfo(vendor=0x8086, device=(0x10FB, 0x1557, 0x154D))

IXGBE = Kind(
    name="ixgbe",
    local="net",
    offers=NETWORK,
    implementation="libos.driver.ixgbe.Ixgbe",
    doc="an Intel 82599 network card on PCI",
    arguments={"pci_device": PCI_DEVICE, "dma": DMA},
    derived={"name": LOCAL_NAME},
    settings={"mtu": None, "queues": None, "coalesce": None},
    features=("net",),
    targets=(HVT,),
    target_reason="drives a PCI device, and a Linux process has none",
)


def ixgbe_of_pci(
    pci: Node, mtu: int | Key | None = None, queues: int | Key | None = None, coalesce: bool | Key | None = None
) -> Device:
    """The 82599 that a PCI function is. Each setting may be a key.

    mtu: 68 to 9000. queues: 1 to 16 receive queues, over which it spreads flows. coalesce: whether it may make large
    packets of TCP segments that follow each other; not for who sends them on.
    """
    for name, value, least, most in (("mtu", mtu, 68, 9000), ("queues", queues, 1, 16)):
        if value is not None and not isinstance(value, Key) and not (type(value) is int and least <= value <= most):
            raise UserError(f"ixgbe: {name}={value!r}", f"give a whole number from {least} to {most}")
    return IXGBE(pci, dma(), mtu=mtu, queues=queues, coalesce=coalesce)


def ixgbe(
    mtu: int | Key | None = None,
    queues: int | Key | None = None,
    coalesce: bool | Key | None = None,
    *,
    group: str = "",
) -> Device:
    """An 82599: the first of the machine, or with another `group` the next one."""
    return ixgbe_of_pci(pci_device(IXGBE_PCI, group=group), mtu, queues, coalesce)
