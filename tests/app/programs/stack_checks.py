# SPDX-License-Identifier: MIT
"""What an application may expect of a stack, whichever it is. Each check gets two stacks and the server's address."""

import asyncio
import time
from errno import ECONNABORTED, ECONNREFUSED, ECONNRESET

from harness import port, raises, until

PATTERN = bytes(range(251))


def pattern(length):
    return (PATTERN * (length // 251 + 1))[:length]


async def read_exactly(flow, length):
    parts = []
    while length:
        data = await flow.read(length)
        assert data, "the end came %d octets too early" % length
        parts.append(data)
        length -= len(data)
    return b"".join(parts)


async def read_to_end(flow):
    parts = []
    while data := await flow.read():
        parts.append(data)
    return b"".join(parts)


async def echo(flow):
    while data := await flow.read():
        await flow.write(data)


async def every_size_comes_back(server, client, ip):
    server.tcp.listen(port(1), echo)
    flow = await client.tcp.connect(ip, port(1))
    for length in (1, 2, 63, 64, 1459, 1460, 1461, 5000, 70000, 300000):
        data = pattern(length)
        reader = asyncio.create_task(read_exactly(flow, length))
        await flow.write(data)
        assert await reader == data, length
    flow.shutdown_write()
    assert await flow.read() == b""
    assert await flow.read() == b""
    await flow.close()
    server.tcp.unlisten(port(1))


async def names_of_both_ends(server, client, ip):
    seen = []

    async def handler(flow):
        seen.append((flow.local, flow.remote))

    server.tcp.listen(port(2), handler)
    flow = await client.tcp.connect(ip, port(2))
    assert flow.remote == (ip, port(2))
    local = flow.local
    assert await flow.read() == b""
    assert seen == [((ip, port(2)), local)], (seen, local)
    await flow.close()
    server.tcp.unlisten(port(2))


async def slow_reader_stops_the_writer(server, client, ip):
    # More than a kernel's buffers take, which may be set to tens of megabytes.
    total = 128 << 20
    written = 0
    go = asyncio.Event()
    result = []
    chunk = pattern(65536)
    twice = chunk * 2

    async def handler(flow):
        await go.wait()
        count = 0
        while data := await flow.read():
            start = count % 65536
            assert data == twice[start : start + len(data)], count
            count += len(data)
        result.append(count)

    server.tcp.listen(port(3), handler)
    flow = await client.tcp.connect(ip, port(3))

    async def writer():
        nonlocal written
        while written < total and not go.is_set():
            await flow.write(chunk)
            written += len(chunk)
        flow.shutdown_write()

    task = asyncio.create_task(writer())
    stopped_at = -1
    while stopped_at != written:
        # However slow this machine is just now: a writer that nobody stops comes to its end.
        stopped_at = written
        await asyncio.sleep_ms(300)
    assert 0 < written < total, "the writer was not stopped"
    go.set()
    await task
    assert await flow.read() == b""
    assert result == [written]
    await flow.close()
    server.tcp.unlisten(port(3))


async def end_in_one_direction_leaves_the_other(server, client, ip):
    async def handler(flow):
        data = await read_to_end(flow)
        await asyncio.sleep_ms(20)
        await flow.write(b"got %d" % len(data))

    server.tcp.listen(port(4), handler)
    flow = await client.tcp.connect(ip, port(4))
    await flow.write(pattern(10000))
    flow.shutdown_write()
    await raises_any(flow.write(b"after the end"))
    assert await read_to_end(flow) == b"got 10000"
    await flow.close()
    server.tcp.unlisten(port(4))


async def raises_any(coroutine):
    try:
        await coroutine
    except OSError as error:
        return error.errno
    raise AssertionError("no OSError")


async def handler_that_raises_resets(server, client, ip):
    async def handler(flow):
        await flow.read()
        raise ValueError("on purpose")

    server.tcp.listen(port(5), handler)
    flow = await client.tcp.connect(ip, port(5))
    await flow.write(b"x")
    await raises(ECONNRESET, flow.read())
    await raises_any(flow.write(b"y"))
    await flow.close()
    server.tcp.unlisten(port(5))


async def abort_resets_the_peer(server, client, ip):
    outcome = []

    async def handler(flow):
        try:
            await read_to_end(flow)
        except OSError as error:
            outcome.append(error.errno)
            raise

    server.tcp.listen(port(6), handler)
    flow = await client.tcp.connect(ip, port(6))
    await flow.write(b"x")
    await asyncio.sleep_ms(50)
    flow.abort()
    flow.abort()
    await until(lambda: outcome)
    assert outcome == [ECONNRESET], outcome
    await raises(ECONNABORTED, flow.read())
    server.tcp.unlisten(port(6))


async def close_with_unread_data_resets(server, client, ip):
    async def handler(flow):
        await flow.read(1)
        await asyncio.sleep_ms(50)

    server.tcp.listen(port(7), handler)
    flow = await client.tcp.connect(ip, port(7))
    await flow.write(pattern(5000))
    await raises(ECONNRESET, read_to_end(flow))
    await flow.close()
    server.tcp.unlisten(port(7))


async def nobody_listens(server, client, ip):
    await raises(ECONNREFUSED, client.tcp.connect(ip, port(98)))


async def cancelled_read_loses_nothing(server, client, ip):
    go = asyncio.Event()

    async def handler(flow):
        await go.wait()
        await flow.write(b"late")
        await flow.read()

    server.tcp.listen(port(8), handler)
    flow = await client.tcp.connect(ip, port(8))
    for _ in range(3):
        try:
            await asyncio.wait_for_ms(flow.read(), 10)
        except asyncio.TimeoutError:
            pass
        else:
            raise AssertionError("no timeout")
    go.set()
    assert await flow.read() == b"late"
    await flow.close()
    server.tcp.unlisten(port(8))


async def cancelled_write_leaves_the_flow_usable(server, client, ip):
    go = asyncio.Event()
    received = []

    async def handler(flow):
        await go.wait()
        received.append(await read_to_end(flow))

    server.tcp.listen(port(9), handler)
    flow = await client.tcp.connect(ip, port(9))
    data = pattern(16 << 20)
    try:
        await asyncio.wait_for_ms(flow.write(data), 300)
    except asyncio.TimeoutError:
        pass
    else:
        raise AssertionError("16 MiB fitted into buffers")
    go.set()
    await asyncio.sleep_ms(100)
    await flow.write(b"end")
    flow.shutdown_write()
    assert await flow.read() == b""
    assert received[0][-3:] == b"end"
    assert data.startswith(received[0][:-3]) and len(received[0]) > 3
    await flow.close()
    server.tcp.unlisten(port(9))


async def two_readers_are_refused(server, client, ip):
    async def handler(flow):
        await flow.read()

    server.tcp.listen(port(10), handler)
    flow = await client.tcp.connect(ip, port(10))
    task = asyncio.create_task(flow.read())
    await asyncio.sleep_ms(1)
    try:
        await flow.read()
    except RuntimeError:
        pass
    else:
        raise AssertionError("no RuntimeError")
    flow.shutdown_write()
    assert await task == b""
    await flow.close()
    server.tcp.unlisten(port(10))


async def close_ends_a_waiting_read(server, client, ip):
    async def handler(flow):
        await flow.read()

    server.tcp.listen(port(11), handler)
    flow = await client.tcp.connect(ip, port(11))
    task = asyncio.create_task(flow.read())
    await asyncio.sleep_ms(1)
    await flow.close()
    await raises(ECONNABORTED, task)
    server.tcp.unlisten(port(11))


async def many_connections_at_once(server, client, ip):
    server.tcp.listen(port(12), echo)

    async def one(number):
        flow = await client.tcp.connect(ip, port(12))
        data = b"%d" % number * 500
        await flow.write(data)
        flow.shutdown_write()
        assert await read_to_end(flow) == data
        await flow.close()

    await asyncio.gather(*[one(number) for number in range(50)])
    for number in range(200):
        await one(number)
    server.tcp.unlisten(port(12))


async def unlisten_refuses_and_keeps_what_there_is(server, client, ip):
    server.tcp.listen(port(13), echo)
    flow = await client.tcp.connect(ip, port(13))
    await flow.write(b"a")
    assert await flow.read() == b"a"
    server.tcp.unlisten(port(13))
    await raises(ECONNREFUSED, client.tcp.connect(ip, port(13)))
    await flow.write(b"b")
    assert await flow.read() == b"b"
    await flow.close()


async def port_in_use(server, client, ip):
    server.tcp.listen(port(14), echo)
    try:
        server.tcp.listen(port(14), echo)
    except OSError:
        pass
    else:
        raise AssertionError("no OSError")
    server.tcp.unlisten(port(14))


async def datagrams_both_ways(server, client, ip):
    answers = []
    done = asyncio.Event()

    def on_server(data, src_ip, src_port):
        if data == b"bad":
            raise ValueError("costs only this datagram")
        server.udp.write(b"re: " + data, src_ip, src_port, port(15))

    def on_client(data, src_ip, src_port):
        answers.append((data, src_ip, src_port))
        if len(answers) == 3:
            done.set()

    server.udp.listen(port(15), on_server)
    client.udp.listen(port(16), on_client)
    assert client.udp.write(b"bad", ip, port(15), port(16))
    for number in range(3):
        assert client.udp.write(b"ping %d" % number, ip, port(15), port(16))
    await done.wait()
    assert sorted(answers) == [(b"re: ping %d" % number, ip, port(15)) for number in range(3)], answers
    server.udp.unlisten(port(15))
    client.udp.unlisten(port(16))


async def bad_addresses_are_refused(server, client, ip):
    for bad in ("10.0.0", "nonsense", "1.2.3.4.5"):
        try:
            await client.tcp.connect(bad, 80)
        except ValueError:
            pass
        else:
            raise AssertionError(bad)


async def buffers_of_any_kind_are_written(server, client, ip):
    server.tcp.listen(port(17), echo)
    flow = await client.tcp.connect(ip, port(17))
    for data in (b"bytes", bytearray(b"bytearray"), memoryview(b"xmemoryviewx")[1:-1], b""):
        await flow.write(data)
    expected = b"bytesbytearraymemoryview"
    assert await read_exactly(flow, len(expected)) == expected
    await flow.close()
    server.tcp.unlisten(port(17))


async def close_waits_for_the_peer_to_have_everything(server, client, ip):
    received = []

    async def slow(flow):
        await asyncio.sleep_ms(100)
        received.append(await read_to_end(flow))

    server.tcp.listen(port(18), slow)
    for length in (1, 300000):
        flow = await client.tcp.connect(ip, port(18))
        await flow.write(pattern(length))
        assert await flow.close(20000)
    await until(lambda: len(received) == 2)
    assert pattern(300000) in received
    server.tcp.unlisten(port(18))


async def close_does_not_wait_for_what_has_been(server, client, ip):
    server.tcp.listen(port(25), echo)
    flow = await client.tcp.connect(ip, port(25))
    flow.shutdown_write()
    assert await flow.read() == b""
    started_ms = time.ticks_ms()
    assert await flow.close(5000)
    assert time.ticks_ms() - started_ms < 2000
    server.tcp.unlisten(port(25))


async def close_does_not_wait_for_ever(server, client, ip):
    held = asyncio.Event()
    seen = []

    async def deaf(flow):
        await held.wait()
        seen.append(await raises_any(read_to_end(flow)))

    server.tcp.listen(port(19), deaf)
    flow = await client.tcp.connect(ip, port(19))

    async def fill():
        while True:
            await flow.write(pattern(65536))

    writer = asyncio.create_task(raises_any(fill()))
    await asyncio.sleep_ms(200)
    assert not await flow.close(150)
    assert await writer == ECONNABORTED
    await asyncio.sleep_ms(50)
    held.set()
    await until(lambda: seen)
    assert seen == [ECONNRESET], seen
    server.tcp.unlisten(port(19))


async def close_without_waiting_at_all_resets(server, client, ip):
    seen = []

    reading = []

    async def reader(flow):
        reading.append(flow)
        seen.append(await raises_any(read_to_end(flow)))

    server.tcp.listen(port(20), reader)
    flow = await client.tcp.connect(ip, port(20))
    await until(lambda: reading)
    assert not await flow.close(0)
    await until(lambda: seen)
    assert seen == [ECONNRESET], seen
    server.tcp.unlisten(port(20))


async def options_of_a_flow(server, client, ip):
    server.tcp.listen(port(21), echo)
    flow = await client.tcp.connect(ip, port(21))
    flow.set_no_delay(True)
    flow.set_keepalive(60000)
    flow.set_user_timeout(30000)
    for letter in (b"a", b"b", b"c"):
        await flow.write(letter)
    assert await read_exactly(flow, 3) == b"abc"
    flow.set_no_delay(False)
    flow.set_keepalive(0)
    flow.set_user_timeout(0)
    await flow.close()
    server.tcp.unlisten(port(21))


async def handler_that_is_not_async_resets(server, client, ip):
    seen = []
    server.tcp.listen(port(22), seen.append)

    async def ask():
        flow = await client.tcp.connect(ip, port(22))
        try:
            await flow.read()
        finally:
            await flow.close()

    await raises(ECONNRESET, ask())  # the system's sockets may have been reset before they are there
    assert len(seen) == 1
    server.tcp.unlisten(port(22))


async def listening_goes_on_to_the_end(server, client, ip):
    """Which is told by test_programs.py."""
    server.tcp.listen(port(23), echo)
    server.tcp.listen(port(24), echo)
    server.tcp.unlisten(port(24))


CHECKS = (
    every_size_comes_back,
    names_of_both_ends,
    slow_reader_stops_the_writer,
    end_in_one_direction_leaves_the_other,
    handler_that_raises_resets,
    abort_resets_the_peer,
    close_with_unread_data_resets,
    nobody_listens,
    cancelled_read_loses_nothing,
    cancelled_write_leaves_the_flow_usable,
    two_readers_are_refused,
    close_ends_a_waiting_read,
    many_connections_at_once,
    unlisten_refuses_and_keeps_what_there_is,
    port_in_use,
    datagrams_both_ways,
    bad_addresses_are_refused,
    buffers_of_any_kind_are_written,
    close_waits_for_the_peer_to_have_everything,
    close_does_not_wait_for_what_has_been,
    close_does_not_wait_for_ever,
    close_without_waiting_at_all_resets,
    options_of_a_flow,
    handler_that_is_not_async_resets,
    listening_goes_on_to_the_end,
)
