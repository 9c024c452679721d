# SPDX-License-Identifier: MIT
"""The ixgbe driver forwarding 64-byte frames, on rings in plain memory behind which a device is done at once.

    driver_forward BATCH BATCHES device|driver

The device's side (write-back of received descriptors, the packets' first words, the report of a sent batch) is done
here between two calls of the driver. `driver` runs both; `device` runs this side alone, over the same rings, so that
what it costs can be subtracted where instructions of the whole process are counted. With `driver`, the driver's own
time is taken by the clock, batch by batch, and printed: `batch_ns NUMBER ...`, sorted.
"""

import sys
from array import array

import _mirage

from libos.driver import ixgbe_regs as r
from libos.driver.ixgbe import Ixgbe
from libos.driver.ixgbe_rx import RxRing
from libos.driver.ixgbe_tx import TxRing
from libos.hal.dma import Dma, FramePool

FRAME_BYTES = 64
# DD and EOP; L4 checksum verified and good (datasheet 7.1.5.2).
STATUS = 3 | 1 << 5
DD = 1
NO_DRIVER = 2  # the driver's place in the ring, when it does not run
RING = 256  # the driver's own; what is received by more at a time gets larger ones
BUFFER_BYTES = 2048


class Registers:
    """Storage with the few answers that bring-up waits for."""

    def __init__(self):
        self.words = array("I", [0] * (r.BAR_BYTES >> 2))
        self.words[r.RAL >> 2] = 0x33221102
        self.words[r.RAH >> 2] = r.RAH_AV | 0x5544

    def __getitem__(self, index):
        value = self.words[index]
        if index == r.CTRL >> 2:
            return value & ~r.CTRL_RST
        if index == r.EEC >> 2:
            return value | r.EEC_ARD
        if index == r.RDRXCTL >> 2:
            return value | r.RDRXCTL_DMAIDONE
        if index == r.LINKS >> 2:
            return r.LINKS_UP | r.LINKS_SPEED_10G
        if index == r.STATUS >> 2:
            return 0
        return value

    def __setitem__(self, index, value):
        self.words[index] = value


class Card:
    """What the driver asks of hal.pci.PciDevice."""

    def __init__(self):
        self.registers = Registers()

    def enable(self):
        pass

    def map_bar(self, number, start, length, typecode):
        return self.registers

    def enable_msix(self, vectors):
        return vectors


class Device:
    """The other side of the rings: takes what the tails give away, and is done with it at once."""

    def __init__(self, driver, words):
        # From bring-up on, a register is a word in memory, as it is in a guest.
        for ring in driver._rings + [driver._tx]:
            ring._tail = words
        driver._regs = words
        self.rx = driver._rings[0]
        self.tx = driver._tx
        self.rx_index = 0

    def receive(self, count):
        """Writes `count` packets into the descriptors that are out."""
        rx = self.rx
        desc = rx._desc64
        words = rx._words
        slots = rx._slots
        mask = rx.size - 1
        index = self.rx_index
        for _ in range(count):
            words[slots[index].note] = 0x44332211
            desc[2 * index] = 0
            desc[2 * index + 1] = STATUS | FRAME_BYTES << 32
            index = index + 1 & mask
        self.rx_index = index

    def transmitted(self):
        """Reports the last batch."""
        tx = self.tx
        tx._desc32[4 * tx._reports[-1] + 3] |= DD


def forward(driver, device, batch, batches):
    """The sorted nanoseconds of each batch."""
    frames = [None] * batch
    times = array("Q", [0] * batches)
    now_ns = _mirage.monotonic_ns
    for turn in range(batches):
        device.receive(batch)
        start_ns = now_ns()
        count = driver.rx_batch(frames, batch)
        sent = driver.tx_batch(frames, count)
        times[turn] = now_ns() - start_ns
        if sent != batch:
            raise ValueError("forwarded %d of %d" % (sent, batch))
        device.transmitted()
    return sorted(times)


def device_alone(driver, device, batch, batches):
    """The same work but for the driver's, on descriptors that stay out."""
    times = array("Q", [0] * batches)
    now_ns = _mirage.monotonic_ns
    driver._tx._reports.append(NO_DRIVER)
    for turn in range(batches):
        device.rx_index = 0
        device.receive(batch)
        start_ns = now_ns()
        times[turn] = now_ns() - start_ns
        device.transmitted()


def main(batch, batches, what):
    card = Card()
    dma = Dma(users=2)
    driver = Ixgbe(card, dma, coalesce=False)
    if batch > RING // 4:
        size = 8 * batch
        ring = RxRing(dma, size, FramePool(dma, BUFFER_BYTES, size, 0), card.registers, r.RDT >> 2)
        ring.refill()
        driver._rings = [ring]
        driver._turns = [ring]
        driver._tx = TxRing(dma, size, card.registers, r.TDT >> 2)
    device = Device(driver, card.registers.words)
    if what == "device":
        device_alone(driver, device, batch, batches)
        return
    times = forward(driver, device, batch, batches)
    if driver.rx_packets != batch * batches or driver.tx_packets != batch * batches:
        raise ValueError("not every packet was forwarded")
    print("batch_ns", " ".join(str(value) for value in times))


arguments = _mirage.args()
try:
    main(int(arguments[0]), int(arguments[1]), arguments[2])
except ValueError as error:
    sys.exit("driver_forward: error: %s" % error)
