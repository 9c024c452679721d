# SPDX-License-Identifier: MIT
"""What TLS adds to an image: the echo server over it."""

from mirage_py.dsl import generic_stack, key, register, tls, unikernel

port = key("port", type="tcp_port", default=7007, doc="the TCP port to listen on")
stack = generic_stack()
register("echo", unikernel("echo.Echo", tls(stack, certificate="p256.pem", key="p256.key"), keys=[port]))
