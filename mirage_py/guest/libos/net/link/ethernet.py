# SPDX-License-Identifier: MIT
"""Ethernet: hands received frames to the protocol of their ethertype, and collects frames to send into batches.

No I/O of its own: `device` is anything with the network device signature (docs/architecture.md).
"""

from libos.net.timers import FAR_MS, Timers
from libos.wire import ethernet as wire

# Frames collected between two calls of the device. More only helps a device that takes more at once.
TX_BATCH = 64
MAX_LOOPED = 64  # frames to ourselves that wait
FEATURE_TX_CSUM = 1  # of the device signature
CSUM_VALID = 1  # of Frame.flags


class Ethernet:
    """One Ethernet interface. device: the network device under it.

    mac: 6 octets. mtu: octets of an IP packet. tx_frames, tx_count: the frames that wait for `flush`.
    timers: for every protocol on the interface. parts: name -> whatever has `counters`, for who wants to read them.
    Received frames belong to the caller of `input`; no protocol keeps one.
    """

    def __init__(self, device):
        self.device = device
        self.mac = bytes(device.mac)
        self.mtu = device.mtu
        self.features = device.features
        self.max_gso_bytes = device.max_gso_bytes
        self.has_tx_csum = device.features & FEATURE_TX_CSUM != 0
        self.alloc_frame = device.alloc
        self.timers = Timers()
        self.tx_frames = [None] * TX_BATCH
        self.tx_count = 0
        self.held = 0  # frames that wait for a MAC, of all protocols: a bound that two tables share
        self.counters = {
            "InUnknownProtos": 0,  # RFC 2863
            "InErrors": 0,
            "InOtherHost": 0,
            "InOtherVlan": 0,
            "OutDiscards": 0,
            "OutNoBuffer": 0,
            "Looped": 0,
        }
        self.parts = {"device": device, "ethernet": self}
        self._protocols = {}
        self._groups = {}
        self._filters = hasattr(device, "join")  # else it receives every group
        self.timer_at = FAR_MS
        self.timer_place = 0
        self._looped = []
        self.timers.restorers.append(self._rearm)

    def join(self, mac):
        """Receives frames to a group address from now on. Each join needs its leave."""
        count = self._groups.get(mac, 0)
        self._groups[mac] = count + 1
        if not count and self._filters:
            self.device.join(mac)

    def leave(self, mac):
        """The opposite of join. KeyError when nobody joined."""
        count = self._groups[mac] - 1
        if count:
            self._groups[mac] = count
            return
        del self._groups[mac]
        if self._filters:
            self.device.leave(mac)

    def register(self, ethertype, protocol):
        """Sends frames of an ethertype to protocol.input(frame, now_ms, src_mac, is_group)."""
        self._protocols[ethertype] = protocol

    def input(self, frame, now_ms):
        """Handles one received frame, whose headers are in its first fragment."""
        header = wire.parse(frame.buf, frame.start, frame.length)
        if header is None:
            self.counters["InErrors"] += 1
            return
        dst_mac, src_mac, ethertype = header
        is_group = dst_mac[0] & 1 == 1
        if not is_group and dst_mac != self.mac:
            self.counters["InOtherHost"] += 1
            return
        protocol = self._protocols.get(ethertype)
        if protocol is None and ethertype == wire.ETHERTYPE_VLAN:
            ethertype = self._untag(frame)
            if ethertype is None:
                return
            protocol = self._protocols.get(ethertype)
        if protocol is None:
            self.counters["InUnknownProtos"] += 1
            return
        protocol.input(frame, now_ms, src_mac, is_group)

    def _untag(self, frame):
        """Takes the tag off a frame that is in no VLAN (number 0): it has only a priority, and is as one without
        (IEEE 802.1Q section 6.9). Returns its ethertype; None, counted, for frames of VLANs: we are in none.
        """
        if frame.length < wire.HEADER_BYTES + wire.TAG_BYTES:
            self.counters["InErrors"] += 1
            return None
        vlan, ethertype = wire.parse_tag(frame.buf, frame.start)
        if vlan:
            self.counters["InOtherVlan"] += 1
            return None
        wire.remove_tag(frame.buf, frame.start)
        frame.start += wire.TAG_BYTES
        frame.length -= wire.TAG_BYTES
        return ethertype

    def alloc(self, length):
        """A frame to send with `length` octets, or None when buffers are used up: try again after the next poll."""
        if self.tx_count == TX_BATCH and not self.flush():
            return None
        frame = self.device.alloc(length)
        if frame is None:
            self.counters["OutNoBuffer"] += 1
            return None
        frame.length = length
        return frame

    def send(self, frame, dst_mac, ethertype):
        """Writes the Ethernet header and puts the frame into the next batch, which takes it over."""
        wire.emit(frame.buf, frame.start, dst_mac, self.mac, ethertype)
        if self.tx_count == TX_BATCH and not self.flush():
            self.counters["OutDiscards"] += 1
            frame.release()
            return
        self.tx_frames[self.tx_count] = frame
        self.tx_count += 1

    def loop(self, frame, ethertype):
        """Gives a frame to our own protocol of that ethertype, with the next poll. Takes the frame over."""
        if len(self._looped) >= MAX_LOOPED:
            self.counters["OutDiscards"] += 1
            frame.release()
            return
        self.counters["Looped"] += 1
        # No device finished its checksum, and nothing can have damaged it.
        frame.flags |= CSUM_VALID
        try:
            self._looped.append((frame, ethertype))
        except MemoryError:
            frame.release()
            raise
        self.timers.schedule(self, 0)

    def _rearm(self, now_ms):
        if self._looped:
            self.timers.schedule(self, now_ms)

    def on_timer(self, now_ms):
        """Frames to ourselves arrive: src_mac is None, by which the protocol knows."""
        looped = self._looped
        self._looped = []
        for frame, ethertype in looped:
            try:
                self._protocols[ethertype].input(frame, now_ms, None, False)
            except MemoryError:
                self.counters["OutDiscards"] += 1
            frame.release()

    def flush(self):
        """Gives the batch to the device. Returns how many frames it took; the rest stays for the next time."""
        count = self.tx_count
        frames = self.tx_frames
        taken = self.device.tx_batch(frames, count)
        if taken == count:
            self.tx_count = 0
            return taken
        left = count - taken
        self.tx_count = left
        for index in range(left):
            frames[index] = frames[index + taken]
        return taken
