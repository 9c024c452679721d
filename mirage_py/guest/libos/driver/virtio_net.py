# SPDX-License-Identifier: MIT
"""virtio-net, the paravirtual network device (Virtual I/O Device specification 1.2, section 5.1), over modern PCI."""


class VirtioNet:
    """A network device over a PciDevice. dma: hal.dma.Dma; name: what counters and log lines call it."""

    def __init__(self, pci_device, dma, name="net0"):
        self.pci_device = pci_device
        self.dma = dma
        self.name = name
