# SPDX-License-Identifier: MIT
"""Linux's TAP interface with a vnet header, as a network device.

The kernel copies a frame with each read and write, so there is no ring: a batch is as many reads as there are frames,
into buffers that hold the largest coalesced frame. Frames from local senders come with their checksum left partial and
as long as the sender made them; ours may leave in the same way.
"""

from errno import EACCES, EIO, ENODEV, EPERM

from micropython import const

from libos.hal.buffers import now_ms, wait
from libos.hal.dma import FramePool
from libos.hal.mmio import DeviceError
from libos.hal.random import Random
from libos.hal.tap import READ, WRITE, fd_read, fd_watch, fd_write, tap_create, tap_open

from . import vnet

_HEADER = const(12)  # driver.vnet
_NEEDS_CSUM = const(1)
_DATA_VALID = const(2)

_POOL = const(1)  # hal.dma
_HOLDER = const(0)
_CSUM_VALID = const(1)
_CSUM_LEFT = const(3)
_CSUM_PARTIAL = const(2)

# The device signature's feature bits, and tap_open()'s.
_TX_CSUM = const(1)
_TX_TSO4 = const(2)
_TX_TSO6 = const(4)
_RX_CSUM = const(8)
_RX_LRO = const(16)
_ACCEPTS_CSUM = const(1)
_ACCEPTS_TSO = const(6)

_GSO_FRAME_MAX = const(65549)  # Ethernet header and the largest IP packet
_LARGE_BYTES = const(66048)
_SMALL_BYTES = const(2048)
_ETHERNET = const(14)
_RETRY_MS = const(100)  # how often an interface that is down is tried


def _open(name, host):
    try:
        return tap_open(name, _HEADER)
    except OSError as error:
        if error.args[0] != ENODEV:
            raise DeviceError("TAP interface %s: %s; is it another user's, or in use?" % (name, error))
    try:
        return tap_create(name, _HEADER, *_address_netmask(host))
    except OSError as error:
        if error.args[0] not in (EPERM, EACCES):
            raise DeviceError("TAP interface %s cannot be made: %s" % (name, error))
    raise DeviceError(
        "there is no TAP interface %s, and only root may make one; run this as root, or first "
        "`sudo ip tuntap add %s mode tap vnet_hdr user $USER`" % (name, name)
    )


def _address_netmask(cidr):
    """The two as integers. cidr: "10.0.0.1/24", checked when the boot arguments were."""
    address, length = cidr.split("/")
    value = 0
    for part in address.split("."):
        value = value << 8 | int(part)
    return value, 0xFFFFFFFF << 32 - int(length) & 0xFFFFFFFF


_COUNTERS = "rx_packets rx_bytes rx_dropped rx_errors tx_packets tx_bytes tx_dropped tx_errors tx_busy"


