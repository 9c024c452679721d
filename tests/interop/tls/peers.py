# SPDX-License-Identifier: MIT
"""What a TLS peer is asked for, what it says about a connection, and what every peer has in common.

Clients send a GET and read to the end; servers answer a GET. A peer says which wishes it cannot have (`cannot`), so
that a test of all with all is one list.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.interop import servers
from tests.interop.network import Namespace
from tests.interop.tls.pki import HOST, Authority, Identity

TIMEOUT_S = 30.0
MLKEM = "X25519MLKEM768"
# Of TLS 1.3, and the AEAD suites of 1.2 with their names in OpenSSL.
SUITES_13 = ("TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256")
SUITES_12 = {
    "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256": "ECDHE-ECDSA-AES128-GCM-SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384": "ECDHE-ECDSA-AES256-GCM-SHA384",
    "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256": "ECDHE-ECDSA-CHACHA20-POLY1305",
    "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256": "ECDHE-RSA-AES128-GCM-SHA256",
    "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384": "ECDHE-RSA-AES256-GCM-SHA384",
    "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256": "ECDHE-RSA-CHACHA20-POLY1305",
}
SAME_GROUP = {"prime256v1": "secp256r1", "P-256": "secp256r1", "P-384": "secp384r1"}
IANA = {short: name for name, short in SUITES_12.items()}


@dataclass(frozen=True)
class Wish:
    """A connection as it shall be.

    version: this one alone. key: the server's kind. cipher: IANA's name, this one alone, or "". groups: these, the
    first one's share is sent; () for the peer's own. identity: a client certificate, which the server then requires.
    is_resumed: a second connection with what the first one left, of which is told.
    """

    version: str = "1.3"
    key: str = "p256"
    cipher: str = ""
    groups: tuple[str, ...] = ()
    alpn: tuple[str, ...] = ()
    host: str = HOST
    has_client_certificate: bool = False
    is_resumed: bool = False

    def __str__(self) -> str:
        parts = [self.version, self.key, self.cipher.removeprefix("TLS_"), "+".join(self.groups), "+".join(self.alpn)]
        parts += ["client-cert"] * self.has_client_certificate + ["resumed"] * self.is_resumed
        return "-".join(part for part in parts if part)


@dataclass
class Seen:
    """What a peer says of a connection; "" where it does not say. body: what came; text: all that it printed."""

    version: str = ""
    cipher: str = ""
    group: str = ""
    alpn: str = ""
    is_resumed: bool | None = None
    body: str = ""
    text: str = field(default="", repr=False)


class PeerError(AssertionError):
    """A client had no answer; the text is all it printed."""


@dataclass(frozen=True)
class Place:
    """Where peers run, and with whose certificates."""

    near: Namespace
    ip: str
    authority: Authority
    folder: Path

    def server(self, wish: Wish) -> Identity:
        return self.authority.servers[wish.key]

    def run(self, *command: str, stdin: bytes = b"") -> str:
        """A program to its end: what it printed, or PeerError."""
        done = self.near.run(*command, timeout_s=TIMEOUT_S, stdin=stdin)
        text = done.stdout + done.stderr
        if done.returncode != 0:
            raise PeerError(f"{' '.join(command)}: exit {done.returncode}\n{text}")
        return text


def request(host: str = HOST, path: str = "/") -> bytes:
    """What a client sends."""
    return f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode()


class Client:
    """A TLS client. name: for the test's name."""

    name: str

    def cannot(self, wish: Wish) -> str:
        """Why it cannot have `wish`; "" where it can."""
        return ""

    def fetch(self, place: Place, port: int, wish: Wish) -> Seen:
        """Connects to `place.ip`, verifies the server, asks, reads. PeerError when there was no answer."""
        raise NotImplementedError


class Server:
    """A TLS server. name: for the test's name."""

    name: str

    def cannot(self, wish: Wish) -> str:
        """Why it cannot have `wish`; "" where it can."""
        return ""

    def command(self, place: Place, port: int, wish: Wish) -> list[str]:
        """What starts it, on `place.ip`."""
        raise NotImplementedError

    @contextmanager
    def serving(self, place: Place, wish: Wish) -> Iterator[int]:
        """It, on a port that it has to itself in the namespace."""
        port = 20000 + next(_ports) % 10000
        log = place.folder / f"{self.name}-{port}.log"
        with servers.listening(place.near, self.command(place, port, wish), port, log):
            yield port


_ports = itertools.count()


class ByProgram:
    """What Python, Node and Go have in common: a program of ours that takes its orders as JSON."""

    def program(self) -> list[str]:
        """The command before the orders."""
        raise NotImplementedError

    def orders(self, role: str, place: Place, port: int, wish: Wish) -> str:
        """The last argument."""
        mine = place.authority.client if role == "client" else place.server(wish)
        has_certificate = role == "server" or wish.has_client_certificate
        return json.dumps(
            {
                "role": role,
                "ip": place.ip,
                "port": port,
                "host": wish.host,
                "trust": str(place.authority.trust),
                "chain": str(mine.chain) if has_certificate else "",
                "key": str(mine.key) if has_certificate else "",
                "version": wish.version,
                "cipher": SUITES_12.get(wish.cipher, wish.cipher),
                "cipher_iana": wish.cipher,
                "groups": list(wish.groups),
                "alpn": list(wish.alpn),
                "client_certificate": wish.has_client_certificate,
                "connections": 2 if wish.is_resumed else 1,
                "request": request(wish.host).decode(),
            }
        )


class ProgramClient(ByProgram, Client):
    """A client that prints what it saw as JSON on its last line."""

    def fetch(self, place: Place, port: int, wish: Wish) -> Seen:
        text = place.run(*self.program(), self.orders("client", place, port, wish))
        seen: dict[str, Any] = json.loads(text.strip().splitlines()[-1])
        return Seen(
            version=seen["version"].removeprefix("TLSv"),
            cipher=IANA.get(seen["cipher"], seen["cipher"]),
            group=SAME_GROUP.get(seen.get("group", ""), seen.get("group", "")),
            alpn=seen["alpn"],
            is_resumed=seen["resumed"],
            body=seen["body"],
            text=text,
        )


class ProgramServer(ByProgram, Server):
    def command(self, place: Place, port: int, wish: Wish) -> list[str]:
        return [*self.program(), self.orders("server", place, port, wish)]
