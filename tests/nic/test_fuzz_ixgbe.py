# SPDX-License-Identifier: MIT
"""Random register traffic, descriptors and frames against the model.

After each step: no exception has come out of the model, what it reads from a register is a word, and every access to
memory that it was granted lay inside of the memory that it was given. At the end: the octets beside that memory are
untouched, accesses outside were tried and refused, and frames have gone both ways, so the data path was reached.

A failure names its seed and step: `Fuzzer(SEED).run(STEPS)` does the same again.
"""

import logging
import os
import random
import struct
from collections.abc import Iterator
from typing import Protocol

import pytest

from mirage_py.nic.backends.pair import pair
from mirage_py.nic.faults import SWITCHES
from mirage_py.nic.frame import Frame
from mirage_py.nic.ixgbe import registers as r
from mirage_py.nic.ixgbe.device import Ixgbe82599
from mirage_py.nic.ixgbe.memory import MemoryDma
from mirage_py.nic.ixgbe.timers import VirtualTimers
from tests.nic.host import MAC, Sink

STEPS = int(os.environ.get("MIRAGE_PY_FUZZ_STEPS", "15000"))
NIGHTLY_STEPS = 1_000_000
BASE = 0x10_0000
MEMORY = 1 << 18
GUARD = 4096

QUEUE_REGISTERS = [
    (r.RDBAL, 64), (r.RDBAH, 64), (r.RDLEN, 64), (r.RDT, 64), (r.SRRCTL, 64), (r.RXDCTL, 64), (r.RSCCTL, 64),
    (r.TDBAL, 128), (r.TDBAH, 128), (r.TDLEN, 128), (r.TDH, 128), (r.TDT, 128), (r.TXDCTL, 128), (r.TDWBAL, 128),
    (r.TDWBAH, 128),
]  # fmt: skip
SINGLE = [
    r.CTRL, r.CTRL_EXT, r.ESDP, r.I2CCTL, r.TCPTIMER, r.EEC, r.EERD, r.SWSM, r.SW_FW_SYNC, r.EICR, r.EICS, r.EIAC,
    r.EIMS, r.EIMC, r.EIAM, r.GPIE, r.IVAR, r.IVAR_MISC, r.EITR, r.EIMS_EX, r.EICS_EX, r.EIMC_EX, r.EIAM_EX, r.RDRXCTL,
    r.RXCTRL, r.RFCTL, r.FCTRL, r.VLNCTRL, r.MCSTCTRL, r.MRQC, r.RETA, r.RSSRK, r.SYNQF, r.ETQF, r.ETQS, r.FTQF,
    r.L34TIMIR, r.DMATXCTL, r.DTXTCPFLGL, r.HLREG0, r.MAXFRS, r.AUTOC, r.AUTOC2, r.MSCA, r.RQSMR, r.TQSM, r.GPRC,
    r.GORCL, r.GORCH, r.QBRC_L, r.QBTC_H, r.LINKS, r.STATUS,
]  # fmt: skip


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


class Words(Protocol):
    """The registers, as words: the model's own, or those behind a server."""

    def __getitem__(self, index: int) -> int: ...

    def __setitem__(self, index: int, value: int) -> None: ...


class Audited(MemoryDma):
    """Memory that looks at what it grants. refused: accesses outside, each of which the model has to bear."""

    def __init__(self, memory: memoryview) -> None:
        super().__init__(memory, BASE)
        self.refused = 0

    def view(self, address: int, length: int, write: bool = False) -> memoryview | None:
        granted = super().view(address, length, write)
        if granted is None:
            self.refused += 1
        else:
            assert BASE <= address <= address + length <= BASE + MEMORY
            assert len(granted) == length
        return granted


