# SPDX-License-Identifier: MIT
"""Says on either stack which one it is, and echoes."""

import asyncio


class Dual:
    def __init__(self, wan, lan, port):
        self.stacks = (wan, lan)
        self.port = port

    async def start(self):
        wan, lan = self.stacks
        wan.tcp.listen(self.port, self.handler(b"wan"))
        lan.tcp.listen(self.port, self.handler(b"lan"))
        await asyncio.gather(*(stack.listen() for stack in self.stacks))

    def handler(self, name):
        async def handle(flow):
            await flow.write(name)
            while data := await flow.read():
                await flow.write(data)

        return handle
