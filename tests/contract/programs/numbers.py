# SPDX-License-Identifier: MIT
"""What computes with floats without a float in it, and a traceback of endless recursion."""

import struct


def dive(depth):
    return dive(depth + 1)


print(struct.unpack("<f", b"\x00\x00\xc0\x3f")[0])
print(f"{3:.1f}")
print(2**-1)
print(struct.unpack("<d", struct.pack("<d", 1))[0] == 1)
dive(0)
