# SPDX-License-Identifier: MIT
"""The application's network face over our own stack."""


class Stack:
    """netstack: net.stack.NetStack; loop: hal.loop.EventLoop, which the netstack is attached to; log: app.log.Log."""

    def __init__(self, netstack, loop, log):
        self.netstack = netstack
        self.loop = loop
        self.log = log
