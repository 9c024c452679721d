# SPDX-License-Identifier: MIT
"""Random numbers."""

from mirage_py.configure.device import Device, Kind
from mirage_py.configure.devices.signatures import RANDOM as OFFERS

RANDOM = Kind(
    name="random",
    offers=OFFERS,
    implementation="libos.hal.random.Random",
    doc="unpredictable numbers from the machine's entropy source",
)


def random() -> Device:
    """Random numbers fit for keys: bytes(n), below(n), u32()."""
    return RANDOM()
