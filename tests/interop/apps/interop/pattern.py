# SPDX-License-Identifier: MIT
"""Octets that differ everywhere: 8 KiB blocks, each beginning with its number (as in tests/interop/pattern.py)."""

BLOCK_BYTES = 8192
_FILLER = bytes([(i * i >> 3 ^ i * 37) & 255 for i in range(BLOCK_BYTES - 8)])
_BLOCKS_AT_ONCE = 8


def blocks(first, count):
    """`count` blocks from number `first` on."""
    parts = []
    for number in range(first, first + count):
        parts.append(b"%08d" % number)
        parts.append(_FILLER)
    return b"".join(parts)


async def write(flow, octets):
    """Writes the first `octets` of the pattern."""
    number = 0
    while octets:
        data = blocks(number, _BLOCKS_AT_ONCE)
        if len(data) > octets:
            data = data[:octets]
        await flow.write(data)
        octets -= len(data)
        number += _BLOCKS_AT_ONCE
