# SPDX-License-Identifier: MIT
"""app.log: levels per source, whole lines."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libos.app.log import Log, format_time, parse_levels


class Console:
    def __init__(self):
        self.writes = []

    def write(self, text):
        self.writes.append(text)


class Clock:
    def now_ms(self):
        return 61042

    def wall_ns(self):
        return 1796072024_123_456_789


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


def test_line_has_the_date_where_that_is_asked_for():
    console = Console()
    Log("info", console, Clock(), wall_time=True).warning("net0", "the link is down")
    assert console.writes == ["2026-11-30T20:53:44.123Z net0: warning: the link is down\n"]


@given(
    st.one_of(
        st.integers(0, 253402300799999), st.sampled_from([951782400000, 951868799999, 4107542399999, -1, -86400000])
    )
)
def test_date_is_the_calendars(now_ms):
    when = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=now_ms)
    assert format_time(now_ms * 1_000_000) == when.strftime("%Y-%m-%dT%H:%M:%S.") + f"{now_ms % 1000:03}Z"


def test_is_enabled_spares_the_message():
    log = Log("info,tcp:error", Console())
    assert log.is_enabled("udp", 2)
    assert not log.is_enabled("udp", 3)
    assert not log.is_enabled("tcp", 1)


@pytest.mark.parametrize("text", ["", "verbose", "tcp:", "tcp:loud", "info,", ":debug"])
def test_levels_that_are_none(text):
    with pytest.raises(ValueError, match="log level"):
        parse_levels(text)
