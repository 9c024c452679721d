# SPDX-License-Identifier: MIT
"""How long a server waits for whom, how many it bears, and how it ends. In virtual time."""

import asyncio
from typing import Any

import pytest

from tests.web.site import HOST, Client, Site, check
from tests.web.virtual import run, settle

GET = b"GET / HTTP/1.1\r\n" + HOST + b"\r\n"


def site(**options: Any) -> Site:
    site = Site(**options)
    site.server.route("GET", "/", lambda request: "root")
    site.server.route("POST", "/echo", echo)
    return site


async def echo(request: Any) -> Any:
    return await request.read()


def now() -> float:
    return asyncio.get_running_loop().time()


# --- patience ---------------------------------------------------------------------------------------------------------


def test_who_says_nothing_is_closed_after_the_time_for_a_head() -> None:
    async def story(site: Site) -> None:
        client = site.connect()
        since = now()
        assert await client.everything() == b""
        assert 9 <= now() - since <= 12
        assert not client.flow.peer.was_aborted

    check(site(), story)


def test_an_idle_connection_is_closed_after_the_time_for_that() -> None:
    async def story(site: Site) -> None:
        client = site.connect()
        await client.get("/")
        since = now()
        assert await client.everything() == b""
        assert 58 <= now() - since <= 62
        assert site.count("timeouts") == 0

    check(site(), story)


def test_a_connection_that_is_used_now_and_then_stays() -> None:
    async def story(site: Site) -> None:
        client = site.connect()
        for _ in range(5):
            assert (await client.get("/")).body == b"root"
            await settle(50)

    check(site(), story)


@pytest.mark.parametrize("is_first", [True, False])
def test_a_head_that_trickles_in_is_408(is_first: bool) -> None:
    async def story(site: Site) -> None:
        client = site.connect()
        if not is_first:
            await client.get("/")
        since = now()

        async def trickle() -> None:
            try:
                await client.send(b"GET / HTTP/1.1\r\n")
                for number in range(10000):
                    await client.send(b"X-%d: y\r\n" % number)
                    await settle(0.5)
            except OSError:
                pass

        trickling = asyncio.create_task(trickle())
        answer = await client.answer()
        assert (answer.status, answer.headers["connection"]) == (408, "close")
        assert 9 <= now() - since <= 12
        client.flow.abort()
        await trickling
        assert site.count("timeouts") == 1

    check(site(), story)


def test_a_body_that_trickles_in_is_408() -> None:
    async def story(site: Site) -> None:
        client = site.connect()
        await client.send(b"POST /echo HTTP/1.1\r\n" + HOST + b"Content-Length: 100000\r\n\r\n")
        since = now()

        async def trickle() -> None:
            try:
                while True:
                    await client.send(b"x" * 50)
                    await settle(1)
            except OSError:
                pass

        trickling = asyncio.create_task(trickle())
        assert (await client.answer()).status == 408
        assert now() - since < 30
        client.flow.abort()
        await trickling

    check(site(), story)


def test_a_body_that_is_slow_and_steady_is_taken() -> None:
    async def story(site: Site) -> None:
        client = site.connect()
        await client.send(b"POST /echo HTTP/1.1\r\n" + HOST + b"Content-Length: 100000\r\n\r\n")
        for _ in range(100):
            await client.send(b"x" * 1000)
            await settle(1)
        assert len((await client.answer()).body) == 100000

    check(site(), story)


def test_a_client_that_does_not_read_is_reset() -> None:
    async def story(site: Site) -> None:
        site.server.route("GET", "/large", lambda request: b"x" * 100000)
        client = site.connect()
        await client.send(b"GET /large HTTP/1.1\r\n" + HOST + b"\r\n")
        since = now()
        await client.task
        assert 55 <= now() - since <= 65
        assert client.flow.peer.was_aborted
        assert site.count("timeouts") == 1

    check(site(room=4096), story)


def test_a_client_that_reads_slowly_gets_all() -> None:
    async def story(site: Site) -> None:
        site.server.route("GET", "/large", lambda request: b"x" * 100000)
        client = site.connect()
        await client.send(b"GET /large HTTP/1.1\r\n" + HOST + b"\r\n")
        got = b""
        while len(got) < 100000:
            got += await client.flow.read(4000)
            await settle(2)
        assert got.endswith(b"x")

    check(site(room=4096), story)


