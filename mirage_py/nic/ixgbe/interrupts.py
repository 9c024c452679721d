# SPDX-License-Identifier: MIT
"""Interrupt causes, masks, vectors, moderation, automatic clearing and masking.

Source: 82599 datasheet sections 7.3 (interrupts) and 8.2.3.5 (registers). A cause is a bit of EICR. With
GPIE.Multiple_MSIX a queue's cause is the vector that IVAR names, and bits above 15 live in the extended registers;
without it, IVAR names one of bits 0 to 15 and everything shares vector 0 or the pin.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Protocol

from mirage_py.nic.ixgbe import registers as r
from mirage_py.nic.ixgbe.register_file import RegisterFile
from mirage_py.nic.ixgbe.timers import Timers

# EITR counts in units of 2 microseconds, in bits 11:3.
_EITR_UNIT_NS = 2000 // 8
_OTHER_CAUSES = 0x3FFF_0000
_LOW32 = 0xFFFF_FFFF


class InterruptSink(Protocol):
    """Where interrupts go. `mode` is what the guest has enabled: "msix", "msi", "intx" or "none"."""

    @property
    def mode(self) -> str: ...

    def message(self, vector: int) -> None:
        """An MSI-X or MSI message."""

    def level(self, asserted: bool) -> None:
        """The INTx pin."""


class Interrupts:
    """EICR and what follows from it. `mutes(vector)`, when set, swallows a message: a fault switch."""

    def __init__(self, regs: RegisterFile, sink: InterruptSink, timers: Timers) -> None:
        self._regs = regs
        self._sink = sink
        self._timers = timers
        self._vectors = 0  # causes of vectors, 64 bits: EICR 15:0 and the extended registers
        self._other = 0  # EICR 30:16
        self._vector_mask = 0
        self._other_mask = 0
        self._ready_ns = [0] * r.MSIX_VECTORS
        self._waiting = 0
        self._sent = 0  # active vectors whose message is out: the next one needs them to go inactive first
        self.messages = 0
        self.mutes: Callable[[int], bool] = lambda vector: False
        regs.on_read(r.EICR, self._read_eicr)
        regs.on_write(r.EICR, self._write_eicr)
        # Reading EICS shows the causes without clearing them.
        regs.on_read(r.EICS, self._value)
        regs.on_write(r.EICS, self._write_eics)
        regs.on_read(r.EIMS, self._read_eims)
        regs.on_write(r.EIMS, self._write_eims)
        regs.on_write(r.EIMC, self._write_eimc)
        regs.on_write(r.GPIE, lambda value: self._deliver())
        for half in range(2):
            regs.on_write(r.EICS_EX + 4 * half, partial(self._write_eics_ex, half))
            regs.on_read(r.EIMS_EX + 4 * half, partial(self._read_eims_ex, half))
            regs.on_write(r.EIMS_EX + 4 * half, partial(self._write_eims_ex, half))
            regs.on_write(r.EIMC_EX + 4 * half, partial(self._write_eimc_ex, half))
        for vector in range(r.MSIX_VECTORS):
            offset = r.EITR + 4 * vector if vector < 24 else r.EITR_HIGH + 4 * (vector - 24)
            regs.on_write(offset, partial(self._write_eitr, vector))

    def reset(self) -> None:
        self._vectors = self._other = 0
        self._vector_mask = self._other_mask = 0
        self._ready_ns = [0] * r.MSIX_VECTORS
        self._sent = 0
        self._sink.level(False)

    # Causes from the device.

    def receive(self, queue: int) -> None:
        """Descriptors of a receive queue were written back."""
        self._queue_cause(self._regs.store[(r.IVAR >> 2) + (queue >> 1)] >> 16 * (queue & 1))

    def transmit(self, queue: int) -> None:
        """Descriptors of a transmit queue were written back, and at least one asked for a report."""
        self._queue_cause(self._regs.store[(r.IVAR >> 2) + (queue >> 1)] >> 16 * (queue & 1) + 8)

    def _queue_cause(self, entry: int) -> None:
        if entry & r.IVAR_VALID:
            mask = 0x3F if self._is_multiple else 0xF
            self._vectors |= 1 << (entry & mask)
            self._deliver()

    def other(self, cause: int) -> None:
        """A cause of EICR 30:16."""
        self._other |= cause
        self._deliver()

    @property
    def _is_multiple(self) -> bool:
        return bool(self._regs.store[r.GPIE >> 2] & r.GPIE_MULTIPLE_MSIX)

    # Registers.

    def _value(self) -> int:
        value = self._vectors & r.EICR_QUEUES | self._other
        return value | r.EICR_OTHER if self._other & _OTHER_CAUSES else value

    def _read_eicr(self) -> int:
        value = self._value()
        gpie = self._regs.store[r.GPIE >> 2]
        if gpie & r.GPIE_OCD:
            # Only the other causes are cleared: those of queues belong to their vectors.
            self._clear(value & ~r.EICR_QUEUES)
        else:
            self._clear(value)
        self._auto_mask(value)
        self._deliver()
        return value

    def _write_eicr(self, value: int) -> None:
        self._clear(value)
        self._auto_mask(value)
        self._deliver()

    def _clear(self, bits: int) -> None:
        self._vectors &= ~(bits & r.EICR_QUEUES)
        self._other &= ~bits

    def _auto_mask(self, value: int) -> None:
        masked = self._regs.store[r.EIAM >> 2] & value
        self._vector_mask &= ~(masked & r.EICR_QUEUES)
        self._other_mask &= ~(masked & ~r.EICR_QUEUES)

    def _write_eics(self, value: int) -> None:
        self._vectors |= value & r.EICR_QUEUES
        self._other |= value & 0x7FFF_0000
        unmasked = value & self._regs.store[r.EIAM >> 2]
        self._vector_mask |= unmasked & r.EICR_QUEUES
        self._other_mask |= unmasked & 0x7FFF_0000
        self._deliver()

    def _read_eims(self) -> int:
        return self._vector_mask & r.EICR_QUEUES | self._other_mask

    def _write_eims(self, value: int) -> None:
        self._vector_mask |= value & r.EICR_QUEUES
        self._other_mask |= value & ~r.EICR_QUEUES
        self._deliver()

    def _write_eimc(self, value: int) -> None:
        self._vector_mask &= ~(value & r.EICR_QUEUES)
        self._other_mask &= ~(value & ~r.EICR_QUEUES)
        self._deliver()

    def _write_eics_ex(self, half: int, value: int) -> None:
        self._vectors |= value << 32 * half
        self._vector_mask |= (value & self._regs.store[(r.EIAM_EX >> 2) + half]) << 32 * half
        self._deliver()

    def _read_eims_ex(self, half: int) -> int:
        return self._vector_mask >> 32 * half & _LOW32

    def _write_eims_ex(self, half: int, value: int) -> None:
        self._vector_mask |= value << 32 * half
        self._deliver()

    def _write_eimc_ex(self, half: int, value: int) -> None:
        self._vector_mask &= ~(value << 32 * half)
        self._deliver()

    def _write_eitr(self, vector: int, value: int) -> None:
        if not value & r.EITR_CNT_WDIS:
            # The counter is written too: it starts again from what stands in the write, which drivers leave at zero.
            self._ready_ns[vector] = min(self._ready_ns[vector], self._timers.now_ns() + self._interval_ns(vector))
        self._deliver()

    def _interval_ns(self, vector: int) -> int:
        offset = r.EITR + 4 * vector if vector < 24 else r.EITR_HIGH + 4 * (vector - 24)
        return (self._regs.store[offset >> 2] & r.EITR_INTERVAL_MASK) * _EITR_UNIT_NS

    # Delivery.

    def _deliver(self) -> None:
        """A message goes out when a vector becomes active: a cause that is set and not masked (7.3.1)."""
        mode = self._sink.mode
        if mode == "none":
            return
        is_shared = mode != "msix" or not self._is_multiple
        active = self._active(is_shared)
        if mode == "intx":
            self._sink.level(bool(active))
            return
        self._sent &= active
        active &= ~self._sent
        while active:
            lowest = active & -active
            self._send(lowest.bit_length() - 1, is_shared)
            active ^= lowest

    def _active(self, is_shared: bool) -> int:
        """The vectors that have a cause which is set and not masked, as bits."""
        active = self._vectors & self._vector_mask
        if is_shared:
            return int(bool(active & r.EICR_QUEUES or self._other & self._other_mask))
        if self._other & self._other_mask:
            active |= self._other_vectors()
        return active

    def _other_vectors(self) -> int:
        """The vectors of TCP timer and other causes, as bits."""
        misc = self._regs.store[r.IVAR_MISC >> 2]
        causes = self._other & self._other_mask
        vectors = 0
        if causes & r.EICR_TCP_TIMER and misc & r.IVAR_VALID:
            vectors |= 1 << (misc & 0x3F)
        if causes & _OTHER_CAUSES and misc >> 8 & r.IVAR_VALID:
            vectors |= 1 << (misc >> 8 & 0x3F)
        return vectors

    def _send(self, vector: int, is_shared: bool) -> None:
        """Sends a vector's message now, or when its moderation interval is over."""
        now = self._timers.now_ns()
        if now < self._ready_ns[vector]:
            if not self._waiting >> vector & 1:
                self._waiting |= 1 << vector
                self._timers.call_at(self._ready_ns[vector], partial(self._due, vector))
            return
        interval = self._interval_ns(vector)
        self._ready_ns[vector] = now + interval
        self._sent |= 1 << vector
        self.messages += 1
        if not self.mutes(vector):
            self._sink.message(vector)
        if is_shared:
            self._after_shared()
        else:
            self._after_vector(vector)
        self._sent &= self._active(is_shared)

    def _due(self, vector: int) -> None:
        self._waiting &= ~(1 << vector)
        self._deliver()

    def _after_vector(self, vector: int) -> None:
        """Automatic clearing and masking of what this message reported (7.3.1.3 to 7.3.1.5)."""
        store = self._regs.store
        bit = 1 << vector
        clear = store[r.EIAC >> 2] & r.EICR_QUEUES
        # A vector above 15 has no bit in EIAC: its cause can only be cleared by its message.
        if vector > 15 or clear & bit:
            self._vectors &= ~bit
        if store[r.GPIE >> 2] & r.GPIE_EIAME:
            extended = store[r.EIAM_EX >> 2] | store[(r.EIAM_EX >> 2) + 1] << 32
            self._vector_mask &= ~((extended | store[r.EIAM >> 2] & r.EICR_QUEUES) & bit)
        misc = store[r.IVAR_MISC >> 2]
        if misc & r.IVAR_VALID and misc & 0x3F == vector and store[r.EIAC >> 2] & r.EICR_TCP_TIMER:
            self._other &= ~r.EICR_TCP_TIMER

    def _after_shared(self) -> None:
        store = self._regs.store
        self._clear(store[r.EIAC >> 2])
        if store[r.GPIE >> 2] & r.GPIE_EIAME:
            self._auto_mask(self._value())
