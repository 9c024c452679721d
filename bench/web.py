# SPDX-License-Identifier: MIT
"""Our web server beside nginx, alternating: processor time of handshakes, downloads, requests; memory; images."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from statistics import median

from bench import web_load
from bench.context import Context
from bench.images import linux, our_guest
from bench.machine import Guest, GuestError, Machine
from bench.row import Row, give_up
from bench.web_load import Address
from bench.web_servers import BIG, OUR_PORTS, PAGE, SMALL, WebServer, nginx, ours

NGINX = "nginx, OpenSSL"
WRK_CONNECTIONS = 32
BIG_CONNECTIONS = 4
# In short turns: whatever else the machine does falls on both.
SLICES = 3
Measured = Callable[[WebServer], float]


def _spent(server: WebServer, work: Callable[[], int]) -> float:
    """The server's processor time for each of what `work` says it did."""
    before_s = server.cpu_s
    count = work()
    return (server.cpu_s - before_s) / count


def _handshakes(which: str, count: int, is_resumed: bool = False) -> Measured:
    def work(server: WebServer) -> float:
        def connect() -> int:
            web_load.handshakes(server.address(which), count, SMALL, is_resumed)
            return count

        return _spent(server, connect)

    return work


def _rate(count: int) -> Measured:
    """Octets for each second of processor time."""

    def work(server: WebServer) -> float:
        return 1 / _spent(server, lambda: web_load.downloads(server.address("p256"), count, BIG))

    return work


def _requests(which: str, path: str, connections: int, seconds: float) -> Measured:
    def work(server: WebServer) -> float:
        return _spent(server, lambda: web_load.wrk(server.address(which), path, connections, seconds))

    return work


def _alternate(context: Context, net: str, pairs: list[tuple[Row, Measured]]) -> None:
    """Both servers run; each row's work is done with the one and the other in turn, SLICES times a round."""
    try:
        with ExitStack() as running:
            image = context.image(f"web-{net}")
            mine = running.enter_context(ours(image, net, context.work / "web"))
            theirs = running.enter_context(nginx(context.web_files, context.work / "nginx"))
            # All rows in each round: some are compared with each other. The first round is to get warm.
            for turn in range(context.effort.rounds + 1):
                for row, measure in pairs:
                    context.progress(f"{row.title}: round {turn} of {context.effort.rounds}")
                    for _ in range(SLICES):
                        found = measure(mine), measure(theirs)
                        if turn:
                            row.ours.append(found[0])
                            row.theirs.append(found[1])
    except GuestError as error:
        give_up([row for row, _ in pairs if len(row.theirs) < SLICES * context.effort.rounds], net, error)


def handshakes(context: Context) -> Iterator[Row]:
    """TLS of the unix build on sockets: handshakes with a small request each, and bulk."""
    count = context.effort.handshakes
    title = "unix socket, server's CPU:"
    full = Row(f"{title} TLS 1.3 connection, P-256, X25519", "us", 1.25, 1.0, scale=1e6, beside=NGINX)
    again = Row(f"{title}   resumed", "us", scale=1e6, beside=NGINX)
    rsa = Row(f"{title}   RSA-2048", "us", 2.0, 1.2, scale=1e6, beside=NGINX)
    bulk = Row(f"{title} HTTPS download, AES-128-GCM", "MB/s", 0.85, 1.0, True, scale=1e-6, beside=NGINX)
    pairs = [
        (full, _handshakes("p256", count)),
        (again, _handshakes("p256", count, True)),
        (rsa, _handshakes("rsa", count)),
        (bulk, _rate(context.effort.downloads)),
    ]
    _alternate(context, "socket", pairs)
    yield from (full, again, rsa, bulk)
    shorter = Row("  resumed beside full", "us", 0.5, 0.35, scale=1e6, beside="ours, full", failed=again.failed)
    shorter.ours, shorter.theirs = list(again.ours), list(full.ours)
    if again.theirs and full.theirs:
        shorter.note = f"nginx's is {median(again.theirs) / median(full.theirs):.2f}"
    yield shorter


