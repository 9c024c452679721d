# SPDX-License-Identifier: MIT
"""The sockets of the system that a unix build runs on."""

from mirage_py.configure.device import UNIX, Device, Kind
from mirage_py.configure.devices.signatures import SOCKETS as OFFERS

SOCKETS = Kind(
    name="sockets",
    offers=OFFERS,
    implementation="libos.hal.sockets.Sockets",
    doc="the system's sockets",
    features=("socket",),
    targets=(UNIX,),
    target_reason="are the sockets of a Linux process, and there is no Linux in a virtual machine's image",
    is_service=True,
)


def sockets() -> Device:
    """The system's sockets."""
    return SOCKETS()
