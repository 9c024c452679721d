# SPDX-License-Identifier: MIT
"""virtio-net (Virtual I/O Device specification 1.2, section 5.1), over modern PCI.

One receive and one transmit queue. Every buffer has a descriptor of its own, filled in once when the device starts:
receiving and sending only write descriptor numbers into the rings. The 12-octet header of the device stands in a
frame's headroom, directly before the Ethernet header, so that a frame is one descriptor. virtio_pci is the transport,
virtio_net_hw knows what the device offers; here are the rings, and here a device in trouble is started anew.

The device is not trusted: what it writes into the used rings is checked against what it was given, and what does not
fit is counted and dropped. A device that breaks its ring, asks for a reset or loses its state is initialised anew;
frames that the layers above hold stay theirs.

Interrupts only wake from sleep: arm() switches them on and looks once more, disarm() switches them off.
"""

from micropython import const

from libos.hal.buffers import fence, now_ms, wait
from libos.hal.dma import FramePool
from libos.hal.mmio import DeviceError

from . import virtio_net_hw as hw
from . import vnet
from .virtio_pci import VirtioPci, Virtqueue

DEVICES = (0x1041, 0x1000)  # modern, and transitional devices, which offer the modern interface too

_HEADER = const(12)  # driver.vnet
_NEEDS_CSUM = const(1)
_DATA_VALID = const(2)

# Descriptor and ring bits (2.7), re-declared: const() does not cross modules.
_DESC_WRITE = const(2)
_NO_INTERRUPT = const(1)
_NO_NOTIFY = const(1)

# hal.dma's, for the same reason.
_HOLDER = const(0)
_POOL = const(1)
_DEVICE = const(2)
_CSUM_VALID = const(1)
_CSUM_LEFT = const(3)
_CSUM_PARTIAL = const(2)

_TX_CSUM = const(1)  # driver.virtio_net_hw: of the device signature's feature bits

_RX = const(0)
_TX = const(1)
_FIRST_FRAGMENT_MIN = const(128)  # the signature promises that headers lie in the first fragment
_GSO_FRAME_MAX = const(65549)  # driver.virtio_net_hw
_RESET_TIMEOUT_US = const(1000000)
_RECOVER_TIMEOUT_US = const(20000)  # shorter: the rest of the image waits too
# A broken device is started anew at once; if that does not help, after this time, then after twice that, and so on.
_RECOVER_MIN_MS = const(100)
_RECOVER_MAX_MS = const(10000)
_STALLS_MAX = const(10000)  # rounds without progress in which arm() says that work is waiting
_POLL_MS = const(1)  # how long arm() sleeps where there is no interrupt

_COUNTERS = "rx_packets rx_bytes rx_dropped rx_errors tx_packets tx_bytes tx_dropped tx_errors tx_busy resets"


