# SPDX-License-Identifier: MIT
"""A relay between two network devices: frames are handed on as they are, in the buffers that they came in."""

import asyncio

LIMIT = 64


class Relay:
    """left, right: network devices; loop: the event loop, which polls this as a service; console: says when it runs."""

    def __init__(self, left, right, loop, console):
        self.devices = (left, right)
        self.console = console
        self.frames = [None] * LIMIT
        self.waiting = {left: [], right: []}
        for device in self.devices:
            device.set_promiscuous(True)
        loop.attach(self)

    async def start(self):
        left, right = self.devices
        self.console.write("relaying between " + left.mac.hex() + " and " + right.mac.hex() + "\n")
        while True:
            await asyncio.sleep(3600)

    def poll(self, now_ms):
        left, right = self.devices
        worked = self.hand_on(left, right)
        return self.hand_on(right, left) or worked

    def hand_on(self, source, sink):
        """Frames that the sink had no room for go first, and nothing new is taken before they are gone."""
        waiting = self.waiting[sink]
        if waiting:
            taken = sink.tx_batch(waiting, len(waiting))
            self.waiting[sink] = waiting[taken:]
            return taken > 0
        count = source.rx_batch(self.frames, LIMIT)
        if count:
            for position in range(count):
                # Nothing is left for this device to do: the checksum is what the sender put in.
                self.frames[position].flags = 0
            taken = sink.tx_batch(self.frames, count)
            if taken < count:
                self.waiting[sink] = self.frames[taken:count]
        return count > 0

    def next_deadline_ms(self):
        return None

    def arm(self):
        left, right = self.devices
        has_work = left.arm()
        return right.arm() or has_work or bool(self.waiting[left] or self.waiting[right])

    def disarm(self):
        for device in self.devices:
            device.disarm()
