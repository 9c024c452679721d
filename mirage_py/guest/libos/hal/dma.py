# SPDX-License-Identifier: MIT
"""Memory that devices may read and write: outside the collected heap, with known physical addresses.

`Dma` hands out pieces of the platform's one region and never takes them back: a driver asks for what it needs when it
starts. `FramePool` cuts a piece into equal buffers; a `Frame` is one of them, and belongs to exactly one party at a
time: the pool, the driver, the device, or the protocol that took it.
"""

import _mirage

# The per-frame functions below are looked up once: a global is half the price of a module attribute.
_checksum = _mirage.checksum
_copy = _mirage.copy
_take = _mirage.take

CSUM_VALID = 1  # received: the device verified the transport checksum, or the sender is local and left it partial
CSUM_PARTIAL = 2  # to send: the device fills in the transport checksum; received, with CSUM_VALID: left partial
GSO_NONE = 0
GSO_TCPV4 = 1
GSO_TCPV6 = 4

# Frame.owner: who may touch it.
OWNER_HOLDER = 0  # whoever took it from rx_batch() or alloc()
OWNER_POOL = 1
OWNER_DEVICE = 2

_KEPT_BYTES = 1024


class Frame:
    """One buffer holding an Ethernet frame, or a part of one.

    buf: memoryview 'B' of the whole buffer; phys_addr: physical address of buf[0]; size: len(buf).
    start: offset of the first octet of the Ethernet header; length: valid octets from there.
    next: the continuation of a received frame in another buffer, or None. The first fragment holds at least the first
        128 octets, or all of them.
    flags: CSUM_VALID on a received frame (with CSUM_PARTIAL as well where a local sender left the checksum partial);
        CSUM_PARTIAL on one to send.
    csum_start, csum_offset: with CSUM_PARTIAL, relative to start: the checksum of csum_start to the end goes to
        csum_start + csum_offset, which holds the folded pseudo-header sum (not inverted).
    gso_size: TCP payload octets per segment, 0 for none; gso_type: GSO_TCPV4 or GSO_TCPV6; hdr_len: octets of the
        Ethernet, IP and TCP headers.
    index: the buffer's number in its pool. owner: one of the OWNER_ numbers.
    slot, note: the driver's own: the ring descriptor that stands for the buffer, what its headroom holds.
    """

    def __init__(self, pool, index, buf, phys_addr):
        self.pool = pool
        self.index = index
        self.buf = buf
        self.phys_addr = phys_addr
        self.size = len(buf)
        self.start = 0
        self.length = 0
        self.next = None
        self.flags = 0
        self.csum_start = 0
        self.csum_offset = 0
        self.gso_size = 0
        self.gso_type = 0
        self.hdr_len = 0
        self.owner = OWNER_POOL
        self.slot = index
        self.note = 0

    def total(self):
        """Octets over the whole chain."""
        total = self.length
        frame = self.next
        while frame is not None:
            total += frame.length
            frame = frame.next
        return total

    def checksum(self, start, length, initial):
        """The one's-complement sum (folded, not inverted) of `length` octets from `start`, plus `initial`.

        Raises ValueError when the range is not inside the frame.
        """
        if start + length > self.length:
            return self._checksum_chain(start, length, initial)
        if start < 0:
            raise ValueError("out of bounds")
        return _checksum(self.buf, self.start + start, length, initial)

    def _checksum_chain(self, start, length, initial):
        if start < 0 or length < 0 or start + length > self.total():
            raise ValueError("out of bounds")
        frame = self
        total = initial
        is_odd = False  # octets summed so far are odd: the next fragment's words straddle, so its sum comes swapped
        while length > 0:
            if start < frame.length:
                count = min(length, frame.length - start)
                part = _checksum(frame.buf, frame.start + start, count, 0)
                if is_odd:
                    part = (part & 0xFF) << 8 | part >> 8
                total += part
                if count & 1:
                    is_odd = not is_odd
                length -= count
                start = 0
            else:
                start -= frame.length
            frame = frame.next
        while total >> 16:
            total = (total & 0xFFFF) + (total >> 16)
        return total

    def take(self, start, length):
        """`length` octets from `start` as a bytes object of its own. ValueError when they are not inside the frame."""
        if start + length <= self.length:
            if start < 0:
                raise ValueError("out of bounds")
            return _take(self.buf, self.start + start, length)
        if start < 0 or length < 0 or start + length > self.total():
            raise ValueError("out of bounds")
        parts = []
        frame = self
        while length > 0:
            if start < frame.length:
                count = min(length, frame.length - start)
                parts.append(_take(frame.buf, frame.start + start, count))
                length -= count
                start = 0
            else:
                start -= frame.length
            frame = frame.next
        return b"".join(parts)

    def put(self, start, data, data_start, length):
        """Copies data[data_start : data_start + length] to `start` octets into the frame. `length` stays as it is.

        Raises ValueError when that is beyond the buffer or the data.
        """
        if start < 0:
            raise ValueError("out of bounds")
        _copy(self.buf, self.start + start, data, data_start, length)

    def release(self):
        """Returns every buffer of the chain to its pool. ValueError when one of them is not the caller's."""
        frame = self
        while True:
            if frame.owner:
                raise ValueError("frame released by who does not own it")
            frame.owner = 1  # OWNER_POOL, without a look into the module's names
            frame.pool.frames.append(frame)
            following = frame.next
            if following is None:
                return
            frame.next = None
            frame = following


