# SPDX-License-Identifier: MIT
"""What a device offers to the server: regions, interrupts, DMA, reset. A new device is a subclass of `Device`."""

from __future__ import annotations

from mirage_py.nic.vfio_user.dma import DmaSpace
from mirage_py.nic.vfio_user.irq import Irqs
from mirage_py.nic.vfio_user.protocol import PCI_NUM_REGIONS, REGION_FLAG_READ, REGION_FLAG_WRITE


class Region:
    """A BAR, the ROM or the configuration space. The server has checked that an access lies inside.

    fd, areas: for a region that the client may map: the file, and the (offset, size) of its mappable parts; no areas
    means all of it. QEMU's client stops posting writes to the whole device when any region offers this.
    """

    def __init__(self, size: int, flags: int = REGION_FLAG_READ | REGION_FLAG_WRITE) -> None:
        self.size = size
        self.flags = flags
        self.fd: int | None = None
        self.areas: list[tuple[int, int]] = []

    def read(self, offset: int, length: int) -> bytes:
        """`length` octets, exactly."""
        return bytes(length)

    def write(self, offset: int, data: memoryview) -> None:
        """Takes the octets; `data` is valid only during the call."""


class Device:
    """A PCI device for the server. Regions have vfio's numbers: six BARs, ROM, configuration space, VGA."""

    def __init__(self, irqs: Irqs) -> None:
        self.regions: list[Region | None] = [None] * PCI_NUM_REGIONS
        self.irqs = irqs
        self.dma = DmaSpace()

    def reset(self) -> None:
        """DEVICE_RESET: as after power-on."""

    def connected(self) -> None:
        """A client has agreed on the version."""

    def disconnected(self) -> None:
        """The client is gone; its memory and its interrupts are already."""

    def settle(self) -> None:
        """Every message that has arrived is carried out: time for the work that posted writes asked for.

        Doorbells that came in one batch are so served together. Must not block.
        """
