# SPDX-License-Identifier: MIT
"""Statistics: counters that a read clears (82599 datasheet 8.2.3.23). Lengths count the frame check sequence."""

from __future__ import annotations

from functools import partial

from mirage_py.nic.ixgbe import registers as r
from mirage_py.nic.ixgbe.register_file import RegisterFile

FCS_BYTES = 4
_QUEUE_COUNTERS = 16
# Upper ends of the size classes of PRC64..PRC1522 and PTC64..PTC1522, in octets with the frame check sequence.
_SIZES = (64, 127, 255, 511, 1023)
_LOW32 = 0xFFFF_FFFF

# Counters that exist and that nothing here moves: there are no such errors, pauses or management frames.
_STILL = {
    "CRCERRS": r.CRCERRS, "ILLERRC": r.ILLERRC, "ERRBC": r.ERRBC, "MSPDC": 0x04010, "MLFC": r.MLFC, "MRFC": r.MRFC,
    "RLEC": r.RLEC, "LXONTXC": r.LXONTXC, "LXONRXCNT": r.LXONRXCNT, "LXOFFTXC": r.LXOFFTXC,
    "LXOFFRXCNT": r.LXOFFRXCNT, "RFC": r.RFC, "RJC": r.RJC, "MNGPRC": 0x040B4, "MNGPDC": 0x040B8, "MNGPTC": 0x0CF90,
    "XEC": r.XEC, "SSVPC": r.SSVPC, "LXONRXC": 0x0CF60, "LXOFFRXC": 0x0CF68, "FCCRC": 0x05118, "FCOERPDC": 0x0241C,
    "FCLAST": 0x02424, "FCOEPRC": 0x02428, "FCOEDWRC": 0x0242C, "FCOEPTC": 0x08784, "FCOEDWTC": 0x08788,
    "LDPCECL": 0x0E820, "O2BGPTC": 0x041C4, "O2BSPC": 0x087B0, "B2OSPC": 0x041C0, "B2OGPRC": 0x02F90,
}  # fmt: skip
_STILL_ARRAYS = {
    "PXONTXC": 0x03F00, "PXOFFTXC": 0x03F20, "PXONRXCNT": 0x04140, "PXOFFRXCNT": 0x04160, "PXON2OFFCNT": 0x03240,
    "RNBC": 0x03FC0, "PXONRXC": 0x0CF00, "PXOFFRXC": 0x0CF20,
}  # fmt: skip


