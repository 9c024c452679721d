# SPDX-License-Identifier: MIT
"""stack_checks over a TlsStack, over either stack, with a stand-in for the engines; and what only TLS has."""

import asyncio
from errno import ECONNABORTED, ECONNRESET, ETIMEDOUT

import _mirage
import fake_tls
from cable import pair
from harness import port, raises, run_all, take_ports, until
from stack_checks import CHECKS, echo, pattern, raises_any, read_exactly, read_to_end

from libos.app.log import Log
from libos.app.socket_stack import SocketStack
from libos.app.tls import TlsStack, wrap
from libos.hal.clock import Clock
from libos.hal.console import Console
from libos.hal.loop import EventLoop
from libos.hal.sockets import Sockets


async def tls_fails(coroutine):
    """Awaits the coroutine, which must raise TlsError; returns it."""
    try:
        await coroutine
    except fake_tls.TlsError as error:
        return error
    raise AssertionError("no TlsError")


async def records_are_what_goes_over_the_wire(server, client, ip):
    server.tcp.listen(port(30), echo)
    flow = await client.below.tcp.connect(ip, port(30))
    await flow.write(fake_tls.record(fake_tls.HELLO, b""))
    assert (await read_exactly(flow, 4))[0] == fake_tls.HELLO
    await flow.write(fake_tls.record(fake_tls.FINISHED, b"") + fake_tls.record(fake_tls.DATA, b"ping"))
    # The ticket waited for the first data.
    expected = fake_tls.record(fake_tls.TICKET, b"ticket") + fake_tls.record(fake_tls.DATA, b"ping")
    assert await read_exactly(flow, len(expected)) == expected
    await flow.write(fake_tls.record(fake_tls.ALERT, b"\0"))
    assert await read_to_end(flow) == fake_tls.record(fake_tls.ALERT, b"\0")
    await flow.close()
    server.tcp.unlisten(port(30))


async def client_is_given_name_time_and_session(server, client, ip):
    server.tcp.listen(port(31), echo)
    asked = client.client.asked
    for verify in (True, True, False):
        flow = await client.tcp.connect(ip, port(31), hostname="example.org", verify=verify)
        await flow.write(b"x")
        assert await flow.read() == b"x"
        await flow.close()
    flow = await client.tcp.connect(ip, port(31))
    await flow.close()
    told = [(hostname, session, verify) for hostname, _, session, verify in asked[-4:]]
    name = "example.org"
    assert told == [(name, None, True), (name, b"ticket", True), (name, None, False), (ip, None, True)], told
    assert all(wall_s > 1735689600 for _, wall_s, _, _ in asked)
    server.tcp.unlisten(port(31))


async def end_without_close_notify_is_an_error(server, client, ip):
    seen = []

    async def handler(flow):
        assert await flow.read() == b"half"
        seen.append((await tls_fails(flow.read()), flow.error))

    server.tcp.listen(port(32), handler)
    flow = await client.tcp.connect(ip, port(32))
    await flow.write(b"half")
    flow._flow.shutdown_write()
    await until(lambda: seen)
    assert seen[0][0].reason == "truncated" and seen[0][1] == 71, seen
    await flow.close()
    server.tcp.unlisten(port(32))


async def what_the_peer_does_wrong_is_told_by_an_alert(server, client, ip):
    seen = []

    async def handler(flow):
        await flow.write(await flow.read())
        seen.append(await tls_fails(flow.read()))
        raise seen[0]

    server.tcp.listen(port(33), handler)
    failures = server.server.counters["failures"]
    flow = await client.tcp.connect(ip, port(33))
    await flow.write(b"ping")
    assert await flow.read() == b"ping"
    # Behind it comes more than anybody reads: that must not cost the peer the alert.
    await flow._flow.write(fake_tls.record(99, b"") + bytes(20000))
    error = await tls_fails(flow.read())
    assert (error.alert, error.is_remote) == (10, True)
    assert seen[0].alert == 10 and not seen[0].is_remote
    assert server.server.counters["failures"] == failures + 1
    await flow.close()
    server.tcp.unlisten(port(33))


