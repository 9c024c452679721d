# SPDX-License-Identifier: MIT
"""Reception: frames from the wire, through the filters, into the buffers that descriptors name.

Source: 82599 datasheet section 7.1. A frame for which its queue has no descriptors waits in the packet buffer; with
SRRCTL.Drop_En, or when the buffer is full, it is dropped. A cable goes on delivering meanwhile; from a backend that can
keep what is not taken (a TAP), nothing more is taken.
"""

from __future__ import annotations

import logging
import zlib
from collections import deque
from collections.abc import Callable, Iterable
from functools import partial
from typing import NamedTuple

from mirage_py.nic.checksum import ones_sum, pseudo_header
from mirage_py.nic.frame import Frame, Octets
from mirage_py.nic.ixgbe import registers as r
from mirage_py.nic.ixgbe.filters import FLOW_DIRECTED, Filters
from mirage_py.nic.ixgbe.memory import ZEROS, Dma, Words, ring_words
from mirage_py.nic.ixgbe.packet import SCTP, TCP, TYPE_IPV4, UDP, Packet
from mirage_py.nic.ixgbe.register_file import RegisterFile
from mirage_py.nic.ixgbe.rsc import Coalescer, Context, Flow, flow_of
from mirage_py.nic.ixgbe.stats import FCS_BYTES, Stats
from mirage_py.nic.segment import cut, fill_checksum
from mirage_py.nic.vfio_user.dma import DmaError

log = logging.getLogger(__name__)

STATUS_DD = 1 << 0
STATUS_EOP = 1 << 1
STATUS_FLM = 1 << 2
STATUS_VP = 1 << 3
STATUS_UDPCS = 1 << 4
STATUS_L4I = 1 << 5
STATUS_IPCS = 1 << 6
STATUS_PIF = 1 << 7
STATUS_UDPV = 1 << 10
STATUS_TS = 1 << 16
ERROR_L4E = 1 << 30
ERROR_IPE = 1 << 31
NEXTP_SHIFT = 4
RSCCNT_SHIFT = 17

_BROADCAST = b"\xff" * 6
_MAX_DESCRIPTORS = {0: 1, 4: 4, 8: 8, 12: 16}
PACKET_BUFFER_BYTES = 512 * 1024
MIN_FRAME_BYTES = 60


