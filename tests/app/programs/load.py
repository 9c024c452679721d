# SPDX-License-Identifier: MIT
"""A mixed load on a small heap: connections of all lengths over our own stack, both ends in this process.

Arguments: how many requests, octets of the longest one. Prints how it went, for test_memory.py.
"""

import asyncio
import gc

import _mirage
from cable import Link

from libos.app.log import Log
from libos.app.stack import Stack
from libos.hal.console import Console
from libos.hal.dma import Dma
from libos.hal.loop import EventLoop
from libos.hal.random import Random
from libos.net.ip.icmp import Icmp
from libos.net.ip.ipv4 import Ipv4
from libos.net.link.arp import Arp
from libos.net.link.ethernet import Ethernet
from libos.net.stack import NetStack
from libos.net.tcp import Tcp
from libos.net.tcp.cubic import Cubic
from libos.net.udp import Udp

CLIENTS = 4
SESSIONS = 200  # that the server remembers
LOOKS = 40
PORT = 7


class Load:
    def __init__(self, server, client, requests, longest):
        self.server = server
        self.client = client
        self.requests = requests
        self.sizes = [1, 10, 100, 700, 3000, 9000, 30000, longest]
        self.seed = 1
        self.begun = self.answered = self.most_live = 0
        self.errors = []
        self.sessions = {}

    def random(self, limit):
        self.seed = (self.seed * 1103515245 + 12345) & 0x7FFFFFFF
        return (self.seed >> 8) % limit

    async def serve(self, flow):
        """NUMBER SIZE and so many octets are answered by them; the server closes first where NUMBER is odd."""
        head = b""
        while b"\n" not in head:
            head += await flow.read()
        head, rest = head.split(b"\n", 1)
        number, size = (int(word) for word in head.split())
        parts = [rest]
        left = size - len(rest)
        while left:
            data = await flow.read()
            parts.append(data)
            left -= len(data)
        body = b"".join(parts)
        self.sessions[number] = {"size": size, "begin": body[:20]}
        self.sessions.pop(number - SESSIONS, None)
        await flow.write(body)
        if number % 2:
            await flow.close()
        else:
            await flow.read()

    async def ask(self, number):
        size = self.sizes[self.random(len(self.sizes))]
        size += self.random(size)
        flow = await self.client.tcp.connect("10.0.0.1", PORT)
        try:
            body = bytes((number + i) & 255 for i in range(64)) * (size // 64 + 1)
            await flow.write(b"%d %d\n" % (number, size) + body[:size])
            found = []
            left = size
            while left:
                data = await flow.read()
                if not data:
                    raise OSError("cut")
                found.append(data)
                left -= len(data)
            if b"".join(found) != body[:size]:
                raise OSError("other octets")
        finally:
            await flow.close()
        self.answered += 1

    async def work(self):
        while self.begun < self.requests:
            self.begun += 1
            try:
                await self.ask(self.begun)
            except (OSError, MemoryError) as error:
                self.errors.append(repr(error))
            if self.begun % (self.requests // LOOKS) == 0:
                gc.collect()
                self.most_live = max(self.most_live, gc.mem_alloc())

    async def run(self):
        self.server.tcp.listen(PORT, self.serve)
        await asyncio.gather(*[self.work() for _ in range(CLIENTS)])
        print("answered", self.answered, "errors", self.errors[:5])
        await asyncio.sleep_ms(300)  # the last handlers end
        gc.collect()
        heap = _mirage.memory()[1]
        print("heap", heap, "most live", self.most_live)
        live, free = gc.mem_alloc(), gc.mem_free()
        tables = [stack.netstack.tcp.time_waits.by_key for stack in (self.server, self.client)]
        print("waiting", *[len(table) for table in tables])
        print("live", live, "free", free)
        print("end of load")
        print("largest", largest())


def largest():
    """Octets of the largest buffer that can be had."""
    least, most = 0, 64 << 20
    while most - least > 4096:
        middle = (least + most) // 2
        try:
            bytearray(middle)
            least = middle
        except MemoryError:
            most = middle
        gc.collect()
    return least


def host(loop, dma, log, address, mac, max_time_waits):
    link = Link(dma, mac, False)
    ethernet = Ethernet(link)
    ipv4 = Ipv4(ethernet, Arp(ethernet, Random()), Random(), address=address)
    netstack = NetStack(ethernet, Tcp(Random(), Cubic(), ipv4, max_time_waits=max_time_waits), Udp(ipv4), Icmp(ipv4))
    loop.attach(netstack)
    return Stack(netstack, loop, log), link


def main():
    loop, dma, log = EventLoop(), Dma(), Log("warning", Console())
    server, server_link = host(loop, dma, log, "10.0.0.1/24", b"\x02\0\0\0\0\1", 1024)
    client, client_link = host(loop, dma, log, "10.0.0.2/24", b"\x02\0\0\0\0\2", 16)
    server_link.peer, client_link.peer = client_link, server_link
    requests, longest = (int(word) for word in _mirage.args())
    loop.run(Load(server, client, requests, longest).run())


main()
