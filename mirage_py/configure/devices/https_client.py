# SPDX-License-Identifier: MIT
"""HTTP clients, with and without TLS."""

from __future__ import annotations

from collections.abc import Iterable

from mirage_py.configure.device import Device, Kind, Node, optional
from mirage_py.configure.devices.clock import clock
from mirage_py.configure.devices.happy_eyeballs import happy_eyeballs
from mirage_py.configure.devices.inflate import inflate
from mirage_py.configure.devices.random import random
from mirage_py.configure.devices.signatures import (
    CLOCK,
    COOKIE_JAR,
    HAPPY_EYEBALLS,
    INFLATE,
    RANDOM,
    STACK,
    WEBSOCKET_CLIENT,
)
from mirage_py.configure.devices.signatures import HTTP_CLIENT as OFFERS
from mirage_py.configure.devices.tls import SYSTEM, tls
from mirage_py.configure.keys import Key
from mirage_py.support.errors import UserError

COOKIES = Kind(
    name="cookie_jar",
    local="cookies",
    offers=COOKIE_JAR,
    implementation="libos.web.cookie_jar.CookieJar",
    doc="cookies that a client keeps, in memory",
)

WEBSOCKETS = Kind(
    name="websocket_client",
    local="websockets",
    offers=WEBSOCKET_CLIENT,
    implementation="libos.web.client_websocket.WebSockets",
    doc="WebSockets of a client",
    arguments={"random": RANDOM},
)

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
        "cookies": optional(COOKIE_JAR),
        "websockets": optional(WEBSOCKET_CLIENT),
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
    cookies: bool = False,
    websocket: bool = False,
    connections: int | None = None,
    per_origin: int | None = None,
    group: str = "",
) -> Device:
    """An HTTP client without TLS: `await client.get("http://…")`; boot arguments --proxy, --no-proxy, --resolver.

    eyeballs: what connects to names; happy_eyeballs(stack) unless given. decompress=False leaves gzip and deflate out.
    cookies: it keeps them. websocket: it has `await client.websocket("ws://…")`. connections, per_origin: how many at
    once, 16 and 6 unless given.
    """
    return client_of(stack, None, eyeballs, decompress, cookies, websocket, connections, per_origin, group)


def https_client(
    stack: Node,
    trust: str | None = SYSTEM,
    *,
    pins: Iterable[str] = (),
    client_certificate: str | None = None,
    client_key: str | None = None,
    eyeballs: Node | None = None,
    decompress: bool = True,
    cookies: bool = False,
    websocket: bool = False,
    connections: int | None = None,
    per_origin: int | None = None,
    group: str = "",
) -> Device:
    """An HTTP client for https and http: `await client.get("https://…")`. Arguments and keys of http_client, and

    trust: whom to believe: "system", this computer's store, or a PEM file, counted from where config.py is; pins:
    SHA-256 of keys in hexadecimal, in addition, or alone with trust=None. client_certificate, client_key: PEM files of
    what proves to servers who we are.
    """
    pins = list(pins)
    if trust is None and not pins:
        raise UserError("https_client: it would trust nobody", 'give trust="system", the name of a PEM file, or pins')
    secure = tls(
        stack,
        trust=trust,
        pins=pins,
        client_certificate=client_certificate,
        client_key=client_key,
        alpn=("http/1.1",),
        group=group,
    )
    return client_of(stack, secure, eyeballs, decompress, cookies, websocket, connections, per_origin, group)


def client_of(
    stack: Node,
    tls: Node | None,
    eyeballs: Node | None,
    decompress: bool,
    cookies: bool,
    websocket: bool,
    connections: int | None,
    per_origin: int | None,
    group: str,
) -> Device:
    """What http_client and https_client make."""
    for name, value in (("connections", connections), ("per_origin", per_origin)):
        if value is not None and (type(value) is not int or value < 1):
            raise UserError(f"http_client: {name}={value!r}", "give a number from 1 on")
    return HTTP_CLIENT(
        stack,
        eyeballs or happy_eyeballs(stack),
        clock(),
        tls,
        inflate() if decompress else None,
        COOKIES(group=group) if cookies else None,
        WEBSOCKETS(random()) if websocket else None,
        group=group,
        connections=connections,
        per_origin=per_origin,
    )
