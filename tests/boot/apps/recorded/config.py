# SPDX-License-Identifier: MIT
"""An echo server whose card is recorded, and that can be told to end: for the tests of --pcap-port and --stats."""

from mirage_py.dsl import dns_client, key, recorded_stack, register, unikernel

port = key("port", type="tcp_port", default=7, doc="the TCP port to echo on")
control = key("control-port", type="tcp_port", default=9, doc="a name to look up, or `exit`")
stack = recorded_stack()
register("recorded", unikernel("recorded.Recorded", stack, dns_client(stack), keys=[port, control]))
