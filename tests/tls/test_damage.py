# SPDX-License-Identifier: MIT
"""A handshake that is damaged on its way: every truncation, every bit. An alert, never an exception, never plaintext.

In the suite every bit of a full handshake is tried; beside it are handshakes with a retry, with a client's certificate
and with a ticket, of which every 7th bit is (all of them in make nightly).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest

from libos.tls import errors
from tests.tls.engines import (
    NOW_MS,
    WALL_S,
    Credential,
    Verifier,
    client_context,
    established,
    quick_crypto,
    server_context,
)

STEP = int(os.environ.get("MIRAGE_PY_DAMAGE_STEP", "7"))
X25519, SECP256R1 = 0x001D, 0x0017


class Scene:
    """Makes the same handshake again and again; Ed25519, so that all flights keep their lengths."""

    def __init__(self, kind: str) -> None:
        crypto, other = quick_crypto(), quick_crypto()
        credentials = [Credential(crypto, "ed25519")]
        if kind == "retry":
            other.groups = (SECP256R1, X25519)
            crypto.groups = (X25519,)
        is_asking = kind == "client certificate"
        self.servers = server_context(
            crypto=crypto,
            credentials=credentials,
            verifier=Verifier(),
            client_auth="required" if is_asking else "none",
            alpn=(b"http/1.1",),
        )
        self.clients = client_context(
            crypto=other, credentials=credentials if is_asking else (), alpn=(b"http/1.1",), record_size_limit=4000
        )
        self.session = None
        if kind == "ticket":
            self.session = established(self.clients, self.servers)[0].session
        self.lengths = [len(flight) for flight in self.run(lambda number, flight: flight)[2]]

    def run(self, change: Any) -> tuple[Any, Any, list[bytes]]:
        """(client, server, flights): each flight as change(number, flight) has it; then data, then the end."""
        client = self.clients.engine("localhost", NOW_MS, WALL_S, session=self.session)
        server = self.servers.engine(NOW_MS, WALL_S)
        flights = []
        engines = [(client, server), (server, client)]
        while True:
            sender, receiver = engines[len(flights) % 2]
            flight = sender.take_output()
            if not flight:
                break
            flights.append(flight)
            receiver.receive_data(change(len(flights) - 1, flight))
        for sender, receiver in engines:
            if sender.is_established:
                sender.send(b"secret")
                flight = sender.take_output()
                if receiver.error is None:
                    receiver.receive_data(flight)
        # Who was told of more octets than came waits for them; a flow has timeouts.
        for _, receiver in engines:
            if not receiver.data:
                receiver.receive_data(b"")
        return client, server, flights

    def truncated(self, cut: Any) -> tuple[Any, Any]:
        """(client, server) of a transport that ends where `cut` says."""
        client = self.clients.engine("localhost", NOW_MS, WALL_S, session=self.session)
        server = self.servers.engine(NOW_MS, WALL_S)
        for number, length in enumerate(self.lengths):
            sender, receiver = ((client, server), (server, client))[number % 2]
            data = cut(number, sender.take_output())
            if data:
                receiver.receive_data(data)
            if len(data) < length:
                receiver.receive_data(b"")
                break
        return client, server


SCENES = ["full", "retry", "client certificate", "ticket"]


def check(client: Any, server: Any, *, is_harmless: bool = False) -> None:
    """Somebody noticed, with an alert that says what a peer does wrong; and nothing passed that was not complete."""
    for engine, other in ((client, server), (server, client)):
        if engine.error is not None and not engine.error.is_remote:
            assert engine.error.alert != errors.INTERNAL_ERROR, engine.error
        assert engine.data in ([], [b"secret"])
        if engine.data and not is_harmless:
            # Only the last flight of all can be lost on the way to somebody who is done.
            assert other.is_established or other.error is not None
    if not is_harmless:
        assert client.error is not None or server.error is not None


def is_version(flight: bytes, at: int) -> bool:
    """Whether that octet is a legacy_record_version of a record in the clear, which is not looked at (section 5.1)."""
    start = 0
    while start < len(flight):
        if flight[start] != 23 and at in (start + 1, start + 2):
            return True
        start += 5 + (flight[start + 3] << 8 | flight[start + 4])
    return False


def bits(scene: Scene, step: int) -> Iterator[tuple[int, int]]:
    for number, length in enumerate(scene.lengths):
        for bit in range(number % step, 8 * length, step):
            yield number, bit


def damage_every_bit(kind: str, step: int) -> int:
    scene = Scene(kind)
    count = 0
    for number, bit in bits(scene, step):

        def flip(index: int, flight: bytes, number: int = number, bit: int = bit) -> bytes:
            if index != number:
                return flight
            changed = bytearray(flight)
            changed[bit >> 3] ^= 1 << (bit & 7)
            return bytes(changed)

        client, server, flights = scene.run(flip)
        harmless = is_version(flights[number], bit >> 3)
        try:
            check(client, server, is_harmless=harmless)
        except AssertionError as error:
            raise AssertionError(f"flight {number}, bit {bit}: {client.error} {server.error}") from error
        count += 1
    return count


@pytest.mark.parametrize("kind", SCENES)
def test_undamaged(kind):
    client, server, flights = Scene(kind).run(lambda number, flight: flight)
    assert client.data == server.data == [b"secret"]
    assert len(flights) == (6 if kind == "retry" else 4) - (kind == "client certificate")


@pytest.mark.parametrize("kind", SCENES)
def test_some_bits(kind):
    assert damage_every_bit(kind, 61) > 80


@pytest.mark.slow
@pytest.mark.parametrize("kind", SCENES)
def test_every_bit(kind):
    assert damage_every_bit(kind, 1 if kind == "full" else STEP) > 800


@pytest.mark.nightly
@pytest.mark.parametrize("kind", SCENES)
def test_really_every_bit(kind):
    assert damage_every_bit(kind, 1) > 6000


@pytest.mark.parametrize("kind", SCENES)
def test_every_truncation(kind):
    scene = Scene(kind)
    for number, length in enumerate(scene.lengths):
        for end in range(0, length, 1 if kind == "full" else 3):

            def cut(index: int, flight: bytes, number: int = number, end: int = end) -> bytes:
                return flight if index < number else flight[:end] if index == number else b""

            client, server = scene.truncated(cut)
            receiver = server if number % 2 == 0 else client
            assert receiver.error.reason.startswith("truncated")
            assert receiver.data == []
            assert receiver.context.counters["truncated"] > 0
