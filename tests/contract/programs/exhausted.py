# SPDX-License-Identifier: MIT
"""Tables that find no memory to grow: MemoryError, and everything is as it was. Prints `ok NAME` or `FAILED NAME`.

A locked heap is one in which no allocation succeeds.
"""

import array
import collections
import io
import select
import sys

import micropython


def starve(function, *args):
    """Calls function(*args), up to two of them, without memory; whether it failed for want of it."""
    count = len(args)
    first = args[0] if count else None
    second = args[1] if count > 1 else None
    micropython.heap_lock()
    try:
        # Not function(*args), which wants memory itself.
        if count == 0:
            function()
        elif count == 1:
            function(first)
        else:
            function(first, second)
        failed = False
    except MemoryError:
        failed = True
    micropython.heap_unlock()
    return failed


def until_full(function):
    """Calls function(0), function(1), … without memory until one fails; returns how many did not."""
    for number in range(1000):
        if starve(function, number):
            return number
    raise AssertionError("never full")


def a_set_keeps_its_members():
    members = set()
    members.add(100000)
    for _ in range(4):
        count = until_full(members.add)
        assert count > 0
        assert members == set(range(count)) | {100000}, members
        for number in range(count):
            assert number in members
        members.add(count)  # with memory
        members.discard(100000)
        members.add(100000)


def a_dict_keeps_its_items():
    items = {}
    for _ in range(4):
        count = until_full(set_item(items))
        assert [items[n] for n in range(count)] == list(range(count)), items
        assert len(items) == count
        items[count] = count


class Key:
    """A key that finds no memory, or raises, when it is hashed."""

    fails = False

    def __init__(self, number):
        self.number = number

    def __hash__(self):
        if Key.fails:
            raise MemoryError
        return self.number

    def __eq__(self, other):
        return isinstance(other, Key) and self.number == other.number


def set_key(table, key):
    table[key] = 1


def keys_that_fail_while_a_table_grows_are_not_lost():
    for make, add in ((dict, set_key), (set, lambda table, key: table.add(key))):
        keys = [Key(n) for n in range(40)]
        table = make()
        for key in keys:
            Key.fails = True
            for other in range(key.number):  # an int hashes without fail, the keys that are there do not
                try:
                    add(table, 1000 + other)
                except MemoryError:
                    pass
            Key.fails = False
            add(table, key)
            for there in keys[: key.number + 1]:
                assert there in table, (make, there.number)


def an_ordered_dict_keeps_its_items():
    items = collections.OrderedDict()
    for _ in range(4):
        count = until_full(set_item(items))
        assert list(items) == list(range(count)), items
        items[count] = count
        items.pop(count)
        items[count] = count
    assert count > 4
    assert items.popitem() == (count, count)


def popitem_takes_nothing_without_memory():
    for items in ({1: 2}, collections.OrderedDict(((1, 2),))):
        assert starve(items.popitem)
        assert len(items) == 1
        assert items.popitem() == (1, 2)
        assert not items


def add_to(items):
    items += items


def set_item(items):
    def set_one(number):
        items[number] = number

    return set_one


def a_list_keeps_its_items():
    items = []
    for _ in range(4):
        before = list(items)
        now = before + list(range(until_full(items.append)))
        assert items == now, items
        assert starve(items.insert, 0, 1) and items == now
        assert starve(items.extend, items) and items == now
        assert starve(add_to, items) and items == now
        items.append(1)
    while items:
        last = items[-1]
        micropython.heap_lock()
        try:
            popped = items.pop()
        finally:
            micropython.heap_unlock()
        assert popped == last


class Slice:
    def __getitem__(self, key):
        return key


def a_bytearray_keeps_its_octets():
    for items in (bytearray(), array.array("I")):
        for _ in range(4):
            before = list(items)
            now = before + list(range(until_full(items.append)))
            assert list(items) == now, items
            assert starve(items.extend, bytes(100)) and list(items) == now
            items.append(1)
    octets = bytearray(b"0123456789abcdef")
    more = bytes(100)
    where = Slice()[2:4]

    def put():
        octets[where] = more

    assert starve(put)
    assert octets == b"0123456789abcdef"


def what_is_written_stays_as_long_as_it_was():
    for stream, text in ((io.BytesIO(16), b"ab"), (io.StringIO(16), "ab")):
        for _ in range(4):
            count = 0
            before = stream.getvalue()
            while not starve(stream.write, text):
                count += 1
            assert stream.getvalue() == before + text * count, stream.getvalue()
            stream.write(text)
    stream = io.BytesIO(b"of bytes")
    assert starve(stream.write, b"x")
    assert stream.getvalue() == b"of bytes"
    stream.seek(20)
    stream.write(b"x")
    assert stream.getvalue() == b"of bytes" + bytes(12) + b"x"


class Stream(io.IOBase):
    def ioctl(self, request, argument):
        return argument if request == 3 else 0


def a_poll_has_only_what_it_can_ask():
    poll = select.poll()
    streams = [Stream() for _ in range(20)]
    for stream in streams:
        assert starve(poll.register, stream)
        poll.poll(0)
        poll.register(stream)
        assert len(poll.poll(0)) == streams.index(stream) + 1
    try:
        poll.register(object())
    except OSError:
        pass
    assert len(poll.poll(0)) == 20


def put_attribute(thing, name):
    setattr(thing, name, name)


def an_attribute_is_there_or_not():
    class Thing:
        pass

    thing = Thing()
    names = ["name" + str(n) for n in range(100)]
    for name in names:
        if starve(put_attribute, thing, name):
            put_attribute(thing, name)
        for other in names[: names.index(name) + 1]:
            assert getattr(thing, other) == other


def a_name_is_made_once():
    for number in range(200):
        text = "quite_a_new_name_" + str(number)
        starve(hasattr, sys, text)
        assert getattr(sys, text, None) is None


for check in (
    a_set_keeps_its_members,
    a_dict_keeps_its_items,
    keys_that_fail_while_a_table_grows_are_not_lost,
    an_ordered_dict_keeps_its_items,
    popitem_takes_nothing_without_memory,
    a_list_keeps_its_items,
    a_bytearray_keeps_its_octets,
    what_is_written_stays_as_long_as_it_was,
    a_poll_has_only_what_it_can_ask,
    an_attribute_is_there_or_not,
    a_name_is_made_once,
):
    try:
        check()
    except Exception as error:
        print("FAILED", check.__name__)
        sys.print_exception(error)
    else:
        print("ok", check.__name__)
print("done")
