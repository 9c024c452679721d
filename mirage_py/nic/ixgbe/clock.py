# SPDX-License-Identifier: MIT
"""IEEE 1588: the clock that counts, and the times at which PTP packets came and went (82599 datasheet section 7.9)."""

from __future__ import annotations

from mirage_py.nic.ixgbe import registers as r
from mirage_py.nic.ixgbe.packet import TYPE_UDP, Packet
from mirage_py.nic.ixgbe.register_file import RegisterFile
from mirage_py.nic.ixgbe.timers import Timers

# At 10 Gbit/s the clock's period is 6.4 ns: 10 periods in 64 ns.
_PERIODS, _IN_NS = 10, 64
_LOW32 = 0xFFFF_FFFF
_MASK64 = 0xFFFF_FFFF_FFFF_FFFF
_MINUS = 1 << 31  # TIMADJH: the adjustment is subtracted
_TYPE_L2_V2, _TYPE_L4_V1, _TYPE_L2_L4_V2, _TYPE_EVENT_V2 = 0, 1, 2, 5
_FIRST_GENERAL_MESSAGE = 8  # PTP version 2: those below are event messages
_PTP_V2_BYTES, _PTP_V1_CONTROL = 34, 32
_ETQF_1588 = 1 << 31 | 1 << 30


class Clock:
    """SYSTIM, and the registers that hold a packet's time until the driver has read it."""

    def __init__(self, regs: RegisterFile, timers: Timers) -> None:
        self._regs = regs
        self._timers = timers
        self._value = 0
        self._since_ns = 0
        self._high = 0
        regs.on_read(r.SYSTIML, self._read_low)
        regs.on_read(r.SYSTIMH, lambda: self._high)
        regs.on_write(r.SYSTIML, lambda value: self._set(self.now() & ~_LOW32 | value))
        regs.on_write(r.SYSTIMH, lambda value: self._set(self.now() & _LOW32 | value << 32))
        regs.on_write(r.TIMINCA, self._write_increment)
        regs.on_write(r.TIMADJH, self._adjust)
        regs.on_read(r.RXSTMPH, self._read_received)
        regs.on_read(r.TXSTMPH, self._read_sent)
        self._rate = (0, 1)

    def reset(self) -> None:
        self._value = self._high = 0
        self._rate = (0, 1)

    def now(self) -> int:
        """The 64 bits of SYSTIM."""
        numerator, denominator = self._rate
        if not numerator:
            return self._value
        return self._value + (self._timers.now_ns() - self._since_ns) * numerator // denominator & _MASK64

    def _set(self, value: int) -> None:
        self._value = value & _MASK64
        self._since_ns = self._timers.now_ns()

    def _write_increment(self, value: int) -> None:
        """TIMINCA: so much is added every so many periods."""
        self._set(self.now())
        increment, period = value & 0xFF_FFFF, value >> 24
        self._rate = (increment * _PERIODS, period * _IN_NS) if period else (0, 1)

    def _adjust(self, high: int) -> None:
        """Writing TIMADJH adds TIMADJ to the clock, or takes it off."""
        amount = self._regs.store[r.TIMADJL >> 2] | (high & ~_MINUS) << 32
        self._set(self.now() + (-amount if high & _MINUS else amount))

    def _read_low(self) -> int:
        """Reading the lower half keeps the upper one for the read that follows."""
        now = self.now()
        self._high = now >> 32
        return now & _LOW32

    # Packets.

    def _read_sent(self) -> int:
        self._regs.store[r.TSYNCTXCTL >> 2] &= ~r.TSYNC_VALID
        return self._regs.store[r.TXSTMPH >> 2]

    def _read_received(self) -> int:
        self._regs.store[r.TSYNCRXCTL >> 2] &= ~r.TSYNC_VALID
        return self._regs.store[r.RXSTMPH >> 2]

    def stamp_sent(self) -> None:
        """A packet goes out whose descriptor asked for its time; one time is kept until it is read."""
        store = self._regs.store
        control = store[r.TSYNCTXCTL >> 2]
        if control & r.TSYNC_ENABLE and not control & r.TSYNC_VALID:
            self._keep(r.TXSTMPL, r.TXSTMPH)
            store[r.TSYNCTXCTL >> 2] = control | r.TSYNC_VALID

    def stamp_received(self, packet: Packet) -> bool:
        """Whether the packet is one whose time is wanted, and its time was kept."""
        store = self._regs.store
        control = store[r.TSYNCRXCTL >> 2]
        if not control & r.TSYNC_ENABLE or control & r.TSYNC_VALID:
            return False
        kind = control >> 1 & 7
        start = self._message(packet, kind)
        if not start or not self._is_wanted(packet, start, kind):
            return False
        data = packet.data
        self._keep(r.RXSTMPL, r.RXSTMPH)
        # The sender's identity and the message's number, by which software finds it again.
        identity, number = (22, 30) if kind == _TYPE_L4_V1 else (20, 30)
        store[r.RXSATRL >> 2] = int.from_bytes(data[start + identity : start + identity + 4], "little")
        store[r.RXSATRH >> 2] = int.from_bytes(
            bytes(data[start + identity + 4 : start + identity + 6]) + bytes(data[start + number : start + number + 2]),
            "little",
        )
        store[r.TSYNCRXCTL >> 2] = control | r.TSYNC_VALID
        return True

    def _keep(self, low: int, high: int) -> None:
        now = self.now()
        self._regs.store[low >> 2], self._regs.store[high >> 2] = now & _LOW32, now >> 32

    def _message(self, packet: Packet, kind: int) -> int:
        """Where the PTP message begins in the frame, 0 where there is none of this kind."""
        store = self._regs.store
        if packet.l3:
            port = store[r.RXMTRL >> 2] >> 16
            if kind == _TYPE_L2_V2 or not packet.kind & TYPE_UDP:
                return 0
            if packet.data[packet.l4 + 2] << 8 | packet.data[packet.l4 + 3] != port:
                return 0
            start = packet.l4 + 8
        else:
            filters = store[r.ETQF >> 2 : (r.ETQF >> 2) + 8]
            is_named = any(one & _ETQF_1588 == _ETQF_1588 and one & 0xFFFF == packet.ethertype for one in filters)
            if kind == _TYPE_L4_V1 or not is_named:
                return 0
            start = 14 if packet.vlan is None else 18
        return start if start + _PTP_V2_BYTES <= len(packet.data) else 0

    def _is_wanted(self, packet: Packet, start: int, kind: int) -> bool:
        wanted = self._regs.store[r.RXMTRL >> 2]
        if kind == _TYPE_L4_V1:
            return packet.data[start + _PTP_V1_CONTROL] == wanted & 0xFF
        message = packet.data[start] & 0xF
        if kind == _TYPE_EVENT_V2:
            return message < _FIRST_GENERAL_MESSAGE
        return kind in (_TYPE_L2_V2, _TYPE_L2_L4_V2) and message == wanted >> 8 & 0xF