async def failed_handshake_is_told_to_both(server, client, ip):
    server.tcp.listen(port(34), echo)
    flow = await client.below.tcp.connect(ip, port(34))
    await flow.write(fake_tls.record(fake_tls.DATA, b"too early"))
    assert await read_to_end(flow) == fake_tls.record(fake_tls.ALERT, b"\x0a")
    await flow.close()
    server.tcp.unlisten(port(34))

    async def nonsense(flow):
        await flow.write(fake_tls.record(99, b""))
        got.append(await read_to_end(flow))

    got = []
    server.below.tcp.listen(port(35), nonsense)
    error = await tls_fails(client.tcp.connect(ip, port(35)))
    assert error.alert == 10 and not error.is_remote
    await until(lambda: got)
    assert got[0].endswith(fake_tls.record(fake_tls.ALERT, b"\x0a")), got
    server.below.tcp.unlisten(port(35))


async def handshake_has_a_timeout(server, client, ip):
    strict = TlsStack(server.below, log, clock, fake_tls.ServerContext(), timeout_ms=100)
    counters = strict.server.counters
    strict.tcp.listen(port(36), echo)
    silent = await client.below.tcp.connect(ip, port(36))
    slow = await client.below.tcp.connect(ip, port(36))

    async def drip():
        # Each octet comes in time, and they never end.
        await slow.write(b"\0\0\x40")
        while True:
            await slow.write(b"\0")
            await asyncio.sleep_ms(10)

    dripping = asyncio.create_task(raises_any(drip()))
    quick = await client.tcp.connect(ip, port(36))
    await raises(ECONNRESET, silent.read())
    await dripping
    assert counters["handshake_timeouts"] == 2 and len(strict.half_open) == 0
    await quick.write(b"healthy")
    assert await quick.read() == b"healthy"
    for flow in (silent, slow, quick):
        await flow.close()
    strict.tcp.unlisten(port(36))

    async def deaf(flow):
        await asyncio.sleep_ms(500)

    server.below.tcp.listen(port(37), deaf)
    await raises(ETIMEDOUT, client.tcp.connect(ip, port(37), 200))
    below = await client.below.tcp.connect(ip, port(37))
    await raises(ETIMEDOUT, wrap(below, client.client, False, timeout_ms=50))
    await raises(ECONNABORTED, below.read())
    server.below.tcp.unlisten(port(37))


async def half_open_handshakes_are_bounded(server, client, ip):
    small = TlsStack(server.below, log, clock, fake_tls.ServerContext(), half_open=4)
    small.tcp.listen(port(38), echo)
    healthy = await client.tcp.connect(ip, port(38))
    flows = []
    for _ in range(6):
        flows.append(await client.below.tcp.connect(ip, port(38)))
    counters = small.server.counters
    await until(lambda: counters["half_open_dropped"] == 2)
    assert len(small.half_open) == 4
    for flow in flows[:2]:
        await raises(ECONNRESET, flow.read())
    # Who is there pushes out one that is not, and goes on.
    late = await client.tcp.connect(ip, port(38))
    for flow in (healthy, late):
        await flow.write(b"healthy")
        assert await flow.read() == b"healthy"
        await flow.close()
    assert counters["half_open_dropped"] == 3 and len(small.half_open) == 3
    assert small.counters["tls"]["half_open_dropped"] == 3
    for flow in flows:
        flow.abort()
    await until(lambda: len(small.half_open) == 0)
    small.tcp.unlisten(port(38))


async def small_reads_take_records_apart(server, client, ip):
    server.tcp.listen(port(39), echo)
    flow = await client.tcp.connect(ip, port(39))
    assert flow.read_now(10) is None
    await flow.write(pattern(40000))
    flow.shutdown_write()
    got = b""
    while data := await flow.read(7 if len(got) < 700 else 9000):
        assert len(data) <= 9000 and (len(got) >= 700 or len(data) <= 7)
        got += data
    assert got == pattern(40000)
    assert flow.read_now(10) == b"" and await flow.read(0) == b""
    await flow.close()
    server.tcp.unlisten(port(39))


