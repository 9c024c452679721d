# SPDX-License-Identifier: MIT
"""Echoes over TLS; connects to a server of the test's first, and says what came of it. Takes a new certificate, too."""

from libos.tls.credential import Credential


class Secure:
    def __init__(self, stack, client, console, port, peer, name):
        self.stack = stack
        self.client = client
        self.console = console
        self.port = port
        self.peer = peer
        self.name = name

    async def start(self):
        if self.name:
            try:
                flow = await self.client.tcp.connect("127.0.0.1", self.peer, hostname=self.name)
                data = await flow.read()
                self.console.write(f"the server says {data}\n")
                await flow.close()
            except OSError as error:
                self.console.write(f"not connected: {error}\n")
        self.stack.tcp.listen(self.port, self.echo)
        self.console.write(f"listening on tcp port {self.port}\n")
        await self.stack.listen()

    async def echo(self, flow):
        while True:
            data = await flow.read()
            if not data:
                return
            if data.startswith(b"-----BEGIN"):
                try:
                    self.stack.replace([Credential.of_pem(self.stack.server.crypto, data, data)])
                    data = b"replaced"
                except ValueError as error:
                    data = str(error).encode()
            await flow.write(data)
