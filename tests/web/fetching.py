# SPDX-License-Identifier: MIT
"""What the tests of the HTTP client do with one: a request over flows in memory, in virtual time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from libos.hal.inflate import Inflate
from libos.web.client import HttpClient
from libos.web.failure import TransferError
from tests.web.virtual import Clock, Net, run, settle

HOST = ("a.test", 80)


def make(server: Any, **options: Any) -> tuple[HttpClient, Net]:
    """A client and the network it is in. server: handler of a.test, or the network's servers."""
    net = Net(server if isinstance(server, dict) else {HOST: server})
    return HttpClient(net, net, Clock(), inflate=Inflate(), **options), net


def fetch(server: Any, method: str = "GET", url: str = "http://a.test/", **options: Any) -> tuple[Any, bytes]:
    """One request, and all of its content."""

    async def main() -> tuple[Any, bytes]:
        client, net = make(server)
        response = await client.request(method, url, **options)
        data = await response.read()
        await client.close()
        await settle()
        assert net.open() == 0
        assert len(client.pool) == 0
        return response, data

    result: tuple[Any, bytes] = run(main())
    return result


def failure(
    server: Any, url: str = "http://a.test/", change: Callable[[HttpClient], Any] | None = None, **options: Any
) -> TransferError:
    """How a request fails, reading included; nothing is left of it."""

    async def main() -> TransferError:
        client, net = make(server)
        if change:
            change(client)
        with pytest.raises(TransferError) as caught:
            await (await client.request(options.pop("method", "GET"), url, **options)).read()
        await client.close()
        await settle()
        assert net.open() == 0
        assert len(client.pool) == 0
        assert client.counters["failures"] <= 1
        return caught.value

    result: TransferError = run(main())
    return result
