# SPDX-License-Identifier: MIT
"""Whom one trusts: names and keys of authorities, in one blob with an index, of which nothing is on the heap.

The blob, all numbers big-endian: "MPT1", the count (16 bits); for each anchor, in rising order, the sum of its name's
octets modulo 2^16 and where it begins (32 bits); then the anchors. An anchor: flags (1: may issue), the longest path
below it (255: any), the last second that it holds (64 bits), the lengths of what follows (16 bits each), and that, in
DER: Name; SubjectPublicKeyInfo, or the whole certificate of one that may not issue; NameConstraints where it has some.
Of an authority's certificate that is all that RFC 5280 section 6.1.1 (d) wants.
"""

import struct

from micropython import const

_MAGIC = b"MPT1"
_INDEX = const(6)
_ENTRY = const(6)
_HEAD = ">BBQHHH"
_HEAD_BYTES = const(16)


class Anchor:
    """Somebody who is trusted. subject, name_constraints: DER; the latter may be None.

    may_issue: then `key` is a SubjectPublicKeyInfo; else it is the certificate that is trusted as itself.
    path_length: certificates of authorities that may come below it, or None. not_after_s: Unix seconds.
    """

    def __init__(self, blob, at):
        flags, path_length, self.not_after_s, subject, key, constraints = struct.unpack(
            _HEAD, blob[at : at + _HEAD_BYTES]
        )
        self.may_issue = bool(flags & 1)
        self.path_length = None if path_length == 255 else path_length
        at += _HEAD_BYTES
        self.subject = bytes(blob[at : at + subject])
        at += subject
        self.key = bytes(blob[at : at + key])
        at += key
        self.name_constraints = bytes(blob[at : at + constraints]) if constraints else None


class Trust:
    """The anchors in a blob: bytes or a memoryview, of the tool or of pack.pack(). ValueError when it is none."""

    def __init__(self, blob):
        if bytes(blob[:4]) != _MAGIC:
            raise ValueError("no trust store")
        self._blob = memoryview(blob)
        self.count = struct.unpack(">H", blob[4:6])[0]

    def find(self, name):
        """list of Anchor whose subject is `name`, a Name in DER."""
        blob = self._blob
        key = sum(name) & 0xFFFF
        # The first entry of that key.
        low, high = 0, self.count
        while low < high:
            middle = (low + high) // 2
            at = _INDEX + _ENTRY * middle
            if blob[at] << 8 | blob[at + 1] < key:
                low = middle + 1
            else:
                high = middle
        found = []
        while low < self.count:
            entry, at = struct.unpack(">HI", blob[_INDEX + _ENTRY * low : _INDEX + _ENTRY * (low + 1)])
            if entry != key:
                break
            anchor = Anchor(blob, at)
            if anchor.subject == name:
                found.append(anchor)
            low += 1
        return found
