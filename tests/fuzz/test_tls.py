# SPDX-License-Identifier: MIT
"""Engines of TLS that anything is said to: they answer with data or an alert, and never with an exception.

Two ways: with primitives that protect nothing, so that what is changed gets past the records and into each state; and
with real ones. In the suite for PROTOCOL_SECONDS, in make nightly for a million steps. A failure prints its seed.
"""

from __future__ import annotations

import os
import random
import time
from typing import Any

import pytest

from libos.tls import codec, errors
from libos.tls.client import ClientContext
from libos.tls.errors import TlsError
from libos.tls.server import ServerContext
from libos.tls.v12_client import ClientVersion12
from libos.tls.v12_server import ServerVersion12
from tests.fuzz.duration import PROTOCOL_SECONDS
from tests.tls.engines import NOW_MS, WALL_S, Credential, Leaf, Verifier, quick_crypto

STEPS = int(os.environ.get("MIRAGE_PY_FUZZ_STEPS", "1_000_000"))
LEAST = 300
X25519, SECP256R1 = 0x001D, 0x0017
TAG = b"a tag of 16 octs"


class Hash:
    digest_size = 32

    def update(self, data: bytes) -> None:
        pass

    def digest(self) -> bytes:
        return bytes(32)

    def copy(self) -> Hash:
        return self


class Aead:
    def seal(self, nonce: bytes, aad: bytes, data: bytes, head: bytes = b"", tail: bytes = b"") -> bytes:
        return bytes(head) + bytes(data) + bytes(tail) + TAG

    def seal_records(self, nonce: bytes, tail: int, sequence: int, data: bytes, limit: int) -> bytes:
        parts = [bytes(data[at : at + limit]) for at in range(0, len(data), limit)]
        return b"".join(b"\x17\x03\x03" + (len(part) + 17).to_bytes(2, "big") + part + b"\x17" + TAG for part in parts)

    def open(self, nonce: bytes, aad: bytes, data: bytes) -> bytes | None:
        return bytes(data[:-16]) if bytes(data[-16:]) == TAG else None

    def wipe(self) -> None:
        pass


class Signer:
    def sign(self, algorithm: str, message: bytes) -> bytes:
        return bytes(64)


class NoCrypto:
    """Protects nothing, believes everything, and takes no time."""

    aeads = ("aes128gcm", "chacha20poly1305")
    key_kinds = ("p256", "rsa", "ed25519")

    def __init__(self, groups: tuple[int, ...], rng: random.Random) -> None:
        self.groups = groups
        self.random = rng.randbytes

    def sha256(self, data: bytes = b"") -> Hash:
        return Hash()

    def hmac(self, bits: int, key: bytes, data: bytes) -> bytes:
        return bytes(32)

    def equal(self, a: bytes, b: bytes) -> bool:
        return True

    def wipe(self, data: bytes) -> None:
        pass

    def aead(self, name: str, key: bytes) -> Aead:
        return Aead()

    def generate(self, group: int) -> tuple[bytes, bytes]:
        return b"", bytes(32)

    def respond(self, group: int, share: bytes) -> tuple[bytes, bytes]:
        if len(share) < 4:
            raise ValueError("share")
        return bytes(32), bytes(32)

    def agree(self, group: int, private: bytes, share: bytes) -> bytes:
        return self.respond(group, share)[1]

    def verify(self, key: Any, algorithm: str, message: bytes, signature: bytes) -> bool:
        return True

    def signer(self, kind: str, material: Any) -> Signer:
        return Signer()


class Gullible:
    def verify(self, chain: list[bytes], wall_s: int, purpose: str, hostname: str | None = None) -> Leaf:
        return Leaf(("p256", b""))


class ToyCredential:
    key_kind = "p256"
    names = ("localhost", "*.example")

    def __init__(self) -> None:
        self.chain = [bytes(50), bytes(20)]
        self.signer = Signer()


