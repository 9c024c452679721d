# SPDX-License-Identifier: MIT
"""How a process starts, is interrupted and ends. The second boot argument says which way."""

import asyncio
import sys
import time

import _mirage

how = _mirage.args()[1]


def fail():
    raise ValueError("on purpose")


async def forever():
    while True:
        await asyncio.sleep(1000)


class Unprintable:
    def __str__(self):
        raise RuntimeError("not even that")


if how == "args":
    print(_mirage.args()[2:])
elif how == "end":
    print("the end", end="")
elif how == "raise":
    fail()
elif how == "exit":
    _mirage.exit(int(_mirage.args()[2]))
elif how == "sys.exit":
    sys.exit(int(_mirage.args()[2]))
elif how == "sys.exit text":
    sys.exit("a reason")
elif how == "sys.exit none":
    sys.exit()
elif how == "unprintable":
    raise ValueError(Unprintable())
elif how == "wait":
    print("ready")
    try:
        _mirage.wait(-1)
    finally:
        print("unwound")
elif how == "busy":
    print("ready")
    try:
        while True:
            pass
    finally:
        print("unwound")
elif how == "sleep":
    print("ready")
    try:
        time.sleep(1000)
    finally:
        print("unwound")
elif how == "asyncio":
    print("ready")
    try:
        asyncio.run(forever())
    finally:
        print("unwound")
elif how == "catch":
    print("ready")
    try:
        _mirage.wait(-1)
    except KeyboardInterrupt:
        print("caught")
    _mirage.wait(_mirage.monotonic_ns() + 1000000)
    print("went on")
elif how == "prompt":
    print("name? ", end="")
    print("hello", sys.stdin.readline().strip())
    print("rest", sys.stdin.read(100))
    print("end", repr(sys.stdin.read(100)))
elif how == "console":
    buf = bytearray(64)
    print("ready")
    while True:
        n = _mirage.console_read(buf)
        if n < 0:
            break
        if n == 0:
            print("woken by", _mirage.wait(-1))
        else:
            print("got", bytes(buf[:n]))
    print("quiet", _mirage.wait(_mirage.monotonic_ns() + 20000000))
elif how == "recursion":

    def deeper(n):
        return deeper(n + 1) + 1

    try:
        deeper(0)
    except RuntimeError as error:
        print("caught", error)
elif how == "memory":
    try:
        data = bytearray(1 << 40)
    except MemoryError as error:
        print("caught", type(error).__name__)
    hoard = []
    try:
        while True:
            hoard.append(bytearray(100000))
    except MemoryError:
        count = len(hoard)
        hoard = None
        print("caught after", count * 100000 // 1000000, "MB")
    print("and on", len(bytearray(10000000)))
