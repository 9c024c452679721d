# SPDX-License-Identifier: MIT
"""The machine's console: a serial line on hvt, standard input and output on unix."""

from mirage_py.configure.device import Device, Kind
from mirage_py.configure.devices.loop import event_loop
from mirage_py.configure.devices.signatures import CONSOLE as OFFERS
from mirage_py.configure.devices.signatures import LOOP

CONSOLE = Kind(
    name="console",
    offers=OFFERS,
    implementation="libos.hal.console.Console",
    doc="text out, typed lines in",
    arguments={"loop": LOOP},
)


def console() -> Device:
    """The console: write(text), await readline()."""
    return CONSOLE(event_loop())
