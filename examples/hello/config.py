# SPDX-License-Identifier: MIT
"""The smallest unikernel: a console and a clock, no network."""

from mirage_py.dsl import clock, console, key, register, unikernel

count = key("count", type="int", default=4, doc="how often to say hello")
pause = key("pause", type="duration", default="1s", doc="how long to wait in between")
register("hello", unikernel("hello.Hello", console(), clock(), keys=[count, pause]))
