# SPDX-License-Identifier: MIT
"""TLS flows over flows of our own stack in virtual time: engines, TCP and a link that loses, damages and reorders."""

from __future__ import annotations

import gc
from typing import Any

import pytest

from libos.tls.connection import Connection
from libos.tls.v12_client import ClientVersion12
from libos.tls.v12_server import ServerVersion12
from tests.app import virtual
from tests.net.world import World, pattern
from tests.tls import engines

from libos.app.tls import TlsFlow, TlsStack, wrap  # isort: skip - after virtual

PORT = 443


class Pair:
    """A TLS server and a TLS client in a world."""

    def __init__(self, seed: int = 1, *, server: Any = None, client: Any = None, **options: Any) -> None:
        stack_options = {name: options.pop(name) for name in ("timeout_ms", "half_open") if name in options}
        self.world = World(seed, **options)
        self.tasks = virtual.Tasks(self.world)
        self.clock = virtual.Clock(self.world)
        self.hosts = [self.world.host(f"10.0.0.{number}/24") for number in (1, 2)]
        self.log = virtual.Log()
        below = [self.tasks.app(host, self.log) for host in self.hosts]
        crypto = engines.quick_crypto()
        self.server = TlsStack(below[0], self.log, self.clock, server or engines.server_context(), **stack_options)
        context = client or engines.client_context(crypto=crypto)
        self.client = TlsStack(below[1], self.log, self.clock, client=context)

    def run(self, *coroutines: Any, limit_ms: int = 3_600_000) -> list[Any]:
        """What the coroutines return."""
        tasks = [self.tasks.start(coroutine) for coroutine in coroutines]
        self.world.run(until=lambda: all(task.done() for task in tasks), limit_ms=limit_ms)
        for task in tasks:
            if task.error is not None:
                raise task.error
        return [task.value for task in tasks]

    async def connect(self, **options: Any) -> TlsFlow:
        return await self.client.tcp.connect("10.0.0.1", PORT, hostname="localhost", **options)


async def echo(flow: Any) -> None:
    while data := await flow.read():
        await flow.write(data)


async def read_to_end(flow: Any) -> bytes:
    parts = []
    while data := await flow.read():
        parts.append(data)
    return b"".join(parts)


@pytest.mark.parametrize("seed", range(3))
def test_transfer_over_a_bad_link(seed: int) -> None:
    pair = Pair(seed, loss=0.03, duplicate=0.02, damage=0.02, reorder=0.1, delay_ms=20)
    data = pattern(300_000, seed)
    pair.server.tcp.listen(PORT, echo)

    async def transfer() -> bytes:
        flow = await pair.connect()

        async def send() -> None:
            await flow.write(data)
            flow.shutdown_write()

        pair.tasks.start(send())
        got = await read_to_end(flow)
        assert await flow.close(60_000)
        return got

    assert pair.run(transfer()) == [data]
    pair.world.run(for_ms=700_000)
    for host in pair.hosts:
        assert host.is_clean()
    assert pair.server.counters["tls"]["handshakes"] == 1
    assert pair.server.counters["tls"]["failures"] == 0
    assert pair.tasks.failed == []


def test_versions_and_resumption() -> None:
    for v12 in (False, True):
        crypto = engines.quick_crypto()
        options = {"v12": ClientVersion12(crypto)} if v12 else {}
        pair = Pair(
            server=engines.server_context(v12=ServerVersion12() if v12 else None, alpn=(b"x",)),
            client=engines.client_context(crypto=crypto, alpn=(b"x",), **options),
        )
        pair.server.tcp.listen(PORT, echo)

        async def twice(pair: Pair) -> list[bool]:
            resumed = []
            for _ in range(3):
                flow = await pair.connect()
                await flow.write(b"hello")
                assert await flow.read() == b"hello"
                resumed.append(flow.tls.is_resumed)
                assert flow.tls.alpn == b"x"
                await flow.close()
            return resumed

        assert pair.run(twice(pair)) == [[False, True, True]]
        assert pair.server.counters["tls"]["resumed"] == 2


def test_clock_that_is_not_set_is_said() -> None:
    pair = Pair()
    pair.server.tcp.listen(PORT, echo)
    pair.clock.wall_s = 0
    with pytest.raises(OSError, match="time is unknown"):
        pair.run(pair.connect())

    async def unverified() -> None:
        flow = await pair.connect(verify=False)
        await flow.close()

    pair.run(unverified())


