# SPDX-License-Identifier: MIT
"""Interrupts of a vfio-user device: eventfds per vector, and the level-triggered INTx pin with its automatic mask."""

from __future__ import annotations

import contextlib
import fcntl
import os

from mirage_py.nic.vfio_user.protocol import (
    IRQ_INFO_AUTOMASKED,
    IRQ_INFO_EVENTFD,
    IRQ_INFO_MASKABLE,
    IRQ_INFO_NORESIZE,
    IRQ_SET_ACTION_MASK,
    IRQ_SET_ACTION_TRIGGER,
    IRQ_SET_ACTION_UNMASK,
    IRQ_SET_DATA_BOOL,
    IRQ_SET_DATA_EVENTFD,
    IRQ_SET_DATA_NONE,
    PCI_ERR_IRQ,
    PCI_INTX_IRQ,
    PCI_MSI_IRQ,
    PCI_MSIX_IRQ,
    PCI_NUM_IRQS,
    PCI_REQ_IRQ,
    ProtocolError,
)

_DATA_MASK = IRQ_SET_DATA_NONE | IRQ_SET_DATA_BOOL | IRQ_SET_DATA_EVENTFD
_ACTION_MASK = IRQ_SET_ACTION_MASK | IRQ_SET_ACTION_UNMASK | IRQ_SET_ACTION_TRIGGER


def _check_eventfd(fd: int) -> None:
    """Refuses a descriptor that writing to might block: whatever is not an eventfd."""
    try:
        kind = os.readlink(f"/proc/self/fd/{fd}")
    except OSError as error:
        raise ProtocolError(f"an interrupt's descriptor: {error}") from error
    if kind != "anon_inode:[eventfd]":
        raise ProtocolError("an interrupt's descriptor is not an eventfd")
    fcntl.fcntl(fd, fcntl.F_SETFL, fcntl.fcntl(fd, fcntl.F_GETFL) | os.O_NONBLOCK)