class VirtioNet:
    """A network device. pci_device: hal.pci.PciDevice; dma: hal.dma.Dma; name: what counters and messages call it.

    offloads: whether received frames may be large segments, and have their checksums left partial.
    Has the network device signature (docs/architecture.md). Raises DeviceError when the device cannot be used.
    """

    def __init__(self, pci_device, dma, name="net0", offloads=True):
        self.name = name
        self.rx_packets = 0
        self.rx_bytes = 0
        self.rx_dropped = 0  # frames that the layers above could not have used: chains cut too small or too long
        self.rx_errors = 0  # used entries that name a buffer or a length that is not ours
        self.tx_packets = 0
        self.tx_bytes = 0
        self.tx_dropped = 0  # taken while the device was down
        self.tx_errors = 0  # completions of what was not sent; frames of other devices that are too large
        self.tx_busy = 0  # alloc() found every buffer in use
        self.resets = 0
        self.link_up = False
        self._on_change = None
        self._has_news = False
        self._broken = None  # why the device is out of use, or None
        self._recover_at_ms = 0
        self._recover_gap_ms = _RECOVER_MIN_MS
        self._rx_at_arm = 0
        self._stalls = 0

        self._transport = transport = VirtioPci(pci_device, name)
        transport.reset(_RESET_TIMEOUT_US)
        rx_size = hw.ring_size(transport, _RX)
        tx_size = hw.ring_size(transport, _TX)
        rx_bytes, rx_count, small_bytes, small_count, large_bytes, large_count = vnet.buffer_plan(
            dma.share_bytes, rx_size, tx_size
        )
        self._rx = Virtqueue(dma, _RX, rx_size)
        self._tx = Virtqueue(dma, _TX, tx_size)
        self._rx_pool = FramePool(dma, rx_bytes, rx_count, _HEADER)
        self._small = FramePool(dma, small_bytes, small_count, _HEADER)
        self._large = FramePool(dma, large_bytes, large_count, _HEADER)
        self._small_max = small_bytes - _HEADER
        self._large_max = min(large_bytes - _HEADER, _GSO_FRAME_MAX)

        # Everything the data path touches, by its shortest name.
        self._rx_used16 = self._rx.used16
        self._rx_used32 = self._rx.used32
        self._rx_avail16 = self._rx.avail16
        self._rx_frames = self._rx_pool.all
        self._rx_slots = rx_count
        self._rx_low = rx_count - min(rx_count // 4, 16)  # with fewer in the device, it gets the free ones
        self._rx_header = self._rx_pool.words("H")
        self._rx_stride = rx_bytes >> 1  # words of a buffer
        self._rx_buffer_bytes = rx_bytes
        self._rx_mask = rx_size - 1
        self._tx_mask = tx_size - 1
        self._tx_frames = self._small.all + self._large.all  # by descriptor
        for slot in range(len(self._tx_frames)):
            self._tx_frames[slot].slot = slot
        self._small_header = self._small.words("Q")
        self._large_header = self._large.words("Q")

        self._wanted = hw.wanted_features(transport, offloads, rx_bytes)
        self._start()
        self.mac = hw.read_mac(transport)
        self.mtu = hw.read_mtu(transport, self._large_max)
        self.features = hw.signature_features(self._accepted)
        self.max_gso_bytes = self._large_max

    # --- bringing the device up ---

    def _start(self):
        """From the reset state to a running device with all receive buffers posted (3.1.1, 5.1.5)."""
        transport = self._transport
        self._accepted = transport.accept_features(self._wanted)
        self._has_merging = bool(self._accepted & hw.MRG_RXBUF)
        transport.start_config_interrupt()
        self._rx.clear()
        self._tx.clear()
        rx_pool = self._rx_pool
        for frame in rx_pool.all:
            self._rx.set_descriptor(frame.slot, frame.phys_addr, rx_pool.buffer_bytes, _DESC_WRITE)
            self._take_back(frame)
        for frame in self._tx_frames:
            self._tx.set_descriptor(frame.slot, frame.phys_addr, 0, 0)
            self._take_back(frame)
        self._rx_used = 0
        self._rx_avail = 0
        self._rx_posted = 0
        self._tx_used = 0
        self._tx_avail = 0
        self._tx_starved = False
        self._rx.avail16[0] = _NO_INTERRUPT
        self._tx.avail16[0] = _NO_INTERRUPT
        transport.start_queue(self._rx)
        transport.start_queue(self._tx)
        transport.start()
        self._broken = None
        self._refill()
        self.link_up = hw.is_link_up(transport)

    def _take_back(self, frame):
        """After a reset nothing is the device's any more."""
        if frame.owner == _DEVICE:
            frame.owner = _POOL
            frame.pool.frames.append(frame)

    def join(self, mac):
        """Nothing to be done: without VIRTIO_NET_F_CTRL_RX, which is not asked for, the device filters no groups."""

    def leave(self, mac):
        """As join()."""

    # --- receiving ---

    def rx_batch(self, frames, limit):
        """Takes up to `limit` received frames off the ring into frames[0:n]; each is the caller's until release().

        Returns n. Never blocks.
        """
        index = self._rx_used
        available = self._rx_used16[1] - index & 0xFFFF
        if not available:
            if not self._rx_posted and self._broken is None:
                self._refill()  # all buffers were held above: nothing arrives until some go out again
            return 0
        if available > self._rx_posted:
            self._break("moved the receive ring's index by %d with %d buffers out" % (available, self._rx_posted))
            return 0
        used = self._rx_used32
        mask = self._rx_mask
        everything = self._rx_frames
        slots = self._rx_slots
        header = self._rx_header
        stride = self._rx_stride
        size = self._rx_buffer_bytes
        total = 0
        count = 0
        start = index
        while available and count < limit:
            at = (index & mask) * 2 + 1
            slot = used[at]
            frame = everything[slot] if slot < slots else None
            if frame is None or frame.owner != _DEVICE:
                self.rx_errors += 1
                index += 1
                available -= 1
                continue
            length = used[at + 1]
            if not _HEADER < length <= size:
                self.rx_errors += 1
                self._reuse(frame)
                index += 1
                available -= 1
                continue
            word = slot * stride
            buffers = header[word + 5]
            if buffers > 1 and self._has_merging:
                if buffers > self._rx_posted - (index - start):
                    # More than the device has: the number is nonsense, and so is the frame.
                    self.rx_errors += 1
                    self._reuse(frame)
                    index += 1
                    available -= 1
                    continue
                if buffers > available:
                    break  # the rest of the frame is still on its way
                is_good = self._merge(index, buffers)
                index += buffers
                available -= buffers
                if not is_good:
                    continue
                total += frame.total()
            else:
                index += 1
                available -= 1
                length -= _HEADER
                frame.length = length
                total += length
                frame.owner = _HOLDER
            frame.start = _HEADER
            flags = header[word]  # and gso_type, in the upper octet
            frame.flags = _CSUM_LEFT if flags & _NEEDS_CSUM else _CSUM_VALID if flags & _DATA_VALID else 0
            frames[count] = frame
            count += 1
        self._rx_used = index & 0xFFFF
        self._rx_posted -= index - start
        self.rx_packets += count
        self.rx_bytes += total
        # Released frames go back to the device in batches.
        if self._rx_posted < self._rx_low:
            self._refill()
        return count

    def _merge(self, index, count):
        """Chains `count` used entries from `index` into one frame; True when that made a whole, usable frame.

        Every buffer that is ours is then held by the chain, or back in the pool.
        """
        used = self._rx.used32
        mask = self._rx_mask
        everything = self._rx_frames
        slots = self._rx_slots
        size = self._rx_buffer_bytes
        is_good = True
        first = None
        last = None
        offset = _HEADER
        for position in range(index, index + count):
            at = (position & mask) * 2 + 1
            slot = used[at]
            length = used[at + 1]
            if slot >= slots or everything[slot].owner != _DEVICE:
                self.rx_errors += 1
                is_good = False
                continue
            frame = everything[slot]
            frame.owner = _HOLDER
            frame.start = offset
            frame.length = length - offset
            if not offset < length <= size:
                self.rx_errors += 1
                is_good = False
                frame.length = 0
            offset = 0
            if first is None:
                first = frame
            else:
                last.next = frame
            last = frame
        if is_good and (first.length < _FIRST_FRAGMENT_MIN or first.total() > _GSO_FRAME_MAX):
            is_good = False
        if not is_good:
            self.rx_dropped += 1
            if first is not None:
                first.release()
        return is_good

    def _reuse(self, frame):
        """A buffer that came back with nonsense."""
        frame.owner = _POOL
        self._rx_pool.frames.append(frame)

    def _refill(self):
        """Gives all free receive buffers to the device."""
        free = self._rx_pool.frames
        count = len(free)
        if not count or self._broken is not None:
            return
        avail = self._rx.avail16
        mask = self._rx_mask
        index = self._rx_avail
        for _ in range(count):
            frame = free.pop()
            frame.owner = _DEVICE
            avail[2 + (index & mask)] = frame.slot
            index += 1
        index &= 0xFFFF
        # x86 keeps stores in order, and so does the interpreter: the entries are there before the index.
        avail[1] = index
        self._rx_avail = index
        self._rx_posted += count
        fence()
        if not self._rx.used16[0] & _NO_NOTIFY:
            self._rx.doorbell[0] = _RX

    # --- sending ---

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
            self._tx_clean()
            if not free:
                self._tx_starved = True
                self.tx_busy += 1
                return None
        frame = free.pop()
        frame.owner = _HOLDER
        frame.start = _HEADER
        frame.length = 0
        frame.flags = 0
        frame.gso_size = 0
        return frame

    def tx_batch(self, frames, count):
        """Sends frames[0:count] with one doorbell. Returns how many it took; those are the device's now."""
        if self._broken is not None:
            return self._discard(frames, count)
        if not count:
            return 0
        queue = self._tx
        avail = queue.avail16
        lengths = queue.desc32
        mask = self._tx_mask
        index = self._tx_avail
        small = self._small
        total = 0
        dropped = 0
        for position in range(count):
            frame = frames[position]
            if frame.pool is small:
                headers = self._small_header
            elif frame.pool is self._large:
                headers = self._large_header
            else:
                # Of another device, as a relay hands on what it received: it has no place in our ring.
                if frame.total() > self._large_max:
                    # Nor will any buffer of ours ever hold it.
                    frame.release()
                    dropped += 1
                    continue
                frame = vnet.adopt(self, frame)
                if frame is None:
                    count = position
                    break
                if frame.flags & _CSUM_PARTIAL and not self.features & _TX_CSUM:
                    vnet.fill_checksum(frame)
                headers = self._small_header if frame.pool is small else self._large_header
            key = 0
            if frame.flags & _CSUM_PARTIAL:
                key = _NEEDS_CSUM | frame.csum_start << 48
                if frame.gso_size:
                    key |= frame.gso_type << 8 | frame.hdr_len << 16 | frame.gso_size << 32
            if key and frame.csum_offset != 16 or key != frame.note:
                vnet.emit(frame, headers, key)
            slot = frame.slot
            length = frame.length
            total += length
            lengths[4 * slot + 2] = length + _HEADER
            frame.owner = _DEVICE
            avail[2 + (index & mask)] = slot
            index += 1
        self._tx_avail = index & 0xFFFF
        avail[1] = index & 0xFFFF
        self.tx_packets += count - dropped
        self.tx_errors += dropped
        self.tx_bytes += total
        fence()
        if not queue.used16[0] & _NO_NOTIFY:
            queue.doorbell[0] = _TX
        return count

    def _discard(self, frames, count):
        for position in range(count):
            frames[position].release()
        self.tx_dropped += count
        return count

    def _tx_clean(self):
        """Takes back the buffers that the device has sent."""
        queue = self._tx
        index = self._tx_used
        done = queue.used16[1] - index & 0xFFFF
        if not done or self._broken is not None:
            return
        if done > self._tx_avail - index & 0xFFFF:
            self._break("completed %d frames more than it was given" % (done - (self._tx_avail - index & 0xFFFF)))
            return
        used = queue.used32
        mask = self._tx_mask
        everything = self._tx_frames
        slots = len(everything)
        for _ in range(done):
            slot = used[(index & mask) * 2 + 1]
            index += 1
            if slot >= slots or everything[slot].owner != _DEVICE:
                self.tx_errors += 1
                continue
            frame = everything[slot]
            frame.owner = _POOL
            frame.pool.frames.append(frame)
        self._tx_used = index & 0xFFFF

    # --- sleeping and waking ---

    def arm(self):
        """Switches the device's interrupts on. True when work is waiting: do not sleep.

        Where the device has no interrupt, or is out of use, this sleeps for a moment itself and asks to be polled.
        """
        if self._rx_used == self._rx_at_arm and self._broken is None:
            # Woken without a frame: a timer, or the device has something to say about itself.
            self._check()
        else:
            self._stalls = 0
        self._rx_at_arm = self._rx_used
        if self._broken is not None:
            self._recover()
        transport = self._transport
        if self._has_news:
            self._has_news = False  # who is told has something to do before we sleep
            return True
        if self._broken is not None or not transport.has_interrupt:
            wait((now_ms() + _POLL_MS) * 1000000)
            return True
        if self._rx_posted < self._rx_low:
            self._refill()
        if transport.has_intx:
            transport.quiet_intx()
        self._rx_avail16[0] = 0
        if self._tx_starved:
            self._tx.avail16[0] = 0
        # The switch must be seen before we look, or both sides could believe that the other one acts (2.7.7.2).
        fence()
        if self._rx_used16[1] != self._rx_used:
            self._stalls += 1
            if self._stalls > _STALLS_MAX:
                self._break("never finishes a frame over several buffers")
            return True
        return self._tx_starved and self._tx.used16[1] != self._tx_used

    def disarm(self):
        """Switches the interrupts off again, while polling."""
        self._rx_avail16[0] = _NO_INTERRUPT
        if self._tx_starved:
            self._tx.avail16[0] = _NO_INTERRUPT
            self._tx_starved = False
            self._tx_clean()

    # --- trouble ---

    def notify(self, on_change):
        """Calls on_change(why) when the device breaks, and on_change(None) when its link goes or comes.

        It is called in the middle of our work: it must not use the device, nor wait.
        """
        self._on_change = on_change

    def _tell(self, why):
        if self._on_change is not None:
            self._has_news = True
            self._on_change(why)

    def _break(self, why):
        """Takes the device out of use until _recover(): it does not keep to the ring's rules."""
        self._broken = "the device " + why
        self.link_up = False
        # Nothing more comes from a ring that is not to be believed.
        self._rx_posted = 0
        self._rx_used = self._rx.used16[1]
        self._tell(self._broken)

    def _check(self):
        """Looks at the device's state and link: register reads, so not while there is traffic."""
        if not self._transport.is_healthy():
            self._break("asks for a reset, or is gone")
            return
        try:
            is_up = hw.is_link_up(self._transport)
        except DeviceError as error:
            self._break("fails: %s" % error)
            return
        if is_up != self.link_up:
            self.link_up = is_up
            self._tell(None)

    def _recover(self):
        """Starts the device anew, with the features and buffers it had. Stays broken when that fails."""
        now = now_ms()
        if now < self._recover_at_ms:
            return
        if now - self._recover_at_ms > _RECOVER_MAX_MS:
            self._recover_gap_ms = _RECOVER_MIN_MS  # it has worked for a while
        self.resets += 1
        accepted = self._accepted
        try:
            self._transport.reset(_RECOVER_TIMEOUT_US)
            self._start()
            if self._accepted != accepted:
                raise self._transport.failure("came back with other features")
        except DeviceError as error:
            self._accepted = accepted
            self._broken = str(error)
            self.link_up = False
        self._tell(self._broken)
        self._recover_at_ms = now_ms() + self._recover_gap_ms
        self._recover_gap_ms = min(2 * self._recover_gap_ms, _RECOVER_MAX_MS)

    # Not properties: a class that has one pays for every attribute that it stores on MicroPython.
    def __getattr__(self, name):
        """counters: name -> number since the start, with the names of Linux's `ip -s link` where it has one.

        trouble: why the device is out of use at the moment, or None.
        """
        if name == "trouble":
            return self._broken
        if name != "counters":
            raise AttributeError(name)
        return {counter: getattr(self, counter) for counter in _COUNTERS.split()}
