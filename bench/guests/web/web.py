# SPDX-License-Identifier: MIT
"""A folder over HTTP and HTTPS; echo over TCP (7) and TLS (445); and how much memory is in use (11)."""

import gc


class Web:
    """stack: the flows' own; files: what is served; secure: TLS over the stack."""

    def __init__(self, stack, files, secure, *servers):
        self.stack = stack
        self.files = files
        self.secure = secure
        self.servers = servers

    async def start(self):
        for server in self.servers:
            server.folder("/", self.files)
            server.start()
        self.secure.tcp.listen(445, self.echo, 1024)
        self.stack.tcp.listen(11, self.report)
        # The last one: who waits for this line finds them all.
        self.stack.tcp.listen(7, self.echo)
        await self.stack.listen()

    async def echo(self, flow):
        while data := await flow.read():
            await flow.write(data)

    async def report(self, flow):
        """The octets of the heap that are in use after a collection."""
        gc.collect()
        await flow.write(b"%d\n" % gc.mem_alloc())