class Tap:
    """A network device over the TAP interface `name` ("tap0"). dma: hal.dma.Dma.

    host: the address ("10.0.0.1/24") of the host's side of an interface that does not exist yet: it is made then, and
    goes with the process. Has the network device signature (docs/architecture.md).
    Raises DeviceError when the interface can neither be opened nor made.
    """

    def __init__(self, name, dma, host):
        self.name = name
        self._fd, mtu, accepts = _open(name, host)
        self.rx_packets = 0
        self.rx_bytes = 0
        self.rx_errors = 0
        self.rx_dropped = 0
        self.tx_packets = 0
        self.tx_bytes = 0
        self.tx_errors = 0
        self.tx_dropped = 0
        self.tx_busy = 0  # alloc() found every buffer in use, or the kernel's queue was full
        share = dma.share_bytes
        large = share // _LARGE_BYTES
        if large < 4:
            raise DeviceError("TAP interface %s: %d octets of DMA memory are too few" % (name, share))
        self._rx_pool = FramePool(dma, _LARGE_BYTES, min(large // 2, 32), _HEADER)
        self._large = FramePool(dma, _LARGE_BYTES, min(large // 4, 16), _HEADER)
        small = min((share - (large // 2 + large // 4) * _LARGE_BYTES) // _SMALL_BYTES, 128)
        self._small = FramePool(dma, _SMALL_BYTES, small, _HEADER)
        self._small_header = self._small.words("Q")
        self._large_header = self._large.words("Q")
        octets = bytearray(Random().bytes(6))
        octets[0] = octets[0] & 0xFC | 2  # locally administered, one station
        self.mac = bytes(octets)
        self.mtu = min(mtu, _GSO_FRAME_MAX - _ETHERNET)
        # The kernel takes partial checksums and large frames from us in any case; `accepts` is what it may give us.
        self.features = _TX_CSUM | _TX_TSO4 | _TX_TSO6
        if accepts & _ACCEPTS_CSUM:
            self.features |= _RX_CSUM
        if accepts & _ACCEPTS_TSO:
            self.features |= _RX_LRO
        self.max_gso_bytes = _GSO_FRAME_MAX
        self.link_up = True
        self._on_change = None
        self._is_gone = False  # reading fails
        self._watched = 0
        self._is_full = False  # the kernel would not take a frame: watch for writability too
        self._retry_ms = 0

    def join(self, mac):
        """Nothing to be done: a TAP interface hands over every frame that its bridge sends to it."""

    def leave(self, mac):
        """As join()."""

    # --- receiving ---

    def rx_batch(self, frames, limit):
        """Reads up to `limit` frames into frames[0:n]; each is the caller's until release(). Returns n."""
        fd = self._fd
        free = self._rx_pool.frames
        count = 0
        total = 0
        try:
            while count < limit:
                if not free:
                    break
                frame = free[-1]
                buf = frame.buf
                length = fd_read(fd, buf, 0, _LARGE_BYTES)
                if length <= _HEADER + _ETHERNET:
                    if length < 0:
                        break
                    self.rx_errors += 1
                    continue
                free.pop()
                frame.owner = _HOLDER
                frame.start = _HEADER
                length -= _HEADER
                frame.length = length
                flags = buf[0]
                frame.flags = _CSUM_LEFT if flags & _NEEDS_CSUM else _CSUM_VALID if flags & _DATA_VALID else 0
                total += length
                frames[count] = frame
                count += 1
        except OSError:
            self._fail()
        else:
            if self._is_gone or (count and not self.link_up):
                self._is_gone = False
                self._set_link(True)
        if count:
            self.rx_packets += count
            self.rx_bytes += total
        return count

    # --- sending ---

    def alloc(self, length):
        """A frame to send with room for `length` octets, or None when all are in use or none is that large."""
        if length <= _SMALL_BYTES - _HEADER:
            pool = self._small
        elif length <= _GSO_FRAME_MAX:
            pool = self._large
        else:
            return None
        free = pool.frames
        if not free:
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
        """Writes frames[0:count]. Returns how many the kernel took; those are released."""
        fd = self._fd
        small = self._small
        large = self._large
        sent = 0
        total = 0
        try:
            while sent < count:
                frame = frames[sent]
                pool = frame.pool
                if pool is not small and pool is not large:
                    frame = vnet.adopt(self, frame)
                    if frame is None:
                        break
                    frames[sent] = frame
                    pool = frame.pool
                key = 0
                if frame.flags & _CSUM_PARTIAL:
                    key = _NEEDS_CSUM | frame.csum_start << 48
                    if frame.gso_size:
                        key |= frame.gso_type << 8 | frame.hdr_len << 16 | frame.gso_size << 32
                if key and frame.csum_offset != 16 or key != frame.note:
                    vnet.emit(frame, self._small_header if pool is small else self._large_header, key)
                length = frame.length
                if fd_write(fd, frame.buf, 0, length + _HEADER) < 0:
                    self._is_full = True
                    self.tx_busy += 1
                    break
                total += length
                frame.owner = _POOL
                pool.frames.append(frame)
                sent += 1
        except OSError as error:
            # The interface is down, or does not like the frame: that one is lost, and the next is tried.
            frames[sent].release()
            sent += 1
            self.tx_errors += 1
            if error.args[0] == EIO and self.link_up:
                # Linux says so of an interface that is down, and nothing to who reads.
                self._set_link(False)
        else:
            if sent and not self.link_up:
                self._set_link(True)
        self.tx_packets += sent
        self.tx_bytes += total
        return sent

    # --- sleeping and waking ---

    def arm(self):
        """Has the platform's wait end when a frame comes, or when the kernel takes frames again after it did not."""
        if self._is_gone:
            if now_ms() < self._retry_ms:
                # A watched interface that is gone reports itself at once, for ever.
                self._watch(0)
                wait(self._retry_ms * 1000000)
            return True
        self._watch(READ | WRITE if self._is_full else READ)
        self._is_full = False
        return False

    def disarm(self):
        # Watching is level-triggered and costs nothing between two waits.
        pass

    def _watch(self, events):
        if events != self._watched:
            fd_watch(self._fd, events)
            self._watched = events

    def _fail(self):
        """The interface is gone."""
        self._is_gone = True
        self.rx_errors += 1
        if self.link_up:
            self._set_link(False)
        self._retry_ms = now_ms() + _RETRY_MS

    def notify(self, on_change):
        """Calls on_change(None) when the interface goes down or comes up, in the middle of our work."""
        self._on_change = on_change

    def _set_link(self, is_up):
        self.link_up = is_up
        if self._on_change is not None:
            self._on_change(None)

    def __getattr__(self, name):
        """counters: name -> number since the start, with the names of Linux's `ip -s link` where it has one."""
        if name != "counters":
            raise AttributeError(name)
        return {counter: getattr(self, counter) for counter in _COUNTERS.split()}
