# SPDX-License-Identifier: MIT
"""Decompression of deflate's octets (RFC 1951)."""

from mirage_py.configure.device import Device, Kind
from mirage_py.configure.devices.signatures import INFLATE as OFFERS

INFLATE = Kind(
    name="inflate",
    offers=OFFERS,
    implementation="libos.hal.inflate.Inflate",
    doc="decompression of deflate, gzip and zlib, as it arrives",
)


def inflate() -> Device:
    """What decompresses deflate, in pieces: new(check)."""
    return INFLATE()
