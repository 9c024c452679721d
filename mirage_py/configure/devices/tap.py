# SPDX-License-Identifier: MIT
"""A TAP interface of Linux as a network device."""

from mirage_py.configure.device import UNIX, Device, Kind
from mirage_py.configure.devices.dma import dma
from mirage_py.configure.devices.signatures import DMA, NETWORK
from mirage_py.configure.keys import Key

TAP = Kind(
    name="tap",
    local="net",
    offers=NETWORK,
    implementation="libos.driver.tap.Tap",
    doc="a TAP interface of Linux",
    arguments={"dma": DMA},
    keys={
        "name": Key(
            "interface",
            default="tap0",
            doc="the TAP interface to use, or to make where root runs this",
            further=lambda number: {"default": f"tap{number}"},
        ),
        "host": Key(
            "host-ipv4",
            type="ipv4_cidr",
            default="10.0.0.1/24",
            doc="the host's address on a TAP interface that has to be made",
            further=lambda number: {"default": f"10.{number}.0.1/24"},
        ),
    },
    features=("net",),
    targets=(UNIX,),
    target_reason="is an interface of Linux, and there is none in a virtual machine's image",
    hardware=lambda settings: {"bus": "tap"},
)


def tap(group: str = "") -> Device:
    """A TAP interface; its runtime keys are --interface and --host-ipv4.

    A second one is tap1 unless told otherwise, and the host has 10.1.0.1/24 there.
    """
    return TAP(dma(), group=group)