def requests(context: Context) -> Iterator[Row]:
    """Keep-alive over HTTP and HTTPS, and a file of 1 MB, by wrk: on our stack over a TAP, and on sockets."""
    seconds = context.effort.wrk_s
    small = f"13 octets, {WRK_CONNECTIONS} connections"
    for net, where in (("direct", "unix direct over TAP"), ("socket", "unix socket")):
        is_own = net == "direct"
        title = f"{where}, server's CPU per"
        plain = Row(f"{title} HTTP request, {small}", "us", scale=1e6, beside="nginx, a file")
        secure = Row(f"{title} HTTPS request, {small}", "us", scale=1e6, beside="nginx, a file")
        big = Row(f"{title} HTTPS file of 1 MB", "us", scale=1e6, beside="nginx, a file")
        if is_own:
            plain.must, plain.wanted, secure.must, secure.wanted, big.must = 0.8, 0.5, 1.0, 0.7, 1.0
        pairs = [
            (plain, _requests("http", SMALL, WRK_CONNECTIONS, seconds)),
            (secure, _requests("p256", SMALL, WRK_CONNECTIONS, seconds)),
            (big, _requests("p256", BIG, BIG_CONNECTIONS, seconds)),
        ]
        _alternate(context, net, pairs)
        yield from (plain, secure, big)


def _heap(server: WebServer) -> int:
    with socket.create_connection((server.host, server.ports["report"]), 10) as plain:
        return int(plain.makefile().read())


def memory(context: Context) -> Iterator[Row]:
    """What an idle TLS connection takes of the heap, its handler's task included."""
    row = Row("unix socket, memory of an idle TLS connection", "KB", 8, 5, scale=1e-3, reference="mbedTLS 42")
    count = context.effort.idle_connections
    try:
        with ours(context.image("web-socket"), "socket", context.work / "web") as server:
            found = {}
            for which in ("echo", "p256"):
                address = Address(server.host, server.ports[which])
                # What comes with the first ones stays.
                _hold(server, address, 10, which)
                found[which] = _hold(server, address, count, which) / count
            row.ours = [found["echo"]]
            row.note = f"with HTTP's keep-alive {found['p256'] / 1e3:.1f} KB"
    except GuestError as error:
        give_up([row], "memory", error)
    yield row


def _hold(server: WebServer, address: Address, count: int, which: str) -> int:
    """What so many connections add to the heap, each after a word there and back."""
    words = b"hello" if which == "echo" else f"GET {SMALL} HTTP/1.1\r\nHost: bench.test\r\n\r\n".encode()
    before = _heap(server)
    with ExitStack() as stack:
        context = web_load.client_context()
        for _ in range(count):
            sock = stack.enter_context(web_load.connected(address, context))
            assert isinstance(sock, ssl.SSLSocket)
            sock.sendall(words)
            if not sock.recv(4096):
                raise GuestError(f"port {address.port}: no answer")
        return _heap(server) - before


def images(context: Context) -> Iterator[Row]:
    """What TLS adds to the image of an echo server."""
    plain = context.image("hvt").stat().st_size
    for build, what, must, wanted in (
        ("secure", "a TLS 1.3 server", 90, 70),
        ("both", "TLS: server, client, X.509, 1.2", 190, 150),
    ):
        row = Row(f"image: what it grows by with {what}", "KB", must, wanted, scale=1e-3)
        row.ours = [context.image(build).stat().st_size - plain]
        yield row


def pages(context: Context) -> Iterator[Row]:
    """A page of 100 KB over HTTPS, each in a connection of its own: hvt beside the Linux guest, user-mode network."""
    row = Row(
        "hvt, TCG, QEMU CPU per HTTPS page of 100 KB", "ms", 0.3, scale=1e3, beside="Linux guest, MicroPython's tls"
    )
    count = context.effort.pages
    try:
        with ExitStack() as running:
            machines = []
            for guest in (_with_https(our_guest(context.image("web-hvt"))), _with_https(linux(context.linux()))):
                context.progress(f"{row.title}: {guest.name} boots")
                machines.append(running.enter_context(Machine.boot(guest)))
            for turn in range(context.effort.rounds + 1):
                for machine, samples in zip(machines, (row.ours, row.theirs), strict=True):
                    context.progress(f"{row.title}: round {turn} of {context.effort.rounds}")
                    used_s = machine.spent_on(lambda machine=machine: _get_pages(machine, count))  # type: ignore[misc]
                    # The first round is to get warm.
                    if turn:
                        samples.append(used_s / count)
    except GuestError as error:
        give_up([row], "pages", error)
    yield row


def _with_https(guest: Guest) -> Guest:
    return replace(guest, ports=(*guest.ports, OUR_PORTS["p256"]))


def _get_pages(machine: Machine, count: int) -> None:
    address = Address(machine.host, machine.ports[OUR_PORTS["p256"]])
    for _ in range(count):
        with web_load.connected(address) as sock:
            octets = web_load.download(sock, PAGE)
        if octets < 100_000:
            raise GuestError(f"{machine.guest.name} sent {octets} octets")
