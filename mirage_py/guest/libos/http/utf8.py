# SPDX-License-Identifier: MIT
"""UTF-8 as RFC 3629 has it, strictly: MicroPython's own decoder lets overlong forms and surrogates through."""

import micropython


@micropython.viper
def scan_utf8(data: ptr8, at: int, end: int) -> int:  # noqa: F821
    """Where the last whole character ends: `end`, or up to three octets before, when the last one goes on.

    -1 for what is no UTF-8. data: bytes. end: at most len(data).
    """
    while at < end:
        octet = int(data[at])
        if octet < 0x80:
            at += 1
            continue
        if octet < 0xC2 or octet > 0xF4:
            return -1
        # The second octet of a character is where overlong forms, surrogates and what is beyond U+10FFFF show.
        low = 0x80
        high = 0xBF
        more = 1
        if octet >= 0xF0:
            more = 3
            if octet == 0xF0:
                low = 0x90
            elif octet == 0xF4:
                high = 0x8F
        elif octet >= 0xE0:
            more = 2
            if octet == 0xE0:
                low = 0xA0
            elif octet == 0xED:
                high = 0x9F
        index = at + 1
        while more:
            if index >= end:
                return at
            octet = int(data[index])
            if octet < low or octet > high:
                return -1
            low = 0x80
            high = 0xBF
            index += 1
            more -= 1
        at = index
    return at


def text_of(data):
    """str of octets; ValueError when they are no UTF-8."""
    if scan_utf8(data, 0, len(data)) != len(data):
        raise ValueError("not UTF-8")
    return str(data, "utf-8")
