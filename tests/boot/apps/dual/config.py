# SPDX-License-Identifier: MIT
"""Two network cards with a stack each."""

from mirage_py.dsl import generic_stack, key, register, unikernel

port = key("port", type="tcp_port", default=7, doc="the TCP port to listen on, on either stack")
register("dual", unikernel("dual.Dual", generic_stack(), generic_stack(group="lan"), keys=[port]))
