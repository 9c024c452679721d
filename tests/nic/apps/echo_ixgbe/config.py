# SPDX-License-Identifier: MIT
"""The echo server of the examples on an 82599, with a control port that tells what the guest counts."""

from mirage_py.configure.devices.ixgbe import ixgbe
from mirage_py.dsl import generic_stack, key, register, unikernel

port = key("port", type="tcp_port", default=7, doc="the TCP port to listen on")
control_port = key("control-port", type="tcp_port", default=9, doc="the control port")
queues = key("nic-queues", type="int", default=1, doc="receive queues of the card", stage="configure")
register("echo", unikernel("echo.Echo", generic_stack(ixgbe(queues=queues)), keys=[port, control_port]))
