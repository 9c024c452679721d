# SPDX-License-Identifier: MIT
"""Our engines, on CPython over sockets, with every peer: the protocol by itself. Images have tests of their own."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from importlib.util import find_spec

import pytest

from tests.interop import marks
from tests.interop.tls import others, wishes
from tests.interop.tls.peers import Place, Wish

pytestmark = marks.UNIX
CLIENTS = [client for client in others.CLIENTS if client.name != "go"]
SERVERS = [server for server in others.SERVERS if server.name != "go"]
# TLS 1.2 is a part of its own.
WISHES = [wish for wish in wishes.ALL if wish.version == "1.3" or find_spec("libos.tls.v12_client")]
PAIRS = [(server, wish) for server in SERVERS for wish in WISHES if not server.cannot(wish)]


def _all(names: Iterable[str], attempt: Callable[[str], None]) -> None:
    """Every peer is tried, and all that failed told."""
    failed = []
    for name in names:
        try:
            attempt(name)
        except AssertionError as error:
            failed.append(f"{name}: {error}")
    assert not failed, "\n\n".join(failed)


def _serve(place: Place, clients: dict[str, others.Client], wish: Wish) -> None:
    able = {name: client for name, client in clients.items() if not client.cannot(wish)}
    with others.OurServer().serving(place, wish) as port:
        _all(able, lambda name: wishes.check(able[name].fetch(place, port, wish), wish))


@pytest.mark.parametrize("wish", [*WISHES, *wishes.RETRIED], ids=str)
def test_each_client_reaches_our_server(loopback: Place, wish: Wish) -> None:
    _serve(loopback, {client.name: client for client in CLIENTS}, wish)


@pytest.mark.parametrize(
    ("server", "wish"), PAIRS, ids=lambda it: it.name if isinstance(it, others.Server) else str(it)
)
def test_our_client_reaches_each_server(loopback: Place, server: others.Server, wish: Wish) -> None:
    with server.serving(loopback, wish) as port:
        wishes.check(others.Ours().fetch(loopback, port, wish), wish)


@pytest.mark.nightly
@pytest.mark.parametrize("wish", [*WISHES, *wishes.RETRIED], ids=str)
def test_go_reaches_our_server(loopback: Place, wish: Wish) -> None:
    _serve(loopback, {"go": others.Go()}, wish)


@pytest.mark.nightly
@pytest.mark.parametrize("wish", [wish for wish in WISHES if not others.GoServer().cannot(wish)], ids=str)
def test_our_client_reaches_go(loopback: Place, wish: Wish) -> None:
    server = others.GoServer()
    with server.serving(loopback, wish) as port:
        wishes.check(others.Ours().fetch(loopback, port, wish), wish)
