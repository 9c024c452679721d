# SPDX-License-Identifier: MIT
"""The Echo Protocol (RFC 862): every octet that a client sends comes back."""


class Echo:
    def __init__(self, stack, port):
        self.stack = stack
        self.port = port

    async def start(self):
        self.stack.tcp.listen(self.port, self.handle)
        await self.stack.listen()

    async def handle(self, flow):
        while data := await flow.read():
            await flow.write(data)
