# SPDX-License-Identifier: MIT
"""Runs checks (async functions) one after the other inside a guest and says how each went, for test_*.py to read."""

import asyncio
import sys

TIMEOUT_S = 30


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