class Fuzzer:
    """Contexts of every kind, and connections between them with a liar on the wire."""

    def __init__(self, seed: int, is_real: bool) -> None:
        self.rng = rng = random.Random(seed)
        self.steps = 0
        self.established = {0x0303: 0, 0x0304: 0}
        self.seen: set[int] = set()
        self.corpus: list[bytes] = []
        self.pairs = []
        for is_asking in (False, True):
            for groups, is_old in (
                ((X25519, SECP256R1), False),
                ((SECP256R1, X25519), False),
                ((X25519, SECP256R1), not is_real),
            ):
                ours: Any
                theirs: Any
                if is_real:
                    ours, theirs = quick_crypto(), quick_crypto()
                    ours.groups = groups
                    credentials: Any = [Credential(ours, "ed25519")]
                    verifier: Any = Verifier()
                else:
                    ours, theirs = NoCrypto(groups, rng), NoCrypto((X25519,), rng)
                    credentials = [ToyCredential()]
                    verifier = Gullible()
                if is_real:
                    theirs.groups = (X25519,)
                clients = ClientContext(
                    ours,
                    verifier,
                    credentials=credentials,
                    alpn=(b"h2", b"http/1.1"),
                    record_size_limit=2000,
                    v12=ClientVersion12(ours),
                )
                servers = ServerContext(
                    theirs,
                    credentials,
                    verifier=verifier,
                    client_auth="required" if is_asking else "none",
                    alpn=(b"http/1.1",),
                    record_size_limit=3000,
                    v12=ServerVersion12(),
                )
                self.pairs.append([clients, servers, None, is_old])

    def run(self, goes_on: Any) -> None:
        while goes_on(self.steps):
            self.connection(self.rng.choice(self.pairs))

    def connection(self, pair: list[Any]) -> None:
        rng = self.rng
        clients, servers, session, is_old = pair
        client = clients.engine("localhost", NOW_MS, WALL_S, session=session if rng.randrange(2) else None)
        server = servers.engine(NOW_MS, WALL_S)
        lies = rng.choice((0, 1, 1, 1, 2, 5))
        for turn in range(12):
            sender, receiver = ((client, server), (server, client))[turn % 2]
            data = sender.take_output()
            if is_old and turn < 2:
                # Whom neither of them tells, and whose marks are gone, speaks TLS 1.2.
                data = data.replace(b"\4\3\4\3\3", b"\4\x0a\x0a\3\3").replace(b"DOWNGRD\1", bytes(8))
            if lies and rng.randrange(3) == 0:
                lies -= 1
                data = self.lie(data)
            self.give(receiver, data)
            if sender.is_established and not sender.is_closed:
                self.talk(sender)
        if client.session is not None:
            pair[2] = client.session
        if client.is_established and server.is_established:
            self.established[client.version] += 1

    def talk(self, engine: Any) -> None:
        what = self.rng.randrange(6)
        if what == 0:
            engine.send(self.rng.randbytes(self.rng.choice((1, 100, 5000))))
        elif what == 1 and engine.version == 0x0304:
            engine.update_keys(bool(self.rng.randrange(2)))
        elif what == 2:
            engine.close()

    def give(self, engine: Any, data: bytes) -> None:
        rng = self.rng
        self.steps += 1
        size = rng.choice((len(data) or 1, len(data) or 1, 1 + rng.randrange(200)))
        for at in range(0, len(data), size):
            engine.receive_data(data[at : at + size])
        if rng.randrange(100) == 0:
            engine.receive_data(b"")
        self.check(engine, len(data))

    def check(self, engine: Any, count: int) -> None:
        if engine.error is None:
            assert engine._partial is None or len(engine._partial) < 16640 + 5
            assert engine._messages is None or len(engine._messages) < 65540 + 16384
        else:
            assert type(engine.error) is TlsError
            assert engine.error.is_remote or engine.error.alert != errors.INTERNAL_ERROR
            assert engine.is_closed
            assert not engine.is_established
            assert engine.handshake is engine.reader is engine.writer is None
            self.seen.add(engine.error.alert)
        assert sum(map(len, engine.data)) <= count + 17000
        engine.data.clear()
        assert sum(map(len, engine.output)) < 40_000

    # --- lies --------------------------------------------------------------------------------------------------------

    def lie(self, data: bytes) -> bytes:
        rng = self.rng
        way = rng.randrange(8)
        if way == 0:
            return rng.randbytes(rng.randrange(100))
        if way == 1 and data:
            return data[: rng.randrange(len(data))]
        if way == 2:
            return (
                self.record(rng.choice((20, 21, 22, 23, rng.randrange(256))), rng.randbytes(rng.randrange(40))) + data
            )
        if way == 3:
            changed = bytearray(data)
            for _ in range(min(len(data), rng.choice((1, 1, 2, 10)))):
                changed[rng.randrange(len(changed))] = rng.choice((0, 1, 255, rng.randrange(256)))
            return bytes(changed)
        return self.rewritten(data)

    def record(self, kind: int, body: bytes) -> bytes:
        return bytes([kind, 3, 3]) + len(body).to_bytes(2, "big") + body

    def rewritten(self, data: bytes) -> bytes:
        """Messages within the records are changed, and the lengths around them are right again."""
        rng = self.rng
        out = b""
        while len(data) >= 5:
            end = 5 + (data[3] << 8 | data[4])
            kind, body, data = data[0], data[5:end], data[end:]
            if kind == 22 and body.endswith(TAG):  # TLS 1.2
                out += self.record(kind, body[:8] + b"".join(self.messages(body[8:-16])) + TAG)
                continue
            is_sealed = kind == 23 and body.endswith(TAG)
            inner = body[:-16] if is_sealed else body
            real = inner[-1] if is_sealed and inner else kind
            text = inner[:-1] if is_sealed else inner
            if real == 22:
                text = b"".join(self.messages(text))
            elif rng.randrange(3) == 0:
                text = self.mutated(text)
            if rng.randrange(20) == 0:
                real = rng.choice((20, 21, 22, 23))
            for at in range(0, len(text) or 1, 16000):
                part = text[at : at + 16000]
                if is_sealed:
                    padding = bytes(rng.choice((0, 0, 0, 20)))
                    out += self.record(23, part + bytes([real]) + padding + TAG)
                else:
                    out += self.record(real, part)
        return out + data

    def messages(self, text: bytes) -> list[bytes]:
        rng = self.rng
        found = []
        while len(text) >= 4:
            end = 4 + int.from_bytes(text[1:4], "big")
            found.append(text[:end])
            text = text[end:]
        if found and len(self.corpus) < 100:
            self.corpus.append(rng.choice(found))
        if not found:
            return [text]
        index = rng.randrange(len(found))
        way = rng.randrange(5)
        if way == 0:
            found.insert(index, rng.choice(self.corpus))
        elif way == 1:
            del found[index]
        elif way == 2:
            found[index] = codec.message(rng.choice((0, 1, 2, 4, 5, 8, 11, 13, 15, 20, 24, 255)), found[index][4:])
        elif len(found[index]) >= 4:
            found[index] = codec.message(found[index][0], self.mutated(found[index][4:]))
        return found

    def mutated(self, body: bytes) -> bytes:
        rng = self.rng
        changed = bytearray(body)
        for _ in range(rng.choice((1, 1, 2, 4))):
            at = rng.randrange(len(changed) + 1)
            way = rng.randrange(5)
            if way == 0:
                changed[at:at] = rng.randbytes(rng.choice((1, 2, 40)))
            elif way == 1:
                del changed[at : at + rng.choice((1, 2, 10))]
            elif way == 2 and changed:
                changed[at % len(changed)] = rng.choice((0, 1, 3, 4, 43, 51, 255, rng.randrange(256)))
            elif way == 3:
                changed[at : at + 2] = rng.randrange(65536).to_bytes(2, "big")
            elif changed:
                changed[at % len(changed)] ^= 1 << rng.randrange(8)
        return bytes(changed)


