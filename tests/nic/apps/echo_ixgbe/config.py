# SPDX-License-Identifier: MIT
"""The echo server of the examples on an 82599, with a control port that tells what the guest counts."""

from mirage_py.devices.ixgbe import ixgbe
from mirage_py.dsl import generic_stack, key, register, unikernel

port = key("port", type="tcp_port", default=7, doc="the TCP port to listen on")
control_port = key("control-port", type="tcp_port", default=9, doc="the control port")
register("echo", unikernel("echo.Echo", generic_stack(ixgbe()), keys=[port, control_port]))
