# SPDX-License-Identifier: MIT
"""app.log: levels per source, whole lines."""

import pytest

from libos.app.log import Log, parse_levels


class Console:
    def __init__(self):
        self.writes = []

    def write(self, text):
        self.writes.append(text)


class Clock:
    def now_ms(self):
        return 61042


def test_levels_per_source():
    console = Console()
    log = Log("warning,tcp:debug", console)
    log.debug("tcp", "seen")
    log.debug("udp", "not seen")
    log.info("udp", "nor this")
    log.error("udp", "but this")
    assert console.writes == ["tcp: debug: seen\n", "udp: error: but this\n"]


def test_line_has_time_and_is_one_write():
    console = Console()
    Log("info", console, Clock()).info("tcp", "listening on tcp port 7")
    assert console.writes == ["[   61.042] tcp: listening on tcp port 7\n"]


def test_is_enabled_spares_the_message():
    log = Log("info,tcp:error", Console())
    assert log.is_enabled("udp", 2)
    assert not log.is_enabled("udp", 3)
    assert not log.is_enabled("tcp", 1)


@pytest.mark.parametrize("text", ["", "verbose", "tcp:", "tcp:loud", "info,", ":debug"])
def test_levels_that_are_none(text):
    with pytest.raises(ValueError, match="log level"):
        parse_levels(text)
