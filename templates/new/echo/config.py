# SPDX-License-Identifier: MIT
"""An echo server: one TCP port on whatever stack was chosen."""

from mirage_py.dsl import generic_stack, key, register, unikernel

# RFC 862 says port 7, which on Linux only root may listen on; `--port 7` where that is no matter.
port = key("port", type="tcp_port", default=7007, doc="the TCP port to listen on")
register("echo", unikernel("echo.Echo", generic_stack(), keys=[port]))
