# SPDX-License-Identifier: MIT
"""The Echo Protocol (RFC 862), and on a second port the state of the guest: its heap and every counter of its stack."""

import gc
import json


class Echo:
    """Echo on `port`; who connects to `control_port` gets a line of JSON: heap (octets in use), counters."""

    def __init__(self, stack, port, control_port):
        self.stack = stack
        self.port = port
        self.control_port = control_port

    async def start(self):
        self.stack.tcp.listen(self.port, self.handle)
        self.stack.tcp.listen(self.control_port, self.tell)
        await self.stack.listen()

    async def handle(self, flow):
        while data := await flow.read():
            await flow.write(data)

    async def tell(self, flow):
        gc.collect()
        heap = gc.mem_alloc()
        await flow.write(json.dumps({"heap": heap, "counters": self.stack.netstack.counters}).encode() + b"\n")
        # The asker closes first, so that no TIME-WAIT of this connection stays in the heap that is asked for next.
        await flow.read()
