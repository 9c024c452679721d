# SPDX-License-Identifier: MIT
"""The application's network face over the system's sockets."""


class SocketStack:
    """sockets: hal.sockets.Sockets; loop: hal.loop.EventLoop, which the sockets are attached to; log: app.log.Log."""

    def __init__(self, sockets, loop, log):
        self.sockets = sockets
        self.loop = loop
        self.log = log
