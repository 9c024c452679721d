# SPDX-License-Identifier: MIT
"""stack_checks over the system's sockets, on the loopback interface; and that they serve both families."""

import asyncio

from harness import run_all
from stack_checks import CHECKS

from libos.app.log import Log
from libos.app.socket_stack import SocketStack
from libos.hal.console import Console
from libos.hal.loop import EventLoop
from libos.hal.sockets import Sockets


def families():
    """The loopback addresses that this machine has."""
    try:
        sockets.close(sockets.listen_tcp("::1", 0, 1))
    except OSError:
        return ["127.0.0.1"]
    return ["127.0.0.1", "::1"]


async def one_port_serves_both_families(server, client, _ip):
    peers = []

    async def handler(flow):
        peers.append(flow.remote[0])
        await flow.write(await flow.read())

    server.tcp.listen(7060, handler)
    for ip in families():
        flow = await client.tcp.connect(ip, 7060)
        await flow.write(b"hello")
        assert await flow.read() == b"hello"
        assert flow.remote == (ip, 7060)
        await flow.close()
    assert peers == families(), peers
    server.tcp.unlisten(7060)

    came = []
    server.udp.listen(7061, lambda data, ip, port: (came.append(ip), server.udp.write(data, ip, port, 7061)))
    answers = []
    client.udp.listen(7062, lambda data, ip, port: answers.append((data, ip, port)))
    for ip in families():
        assert client.udp.write(b"ping", ip, 7061, 7062)
    for _ in range(100):
        if len(answers) == len(families()):
            break
        await asyncio.sleep_ms(20)
    assert came == families(), came
    assert answers == [(b"ping", ip, 7061) for ip in families()], answers
    server.udp.unlisten(7061)
    client.udp.unlisten(7062)


loop = EventLoop()
sockets = Sockets()
loop.attach(sockets)
log = Log("error", Console())
stack = SocketStack(sockets, loop, log)
checks = CHECKS + (one_port_serves_both_families,)
loop.run(run_all(checks, stack, SocketStack(sockets, loop, log), "127.0.0.1"))
