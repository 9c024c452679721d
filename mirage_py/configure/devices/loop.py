# SPDX-License-Identifier: MIT
"""The event loop under asyncio. Every unikernel has one; it is the first device that main.py makes."""

from mirage_py.configure.device import Device, Kind
from mirage_py.configure.devices.signatures import LOOP
from mirage_py.configure.keys import CONFIGURE, Key

EVENT_LOOP = Kind(
    name="event_loop",
    local="loop",
    offers=LOOP,
    implementation="libos.hal.loop.EventLoop",
    doc="asyncio's event loop on the platform's wait",
)

REPL = Key(
    "repl",
    type="bool",
    doc="a MicroPython prompt beside the application: on COM2 (hvt), on the terminal (unix)",
    stage=CONFIGURE,
)
# What the runtime needs for it.
REPL_FEATURE = "repl"


def event_loop() -> Device:
    """The event loop; all mentions of it are the same one."""
    return EVENT_LOOP()
