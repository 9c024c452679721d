# SPDX-License-Identifier: MIT
"""An echo server and, on a second port, one-line commands: `heap`, `exit N`, `raise`, `size`."""

import gc
import sys


class Probe:
    """Echo (RFC 862) on `port`; on `control_port` one command a connection."""

    def __init__(self, stack, port, control_port):
        self.stack = stack
        self.port = port
        self.control_port = control_port

    async def start(self):
        self.stack.tcp.listen(self.port, self.echo)
        self.stack.tcp.listen(self.control_port, self.control)
        await self.stack.listen()

    async def echo(self, flow):
        while data := await flow.read():
            await flow.write(data)

    async def control(self, flow):
        words = (await flow.read()).decode().split()
        await flow.write(self.answer(words).encode())

    def answer(self, words):
        """The answer to one command; octets for `heap`."""
        if words[0] == "heap":
            gc.collect()
            return str(gc.mem_alloc())
        if words[0] == "exit":
            sys.exit(int(words[1]))
        if words[0] == "raise":
            raise ValueError("asked to")
        return "unknown command"
