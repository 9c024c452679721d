# SPDX-License-Identifier: MIT
"""virtio-rng (virtio 1.2, section 5.4): random numbers where the processor has no instruction for them.

One buffer is always with the device, so that by the time numbers are drawn again the host has answered long ago.
"""

from micropython import const

from libos.hal.buffers import fence
from libos.hal.mmio import DeviceError, wait_value
from libos.hal.random import NO_SOURCE

from .virtio_pci import DESC_WRITE, NO_INTERRUPT, VENDOR, VirtioPci, Virtqueue

DEVICES = (0x1044, 0x1005)  # modern, transitional (4.1.2)

_BUFFER_BYTES = const(256)  # what hal.random draws at once
_RESET_US = const(1000000)
_ANSWER_US = const(2000000)


class VirtioRng:
    """The first such device of the machine. bus: hal.pci.PciBus, dma: hal.dma.Dma; neither is touched before fill()."""

    def __init__(self, bus, dma):
        self._bus = bus
        self._dma = dma
        self._transport = None

    def fill(self, buf):
        """Overwrites all of `buf`, a bytearray.

        Raises DeviceError when there is no such device, it has not answered for two seconds, or it answers with
        nothing, or with more than fits.
        """
        if self._transport is None:
            self._start()
        start = 0
        while start < len(buf):
            answer = self._take(len(buf) - start)
            buf[start : start + len(answer)] = answer
            start += len(answer)

    def _start(self):
        try:
            pci_device = self._bus.find(vendor=VENDOR, device=DEVICES)
        except DeviceError:
            raise DeviceError(NO_SOURCE)
        transport = VirtioPci(pci_device, "virtio-rng")
        transport.reset(_RESET_US)
        transport.accept_features(0)
        if not transport.queue_size(0):
            raise transport.failure("has no queue")
        self._queue = Virtqueue(self._dma, 0, 1)
        self._memory, phys_addr = self._dma.alloc(_BUFFER_BYTES)
        self._queue.set_descriptor(0, phys_addr, _BUFFER_BYTES, DESC_WRITE)
        self._queue.avail16[0] = NO_INTERRUPT
        transport.start_queue(self._queue)
        transport.start()
        self._transport = transport
        self._requests = 0
        self._ask()

    def _ask(self):
        self._requests = self._requests + 1 & 0xFFFF
        fence()
        self._queue.avail16[1] = self._requests
        fence()
        self._queue.doorbell[0] = 0

    def _take(self, limit):
        """Up to `limit` octets, at least one; the rest of what the device gave is lost."""
        transport = self._transport
        queue = self._queue
        what = "virtio-rng (%s): random numbers" % transport.pci_device.slot
        wait_value(queue.used16, 1, 0xFFFF, self._requests, _ANSWER_US, what)
        fence()
        # An answer may be short, of one octet at least (5.4.6.1).
        length = queue.used32[2]
        if queue.used32[1] or not 0 < length <= _BUFFER_BYTES:
            raise transport.failure("answers with %d octets, asked for %d" % (length, _BUFFER_BYTES))
        answer = bytes(self._memory[: min(length, limit)])
        # Nobody draws the same twice, whatever the device says next time.
        self._memory[:] = bytes(_BUFFER_BYTES)
        if len(answer) >= 16 and answer == bytes(len(answer)):
            raise transport.failure("wrote nothing")
        self._ask()
        return answer
