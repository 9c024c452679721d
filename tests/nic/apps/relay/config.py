# SPDX-License-Identifier: MIT
"""Two 82599s, and every frame of one goes out at the other."""

from mirage_py.devices.ixgbe import IXGBE_PCI, ixgbe_of_pci
from mirage_py.dsl import PciInfo, console, event_loop, pci_device, register, unikernel

cards = [
    # Coalesced packets are too large to be sent on.
    ixgbe_of_pci(pci_device(PciInfo(IXGBE_PCI.vendor, IXGBE_PCI.device, index=number), f"pci{number}"), coalesce=False)
    for number in (0, 1)
]
register("relay", unikernel("relay.Relay", *cards, event_loop(), console()))
