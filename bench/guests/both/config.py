# SPDX-License-Identifier: MIT
"""What TLS adds to an image: the echo server over it, and a client that verifies whom it talks to."""

from mirage_py.dsl import generic_stack, key, register, tls, unikernel

port = key("port", type="tcp_port", default=7007, doc="the TCP port to listen on")
both = tls(generic_stack(), certificate="p256.pem", key="p256.key", trust="p256.pem")
register("echo", unikernel("echo.Echo", both, keys=[port]))
