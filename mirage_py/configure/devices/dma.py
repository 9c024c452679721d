# SPDX-License-Identifier: MIT
"""Memory that devices may read and write."""

from mirage_py.configure.device import USER_COUNT, Device, Kind
from mirage_py.configure.devices.signatures import DMA as OFFERS

DMA = Kind(
    name="dma",
    offers=OFFERS,
    implementation="libos.hal.dma.Dma",
    doc="memory outside the collected heap, for rings and frames",
    derived={"users": USER_COUNT},
    features=("net",),
)


def dma() -> Device:
    """The machine's DMA memory; all drivers share it."""
    return DMA()
