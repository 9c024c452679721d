# SPDX-License-Identifier: MIT
"""A virtio-net device model (virtio 1.2) for the fake machine: the driver's other side, written from the same text.

It asserts what a driver must not do: queues outside DMA memory, a buffer given twice, a doorbell before DRIVER_OK,
features that were not offered. With `DeviceMemory` writes it can also be made to misbehave (tests/driver).
"""

import struct

from tests.fakes.machine import PciFunction

COMMON, NOTIFY, ISR, DEVICE = 1, 2, 3, 4
CSUM, GUEST_CSUM, MTU, MAC = 1 << 0, 1 << 1, 1 << 3, 1 << 5
GUEST_TSO4, GUEST_TSO6, HOST_TSO4, HOST_TSO6 = 1 << 7, 1 << 8, 1 << 11, 1 << 12
MRG_RXBUF, STATUS, VERSION_1 = 1 << 15, 1 << 16, 1 << 32
EVERYTHING = (
    CSUM | GUEST_CSUM | MTU | MAC | GUEST_TSO4 | GUEST_TSO6 | HOST_TSO4 | HOST_TSO6 | MRG_RXBUF | STATUS | VERSION_1
)
HEADER = struct.Struct("<BBHHHHH")  # struct virtio_net_hdr
NO_VECTOR = 0xFFFF


def _capability(kind, bar, offset, length, extra=b""):
    return struct.pack("<BBB3xII", 16 + len(extra), kind, bar, offset, length) + extra


class BufferGivenTwiceError(AssertionError):
    """The driver made a buffer available that the device still has."""


class Queue:
    def __init__(self, index, maximum):
        self.index = index
        self.maximum = maximum
        self.reset()

    def reset(self):
        self.size = self.maximum
        self.enable = 0
        self.vector = NO_VECTOR
        self.desc = self.driver = self.device = 0
        self.last_avail = 0
        self.used_index = 0
        self.held = set()  # heads that the device has taken off the available ring and not returned


