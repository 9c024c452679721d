# SPDX-License-Identifier: MIT
"""The application's pattern (apps/interop/pattern.py), written a second time, from its description."""

import hashlib
from pathlib import Path

BLOCK_BYTES = 8192
_FILLER = bytes((i * i >> 3 ^ i * 37) & 255 for i in range(BLOCK_BYTES - 8))


def octets(count: int) -> bytes:
    """The first `count` octets."""
    blocks = (b"%08d" % number + _FILLER for number in range(-(-count // BLOCK_BYTES)))
    return b"".join(blocks)[:count]


def digest(count: int) -> str:
    """Their SHA-256, in hexadecimal."""
    return hashlib.sha256(octets(count)).hexdigest()


def file(path: Path, count: int) -> Path:
    """A file with them."""
    path.write_bytes(octets(count))
    return path
