# SPDX-License-Identifier: MIT
# ruff: noqa: E722, E731
"""MemoryError where a function is made: the handler that is running already does not get it. Not for CPython."""

kept = []
entered = []


def fill():
    """Leaves no room for anything, but what is in `kept`."""
    chain = None
    try:
        while True:
            chain = (chain, chain)
    except MemoryError:
        kept.append(chain)


def function(fault):
    try:
        fill()
        raise fault
    finally:
        f = lambda: 0
        entered.append(f)


def function_while_returning(fault):
    try:
        fill()
        return fault
    finally:
        f = lambda: 0
        entered.append(f)


def closure(fault):
    try:
        fill()
        raise fault
    except:
        f = lambda: fault
        entered.append(f)


for attempt in (function, function_while_returning, closure):
    try:
        attempt(ValueError())
    except MemoryError:
        kept.clear()
        print("MemoryError", len(entered))
