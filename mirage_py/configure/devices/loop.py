# SPDX-License-Identifier: MIT
"""The event loop under asyncio. Every unikernel has one; it is the first device that main.py makes."""

from mirage_py.configure.device import Device, Kind
from mirage_py.configure.devices.signatures import LOOP

EVENT_LOOP = Kind(
    name="event_loop",
    local="loop",
    offers=LOOP,
    implementation="libos.hal.loop.EventLoop",
    doc="asyncio's event loop on the platform's wait",
)


def event_loop() -> Device:
    """The event loop; all mentions of it are the same one."""
    return EVENT_LOOP()
