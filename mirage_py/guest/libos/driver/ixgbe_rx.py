# SPDX-License-Identifier: MIT
"""A receive ring of the 82599 (datasheet rev. 3.4, section 7.1): buffers out, packets in.

The hardware owns the descriptors from its head to the tail; the driver those from rx_index, which it looks at next, and
from refill_index, which it fills next. Done bits are polled in memory: a register is only written, once a batch.

What the device writes is checked against what it was given: a length beyond its buffer, a next descriptor outside what
is out, done without data, pieces that are not full. Such a packet is dropped and counted.
"""

from micropython import const

from libos.hal.buffers import fence, view
from libos.hal.mmio import DeviceError

# hal.dma's and ixgbe_regs', re-declared: const() does not cross modules (tests compare them).
_HOLDER = const(0)
_POOL = const(1)
_DEVICE = const(2)
_CSUM_VALID = const(1)
_DD = const(1)
_DONE = const(3)  # DD and EOP
_EOP = const(2)
_RXE = const(1 << 29)
_CHECK_MASK = const(7 << 29 | 1 << 5)  # RXE, L4E, IPE and L4I: of these, only the last says that all is well
_CHECKED = const(1 << 5)
_NEXTP_SHIFT = const(4)
_RSCCNT_MASK = const(0xF << 17)

_REFILL_BATCH = const(16)
_FIRST_FRAGMENT_MIN = const(128)  # the signature promises that headers lie in the first fragment
_FRAME_MAX = const(65550)  # Ethernet header and the largest IP packet
_PIECES_MAX = const(64)


