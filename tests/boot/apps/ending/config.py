# SPDX-License-Identifier: MIT
"""An application that is told to end: what it does then is a boot argument."""

from mirage_py.dsl import clock, key, register, unikernel

then = key(
    "then",
    type="choice",
    choices=("clean", "stay", "return", "nothing", "spin", "spin-at-once", "spin-in-task"),
    default="nothing",
)
register("ending", unikernel("ending.Ending", clock(), keys=[then]))
