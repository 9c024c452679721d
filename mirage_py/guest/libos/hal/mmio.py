# SPDX-License-Identifier: MIT
"""Waiting for device registers. Every wait ends, and its error says what it waited for."""

import _mirage


class DeviceError(Exception):
    """A device is missing, broken, or does not do what its specification says."""


def wait_set(registers, index, mask, timeout_us, what):
    """Polls registers[index] until all bits of `mask` are set; returns the value.

    Raises DeviceError, naming `what`, after timeout_us microseconds.
    """
    return wait_value(registers, index, mask, mask, timeout_us, what)


def wait_clear(registers, index, mask, timeout_us, what):
    """Polls registers[index] until all bits of `mask` are clear; returns the value."""
    return wait_value(registers, index, mask, 0, timeout_us, what)


def wait_value(registers, index, mask, wanted, timeout_us, what):
    """Polls registers[index] until its bits in `mask` equal `wanted`; returns the value."""
    deadline_ns = _mirage.monotonic_ns() + timeout_us * 1000
    while True:
        # The clock before the register: a machine that stood still in between does not make a false alarm.
        is_late = _mirage.monotonic_ns() > deadline_ns
        value = registers[index]
        if value & mask == wanted:
            return value
        if is_late:
            raise DeviceError("%s: no answer within %d us (register is 0x%x)" % (what, timeout_us, value))
