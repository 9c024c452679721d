# SPDX-License-Identifier: MIT
"""Checks of the HTTP client, one after the other; prints `ok NAME` or `FAILED NAME`, at last `done`."""

import asyncio
import gc
import sys
import time


class Checks:
    def __init__(self, client, console, base, bad):
        self.client = client
        self.console = console
        self.base = base
        self.bad = [url for url in bad.split(",") if url]

    async def start(self):
        checks = [
            self.get_is_read_whole_and_in_pieces,
            self.connections_are_kept,
            self.compressed_content,
            self.bomb,
            self.chunked_content_and_trailers,
            self.bodies_of_all_kinds,
            self.head_and_no_content,
            self.redirects,
            self.cookies,
            self.many_at_once,
            self.slow_server_is_a_timeout,
            self.nobody_there,
            self.server_that_ends_early,
            self.cancelled,
            self.websocket,
            self.wrong_certificates,
            self.sessions_are_resumed,
            self.memory_is_what_it_was,
        ]
        for check in checks:
            try:
                await asyncio.wait_for(check(), 60)
            except Exception as error:
                print("FAILED", check.__name__)
                sys.print_exception(error)
            else:
                print("ok", check.__name__)
        await self.client.close()
        assert len(self.client.pool) == 0
        print("done")

    async def read(self, path, **options):
        response = await self.client.get(self.base + path, **options)
        assert response.status == 200, response.status
        return await response.read()

    async def get_is_read_whole_and_in_pieces(self):
        assert await self.read("/hello") == b"hello"
        count = 0
        async with await self.client.get(self.base + "/zeros/3000000") as response:
            assert response.content_bytes == 3000000
            async for piece in response:
                count += len(piece)
        assert count == 3000000, count

    async def connections_are_kept(self):
        opened = self.client.counters["opened"]
        for _ in range(20):
            await self.read("/hello")
        assert self.client.counters["opened"] == opened

    async def compressed_content(self):
        for coding in ("gzip", "deflate", "raw"):
            data = await self.read("/compressed/" + coding)
            assert data == b"".join([b"line %d\n" % number for number in range(5000)]), coding

    async def bomb(self):
        try:
            await self.read("/bomb")
        except OSError as error:
            assert error.step == "body", error
            return
        raise AssertionError("100 MB were read")

    async def chunked_content_and_trailers(self):
        response = await self.client.get(self.base + "/chunked")
        assert await response.read() == b"one, two, three"
        assert response.trailers.get("x-sum") == b"15"

    async def bodies_of_all_kinds(self):
        client = self.client
        url = self.base + "/echo"
        assert await (await client.post(url, json={"a": [1, 2]})).json() == {"a": [1, 2]}
        assert await (await client.post(url, form={"a": "b c"})).text() == "a=b+c"
        data = bytes(range(256)) * 1200
        assert await (await client.put(url, body=data)).read() == data
        pieces = (data[start : start + 1000] for start in range(0, len(data), 1000))
        assert await (await client.post(url, body=pieces)).read() == data
        assert await (await client.post(url, body=data, expect=True)).read() == data

    async def head_and_no_content(self):
        response = await self.client.head(self.base + "/hello")
        assert (response.status, await response.read()) == (200, b"")
        response = await self.client.get(self.base + "/status/204")
        assert (response.status, await response.read()) == (204, b"")
        assert await self.read("/hello") == b"hello"

    async def redirects(self):
        response = await self.client.get(self.base + "/redirect/5")
        assert (response.status, await response.read(), response.url) == (200, b"hello", self.base + "/hello")
        try:
            await self.client.get(self.base + "/redirect/50")
        except OSError as error:
            assert "too many" in str(error)
        else:
            raise AssertionError("fifty")

    async def cookies(self):
        await self.read("/set-cookie")
        assert await self.read("/cookies") == b"id=7"

    async def many_at_once(self):
        async def one(number):
            assert await self.read("/slow/100") == b"slow"

        started = time.ticks_ms()
        await asyncio.gather(*[one(number) for number in range(30)])
        assert len(self.client.pool) <= 6
        assert time.ticks_diff(time.ticks_ms(), started) < 20000

    async def slow_server_is_a_timeout(self):
        self.client.head_ms = 300
        try:
            await self.read("/slow/3000")
        except OSError as error:
            assert (error.errno, error.step) == (110, "head"), error
        else:
            raise AssertionError("it waited")
        finally:
            self.client.head_ms = 30000

    async def nobody_there(self):
        if self.client.connector.proxy is not None:
            return  # the test's proxy goes on to where it went before
        try:
            await self.client.get(self.base.rpartition(":")[0] + ":1/")
        except OSError as error:
            assert error.step == "connect", error
            return
        raise AssertionError("somebody answered")

    async def server_that_ends_early(self):
        try:
            await self.read("/short")
        except OSError as error:
            assert error.step == "body", error
            return
        raise AssertionError("it was whole")

    async def cancelled(self):
        before = len(self.client.pool)
        for wait_ms in (0, 1, 5, 50):
            task = asyncio.create_task(self.read("/slow/1000"))
            await asyncio.sleep_ms(wait_ms)
            task.cancel()
            try:
                await task
            except asyncio.CancelledError:
                pass
        assert len(self.client.pool) <= before

    async def websocket(self):
        async with await self.client.websocket("ws" + self.base[4:] + "/websocket") as ws:
            for message in ("text", b"octets", "x" * 100000):
                await ws.send(message)
                assert await ws.receive() == message
        assert ws.close_code == 1000, ws.close_code

    async def wrong_certificates(self):
        for url in self.bad:
            try:
                await self.client.get(url)
            except OSError as error:
                print("bad:", error)
            else:
                raise AssertionError(url)
            response = await self.client.get(url, verify=False)
            assert await response.read() == b"hello"
            try:
                await self.client.get(url)
            except OSError:
                continue
            raise AssertionError("the connection that nobody verified was used again: " + url)

    async def sessions_are_resumed(self):
        if self.base.startswith("https"):
            counters = self.client.connector.tls.client.counters
            before = counters["resumed"]
            for _ in range(3):
                assert await self.read("/hello") == b"hello"
                await self.client.close()
            assert counters["resumed"] >= before + 2, counters

    async def memory_is_what_it_was(self):
        async def round_of_requests():
            for _ in range(50):
                await self.read("/hello")
                await self.read("/compressed/gzip")
                await (await self.client.post(self.base + "/echo", body=b"x" * 1000)).read()
            gc.collect()
            return gc.mem_alloc()

        first = await round_of_requests()
        for _ in range(3):
            last = await round_of_requests()
        assert last - first < 4096, last - first
