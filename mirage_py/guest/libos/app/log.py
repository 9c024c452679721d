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


def format_time(wall_ns):
    """ "2026-11-30T20:53:44.123Z" from nanoseconds since 1970 (RFC 3339, in UTC)."""
    now_ms = wall_ns // 1000000
    days, now_ms = divmod(now_ms, 86400000)
    # From March on, so that the day that may be missing is a year's last; an era of 400 years has 146,097 days.
    era, day = divmod(days + 719468, 146097)
    year = (day - day // 1460 + day // 36524 - day // 146096) // 365
    day -= 365 * year + year // 4 - year // 100
    month = (5 * day + 2) // 153
    day -= (153 * month + 2) // 5
    month = month + 3 if month < 10 else month - 9
    year += 400 * era + (1 if month <= 2 else 0)
    now_s = now_ms // 1000
    return "%04d-%02d-%02dT%02d:%02d:%02d.%03dZ" % (
        year, month, day + 1, now_s // 3600, now_s // 60 % 60, now_s % 60, now_ms % 1000,
    )  # fmt: skip


class Log:
    """Writes `[  seconds] source: level: text` lines; info lines come without their level.

    levels: what parse_levels() returns, or its text; console: write(text); clock: hal.clock.Clock, or None for no time.
    wall_time: whether a line begins with the date and the time of day (UTC) instead of the seconds.
    """

    def __init__(self, levels, console, clock=None, wall_time=False):
        self.levels = parse_levels(levels) if isinstance(levels, str) else levels
        self.console = console
        self.clock = clock
        self.wall_time = wall_time

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
        if self.clock is not None and self.wall_time:
            stamp = format_time(self.clock.wall_ns()) + " "
        elif self.clock is not None:
            now_ms = self.clock.now_ms()
            stamp = "[%5d.%03d] " % (now_ms // 1000, now_ms % 1000)
        name = "" if level == 2 else _NAMES[level] + ": "
        # One call for the whole line, so that lines stay whole.
        self.console.write("%s%s: %s%s\n" % (stamp, source, name, text))
