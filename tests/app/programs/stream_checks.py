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


async def classes_have_their_names():
    assert asyncio.StreamReader is asyncio.StreamWriter


loop = EventLoop()
sockets = Sockets()
loop.attach(sockets)
take_ports(sockets)
install(SocketStack(sockets, loop, Log("error", Console())))
loop.run(
    run_all(
        (
            lines_go_back_and_forth,
            everything_up_to_the_end,
            readinto_fills_a_buffer,
            stream_outlives_the_callback_that_gave_it_away,
            closed_server_accepts_no_more,
            classes_have_their_names,
        )
    )
)
