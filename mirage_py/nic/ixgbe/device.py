# SPDX-License-Identifier: MIT
"""The 82599 as a whole: its parts wired together, reset, semaphores, timers, and the wire.

Software reaches it as on a machine: 32-bit words of the register BAR through `regs[offset >> 2]`, memory through a DMA
object, interrupts through a sink. Nothing here knows about vfio-user; `mirage_py.nic.pci` puts it behind a socket.
"""

from __future__ import annotations

from collections.abc import Callable

from mirage_py.nic.backends.base import Backend
from mirage_py.nic.faults import Faults
from mirage_py.nic.frame import Frame
from mirage_py.nic.ixgbe import registers as r
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
        self.phy = Phy(self.regs, self._link_changed)
        self.filters = Filters(self.regs)
        self.rx = Receiver(self.regs, dma, self.stats, self.filters, self.interrupts.receive, self._has_room)
        self.tx = Transmitter(
            self.regs, dma, self.stats, self._send, self._takes_offloads, self.interrupts.transmit, self._schedule
        )
        self.on_room: Callable[[], None] = lambda: None
        self._hook_registers()
        self.faults.attach(self)
        # A backend with a descriptor is read by the loop that watches it; another is read when there is room.
        self._is_polled = backend.fileno() < 0
        self._has_frames = False
        backend.on_ready(self._frames_ready)
        self.reset()

    def _hook_registers(self) -> None:
        regs = self.regs
        regs.on_write(r.CTRL, self._write_ctrl)
        regs.on_read(r.STATUS, self._read_status)
        regs.on_read(r.SWSM, self._read_swsm)
        regs.on_read(r.FRTIMER, lambda: self.timers.now_ns() // 1000 & 0xFFFF_FFFF)
        regs.on_write(r.TCPTIMER, self._write_tcp_timer)
        regs.on_write(r.FDIRCTRL, self._write_fdirctrl)
        regs.on_write(r.FDIRCMD, self._write_fdircmd)
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

    def _write_fdirctrl(self, value: int) -> None:
        self.regs.store[r.FDIRCTRL >> 2] = value | r.FDIRCTRL_INIT_DONE

    def _write_fdircmd(self, value: int) -> None:
        """Flow director commands are done at once; no filter takes effect."""
        self.regs.store[r.FDIRCMD >> 2] = value & ~r.FDIRCMD_CMD_MASK

    # The wire.

    def _link_changed(self, up: bool) -> None:
        self.interrupts.other(r.EICR_LSC)
        if up:
            self.tx.kick()

    def _is_looped(self) -> bool:
        return bool(self.regs.store[r.HLREG0 >> 2] & r.HLREG0_LPBK)

    def _takes_offloads(self) -> bool:
        return self.backend.takes_offloads and not self._is_looped()

    def may_use_bus(self) -> bool:
        return self._is_bus_master() and not self.regs.store[r.CTRL >> 2] & r.CTRL_MASTER_DISABLE

    def _send(self, frames: list[Frame]) -> int:
        if self._is_looped():
            for frame in frames:
                # The buffers go back to the driver before these come in again.
                frame.parts = [bytes(frame.joined())]
                self._looped.append(frame)
            return len(frames)
        return self.backend.send(frames)

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
        if self._is_polled:
            self._frames_ready()
        self.on_room()

    def _frames_ready(self) -> None:
        self._has_frames = True
        self._schedule()

    def forget_memory(self) -> None:
        """Guest memory is about to be unmapped."""
        self.rx.forget_memory()
        self.tx.forget_memory()
