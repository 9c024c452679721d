# SPDX-License-Identifier: MIT
"""What targets/common/mod_embedded.c is in an image."""

table: dict[str, bytes] = {}


def get(name):
    return memoryview(table[name])
