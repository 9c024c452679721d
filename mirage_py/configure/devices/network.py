# SPDX-License-Identifier: MIT
"""Which network device it is: `--nic`."""

from mirage_py.configure.device import HVT, UNIX, Choice
from mirage_py.configure.devices.ixgbe import ixgbe
from mirage_py.configure.devices.signatures import NETWORK
from mirage_py.configure.devices.tap import tap
from mirage_py.configure.devices.virtio_net import virtio_net
from mirage_py.configure.keys import CONFIGURE, Key

NIC = Key(
    "nic",
    type="choice",
    choices=("tap", "virtio", "ixgbe"),
    doc="the network device of our own stack (default: virtio on hvt, tap on unix)",
    stage=CONFIGURE,
)


def default_network(
    group: str = "",
    *,
    mtu: Key | int | None = None,
    coalesce: Key | bool | None = None,
    offloads: Key | bool | None = None,
) -> Choice:
    """The network device that fits the target, or that `--nic` names: a TAP on unix, a PCI card on hvt.

    group: prefix of its keys, for a second device: "lan" gives --lan-nic, and on unix --lan-interface. What --nic says
    counts for all that are not told otherwise. Devices of
    different groups are different cards. mtu, coalesce: as for ixgbe_of_pci; the others learn their MTU from outside.
    offloads: as for virtio_of_pci.
    """
    return Choice(
        NIC.grouped(group),
        {
            "tap": lambda: tap(group),
            "virtio": lambda: virtio_net(offloads, group=group),
            "ixgbe": lambda: ixgbe(mtu, coalesce=coalesce, group=group),
        },
        NETWORK,
        defaults={UNIX: "tap", HVT: "virtio"},
        follows=NIC,
    )
