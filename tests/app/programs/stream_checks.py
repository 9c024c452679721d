# SPDX-License-Identifier: MIT
"""asyncio.start_server and open_connection over a stack, used as MicroPython's own are."""

import asyncio

from harness import port, run_all, take_ports

from libos.app.log import Log
from libos.app.socket_stack import SocketStack
from libos.app.streams import install
from libos.hal.console import Console
from libos.hal.loop import EventLoop
from libos.hal.sockets import Sockets

HOST = "127.0.0.1"


async def lines_go_back_and_forth():
    async def serve(reader, writer):
        while line := await reader.readline():
            writer.write(line.upper())
            await writer.drain()
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(serve, "0.0.0.0", port(1))
    reader, writer = await asyncio.open_connection(HOST, port(1))
    assert writer.get_extra_info("peername") == (HOST, port(1))
    writer.write("first\nsec")
    await writer.drain()
    assert await reader.readline() == b"FIRST\n"
    writer.write(b"ond\n")
    writer.write(bytearray(b"third\n"))
    await writer.drain()
    assert await reader.readline() == b"SECOND\n"
    assert await reader.readexactly(3) == b"THI"
    assert await reader.read(100) == b"RD\n"
    await writer.aclose()
    server.close()
    await server.wait_closed()


async def everything_up_to_the_end():
    async def serve(reader, writer):
        writer.write(b"x" * 100000)
        writer.close()

    async with await asyncio.start_server(serve, HOST, port(2)):
        reader, writer = await asyncio.open_connection(HOST, port(2))
        assert await reader.read() == b"x" * 100000
        assert await reader.readline() == b""
        try:
            await reader.readexactly(1)
        except EOFError:
            pass
        else:
            raise AssertionError("no EOFError")
        await writer.wait_closed()


async def readinto_fills_a_buffer():
    async def serve(reader, writer):
        await writer.awrite(b"0123456789", 2, 5)
        await writer.aclose()

    async with await asyncio.start_server(serve, HOST, port(3)):
        reader, writer = await asyncio.open_connection(HOST, port(3))
        buf = bytearray(10)
        assert await reader.readinto(buf) == 5
        assert buf[:5] == b"23456"
        assert await reader.readinto(buf) == 0
        await writer.wait_closed()


async def stream_outlives_the_callback_that_gave_it_away():
    async def later(writer):
        await asyncio.sleep_ms(20)
        writer.write(b"later")
        await writer.wait_closed()

    async def serve(reader, writer):
        asyncio.create_task(later(writer))

    async with await asyncio.start_server(serve, HOST, port(4)):
        reader, writer = await asyncio.open_connection(HOST, port(4))
        assert await reader.read() == b"later"
        await writer.wait_closed()


class Trickle:
    """A flow from which chunks come; None stands for memory that runs out."""

    def __init__(self, *chunks):
        self.chunks = list(chunks)

    async def read(self, n):
        data = self.chunks.pop(0) if self.chunks else b""
        if data is None:
            raise MemoryError
        self.chunks[:0] = [data[n:]] if data[n:] else []
        return data[:n]


async def no_memory_in_the_middle_loses_nothing():
    for method, args, expected in (
        ("readexactly", (7,), b"abcdefg"),
        ("readline", (), b"abcdefgh\n"),
        ("read", (), b"abcdefgh\nij"),
    ):
        stream = asyncio.StreamReader(Trickle(b"abc", None, b"de", None, b"fgh\nij"))
        failed = 0
        while True:
            try:
                assert await getattr(stream, method)(*args) == expected, method
                break
            except MemoryError:
                failed += 1
        assert failed == 2
        rest = b"abcdefgh\nij"[len(expected) :]
        assert await stream.read() == rest, method


async def cancelled_read_loses_nothing():
    async def serve(reader, writer):
        for part in (b"first ", b"half\n", b"123"):
            await writer.awrite(part)
            await asyncio.sleep_ms(80)
        await writer.aclose()

    async with await asyncio.start_server(serve, HOST, port(7)):
        reader, writer = await asyncio.open_connection(HOST, port(7))
        for method, args, expected in (("readline", (), b"first half\n"), ("readexactly", (3,), b"123")):
            cancelled = 0
            while True:
                try:
                    assert await asyncio.wait_for_ms(getattr(reader, method)(*args), 15) == expected
                    break
                except asyncio.TimeoutError:
                    cancelled += 1
            assert cancelled
        try:
            await reader.readexactly(1)
            raise AssertionError("no EOFError")
        except EOFError:
            pass
        await writer.wait_closed()


async def closed_server_accepts_no_more():
    async def serve(reader, writer):
        await writer.aclose()

    server = await asyncio.start_server(serve, HOST, port(5))
    server.close()
    server.close()
    try:
        await asyncio.open_connection(HOST, port(5))
    except OSError:
        pass
    else:
        raise AssertionError("no OSError")


