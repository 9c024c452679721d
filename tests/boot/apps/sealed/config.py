# SPDX-License-Identifier: MIT
"""An echo over a tls() stack, asyncio's streams with an SSLContext, and clients of both kinds. The test adds ca.pem and
site.pem, and the same in pems.py."""

from mirage_py.dsl import generic_stack, key, register, tls, tls_contexts, unikernel

PORTS = [
    key(name, type="tcp_port", default=default, doc=doc)
    for name, default, doc in (
        ("port", 443, "the tls() stack"),
        ("ssl-port", 444, "streams"),
        ("control-port", 9, "orders"),
    )
]
STACK = generic_stack()
register(
    "sealed",
    unikernel(
        "sealed.Sealed",
        STACK,
        tls(STACK, certificate="site.pem", trust="ca.pem", half_open=50, timeout_ms=3000),
        tls_contexts(trust="ca.pem"),
        keys=PORTS,
    ),
)
