# SPDX-License-Identifier: MIT
"""Small services of old (RFC 862, 863, 864, 866), as far as a benchmark needs them."""

import gc

BLOCK_BYTES = 65536


class Services:
    """stack: the flows' own."""

    def __init__(self, stack):
        self.stack = stack
        self.block = bytes(range(256)) * (BLOCK_BYTES // 256)

    async def start(self):
        tcp = self.stack.tcp
        tcp.listen(9, self.discard)
        tcp.listen(19, self.generate)
        tcp.listen(11, self.report)
        # The last one: who waits for this line finds them all.
        tcp.listen(7, self.echo, 1024)
        await self.stack.listen()

    async def echo(self, flow):
        while data := await flow.read():
            await flow.write(data)

    async def discard(self, flow):
        """Takes everything, then says how much it was."""
        total = 0
        while data := await flow.read():
            total += len(data)
        await flow.write(b"%d\n" % total)

    async def generate(self, flow):
        """As many octets as the client asks for, in one line of digits: 0, 1, … 255, 0, …"""
        left = int(await flow.read(20))
        while left > 0:
            await flow.write(self.block if left >= BLOCK_BYTES else self.block[:left])
            left -= BLOCK_BYTES

    async def report(self, flow):
        """The octets of the heap that are in use after a collection."""
        gc.collect()
        await flow.write(b"%d\n" % gc.mem_alloc())
