# SPDX-License-Identifier: MIT
"""An echo server: one TCP port on whatever stack was chosen."""

from mirage_py.dsl import generic_stack, key, register, unikernel

port = key("port", type="tcp_port", default=7, doc="the TCP port to listen on")
register("echo", unikernel("echo.Echo", generic_stack(), keys=[port]))
