# SPDX-License-Identifier: MIT
"""Percent-encoding (RFC 3986 section 2.1)."""

_HEX = b"0123456789ABCDEFabcdef"
UNRESERVED = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~"


def encode(data, safe=b""):
    """ASCII text in which only unreserved characters and those of `safe` stand for themselves. data: text or bytes."""
    if isinstance(data, str):
        data = data.encode()
    keep = UNRESERVED + safe
    if not data.strip(keep):
        return data.decode()
    return "".join([chr(octet) if octet in keep else "%%%02X" % octet for octet in data])


def decode(data):
    """Octets. data: bytes. ValueError for a "%" without two hexadecimal digits."""
    parts = data.split(b"%")
    for index in range(1, len(parts)):
        part = parts[index]
        if len(part) < 2 or part[0] not in _HEX or part[1] not in _HEX:
            raise ValueError("malformed percent-encoding")
        parts[index] = bytes((int(part[:2], 16),)) + part[2:]
    return b"".join(parts)
