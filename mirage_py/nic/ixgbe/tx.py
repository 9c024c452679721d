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

from mirage_py.nic.checksum import crc32c, ip_header_checksum, ones_sum, put16
from mirage_py.nic.frame import GSO_NONE, GSO_TCPV4, GSO_TCPV6, GSO_UDP, Frame, Octets
from mirage_py.nic.ixgbe import registers as r
from mirage_py.nic.ixgbe.memory import ZEROS, Dma, Words, octets, ring_words
from mirage_py.nic.ixgbe.register_file import RegisterFile
from mirage_py.nic.ixgbe.stats import Stats
from mirage_py.nic.segment import TCP_CHECKSUM, UDP_CHECKSUM, cut, fill_checksum
from mirage_py.nic.vfio_user.dma import DmaError

log = logging.getLogger(__name__)

_DEXT = 1 << 29
_EOP = 1 << 24
_RS = 1 << 27
_LEGACY_IC = 1 << 26
_VLE = 1 << 30
_TSE = 1 << 31
_TIME_STAMP = 1 << 19
_TYPE_CONTEXT, _TYPE_DATA = 2, 3
_DD = 1 << 32
_POPTS_IXSM = 1 << 8
_POPTS_TXSM = 1 << 9
_TUCMD_IPV4 = 1 << 10
_L4_UDP, _L4_TCP, _L4_SCTP = 0, 1, 2
_CHECKSUM_FIELD = {_L4_UDP: UDP_CHECKSUM, _L4_TCP: TCP_CHECKSUM}
_SCTP_CHECKSUM = 8
_TRANSPORT_MIN_BYTES = {_L4_UDP: 8, _L4_TCP: 20}
_PROTOCOL = {_L4_UDP: 17, _L4_TCP: 6}
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
    takes(gso_type): whether the wire takes large segments of that type as they are; of GSO_NONE, partial checksums.
    stamp(): the driver wants to know when the packet went out (7.9.4).
    """

    def __init__(
        self,
        regs: RegisterFile,
        dma: Dma,
        stats: Stats,
        send: Callable[[list[Frame]], int],
        takes: Callable[[int], bool],
        interrupt: Callable[[int], None],
        schedule: Callable[[], None],
        stamp: Callable[[], None],
    ) -> None:
        self._regs = regs
        self._dma = dma
        self._stats = stats
        self._send = send
        self._takes = takes
        self._stamp = stamp
        self._interrupt = interrupt
        self._schedule = schedule
        self.queues = [TxQueue(index) for index in range(r.QUEUES)]
        self._rung: dict[int, None] = {}
        self._backlog: deque[Frame] = deque()
        self.given = 0  # frames that the wire took from the backlog
        self.lost = 0
        # Where memory is reached by messages, the driver may write registers in the middle of an access.
        self._epoch = 0
        self.bad_descriptors = 0
        self._has_wondered = False
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
        self._epoch += 1
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
            self._epoch += 1
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
            if queue not in self._rung:
                continue  # reset while another was served
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
        self.given += taken
        for _ in range(taken):
            self._backlog.popleft()
        return not self._backlog

    def lose_backlog(self) -> None:
        """Nobody takes what waits: it is lost on the wire."""
        self.lost += len(self._backlog)
        self._backlog.clear()
        self.kick()

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
        budget, epoch = _BUDGET, self._epoch
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
        if epoch != self._epoch:
            return True  # reset, or started anew, in the middle of this
        if frames:
            taken = self._send(frames)
            for frame in frames[taken:]:
                # The buffers go back to the driver below: what was not sent is kept as the packet buffer keeps it.
                frame.parts = [bytes(part) for part in frame.parts]
                self._backlog.append(frame)
        queue.head = head
        store[r.TDH + base >> 2] = head
        self._write_back(ring, reports, base, head)
        if epoch != self._epoch:
            return True
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
        elif not address and not high and not self._has_wondered:
            self._has_wondered = True
            log.warning("transmit queue %d: %s", queue.index, ZEROS)
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
        wanted = options & (_POPTS_IXSM | _POPTS_TXSM) or first & (_TSE | _VLE | _TIME_STAMP)
        if not wanted:
            if frame.length > MAX_FRAME_BYTES:
                raise ValueError(f"a packet of {frame.length} octets")
            return [frame]
        if first & _TIME_STAMP:
            self._stamp()
        context_low, context_high = queue.contexts[options >> 4 & 1]
        ip_len, mac_len = context_low & 0x1FF, context_low >> 9 & 0x7F
        l4_type, l4_len = context_high >> 11 & 3, context_high >> 40 & 0xFF
        l4 = mac_len + ip_len
        is_v4 = bool(context_high & _TUCMD_IPV4)
        if first & _TSE:
            if l4_type not in _TRANSPORT_MIN_BYTES:
                raise ValueError(f"segmentation of transport type {l4_type}")
            frame.gso_size, frame.hdr_len = context_high >> 48 & 0xFFFF, l4 + l4_len
            frame.gso_type = GSO_UDP if l4_type == _L4_UDP else GSO_TCPV4 if is_v4 else GSO_TCPV6
            frame.csum_start, frame.csum_offset = l4, _CHECKSUM_FIELD[l4_type]
            return self._segment(frame, first, context_low, mac_len, l4_type, is_v4)
        if frame.length > MAX_FRAME_BYTES:
            raise ValueError(f"a packet of {frame.length} octets")
        if options & _POPTS_IXSM and is_v4:
            _fill_ip_header(frame, mac_len, ip_len)
        if options & _POPTS_TXSM and l4_type == _L4_SCTP:
            _fill_sctp(frame, l4)
        elif options & _POPTS_TXSM:
            frame.csum_start, frame.csum_offset = l4, _CHECKSUM_FIELD.get(l4_type, TCP_CHECKSUM)
            if l4 + frame.csum_offset + 2 > frame.length or l4 < 14:
                raise ValueError("the checksum's field is outside the packet")
            if not self._takes(GSO_NONE):
                fill_checksum(frame)
        if first & _VLE:
            _insert_vlan(frame, context_low >> 16 & 0xFFFF)
        return [frame]

    def _segment(
        self, frame: Frame, first: int, context_low: int, mac_len: int, l4_type: int, is_v4: bool
    ) -> list[Frame]:
        """Segmentation of TCP and UDP (7.2.4): left to the wire where it can, else done here."""
        l4, payload = frame.csum_start, frame.length - frame.hdr_len
        if (
            not frame.gso_size
            or mac_len not in (14, 18)
            or l4 < mac_len + 20
            or frame.hdr_len < l4 + _TRANSPORT_MIN_BYTES[l4_type]
            or (l4_type == _L4_UDP and frame.hdr_len != l4 + 8)
            or payload <= 0
        ):
            raise ValueError("segmentation with impossible lengths")
        header = bytearray(_head(frame, frame.hdr_len))
        version = header[mac_len] >> 4
        if version != (4 if is_v4 else 6) or (version == 6 and l4 < mac_len + 40):
            raise ValueError(f"segmentation of IP version {version} with a context for another")
        ip_len = frame.length - mac_len
        if payload <= frame.gso_size:
            # Nothing to cut: one segment, whose lengths and checksums are the hardware's to fill in all the same.
            frame.gso_size = max(payload, 1)
        field = l4 + frame.csum_offset
        frame.seed = header[field] << 8 | header[field + 1]
        is_plain = _is_plain(header, mac_len, l4, _PROTOCOL[l4_type])
        if version == 4 and not is_plain:
            # IPLEN spans a tunnel: the checksum's field takes back what does not belong to the outer header.
            frame.ip_seed = header[mac_len + 10] << 8 | header[mac_len + 11]
        if ip_len <= 0xFFFF and payload > frame.gso_size and is_plain and self._takes(frame.gso_type):
            if version == 4:
                put16(header, mac_len + 2, ip_len)
                put16(header, mac_len + 10, 0)
                put16(header, mac_len + 10, ip_header_checksum(memoryview(header)[mac_len:l4]))
            else:
                put16(header, mac_len + 4, ip_len - 40)
            if l4_type == _L4_UDP:
                put16(header, l4 + 4, frame.length - l4)
            # The context's checksum leaves the length out (7.2.4.5); a large frame's includes it.
            put16(header, field, ones_sum(header[field : field + 2], frame.length - l4))
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


def _is_plain(header: bytearray, l3: int, l4: int, protocol: int) -> bool:
    """Whether the transport follows the IP header directly: no tunnel between them, and no extension header."""
    if header[l3] >> 4 == 4:
        return l4 - l3 == (header[l3] & 0xF) * 4 and header[l3 + 9] == protocol
    return l4 - l3 == 40 and header[l3 + 6] == protocol


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


def _fill_sctp(frame: Frame, start: int) -> None:
    """SCTP's checksum, which no backend fills in (RFC 9260 section 6.8)."""
    field = start + _SCTP_CHECKSUM
    if start < 14 or field + 4 > frame.length:
        raise ValueError("the checksum's field is outside the packet")
    data = bytearray(frame.joined())
    data[field : field + 4] = bytes(4)
    data[field : field + 4] = crc32c(memoryview(data)[start:]).to_bytes(4, "little")
    frame.parts = [data]


def _insert_vlan(frame: Frame, tag: int) -> None:
    head = bytearray(_head(frame, 12))
    _replace_head(frame, head)
    frame.parts.insert(1, b"\x81\x00" + tag.to_bytes(2, "big"))
    frame.length += 4
    if frame.csum_start:
        frame.csum_start += 4
    if frame.hdr_len:
        frame.hdr_len += 4
