# SPDX-License-Identifier: MIT
# ruff: noqa: B015, B018, F821
"""Exceptions out of the middle of an operation: who gets them, what a loop makes of StopIteration, and the lines.

Prints; CPython prints the same. Run by tests/contract/test_interpreter.py on both.
"""

import io
import struct
import sys


def places(error):
    """Where the exception passed, as "function:line", from the outermost."""
    if sys.implementation.name != "micropython":
        taken, traceback = [], error.__traceback__
        while traceback is not None:
            taken.append((traceback.tb_frame.f_code.co_name, traceback.tb_lineno))
            traceback = traceback.tb_next
    else:
        text = io.StringIO()
        sys.print_exception(error, text)
        lines = [line.split() for line in text.getvalue().split("\n") if line.startswith("  File ")]
        taken = [(words[5], int(words[3][:-1])) for words in lines]
    return " ".join([f"{function}:{line}" for function, line in taken])


class Stops:
    """Whatever it is asked raises StopIteration, which says what it was asked."""

    def __bool__(self):
        raise StopIteration("bool")

    def __eq__(self, other):
        raise StopIteration("eq")

    def __lt__(self, other):
        raise StopIteration("lt")

    def __add__(self, other):
        raise StopIteration("add")

    def __neg__(self):
        raise StopIteration("neg")

    def __hash__(self):
        raise StopIteration("hash")

    def __getitem__(self, index):
        raise StopIteration("getitem")

    def __setitem__(self, index, value):
        raise StopIteration("setitem")

    def __contains__(self, item):
        raise StopIteration("contains")

    def __getattr__(self, name):
        raise StopIteration("getattr")

    def __call__(self):
        raise StopIteration("call")

    def __enter__(self):
        raise StopIteration("enter")

    def __exit__(self, kind, value, traceback):
        return False

    def __iter__(self):
        raise StopIteration("iter")


def asked_in_a_loop(x, what):
    """In the loop itself, whose own end StopIteration would be if it came from elsewhere."""
    numbers = {1: 2}
    for n in (1, 2):
        if what == 0 and x:
            pass
        if what == 1 and not x:
            pass
        if what == 2:
            n = x and 1
        if what == 3:
            n = x or 1
        if what == 4:
            n = not x
        if what == 5:
            x == 1
        if what == 6 and x < 1:
            pass
        if what == 7:
            x + 1
        if what == 8:
            x += 1
        if what == 9:
            -x
        if what == 10:
            numbers[x]
        if what == 11:
            numbers[x] = 1
        if what == 12:
            x[n]
        if what == 13:
            x[n] = 1
        if what == 14:
            n in x
        if what == 15:
            x.name
        if what == 16:
            x.method()
        if what == 17:
            x()
        if what == 18:
            for _ in x:
                pass
        if what == 19:
            while x:
                pass
        if what == 20:
            with x:
                pass
        if what == 21:
            n, numbers = x
        if what == 22:
            n = 1 if x else 2
        if what == 23:
            numbers = [n for n in (1, 2) if x]
    return "the loop ended"


def delegating(x):
    result = yield from delegate()
    if x:
        pass
    yield result


def delegate():
    yield 1
    return 2


def stop_iteration():
    for what in range(24):
        try:
            print(what, asked_in_a_loop(Stops(), what))
        except StopIteration as error:
            # Which of the two CPython asks of an unpacking is its own.
            print(what, error.value if what != 21 else "iter")
        except TypeError:
            print(what, "TypeError")
    for x in (0, 1, Stops()):
        try:
            print(list(delegating(x)))
        except RuntimeError:
            print("RuntimeError")


def eight_octets_three_lines():
    a = b = c = d = 1
    # The table of lines ends before the first instruction: here with the number of YIELD_FROM, as 8 octets and 3 lines
    # are written, and in the next function with that of FOR_ITER.
    yield (a, b, c, d)


def eleven_octets_two_lines():
    a = b = c = d = e = 50
    # See above.
    yield (a, b, c, d, e)


def not_started():
    for generator in (eight_octets_three_lines, eleven_octets_two_lines):
        for kind in (StopIteration, ValueError, KeyError):
            waiting = generator()
            try:
                print(waiting.throw(kind))
            except Exception as error:
                print(type(error).__name__)
            print(list(waiting))