def test_a_handler_may_take_its_time() -> None:
    async def slow(request: Any) -> str:
        await asyncio.sleep(3600)
        return "at last"

    async def story(site: Site) -> None:
        site.server.route("GET", "/slow", slow)
        assert (await site.connect().get("/slow")).body == b"at last"

    check(site(), story)


def test_what_an_upgrade_leads_to_is_not_timed() -> None:
    async def upgrade(request: Any) -> None:
        flow, _ = await request.upgrade(b"x")
        await flow.write(await flow.read())

    async def story(site: Site) -> None:
        site.server.route("GET", "/up", upgrade)
        client = site.connect()
        await client.send(b"GET /up HTTP/1.1\r\n" + HOST + b"Connection: upgrade\r\nUpgrade: x\r\n\r\n")
        await client.head()
        await settle(1000)
        await client.send(b"there")
        assert await client.everything() == b"there"

    check(site(), story)


def test_after_an_error_the_server_does_not_read_on_for_ever() -> None:
    async def story(site: Site) -> None:
        client = site.connect()
        await client.send(b"nonsense\r\n\r\n")
        assert (await client.answer()).status == 400
        since = now()
        try:
            while True:
                await client.send(b"more nonsense")
                await settle(0.1)
        except OSError:
            pass
        assert now() - since < 5

    check(site(), story)


# --- numbers ----------------------------------------------------------------------------------------------------------


def test_a_full_server_lets_an_idle_connection_go_for_a_new_one() -> None:
    async def story(site: Site) -> None:
        site.server.max_connections = 10
        idle = [site.connect() for _ in range(10)]
        for client in idle:
            await client.get("/")
        assert (await site.connect().get("/")).body == b"root"
        await settle()
        assert len(site.server.connections) == 10
        assert site.count("evicted") == 1
        assert sum(client.task.done() for client in idle) == 1

    check(site(), story)


def test_a_server_full_of_slow_heads_still_answers() -> None:
    async def story(site: Site) -> None:
        site.server.max_connections = 50
        healthy = site.connect()
        await healthy.get("/")
        attackers = []
        for _ in range(300):
            attackers.append(site.connect())
            await attackers[-1].send(b"GET / HTTP/1.1\r\nX: ")
            await settle(0.05)
            assert len(site.server.connections) <= 51
            if _ % 20 == 0:
                assert (await site.connect().get("/", b"Connection: close\r\n")).body == b"root"
                # Idle ones go first: a client that keeps its connection uses it.
                healthy = healthy if not healthy.task.done() else site.connect()
                assert (await healthy.get("/")).body == b"root"
        assert site.count("evicted") > 200

    check(site(), story)


def test_a_server_full_of_busy_connections_says_503() -> None:
    gate = asyncio.Event()

    async def wait(request: Any) -> str:
        await gate.wait()
        return "done"

    async def story(site: Site) -> None:
        site.server.route("GET", "/wait", wait)
        site.server.max_connections = 5
        busy = [asyncio.create_task(site.connect().get("/wait")) for _ in range(5)]
        await settle()
        answer = await site.connect().answer()
        assert (answer.status, answer.headers["retry-after"]) == (503, "5")
        assert site.count("rejected") == 1
        gate.set()
        assert [(await task).body for task in busy] == [b"done"] * 5
        assert (await site.connect().get("/")).status == 200

    check(site(), story)


def test_the_server_sleeps_when_nobody_is_there() -> None:
    async def story(site: Site) -> None:
        await site.connect().get("/", b"Connection: close\r\n")
        await settle(3)
        assert site.server._sweeper is None
        assert (await site.connect().get("/")).status == 200

    check(site(), story)


# --- the end ----------------------------------------------------------------------------------------------------------


def ending(story: Any, **options: Any) -> None:
    """story(site, serving): serving is the task of serve(), which the story cancels."""

    async def main() -> None:
        where = site(**options)
        serving = asyncio.create_task(where.server.serve())
        await settle()
        await story(where, serving)
        with pytest.raises(asyncio.CancelledError):
            await serving
        await settle(5)
        assert not where.server.connections
        for task in where.stack.tasks:
            await task

    run(main())