class VirtioNetModel(PciFunction):
    """features: what it offers. automatic: frames sent are taken at the doorbell; else when take_sent() is called."""

    def __init__(
        self,
        features=EVERYTHING,
        queue_size=256,
        mac=b"\x52\x54\x00\x12\x34\x56",
        mtu=1500,
        has_msix=True,
        automatic=True,
        device_id=0x1041,
        notify_multiplier=4,
    ):
        super().__init__(
            0x1AF4,
            device_id,
            bars={1: (4096, 0), 4: (16384, 12)},
            msix=(3, 1, 0) if has_msix else None,
            vendor_capabilities=(
                _capability(DEVICE, 4, 0x2000, 0x1000),
                _capability(NOTIFY, 4, 0x3000, 0x1000, struct.pack("<I", notify_multiplier)),
                _capability(ISR, 4, 0x1000, 0x1000),
                _capability(COMMON, 4, 0x0000, 0x1000),
            ),
        )
        self.notify_multiplier = notify_multiplier
        self.config[0x3C] = 11
        self.offered = features
        self.config_space = bytearray(mac + struct.pack("<HHH", 1, 1, mtu))
        self.queues = [Queue(0, queue_size), Queue(1, queue_size)]
        self.automatic = automatic
        self.sent = []  # (flags, gso_type, hdr_len, gso_size, csum_start, csum_offset), frame
        self.doorbells = [0, 0]
        self.interrupts = 0
        self.suppress_notify = False
        self.stuck_reset = False
        self.refuse_features = False
        self.resets = 0
        self._registers_reset()

    def _registers_reset(self):
        self.status = 0
        self.accepted = 0
        self.device_select = self.driver_select = self.queue_select = 0
        self.config_vector = NO_VECTOR
        self.generation = 0
        self.isr = 0
        self.rx_backlog = []
        for queue in self.queues:
            queue.reset()

    @property
    def is_live(self):
        return bool(self.status & 4) and self.is_master

    # --- registers ---

    def mmio_read(self, index, offset, size):
        assert index == 4
        if offset < 0x1000:
            return self._common_read(offset, size)
        if offset < 0x2000:
            value, self.isr = self.isr, 0
            return value
        if offset < 0x3000:
            start = offset - 0x2000
            return int.from_bytes(self.config_space[start : start + size], "little")
        return 0

    def _common_read(self, offset, size):
        queue = self.queues[self.queue_select] if self.queue_select < 2 else None
        values = {
            0x00: (4, self.device_select),
            0x04: (4, self.offered >> 32 * self.device_select & 0xFFFFFFFF if self.device_select < 2 else 0),
            0x08: (4, self.driver_select),
            0x0C: (4, self.accepted >> 32 * self.driver_select & 0xFFFFFFFF if self.driver_select < 2 else 0),
            0x10: (2, self.config_vector),
            0x12: (2, 2),
            0x14: (1, self.status),
            0x15: (1, self.generation),
            0x16: (2, self.queue_select),
            0x18: (2, queue.size if queue else 0),
            0x1A: (2, queue.vector if queue else NO_VECTOR),
            0x1C: (2, queue.enable if queue else 0),
            0x1E: (2, queue.index if queue else 0),
        }
        # 4.1.3.1: the driver uses accesses of the field's own width.
        width, value = values[offset]
        assert width == size, f"register {offset:#x} read with {size} octets"
        return value

    def mmio_write(self, index, offset, size, value):
        assert index == 4
        if offset < 0x1000:
            self._common_write(offset, size, value)
        elif offset >= 0x3000:
            assert size == 2
            number = (offset - 0x3000) // self.notify_multiplier if self.notify_multiplier else value
            assert number == value, "doorbell of another queue"
            self._doorbell(value)
        else:
            raise AssertionError(f"write to {offset:#x}")

    def _common_write(self, offset, size, value):
        queue = self.queues[self.queue_select] if self.queue_select < 2 else None
        if offset == 0x14:
            assert size == 1
            self._write_status(value)
        elif offset == 0x00:
            self.device_select = value
        elif offset == 0x08:
            self.driver_select = value
        elif offset == 0x0C:
            assert self.status & 8 == 0, "features written after FEATURES_OK"
            shift = 32 * self.driver_select
            self.accepted = self.accepted & ~(0xFFFFFFFF << shift) | value << shift
        elif offset == 0x10:
            self.config_vector = value if self.msix and value < self.msix[0] else NO_VECTOR
        elif offset == 0x16:
            self.queue_select = value
        elif offset == 0x18:
            assert value
            assert value & value - 1 == 0, "queue size no power of two"
            assert value <= queue.maximum
            queue.size = value
        elif offset == 0x1A:
            queue.vector = value if self.msix and value < self.msix[0] else NO_VECTOR
        elif offset == 0x1C:
            assert value == 1
            assert queue.desc % 16 == 0
            assert queue.driver % 2 == 0
            assert queue.device % 4 == 0
            queue.enable = 1
        elif 0x20 <= offset < 0x38:
            assert size == 4
            name = ("desc", "driver", "device")[offset - 0x20 >> 3]
            shift = 32 * (offset >> 2 & 1)
            setattr(queue, name, getattr(queue, name) & ~(0xFFFFFFFF << shift) | value << shift)
        else:
            raise AssertionError(f"write to the read-only register {offset:#x}")

    def _write_status(self, value):
        if value == 0:
            self.resets += 1
            if not self.stuck_reset:
                self._registers_reset()
            return
        assert value & self.status & 0x0F == self.status & 0x0F, "a status bit was cleared"
        if value & 8 and not self.status & 8:
            assert self.accepted & ~self.offered == 0, "features that were not offered"
            for bits, needed in ((GUEST_TSO4 | GUEST_TSO6, GUEST_CSUM), (HOST_TSO4 | HOST_TSO6, CSUM)):
                assert not self.accepted & bits or self.accepted & needed
            if self.refuse_features:
                value &= ~8
        self.status = value

    # --- rings ---

    def _doorbell(self, number):
        assert self.is_live, "doorbell before DRIVER_OK"
        self.doorbells[number] += 1
        if number == 1 and self.automatic:
            self.take_sent()
        if number == 0:
            self._drain_backlog()

    def _u16(self, phys_addr):
        return int.from_bytes(self.dma_read(phys_addr, 2), "little")

    def _available(self, queue):
        return (self._u16(queue.driver + 2) - queue.last_avail) % 65536

    def _next_chain(self, queue):
        """The next available chain: (head, [(phys_addr, length, is_writable)])."""
        head = self._u16(queue.driver + 4 + 2 * (queue.last_avail % queue.size))
        queue.last_avail = (queue.last_avail + 1) % 65536
        assert head < queue.size
        if head in queue.held:
            raise BufferGivenTwiceError(head)
        queue.held.add(head)
        parts = []
        slot = head
        while True:
            phys_addr, length, flags, following = struct.unpack("<QIHH", self.dma_read(queue.desc + 16 * slot, 16))
            self.dma_read(phys_addr, length)  # asserts that all of it is DMA memory
            parts.append((phys_addr, length, bool(flags & 2)))
            assert len(parts) <= queue.size
            if not flags & 1:
                return head, parts
            slot = following

    def push_used(self, queue, head, length):
        queue.held.discard(head)
        self.dma_write(queue.device + 4 + 8 * (queue.used_index % queue.size), struct.pack("<II", head, length))
        queue.used_index = (queue.used_index + 1) % 65536

    def publish(self, queue):
        """The used index becomes visible, and the interrupt with it unless the driver polls."""
        self.dma_write(queue.device + 2, struct.pack("<H", queue.used_index))
        if not self._u16(queue.driver) & 1:
            self.raise_interrupt(queue.vector, 1)

    def raise_interrupt(self, vector, cause):
        self.interrupts += 1
        self.isr |= cause
        if self.has_msix_enabled:
            if vector != NO_VECTOR:
                self.interrupt(vector)
        elif not self.command & 0x400:
            for source in range(1, 32):
                if source not in self.machine.world.legacy_masked and self.machine.world.sources >= source:
                    self.machine.world.fire(source)
                    self.machine.world.legacy_masked.add(source)

    def set_notify_flag(self, queue, is_suppressed):
        self.dma_write(queue.device, struct.pack("<H", 1 if is_suppressed else 0))

    def take_sent(self, limit=1 << 30, complete=True):
        """Takes frames that the driver sent; complete: returns their buffers at once."""
        queue = self.queues[1]
        taken = []
        while self._available(queue) and len(taken) < limit:
            head, parts = self._next_chain(queue)
            assert not any(is_writable for _, _, is_writable in parts)
            data = b"".join(self.dma_read(phys_addr, length) for phys_addr, length, _ in parts)
            fields = HEADER.unpack(data[:10] + b"\0\0")
            self.sent.append((fields[:6], data[12:]))
            assert data[10:12] == b"\0\0"
            taken.append(head)
            if complete:
                self.push_used(queue, head, 0)
        if taken and complete:
            self.publish(queue)
        return taken

    def receive(self, frame, *header):
        """A frame from the network; header: what its header says, as far as it says anything (`HEADER`'s fields).

        False when it has to wait for buffers.
        """
        self.rx_backlog.append((frame, (*header, 0, 0, 0, 0, 0, 0)[:6]))
        return self._drain_backlog()

    def _drain_backlog(self):
        queue = self.queues[0]
        while self.rx_backlog:
            if not self._put_frame(queue, *self.rx_backlog[0]):
                return False
            del self.rx_backlog[0]
        return True

    def _put_frame(self, queue, frame, header):
        saved = queue.last_avail
        chains = []
        room = 0
        need = len(frame) + 12
        while room < need and self._available(queue):
            head, parts = self._next_chain(queue)
            assert all(is_writable for _, _, is_writable in parts)
            chains.append((head, parts))
            room += sum(length for _, length, _ in parts)
            if not self.accepted & MRG_RXBUF:
                break
        if room < need:
            for head, _ in chains:
                queue.held.discard(head)
            queue.last_avail = saved
            return False
        data = HEADER.pack(*header, len(chains)) + frame
        for head, parts in chains:
            used = 0
            for phys_addr, length, _ in parts:
                self.dma_write(phys_addr, data[:length])
                used += len(data[:length])
                data = data[length:]
            self.push_used(queue, head, used)
        self.publish(queue)
        return True

    # --- the device's own state ---

    def change_config(self, offset, data):
        self.config_space[offset : offset + len(data)] = data
        self.generation = (self.generation + 1) % 256
        if self.is_live:
            self.raise_interrupt(self.config_vector, 2)

    def ask_for_reset(self):
        self.status |= 64
        self.raise_interrupt(self.config_vector, 2)
