# SPDX-License-Identifier: MIT
"""The log on the console."""

from mirage_py.configure.device import Device, Kind, Node
from mirage_py.configure.devices.clock import clock
from mirage_py.configure.devices.console import console
from mirage_py.configure.devices.signatures import CLOCK, CONSOLE
from mirage_py.configure.devices.signatures import LOG as OFFERS
from mirage_py.configure.keys import Key

LOG = Kind(
    name="log",
    offers=OFFERS,
    implementation="libos.app.log.Log",
    doc="log lines on the console, with a level per source",
    arguments={"console": CONSOLE, "clock": CLOCK},
    keys={
        "levels": Key(
            "logs", type="loglevel", default="info", doc="what is logged: a level, or a list such as tcp:debug,*:info"
        ),
        "wall_time": Key(
            "log-time",
            type="bool",
            default=False,
            doc="log lines begin with the date and time (UTC), by the image's clock",
        ),
    },
)


def log(console_device: Node | None = None, clock_device: Node | None = None) -> Device:
    """The log: error, warning, info, debug(source, text). Its runtime keys are --logs and --log-time."""
    return LOG(console_device or console(), clock_device or clock())
