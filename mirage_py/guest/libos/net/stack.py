# SPDX-License-Identifier: MIT
"""The stack as the event loop's service: takes batches off the device, gives batches to it, keeps the timers.

The way of the expected segment: NetStack.poll -> tcp.expected.input_batch -> the connection's queue -> on_readable.
Everything else: Ethernet.input -> Ipv4.input, Ipv6.input or Arp.input -> Tcp.input, Udp.input, Icmp.input.
"""

from micropython import const

from libos.net.tcp.expected import input_batch
from libos.net.timers import FAR_MS

RX_BATCH = const(32)
RETRY_MS = const(1)  # the device took not all frames: when to try again without an interrupt
TIMERS_PER_POLL = const(64)


class NetStack:
    """One interface with its protocols, made by their constructors. The loop's service (hal.loop).

    The other protocols are named only so that they exist: they know their IP layer, and it knows them. Between two
    polls applications run: what they write, and the acknowledgements of what they read, leaves with the next.
    """

    def __init__(self, ethernet, tcp, udp, *_others):
        self.ethernet = ethernet
        self.tcp = tcp
        self.udp = udp
        self.device = ethernet.device
        self.memory_drops = 0
        self.now_ms = 0
        self._frames = [None] * RX_BATCH
        # Looked at in every poll: one attribute instead of two.
        self._timers = ethernet.timers
        self._otherwise = ethernet.input
        self._watch_deadline_ms = getattr(ethernet.device, "watch_deadline_ms", None)

    def poll(self, now_ms):
        """A bounded amount of work: timers and output, then at most one batch of frames. True when there was some."""
        worked = False
        tcp = self.tcp
        ethernet = self.ethernet
        try:
            if now_ms >= self._timers.first_ms:
                worked = True
                tcp.now_ms = self.udp.now_ms = now_ms
                self._timers.poll(now_ms, TIMERS_PER_POLL)
            if tcp.pending:
                worked = True
                tcp.poll(now_ms)
            if ethernet.tx_count:
                ethernet.flush()
            frames = self._frames
            count = self.device.rx_batch(frames, RX_BATCH)
        except MemoryError:
            # What was to be done now is refused; timers and peers bring it up again.
            self.memory_drops += 1
            return True
        if not count:
            return worked
        self.now_ms = self.udp.now_ms = tcp.now_ms = now_ms
        self.memory_drops += input_batch(tcp, frames, count, now_ms, self._otherwise)
        if ethernet.tx_count:
            ethernet.flush()
        return True

    def next_deadline_ms(self):
        """When to poll at the latest, or None."""
        if self.tcp.pending:
            return self.now_ms
        timers = self._timers
        if timers.is_first_stale:
            timers.next_deadline_ms()
        first_ms = timers.first_ms
        if self.ethernet.tx_count:
            first_ms = min(first_ms, self.now_ms + RETRY_MS)
        if self._watch_deadline_ms is not None:
            first_ms = min(first_ms, self._watch_deadline_ms())
        return None if first_ms == FAR_MS else first_ms

    def arm(self):
        """Wakes the loop for received frames from now on. True when work waits already."""
        # Not bool(): a builtin whose name is an attribute somewhere is looked for in the module first, and that costs.
        return True if self.device.arm() or self.tcp.pending else False

    def disarm(self):
        self.device.disarm()

    def __getattr__(self, name):
        """counters: protocol name -> (counter name -> value). Not a property: see tcp.connection."""
        if name != "counters":
            raise AttributeError(name)
        counters = {part: source.counters for part, source in self.ethernet.parts.items()}
        counters["stack"] = {"MemoryDrops": self.memory_drops}
        return counters
