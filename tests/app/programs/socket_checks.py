# SPDX-License-Identifier: MIT
"""stack_checks over the system's sockets, on the loopback interface."""

from harness import run_all
from stack_checks import CHECKS

from libos.app.log import Log
from libos.app.socket_stack import SocketStack
from libos.hal.console import Console
from libos.hal.loop import EventLoop
from libos.hal.sockets import Sockets

loop = EventLoop()
sockets = Sockets()
loop.attach(sockets)
log = Log("error", Console())
stack = SocketStack(sockets, loop, log)
loop.run(run_all(CHECKS, stack, SocketStack(sockets, loop, log), "127.0.0.1"))