def fuzz(is_real: bool, goes_on: Any) -> Fuzzer:
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")  # shown with any failure
    fuzzer = Fuzzer(seed, is_real)
    try:
        fuzzer.run(goes_on)
    except Exception as error:
        raise AssertionError(f"seed {seed}, step {fuzzer.steps}: {error!r}") from error
    return fuzzer


@pytest.mark.parametrize("is_real", [False, True], ids=["messages", "records"])
def test_engines_take_anything(is_real):
    end = time.monotonic() + PROTOCOL_SECONDS
    fuzz(is_real, lambda steps: steps < LEAST or time.monotonic() < end)


@pytest.mark.nightly
@pytest.mark.parametrize("is_real", [False, True], ids=["messages", "records"])
def test_engines_take_anything_for_a_million_steps(is_real):
    start = time.monotonic()
    fuzzer = fuzz(is_real, lambda steps: steps < STEPS)
    print(f"{fuzzer.steps} steps, {fuzzer.established} connections, {time.monotonic() - start:.0f} s")


def test_the_fuzzer_gets_everywhere():
    """It must not only ever talk to closed doors."""
    fuzzer = Fuzzer(1, False)
    fuzzer.run(lambda steps: steps < 20_000)
    assert fuzzer.established[0x0304] > 50
    assert fuzzer.established[0x0303] > 20
    wanted = {errors.DECODE_ERROR, errors.ILLEGAL_PARAMETER, errors.UNEXPECTED_MESSAGE}
    wanted |= {errors.UNSUPPORTED_EXTENSION, errors.BAD_RECORD_MAC, errors.PROTOCOL_VERSION}
    assert wanted <= fuzzer.seen
    counters = [pair[0].counters for pair in fuzzer.pairs]
    assert sum(each["resumed"] for each in counters) > 5
