# SPDX-License-Identifier: MIT
"""iperf3's protocol over TCP, as server and as client, as iperf3 3.12 to 3.18 speak it.

A control connection: the client's cookie (36 characters and a zero), then states of one octet, and JSON with its
length in four octets before it: parameters from the client, results both ways. A connection for each stream begins
with the same cookie.
"""

import asyncio
import json
import os
import struct
from errno import EBUSY
from time import ticks_diff, ticks_ms

import pattern
from reader import Reader

TEST_START = 1
TEST_RUNNING = 2
TEST_END = 4
PARAM_EXCHANGE = 9
CREATE_STREAMS = 10
EXCHANGE_RESULTS = 13
DISPLAY_RESULTS = 14
IPERF_DONE = 16
ACCESS_DENIED = 255

COOKIE_BYTES = 37
JSON_LIMIT = 65536
STREAMS_MAX = 16
DRAIN_MS = 5000
SETTLE_MS = 300
EPROTO = 71  # Linux's number: errno has not got it here
_BLOCKS = pattern.blocks(0, 16)


class Stream:
    """A data connection. number: what results call it: 1, 3, 4, 5 …"""

    def __init__(self, flow, number):
        self.flow = flow
        self.number = number
        self.octets = 0
        self.is_running = True
        self.task = None

    async def send(self, limit=None):
        """Sends until `limit` octets, or until stopped or cut off by the peer."""
        try:
            while self.is_running and (limit is None or self.octets < limit):
                data = _BLOCKS if limit is None else _BLOCKS[: limit - self.octets]
                await self.flow.write(data)
                self.octets += len(data)
        except OSError:
            self.is_running = False

    async def receive(self):
        try:
            while data := await self.flow.read():
                self.octets += len(data)
        except OSError:
            pass
        self.is_running = False


async def _send_json(flow, value):
    text = json.dumps(value).encode()
    await flow.write(struct.pack(">I", len(text)) + text)


async def _read_json(reader):
    (length,) = struct.unpack(">I", await reader.exactly(4))
    if length > JSON_LIMIT:
        raise OSError(EPROTO)
    return json.loads(await reader.exactly(length))


async def _expect(reader, state):
    got = (await reader.exactly(1))[0]
    if got != state:
        print("iperf3: state %d where %d was expected" % (got, state))
        raise OSError(EPROTO)


def _results(streams, elapsed_ms):
    return {
        "cpu_util_total": 0.0,
        "cpu_util_user": 0.0,
        "cpu_util_system": 0.0,
        "sender_has_retransmits": 0,
        "congestion_used": "newreno",
        "streams": [
            {
                "id": stream.number,
                "bytes": stream.octets,
                "retransmits": -1,
                "jitter": 0,
                "errors": 0,
                "packets": 0,
                "start_time": 0,
                "end_time": elapsed_ms / 1000,
            }
            for stream in streams
        ],
    }


def _numbers(count):
    return [1 if index == 0 else index + 2 for index in range(count)]


