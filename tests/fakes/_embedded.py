# SPDX-License-Identifier: MIT
"""What targets/common/mod_embedded.c is in an image."""

table: dict[str, bytes] = {}


def get(name):
    return memoryview(table[name])


def octets(name, start, length):
    if not 0 <= start <= len(table[name]) or not 0 <= length <= len(table[name]) - start:
        raise ValueError("out of bounds")
    return table[name][start : start + length]
