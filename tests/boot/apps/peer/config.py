# SPDX-License-Identifier: MIT
"""Two of these talk to each other: the one with --peer connects to the other."""

from mirage_py.dsl import console, generic_stack, key, register, unikernel

port = key("port", type="tcp_port", default=7, doc="the TCP port of the one that is connected to")
peer = key("peer", type="ipv4", doc="the address of the other one")
megabytes = key("megabytes", type="int", default=4, doc="how much crosses, each way")
register("peer", unikernel("peer.Peer", generic_stack(), console(), keys=[port, peer, megabytes]))
