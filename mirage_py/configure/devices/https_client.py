# SPDX-License-Identifier: MIT
"""HTTP clients, with and without TLS."""

from mirage_py.configure.device import Device, Kind, Node, optional
from mirage_py.configure.devices.clock import clock
from mirage_py.configure.devices.happy_eyeballs import happy_eyeballs
from mirage_py.configure.devices.inflate import inflate
from mirage_py.configure.devices.signatures import CLOCK, HAPPY_EYEBALLS, INFLATE, STACK
from mirage_py.configure.devices.signatures import HTTP_CLIENT as OFFERS
from mirage_py.configure.keys import Key

HTTP_CLIENT = Kind(
    name="http_client",
    local="client",
    offers=OFFERS,
    implementation="libos.web.client.HttpClient",
    doc="an HTTP client: await get(url)",
    arguments={
        "stack": STACK,
        "eyeballs": HAPPY_EYEBALLS,
        "clock": CLOCK,
        "tls": optional(STACK),
        "inflate": optional(INFLATE),
    },
    keys={
        "proxy": Key("proxy", type="str", doc="the proxy to go through: http://[user:password@]host[:port]"),
        "no_proxy": Key(
            "no-proxy",
            type="str",
            doc="names (with those below them) and addresses that need no proxy, with commas, or *",
        ),
    },
    settings={"connections": None, "per_origin": None},
)


def http_client(
    stack: Node,
    *,
    eyeballs: Node | None = None,
    decompress: bool = True,
    connections: int | None = None,
    per_origin: int | None = None,
    group: str = "",
) -> Device:
    """An HTTP client without TLS: `await client.get("http://…")`; boot arguments --proxy, --no-proxy, --resolver.

    eyeballs: what connects to names; happy_eyeballs(stack) unless given. decompress=False leaves gzip and deflate out.
    connections, per_origin: how many at once, 16 and 6 unless given.
    """
    return _client(stack, None, eyeballs, decompress, connections, per_origin, group)


def _client(
    stack: Node,
    tls: Node | None,
    eyeballs: Node | None,
    decompress: bool,
    connections: int | None,
    per_origin: int | None,
    group: str,
) -> Device:
    return HTTP_CLIENT(
        stack,
        eyeballs or happy_eyeballs(stack),
        clock(),
        tls,
        inflate() if decompress else None,
        group=group,
        connections=connections,
        per_origin=per_origin,
    )
