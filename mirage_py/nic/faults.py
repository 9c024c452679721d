# SPDX-License-Identifier: MIT
"""Fault switches: what a broken or hostile card does, to be turned on under traffic.

A switch is a name with a number; 0 turns it off. `every` switches act on each n-th occasion, so that a driver has work
left to do right. SWITCHES says what each does.
"""

from __future__ import annotations

import random
from collections.abc import Iterable
from typing import Protocol

from mirage_py.nic.frame import Frame
from mirage_py.nic.ixgbe.interrupts import Interrupts
from mirage_py.nic.ixgbe.phy import Phy
from mirage_py.nic.ixgbe.register_file import RegisterFile
from mirage_py.nic.ixgbe.rx import Receiver
from mirage_py.nic.ixgbe.timers import Timers
from mirage_py.nic.ixgbe.tx import Transmitter
from mirage_py.nic.segment import cut, fill_checksum


class Target(Protocol):
    """What the switches reach of a device: the model is one."""

    interrupts: Interrupts
    phy: Phy
    regs: RegisterFile
    rx: Receiver
    timers: Timers
    tx: Transmitter


SWITCHES = {
    "link-down": "the fibre is unplugged while this is 1",
    "link-flap": "the link goes down for 50 ms every n milliseconds",
    "dead": "every register reads all ones and no write has an effect while this is 1",
    "tx-stall": "transmit queues stop being served while this is 1; a reset frees them",
    "rx-stall": "received frames are no longer stored while this is 1; a reset frees them",
    "lost-interrupt": "every n-th interrupt message is not sent",
    "wrong-length": "every n-th receive descriptor names a length beyond its buffer",
    "zero-length": "every n-th receive descriptor names no octets",
    "bit-flip": "every n-th received frame has one bit turned over on the wire",
    "no-data": "every n-th receive descriptor is done without its data having been written",
    "bad-index": "every n-th receive descriptor names a next descriptor outside the ring",
    "replay": "every n-th receive descriptor repeats the one before",
    "no-end": "every n-th receive descriptor lacks its end-of-packet bit",
    "drop": "every n-th received frame is lost",
    "slow": "every register read takes n milliseconds",
}

_FLAP_DOWN_NS = 50_000_000
_EOP = 1 << 1
_NEXTP_MASK = 0xFFFF << 4
_RSCCNT_ONE = 1 << 17


class Faults:
    """The switches of one device. `counts` says how often each acted."""

    def __init__(self, seed: int = 1) -> None:
        self.values: dict[str, int] = {}
        self.counts: dict[str, int] = dict.fromkeys(SWITCHES, 0)
        self._occasions: dict[str, int] = dict.fromkeys(SWITCHES, 0)
        self._random = random.Random(seed)
        self._device: Target | None = None
        self._previous: tuple[int, int] | None = None
        self._flap_generation = 0

    def attach(self, device: Target) -> None:
        self._device = device
        device.interrupts.mutes = self._mutes
        for name, value in list(self.values.items()):
            self.set(name, value)

    def set(self, name: str, value: int) -> None:
        """Turns a switch. Raises ValueError for a name that is none, or a negative number."""
        if name not in SWITCHES or value < 0:
            raise ValueError(f"fault {name!r} with {value}")
        self.values[name] = value
        device = self._device
        if device is None:
            return
        if name in ("link-down", "dead"):
            self.counts[name] += bool(value)
        if name == "link-down":
            device.phy.plug(not value)
        elif name == "link-flap":
            self._flap_generation += 1
            if value:
                self._flap(device, value, self._flap_generation)
            else:
                device.phy.plug(True)
        elif name == "dead":
            device.regs.dead = bool(value)
        elif name == "tx-stall":
            device.tx.is_stalled = bool(value)
            device.tx.kick()
        elif name == "rx-stall":
            device.rx.is_stalled = bool(value)
            if not value:
                device.rx.flush()
        spoiling = ("wrong-length", "zero-length", "bad-index", "replay", "no-end")
        device.rx.withholds = (lambda: self._acts("no-data")) if self.values.get("no-data") else None
        device.rx.spoil = self._spoil if any(self.values.get(switch) for switch in spoiling) else None

    def was_reset(self) -> None:
        """The driver reset the device: what a reset repairs is repaired."""
        for name in ("tx-stall", "rx-stall"):
            if self.values.get(name):
                self.counts[name] += 1
                self.set(name, 0)

    def _acts(self, name: str) -> bool:
        """Whether it is the turn of an `every` switch."""
        every = self.values.get(name)
        if not every:
            return False
        self._occasions[name] += 1
        if self._occasions[name] % every:
            return False
        self.counts[name] += 1
        return True

    def _flap(self, device: Target, every_ms: int, generation: int) -> None:
        def down() -> None:
            if generation == self._flap_generation:
                self.counts["link-flap"] += 1
                device.phy.plug(False)
                device.timers.call_at(device.timers.now_ns() + _FLAP_DOWN_NS, up)

        def up() -> None:
            if generation == self._flap_generation:
                device.phy.plug(True)
                self._flap(device, every_ms, generation)

        device.timers.call_at(device.timers.now_ns() + every_ms * 1_000_000, down)

    def _mutes(self, vector: int) -> bool:
        return self._acts("lost-interrupt")

    def read_delay_ms(self) -> int:
        """How long the register read that is being answered takes."""
        delay_ms = self.values.get("slow", 0)
        self.counts["slow"] += bool(delay_ms)
        return delay_ms

    def frames(self, frames: Iterable[Frame]) -> list[Frame]:
        """What becomes of received frames."""
        if not self.values.get("drop") and not self.values.get("bit-flip"):
            return list(frames)
        kept = []
        for frame in frames:
            if self._acts("drop"):
                continue
            if frame.length > 14 and self._acts("bit-flip"):
                kept += self._flip(frame)
            else:
                kept.append(frame)
        return kept

    def _flip(self, frame: Frame) -> list[Frame]:
        """The frame as the wire would have carried it, finished and cut, and then one bit of it turned over."""
        frames = list(cut(frame, frame.gso_size)) if frame.gso_size else [frame]
        victim = self._random.choice(frames)
        fill_checksum(victim)
        data = bytearray(victim.joined())
        data[self._random.randrange(14, len(data))] ^= 1 << self._random.randrange(8)
        victim.parts = [data]
        victim.is_checked = False
        return frames

    def _spoil(self, low: int, high: int, count: int) -> tuple[int, int]:
        """A receive descriptor's write-back as a faulty card makes it; `count`: descriptors of the ring."""
        if self._acts("wrong-length"):
            high = high & ~(0xFFFF << 32) | 0xFFFF << 32
        if self._acts("zero-length"):
            high &= ~(0xFFFF << 32)
        if self._acts("no-end"):
            high &= ~_EOP
        if self._acts("bad-index"):
            high = high & ~(_EOP | _NEXTP_MASK) | (count & 0xFFFF) << 4
            low |= _RSCCNT_ONE
        if self._acts("replay") and self._previous is not None:
            low, high = self._previous
        self._previous = low, high
        return low, high
