# SPDX-License-Identifier: MIT
"""The INTx pin in configuration space: status bit 3 and command bit 10 (PCI 3.0 sections 6.2.2 and 6.2.3)."""

import os
import struct
from collections.abc import Iterator

import pytest

from mirage_py.nic.backends.base import NoBackend
from mirage_py.nic.ixgbe import registers as r
from mirage_py.nic.pci import IxgbePci
from mirage_py.nic.vfio_user import protocol as p
from mirage_py.nic.vfio_user.loop import Loop
from mirage_py.nic.vfio_user.pci_config import COMMAND, STATUS, STATUS_INTERRUPT

MASTER, INTX_DISABLE = 0x406 & ~0x400, 0x400


class Pin:
    """A card with an eventfd at its pin, as a guest sees both."""

    def __init__(self) -> None:
        self.loop = Loop()
        self.card = IxgbePci(bytes.fromhex("020000000001"), NoBackend(), self.loop)
        self.fd = os.eventfd(0, os.EFD_NONBLOCK)
        self.attach(p.PCI_INTX_IRQ, self.fd)
        self.card.model.regs[r.EIMS >> 2] = r.EICR_LSC

    def attach(self, index: int, fd: int) -> None:
        flags = p.IRQ_SET_DATA_EVENTFD | p.IRQ_SET_ACTION_TRIGGER
        self.card.irqs.set_irqs(flags, index, 0, 1, memoryview(b""), [os.dup(fd)])

    def raise_it(self) -> None:
        self.card.model.faults.set("link-down", int(not self.card.model.faults.values.get("link-down")))

    def acknowledge(self) -> None:
        assert self.card.model.regs[r.EICR >> 2] & r.EICR_LSC

    def unmask(self) -> None:
        flags = p.IRQ_SET_DATA_NONE | p.IRQ_SET_ACTION_UNMASK
        self.card.irqs.set_irqs(flags, p.PCI_INTX_IRQ, 0, 1, memoryview(b""), [])

    def command(self, value: int) -> None:
        self.card.config.write(COMMAND, memoryview(struct.pack("<H", value)))

    @property
    def is_pending(self) -> bool:
        (whole,) = struct.unpack("<I", self.card.config.read(COMMAND, 4))
        (alone,) = struct.unpack("<H", self.card.config.read(STATUS, 2))
        assert whole >> 16 == alone
        return bool(alone & STATUS_INTERRUPT)

    def signals(self) -> int:
        try:
            return os.eventfd_read(self.fd)
        except BlockingIOError:
            return 0


@pytest.fixture
def pin() -> Iterator[Pin]:
    pin = Pin()
    yield pin
    pin.card.irqs.close()
    pin.card.close()
    pin.loop.close()
    os.close(pin.fd)


def test_status_says_that_the_pin_is_up_until_the_cause_is_gone(pin: Pin) -> None:
    assert not pin.is_pending
    pin.raise_it()
    assert pin.signals() == 1
    assert pin.is_pending
    pin.acknowledge()
    assert not pin.is_pending
    pin.unmask()
    assert pin.signals() == 0


def test_disabled_pin_is_silent_and_status_goes_on_telling(pin: Pin) -> None:
    """What uio_pci_generic does: it finds bit 3, sets bit 10, and clears it when the program has served the card."""
    pin.raise_it()
    assert pin.signals() == 1
    pin.command(MASTER | INTX_DISABLE)
    pin.unmask()
    assert pin.signals() == 0
    assert pin.is_pending
    pin.command(MASTER)
    assert pin.signals() == 1, "still up: signalled again"
    pin.command(MASTER | INTX_DISABLE)
    pin.acknowledge()
    pin.unmask()
    pin.command(MASTER)
    assert pin.signals() == 0
    pin.command(MASTER | INTX_DISABLE)
    pin.raise_it()
    assert pin.signals() == 0
    assert pin.is_pending
    pin.command(MASTER)
    assert pin.signals() == 1


def test_reset_lets_the_pin_fall_and_enables_it(pin: Pin) -> None:
    pin.command(INTX_DISABLE)
    pin.raise_it()
    pin.card.irqs.reset()
    pin.card.reset()
    assert not pin.is_pending
    pin.card.model.regs[r.EIMS >> 2] = r.EICR_LSC
    pin.raise_it()
    assert pin.signals() == 1


def test_status_is_no_business_of_messages(pin: Pin) -> None:
    """A function with MSI-X on has no pin."""
    event = os.eventfd(0, os.EFD_NONBLOCK)
    pin.raise_it()
    assert pin.is_pending
    pin.attach(p.PCI_MSIX_IRQ, event)
    assert not pin.is_pending
    os.close(event)
