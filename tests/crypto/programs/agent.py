# SPDX-License-Identifier: MIT
"""Calls the primitives of the hal for a test outside: a line in is a call, a line out what came of it.

A call: TARGET METHOD ARGUMENT... TARGET: a name below, or an object that an earlier call returned. Octets are b and
hexadecimal digits, numbers i and digits; T, F, N are True, False, None; o and a number is an object. With "starved"
before it no allocation succeeds in it.
"""

import sys

import micropython

from libos.hal.aead import Aeads
from libos.hal.ed25519 import Ed25519
from libos.hal.hashes import Hashes
from libos.hal.mlkem768_full import MlKem768Full
from libos.hal.p256_full import P256Full
from libos.hal.p384_full import P384Full
from libos.hal.rsa_full import RsaFull
from libos.hal.x25519 import X25519


class Checks:
    """What only shows in here."""

    def discarded(self, length):
        """What a record is when it has been discarded."""
        aeads = TARGETS["aeads"]
        record = aeads.make("chacha20poly1305", bytes(32)).seal(bytes(12), b"", bytes(length))
        aeads.discard(record)
        aeads.discard(record)
        return record


TARGETS = {
    "checks": Checks(),
    "hashes": Hashes(),
    "aeads": Aeads(),
    "x25519": X25519(),
    "p256": P256Full(),
    "p384": P384Full(),
    "mlkem768": MlKem768Full(),
    "rsa": RsaFull(),
    "ed25519": Ed25519(),
}


def decode(word):
    kind, rest = word[0], word[1:]
    if kind == "b":
        return bytes.fromhex(rest)
    if kind == "a":
        return bytearray(bytes.fromhex(rest))
    if kind == "i":
        return int(rest)
    if kind == "s":
        return rest
    if kind == "o":
        return TARGETS[word]
    return {"T": True, "F": False, "N": None}[kind]


def encode(value):
    if value is None:
        return "N"
    if value is True or value is False:
        return "T" if value else "F"
    if isinstance(value, (bytes, bytearray)):
        return "b" + value.hex() if value else "b"  # b"".hex() is no text
    if isinstance(value, int):
        return "i%d" % value
    if isinstance(value, str):
        return "s" + value
    if isinstance(value, tuple):
        return "(" + ",".join([encode(item) for item in value])
    name = "o%d" % len(TARGETS)
    TARGETS[name] = value
    return name


def starve(function, arguments):
    """The call, while no allocation succeeds."""
    count = len(arguments)
    first = arguments[0]
    second = arguments[1] if count > 1 else None
    third = arguments[2] if count > 2 else None
    micropython.heap_lock()
    try:
        # Not function(*arguments), which wants memory itself.
        if count == 1:
            return function(first)
        if count == 2:
            return function(first, second)
        return function(first, second, third)
    finally:
        micropython.heap_unlock()


def answer(line):
    """What a call returned, or ! and what it raised."""
    words = line.split()
    is_starved = words[0] == "starved"
    if is_starved:
        words.pop(0)
    try:
        found = getattr(TARGETS[words[0]], words[1])
        if not callable(found):
            return encode(found)
        arguments = [decode(word) for word in words[2:]]
        return encode(starve(found, arguments) if is_starved else found(*arguments))
    except MemoryError:
        return "!MemoryError"
    except Exception as error:
        return "!%s %s" % (type(error).__name__, error)


def main():
    while True:
        line = sys.stdin.readline()
        if not line:
            return
        print(answer(line))
