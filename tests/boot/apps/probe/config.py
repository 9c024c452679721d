# SPDX-License-Identifier: MIT
"""The boot tests' application: an echo server, and a control port that answers questions about the guest."""

from mirage_py.dsl import generic_stack, key, register, unikernel

port = key("port", type="tcp_port", default=7, doc="the echo port")
control_port = key("control-port", type="tcp_port", default=9, doc="the control port")
register("probe", unikernel("probe.Probe", generic_stack(), keys=[port, control_port]))