class Server:
    """One test at a time, as iperf3 has it; a second client is told so."""

    def __init__(self):
        self._cookie = None
        self._streams = []
        self._arrived = asyncio.Event()

    async def serve(self, flow):
        """A control connection, or a stream of the test that is running."""
        reader = Reader(flow)
        cookie = await reader.exactly(COOKIE_BYTES)
        if self._cookie is None:
            self._cookie = cookie
            try:
                await self._run(flow, reader)
            finally:
                self._cookie = None
                streams = self._streams
                self._streams = []
                for stream in streams:
                    stream.is_running = False
                    if stream.task is not None:
                        stream.task.cancel()
                    stream.flow.abort()
        elif cookie == self._cookie and len(self._streams) < STREAMS_MAX:
            stream = Stream(flow, 0)
            stream.done = asyncio.Event()
            self._streams.append(stream)
            self._arrived.set()
            await stream.done.wait()
        else:
            await flow.write(bytes([ACCESS_DENIED]))

    async def _run(self, flow, reader):
        await flow.write(bytes([PARAM_EXCHANGE]))
        parameters = await _read_json(reader)
        count = parameters.get("parallel", 1)
        is_reverse = parameters.get("reverse", False)
        if not parameters.get("tcp") or not 1 <= count <= STREAMS_MAX:
            await flow.write(bytes([ACCESS_DENIED]))
            return
        await flow.write(bytes([CREATE_STREAMS]))
        while len(self._streams) < count:
            self._arrived.clear()
            await asyncio.wait_for_ms(self._arrived.wait(), DRAIN_MS)
        streams = self._streams
        for stream, number in zip(streams, _numbers(count)):
            stream.number = number
        await flow.write(bytes([TEST_START, TEST_RUNNING]))
        started_ms = ticks_ms()
        for stream in streams:
            stream.task = asyncio.create_task(stream.send() if is_reverse else stream.receive())
        await _expect(reader, TEST_END)
        elapsed_ms = ticks_diff(ticks_ms(), started_ms)
        if is_reverse:
            for stream in streams:
                # The client may wait for a block to be complete: the end of the stream is what it gets instead.
                stream.is_running = False
                stream.task.cancel()
                await stream.flow.close()
        await flow.write(bytes([EXCHANGE_RESULTS]))
        theirs = await _read_json(reader)
        if not is_reverse:
            await self._drain(streams, theirs)
        await _send_json(flow, _results(streams, elapsed_ms))
        await flow.write(bytes([DISPLAY_RESULTS]))
        await _expect(reader, IPERF_DONE)
        print("iperf3: %s %d octets" % ("sent" if is_reverse else "received", sum([s.octets for s in streams])))

    async def _drain(self, streams, theirs):
        """What the client has sent is on its way still: reads until we have all of it."""
        sent = sum([stream["bytes"] for stream in theirs["streams"]])
        started_ms = ticks_ms()
        while sum([stream.octets for stream in streams]) < sent:
            if ticks_diff(ticks_ms(), started_ms) > DRAIN_MS:
                return
            await asyncio.sleep_ms(10)


class Client:
    """A test against an iperf3 server."""

    def __init__(self, stack, ip, port):
        self._stack = stack
        self._ip = ip
        self._port = port

    async def run(self, octets, is_reverse, count):
        """Sends, or with is_reverse receives, `octets` over each of `count` streams. Both sides' counts.

        Raises OSError: EPROTO for what iperf3 does not say, EBUSY when it serves somebody else.
        """
        cookie = "".join(["abcdefghijklmnopqrstuvwxyz234567"[octet & 31] for octet in os.urandom(36)]).encode() + b"\0"
        control = await self._stack.tcp.connect(self._ip, self._port)
        streams = []
        try:
            return await self._run(control, cookie, octets, is_reverse, count, streams)
        finally:
            for stream in streams:
                if stream.task is not None:
                    stream.task.cancel()
                stream.flow.abort()
            await control.close()

    async def _run(self, control, cookie, octets, is_reverse, count, streams):
        reader = Reader(control)
        await control.write(cookie)
        state = (await reader.exactly(1))[0]
        if state != PARAM_EXCHANGE:
            raise OSError(EBUSY if state == ACCESS_DENIED else EPROTO)
        parameters = {"tcp": True, "omit": 0, "time": 0, "num": octets * count, "blockcount": 0, "parallel": count}
        parameters.update({"len": 131072, "pacing_timer": 1000, "client_version": "3.12"})
        if is_reverse:
            parameters["reverse"] = True
        await _send_json(control, parameters)
        await _expect(reader, CREATE_STREAMS)
        for number in _numbers(count):
            stream = Stream(await self._stack.tcp.connect(self._ip, self._port), number)
            streams.append(stream)
            await stream.flow.write(cookie)
        await _expect(reader, TEST_START)
        await _expect(reader, TEST_RUNNING)
        started_ms = ticks_ms()
        for stream in streams:
            stream.task = asyncio.create_task(stream.receive() if is_reverse else stream.send(octets))
        if is_reverse:
            while sum([stream.octets for stream in streams]) < octets * count:
                if not all([stream.is_running for stream in streams]):
                    raise OSError(EPROTO)
                await asyncio.sleep_ms(10)
        else:
            for stream in streams:
                await stream.task
            # The server counts what it has read when it hears of the end: what is queued there must get time.
            await asyncio.sleep_ms(SETTLE_MS)
        elapsed_ms = ticks_diff(ticks_ms(), started_ms)
        await control.write(bytes([TEST_END]))
        await _expect(reader, EXCHANGE_RESULTS)
        await _send_json(control, _results(streams, elapsed_ms))
        theirs = await _read_json(reader)
        await _expect(reader, DISPLAY_RESULTS)
        await control.write(bytes([IPERF_DONE]))
        # Until the server has closed it, the next client would find it busy.
        while await reader.some():
            pass
        return {
            "ours": [stream.octets for stream in streams],
            "theirs": [stream["bytes"] for stream in theirs["streams"]],
        }