def lines(n):
    """One thing that fails on each line, among what does not."""
    a, b, c = 1, None, []
    d = a
    if n == 0 and d + b:
        pass
    if n == 1 and not b < a:
        pass
    if n == 2:
        a, b = (1, 2, 3)
    d = c[0] if n == 3 else a
    for a in (1, 2):
        d = a
        if n == 4:
            d = b.nothing
    d = (
        d,
        a + b if n == 5 else a,
    )
    if n == 6:
        c[1] = d
    d = -b if n == 7 else d
    if n == 8:
        del c[3]
    if n == 9:
        lines(0)
    if n == 10:
        a.missing()
    if n == 11:
        c = {}[d]
    return e if n == 12 else d


def where():
    for n in range(13):
        try:
            lines(n)
        except Exception as error:
            print(n, type(error).__name__, places(error))


def far():
    """The last variable is number 93, which is END_FINALLY's number, too: it is not for the traceback to leave out."""
    a0 = a1 = a2 = a3 = a4 = a5 = a6 = a7 = a8 = a9 = b0 = b1 = b2 = b3 = b4 = b5 = b6 = b7 = b8 = b9 = 0
    c0 = c1 = c2 = c3 = c4 = c5 = c6 = c7 = c8 = c9 = d0 = d1 = d2 = d3 = d4 = d5 = d6 = d7 = d8 = d9 = 0
    e0 = e1 = e2 = e3 = e4 = e5 = e6 = e7 = e8 = e9 = f0 = f1 = f2 = f3 = f4 = f5 = f6 = f7 = f8 = f9 = 0
    g0 = g1 = g2 = g3 = g4 = g5 = g6 = g7 = g8 = g9 = h0 = h1 = h2 = h3 = h4 = h5 = h6 = h7 = h8 = h9 = 0
    i0 = i1 = i2 = i3 = i4 = i5 = i6 = i7 = i8 = i9 = j0 = j1 = j2 = 1
    if not a0:
        return late
    late = [
        a1,
        a2,
        a3,
        a4,
        a5,
        a6,
        a7,
        a8,
        a9,
        b0,
        b1,
        b2,
        b3,
        b4,
        b5,
        b6,
        b7,
        b8,
        b9,
        c0,
        c1,
        c2,
        c3,
        c4,
        c5,
        c6,
        c7,
        c8,
    ]
    late += [c9, d0, d1, d2, d3, d4, d5, d6, d7, d8, d9, e0, e1, e2, e3, e4, e5, e6, e7, e8, e9, f0, f1, f2, f3, f4, f5]
    late += [f6, f7, f8, f9, g0, g1, g2, g3, g4, g5, g6, g7, g8, g9, h0, h1, h2, h3, h4, h5, h6, h7, h8, h9, i0, i1, i2]
    late += [i3, i4, i5, i6, i7, i8, i9, j0, j1, j2]
    return late


def without_a_value():
    try:
        far()
    except NameError as error:
        print(places(error))


class Key:
    asked = 0

    def __init__(self, name):
        self.name = name

    def __hash__(self):
        Key.asked += 1
        return 1

    def __eq__(self, other):
        return self.name == other.name


def keys():
    """Each search asks for the hash once, whether or not it finds something."""
    names = {}
    names[Key("a")] = 1
    print(Key.asked)
    names[Key("a")] = 2
    print(Key.asked)
    try:
        names[Key("b")]
    except KeyError as error:
        print(Key.asked, error.args[0].name)
    names[Key("b")] = 3
    print(Key.asked, names[Key("a")], len(names))


def orders():
    for text in ("=I", "=h", "=HBQ", "<HBQ", "!HBQ", ">HBQ"):
        values = (1, 2, 3)[: len(text) - 1]
        packed = struct.pack(text, *values)
        print(text, struct.calcsize(text), packed, struct.unpack(text, packed))


def managed(n, trace):
    for _ in (1, 2):
        try:
            try:
                if n == 0:
                    continue
                if n == 1:
                    return "returned"
                if n == 2:
                    raise KeyError(n)
            except KeyError:
                if n == 2:
                    missing
            finally:
                trace.append("inner")
                if n == 3:
                    raise OSError(n)
        except (NameError, OSError) as error:
            trace.append(type(error).__name__)
        else:
            trace.append("else")
        finally:
            trace.append("outer")
    return "ended"


def handlers():
    for n in range(5):
        trace = []
        print(n, managed(n, trace), trace)


for part in (stop_iteration, not_started, where, without_a_value, keys, orders, handlers):
    print(part.__name__)
    part()
