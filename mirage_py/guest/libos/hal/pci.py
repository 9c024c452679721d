# SPDX-License-Identifier: MIT
"""PCI: finding functions, their capabilities, their BARs, their interrupts."""


class PciBus:
    """All PCI functions that the platform reaches. Made once; enumerates when made."""

    def __init__(self):
        self.devices = []

    def find(self, vendor=None, device=None, class_code=None, slot=None, index=0):
        """The index-th function that matches. device: a number or a tuple of numbers; class_code: class << 8 | subclass;
        slot: "00:02.0". Returns a PciDevice. Raises DeviceError, naming what was looked for, when there is none.
        """
        raise NotImplementedError
