# SPDX-License-Identifier: MIT
"""Counters as Prometheus reads them (text format 0.0.4)."""

from ..http.head import Prepared
from .response import Response

_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_"


class Metrics:
    """path: where the counters are. Of the stack and of what is on it, by protocol: mirage_tcp_PassiveOpens 3."""

    def __init__(self, path="/metrics"):
        self._path = path
        self._server = None

    def attach(self, server):
        self._server = server
        server.route("GET", self._path, self._answer)

    def _answer(self, _request):
        server = self._server
        server.refresh()
        counters = dict(server.stack.counters)
        counters["http"] = server.counters
        lines = []
        for protocol, values in sorted(counters.items()):
            for name, value in sorted(values.items()):
                if isinstance(value, int):
                    _add(lines, "mirage_%s_%s" % (_word(protocol), _word(name)), value)
        _add(lines, "mirage_http_open_connections", len(server.connections))
        _add(lines, "mirage_time_milliseconds", server.clock.now_ms())
        lines.append("")
        return Response("\n".join(lines).encode(), 200, _HEADERS)


def _add(lines, name, value):
    # Of most of them nobody says whether they only rise.
    lines.append("# TYPE %s untyped" % name)
    lines.append("%s %d" % (name, value))


def _word(name):
    return "".join([letter if letter in _LETTERS else "_" for letter in name])


_HEADERS = Prepared(((b"Content-Type", _TYPE), (b"Cache-Control", b"no-store")))
