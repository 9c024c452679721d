# SPDX-License-Identifier: MIT
"""TCP's congestion control: `--congestion`. Only the chosen algorithm is linked in."""

from mirage_py.configure.device import Choice, Device, Kind
from mirage_py.configure.devices.signatures import CONGESTION
from mirage_py.configure.keys import CONFIGURE, Key

CUBIC = Kind(
    name="cubic",
    local="congestion",
    offers=CONGESTION,
    implementation="libos.net.tcp.cubic.Cubic",
    doc="congestion control for TCP: CUBIC (RFC 9438)",
    features=("net",),
)

NEWRENO = Kind(
    name="newreno",
    local="congestion",
    offers=CONGESTION,
    implementation="libos.net.tcp.newreno.NewReno",
    doc="congestion control for TCP: NewReno (RFC 5681, RFC 6582)",
    features=("net",),
)

ALGORITHM = Key(
    "congestion",
    type="choice",
    choices=("cubic", "newreno"),
    default="cubic",
    doc="TCP's congestion control",
    stage=CONFIGURE,
)


def cubic() -> Device:
    """CUBIC."""
    return CUBIC()


def newreno() -> Device:
    """NewReno."""
    return NEWRENO()


def default_congestion(group: str = "") -> Choice:
    """The algorithm that `--congestion` names."""
    return Choice(ALGORITHM.grouped(group), {"cubic": cubic, "newreno": newreno}, CONGESTION, follows=ALGORITHM)