class Stats:
    """The counters, as numbers without an end; the registers show and clear them."""

    def __init__(self, regs: RegisterFile) -> None:
        self._regs = regs
        self._latched: dict[str, int] = {}
        self.clear()
        for name, offset in (
            ("gprc", r.GPRC), ("bprc", r.BPRC), ("mprc", r.MPRC), ("gptc", r.GPTC), ("ruc", r.RUC), ("roc", r.ROC),
            ("tpr", r.TPR), ("tpt", r.TPT), ("mptc", r.MPTC), ("bptc", r.BPTC), ("rxdgpc", r.RXDGPC),
            ("txdgpc", r.TXDGPC),
        ):  # fmt: skip
            regs.on_read(offset, partial(self._take, name), name.upper())
        for name, low, high in (
            ("gorc", r.GORCL, r.GORCH), ("gotc", r.GOTCL, r.GOTCH), ("tor", r.TORL, r.TORH),
            ("rxdgbc", r.RXDGBCL, r.RXDGBCH), ("txdgbc", r.TXDGBCL, r.TXDGBCH),
        ):  # fmt: skip
            regs.on_read(low, partial(self._take_low, name), name.upper() + "L")
            regs.on_read(high, partial(self._take_high, name), name.upper() + "H")
        for name, offset, count, stride in (
            ("prc", r.PRC64, 6, 4), ("ptc", r.PTC64, 6, 4), ("mpc", r.MPC, 8, 4),
            ("qprc", r.QPRC, _QUEUE_COUNTERS, 0x40), ("qprdc", r.QPRDC, _QUEUE_COUNTERS, 0x40),
            ("qptc", r.QPTC, _QUEUE_COUNTERS, 4),
        ):  # fmt: skip
            for number in range(count):
                hook = partial(self._take_item, name, number)
                regs.on_read(offset + stride * number, hook, f"{name.upper()}[{number}]")
        for number in range(_QUEUE_COUNTERS):
            regs.on_read(r.QPTC_LOW + 0x40 * number, partial(self._take_item, "qptc", number), f"QPTC[{number}]")
            for name, low, high, stride in (("qbrc", r.QBRC_L, r.QBRC_H, 0x40), ("qbtc", r.QBTC_L, r.QBTC_H, 8)):
                regs.on_read(low + stride * number, partial(self._take_item_low, name, number), f"{name.upper()}_L")
                regs.on_read(high + stride * number, partial(self._take_high, f"{name}{number}"), f"{name.upper()}_H")
        for name, offset in _STILL.items():
            regs.on_read(offset, _zero, name)
        for name, offset in _STILL_ARRAYS.items():
            for number in range(r.TRAFFIC_CLASSES):
                regs.on_read(offset + 4 * number, _zero, f"{name}[{number}]")

    def clear(self) -> None:
        """All to zero, as a reset does."""
        self.gprc = self.bprc = self.mprc = self.gptc = self.ruc = self.roc = self.tpr = self.tpt = 0
        self.mptc = self.bptc = self.rxdgpc = self.txdgpc = 0
        self.gorc = self.gotc = self.tor = self.rxdgbc = self.txdgbc = 0
        self.prc, self.ptc, self.mpc = [0] * 6, [0] * 6, [0] * 8
        self.qprc, self.qprdc, self.qptc = [0] * 16, [0] * 16, [0] * 16
        self.qbrc, self.qbtc = [0] * 16, [0] * 16
        self._latched.clear()

    # Registers.

    def _take(self, name: str) -> int:
        value: int = getattr(self, name)
        setattr(self, name, 0)
        # A counter sticks at its maximum instead of wrapping.
        return min(value, _LOW32)

    def _take_low(self, name: str) -> int:
        value: int = getattr(self, name)
        setattr(self, name, 0)
        self._latched[name] = value >> 32
        return value & _LOW32

    def _take_high(self, name: str) -> int:
        return self._latched.pop(name, 0)

    def _take_item(self, name: str, number: int) -> int:
        counters: list[int] = getattr(self, name)
        value = counters[number]
        counters[number] = 0
        return min(value, _LOW32)

    def _take_item_low(self, name: str, number: int) -> int:
        counters: list[int] = getattr(self, name)
        value = counters[number]
        counters[number] = 0
        self._latched[f"{name}{number}"] = value >> 32
        return value & _LOW32

    # What the data path reports. Lengths without the frame check sequence.

    def arrived(self, length: int, segments: int = 1) -> None:
        """A frame came from the wire; or so many segments that the backend did not cut."""
        self.tpr += segments
        self.tor += length + FCS_BYTES * segments

    def received(self, length: int, first_octet: int, is_broadcast: bool, segments: int = 1) -> None:
        """A frame passed the filters."""
        wire = length + FCS_BYTES * segments
        self.gprc += segments
        self.gorc += wire
        self.prc[_size_class(wire // segments)] += segments
        if is_broadcast:
            self.bprc += segments
        elif first_octet & 1:
            self.mprc += segments

    def stored(self, queue: int, length: int) -> None:
        """A frame is in host memory."""
        self.rxdgpc += 1
        self.rxdgbc += length
        index = self._regs.store[(r.RQSMR >> 2) + (queue >> 2)] >> 8 * (queue & 3) & 0xF
        self.qprc[index] += 1
        self.qbrc[index] += length

    def dropped(self, queue: int) -> None:
        """No descriptor, and the queue is set to drop."""
        self.qprdc[self._regs.store[(r.RQSMR >> 2) + (queue >> 2)] >> 8 * (queue & 3) & 0xF] += 1

    def missed(self, segments: int = 1) -> None:
        """No descriptor, and the packet buffer is full. There is one traffic class."""
        self.mpc[0] += segments

    def sent(self, queue: int, length: int, first_octet: int, is_broadcast: bool, segments: int = 1) -> None:
        """A frame went out; or a large one that goes as so many segments."""
        wire = length + FCS_BYTES * segments
        self.gptc += segments
        self.tpt += segments
        self.gotc += wire
        self.ptc[_size_class(wire // segments)] += segments
        self.txdgpc += segments
        self.txdgbc += length
        if is_broadcast:
            self.bptc += segments
        elif first_octet & 1:
            self.mptc += segments
        index = self._regs.store[(r.TQSM >> 2) + (queue >> 2)] >> 8 * (queue & 3) & 0xF
        self.qptc[index] += segments
        self.qbtc[index] += length


def _zero() -> int:
    return 0


def _size_class(wire: int) -> int:
    for index, end in enumerate(_SIZES):
        if wire <= end:
            return index
    return 5
