# SPDX-License-Identifier: MIT
"""virtio-net, the paravirtual network card of QEMU and its like."""

from mirage_py.configure.device import HVT, LOCAL_NAME, Device, Kind, Node
from mirage_py.configure.devices.dma import dma
from mirage_py.configure.devices.pci import PciInfo, pci_device
from mirage_py.configure.devices.signatures import DMA, NETWORK, PCI_DEVICE
from mirage_py.configure.keys import Key

# Virtio specification 1.2, sections 4.1.2 and 5.1: modern, and transitional with the modern interface as well.
VIRTIO_NET_PCI = PciInfo(vendor=0x1AF4, device=(0x1041, 0x1000))

VIRTIO_NET = Kind(
    name="virtio_net",
    local="net",
    offers=NETWORK,
    implementation="libos.driver.virtio_net.VirtioNet",
    doc="a virtio network card on PCI",
    arguments={"pci_device": PCI_DEVICE, "dma": DMA},
    derived={"name": LOCAL_NAME},
    settings={"offloads": None},
    features=("net",),
    targets=(HVT,),
    target_reason="drives a PCI device, and a Linux process has none",
)


def virtio_of_pci(pci: Node, offloads: Key | bool | None = None) -> Device:
    """The virtio network card that a PCI function is.

    offloads: whether it may deliver large segments and unfinished checksums; not for who sends them on at a card that
    cannot finish them.
    """
    return VIRTIO_NET(pci, dma(), offloads=offloads)


def virtio_net(offloads: Key | bool | None = None, *, group: str = "") -> Device:
    """A virtio network card: the first of the machine, or with another `group` the next one."""
    return virtio_of_pci(pci_device(VIRTIO_NET_PCI, group=group), offloads)
