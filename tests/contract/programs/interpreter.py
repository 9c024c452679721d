# SPDX-License-Identifier: MIT
# Each unusual form is there for the bytecode that it becomes.
# ruff: noqa: B018, PLW0128, PLW1641, RUF012, SIM201, SIM202, SIM208, SIM905
"""What MicroPython's loop does in place (targets/common/changes), at its edges. Prints; CPython prints the same.

Run by tests/contract/test_interpreter.py on both.
"""

import struct
import sys
from array import array


class Odd:
    """Truth, length and comparison are Python functions, which may raise."""

    def __init__(self, error=None, truth=True):
        self.error = error
        self.truth = truth

    def __bool__(self):
        if self.error is not None:
            raise self.error
        return self.truth

    def __eq__(self, other):
        return "equal"

    def __lt__(self, other):
        if self.error is not None:
            raise self.error
        return self.truth

    def __add__(self, other):
        return ("add", other)

    def __radd__(self, other):
        return ("radd", other)


def conditions():
    values = (0, 1, -1, 5, True, False, None, (), (0,), [], [0], "", "a", Odd(), Odd(truth=False))
    for value in values:
        found = [bool(value), not value, not not value, value is None, value is not None]
        if value is None:
            found.append("none")
        if value is not None:
            found.append("some")
        if not value:
            found.append("empty")
        while value:
            found.append("full")
            break
        found.append((value or 7) == 7)
        print([item is True if isinstance(item, bool) else item for item in found])
    for left in (-2, 0, 3):
        for right in (-2, 0, 3):
            print(left < right, left > right, left == right, left <= right, left >= right, left != right)
            print(not left < right, not left == right, -2 <= left < right, left is right)
            taken = [name for name, is_so in (("lt", left < right), ("eq", left == right)) if is_so]
            if not left != right:
                taken.append("same")
            print(taken)
    print(Odd() == 1, not Odd() == 1, Odd() < 1, Odd(truth=False) < 1)


