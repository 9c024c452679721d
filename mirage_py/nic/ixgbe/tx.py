# SPDX-License-Identifier: MIT
"""Transmission: descriptors to frames, and frames to the wire.

Source: 82599 datasheet section 7.2. A batch is everything from head to tail at the time of the doorbell. Buffers are
not copied: the backend sends from guest memory, and the write-back that gives them back comes after.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from functools import partial

from mirage_py.nic.checksum import ip_header_checksum, ones_sum, put16
from mirage_py.nic.frame import GSO_TCPV4, GSO_TCPV6, Frame, Octets
from mirage_py.nic.ixgbe import registers as r
from mirage_py.nic.ixgbe.memory import Dma, Words, octets, ring_words
from mirage_py.nic.ixgbe.register_file import RegisterFile
from mirage_py.nic.ixgbe.stats import Stats
from mirage_py.nic.segment import cut, fill_checksum
from mirage_py.nic.vfio_user.dma import DmaError

log = logging.getLogger(__name__)

_DEXT = 1 << 29
_EOP = 1 << 24
_RS = 1 << 27
_LEGACY_IC = 1 << 26
_VLE = 1 << 30
_TSE = 1 << 31
_TYPE_CONTEXT, _TYPE_DATA = 2, 3
_DD = 1 << 32
_POPTS_IXSM = 1 << 8
_POPTS_TXSM = 1 << 9
_TUCMD_IPV4 = 1 << 10
_L4_TCP, _L4_SCTP = 1, 2
_CHECKSUM_FIELD = {0: 6, 1: 16}  # L4T: UDP, TCP
_BROADCAST = b"\xff" * 6

MAX_FRAME_BYTES = 15872
MAX_TSO_BYTES = 256 * 1024
# What the wire's minimum of 64 octets leaves before the frame check sequence.
MIN_FRAME_BYTES = 60
# Beyond this, a ring is served again only after others and the socket had their turn.
_BUDGET = 512


class TxQueue:
    """What the model keeps of one queue beside its registers."""

    __slots__ = ("contexts", "first", "head", "index", "is_enabled", "length", "parts", "ring")

    def __init__(self, index: int) -> None:
        self.index = index
        self.is_enabled = False
        self.clear()

    def clear(self) -> None:
        self.ring: Words | None = None
        self.contexts: list[tuple[int, int]] = [(0, 0), (0, 0)]
        self.parts: list[Octets] = []
        self.length = 0
        self.first = 0
        self.head = 0


class Transmitter:
    """All transmit queues.

    send(frames): hands frames to the wire and returns how many it took; the rest is offered again by `resume()`.
    takes_offloads(): whether the wire takes partial checksums and large segments as they are.
    """

    def __init__(
        self,
        regs: RegisterFile,
        dma: Dma,
        stats: Stats,
        send: Callable[[list[Frame]], int],
        takes_offloads: Callable[[], bool],
        interrupt: Callable[[int], None],
        schedule: Callable[[], None],
    ) -> None:
        self._regs = regs
        self._dma = dma
        self._stats = stats
        self._send = send
        self._takes_offloads = takes_offloads
        self._interrupt = interrupt
        self._schedule = schedule
        self.queues = [TxQueue(index) for index in range(r.QUEUES)]
        self._rung: dict[int, None] = {}
        self._backlog: deque[Frame] = deque()
        self.bad_descriptors = 0
        self.is_stalled = False
        for queue in range(r.QUEUES):
            base = r.QUEUE_STRIDE * queue
            regs.on_write(r.TDT + base, partial(self._ring, queue))
            for offset in (r.TDBAL, r.TDBAH, r.TDLEN):
                regs.on_write(offset + base, partial(self._moved, queue))
            regs.on_write(r.TDH + base, partial(self._set_head, queue))
            regs.on_write(r.TXDCTL + base, partial(self._enable, queue))
        regs.on_write(r.DMATXCTL, lambda value: self.kick())

    def reset(self) -> None:
        for queue in self.queues:
            queue.clear()
            queue.is_enabled = False
        self._rung.clear()
        self._backlog.clear()

    def forget_memory(self) -> None:
        """Guest memory changes: no view of it may be kept."""
        for queue in self.queues:
            queue.ring = None
            queue.parts = [bytes(part) for part in queue.parts]
        for frame in self._backlog:
            frame.parts = [bytes(part) for part in frame.parts]

    def _moved(self, queue: int, value: int) -> None:
        self.queues[queue].ring = None

    def _set_head(self, queue: int, value: int) -> None:
        self.queues[queue].head = value & 0xFFFF

    def _enable(self, queue: int, value: int) -> None:
        """Enabling starts at the head that software has set, with nothing remembered (4.6.8.1)."""
        state = self.queues[queue]
        enabled = bool(value & r.TXDCTL_ENABLE)
        if enabled != state.is_enabled:
            state.clear()
            state.is_enabled = enabled
            state.head = self._regs.store[r.TDH + r.QUEUE_STRIDE * queue >> 2]
            self._ring(queue, 0)

    def _ring(self, queue: int, value: int) -> None:
        self._rung[queue] = None
        self._schedule()

    def kick(self) -> None:
        """Something that held queues back is gone: all that are enabled get their turn."""
        store = self._regs.store
        for queue in range(r.QUEUES):
            base = r.QUEUE_STRIDE * queue
            enabled = store[r.TXDCTL + base >> 2] & r.TXDCTL_ENABLE
            if enabled and store[r.TDT + base >> 2] != store[r.TDH + base >> 2]:
                self._rung[queue] = None
        if self._rung or self._backlog:
            self._schedule()

    def run(self, may_send: bool) -> None:
        """Serves the queues whose doorbell rang. may_send: the link is up and the device may use the bus."""
        if not may_send or self.is_stalled:
            return
        if self._backlog and not self._drain():
            return
        for queue in list(self._rung):
            if not self._regs.store[r.DMATXCTL >> 2] & r.DMATXCTL_TE:
                return
            del self._rung[queue]
            try:
                if not self._serve(self.queues[queue]):
                    self._rung[queue] = None
                    self._schedule()
            except DmaError as error:
                # The device stops the queue, as a bus error does; software resets it.
                self.bad_descriptors += 1
                log.warning("transmit queue %d stopped: %s", queue, error)
                self._regs.store[r.TXDCTL + r.QUEUE_STRIDE * queue >> 2] &= ~r.TXDCTL_ENABLE
                self.queues[queue].is_enabled = False
            if self._backlog:
                return

    def _drain(self) -> bool:
        taken = self._send(list(self._backlog))
        for _ in range(taken):
            self._backlog.popleft()
        return not self._backlog

    @property
    def has_backlog(self) -> bool:
        """Whether frames wait for the wire to take them."""
        return bool(self._backlog)

    def resume(self) -> None:
        """The wire takes frames again."""
        if self._drain() and self._rung:
            self._schedule()

    def _serve(self, queue: TxQueue) -> bool:
        """One batch of a queue; False when there is more."""
        store, base = self._regs.store, r.QUEUE_STRIDE * queue.index
        if not store[r.TXDCTL + base >> 2] & r.TXDCTL_ENABLE:
            return True
        count = store[r.TDLEN + base >> 2] // 16
        head, tail = queue.head, store[r.TDT + base >> 2]
        if head >= count or tail >= count:
            return True
        ring = queue.ring
        if ring is None:
            address = store[r.TDBAL + base >> 2] | store[r.TDBAH + base >> 2] << 32
            ring = queue.ring = ring_words(self._dma, address, count * 16)
        budget = _BUDGET
        frames: list[Frame] = []
        reports: list[int] = []
        while head != tail and budget:
            budget -= 1
            low, high = ring[2 * head], ring[2 * head + 1]
            if high & _DEXT and high >> 20 & 0xF == _TYPE_CONTEXT:
                queue.contexts[high >> 36 & 1] = (low, high)
            else:
                self._data(queue, low, high, frames)
            if high & _RS:
                reports.append(head)
            head = head + 1 if head + 1 < count else 0
        if frames:
            taken = self._send(frames)
            for frame in frames[taken:]:
                # The buffers go back to the driver below: what was not sent is kept as the packet buffer keeps it.
                frame.parts = [bytes(part) for part in frame.parts]
                self._backlog.append(frame)
        queue.head = head
        store[r.TDH + base >> 2] = head
        self._write_back(ring, reports, base, head)
        if reports:
            self._interrupt(queue.index)
        return head == tail

    def _write_back(self, ring: Words, reports: list[int], base: int, head: int) -> None:
        store = self._regs.store
        write_back = store[r.TDWBAL + base >> 2]
        if write_back & r.TDWBAL_ENABLE:
            if reports:
                address = (write_back & ~3) | store[r.TDWBAH + base >> 2] << 32
                self._dma.write(address, head.to_bytes(4, "little"))
            return
        for index in reports:
            ring[2 * index + 1] |= _DD

    def _data(self, queue: TxQueue, address: int, high: int, frames: list[Frame]) -> None:
        """A data descriptor, legacy or advanced; at the end of a packet its frames are added to `frames`."""
        length = high & 0xFFFF
        if not queue.parts:
            queue.first = high
        if length:
            queue.parts.append(octets(self._dma, address, length))
            queue.length += length
        if queue.length > MAX_TSO_BYTES:
            self.bad_descriptors += 1
            queue.parts, queue.length = [], 0
        if not high & _EOP:
            return
        parts, total, first = queue.parts, queue.length, queue.first
        queue.parts, queue.length = [], 0
        if total < 14:
            self.bad_descriptors += bool(total)
            return
        frame = Frame(parts, total)
        try:
            if first & _DEXT:
                built = self._offload(queue, frame, first)
            else:
                built = [self._legacy(frame, first, high)]
        except (IndexError, ValueError) as error:
            self.bad_descriptors += 1
            log.warning("transmit queue %d: a packet that contradicts its context: %s", queue.index, error)
            return
        self._count(queue.index, built)
        frames += built

    def _count(self, queue: int, frames: list[Frame]) -> None:
        for frame in frames:
            if frame.length < MIN_FRAME_BYTES:
                frame.parts = [*frame.parts, bytes(MIN_FRAME_BYTES - frame.length)]
                frame.length = MIN_FRAME_BYTES
            first = frame.parts[0]
            dst_mac = bytes(first[:6]) if len(first) >= 6 else bytes(frame.joined()[:6])
            segments, length = 1, frame.length
            if frame.gso_size:
                segments = -(-(frame.length - frame.hdr_len) // frame.gso_size)
                length += frame.hdr_len * (segments - 1)
            self._stats.sent(queue, length, dst_mac[0], dst_mac == _BROADCAST, segments)

    def _legacy(self, frame: Frame, first: int, last: int) -> Frame:
        """Legacy descriptors: a checksum between two offsets, a VLAN tag (7.2.3.2.2)."""
        if first & _LEGACY_IC:
            start, field = first >> 40 & 0xFF, first >> 16 & 0xFF
            if start >= frame.length or field + 2 > frame.length:
                raise ValueError("checksum offsets outside the packet")
            data = bytearray(frame.joined())
            put16(data, field, ~ones_sum(memoryview(data)[start:]) & 0xFFFF)
            frame.parts = [data]
        if last & _VLE:
            _insert_vlan(frame, last >> 48 & 0xFFFF)
        return frame

    def _offload(self, queue: TxQueue, frame: Frame, first: int) -> list[Frame]:
        """Advanced descriptors: what the first one asks for, with the context that it names (7.2.3.2.3, 7.2.3.2.4)."""
        options = first >> 32
        wanted = options & (_POPTS_IXSM | _POPTS_TXSM) or first & (_TSE | _VLE)
        if not wanted:
            if frame.length > MAX_FRAME_BYTES:
                raise ValueError(f"a packet of {frame.length} octets")
            return [frame]
        context_low, context_high = queue.contexts[options >> 4 & 1]
        ip_len, mac_len = context_low & 0x1FF, context_low >> 9 & 0x7F
        l4_type, l4_len = context_high >> 11 & 3, context_high >> 40 & 0xFF
        l4 = mac_len + ip_len
        is_v4 = bool(context_high & _TUCMD_IPV4)
        if first & _TSE:
            frame.gso_size, frame.hdr_len = context_high >> 48 & 0xFFFF, l4 + l4_len
            frame.gso_type = GSO_TCPV4 if is_v4 else GSO_TCPV6
            frame.csum_start, frame.csum_offset = l4, 16
            return self._segment(frame, first, context_low, mac_len)
        if frame.length > MAX_FRAME_BYTES:
            raise ValueError(f"a packet of {frame.length} octets")
        if options & _POPTS_IXSM and is_v4:
            _fill_ip_header(frame, mac_len, ip_len)
        if options & _POPTS_TXSM and l4_type != _L4_SCTP:
            frame.csum_start, frame.csum_offset = l4, _CHECKSUM_FIELD.get(l4_type, 16)
            if l4 + frame.csum_offset + 2 > frame.length or l4 < 14:
                raise ValueError("the checksum's field is outside the packet")
            if not self._takes_offloads():
                fill_checksum(frame)
        if first & _VLE:
            _insert_vlan(frame, context_low >> 16 & 0xFFFF)
        return [frame]

    def _segment(self, frame: Frame, first: int, context_low: int, mac_len: int) -> list[Frame]:
        """TCP segmentation (7.2.4): left to the wire where it can, else done here."""
        l4, payload = frame.csum_start, frame.length - frame.hdr_len
        if (
            not frame.gso_size
            or mac_len not in (14, 18)
            or l4 < mac_len + 20
            or frame.hdr_len < l4 + 20
            or payload <= 0
        ):
            raise ValueError("segmentation with impossible lengths")
        header = bytearray(_head(frame, frame.hdr_len))
        version = header[mac_len] >> 4
        if version != (4 if frame.gso_type == GSO_TCPV4 else 6) or (version == 6 and l4 < mac_len + 40):
            raise ValueError(f"segmentation of IP version {version} with a context for another")
        ip_len = frame.length - mac_len
        if payload <= frame.gso_size:
            # Nothing to cut: one segment, whose lengths and checksums are the hardware's to fill in all the same.
            frame.gso_size = max(payload, 1)
        if ip_len <= 0xFFFF and payload > frame.gso_size and self._takes_offloads():
            if version == 4:
                put16(header, mac_len + 2, ip_len)
                put16(header, mac_len + 10, 0)
                put16(header, mac_len + 10, ip_header_checksum(memoryview(header)[mac_len:l4]))
            else:
                put16(header, mac_len + 4, ip_len - 40)
            # The context's checksum leaves the length out (7.2.4.5); a large frame's includes it.
            partial_sum = header[l4 + 16] << 8 | header[l4 + 17]
            put16(header, l4 + 16, ones_sum(partial_sum.to_bytes(2, "big"), frame.length - l4))
            _replace_head(frame, header)
            frames = [frame]
        else:
            store = self._regs.store
            low, high = store[r.DTXTCPFLGL >> 2], store[r.DTXTCPFLGH >> 2]
            frames = list(cut(frame, frame.gso_size, (low & 0xFFF, low >> 16 & 0xFFF, high & 0xFFF)))
        if first & _VLE:
            for one in frames:
                _insert_vlan(one, context_low >> 16 & 0xFFFF)
        return frames


def _head(frame: Frame, length: int) -> Octets:
    """The first octets of a frame, wherever the parts end."""
    first = frame.parts[0]
    return first[:length] if len(first) >= length else frame.joined()[:length]


def _replace_head(frame: Frame, head: bytearray) -> None:
    """Puts `head` in the place of as many octets; the rest is not copied."""
    if len(frame.parts[0]) < len(head):
        frame.joined()
    frame.parts = [head, memoryview(frame.parts[0])[len(head) :], *frame.parts[1:]]


def _fill_ip_header(frame: Frame, start: int, length: int) -> None:
    end = start + length
    if length < 20 or end > frame.length:
        raise ValueError("the IP header is outside the packet")
    head = bytearray(_head(frame, end))
    put16(head, start + 10, 0)
    put16(head, start + 10, ip_header_checksum(memoryview(head)[start:end]))
    _replace_head(frame, head)


def _insert_vlan(frame: Frame, tag: int) -> None:
    head = bytearray(_head(frame, 12))
    _replace_head(frame, head)
    frame.parts.insert(1, b"\x81\x00" + tag.to_bytes(2, "big"))
    frame.length += 4
    if frame.csum_start:
        frame.csum_start += 4
    if frame.hdr_len:
        frame.hdr_len += 4
