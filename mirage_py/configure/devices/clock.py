# SPDX-License-Identifier: MIT
"""The clocks of the platform."""

from mirage_py.configure.device import Device, Kind
from mirage_py.configure.devices.signatures import CLOCK as OFFERS

CLOCK = Kind(
    name="clock",
    offers=OFFERS,
    implementation="libos.hal.clock.Clock",
    doc="monotonic and wall time, and sleeping",
)


def clock() -> Device:
    """Monotonic and wall time: now_ms(), wall_ns(), await sleep(seconds)."""
    return CLOCK()
