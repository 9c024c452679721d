# SPDX-License-Identifier: MIT
"""A transmit ring of the 82599 (datasheet rev. 3.4, section 7.2): packets out, buffers back.

One doorbell and one report per batch: only its last descriptor asks for the done bit (RS), and the buffers of a whole
batch come back together, when buffers or descriptors are wanted (lazy cleaning).

Offloads take a context descriptor, which the device remembers: one place for checksums, one for segmentation, written
again only when the next packet needs another content.
"""

from micropython import const

from libos.hal.buffers import fence, now_ms, view

from . import vnet

# hal.dma's and ixgbe_regs', re-declared: const() does not cross modules (tests compare them).
_HOLDER = const(0)
_POOL = const(1)
_DEVICE = const(2)
_CSUM_PARTIAL = const(2)
_CSUM_LEFT = const(3)
_DD = const(1)
_DATA = const(1 << 29 | 3 << 20 | 1 << 25)  # DEXT, data descriptor, IFCS
_PLAIN = const(1 << 29 | 3 << 20 | 1 << 25 | 1 << 24)  # _DATA, EOP
_CONTEXT = const(1 << 29 | 2 << 20)  # DEXT, context descriptor
_EOP = const(1 << 24)
_RS = const(1 << 27)
_TSE = const(1 << 31)
_TXSM = const(1 << 41)
_IXSM = const(1 << 40)
_CC = const(1 << 39)
_IDX_SHIFT = const(36)
_PAYLEN_SHIFT = const(46)
_MACLEN_SHIFT = const(9)
_IPV4 = const(1 << 10)
_L4T_TCP = const(1 << 11)
_L4LEN_SHIFT = const(40)
_MSS_SHIFT = const(48)

_GSO_TCPV4 = const(1)
_GSO_TCPV6 = const(4)
_IPV6_HEADER = const(40)
_CHECKSUM_CONTEXT = const(0)
_SEGMENT_CONTEXT = const(1)
_ETHERNET = const(14)
_TCP_CHECKSUM = const(16)
_UDP_CHECKSUM = const(6)
_DATA_MAX = const(16384)  # octets that one descriptor names
_IP_MAX = const(65535)
_MIN_FREE = const(8)  # a packet of 64 KiB over five descriptors, and its context


