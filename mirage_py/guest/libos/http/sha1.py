# SPDX-License-Identifier: MIT
"""SHA-1 (RFC 3174), for the handshake of WebSocket and for nothing else: it is broken where it matters.

Plain Python: it runs once for each WebSocket, over 60 octets, which takes less time than the handshake's packets.
"""


def sha1(data):
    """20 octets."""
    h = [0x67452301, 0xEFCDAB89, 0x98BADCFE, 0x10325476, 0xC3D2E1F0]
    length = len(data)
    data += b"\x80" + bytes((55 - length) % 64) + (length * 8).to_bytes(8, "big")
    for start in range(0, len(data), 64):
        w = [int.from_bytes(data[at : at + 4], "big") for at in range(start, start + 64, 4)]
        a, b, c, d, e = h
        for t in range(80):
            if t < 20:
                f = (b & c) | (~b & d)
                k = 0x5A827999
            elif t < 40:
                f = b ^ c ^ d
                k = 0x6ED9EBA1
            elif t < 60:
                f = (b & c) | (b & d) | (c & d)
                k = 0x8F1BBCDC
            else:
                f = b ^ c ^ d
                k = 0xCA62C1D6
            if t >= 16:
                x = w[t - 3] ^ w[t - 8] ^ w[t - 14] ^ w[t - 16]
                w.append((x << 1 | x >> 31) & 0xFFFFFFFF)
            x = ((a << 5 | a >> 27) + f + e + k + w[t]) & 0xFFFFFFFF
            a, b, c, d, e = x, a, (b << 30 | b >> 2) & 0xFFFFFFFF, c, d
        h = [(x + y) & 0xFFFFFFFF for x, y in zip(h, (a, b, c, d, e))]
    return b"".join([x.to_bytes(4, "big") for x in h])
