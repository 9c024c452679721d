# SPDX-License-Identifier: MIT
"""An echo with the certificate that configure makes, and a client that trusts ca.pem, for test_certificates.py."""

from mirage_py.dsl import console, generic_stack, key, register, tls, unikernel

stack = generic_stack()
keys = [
    key("port", "tcp_port", default=8443, doc="where to echo"),
    key("peer", "tcp_port", default=8444, doc="the port of a server to connect to, which is then told of"),
    key("name", default="", doc="the name that its certificate must have; nobody is connected to without one"),
]
register("secure", unikernel("secure.Secure", tls(stack), tls(stack, trust="trust.pem"), console(), keys=keys))
