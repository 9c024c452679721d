# SPDX-License-Identifier: MIT
"""Sequence numbers: 32 bits on the wire, integers that never wrap in the stack."""


def unwrap(seq, near):
    """The number whose low 32 bits are `seq` and that is within 2**31 of `near`."""
    ahead = (seq - near) & 0xFFFFFFFF
    if ahead >= 0x80000000:
        ahead -= 0x100000000
    return near + ahead


def is_before(first, second):
    """RFC 7323 section 3.2: first < second for two 32-bit timestamps."""
    return (first - second) & 0xFFFFFFFF >= 0x80000000
