# SPDX-License-Identifier: MIT
"""stack_checks over the system's sockets, on the loopback interface; and that they serve both families."""

from harness import port, run_all, take_ports, until
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

    server.tcp.listen(port(60), handler)
    for ip in families():
        flow = await client.tcp.connect(ip, port(60))
        await flow.write(b"hello")
        assert await flow.read() == b"hello"
        assert flow.remote == (ip, port(60))
        await flow.close()
    assert peers == families(), peers
    server.tcp.unlisten(port(60))

    came = []
    server.udp.listen(port(61), lambda data, ip, src: (came.append(ip), server.udp.write(data, ip, src, port(61))))
    answers = []
    client.udp.listen(port(62), lambda data, ip, src: answers.append((data, ip, src)))
    for ip in families():
        assert client.udp.write(b"ping", ip, port(61), port(62))
    await until(lambda: len(answers) == len(families()))
    assert came == families(), came
    assert answers == [(b"ping", ip, port(61)) for ip in families()], answers
    server.udp.unlisten(port(61))
    client.udp.unlisten(port(62))


loop = EventLoop()
sockets = Sockets()
loop.attach(sockets)
take_ports(sockets)
log = Log("warning", Console())
stack = SocketStack(sockets, loop, log)
checks = CHECKS + (one_port_serves_both_families,)
loop.run(run_all(checks, stack, SocketStack(sockets, loop, log), "127.0.0.1"))
