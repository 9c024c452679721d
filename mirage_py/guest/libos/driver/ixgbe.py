# SPDX-License-Identifier: MIT
"""The Intel 82599 10 Gigabit Ethernet controller (datasheet rev. 3.4), and the network device that it is.

ixgbe_hw brings it up and speaks to its registers, ixgbe_rx and ixgbe_tx keep its rings, ixgbe_regs names everything.
Here they become a device with the signature of docs/architecture.md, and here the device is watched: a ring that
stands still, or a device whose registers read all ones, is reset and set up again. Frames that the layers above hold
stay theirs, so connections survive.

The data path reads no register: done bits are polled in memory, and a doorbell is rung once a batch. Interrupts wake
from sleep only: arm() lets the device send one and looks once more; the device masks it by itself when it is sent.
"""

from micropython import const

from libos.hal.buffers import now_ms, wait
from libos.hal.dma import FramePool
from libos.hal.mmio import DeviceError

from . import ixgbe_regs as r
from .ixgbe_hw import VECTORS, IxgbeHw
from .ixgbe_rx import RxRing, buffer_plan
from .ixgbe_tx import TxRing

VENDOR = 0x8086
DEVICES = (0x10FB, 0x1557, 0x10F7, 0x1514, 0x1517, 0x10F8, 0x10F9, 0x10FC, 0x151C, 0x154D)

# The device signature's feature bits: TX_CSUM, TX_TSO4, TX_TSO6, RX_CSUM, RX_LRO.
_FEATURES = const(31)
_RX_LRO = const(16)

# ixgbe_regs' and ixgbe_hw's, for the paths that are taken often.
_EIMS = const(0x00880 >> 2)
_EICR = const(0x00800 >> 2)
_EIMS_RX = const(1)
_EIMS_TX = const(2)
_LSC = const(1 << 20)
_ALL_ONES = const(0xFFFFFFFF)

# hal.dma's owners.
_HOLDER = const(0)

_RING = const(256)
_RINGS_BYTES = const(16 * 1024)
_QUEUES_MAX = const(16)
_MTU_MIN = const(68)  # RFC 791
_MTU_MAX = const(9000)
_FRAME_OVERHEAD = const(18)  # Ethernet header and check sequence
_FRAME_MAX = const(65549)  # Ethernet header and the largest IP packet
_INTERVAL_US = const(16)  # between two interrupts of a vector
_TX_TIMEOUT_MS = const(2000)
_WATCH_MS = const(1000)
_RX_STALLS_MAX = const(2)  # watches in which the device received and delivered nothing
_RESET_TIMEOUT_US = const(100000)
# A broken device is started anew at once; if that does not help, after this time, then after twice that, and so on.
_RECOVER_MIN_MS = const(100)
_RECOVER_MAX_MS = const(10000)
_POLL_MS = const(1)  # how long arm() sleeps where there is no interrupt