def test_at_the_end_what_is_in_flight_is_answered_and_what_is_idle_closed() -> None:
    gate = asyncio.Event()

    async def wait(request: Any) -> str:
        await gate.wait()
        return "done"

    async def story(site: Site, serving: asyncio.Task[None]) -> None:
        site.server.route("GET", "/wait", wait)
        idle = site.connect()
        await idle.get("/")
        busy = site.connect()
        asking = asyncio.create_task(busy.get("/wait"))
        await settle()
        serving.cancel()
        assert await idle.everything() == b""
        assert site.stack.listeners == {}
        assert not serving.done()
        gate.set()
        answer = await asking
        assert (answer.body, answer.headers["connection"]) == (b"done", "close")
        assert await busy.everything() == b""

    ending(story)


def test_at_the_end_nobody_is_waited_for_too_long() -> None:
    async def for_ever(request: Any) -> None:
        await asyncio.sleep(10**6)

    async def story(site: Site, serving: asyncio.Task[None]) -> None:
        site.server.route("GET", "/wait", for_ever)
        client = site.connect()
        await client.send(b"GET /wait HTTP/1.1\r\n" + HOST + b"\r\n")
        await settle()
        serving.cancel()
        since = now()
        await asyncio.wait([serving])
        assert 3 <= now() - since <= 5
        for connection in list(site.server.connections):
            connection._task.cancel()
        await settle()
        client.task.cancel()
        site.stack.tasks.clear()

    ending(story)


def test_at_the_end_a_request_that_has_come_is_the_last() -> None:
    async def story(site: Site, serving: asyncio.Task[None]) -> None:
        client = site.connect()
        await client.send(b"GET / HTTP/1.1\r\nHo")
        await settle()
        serving.cancel()
        await settle(0.1)
        await client.send(b"st: a\r\n\r\n")
        assert (await client.answer()).headers["connection"] == "close"
        assert await client.everything() == b""

    ending(story)


def test_at_the_end_health_says_so() -> None:
    async def story(site: Site, serving: asyncio.Task[None]) -> None:
        client = site.connect()
        await client.send(b"GET /health HTTP/1.1\r\nHo")
        await settle()
        serving.cancel()
        await settle(0.1)
        await client.send(b"st: a\r\n\r\n")
        assert (await client.answer()).status == 503

    ending(story, health="/health")


# --- survival ---------------------------------------------------------------------------------------------------------


async def attack(site: Site, number: int) -> None:
    """One of several things that are not meant well."""
    client: Client = site.connect()
    try:
        kind = number % 6
        if kind == 0:
            await client.send(b"GET / HTTP/1.1\r\n")
            for _ in range(100):
                await client.send(b"X: y\r\n")
                await settle(1)
        elif kind == 1:
            await client.send(b"GET / HTTP/1.1\r\nX: ")
            for _ in range(100):
                await client.send(b"y" * 1000)
        elif kind == 2:
            await client.send(b"GET /large HTTP/1.1\r\n" + HOST + b"\r\n" * 1 + b"\r\n")
            await settle(100)
        elif kind == 3:
            await client.send(b"POST /echo HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n")
            for _ in range(100):
                await client.send(b"1\r\nx\r\n")
                await settle(1)
        elif kind == 4:
            await client.send(GET * 1000)
            client.flow.abort()
        else:
            await client.send(b"\0" * 5000)
            await settle(100)
    except OSError:
        pass


def test_under_attack_a_healthy_client_is_served_and_nothing_is_left() -> None:
    async def story(site: Site) -> None:
        site.server.max_connections = 64
        site.server.route("GET", "/large", lambda request: b"x" * 100000)
        attacks = [asyncio.create_task(attack(site, number)) for number in range(240)]
        healthy = site.connect()
        served = 0
        for _ in range(200):
            try:
                assert (await healthy.get("/")).body == b"root"
                served += 1
            except (OSError, AssertionError):
                healthy = site.connect()  # somebody had to go
            await settle(0.5)
            assert len(site.server.connections) <= 96
        assert served > 150
        for task in attacks:
            task.cancel()
        await settle(200)
        assert not site.server.connections
        assert site.count("malformed") > 10
        assert site.count("timeouts") + site.count("evicted") > 20
        assert site.count("failures") == 0

    check(site(room=8192), story)
