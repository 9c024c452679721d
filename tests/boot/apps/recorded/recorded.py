# SPDX-License-Identifier: MIT
"""Echoes; on the control port it answers a name with its addresses, and `exit` by returning."""

import asyncio


class Recorded:
    def __init__(self, stack, dns, port, control_port):
        self.stack = stack
        self.dns = dns
        self.port = port
        self.control_port = control_port
        self.end = asyncio.Event()

    async def start(self):
        self.stack.tcp.listen(self.port, self.echo)
        self.stack.tcp.listen(self.control_port, self.control)
        await self.end.wait()
        await asyncio.sleep_ms(100)

    async def echo(self, flow):
        while data := await flow.read():
            await flow.write(data)

    async def control(self, flow):
        order = (await flow.read()).decode().strip()
        if order == "exit":
            self.end.set()
            return
        try:
            answer = " ".join(await self.dns.resolve(order))
        except OSError as error:
            answer = str(error)
        await flow.write(answer.encode() + b"\n")
