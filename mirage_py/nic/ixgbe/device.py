# SPDX-License-Identifier: MIT
"""The 82599 as a whole: its parts wired together, reset, semaphores, timers, and the wire.

Software reaches it as on a machine: 32-bit words of the register BAR through `regs[offset >> 2]`, memory through a DMA
object, interrupts through a sink. Nothing here knows about vfio-user; `mirage_py.nic.pci` puts it behind a socket.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from mirage_py.nic.backends.base import Backend
from mirage_py.nic.faults import Faults
from mirage_py.nic.frame import GSO_UDP, Frame
from mirage_py.nic.ixgbe import registers as r
from mirage_py.nic.ixgbe.clock import Clock
from mirage_py.nic.ixgbe.eeprom import Eeprom
from mirage_py.nic.ixgbe.filters import Filters
from mirage_py.nic.ixgbe.interrupts import Interrupts, InterruptSink
from mirage_py.nic.ixgbe.memory import Dma
from mirage_py.nic.ixgbe.phy import Phy
from mirage_py.nic.ixgbe.register_file import RegisterFile
from mirage_py.nic.ixgbe.rx import Receiver
from mirage_py.nic.ixgbe.stats import Stats
from mirage_py.nic.ixgbe.timers import Timers
from mirage_py.nic.ixgbe.tx import Transmitter

# Frames taken from the backend in one turn: what fills the packet buffer once, when they are large segments.
BATCH = 64
BATCH_LARGE = 8
# How long a far end that reads nothing is waited for: longer than a busy machine keeps it from its turn, and less than
# the seconds after which a driver takes its card for hung.
CABLE_PATIENCE_NS = 500_000_000


class Ixgbe82599:
    """One port of an 82599.

    schedule: called when there is work that `run()` will do; None runs it at once, inside the register access.
    is_bus_master: asked before the device touches memory.
    """

    def __init__(
        self,
        mac: bytes,
        dma: Dma,
        sink: InterruptSink,
        backend: Backend,
        timers: Timers,
        schedule: Callable[[], None] | None = None,
        is_bus_master: Callable[[], bool] = lambda: True,
        faults: Faults | None = None,
    ) -> None:
        if len(mac) != 6 or mac[0] & 1:
            raise ValueError("a MAC address has six octets, and that of a card is no group address")
        self.regs = RegisterFile()
        self.backend = backend
        self.faults = faults or Faults()
        self.timers = timers
        self._schedule = schedule or self.run
        self._is_bus_master = is_bus_master
        self._is_running = False
        self._tcp_timer_generation = 0
        self._looped: list[Frame] = []
        self.stats = Stats(self.regs)
        self.eeprom = Eeprom(self.regs, mac)
        self.interrupts = Interrupts(self.regs, sink, timers)
        self.phy = Phy(self.regs, self._link_changed, backend.set_link)
        self.filters = Filters(self.regs)
        self.clock = Clock(self.regs, timers)
        self.rx = Receiver(self.regs, dma, self.stats, self.filters, self.interrupts.receive, self._has_room)
        self.regs.on_write(r.TSYNCRXCTL, self._write_tsyncrxctl)
        self.tx = Transmitter(
            self.regs,
            dma,
            self.stats,
            self._send,
            self._takes,
            self.interrupts.transmit,
            self._schedule,
            self.clock.stamp_sent,
        )
        self.rx.is_cable = backend.is_cable
        self.on_room: Callable[[], None] = lambda: None
        self._hook_registers()
        self.faults.attach(self)
        # A backend with a descriptor is read by the loop that watches it; another is read when there is room.
        self._is_polled = backend.fileno() < 0
        self._has_frames = False
        self._waits_for_cable = False
        self._far_end_reads = True
        backend.on_ready(self._frames_ready)
        self.reset()
        backend.on_link(self.phy.set_partner)

    def _hook_registers(self) -> None:
        regs = self.regs
        regs.on_write(r.CTRL, self._write_ctrl)
        regs.on_read(r.STATUS, self._read_status)
        regs.on_read(r.SWSM, self._read_swsm)
        regs.on_read(r.FRTIMER, lambda: self.timers.now_ns() // 1000 & 0xFFFF_FFFF)
        regs.on_write(r.TCPTIMER, self._write_tcp_timer)
        # The diagnostic ports that tell an empty packet buffer apart: always empty.
        for number in range(8):
            regs.on_read(r.RXPBSIZE + 0x20 + 4 * number, lambda: 0, "RT2CR")

    # Reset.

    def reset(self) -> None:
        """Software, link and function level resets are one here: everything but the EEPROM's content starts anew."""
        self._tcp_timer_generation += 1
        self.rx.reset()
        self.tx.reset()
        self._looped.clear()
        self.regs.reset()
        self.stats.clear()
        self.interrupts.reset()
        self.regs.store[r.RXPBSIZE >> 2] = 0x0008_0000
        self.regs.store[r.TXPBSIZE >> 2] = 0x0002_8000
        self.filters.reset(self.eeprom.mac())
        self.clock.reset()
        self._write_tsyncrxctl(0)
        self.phy.reset()

    def _write_ctrl(self, value: int) -> None:
        if value & (r.CTRL_RST | r.CTRL_LRST):
            semaphores = self.regs.store[r.SWSM >> 2], self.regs.store[r.SW_FW_SYNC >> 2]
            self.reset()
            self.faults.was_reset()
            # Software's own semaphores survive a software reset (10.5.4).
            self.regs.store[r.SWSM >> 2], self.regs.store[r.SW_FW_SYNC >> 2] = semaphores
        elif not value & r.CTRL_MASTER_DISABLE:
            self.tx.kick()

    # Registers that belong to no part.

    def _read_status(self) -> int:
        disabled = self.regs.store[r.CTRL >> 2] & r.CTRL_MASTER_DISABLE
        return 0 if disabled else r.STATUS_MASTER_ENABLE

    def _read_swsm(self) -> int:
        """Reading SMBI takes the semaphore: the reader that sees zero has it (10.5.4)."""
        value = self.regs.store[r.SWSM >> 2]
        self.regs.store[r.SWSM >> 2] = value | r.SWSM_SMBI
        return value

    def _write_tsyncrxctl(self, value: int) -> None:
        """Packets are shown to the clock only while it wants some."""
        self.rx.stamp = self.clock.stamp_received if value & r.TSYNC_ENABLE else None

    def _write_tcp_timer(self, value: int) -> None:
        """A millisecond timer that raises its own cause (7.3.5)."""
        self._tcp_timer_generation += 1
        duration_ms = value & 0xFF
        if value & r.TCPTIMER_FINISH:
            self.interrupts.other(r.EICR_TCP_TIMER)
        elif value & r.TCPTIMER_ENABLE and duration_ms:
            self._arm_tcp_timer(duration_ms, bool(value & r.TCPTIMER_LOOP))

    def _arm_tcp_timer(self, duration_ms: int, loop: bool) -> None:
        generation = self._tcp_timer_generation

        def due() -> None:
            if generation == self._tcp_timer_generation:
                self.interrupts.other(r.EICR_TCP_TIMER)
                if loop:
                    self._arm_tcp_timer(duration_ms, loop)

        self.timers.call_at(self.timers.now_ns() + duration_ms * 1_000_000, due)

    # The wire.

    def _link_changed(self, up: bool) -> None:
        self.interrupts.other(r.EICR_LSC)
        if up:
            self.tx.kick()

    def _is_looped(self) -> bool:
        return bool(self.regs.store[r.HLREG0 >> 2] & r.HLREG0_LPBK)

    def _takes(self, gso_type: int) -> bool:
        backend = self.backend
        takes = backend.takes_datagrams if gso_type == GSO_UDP else backend.takes_offloads
        return takes and not self._is_looped()

    def may_use_bus(self) -> bool:
        return self._is_bus_master() and not self.regs.store[r.CTRL >> 2] & r.CTRL_MASTER_DISABLE

    def _send(self, frames: list[Frame]) -> int:
        if self._is_looped():
            for frame in frames:
                # The buffers go back to the driver before these come in again.
                frame.parts = [bytes(frame.joined())]
                self._looped.append(frame)
            return len(frames)
        taken = self.backend.send(frames)
        if taken:
            self._far_end_reads = True
        if taken < len(frames) and self.backend.is_cable:
            if not self._far_end_reads:
                self.tx.lost += len(frames)
                return len(frames)
            if not self._waits_for_cable:
                self._waits_for_cable = True
                self.timers.call_at(self.timers.now_ns() + CABLE_PATIENCE_NS, partial(self._cable, self.tx.given))
        return taken

    def _cable(self, given: int) -> None:
        """A cable never pushes back: from a far end that has not read for a while on, frames are lost on their way."""
        self._waits_for_cable = False
        if self.tx.has_backlog:
            if self.tx.given == given:
                self._far_end_reads = False
                self.tx.lose_backlog()
            else:
                self._waits_for_cable = True
                self.timers.call_at(self.timers.now_ns() + CABLE_PATIENCE_NS, partial(self._cable, self.tx.given))

    def run(self) -> None:
        """Does what doorbells asked for. Called again from within, it leaves the rest to the outer call."""
        if self._is_running:
            return
        self._is_running = True
        try:
            self.tx.run(self.may_use_bus() and (self.phy.is_up or self._is_looped()))
            if self._looped:
                frames, self._looped = self._looped, []
                self.rx.receive(frames)
            while self._has_frames:
                self._has_frames = False
                self.poll_backend()
        finally:
            self._is_running = False

    @property
    def wants_frames(self) -> bool:
        """Whether the backend should be read now: not while the packet buffer holds frames that wait."""
        return self.rx.has_room

    def poll_backend(self) -> None:
        """Takes a batch from the backend."""
        if self.rx.has_room:
            frames = self.backend.receive(BATCH_LARGE if self.backend.takes_offloads else BATCH)
            self._has_frames = bool(frames) and self._is_polled
            if frames and self.phy.is_up and not self._is_looped() and self.may_use_bus():
                self.rx.receive(self.faults.frames(frames))

    def _has_room(self) -> None:
        if self._is_polled and not self.rx.is_cable:  # from a cable, everything is taken as it comes
            self._frames_ready()
        self.on_room()

    def _frames_ready(self) -> None:
        self._has_frames = True
        self._schedule()

    def forget_memory(self) -> None:
        """Guest memory is about to be unmapped."""
        self.rx.forget_memory()
        self.tx.forget_memory()