async def answers_pile_up_to_a_bound(server, client, ip):
    """A peer that has us answer, and does not read: we stop reading, and write on once it does."""
    go = asyncio.Event()
    server.tcp.listen(port(40), echo)
    flow = await client.below.tcp.connect(ip, port(40))
    await flow.write(fake_tls.record(fake_tls.HELLO, b"") + fake_tls.record(fake_tls.FINISHED, b""))
    storm = fake_tls.record(fake_tls.UPDATE, bytes(996)) * 64
    sent = 0

    async def send():
        nonlocal sent
        while not go.is_set():
            await flow.write(storm)
            sent += 64
        flow.shutdown_write()

    task = asyncio.create_task(send())
    before = -1
    while before != sent:
        before = sent
        await asyncio.sleep_ms(300)
    go.set()
    got = await read_to_end(flow)
    await task
    ticket = fake_tls.record(fake_tls.TICKET, b"ticket")
    # The hello and the ticket of the handshake, an answer for each, and the end of the stream.
    assert got.startswith(fake_tls.record(fake_tls.HELLO, b"") + ticket * (sent + 1)), (len(got), sent)
    await flow.close()
    server.tcp.unlisten(port(40))


async def close_notify_goes_behind_a_full_buffer(server, client, ip):
    go = asyncio.Event()
    received = []

    async def slow(flow):
        await go.wait()
        received.append(await read_to_end(flow))

    server.tcp.listen(port(41), slow)
    flow = await client.tcp.connect(ip, port(41))
    data = pattern(8 << 20)
    try:
        await asyncio.wait_for_ms(flow.write(data), 300)
    except asyncio.TimeoutError:
        pass
    unsent = flow.unsent
    assert data.endswith(unsent) and 0 < len(unsent) < len(data)
    flow.shutdown_write()
    await raises_any(flow.write(b"more"))
    go.set()
    await until(lambda: received)
    # What was encrypted when the write was cancelled has arrived, and then the end, in order.
    assert received[0] == data[: len(data) - len(unsent)]
    assert await flow.read() == b""
    await flow.close()
    server.tcp.unlisten(port(41))


async def what_is_missing_is_said(server, client, ip):
    try:
        client.tcp.listen(port(42), echo)
    except ValueError:
        pass
    else:
        raise AssertionError("no ValueError")
    server.below.tcp.listen(port(42), echo)
    try:
        await server.tcp.connect(ip, port(42))
    except ValueError:
        pass
    else:
        raise AssertionError("no ValueError")
    server.below.tcp.unlisten(port(42))
    assert server.families() == server.below.families() and await server.wait_until_up(10)


async def certificates_are_replaced(server, client, ip):
    server.replace(["new"])
    assert server.server.credentials == ["new"]


MORE = (
    records_are_what_goes_over_the_wire,
    client_is_given_name_time_and_session,
    end_without_close_notify_is_an_error,
    what_the_peer_does_wrong_is_told_by_an_alert,
    failed_handshake_is_told_to_both,
    handshake_has_a_timeout,
    half_open_handshakes_are_bounded,
    small_reads_take_records_apart,
    answers_pile_up_to_a_bound,
    close_notify_goes_behind_a_full_buffer,
    what_is_missing_is_said,
    certificates_are_replaced,
)

loop = EventLoop()
sockets = Sockets()
loop.attach(sockets)
take_ports(sockets)
log = Log("warning", Console())
clock = Clock()
if _mirage.args()[0] == "sockets":
    ip = "127.0.0.1"
    below = [SocketStack(sockets, loop, log) for _ in range(2)]
else:
    ip = "10.0.0.1"
    below = pair(loop, log, True)
server = TlsStack(below[0], log, clock, fake_tls.ServerContext())
client = TlsStack(below[1], log, clock, client=fake_tls.ClientContext())
loop.run(run_all(CHECKS + MORE, server, client, ip))