def numbers():
    limits = [
        0,
        1,
        -1,
        2,
        31,
        -31,
        63,
        64,
        65,
        2**30,
        2**61 - 1,
        2**61,
        -(2**61),
        2**62 - 1,
        -(2**62),
        2**62,
        2**63,
        2**64 + 5,
    ]
    for left in limits:
        for right in limits:
            line = [left + right, left - right, left * right, left & right, left | right, left ^ right]
            if right:
                line += [left % right, left // right]
            if 0 <= right <= 70:
                line += [left << right, left >> right]
            print(line)
    for function in (
        lambda: 1 << -1,
        lambda: 1 >> -1,
        lambda: 5 % 0,
        lambda: 5 + None,
        lambda: None + 5,
        lambda: 1 < "a",
    ):
        try:
            print(function())
        except (ValueError, ZeroDivisionError, TypeError) as error:
            print(type(error).__name__)
    x = 2**62 - 2
    for _ in range(4):
        x += 1
        print(x)
    y = 5
    y += True
    y <<= 2
    y *= 3
    y %= 7
    y |= 8
    y ^= 3
    y &= 0xFF
    y -= 1
    print(y, True + 1, False + 1, Odd() + 1, 1 + Odd())


def raising():
    """StopIteration out of what a loop's condition calls is no end of the loop."""
    for error in (StopIteration("no end"), ValueError("bad")):
        done = []
        try:
            for item in (1, 2):
                done.append(item)
                if Odd(error):
                    done.append("never")
        except (StopIteration, ValueError) as raised:
            done.append(type(raised).__name__)
        print(done)
        try:
            for item in (1, 2):
                done.append(item)
                print(Odd(error) < item)
        except (StopIteration, ValueError) as raised:
            done.append(type(raised).__name__)
        print(done)

    def inner():
        try:
            yield 1
            yield 2
        except ValueError as error:
            yield "caught " + str(error)
        finally:
            print("finally")

    def outer():
        result = yield from inner()
        return result

    generator = outer()
    print(next(generator), generator.throw(ValueError("thrown")))
    try:
        next(generator)
    except StopIteration:
        print("ended")

    def unbound(flag):
        if flag:
            late = 1
        print("before")
        return late + 1

    print(unbound(True))
    try:
        unbound(False)
    except NameError:
        print("NameError")

    def nested(n):
        for index in range(n):
            try:
                if index == 1:
                    continue
                if index == 3:
                    return index
            finally:
                print("f", index)
        return None

    print(nested(5))
    try:
        deep(0)
    except RuntimeError:
        print("recursion")


def deep(n):
    return deep(n + 1) + 1


def many_locals(a, b, *args, key=9, **more):
    l0 = l1 = l2 = l3 = l4 = l5 = l6 = l7 = l8 = l9 = l10 = l11 = 0
    m0, m1, m2, m3, m4, m5, m6, m7 = range(8)
    n0, n1, (n2, n3), *n4 = (a, b, (key, args), 1, 2)
    target = [0, 0]
    target[0], n5, target[1] = (m7, m6, m5)
    p0, p1 = p1, p0 = (1, 2)
    l0, l1 = l1, m0
    l2 = m1 + 1
    l3 += 1
    l4 = m2 + 3 + m3
    return [l0, l1, l2, l3, l4, l5, l6, l7, l8, l9, l10, l11, m4, n0, n1, n2, n3, n4, n5, target, p0, p1, sorted(more)]


def calls():
    print(many_locals(1, 2))
    print(many_locals(1, 2, 3, 4, key=5, other=6))
    for arguments, named in (((1,), {}), ((1, 2), {"a": 3}), ((), {"b": 1, "a": 2})):
        try:
            print(many_locals(*arguments, **named))
        except TypeError:
            print("TypeError")
    for wrong in ((1, 2, 3), (1,), 5):
        try:
            x, y = wrong
            print(x, y)
        except (ValueError, TypeError) as error:
            print(type(error).__name__)

    def counter():
        count = 0

        def more(step=1):
            nonlocal count
            count += step
            return count

        return more

    more = counter()
    print(more(), more(5), more(step=2), (lambda *a: a)(1, 2))


class Base:
    shared = [1]

    def who(self):
        return "base"

    @property
    def shown(self):
        return "property"

    @staticmethod
    def still(x):
        return x * 2

    @classmethod
    def named(cls):
        return cls.__name__


class Derived(Base):
    def __getattr__(self, name):
        if name == "missing":
            return lambda: "made up"
        raise AttributeError(name)


class Noticing(Base):
    """Every store passes through it, those to what is there already, too."""

    def __init__(self):
        self.value = 1
        self.value = 2

    def __setattr__(self, name, value):
        super().__setattr__(name, (name, value))


class Unusual(Base):
    def __init__(self):
        self.who = lambda: "own"


def attributes():
    objects = [Base(), Derived(), Unusual(), Derived()]
    for turn in range(3):
        print([item.who() for item in objects], [item.shown for item in objects], objects[1].missing())
        print([item.still(turn) for item in objects], [item.named() for item in objects])
        if turn == 0:
            objects[0].who = lambda: "given"
            objects[3].shared = 5
        elif turn == 1:
            del objects[0].who
            del objects[3].shared
        print([item.shared for item in objects])
    Base.who = lambda self: "changed"
    print([item.who() for item in objects])
    try:
        objects[1].nothing
    except AttributeError:
        print("AttributeError")
    chain = Base()
    chain.next = Base()
    chain.next.next = Base()
    chain.next.next.value = 3
    value = chain.next.next.value
    chain.next.next.value += 1
    print(value, chain.next.next.value, struct.calcsize(">I"), sys.byteorder)
    noticing = Noticing()
    noticing.value = 3
    print(noticing.value)
    items = []
    items.append(1)
    add = items.append
    add(2)
    print(items.pop(), items, "a,b".split(","), {"k": 1}.get("k"), b"ab".find(b"b"))


def items():
    data = bytearray(range(16))
    views = [memoryview(data), memoryview(data)[3:9]]
    for view in views:
        view[0] = 200
        print(view[0], view[-1], len(view), bytes(view[1:3]))
        for index in (len(view), -len(view) - 1):
            try:
                print(view[index])
            except IndexError:
                print("IndexError")
    print(bytes(data))
    for code in "BbHhIiQq":
        numbers = array(code, [1, 2, 3, 4, 5])
        view = memoryview(numbers)[1:4]
        view[0] += 100
        view[-1] = view[True]
        for index, value in ((1, 300), (2, -1), (3, 2), (0, None)):
            try:
                view[index] = value
            except (IndexError, TypeError, ValueError, OverflowError):
                view[min(index, 2)] = 9
            else:
                view[index] = 9
        print(list(numbers), view[1], view[2])
    for code, largest in (("B", 2**8 - 1), ("H", 2**16 - 1), ("I", 2**32 - 1)):
        view = memoryview(array(code, [0, 0, 0]))[1:]
        view[0] = largest
        print(list(view), view[0] + 1)
    for value in (255, 0, 1):
        data[5] = value
        print(data[5], views[1][2])
    try:
        memoryview(b"abc")[0] = 1
    except TypeError:
        print("TypeError")
    try:
        data[0] = "a"
    except TypeError:
        print("TypeError")
    table = {1: "a", "x": 2, (1, 2): 3}
    table[1] += "b"
    print(table[1], table["x"], table[(1, 2)])
    try:
        table["y"]
    except KeyError:
        print("KeyError")
    row = [1, 2, 3]
    row[-1] = row[0]
    print(row, row[True], (4, 5)[-1])


def packing():
    formats = (">I", "<I", ">H", "<H", ">B", ">IHB", ">16sIIH12s", ">QI", "<qh", ">2I3H", ">xxI")
    data = bytes(range(1, 60))
    for text in formats:
        values = struct.unpack_from(text, data, 3)
        print(text, struct.calcsize(text), values)
        out = bytearray(60)
        struct.pack_into(text, out, 5, *values)
        print(bytes(out))
    for text in (">I", ">16sI"):
        try:
            struct.unpack_from(text, b"abc")
        except Exception:
            print("too small")
    print({b"k" * size: size for size in (1, 16, 17, 64, 65)}[b"k" * 17], hash(b"a" * 20) == hash(b"a" * 20))


for part in (conditions, numbers, raising, calls, attributes, items, packing):
    print(part.__name__)
    part()