def test_name_that_the_certificate_has_not() -> None:
    pair = Pair()
    pair.server.tcp.listen(PORT, echo)
    with pytest.raises(OSError, match="for other names") as caught:
        pair.run(pair.client.tcp.connect("10.0.0.1", PORT, hostname="example.org"))
    assert caught.value.alert == 42
    # Without a name it is the address that counts.
    with pytest.raises(OSError, match="for other names"):
        pair.run(pair.client.tcp.connect("10.0.0.1", PORT))
    pair.world.run(for_ms=2000)
    assert pair.server.counters["tls"]["failures"] == 2
    assert len(pair.server.half_open) == 0


def test_certificates_are_replaced_while_connections_live() -> None:
    context = engines.server_context()
    pair = Pair(server=context)
    pair.server.tcp.listen(PORT, echo)

    async def story() -> list[list[bytes]]:
        old = await pair.connect()
        pair.server.replace([engines.Credential(context.crypto, "ed25519")])
        new = await pair.connect()
        for flow in (old, new):
            await flow.write(b"x")
            assert await flow.read() == b"x"
        return [old.tls.peer_chain, new.tls.peer_chain]

    chains = pair.run(story())[0]
    assert chains == [[engines.certificate(kind, ("localhost",))] for kind in ("p256", "ed25519")]


class Siege:
    """A healthy connection beside an attack: it goes on; and afterwards nothing is left of the attack but a counter."""

    def __init__(self, **options: Any) -> None:
        self.pair = Pair(**options)
        self.pair.server.tcp.listen(PORT, echo, 2048)
        self.healthy = self.pair.run(self.pair.connect())[0]
        self.check()
        self.attacker = self.pair.tasks.app(self.pair.hosts[1])

    def check(self) -> None:
        async def ask() -> None:
            await self.healthy.write(b"still there?")
            assert await self.healthy.read() == b"still there?"

        self.pair.run(ask(), limit_ms=5000)

    def engines_alive(self) -> int:
        gc.collect()
        return sum(isinstance(found, Connection) for found in gc.get_objects())

    @property
    def counters(self) -> dict[str, int]:
        found: dict[str, int] = self.pair.server.counters["tls"]
        return found


def test_survival_thousand_half_open_handshakes() -> None:
    siege = Siege()
    before = siege.engines_alive()
    pair = siege.pair

    async def attack() -> list[Any]:
        return [await siege.attacker.tcp.connect("10.0.0.1", PORT) for _ in range(1000)]

    flows = pair.run(attack())[0]
    siege.check()
    assert len(pair.server.half_open) == 256
    assert siege.engines_alive() - before <= 256
    assert siege.counters["half_open_dropped"] == 1000 - 256
    # Who is there comes in meanwhile.
    friend = pair.run(pair.connect())[0]
    pair.run(friend.close())
    pair.world.run(for_ms=10_500)
    assert siege.counters["handshake_timeouts"] == 255
    assert len(pair.server.half_open) == 0
    del friend
    assert siege.engines_alive() <= before
    siege.check()
    for flow in flows:
        flow.abort()
    pair.world.run(for_ms=1000)
    assert len(pair.hosts[0].stack.tcp.by_key) == 1


def test_survival_slowloris_in_the_handshake() -> None:
    siege = Siege()
    pair = siege.pair
    hello = engines.client_engine(engines.client_context()).take_output()
    assert len(hello) > 100

    async def drip() -> int:
        flow = await siege.attacker.tcp.connect("10.0.0.1", PORT)
        started_ms = pair.world.now_ms
        try:
            for octet in hello:
                await flow.write(bytes((octet,)))
                await virtual.sleep_ms(500)
        except OSError:
            pass
        return pair.world.now_ms - started_ms

    lasted = pair.run(*[drip() for _ in range(20)])
    assert max(lasted) < 11_000
    assert siege.counters["handshake_timeouts"] == 20
    siege.check()


async def shaken(siege: Siege, context: Any = None) -> TlsFlow:
    """A client's connection whose engine is the attacker's to play with."""
    flow = await siege.attacker.tcp.connect("10.0.0.1", PORT)
    return await wrap(flow, context or engines.client_context(), False, "localhost", siege.pair.clock)