async def several_tasks_write_and_drain():
    """What they wrote goes out in that order, whole, though the peer reads slowly."""

    async def serve(reader, writer):
        async def one(letter):
            for number in range(20):
                writer.write(b"%s%02d" % (letter, number) + b"." * 99996 + b"\n")
                await writer.drain()

        await asyncio.gather(one(b"A"), one(b"B"), one(b"C"))
        await writer.aclose()

    async with await asyncio.start_server(serve, HOST, 7206):
        reader, writer = await asyncio.open_connection(HOST, 7206)
        await asyncio.sleep_ms(100)
        found = []
        while line := await reader.readline():
            assert len(line) == 100000
            found.append(line[:3])
        assert sorted(found) == sorted(b"%s%02d" % (k, n) for k in (b"A", b"B", b"C") for n in range(20))
        for letter in b"ABC":
            assert [n for n in found if n[0] == letter] == sorted(n for n in found if n[0] == letter)
        await writer.wait_closed()


async def cancelled_drain_loses_nothing():
    """What a cancelled task had in hand is sent by the next one."""

    async def serve(reader, writer):
        writer.write(b"x" * 12000000)
        try:
            await asyncio.wait_for_ms(writer.drain(), 50)
        except asyncio.TimeoutError:
            pass
        else:
            raise AssertionError("all of it was taken")
        writer.write(b"the end\n")
        await writer.drain()
        await writer.aclose()

    async with await asyncio.start_server(serve, HOST, 7207):
        reader, writer = await asyncio.open_connection(HOST, 7207)
        await asyncio.sleep_ms(200)
        total = 0
        last = b""
        while data := await reader.read(65536):
            total += len(data)
            last = (last + data)[-8:]
        assert (total, last) == (12000008, b"the end\n"), (total, last)
        await writer.wait_closed()


async def forgotten_connection_ends_when_the_peer_goes():
    """And the console says so, once for a port."""
    log.lines = []
    forgotten = []

    async def serve(reader, writer):
        await reader.readline()
        writer.write(b"hello\n")
        await writer.drain()
        forgotten.append(writer)

    async with await asyncio.start_server(serve, HOST, 7208):
        for _ in range(3):
            reader, writer = await asyncio.open_connection(HOST, 7208)
            await writer.awrite(b"hi\n")
            assert await reader.readline() == b"hello\n"
            assert not forgotten[-1]._closed.is_set()
            await writer.awrite(b"more that nobody reads\n")
            await writer.aclose()
        await asyncio.sleep_ms(1200)
        assert [writer._closed.is_set() for writer in forgotten] == [True] * 3
    assert len([line for line in log.lines if "without writer.close()" in line]) == 1, log.lines


async def half_closed_peer_gets_what_another_task_writes():
    async def later(writer):
        writer.write(b"first ")
        await asyncio.sleep_ms(1500)
        writer.write(b"later")
        await writer.wait_closed()

    async def serve(reader, writer):
        await reader.read()
        asyncio.create_task(later(writer))

    async with await asyncio.start_server(serve, HOST, 7209):
        reader, writer = await asyncio.open_connection(HOST, 7209)
        writer._flow.shutdown_write()
        assert await reader.read() == b"first later"
        await writer.wait_closed()


async def callback_that_is_no_coroutine_is_told():
    log.lines = []

    def serve(reader, writer):
        pass

    async with await asyncio.start_server(serve, HOST, 7210):
        try:
            reader, _writer = await asyncio.open_connection(HOST, 7210)
            assert await reader.read() == b""
        except OSError:
            pass  # it is reset at once
    assert any("the handler of" in line for line in log.lines), log.lines


async def classes_have_their_names():
    assert asyncio.StreamReader is asyncio.StreamWriter


class Lines(Log):
    """Keeps what it is told."""

    def __init__(self):
        super().__init__("error", Console())
        self.lines = []

    def _write(self, source, level, text):
        self.lines.append(text)


loop = EventLoop()
sockets = Sockets()
loop.attach(sockets)
take_ports(sockets)
log = Lines()
install(SocketStack(sockets, loop, log))
loop.run(
    run_all(
        (
            lines_go_back_and_forth,
            everything_up_to_the_end,
            readinto_fills_a_buffer,
            stream_outlives_the_callback_that_gave_it_away,
            no_memory_in_the_middle_loses_nothing,
            cancelled_read_loses_nothing,
            closed_server_accepts_no_more,
            several_tasks_write_and_drain,
            cancelled_drain_loses_nothing,
            forgotten_connection_ends_when_the_peer_goes,
            half_closed_peer_gets_what_another_task_writes,
            callback_that_is_no_coroutine_is_told,
            classes_have_their_names,
        )
    )
)
