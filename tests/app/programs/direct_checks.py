# SPDX-License-Identifier: MIT
"""stack_checks over our own stack: two of them, back to back over a link in this process."""

import asyncio
from errno import ETIMEDOUT

import _mirage
from cable import Link
from harness import raises, run_all
from stack_checks import CHECKS

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

loop = EventLoop()
dma = Dma()
log = Log("warning", Console())


def host(address, mac, has_offloads):
    link = Link(dma, mac, has_offloads)
    ethernet = Ethernet(link)
    arp = Arp(ethernet, Random())
    ipv4 = Ipv4(ethernet, arp, Random(), address=address)
    icmp = Icmp(ipv4)
    udp = Udp(ipv4)
    netstack = NetStack(ethernet, Tcp(Random(), Cubic(), ipv4), udp, icmp)
    loop.attach(netstack)
    return Stack(netstack, loop, log), link


async def unanswered_connect_times_out(server, client, ip):
    link = client.netstack.ethernet.device
    link.is_cut = True
    await raises(ETIMEDOUT, client.tcp.connect(ip, 7100, 100))
    link.is_cut = False


async def cancelled_connect_leaves_nothing(server, client, ip):
    link = client.netstack.ethernet.device
    link.is_cut = True
    task = asyncio.create_task(client.tcp.connect(ip, 7101))
    await asyncio.sleep_ms(20)
    task.cancel()
    try:
        await task
    except asyncio.CancelledError:
        pass
    link.is_cut = False
    assert not [conn for conn in client.netstack.tcp.by_key.values() if conn.remote_port == 7101]


async def nothing_is_left_behind(server, client, ip):
    await asyncio.sleep_ms(300)
    for stack in (server, client):
        assert not stack.netstack.tcp.by_key, stack.netstack.tcp.by_key
        pool = stack.netstack.ethernet.device._pool
        assert pool.free == pool.count, pool.free


has_offloads = _mirage.args()[0] == "offloads"
server, server_link = host("10.0.0.1/24", b"\x02\0\0\0\0\1", has_offloads)
client, client_link = host("10.0.0.2/24", b"\x02\0\0\0\0\2", has_offloads)
server_link.peer = client_link
client_link.peer = server_link
MORE = (unanswered_connect_times_out, cancelled_connect_leaves_nothing, nothing_is_left_behind)
loop.run(run_all(CHECKS + MORE, server, client, "10.0.0.1"))