class Fuzzer:
    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.rng = random.Random(seed)
        self.sent = self.stored = 0
        # Guards around the memory show a write beside it.
        self.whole = bytearray(b"\xa5" * (MEMORY + 2 * GUARD))
        self.memory = memoryview(self.whole)[GUARD : GUARD + MEMORY]
        self.sink = Sink(self.rng.choice(("msix", "msi", "intx", "none")))
        self.timers = VirtualTimers()
        self.wire, self.far = pair(self.rng.random() < 0.5)
        self.dma = Audited(self.memory)
        self.nic = Ixgbe82599(MAC, self.dma, self.sink, self.wire, self.timers)
        self.regs: Words = self.nic.regs

    def value(self, offset: int) -> int:
        rng = self.rng
        kind = rng.randrange(6)
        if offset & ~0x1FC0 in (r.RDBAL & 0xE03F, r.TDBAL & 0xE03F) and kind < 5:
            return BASE + 128 * rng.randrange(MEMORY // 128)
        if kind == 0:
            return 0
        if kind == 1:
            return 1 << rng.randrange(32)
        if kind == 2:
            return rng.randrange(64)
        if kind == 3:
            return 128 * rng.randrange(1, 9)
        if kind == 4:
            return 1 << 25 | 2
        return rng.getrandbits(32)

    def register(self) -> None:
        rng = self.rng
        kind = rng.randrange(10)
        if kind < 5:
            start, count = rng.choice(QUEUE_REGISTERS)
            offset = start + r.QUEUE_STRIDE * (0 if rng.random() < 0.8 else rng.randrange(count))
        elif kind < 9:
            offset = rng.choice(SINGLE)
        else:
            offset = 4 * rng.randrange(r.BAR_BYTES // 4)
        if rng.random() < 0.3:
            value = self.regs[offset >> 2]
            assert 0 <= value <= 0xFFFF_FFFF
        else:
            self.regs[offset >> 2] = self.value(offset)

    def sensible(self) -> None:
        """Sets both queues up as a driver would, so that the data path is reached; what follows breaks it again."""
        nic, rng, regs = self.nic, self.rng, self.regs
        if rng.random() < 0.7:
            for name in list(nic.faults.values):
                nic.faults.set(name, 0)
        rx_ring, tx_ring = BASE + 0x1000 * rng.randrange(4), BASE + 0x1000 * rng.randrange(4, 8)
        for register, value in (
            (r.CTRL, 0), (r.RDBAL, rx_ring), (r.RDBAH, 0), (r.RDLEN, 512), (r.TDBAL, tx_ring), (r.TDBAH, 0),
            (r.TDLEN, 512), (r.TDWBAL, 0), (r.SRRCTL, rng.choice((1, 2, 4)) | rng.choice((0, 1 << 25))),
            (r.RSCCTL, rng.choice((0, 0xD))), (r.RXDCTL, 0), (r.TXDCTL, 0), (r.TDH, 0), (r.TDT, 0),
            (r.RXDCTL, 1 << 25), (r.TXDCTL, 1 << 25), (r.DMATXCTL, 1), (r.FCTRL, 0x700), (r.RXCTRL, 1),
            (r.MRQC, rng.choice((0, 0x330001))), (r.ESDP, 0), (r.AUTOC2, 0),
        ):  # fmt: skip
            regs[register >> 2] = value
        for index in range(32):
            buffer = BASE + 0x10000 + 4096 * index
            self._put(rx_ring + 16 * index, buffer, 0)
            self._descriptor(tx_ring + 16 * index, buffer)
        regs[r.RDT >> 2] = rng.randrange(32)
        regs[r.TDT >> 2] = rng.randrange(32)

    def _put(self, address: int, low: int, high: int) -> None:
        self.memory[address - BASE : address - BASE + 16] = struct.pack(
            "<QQ", low & (1 << 64) - 1, high & (1 << 64) - 1
        )

    def _descriptor(self, where: int, buffer: int) -> None:
        """A transmit descriptor that nearly makes sense: data, a context, a legacy one."""
        rng = self.rng
        kind = rng.randrange(5)
        if kind == 0:
            ip_len, mac_len = rng.choice((20, 40, rng.randrange(512))), rng.choice((14, 18, rng.randrange(128)))
            tucmd = rng.choice((1 << 10, 0)) | rng.randrange(4) << 11
            high = tucmd | 2 << 20 | 1 << 29 | rng.randrange(2) << 36 | rng.choice((20, 8, rng.randrange(256))) << 40
            self._put(where, ip_len | mac_len << 9 | rng.getrandbits(16) << 16, high | rng.choice((0, 500, 1460)) << 48)
            return
        command = rng.choice((1 << 24, 1 << 24 | 1 << 27, 0)) | rng.choice((0, 0, 1 << 30, 1 << 31))
        if kind == 1:
            command |= 1 << 26 | rng.randrange(256) << 16 | rng.randrange(256) << 40
        else:
            command |= 1 << 29 | 3 << 20 | rng.randrange(8) << 40 | rng.randrange(2) << 36
        self._put(where, buffer, command | rng.choice((0, 60, 1514, 4000, 0xFFFF)))
        if rng.random() < 0.5:
            self.memory[buffer - BASE + 12 : buffer - BASE + 16] = rng.choice((b"\x08\0\x45\0", b"\x86\xdd\x60\0"))

    def memory_write(self) -> None:
        """Descriptors, more or less."""
        rng = self.rng
        for _ in range(8):
            address = rng.choice((BASE + rng.randrange(MEMORY), rng.getrandbits(64), BASE + MEMORY - 8))
            low = rng.choice((address, rng.getrandbits(64)))
            high = rng.choice((64, 1514, 0xFFFF, rng.randrange(2048))) | rng.choice((2, 3, rng.randrange(16))) << 20
            high |= rng.getrandbits(8) << 24 | rng.getrandbits(32) << 32
            where = 16 * rng.randrange(0x8000 // 16)
            self.memory[where : where + 16] = struct.pack("<QQ", low & (1 << 64) - 1, high)

    def frames(self) -> None:
        rng = self.rng
        batch = []
        for _ in range(rng.randrange(1, 5)):
            data = bytearray(rng.randbytes(rng.choice((14, 60, 200, 1514, 1600, 9000))))
            data[12:14] = rng.choice((b"\x08\x00", b"\x86\xdd", b"\x81\x00", bytes(data[12:14])))
            if len(data) > 40 and rng.random() < 0.7:
                data[14] = rng.choice((0x45, 0x60, 0x46, data[14]))
                data[16:18] = struct.pack(">H", len(data) - 14)
                data[23] = data[20] = rng.choice((6, 17, 132, 0))
            frame = Frame([bytes(data)], len(data))
            if len(data) > 100 and rng.random() < 0.2:
                frame.csum_start, frame.csum_offset = rng.randrange(len(data)), rng.choice((6, 16))
            batch.append(frame)
        self.far.send(batch)

    def step(self) -> None:
        kind = self.rng.randrange(20)
        if kind < 12:
            self.register()
        elif kind < 14:
            self.memory_write()
        elif kind < 17:
            self.frames()
        elif kind == 17:
            self.timers.advance(self.rng.randrange(2_000_000))
        elif kind == 18 and self.rng.random() < 0.5:
            self.sensible()
        elif self.rng.random() < 0.2:
            self.nic.faults.set(self.rng.choice(sorted(SWITCHES)), self.rng.choice((0, 0, 0, 1, 3)))
        self.sent += len(self.far.receive(10_000))
        self.stored = max(self.stored, self.nic.stats.rxdgpc)

    def run(self, steps: int) -> None:
        for number in range(steps):
            try:
                self.step()
            except Exception as error:
                raise AssertionError(f"seed {self.seed}, step {number}: {error!r}") from error
        assert self.whole[:GUARD] == self.whole[GUARD + MEMORY :] == b"\xa5" * GUARD
        assert self.dma.refused > 10, "accesses outside were tried"
        assert self.stored > 10, "the data path was reached"
        assert self.sent > 10


@pytest.mark.parametrize("seed", range(4))
def test_random_traffic_never_raises_nor_leaves_its_memory(seed: int) -> None:
    Fuzzer(seed).run(STEPS)


@pytest.mark.nightly
def test_a_million_steps_of_random_traffic() -> None:
    for _ in range(10):
        Fuzzer(random.SystemRandom().randrange(1 << 32)).run(NIGHTLY_STEPS // 10)
