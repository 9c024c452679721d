# SPDX-License-Identifier: MIT
"""Echo, discard, HTTP and iperf3, and a control port (99) that takes one line and answers with one line of JSON.

    echo 7, over TCP and UDP   discard 9   HTTP 80   iperf3 5201

Commands: `heap`, `counters`, `get IP PORT PATH`, `send IP PORT OCTETS`, `datagram IP PORT TEXT`,
`iperf3 IP PORT OCTETS forward|reverse STREAMS`, `refused IP PORT`, `resolve NAME`, `fetch NAME PORT PATH`,
`join GROUP`, `leave GROUP`: what comes to port 7 for the group is echoed, from our own address.
"""

import asyncio
import gc
import json

import iperf3
import pattern
import web
from reader import Reader

DATAGRAM_TIMEOUT_MS = 5000
CLIENT_PORT = 4000


class Interop:
    """stack: the stack under test; dns: names to addresses over it."""

    def __init__(self, stack, dns):
        self.stack = stack
        self.dns = dns
        self.answers = []
        self.answered = asyncio.Event()
        self.commands = {
            "heap": self.heap,
            "counters": self.counters,
            "get": self.get,
            "send": self.send,
            "datagram": self.datagram,
            "iperf3": self.iperf3,
            "refused": self.refused,
            "resolve": self.resolve,
            "fetch": self.fetch,
            "join": self.join,
            "leave": self.leave,
        }

    async def start(self):
        stack = self.stack
        stack.tcp.listen(7, self.echo)
        stack.udp.listen(7, self.echo_datagram)
        stack.tcp.listen(9, self.discard)
        stack.tcp.listen(80, web.serve)
        server = iperf3.Server()
        stack.tcp.listen(5201, server.serve)
        stack.udp.listen(CLIENT_PORT, self.take_datagram)
        stack.tcp.listen(99, self.control)
        await stack.listen()

    async def echo(self, flow):
        while data := await flow.read():
            await flow.write(data)

    def echo_datagram(self, data, src_ip, src_port):
        self.stack.udp.write(data, src_ip, src_port, 7)

    async def discard(self, flow):
        while await flow.read():
            pass

    def take_datagram(self, data, src_ip, src_port):
        if len(self.answers) < 16:
            self.answers.append((src_ip, src_port, data))
            self.answered.set()

    async def control(self, flow):
        words = (await Reader(flow).line(1000)).decode().split()
        try:
            answer = await self.commands[words[0]](*words[1:])
        except (OSError, ValueError) as error:
            answer = {"error": "%s: %s" % (type(error).__name__, error)}
        await flow.write(json.dumps(answer).encode() + b"\n")

    async def heap(self):
        gc.collect()
        return {"heap": gc.mem_alloc()}

    async def counters(self):
        return self.stack.netstack.counters

    async def get(self, ip, port, path):
        flow = await self.stack.tcp.connect(ip, int(port))
        try:
            return await web.get(flow, ip, path)
        finally:
            await flow.close()

    async def send(self, ip, port, octets):
        """Sends so much of the pattern, ends our side, and waits for the peer's end."""
        flow = await self.stack.tcp.connect(ip, int(port))
        await pattern.write(flow, int(octets))
        flow.shutdown_write()
        received = 0
        while data := await flow.read():
            received += len(data)
        await flow.close()
        return {"sent": int(octets), "received": received}

    async def datagram(self, ip, port, text):
        self.answers.clear()
        self.answered.clear()
        queued = self.stack.udp.write(text.encode(), ip, int(port), CLIENT_PORT)
        try:
            await asyncio.wait_for_ms(self.answered.wait(), DATAGRAM_TIMEOUT_MS)
        except asyncio.TimeoutError:
            return {"queued": queued, "answer": None}
        src_ip, src_port, data = self.answers[0]
        return {"queued": queued, "answer": data.decode(), "from": [src_ip, src_port]}

    async def iperf3(self, ip, port, octets, direction, streams):
        client = iperf3.Client(self.stack, ip, int(port))
        return await client.run(int(octets), direction == "reverse", int(streams))

    async def refused(self, ip, port):
        """Connects where it should not succeed: the errno."""
        try:
            flow = await self.stack.tcp.connect(ip, int(port), 10000)
        except OSError as error:
            return {"errno": error.errno}
        await flow.close()
        return {"errno": 0}

    async def resolve(self, name):
        return {"addresses": await self.dns.resolve(name)}

    async def fetch(self, name, port, path):
        """As `get`, from a host by its name."""
        flow = await self.dns.connect(name, int(port))
        try:
            return await web.get(flow, name, path)
        finally:
            await flow.close()

    async def join(self, group):
        self.stack.udp.join(group)
        return {}

    async def leave(self, group):
        self.stack.udp.leave(group)
        return {}