class RxRing:
    """One ring of `size` descriptors (a power of two) with buffers from `pool`.

    tail: the ring's RDT as a view or mapping of words, and tail_index in it.
    rx_errors: what the device wrote that cannot be; rx_dropped: packets that the layers above could not use.
    """

    def __init__(self, dma, size, pool, tail, tail_index):
        memory, self.phys_addr = dma.alloc(16 * size, 128)
        self._desc32 = view(memory, 0, 16 * size, "I")
        self._desc64 = view(memory, 0, 16 * size, "Q")
        self.size = size
        self._mask = size - 1
        self._pool = pool
        self._buffer_bytes = pool.buffer_bytes
        # The first word of a buffer is cleared when it goes out: a packet that begins with four zeros did not come.
        self._words = pool.words("I")
        for frame in pool.all:
            frame.note = frame.index * (pool.buffer_bytes >> 2)
        self._slots = [None] * size
        self._tail = tail
        self._tail_index = tail_index
        self._open = {}  # where a packet goes on -> [first, last, octets, pieces], first None when it is to be dropped
        self.posted = 0
        self.rx_index = 0
        self.refill_index = 0
        self.rx_packets = 0
        self.rx_bytes = 0
        self.rx_errors = 0
        self.rx_dropped = 0

    def clear(self):
        """After a reset of the device: nothing is out any more, and the head is 0."""
        slots = self._slots
        for index in range(self.size):
            frame = slots[index]
            if frame is not None and frame.owner == _DEVICE:
                frame.owner = _POOL
                frame.pool.frames.append(frame)
            slots[index] = None
            self._desc64[2 * index] = 0
            self._desc64[2 * index + 1] = 0
        for chain in self._open.values():
            self._drop_chain(chain)
        self._open.clear()
        self.posted = 0
        self.rx_index = 0
        self.refill_index = 0

    @property
    def has_work(self):
        """Whether the next descriptor is done."""
        return self.posted > 0 and bool(self._desc32[4 * self.rx_index + 2] & _DD)

    def take(self, frames, count, limit):
        """Takes received packets into frames[count:limit]; returns the new count. Never blocks."""
        if not self.posted:
            # All buffers were held above when the last packet came: nothing arrives until some go out again.
            self.refill()
        index = self.rx_index
        posted = self.posted
        desc = self._desc32
        if not posted or not desc[4 * index + 2] & _DD:
            return count
        slots = self._slots
        mask = self._mask
        size = self._buffer_bytes
        words = self._words
        is_open = self._open  # not empty: a packet goes on somewhere
        total = 0
        first = count
        # At most `limit` packets and one turn of the ring, so that a flood cannot starve transmission.
        while posted and count < limit:
            at = 4 * index + 2
            status = desc[at]
            if not status & _DD:
                break
            frame = slots[index]
            length = desc[at + 1] & 0xFFFF
            if status & _DONE == _DONE and not is_open:
                # The usual packet: it is whole, in one buffer.
                if 0 < length <= size and not status & _RXE and words[frame.note]:
                    frame.owner = _HOLDER
                    frame.start = 0
                    frame.length = length
                    frame.flags = _CSUM_VALID if status & _CHECK_MASK == _CHECKED else 0
                    frames[count] = frame
                    count += 1
                    total += length
                else:
                    self.rx_errors += 1
                    frame.owner = _POOL
                    frame.pool.frames.append(frame)
            else:
                frame = self._piece(index, frame, status, length, posted)
                if frame is not None:
                    frames[count] = frame
                    count += 1
                    total += frame.total()
            index = index + 1 & mask
            posted -= 1
        self.rx_index = index
        self.posted = posted
        self.rx_packets += count - first
        self.rx_bytes += total
        if len(self._pool.frames) >= _REFILL_BATCH or posted < 8:
            self.refill()
        return count

    def _piece(self, index, frame, status, length, posted):
        """A descriptor of a packet over several, or between such: the whole packet when this ends it, else None.

        Coalesced packets name their next descriptor, and may lie between others (7.11.5); others simply go on.
        """
        chain = self._open.pop(index, None)
        is_last = status & _EOP
        is_good = 0 < length <= self._buffer_bytes and not status & _RXE
        is_good = is_good and (is_last or length == self._buffer_bytes)
        if is_good and chain is None and not self._words[frame.note]:
            is_good = False
        frame.owner = _HOLDER
        frame.start = 0
        frame.length = length if is_good else 0
        if chain is None:
            chain = [frame, frame, length, 1]
        elif chain[0] is None:
            frame.release()
        else:
            chain[1].next = frame
            chain[1] = frame
            chain[2] += length
            chain[3] += 1
        if chain[0] is not None and (not is_good or chain[2] > _FRAME_MAX or chain[3] > _PIECES_MAX):
            self.rx_errors += 1
            self._drop_chain(chain)
        if is_last:
            return self._finish(chain, status)
        following = index + 1 & self._mask
        if self._desc32[4 * index] & _RSCCNT_MASK:
            following = status >> _NEXTP_SHIFT & 0xFFFF
        distance = following - index & self._mask
        if following >= self.size or not 0 < distance < posted or following in self._open:
            # Not a descriptor that is out. What comes next may be the rest of this packet, so it is dropped too.
            if chain[0] is not None:
                self.rx_errors += 1
                self._drop_chain(chain)
            following = index + 1 & self._mask
            if following in self._open:
                return None
        self._open[following] = chain
        return None

    def _drop_chain(self, chain):
        first = chain[0]
        chain[0] = None
        if first is not None:
            first.release()

    def _finish(self, chain, status):
        first = chain[0]
        if first is None:
            return None
        if first.next is not None and first.length < _FIRST_FRAGMENT_MIN:
            self.rx_dropped += 1
            first.release()
            return None
        first.flags = _CSUM_VALID if status & _CHECK_MASK == _CHECKED else 0
        return first

    def refill(self):
        """Gives free buffers to the device; the ring keeps one descriptor empty, or full would look like empty."""
        free = self._pool.frames
        count = min(len(free), self.size - 1 - self.posted)
        if count <= 0:
            return
        index = self.refill_index
        mask = self._mask
        desc = self._desc64
        slots = self._slots
        words = self._words
        pop = free.pop
        left = count
        while left:
            left -= 1
            frame = pop()
            frame.owner = _DEVICE
            slots[index] = frame
            words[frame.note] = 0
            desc[2 * index] = frame.phys_addr
            desc[2 * index + 1] = 0
            index = index + 1 & mask
        self.refill_index = index
        self.posted += count
        # The descriptors before the tail that gives them away (7.1.9).
        fence()
        self._tail[self._tail_index] = index


def buffer_plan(share_bytes):
    """How a share of the DMA memory is cut up.

    Returns (receive buffer octets, count, small transmit buffer octets, count, large ones' octets, count).
    Raises DeviceError when it is too little.
    """
    budget = share_bytes - 16 * 1024  # rings and their alignment
    rx_budget = budget * 7 // 16
    # Large buffers spare the chains of a coalesced packet, but only when there are enough of them for a burst. The
    # device counts in units of 1 KiB, up to 16 (8.2.3.8.7).
    rx_bytes = 2048
    for candidate in (16384, 4096):
        if rx_budget >= 96 * candidate:
            rx_bytes = candidate
            break
    rx_count = min(255, rx_budget // rx_bytes)
    small_bytes = 2048
    small_count = min(128, budget // 8 // small_bytes)
    large_budget = budget * 7 // 16
    large_bytes = 66048 if large_budget >= 4 * 66048 else 16384
    large_count = min(32, large_budget // large_bytes)
    if rx_count < 8 or small_count < 4 or large_count < 1:
        raise DeviceError("ixgbe: %d octets of DMA memory are too few" % share_bytes)
    return (rx_bytes, rx_count, small_bytes, small_count, large_bytes, large_count)