def test_survival_key_update_storm() -> None:
    siege = Siege()
    pair = siege.pair

    async def attack() -> str:
        flow = await shaken(siege)
        try:
            while True:
                flow.tls.update_keys(request_peer=True)
                await flow._flow.write(flow.tls.take_output())
                flow._flow.read_now(65536)
        except OSError as error:
            return str(error)

    pair.run(attack())
    pair.world.run(for_ms=3000)
    siege.check()
    assert siege.counters["failures"] == 1


def test_survival_renegotiation_storm() -> None:
    crypto = engines.quick_crypto()
    siege = Siege(server=engines.server_context(v12=ServerVersion12()))
    pair = siege.pair
    old = engines.client_context(crypto=crypto, v12=ClientVersion12(crypto))

    async def attack() -> None:
        flow = await siege.attacker.tcp.connect("10.0.0.1", PORT)
        engine = old.engine("localhost", 0, 1_800_000_000)
        hello = engine.take_output()
        at = hello.index(b"\x00\x2b\x00\x05\x04\x03\x04\x03\x03")
        hello = hello[:at] + b"\x7f" + hello[at + 1 :]
        engine.handshake.offer.message = hello[5:]
        engine.output.append(hello)
        tls_flow = TlsFlow(flow, engine)
        await tls_flow.handshake()
        try:
            while True:
                engine.write(22, hello[5:])
                await flow.write(engine.take_output())
                flow.read_now(65536)
        except OSError:
            return

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("libos.tls.v12_server.DOWNGRADE_12", bytes(8))
        pair.run(attack())
    pair.world.run(for_ms=3000)
    siege.check()
    assert siege.counters["renegotiations"] == 33
    assert siege.counters["failures"] == 1


def test_survival_chain_of_a_hundred() -> None:
    """A client shows 100 certificates: the server says no, and has verified none of them."""
    verifier = engines.Verifier()
    crypto = engines.quick_crypto()
    siege_options = {"server": engines.server_context(verifier=verifier, client_auth="optional")}
    siege = Siege(**siege_options)
    credential = engines.Credential(crypto)
    credential.chain = credential.chain * 101
    context = engines.client_context(crypto=crypto, credentials=[credential])

    async def attack() -> str:
        try:
            flow = await shaken(siege, context)
            await flow.read()
        except OSError as error:
            return str(error)
        return ""

    assert "42" in siege.pair.run(attack())[0]
    assert verifier.calls == []
    siege.pair.world.run(for_ms=3000)
    siege.check()
    assert siege.counters["failures"] == 1


def test_survival_garbage_instead_of_tls() -> None:
    siege = Siege()
    pair = siege.pair
    before = siege.engines_alive()

    async def attack(number: int) -> bytes:
        flow = await siege.attacker.tcp.connect("10.0.0.1", PORT)
        garbage = b"GET / HTTP/1.1\r\n\r\n" if number % 2 else pattern(200_000, number)
        try:
            await flow.write(garbage)
            flow.shutdown_write()
            return await read_to_end(flow)
        except OSError:
            return b""

    answers = pair.run(*[attack(number) for number in range(100)])
    assert b"\x15\x03\x03\x00\x02\x02" in {answer[:6] for answer in answers}  # a fatal alert
    pair.world.run(for_ms=3000)
    siege.check()
    assert siege.counters["failures"] == 100
    assert siege.engines_alive() <= before


def test_truncation_is_told_from_an_end() -> None:
    pair = Pair()
    seen: list[Any] = []

    async def handler(flow: Any) -> None:
        try:
            seen.append(await read_to_end(flow))
        except OSError as error:
            seen.append(error)
            raise

    pair.server.tcp.listen(PORT, handler)

    async def story() -> None:
        orderly, cut = await pair.connect(), await pair.connect()
        for flow in (orderly, cut):
            await flow.write(b"all of it")
        await orderly.close(1000)
        cut._flow.shutdown_write()

    pair.run(story())
    pair.world.run(until=lambda: len(seen) == 2)
    assert seen[0] == b"all of it"
    assert "truncated" in str(seen[1])
    assert pair.server.counters["tls"]["truncated"] == 1
    # An error of the connection, and no traceback on the console.
    assert [line for line in pair.log.lines if line[0] in ("error", "exception")] == []
