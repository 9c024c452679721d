# SPDX-License-Identifier: MIT
"""An HTTP server over a stack, or over TLS over a stack."""

from dataclasses import replace

from mirage_py.configure.device import Choice, Device, Kind, Node, optional
from mirage_py.configure.devices.clock import clock
from mirage_py.configure.devices.console import console
from mirage_py.configure.devices.log import log
from mirage_py.configure.devices.signatures import ACCESS_LOG, CLOCK, CONSOLE, LOG, METRICS, REDIRECT, STACK
from mirage_py.configure.devices.signatures import HTTP_SERVER as OFFERS
from mirage_py.configure.keys import Key
from mirage_py.support.errors import UserError

PLAIN_PORT, TLS_PORT = 8080, 8443
# A year: what browsers' own lists ask for (RFC 6797 leaves it open).
HSTS_S = 365 * 24 * 3600

HTTP_SERVER = Kind(
    name="http_server",
    local="server",
    offers=OFFERS,
    implementation="libos.web.server.HttpServer",
    doc="an HTTP/1.1 server: routes, folders, WebSockets",
    arguments={
        "stack": STACK,
        "log": LOG,
        "clock": CLOCK,
        "metrics": optional(METRICS),
        "access": optional(ACCESS_LOG),
        "redirect": optional(REDIRECT),
    },
    keys={"port": Key("port", type="tcp_port", default=PLAIN_PORT, doc="the TCP port of the HTTP server")},
    settings={"health": None, "hsts_s": None},
)

HTTP_METRICS = Kind(
    name="http_metrics",
    local="metrics",
    offers=METRICS,
    implementation="libos.web.metrics.Metrics",
    doc="the counters, for Prometheus",
    settings={"path": "/metrics"},
)

HTTP_ACCESS_LOG = Kind(
    name="access_log",
    local="access",
    offers=ACCESS_LOG,
    implementation="libos.web.access.AccessLog",
    doc="a line on the console for each answer, in the Combined Log Format",
    arguments={"console": CONSOLE, "clock": CLOCK},
)

HTTPS_REDIRECT = Kind(
    name="https_redirect",
    local="redirect",
    offers=REDIRECT,
    implementation="libos.web.redirect.Redirect",
    doc="a port without TLS that sends everybody to the one with TLS",
    arguments={"stack": STACK, "log": LOG, "clock": CLOCK},
    keys={
        "port": Key("http-port", type="tcp_port", default=PLAIN_PORT, doc="the TCP port that sends everybody to HTTPS")
    },
)


def http_server(
    stack: Node,
    *,
    port: int | None = None,
    https_only: bool = False,
    health: str | None = "/health",
    metrics: bool | str = False,
    access_log: bool = False,
    group: str = "",
) -> Device:
    """An HTTP server on a stack; its runtime key is --port: `port`, else 8443 where the stack is TLS, else 8080.

    https_only: browsers come over TLS only (HSTS), and --http-port (8080) sends everybody there. health: the path that
    says whether it serves, None for none. metrics: whether the counters are at /metrics, or their path: everybody can
    read them there. access_log: a line on the console for each answer.
    """
    below = tls_below(stack)
    if https_only and below is None:
        raise UserError(
            "http_server(https_only=True) is on a stack without TLS", "put TLS between: http_server(tls(...))"
        )
    for what, path in (("health", health), ("metrics", metrics)):
        if isinstance(path, str) and not path.startswith("/"):
            raise UserError(f"http_server: {what}={path!r} is not a path", f'write it as in {what}="/{what}"')
    usual = PLAIN_PORT if below is None else TLS_PORT
    key = replace(HTTP_SERVER.keys["port"], default=usual if port is None else port)
    return HTTP_SERVER(
        stack,
        log(),
        clock(),
        HTTP_METRICS(path=metrics if isinstance(metrics, str) else "/metrics") if metrics else None,
        HTTP_ACCESS_LOG(console(), clock()) if access_log else None,
        HTTPS_REDIRECT(below, log(), clock(), group=group) if https_only else None,
        port=key.grouped(group),
        health=health,
        hsts_s=HSTS_S if https_only else None,
        group=group,
    )


def tls_below(stack: Node) -> Node | None:
    """The stack under TLS, where `stack` is TLS; None where it is none."""
    if isinstance(stack, Choice) or not isinstance(stack, Device) or stack.kind.name != "tls":
        return None
    return next((node for node in stack.arguments if node.offers.name == STACK.name), None)
