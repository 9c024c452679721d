# SPDX-License-Identifier: MIT
"""stack_checks over our own stack: two of them, back to back over a link in this process."""

import asyncio
from errno import ETIMEDOUT

import _mirage
from cable import pair
from harness import raises, run_all
from stack_checks import CHECKS

from libos.app.log import Log
from libos.hal.console import Console
from libos.hal.loop import EventLoop

loop = EventLoop()
log = Log("warning", Console())


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
server, client = pair(loop, log, has_offloads)
MORE = (unanswered_connect_times_out, cancelled_connect_leaves_nothing, nothing_is_left_behind)
loop.run(run_all(CHECKS + MORE, server, client, "10.0.0.1"))
