# SPDX-License-Identifier: MIT
"""A prompt beside the application (`configure --repl`): MicroPython's, on the second serial line or the terminal.

What is typed runs between the application's tasks, and holds them up as long as it takes; `import main` has the
devices. The prompt ends with the application, not the other way round.
"""

import _mirage
from micropython import const

_LOOK_MS = const(20)  # how often the line is looked at: it wakes nobody


class Repl:
    """A service of the event loop."""

    def poll(self, now_ms):
        return _mirage.repl_poll()

    def next_deadline_ms(self):
        return _mirage.now_ms() + _LOOK_MS

    def arm(self):
        return False

    def disarm(self):
        pass