class Irqs:
    """The interrupt types of one device and what the client has attached to them.

    counts: vectors per type: INTx, MSI, MSI-X, error, request.
    """

    def __init__(self, intx: int = 0, msi: int = 0, msix: int = 0) -> None:
        self.counts = [0] * PCI_NUM_IRQS
        self.counts[PCI_INTX_IRQ] = intx
        self.counts[PCI_MSI_IRQ] = msi
        self.counts[PCI_MSIX_IRQ] = msix
        self.counts[PCI_ERR_IRQ] = 1
        self.counts[PCI_REQ_IRQ] = 1
        self._fds: list[dict[int, int]] = [{} for _ in range(PCI_NUM_IRQS)]
        self._masked: list[set[int]] = [set() for _ in range(PCI_NUM_IRQS)]
        self._level = False
        self._is_disabled = False

    def info(self, index: int) -> tuple[int, int]:
        """(flags, count) of a type. Raises ProtocolError when there is no such type."""
        if not 0 <= index < PCI_NUM_IRQS:
            raise ProtocolError(f"there is no interrupt type {index}")
        flags = IRQ_INFO_EVENTFD
        if index == PCI_INTX_IRQ:
            flags |= IRQ_INFO_MASKABLE | IRQ_INFO_AUTOMASKED
        elif index in (PCI_MSI_IRQ, PCI_MSIX_IRQ):
            flags |= IRQ_INFO_NORESIZE if index == PCI_MSI_IRQ else 0
        return flags, self.counts[index]

    def is_enabled(self, index: int) -> bool:
        """Whether the client has attached anything to this type."""
        return bool(self._fds[index])

    def set_irqs(self, flags: int, index: int, start: int, count: int, data: memoryview, fds: list[int]) -> None:
        """DEVICE_SET_IRQS. Takes the descriptors that it keeps out of `fds`. Raises ProtocolError."""
        if not 0 <= index < PCI_NUM_IRQS:
            raise ProtocolError(f"there is no interrupt type {index}")
        data_kind, action = flags & _DATA_MASK, flags & _ACTION_MASK
        if flags & ~(_DATA_MASK | _ACTION_MASK) or data_kind.bit_count() != 1 or action.bit_count() != 1:
            raise ProtocolError(f"interrupt flags {flags:#x}")
        if start + count > self.counts[index]:
            raise ProtocolError(f"vectors {start} to {start + count} of {self.counts[index]} of type {index}")
        if count == 0:
            if start or data_kind != IRQ_SET_DATA_NONE or action != IRQ_SET_ACTION_TRIGGER:
                raise ProtocolError("no vectors")
            self.disable(index)
        elif data_kind == IRQ_SET_DATA_EVENTFD:
            self._set_fds(action, index, start, count, fds)
        elif data_kind == IRQ_SET_DATA_BOOL and len(data) < count:
            raise ProtocolError("fewer truth values than vectors")
        else:
            for number in range(count):
                if data_kind == IRQ_SET_DATA_NONE or data[number]:
                    self._act(action, index, start + number)

    def _set_fds(self, action: int, index: int, start: int, count: int, fds: list[int]) -> None:
        if action != IRQ_SET_ACTION_TRIGGER:
            # Eventfds by which the guest would learn of our masking: nothing here masks but the client itself.
            raise ProtocolError("eventfds for masking are not supported")
        if fds and len(fds) != count:
            raise ProtocolError(f"{len(fds)} descriptors for {count} vectors")
        for fd in fds:
            _check_eventfd(fd)
        for vector in range(start, start + count):
            old = self._fds[index].pop(vector, None)
            if old is not None:
                os.close(old)
            self._masked[index].discard(vector)
            if fds:
                self._fds[index][vector] = fds.pop(0)
        if index == PCI_INTX_IRQ:
            self._signal_level()

    def _act(self, action: int, index: int, vector: int) -> None:
        if action == IRQ_SET_ACTION_MASK:
            self._masked[index].add(vector)
        elif action == IRQ_SET_ACTION_UNMASK:
            self._masked[index].discard(vector)
            if index == PCI_INTX_IRQ:
                self._signal_level()
        else:
            self.trigger(index, vector)

    def trigger(self, index: int, vector: int) -> bool:
        """Signals a vector; False when nobody listens to it or it is masked."""
        fd = self._fds[index].get(vector)
        if fd is None or vector in self._masked[index]:
            return False
        # A full counter means that the client has an interrupt waiting anyway.
        with contextlib.suppress(BlockingIOError):
            os.eventfd_write(fd, 1)
        return True

    def set_level(self, level: bool) -> None:
        """The state of the INTx pin. The client learns of a rise, and after each unmasking that it is still up."""
        rose = level and not self._level
        self._level = level
        if rose:
            self._signal_level()

    def disable_pin(self, disabled: bool) -> None:
        """Bit 10 of the command register (PCI 3.0 6.2.2): the pin is not driven; its state goes on being kept."""
        released = self._is_disabled and not disabled
        self._is_disabled = disabled
        if released:
            self._signal_level()

    @property
    def is_pending(self) -> bool:
        """Bit 3 of the status register (PCI 3.0 6.2.3): what the pin would say, disabled or not.

        A function whose MSI or MSI-X is on has no pin.
        """
        return self._level and not self._fds[PCI_MSI_IRQ] and not self._fds[PCI_MSIX_IRQ]

    def _signal_level(self) -> None:
        if self.is_pending and not self._is_disabled and self.trigger(PCI_INTX_IRQ, 0):
            self._masked[PCI_INTX_IRQ].add(0)

    def disable(self, index: int) -> None:
        """Detaches and closes everything of a type."""
        for fd in self._fds[index].values():
            os.close(fd)
        self._fds[index].clear()
        self._masked[index].clear()

    def reset(self) -> None:
        """A device reset: the pin falls. What the client attached stays, as the specification wants."""
        self._level = False
        self._masked[PCI_INTX_IRQ].clear()

    def close(self) -> None:
        """The client is gone."""
        for index in range(PCI_NUM_IRQS):
            self.disable(index)
