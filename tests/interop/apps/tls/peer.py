# SPDX-License-Identifier: MIT
"""HTTP over TLS on a port for each kind of key, and a control port (99) that takes a line and answers with JSON.

    p256 4431   p384 4432   rsa 4433   ed25519 4434   with a client's certificate 4435

GET / tells of the connection; else as web.py. Commands: `heap`, `counters`, `get IP PORT HOST PATH`.
"""

import gc
import json

import web
from reader import Reader

VERSIONS = {0x0303: "1.2", 0x0304: "1.3"}
GROUPS = {0x11EC: "X25519MLKEM768", 0x1D: "x25519", 0x17: "secp256r1"}


def describe(engine):
    """What is known of a connection."""
    return {
        "version": VERSIONS[engine.version],
        "cipher": engine.cipher,
        "group": GROUPS.get(engine.group, ""),
        "alpn": (engine.alpn or b"").decode(),
        "resumed": engine.is_resumed,
        "host": engine.server_name,
        "certificates": len(engine.peer_chain),
    }


class Peer:
    """stack: below all; the others are TLS over it."""

    def __init__(self, stack, p256, p384, rsa, ed25519, strict, client):
        self.stack = stack
        self.servers = {4431: p256, 4432: p384, 4433: rsa, 4434: ed25519, 4435: strict}
        self.client = client
        self.commands = {"heap": self.heap, "counters": self.counters, "get": self.get}

    async def start(self):
        for port, stack in self.servers.items():
            stack.tcp.listen(port, self.serve)
        self.stack.tcp.listen(99, self.control)
        await self.stack.listen()

    async def serve(self, flow):
        await web.serve(flow, lambda: json.dumps(describe(flow.tls)).encode())

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
        return {str(port): stack.server.counters for port, stack in self.servers.items()}

    async def get(self, ip, port, host, path):
        flow = await self.client.tcp.connect(ip, int(port), 20000, hostname=host)
        try:
            answer = await web.get(flow, host, path)
            answer.update(describe(flow.tls))
            return answer
        finally:
            await flow.close()
