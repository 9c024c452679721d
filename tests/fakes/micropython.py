# SPDX-License-Identifier: MIT
"""CPython's stand-in for MicroPython's `micropython` module: decorators and const() that change nothing."""

import builtins


def const(value):
    """MicroPython folds `NAME = const(number)` at compile time; here it is the number."""
    return value


def native(function):
    return function


def viper(function):
    return function


def opt_level(level=None):
    return 0


def kbd_intr(character):
    return None


ptr = ptr8 = ptr16 = ptr32 = int


def _view(data):
    """What viper's ptr8(data) is on CPython: the octets themselves, with their bounds checked."""
    return data


def _words(data):
    """What viper's ptr32(data) is: the whole words of 32 bits."""
    return memoryview(data)[: len(data) & ~3].cast("I")


# Viper knows these names without an import.
builtins.ptr8 = _view
builtins.ptr32 = _words
