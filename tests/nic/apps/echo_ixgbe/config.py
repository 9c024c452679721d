# SPDX-License-Identifier: MIT
"""The echo server of the examples, on an 82599."""

from mirage_py.devices.ixgbe import ixgbe
from mirage_py.dsl import generic_stack, key, register, unikernel

port = key("port", type="tcp_port", default=7, doc="the TCP port to listen on")
register("echo", unikernel("echo.Echo", generic_stack(ixgbe()), keys=[port]))
