# SPDX-License-Identifier: MIT
"""The stack as the event loop's service: takes batches off the device, gives batches to it, keeps the timers.

The way of the expected segment: NetStack.poll -> Tcp.input_expected -> the connection's queue -> on_readable. Everything
else: Ethernet.input -> Ipv4.input or Arp.input -> Tcp.input, Udp.input, Icmp.input.
"""

from libos.wire import ipv4 as wire_ipv4

RX_BATCH = 32
RETRY_MS = 1  # the device took not all frames: when to try again without an interrupt


class NetStack:
    """One interface with its protocols, made by their constructors. The loop's service (hal.loop).

    Between two polls applications run: what they write, and the acknowledgements of what they read, leaves with the next.
    """

    def __init__(self, ethernet, arp, ipv4, icmp, udp, tcp):
        self.ethernet = ethernet
        self.arp = arp
        self.ipv4 = ipv4
        self.icmp = icmp
        self.udp = udp
        self.tcp = tcp
        self.device = ethernet.device
        self.memory_drops = 0
        self.now_ms = 0
        self._frames = [None] * RX_BATCH
        udp.on_no_port = icmp.port_unreachable
        icmp.register_error(wire_ipv4.PROTOCOL_TCP, tcp)

    def poll(self, now_ms):
        """A bounded amount of work: output and timers, then at most one batch of frames. True when there was some."""
        self.now_ms = now_ms
        tcp = self.tcp
        ethernet = self.ethernet
        try:
            worked = tcp.poll(now_ms)
        except MemoryError:
            # Refused is what was to be done now; timers and peers bring it up again.
            self.memory_drops += 1
            worked = True
        self.arp.poll(now_ms)
        if ethernet.tx_count:
            ethernet.flush()
        frames = self._frames
        count = self.device.rx_batch(frames, RX_BATCH)
        if not count:
            return worked
        self.udp.poll(now_ms)
        for index in range(count):
            frame = frames[index]
            frames[index] = None
            try:
                if not tcp.input_expected(frame, now_ms):
                    ethernet.input(frame, now_ms)
            except MemoryError:
                self.memory_drops += 1
            frame.release()
        if ethernet.tx_count:
            ethernet.flush()
        return True

    def next_deadline_ms(self):
        """When to poll at the latest, or None."""
        if self.ethernet.tx_count:
            return self.now_ms + RETRY_MS
        deadline_ms = self.tcp.next_deadline_ms()
        arp_ms = self.arp.next_deadline_ms()
        if deadline_ms is None or (arp_ms is not None and arp_ms < deadline_ms):
            return arp_ms
        return deadline_ms

    def arm(self):
        """Wakes the loop for received frames from now on. True when work waits already."""
        return self.device.arm() or bool(self.tcp.pending)

    def disarm(self):
        self.device.disarm()

    def __getattr__(self, name):
        """counters: protocol name -> (counter name -> value). Not a property, for the reason given in tcp.connection."""
        if name != "counters":
            raise AttributeError(name)
        return {
            "device": self.device.counters,
            "ethernet": self.ethernet.counters,
            "arp": self.arp.counters,
            "ipv4": self.ipv4.counters,
            "icmp": self.icmp.counters,
            "udp": self.udp.counters,
            "tcp": self.tcp.counters,
            "stack": {"MemoryDrops": self.memory_drops},
        }
