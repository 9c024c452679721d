# SPDX-License-Identifier: MIT
"""SIGTERM arrives in a loop at the very beginning of a `finally`, which must not start again because of it."""


def spin():
    times = 0
    try:
        times += 1
    finally:
        while True:
            times += 1


print("spinning")
try:
    spin()
except SystemExit:
    print("terminated")
