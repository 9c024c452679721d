# SPDX-License-Identifier: MIT
"""Runs checks (async functions) one after the other inside a guest and says how each went, for test_*.py to read."""

import asyncio
import os
import sys

TIMEOUT_S = 60
PORTS = 100

_first = [7000]


def port(number):
    """The port of that number, 0 to 98, out of those that are this program's."""
    return _first[0] + number


def take_ports(sockets):
    """Find a hundred ports of this machine that nobody has, below those that clients get: these checks may run twice.

    The last one is held to the end, which keeps them from those that look for ports so.
    """
    for _ in range(100):
        first = 10000 + os.urandom(1)[0] % 200 * PORTS
        held = []
        try:
            for number in range(PORTS - 1, -1, -1):
                held.append(sockets.listen_tcp("", first + number, 1))
        except OSError:
            continue
        finally:
            for fd in held[len(held) == PORTS :]:
                sockets.close(fd)
        _first[0] = first
        return
    raise AssertionError("no ports are free")


async def until(condition):
    """Waits until condition() holds; the time that a check has ends it."""
    while not condition():
        await asyncio.sleep_ms(5)


async def run_all(checks, *args):
    """checks: async functions; args: what each is called with. Prints `ok NAME` or `FAILED NAME`, at last `done`."""
    for check in checks:
        name = check.__name__
        try:
            await asyncio.wait_for(check(*args), TIMEOUT_S)
        except Exception as error:
            print("FAILED", name)
            sys.print_exception(error)
        else:
            print("ok", name)
    print("done")


async def raises(number, coroutine):
    """Awaits the coroutine, which must raise OSError with that errno."""
    try:
        await coroutine
    except OSError as error:
        assert error.errno == number, "OSError(%d), not %d" % (error.errno, number)
        return
    raise AssertionError("no OSError")
