# SPDX-License-Identifier: MIT
"""Octets that come in pieces, as one: a peer that sends an octet at a time takes no more memory than its octets."""

# An object of one octet takes 64 octets of heap, and its place in a list 8: so many are joined at once.
_FEW = 256


class Parts:
    """length: octets so far."""

    def __init__(self):
        self.length = 0
        self._pieces = []
        self._joined = []

    def add(self, data):
        """data: bytes; nothing of what is empty is kept."""
        if not data:
            return
        self.length += len(data)
        pieces = self._pieces
        pieces.append(data)
        if len(pieces) >= _FEW:
            self._joined.append(b"".join(pieces))
            pieces.clear()

    def take(self):
        """All of it, as bytes; nothing is left."""
        parts = self._joined + self._pieces
        self.length = 0
        self._pieces = []
        self._joined = []
        return parts[0] if len(parts) == 1 else b"".join(parts)
