# SPDX-License-Identifier: MIT
"""The application of these tests on images: built once a session for each target, started, asked."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tests.boot import guests
from tests.interop import guest as guest_module
from tests.interop.network import IPV4, Network
from tests.interop.tls.peers import Client, Place, Seen, Wish
from tests.interop.tls.pki import Authority

APPS = Path(__file__).parents[1] / "apps"
SHARED = ("web.py", "reader.py", "pattern.py")
PORTS = {"p256": 4431, "p384": 4432, "rsa": 4433, "ed25519": 4434}
STRICT = 4435
ALL_PORTS = {99, STRICT, *PORTS.values()}
CONFIGURE = {
    "socket": ["-t", "unix", "--net", "socket"],
    "direct": ["-t", "unix", "--net", "direct"],
    "virtio": ["-t", "hvt"],
    "ixgbe": ["-t", "hvt", "--nic", "ixgbe"],
}
COMMAND_TIMEOUT_S = 60.0


def port_of(wish: Wish) -> int:
    """Where the image has what is wished."""
    return STRICT if wish.has_client_certificate else PORTS[wish.key]


def cannot(client: Client, wish: Wish) -> str:
    """Why a client cannot have `wish` of the image; "" where it can."""
    if client.name == "gnutls" and wish.is_resumed and wish.version == "1.3":
        return "it waits for a ticket before it says anything, and our tickets go with the first answer"
    return client.cannot(wish)


@dataclass
class Builds:
    """Executables and images, made when first asked for."""

    folder: Path
    authority: Authority

    def get(self, kind: str) -> Path:
        """The application for one of CONFIGURE."""
        source, directory = self.folder / "source", self.folder / kind
        name = "tls_peer.hvt" if kind in ("virtio", "ixgbe") else "tls_peer"
        built = directory / "dist" / name
        if built.exists():
            return built
        if not source.exists():
            shutil.copytree(APPS / "tls", source)
            for name in SHARED:
                shutil.copy(APPS / "interop" / name, source)
            for path in self.authority.folder.iterdir():
                if path.suffix in (".pem", ".key"):
                    shutil.copy(path, source)
        return guests.build(source, directory, *CONFIGURE[kind])


@dataclass
class Image:
    """A running application. place: where it is, for peers that talk to it."""

    running: guests.Guest
    place: Place

    def order(self, *words: object) -> dict[str, Any]:
        """A command for the control port, and its answer."""
        line = " ".join(str(word) for word in words).encode() + b"\n"
        near, ip = self.place.near, self.place.ip
        done = near.run("nc", "-w", "60", ip, "99", stdin=line, timeout_s=COMMAND_TIMEOUT_S)
        assert done.stdout, f"no answer to {words}: {done.stderr}\nit said:\n{self.running.text()}"
        answer: dict[str, Any] = json.loads(done.stdout)
        return answer

    def get(self, ip: str, port: int, wish: Wish, path: str = "/") -> Seen:
        """A request of ours as a client, as peers tell of theirs. AssertionError where there was no answer."""
        for _ in range(2 if wish.is_resumed else 1):
            answer = self.order("get", ip, port, wish.host, path)
            assert "error" not in answer, f"{answer}\nit said:\n{self.running.text()}"
        return Seen(
            version=answer["version"],
            cipher=answer["cipher"],
            group=answer["group"],
            alpn=answer["alpn"],
            is_resumed=answer["resumed"],
            body=str(answer["status"]),
            text=json.dumps(answer),
        )


@contextmanager
def started(builds: Builds, kind: str, network: Network, folder: Path) -> Iterator[Image]:
    """Starts one of CONFIGURE in the network's namespace."""
    near, built = network.near, builds.get(kind)
    prefix: Any = near.prefix
    ip = "127.0.0.1" if kind == "socket" else IPV4.guest
    if kind in ("virtio", "ixgbe"):
        arguments = guest_module.static()
        context = guests.start_hvt(built, ALL_PORTS, "--tap", "tap0", guest_args=arguments, prefix=prefix, host=ip)
    else:
        arguments = ["--interface", "tap0", *guest_module.static()] if kind == "direct" else []
        context = guests.started([str(built), *arguments], ALL_PORTS, prefix=prefix, host=ip)
    with context as running:
        image = Image(running, Place(near, ip, builds.authority, folder))
        if kind != "socket":
            guest_module.wait_until_it_answers(guest_module.Guest(running, near, ip))
        yield image


def at_near(image: Image) -> Place:
    """Where servers are that the image connects to."""
    ip = image.place.ip if image.place.ip == "127.0.0.1" else IPV4.near
    return replace(image.place, ip=ip)
