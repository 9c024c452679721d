# SPDX-License-Identifier: MIT
"""What config.py beside it says. Orders: `connect HOST PORT NAME`, `ssl HOST PORT NAME`, `counters`, `heap`."""

import asyncio
import gc
import ssl

from pems import PEM


class Sealed:
    def __init__(self, stack, tls_stack, contexts, port, ssl_port, control_port):
        self.stack = stack
        self.tls = tls_stack
        self.port = port
        self.ssl_port = ssl_port
        self.control_port = control_port

    async def start(self):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(PEM)
        self.tls.tcp.listen(self.port, self.echo, 1024)
        await asyncio.start_server(self.upper, "0.0.0.0", self.ssl_port, ssl=context)
        self.stack.tcp.listen(self.control_port, self.control)
        await self.stack.listen()

    async def echo(self, flow):
        while data := await flow.read():
            await flow.write(data)

    async def upper(self, reader, writer):
        while line := await reader.readline():
            writer.write(line.upper())
            await writer.drain()
        writer.close()

    async def control(self, flow):
        words = (await flow.read()).decode().split()
        try:
            answer = await self.obey(words)
        except OSError as error:
            answer = "OSError: " + str(error)
        await flow.write(answer.encode())

    async def obey(self, words):
        if words[0] == "counters":
            return repr(self.stack.counters["tls"])
        if words[0] == "heap":
            gc.collect()
            return str(gc.mem_alloc())
        host, port, name = words[1], int(words[2]), words[3]
        if words[0] == "connect":
            flow = await self.tls.tcp.connect(host, port, hostname=name)
            await flow.write(b"from the guest\n")
            answer = await flow.read()
            await flow.close()
            return " ".join((answer.decode(), flow.tls.cipher, str(flow.tls.is_resumed)))
        reader, writer = await asyncio.open_connection(host, port, ssl=True, server_hostname=name)
        writer.write(b"from the guest\n")
        await writer.drain()
        answer = await reader.readline()
        cipher = writer.get_extra_info("ssl_object").cipher()
        await writer.wait_closed()
        return " ".join((answer.decode(), cipher[0]))
