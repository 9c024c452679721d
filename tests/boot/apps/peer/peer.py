# SPDX-License-Identifier: MIT
"""Sends octets that tell their place to another unikernel like this, which sends them back; both end then."""

import asyncio

BLOCK = 1 << 16
LINGER_MS = 20_000


def block(number):
    """A block that no other block is equal to."""
    return number.to_bytes(4, "big") * (BLOCK // 4)


class Peer:
    def __init__(self, stack, console, port, peer, megabytes):
        self.stack = stack
        self.console = console
        self.port = port
        self.peer = peer
        self.blocks = megabytes * 16
        self.octets = 0
        self.done = asyncio.Event()

    async def start(self):
        serving = asyncio.create_task(self.stack.listen())
        if self.peer is None:
            self.stack.tcp.listen(self.port, self.echo)
            await self.done.wait()
            self.console.write(f"echoed {self.octets} octets\n")
        else:
            await self.exchange()
            self.console.write(f"intact: {self.octets} octets\n")
        serving.cancel()

    async def echo(self, flow):
        while data := await flow.read():
            self.octets += len(data)
            await flow.write(data)
        # A machine that ends takes with it what is not acknowledged yet, however short the wait for a window may be.
        if not await flow.close(LINGER_MS):
            self.console.write("the other side has not acknowledged everything\n")
        self.done.set()

    async def exchange(self):
        for _ in range(100):
            try:
                flow = await self.stack.tcp.connect(self.peer, self.port, timeout_ms=2000)
                break
            except OSError:
                # The other one is not there yet.
                await asyncio.sleep_ms(200)
        else:
            raise OSError("nobody answers")
        sending = asyncio.create_task(self.send(flow))
        for number in range(self.blocks):
            expected = block(number)
            got = b""
            while len(got) < BLOCK:
                data = await flow.read(BLOCK - len(got))
                if not data:
                    raise OSError("the connection ended early")
                got += data
            if got != expected:
                raise ValueError(f"block {number} came back changed")
            self.octets += len(got)
        await sending
        if await flow.read(1):
            raise ValueError("more came back than was sent")
        await flow.close(LINGER_MS)
        # The acknowledgement of the other side's end is on its way; without it that would wait.
        await asyncio.sleep_ms(500)

    async def send(self, flow):
        for number in range(self.blocks):
            await flow.write(block(number))
        flow.shutdown_write()