class FramePool:
    """`count` buffers of `buffer_bytes` each out of `dma`; a frame starts `headroom` octets into its buffer."""

    def __init__(self, dma, buffer_bytes, count, headroom):
        if not 0 <= headroom < buffer_bytes or count < 1:
            raise ValueError("frame pool: bad sizes")
        memory, phys_addr = dma.alloc(buffer_bytes * count, 64)
        self.memory = memory
        self.buffer_bytes = buffer_bytes
        self.count = count
        self.headroom = headroom
        self.empty = 0  # how often alloc() found nothing
        self.all = []  # by index
        self.frames = []  # the free ones, last released first: still in the cache
        for index in range(count):
            start = index * buffer_bytes
            frame = Frame(self, index, memory[start : start + buffer_bytes], phys_addr + start)
            self.all.append(frame)
        for index in range(count - 1, -1, -1):
            self.frames.append(self.all[index])

    def alloc(self):
        """A frame with start at the headroom and length 0, or None when all are in use."""
        frames = self.frames
        if not frames:
            self.empty += 1
            return None
        frame = frames.pop()
        frame.owner = OWNER_HOLDER
        frame.start = self.headroom
        frame.length = 0
        frame.flags = 0
        frame.gso_size = 0
        return frame

    def words(self, typecode):
        """All buffers of the pool, one after the other, as a view of 'H', 'I' or 'Q' words."""
        return _mirage.view(self.memory, 0, len(self.memory), typecode)

    @property
    def free(self):
        """Buffers that nobody holds."""
        return len(self.frames)


class Dma:
    """The platform's DMA region, handed out piece by piece from its start.

    users: how many drivers share it; each sizes its rings and buffers to `share_bytes`. A little is kept for those who
    want next to nothing, such as virtio-rng, and are not counted.
    """

    def __init__(self, users=1):
        self._memory, self._phys_addr = _mirage.dma_region()
        self.size_bytes = len(self._memory)
        self.share_bytes = (self.size_bytes - _KEPT_BYTES) // users
        self.used_bytes = 0

    def region(self):
        """(memoryview 'B', physical address) of the whole region."""
        return (self._memory, self._phys_addr)

    @property
    def free_bytes(self):
        return self.size_bytes - self.used_bytes

    def alloc(self, len_bytes, align=16):
        """A zeroed piece of `len_bytes`, its physical address a multiple of `align` (a power of two).

        Returns (memoryview 'B', physical address). Raises MemoryError when the region is used up.
        """
        if len_bytes <= 0 or align < 1 or align & (align - 1):
            raise ValueError("dma: bad size or alignment")
        phys_addr = (self._phys_addr + self.used_bytes + align - 1) & ~(align - 1)
        start = phys_addr - self._phys_addr
        if start + len_bytes > self.size_bytes:
            raise MemoryError("DMA memory: %d octets wanted, %d left" % (len_bytes, self.free_bytes))
        self.used_bytes = start + len_bytes
        return (self._memory[start : start + len_bytes], phys_addr)
