# SPDX-License-Identifier: MIT
"""A relay between two network devices: a service of the event loop, with no protocol above it.

Frames are handed on as they are, in the buffers that they came in. An 82599 sends them from there; virtio-net and a TAP
copy them into buffers of their own, for a foreign one has no place in their rings.
"""

import asyncio
import sys

# Features of a device (docs/architecture.md): it cuts TCP segments when sending; it may receive such uncut ones.
TX_TSO4 = 2
RX_LRO = 16
LIMIT = 64  # frames that are handed on at once, in one direction
RECLAIM_MS = 10  # how soon to look again for buffers that are still being sent


class Way:
    """One direction. waiting: frames that the sink had no room for; nothing new is taken before they are gone."""

    def __init__(self, source, sink):
        self.source = source
        self.sink = sink
        self.batch = [None] * LIMIT
        self.waiting = []
        self.frames = 0
        self.octets = 0

    def poll(self):
        if self.waiting:
            taken = self.send(self.waiting, len(self.waiting))
            self.waiting = self.waiting[taken:]
            return taken > 0
        count = self.source.rx_batch(self.batch, LIMIT)
        if count:
            taken = self.send(self.batch, count)
            if taken < count:
                self.waiting = self.batch[taken:count]
        return count > 0

    def send(self, batch, count):
        # Sent frames are the sink's: what is to be known of them is asked before.
        lengths = [batch[position].total() for position in range(count)]
        taken = self.sink.tx_batch(batch, count)
        self.frames += taken
        self.octets += sum(lengths[:taken])
        return taken

    def text(self):
        return f"{self.frames} frames ({self.octets} octets)"


class Relay:
    """left, right: network devices; loop: the event loop, which polls this; report: ms between two reports."""

    def __init__(self, left, right, loop, console, report):
        self.devices = (left, right)
        self.console = console
        self.report_ms = report
        self.there = Way(left, right)
        self.back = Way(right, left)
        self.now_ms = 0
        self.is_sending = False
        for way in (self.there, self.back):
            if way.source.features & RX_LRO and not way.sink.features & TX_TSO4:
                sys.exit(
                    f"relay: error: {way.source.name} may receive large segments, which {way.sink.name} cannot send; "
                    "configure with --no-large-segments"
                )
        # virtio-net and TAPs deliver whatever reaches them, unless told otherwise.
        for device in self.devices:
            if hasattr(device, "set_promiscuous"):
                device.set_promiscuous(True)
        # Who sends from foreign buffers gives them back when asked.
        self.lenders = [device for device in self.devices if hasattr(device, "reclaim")]
        loop.attach(self)

    async def start(self):
        left, right = (device.mac.hex(":") for device in self.devices)
        self.console.write(f"relaying between {left} and {right}\n")
        told = 0
        while True:
            await asyncio.sleep_ms(self.report_ms)
            if self.there.frames + self.back.frames != told:
                told = self.there.frames + self.back.frames
                self.console.write(f"relayed {self.text()}\n")

    def text(self):
        """What has been relayed since the start."""
        return f"{self.there.text()} to the right, {self.back.text()} to the left"

    # --- a service of the event loop ---

    def poll(self, now_ms):
        self.now_ms = now_ms
        worked = self.there.poll()
        return self.back.poll() or worked

    def next_deadline_ms(self):
        # Buffers that one card still sends are missing at the other, which cannot say so.
        return self.now_ms + RECLAIM_MS if self.is_sending else None

    def arm(self):
        self.is_sending = False
        for device in self.lenders:
            if device.reclaim():
                self.is_sending = True
        left, right = self.devices
        has_work = left.arm()
        return right.arm() or has_work

    def disarm(self):
        for device in self.devices:
            device.disarm()
