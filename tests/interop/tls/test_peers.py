# SPDX-License-Identifier: MIT
"""The peers with each other: what they do among themselves is what the tests of ours may ask of them."""

from __future__ import annotations

import pytest

from tests.interop import marks
from tests.interop.tls import others, wishes
from tests.interop.tls.peers import Client, Place, Server, Wish

pytestmark = [*marks.UNIX, pytest.mark.nightly]


@pytest.mark.parametrize("wish", wishes.ALL, ids=str)
@pytest.mark.parametrize("server", others.SERVERS, ids=lambda server: f"to-{server.name}")
def test_each_client_reaches_each_server(loopback: Place, server: Server, wish: Wish) -> None:
    if server.cannot(wish):
        return
    failed = []
    with server.serving(loopback, wish) as port:
        for client in others.CLIENTS:
            if not client.cannot(wish):
                _try(client, loopback, port, wish, failed)
    assert not failed, "\n\n".join(failed)


def _try(client: Client, place: Place, port: int, wish: Wish, failed: list[str]) -> None:
    try:
        wishes.check(client.fetch(place, port, wish), wish, alpn=False)
    except AssertionError as error:
        failed.append(f"{client.name}: {error}")