class Delivery(NamedTuple):
    """What the descriptors of one frame will say.

    packets: those that it was made of, 0 when it was not coalesced; header, mss: their sizes then.
    """

    queue: int
    kind: int
    rss: int
    rss_type: int
    status: int
    vlan: int
    packets: int = 0
    header: int = 0
    mss: int = 1

    def begun(self, end: int) -> int:
        """The packets of a coalesced one that begin before `end` octets into it."""
        if end <= 0:
            return 0
        return min(self.packets, max(1, -(-(end - self.header) // self.mss)))


class RxQueue:
    __slots__ = ("head", "index", "is_enabled", "ring")

    def __init__(self, index: int) -> None:
        self.index = index
        self.is_enabled = False
        self.clear()

    def clear(self) -> None:
        self.ring: Words | None = None
        self.head = 0


class Receiver:
    """All receive queues. on_room(): called when frames may be taken from the backend again.

    is_cable: frames that are not taken are lost, so they are taken as long as the packet buffer has room.
    """

    def __init__(
        self,
        regs: RegisterFile,
        dma: Dma,
        stats: Stats,
        filters: Filters,
        interrupt: Callable[[int], None],
        on_room: Callable[[], None],
    ) -> None:
        self._regs = regs
        self._dma = dma
        self._stats = stats
        self._filters = filters
        self._interrupt = interrupt
        self._on_room = on_room
        self.queues = [RxQueue(index) for index in range(r.QUEUES)]
        self._buffer: deque[tuple[Delivery, Frame]] = deque()
        self._buffered = 0
        self._touched: dict[int, None] = {}
        self.bad_descriptors = 0
        self.stamp: Callable[[Packet], bool] | None = None
        self._has_wondered = False
        # Where memory is reached by messages, the driver may write registers in the middle of an access.
        self._is_flushing = False
        self._epoch = 0
        self.is_stalled = False
        self.is_cable = False
        # Fault switches: what a faulty device puts into the two words of a write-back, and whether it leaves out data.
        self.spoil: Callable[[int, int, int], tuple[int, int]] | None = None
        self.withholds: Callable[[], bool] | None = None
        for queue in range(r.QUEUES):
            base = self._base(queue)
            for offset in (r.RDBAL, r.RDBAH, r.RDLEN):
                regs.on_write(offset + base, partial(self._moved, queue))
            regs.on_write(r.RDT + base, self._refilled)
            regs.on_write(r.RXDCTL + base, partial(self._enable, queue))
            if queue < 16:
                low, high = r.SRRCTL_LOW + 4 * queue, r.SRRCTL + base >> 2
                regs.on_read(low, partial(regs.store.__getitem__, high), f"SRRCTL[{queue}]")
                regs.on_write(low, partial(regs.store.__setitem__, high), f"SRRCTL[{queue}]")
                low, high = r.DCA_RXCTRL_LOW + 4 * queue, r.DCA_RXCTRL + base >> 2
                regs.on_read(low, partial(regs.store.__getitem__, high), f"DCA_RXCTRL[{queue}]")
                regs.on_write(low, partial(regs.store.__setitem__, high), f"DCA_RXCTRL[{queue}]")
        regs.on_write(r.RXCTRL, self._refilled)
        regs.on_read(r.RDRXCTL, lambda: regs.store[r.RDRXCTL >> 2] | r.RDRXCTL_DMAIDONE)

    @staticmethod
    def _base(queue: int) -> int:
        return r.QUEUE_STRIDE * queue if queue < 64 else r.RX_HIGH - r.RDBAL + r.QUEUE_STRIDE * (queue - 64)

    def reset(self) -> None:
        for queue in self.queues:
            queue.clear()
            queue.is_enabled = False
        self._drop_buffer()

    def forget_memory(self) -> None:
        """Guest memory changes: no view of it may be kept."""
        for queue in self.queues:
            queue.ring = None

    def _drop_buffer(self) -> None:
        self._epoch += 1
        self._buffer.clear()
        self._buffered = 0
        self._touched.clear()

    def _moved(self, queue: int, value: int) -> None:
        self.queues[queue].ring = None

    def _enable(self, queue: int, value: int) -> None:
        """Enabling starts at head 0; the bit reads back at once (4.6.7.1)."""
        state = self.queues[queue]
        enabled = bool(value & r.RXDCTL_ENABLE)
        if enabled != state.is_enabled:
            self._epoch += 1
            state.clear()
            state.is_enabled = enabled
            self._regs.store[r.RDH + self._base(queue) >> 2] = 0
            self._refilled(0)

    def _refilled(self, value: int) -> None:
        if self._buffer:
            self.flush()

    @property
    def has_room(self) -> bool:
        """Whether to take frames from the backend now. A stalled receiver takes and loses them, as a card does."""
        return self.is_cable or self.is_stalled or not self._buffer

    def is_receiving(self) -> bool:
        return bool(self._regs.store[r.RXCTRL >> 2] & r.RXCTRL_RXEN)

    # From the wire to the packet buffer.

    def receive(self, frames: Iterable[Frame]) -> None:
        """A batch from the backend or from loopback."""
        if not self.is_receiving():
            return
        coalescer = Coalescer()
        for frame in frames:
            self._take(frame, coalescer)
        for context in coalescer.contexts.values():
            self._close(context)
        self.flush()

    def _take(self, frame: Frame, coalescer: Coalescer) -> None:
        stats, store = self._stats, self._regs.store
        if frame.csum_start and not frame.gso_size:
            fill_checksum(frame)
        if self._buffered and self._buffered + (frame.length if self.is_cable else 0) > PACKET_BUFFER_BYTES:
            stats.missed(-(-(frame.length - frame.hdr_len) // frame.gso_size) if frame.gso_size else 1)
            return
        data = frame.joined()
        if frame.length < MIN_FRAME_BYTES:
            data = bytes(data).ljust(MIN_FRAME_BYTES, b"\0")
            frame.parts, frame.length = [data], MIN_FRAME_BYTES
        segments, total = 1, frame.length
        if frame.gso_size:
            segments = -(-(frame.length - frame.hdr_len) // frame.gso_size)
            total += frame.hdr_len * (segments - 1)
        stats.arrived(total, segments)
        if not frame.gso_size:
            limit = store[r.MAXFRS >> 2] >> 16 if store[r.HLREG0 >> 2] & r.HLREG0_JUMBOEN else 1518
            tagged = data[12] == 0x81 and data[13] == 0
            if frame.length + FCS_BYTES > limit + 4 * tagged:
                stats.roc += 1
                return
        passed = self._filters.accepts(data)
        if not passed:
            return
        stats.received(total, data[0], data[:6] == _BROADCAST, segments)
        packet = Packet(data)
        queue, rss, rss_type = self._filters.assign(packet)
        if queue < 0:
            return
        base = self._base(queue)
        if not store[r.RXDCTL + base >> 2] & r.RXDCTL_ENABLE:
            return
        status = self._verify(packet, frame.is_checked or bool(frame.gso_size))
        if passed == 2:
            status |= STATUS_PIF
        if rss_type == FLOW_DIRECTED:
            status |= STATUS_FLM
        if self.stamp is not None and self.stamp(packet):
            status |= STATUS_TS
        vlan = 0
        if packet.vlan is not None and store[r.RXDCTL + base >> 2] & r.RXDCTL_VME:
            status |= STATUS_VP
            vlan = packet.vlan
        delivery = Delivery(queue, packet.kind, rss, rss_type, status, vlan)
        control = store[r.RSCCTL + base >> 2]
        may_coalesce = control & r.RSCCTL_RSCEN and not store[r.RFCTL >> 2] & r.RFCTL_RSC_DIS and not status & ERROR_L4E
        if may_coalesce and self._coalesce(packet, frame, delivery, coalescer, control):
            return
        self._put(delivery, frame)

    def _verify(self, packet: Packet, is_checked: bool) -> int:
        """The checksum bits of status and errors (7.1.11)."""
        status = 0
        data, l3, l4 = packet.data, packet.l3, packet.l4
        if packet.kind & TYPE_IPV4:
            status |= STATUS_IPCS
            header_end = l3 + (data[l3] & 0xF) * 4
            if ones_sum(data[l3:header_end]) != 0xFFFF:
                return status | ERROR_IPE
        if not l4 or packet.protocol == SCTP:
            return status
        if packet.protocol == UDP:
            if not data[l4 + 6] and not data[l4 + 7]:
                return status
            status |= STATUS_UDPCS
        status |= STATUS_L4I
        if not is_checked:
            length = packet.end - l4
            total = ones_sum(data[l4 : packet.end], pseudo_header(data[l3:], length, packet.protocol))
            if total != 0xFFFF:
                status |= ERROR_L4E
        return status

    def _limit(self, queue: int, control: int) -> int:
        """The octets that a coalesced packet may have."""
        size = (self._regs.store[r.SRRCTL + self._base(queue) >> 2] & 0x1F) * 1024
        return size * _MAX_DESCRIPTORS[control & 0xC]

    def _coalesce(self, packet: Packet, frame: Frame, delivery: Delivery, coalescer: Coalescer, control: int) -> bool:
        """Whether the frame went into a context."""
        contexts = coalescer.contexts
        flow = flow_of(packet)
        if flow is None:
            if packet.protocol == TCP and packet.l4 and contexts:
                # What comes behind must not overtake what is open: the flow's packet is closed first.
                key = self._key(packet)
                context = contexts.pop(key, None)
                if context is not None:
                    self._close(context)
            return False
        limit = self._limit(delivery.queue, control)
        if frame.gso_size and packet.header_end + flow.payload > limit:
            return self._coalesce_parts(packet, frame, delivery, coalescer, control, limit)
        context = contexts.get(flow.key)
        if context is not None and context.accepts(packet, flow, limit):
            context.add(packet, frame, flow)
        else:
            if context is not None:
                self._close(contexts.pop(flow.key))
            if packet.header_end + flow.payload > limit or coalescer.is_full:
                return False
            context = contexts[flow.key] = Context(packet, frame, flow, delivery)
        if self._is_complete(flow):
            self._close(contexts.pop(flow.key))
        return True

    def _coalesce_parts(
        self, packet: Packet, frame: Frame, delivery: Delivery, coalescer: Coalescer, control: int, limit: int
    ) -> bool:
        """A large segment that is too large for one coalesced packet makes several."""
        segments = (limit - packet.header_end) // frame.gso_size
        if segments < 2:
            return False
        for part in cut(frame, segments * frame.gso_size):
            if not self._coalesce(Packet(part.joined()), part, delivery, coalescer, control):
                self._put(delivery, part)
        return True

    @staticmethod
    def _key(packet: Packet) -> bytes:
        addresses = packet.data[26:34] if packet.kind & TYPE_IPV4 else packet.data[22:54]
        return bytes(addresses) + bytes(packet.data[packet.l4 : packet.l4 + 4])

    def _is_complete(self, flow: Flow) -> bool:
        return flow.is_pushed and not self._regs.store[r.RDRXCTL >> 2] & r.RDRXCTL_RSC_PUSH_DIS

    def _close(self, context: Context) -> None:
        delivery = context.delivery
        assert isinstance(delivery, Delivery)
        if context.count == 1:
            context.frame.gso_size = 0
            self._put(delivery, context.frame)
        else:
            frame = context.large()
            frame.gso_size = 0
            self._put(delivery._replace(packets=context.count, header=frame.hdr_len, mss=context.mss), frame)

    def _put(self, delivery: Delivery, frame: Frame) -> None:
        """Into the packet buffer; a large segment that was not coalesced is cut as it would have been on the wire."""
        if frame.gso_size:
            for segment in cut(frame, frame.gso_size):
                self._put(delivery, segment)
            return
        self._buffer.append((delivery, frame))
        self._buffered += frame.length

    # From the packet buffer to host memory.

    def flush(self) -> None:
        """Stores what there are descriptors for."""
        if self.is_stalled or self._is_flushing:
            return
        self._is_flushing = True
        try:
            self._flush()
        finally:
            self._is_flushing = False
        touched = list(self._touched)
        self._touched.clear()
        for queue in touched:
            self._interrupt(queue)
        if not self._buffer:
            self._on_room()

    def _flush(self) -> None:
        buffer = self._buffer
        while buffer:
            delivery, frame = buffer[0]
            try:
                if not self._store(self.queues[delivery.queue], delivery, frame):
                    break
            except DmaError as error:
                self.bad_descriptors += 1
                log.warning("receive queue %d stopped: %s", delivery.queue, error)
                self._regs.store[r.RXDCTL + self._base(delivery.queue) >> 2] &= ~r.RXDCTL_ENABLE
                self.queues[delivery.queue].is_enabled = False
            if buffer and buffer[0][1] is frame:  # else a reset came between
                buffer.popleft()
                self._buffered -= frame.length

    def _store(self, queue: RxQueue, delivery: Delivery, frame: Frame) -> bool:
        """One frame into its queue's ring; False when it has to wait for descriptors."""
        store, base = self._regs.store, self._base(queue.index)
        count = store[r.RDLEN + base >> 2] // 16
        tail = store[r.RDT + base >> 2]
        if not queue.is_enabled or not count or tail >= count or queue.head >= count:
            return True
        control = store[r.SRRCTL + base >> 2]
        size = (control & 0x1F) * 1024 or 2048
        data = self._on_wire(delivery, frame)
        length = len(data)
        needed = -(-length // size)
        if (tail - queue.head) % count < needed:
            if control & r.SRRCTL_DROP_EN or needed >= count:
                self._stats.dropped(queue.index)
                return True
            return False
        epoch = self._epoch
        ring = queue.ring
        if ring is None:
            address = store[r.RDBAL + base >> 2] | store[r.RDBAH + base >> 2] << 32
            ring = queue.ring = ring_words(self._dma, address, count * 16)
        is_legacy = not control >> 25 & 7
        view = memoryview(data)
        head = queue.head
        # Descriptors are written back from the last to the first, so that the driver never sees a packet's beginning
        # without its end.
        placed: list[tuple[int, int, int]] = []
        for start in range(0, length, size):
            part = view[start : start + size]
            address = ring[2 * head]
            if not address and not self._has_wondered:
                self._has_wondered = True
                log.warning("receive queue %d: %s", queue.index, ZEROS)
            if self.withholds is None or not self.withholds():
                target = self._dma.view(address, len(part), True)
                if target is not None:
                    target[:] = part
                else:
                    self._dma.write(address, part)
            following = head + 1 if head + 1 < count else 0
            is_last = start + size >= length
            if is_legacy:
                low, high = address, _legacy_word(delivery, len(part), is_last)
            else:
                low, high = _advanced_words(delivery, start, len(part), is_last, following)
            if self.spoil is not None:
                low, high = self.spoil(low, high, count)
            placed.append((head, low, high))
            head = following
        for index, low, high in reversed(placed):
            ring[2 * index] = low
            ring[2 * index + 1] = high
        if epoch != self._epoch:
            return True  # reset, or started anew, in the middle of this
        queue.head = head
        store[r.RDH + base >> 2] = head
        self._stats.stored(queue.index, length)
        self._touched[queue.index] = None
        return True

    def _on_wire(self, delivery: Delivery, frame: Frame) -> Octets:
        """The octets that go to memory: without the VLAN tag when it is stripped, with the check sequence when not."""
        data = frame.joined()
        if delivery.status & STATUS_VP:
            data = b"".join((data[:12], data[16:]))
        store = self._regs.store
        if not (store[r.HLREG0 >> 2] & r.HLREG0_RXCRCSTRP or store[r.RDRXCTL >> 2] & r.RDRXCTL_CRCSTRIP):
            data = bytes(data) + zlib.crc32(frame.joined()).to_bytes(4, "little")
        return data


def _legacy_word(delivery: Delivery, length: int, is_last: bool) -> int:
    """The upper word of a legacy write-back (7.1.5): length, status, errors, VLAN tag."""
    status = delivery.status | STATUS_DD | (STATUS_EOP if is_last else 0)
    return length | (status & 0xFF) << 32 | (status >> 24 & 0xC0) << 40 | delivery.vlan << 48


def _advanced_words(delivery: Delivery, start: int, length: int, is_last: bool, following: int) -> tuple[int, int]:
    """Both words of an advanced write-back (7.1.6.2). RSCCNT is one more than the packets that begin in the buffer."""
    low = delivery.rss_type | delivery.kind << 4 | delivery.rss << 32
    status = delivery.status | STATUS_DD
    if delivery.packets:
        low |= min(15, 1 + delivery.begun(start + length) - delivery.begun(start)) << RSCCNT_SHIFT
        if not is_last:
            status = STATUS_DD | following << NEXTP_SHIFT
    if is_last:
        status |= STATUS_EOP
    return low, status | length << 32 | delivery.vlan << 48
