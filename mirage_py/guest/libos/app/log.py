# SPDX-License-Identifier: MIT
"""Log lines on the console, with a level per source: `--logs info`, `--logs tcp:debug,*:warning`."""

import sys

_NAMES = ("error", "warning", "info", "debug")


def parse_levels(text):
    """`info` or `source:level,…,*:level` -> dict of source -> 0 (error) to 3 (debug), always with "*".

    Raises ValueError with what is wrong.
    """
    levels = {"*": 2}
    for part in text.split(","):
        source, colon, name = part.strip().rpartition(":")
        if name not in _NAMES:
            raise ValueError("log level %r is none of %s" % (name, ", ".join(_NAMES)))
        if colon and not source:
            raise ValueError("log level %r without a source before the colon" % name)
        levels[source or "*"] = _NAMES.index(name)
    return levels


class Log:
    """Writes `[  seconds] source: level: text` lines; info lines come without their level.

    levels: what parse_levels() returns, or its text; console: write(text); clock: now_ms(), or None for no time.
    """

    def __init__(self, levels, console, clock=None):
        self.levels = parse_levels(levels) if isinstance(levels, str) else levels
        self.console = console
        self.clock = clock

    def is_enabled(self, source, level):
        """level: 0 error, 1 warning, 2 info, 3 debug. For messages that are expensive to make."""
        levels = self.levels
        return level <= (levels[source] if source in levels else levels["*"])

    def error(self, source, text):
        self._write(source, 0, text)

    def warning(self, source, text):
        self._write(source, 1, text)

    def info(self, source, text):
        self._write(source, 2, text)

    def debug(self, source, text):
        self._write(source, 3, text)

    def exception(self, source, text, error):
        """An error with its traceback."""
        self.error(source, text)
        sys.print_exception(error)

    def _write(self, source, level, text):
        if not self.is_enabled(source, level):
            return
        stamp = ""
        if self.clock is not None:
            now_ms = self.clock.now_ms()
            stamp = "[%5d.%03d] " % (now_ms // 1000, now_ms % 1000)
        name = "" if level == 2 else _NAMES[level] + ": "
        # One call for the whole line, so that lines stay whole.
        self.console.write("%s%s: %s%s\n" % (stamp, source, name, text))