class Ixgbe:
    """A network device. pci_device: hal.pci.PciDevice; dma: hal.dma.Dma; name: what counters and messages call it.

    mtu: 68 to 9000. queues: receive queues, over which the device spreads flows; one is enough for one processor.
    coalesce: whether the device may deliver large packets made of TCP segments that follow each other.
    Raises DeviceError when the device cannot be used, or not so.
    """

    def __init__(self, pci_device, dma, name="net0", mtu=1500, queues=1, coalesce=True):
        if not _MTU_MIN <= mtu <= _MTU_MAX:
            raise DeviceError("%s: an MTU of %d; it has 68 to 9000" % (name, mtu))
        if not 1 <= queues <= _QUEUES_MAX:
            raise DeviceError("%s: %d receive queues; it has 1 to 16" % (name, queues))
        self.name = name
        self.mtu = mtu
        self.features = _FEATURES if coalesce else _FEATURES & ~_RX_LRO
        self._coalesce = coalesce
        self._is_promiscuous = False
        self.link_up = False
        self.speed_mbps = 0
        self.rx_packets = 0
        self.tx_packets = 0
        self.tx_dropped = 0  # taken while the device was down
        self.tx_busy = 0  # alloc() found every buffer in use
        self.resets = 0
        self.link_changes = 0
        self._groups = []  # multicast addresses that are received
        self._on_change = None
        self._has_news = False
        self._broken = None  # why the device is out of use, or None
        self._recover_at_ms = 0
        self._recover_gap_ms = _RECOVER_MIN_MS
        self._rx_at_arm = -1
        self._rx_at_watch = 0
        self._rx_stalls = 0
        self._watched_ms = now_ms()
        self._tx_starved = False

        self._pci_device = pci_device
        pci_device.enable()
        self._regs = regs = pci_device.map_bar(0, 0, r.BAR_BYTES, "I")
        self._hw = IxgbeHw(regs, name)

        rx_bytes, rx_count, small_bytes, small_count, large_bytes, large_count = buffer_plan(
            dma.share_bytes - (queues - 1) * _RINGS_BYTES
        )
        self._rings = []
        for queue in range(queues):
            # Every queue has buffers of its own: what the layers above hold of one, the others do not lack.
            pool = FramePool(dma, rx_bytes, max(8, rx_count // queues), 0)
            self._rings.append(RxRing(dma, _RING, pool, regs, r.RDT + r.QUEUE_STRIDE * queue >> 2))
        self._turns = list(self._rings)  # the same, in the order in which the next batch looks at them
        self._tx = TxRing(dma, _RING, regs, r.TDT >> 2)
        self._small = FramePool(dma, small_bytes, small_count, 0)
        self._large = FramePool(dma, large_bytes, large_count, 0)
        self._small_max = small_bytes
        self._large_max = min(large_bytes, _FRAME_MAX)
        self.max_gso_bytes = self._large_max
        self._rx_buffer_bytes = rx_bytes

        self._has_msix = False
        self._intx_source = None
        self._open_interrupt()
        self._hw.reset(_RESET_TIMEOUT_US)
        self.mac = self._hw.read_mac()
        self._start()

    # --- bringing the device up ---

    def _open_interrupt(self):
        if self._pci_device.enable_msix(VECTORS) is not None:
            self._has_msix = True
        else:
            self._intx_source = self._pci_device.enable_intx()

    def _start(self):
        """4.6.3: from a reset to a running port, in the datasheet's order."""
        hw = self._hw
        hw.set_mac(self.mac)
        hw.init_link()
        hw.init_statistics()
        hw.init_receive(self.mtu + _FRAME_OVERHEAD, len(self._rings))
        if self._groups:
            hw.set_multicast(self._groups)
        if self._is_promiscuous:
            hw.set_promiscuous(True)
        for queue in range(len(self._rings)):
            ring = self._rings[queue]
            ring.clear()
            hw.start_receive_queue(queue, ring.phys_addr, ring.size, self._rx_buffer_bytes, self._coalesce)
            ring.refill()
        hw.init_transmit()
        self._tx.clear()
        hw.start_transmit_queue(0, self._tx.phys_addr, self._tx.size)
        hw.enable_receive()
        hw.init_interrupts(self._has_msix, len(self._rings), _INTERVAL_US)
        self._broken = None
        self._tx_starved = False
        self._rx_stalls = 0
        self._watched_ms = now_ms()
        self._read_link()

    def join(self, mac):
        """Receives frames for a multicast address (bytes of six) from now on, after a reset of the device too.

        The filter is a hash: frames for other groups may come as well. Raises ValueError for a station's address.
        """
        if not mac[0] & 1:
            raise ValueError("%s: not a multicast address" % self.name)
        mac = bytes(mac)
        if mac not in self._groups:
            self._groups.append(mac)
            self._write_groups()

    def leave(self, mac):
        """Ends what join() began; nothing happens for an address that was not joined."""
        if mac in self._groups:
            self._groups.remove(mac)
            self._write_groups()

    def _write_groups(self):
        # While the device is out of use they wait for _start().
        if self._broken is None:
            self._hw.set_multicast(self._groups)

    def set_promiscuous(self, on):
        """Whether frames for other stations are received too."""
        self._is_promiscuous = on
        if self._broken is None:
            self._hw.set_promiscuous(on)

    def stop(self):
        """Ends reception, transmission and DMA in order, and lets go of the device.

        A device that does not answer is let go of all the same: it gets no bus any more.
        """
        if self._broken is None:
            try:
                self._hw.stop(len(self._rings))
                self._hw.read_statistics()
            except DeviceError:
                pass
        self._pci_device.disable()
        self._tx.clear()
        for ring in self._rings:
            ring.clear()
        self.link_up = False
        self._broken = "stopped"
        self._recover_at_ms = 1 << 60

    # --- receiving and sending ---

    def rx_batch(self, frames, limit):
        """Takes up to `limit` received frames off the rings into frames[0:n]; each is the caller's until release().

        Returns n. Never blocks.
        """
        count = 0
        turns = self._turns
        for ring in turns:
            count = ring.take(frames, count, limit)
        if len(turns) > 1:
            # The next one begins, so that a queue that fills each batch does not starve the others.
            turns.append(turns.pop(0))
        self.rx_packets += count
        return count

    def alloc(self, length):
        """A frame to send with room for `length` octets, or None when all are in use or none is that large."""
        if length <= self._small_max:
            pool = self._small
        elif length <= self._large_max:
            pool = self._large
        else:
            return None
        free = pool.frames
        if not free:
            self._tx.clean()
            if not free:
                self._tx_starved = True
                self.tx_busy += 1
                self._watch_transmit()
                return None
        frame = free.pop()
        frame.owner = _HOLDER
        frame.start = 0
        frame.length = 0
        frame.flags = 0
        frame.gso_size = 0
        return frame

    def tx_batch(self, frames, count):
        """Sends frames[0:count] with one doorbell. Returns how many it took; those are the device's now.

        Frames of other devices and chains are sent from where they are.
        """
        if self._broken is not None:
            for position in range(count):
                frames[position].release()
            self.tx_dropped += count
            return count
        taken = self._tx.send(frames, count)
        self.tx_packets += taken
        if taken < count:
            self._tx_starved = True
            self._watch_transmit()
        return taken

    def reclaim(self):
        """Takes back the buffers of what has been sent: another device may wait for its own.

        Returns whether some are still out.
        """
        self._tx.clean()
        return self._tx.is_busy

    # --- sleeping and waking ---

    def arm(self):
        """Lets the device wake us. True when work is waiting: do not sleep.

        Where the device has no interrupt, or is out of use, this sleeps for a moment itself and asks to be polled.
        """
        if self.rx_packets == self._rx_at_arm or self._broken is not None:
            # Woken without a frame: a timer, or the device has something to say about itself.
            self._check()
        elif self._intx_source is not None:
            self._take_causes()  # a message has masked itself; the pin has to be quiet before it may fire
        self._rx_at_arm = self.rx_packets
        if self._broken is not None:
            self._recover()
        if self._has_news:
            self._has_news = False  # who is told has something to do before we sleep
            return True
        if self._broken is not None or not (self._has_msix or self._intx_source is not None):
            wait((now_ms() + _POLL_MS) * 1000000)
            return True
        tx = self._tx
        if tx.is_busy:
            # So that a quiet device holds no buffers back.
            tx.clean()
        for ring in self._rings:
            ring.refill()
        # What came while the cause was masked is still noted in EICR: the interrupt follows the unmasking.
        self._regs[_EIMS] = _EIMS_RX | _EIMS_TX if self._tx_starved else _EIMS_RX
        if self._intx_source is not None:
            self._pci_device.unmask_intx(self._intx_source)
        for ring in self._rings:
            if ring.has_work:
                return True
        return self._tx_starved and tx.has_reports

    def disarm(self):
        """Polling again. Interrupts need no switching off: a message has masked itself, and the pin's line is."""
        if self._tx_starved:
            self._tx_starved = False
            self._tx.clean()

    # --- watching the device ---

    def notify(self, on_change):
        """Calls on_change(why) when the device breaks, and on_change(None) when its link goes or comes.

        It is called in the middle of our work: it must not use the device, nor wait.
        """
        self._on_change = on_change

    def _tell(self, why):
        if self._on_change is not None:
            self._has_news = True
            self._on_change(why)

    def watch_deadline_ms(self):
        """When arm() wants to be called again at the latest: a card that hangs, or whose interrupt was lost, is noticed
        by an image that has nothing else to do, too.
        """
        return now_ms() + _WATCH_MS

    def _take_causes(self):
        """Reads EICR, which clears what is not the queues' own. False when the device is gone."""
        causes = self._regs[_EICR]
        if causes == _ALL_ONES:
            if self._hw.is_gone():
                self._break("is gone: its registers read all ones")
            return
        if causes & _LSC:
            self._read_link()

    def _read_link(self):
        is_up, speed_mbps = self._hw.link()
        if is_up != self.link_up:
            self.link_changes += 1
            # What waited for the link has not been stalled.
            self._tx.stalled_since_ms = now_ms()
            self.link_up = is_up
            self._tell(None)
        self.speed_mbps = speed_mbps

    def _check(self):
        """Looks at causes, link and rings: register reads, so not while there is traffic."""
        if self._broken is not None:
            return
        self._take_causes()
        if self._broken is None:
            self._watch_transmit()
        if self._broken is None and now_ms() - self._watched_ms >= _WATCH_MS:
            self._watch_receive()

    def _watch_transmit(self):
        """A batch that was not reported done for seconds, with a link: the ring has stopped."""
        tx = self._tx
        if not tx.is_busy or now_ms() - tx.stalled_since_ms < _TX_TIMEOUT_MS:
            return
        self._read_link()
        if self.link_up and not tx.clean() and now_ms() - tx.stalled_since_ms >= _TX_TIMEOUT_MS:
            self._break("has not sent anything for %d ms" % _TX_TIMEOUT_MS)

    def _watch_receive(self):
        """Packets that the device counts as received, with buffers out, and that never come: the ring has stopped."""
        self._watched_ms = now_ms()
        statistics = self._hw.statistics
        before = statistics["rx_pkts_nic"] + statistics["rx_missed_errors"]
        self._hw.read_statistics()
        has_arrived = statistics["rx_pkts_nic"] + statistics["rx_missed_errors"] != before
        can_deliver = True
        for ring in self._rings:
            # Without buffers out, nothing can be delivered: that is the layers above, not the device.
            if ring.has_work or ring.posted < 8:
                can_deliver = False
        if not has_arrived or self.rx_packets != self._rx_at_watch or not can_deliver:
            self._rx_stalls = 0
        else:
            self._rx_stalls += 1
            if self._rx_stalls >= _RX_STALLS_MAX:
                self._break("counts packets and delivers none")
        self._rx_at_watch = self.rx_packets

    def _break(self, why):
        """Takes the device out of use until _recover()."""
        self._broken = "the device " + why
        self.link_up = False
        self._tell(self._broken)

    def _recover(self):
        """Resets the device and starts it anew. Stays broken when that fails."""
        now = now_ms()
        if now < self._recover_at_ms:
            return
        if now - self._recover_at_ms > _RECOVER_MAX_MS:
            self._recover_gap_ms = _RECOVER_MIN_MS  # it has worked for a while
        self.resets += 1
        try:
            self._hw.reset(_RESET_TIMEOUT_US)
            self._start()
        except DeviceError as error:
            self._broken = str(error)
            self.link_up = False
        self._tell(self._broken)
        self._recover_at_ms = now_ms() + self._recover_gap_ms
        self._recover_gap_ms = min(2 * self._recover_gap_ms, _RECOVER_MAX_MS)

    @property
    def trouble(self):
        """Why the device is out of use at the moment, or None."""
        return self._broken

    @property
    def counters(self):
        """Name -> number since the start; the names are those of Linux's `ip -s link` and `ethtool -S`."""
        if self._broken is None:
            self._hw.read_statistics()
        errors = 0
        dropped = 0
        octets = 0
        for ring in self._rings:
            errors += ring.rx_errors
            dropped += ring.rx_dropped
            octets += ring.rx_bytes
        counters = {
            "rx_packets": self.rx_packets,
            "rx_bytes": octets,
            "rx_dropped": dropped,
            "rx_errors": errors,
            "tx_packets": self.tx_packets,
            "tx_bytes": self._tx.tx_bytes,
            "tx_dropped": self.tx_dropped,
            "tx_errors": self._tx.tx_errors,
            "tx_busy": self.tx_busy,
            "resets": self.resets,
            "link_changes": self.link_changes,
        }
        if len(self._rings) > 1:
            for queue in range(len(self._rings)):
                counters["rx_queue_%d_packets" % queue] = self._rings[queue].rx_packets
        counters.update(self._hw.statistics)
        return counters