class TxRing:
    """One ring of `size` descriptors (a power of two).

    tail, tail_index: the ring's TDT as for RxRing. stalled_since_ms: when the oldest report that is still out was asked
    for, meaningless when nothing is out.
    """

    def __init__(self, dma, size, tail, tail_index):
        memory, self.phys_addr = dma.alloc(16 * size, 128)
        self._desc32 = view(memory, 0, 16 * size, "I")
        self._desc64 = view(memory, 0, 16 * size, "Q")
        self.size = size
        self._mask = size - 1
        # Early enough that frames of a receive ring, sent on from where they are, do not leave that without buffers.
        self._clean_below = size // 2
        self._tail = tail
        self._tail_index = tail_index
        # The frame that ends at a descriptor, None where none does; only what is out is looked at.
        self._slots = [None] * size
        self._reports = []  # descriptors that asked for a report, oldest first
        self._contexts = [0, 0]  # what the device's two contexts hold, as a key; 0 for nothing
        self.tx_index = 0
        self.clean_index = 0
        self.stalled_since_ms = 0
        self.tx_bytes = 0
        self.tx_errors = 0

    def clear(self):
        """After a reset of the device: nothing is out, the head is 0, and the contexts are forgotten."""
        slots = self._slots
        index = self.clean_index
        while index != self.tx_index:
            if slots[index] is not None:
                self._give_back(slots[index])
            index = index + 1 & self._mask
        for index in range(self.size):
            slots[index] = None
            self._desc64[2 * index] = 0
            self._desc64[2 * index + 1] = 0
        self._reports.clear()
        self._contexts[0] = 0
        self._contexts[1] = 0
        self.tx_index = 0
        self.clean_index = 0

    @property
    def is_busy(self):
        """Whether packets are out."""
        return bool(self._reports)

    @property
    def has_reports(self):
        """Whether the oldest batch that is out is done."""
        return bool(self._reports) and bool(self._desc32[4 * self._reports[0] + 3] & _DD)

    def send(self, frames, count):
        """Sends frames[0:n] with one doorbell and returns n; they are the device's then, and return to their pools."""
        index = self.tx_index
        mask = self._mask
        free = self.clean_index - index - 1 & mask
        if free < self._clean_below:
            self.clean()
            free = self.clean_index - index - 1 & mask
        desc = self._desc64
        slots = self._slots
        total = 0
        last = -1
        last_word = 0
        done = 0
        for position in range(count):
            if free < _MIN_FREE:
                break
            frame = frames[position]
            length = frame.length
            if not frame.flags & _CSUM_PARTIAL and length <= _DATA_MAX and frame.next is None:
                # The usual packet: one buffer, nothing to compute.
                last_word = _PLAIN | length | length << _PAYLEN_SHIFT
                desc[2 * index] = frame.phys_addr + frame.start
                desc[2 * index + 1] = last_word
                slots[index] = frame
                frame.owner = _DEVICE
                last = index
                index = index + 1 & mask
                free -= 1
                total += length
                done += 1
                continue
            word = _PLAIN
            if frame.flags & _CSUM_LEFT == _CSUM_LEFT:
                # Relayed from virtio-net or a TAP, as it came.
                vnet.recall(frame)
            if frame.flags & _CSUM_PARTIAL:
                before = index
                index, word, paylen = self._offload(frame, index, length)
                free -= index - before & mask
                if word < 0:
                    # What cannot be sent is dropped here: it would stop the queue.
                    self.tx_errors += 1
                    frame.release()
                    done += 1
                    continue
            else:
                paylen = length
            if length > _DATA_MAX or frame.next is not None:
                if frame.next is not None:
                    paylen += frame.total() - length
                index, used, word = self._spread(frame, index, word | paylen << _PAYLEN_SHIFT, free)
                if index < 0:
                    # No room. Its descriptors were not given away; a context may be among them, so none is sure.
                    index = used
                    self._contexts[0] = 0
                    self._contexts[1] = 0
                    if last >= 0 or self._reports:
                        break
                    # Nor will there ever be: the ring is empty.
                    self.tx_errors += 1
                    frame.release()
                    done += 1
                    continue
                free -= used
                last = index - 1 & mask
                last_word = word
                total += frame.total()
            else:
                last_word = word | length | paylen << _PAYLEN_SHIFT
                desc[2 * index] = frame.phys_addr + frame.start
                desc[2 * index + 1] = last_word
                last = index
                index = index + 1 & mask
                free -= 1
                total += length
            slots[last] = frame
            frame.owner = _DEVICE
            done += 1
        if last >= 0:
            desc[2 * last + 1] = last_word | _RS
            if not self._reports:
                self.stalled_since_ms = now_ms()
            self._reports.append(last)
            self.tx_index = index
            self.tx_bytes += total
            # The descriptors before the tail that gives them away (7.2.3.3).
            fence()
            self._tail[self._tail_index] = index
        return done

    def _spread(self, frame, index, word, free):
        """A packet over several descriptors: buffers of more than 16 KiB, and chains (7.2.3.2.4).

        Returns (index behind it, descriptors used, the last one's word); or (-1, the index before, 0) without room.
        """
        start = index
        desc = self._desc64
        mask = self._mask
        used = 0
        word_last = 0
        part = frame
        word &= ~_EOP
        while part is not None:
            address = part.phys_addr + part.start
            left = part.length
            part = part.next
            while left > 0:
                if used >= free:
                    return (-1, start, 0)
                size = left if left < _DATA_MAX else _DATA_MAX
                left -= size
                if part is None and left == 0:
                    word |= _EOP
                desc[2 * index] = address
                desc[2 * index + 1] = word | size
                word_last = word | size
                self._slots[index] = None
                address += size
                index = index + 1 & mask
                used += 1
        return (index, used, word_last)

    def _offload(self, frame, index, length):
        """Sees to the context. Returns (index behind it, the data descriptor's word or -1, PAYLEN)."""
        start = frame.csum_start
        ip_len = start - _ETHERNET
        if not 20 <= ip_len <= 511:
            return (index, -1, 0)
        if frame.gso_size:
            return self._segmentation(frame, index, ip_len)
        is_tcp = frame.csum_offset == _TCP_CHECKSUM
        if not is_tcp and frame.csum_offset != _UDP_CHECKSUM:
            return (index, -1, 0)
        key = ip_len << 1 | is_tcp
        if key != self._contexts[_CHECKSUM_CONTEXT]:
            self._contexts[_CHECKSUM_CONTEXT] = key
            index = self._write_context(
                index, ip_len, _CONTEXT | (_L4T_TCP if is_tcp else 0) | _CHECKSUM_CONTEXT << _IDX_SHIFT
            )
        return (index, _DATA | _EOP | _TXSM | _CC | _CHECKSUM_CONTEXT << _IDX_SHIFT, length)

    def _segmentation(self, frame, index, ip_len):
        """7.2.4: the device cuts, and wants the pseudo-header's sum without the length, and no IP checksum."""
        l4_len = frame.hdr_len - frame.csum_start
        total = frame.length if frame.next is None else frame.total()
        is_v4 = frame.gso_type == _GSO_TCPV4
        if (
            not 20 <= l4_len <= 60
            or total <= frame.hdr_len
            or total - _ETHERNET > _IP_MAX
            or not (8 <= frame.gso_size < 16384)
            or not (is_v4 or frame.gso_type == _GSO_TCPV6 and ip_len >= _IPV6_HEADER)
        ):
            return (index, -1, 0)
        buf = frame.buf
        at = frame.start + frame.csum_start + _TCP_CHECKSUM
        value = (buf[at] << 8 | buf[at + 1]) + (0xFFFF ^ total - frame.csum_start & 0xFFFF)
        value = (value & 0xFFFF) + (value >> 16)
        buf[at] = value >> 8
        buf[at + 1] = value & 0xFF
        if is_v4:
            at = frame.start + _ETHERNET + 10
            buf[at] = 0
            buf[at + 1] = 0
        key = frame.gso_size << 20 | l4_len << 10 | ip_len << 1 | is_v4
        if key != self._contexts[_SEGMENT_CONTEXT]:
            self._contexts[_SEGMENT_CONTEXT] = key
            word = _CONTEXT | _L4T_TCP | (_IPV4 if is_v4 else 0) | _SEGMENT_CONTEXT << _IDX_SHIFT
            index = self._write_context(index, ip_len, word | l4_len << _L4LEN_SHIFT | frame.gso_size << _MSS_SHIFT)
        word = _DATA | _EOP | _TSE | _TXSM | (_IXSM if is_v4 else 0) | _SEGMENT_CONTEXT << _IDX_SHIFT
        return (index, word, total - frame.hdr_len)

    def _write_context(self, index, ip_len, word):
        """7.2.3.2.3."""
        self._desc64[2 * index] = ip_len | _ETHERNET << _MACLEN_SHIFT
        self._desc64[2 * index + 1] = word
        self._slots[index] = None
        return index + 1 & self._mask

    def clean(self):
        """Takes back the buffers of every batch that is done. Returns whether there were any."""
        reports = self._reports
        desc = self._desc32
        mask = self._mask
        slots = self._slots
        pool = put_back = None  # frames of one pool come one after the other
        found = False
        while reports and desc[4 * reports[0] + 3] & _DD:
            last = reports.pop(0)
            index = self.clean_index
            end = last + 1 & mask
            while index != end:
                frame = slots[index]
                if frame is not None:
                    if frame.next is None:
                        frame.owner = _POOL
                        if frame.pool is not pool:
                            pool = frame.pool
                            put_back = pool.frames.append
                        put_back(frame)
                    else:
                        self._give_back(frame)
                index = index + 1 & mask
            self.clean_index = end
            found = True
        if found and reports:
            self.stalled_since_ms = now_ms()
        return found

    def _give_back(self, frame):
        frame.owner = _HOLDER
        frame.release()
