# SPDX-License-Identifier: MIT
"""An Ethernet frame on its way between the model and a backend, with the work that is still to be done on it."""

from __future__ import annotations

GSO_NONE = 0
GSO_TCPV4 = 1
GSO_TCPV6 = 4

Octets = bytes | bytearray | memoryview


class Frame:
    """parts: the octets, in pieces that need not be joined to be sent (views of guest memory, often).

    length: octets over all parts, without the frame check sequence.
    csum_start, csum_offset: when csum_start is not 0, the transport checksum over csum_start to the end is still to
        be put at csum_start + csum_offset, which holds the pseudo-header's sum (as virtio has it).
    gso_size: when not 0, a TCP segment with more payload than this, to be cut; gso_type and hdr_len say how.
    is_checked: the transport checksum is known to be right.
    """

    __slots__ = ("csum_offset", "csum_start", "gso_size", "gso_type", "hdr_len", "is_checked", "length", "parts")

    def __init__(self, parts: list[Octets], length: int) -> None:
        self.parts = parts
        self.length = length
        self.csum_start = 0
        self.csum_offset = 0
        self.gso_size = 0
        self.gso_type = GSO_NONE
        self.hdr_len = 0
        self.is_checked = False

    def joined(self) -> Octets:
        """All octets in one piece."""
        if len(self.parts) != 1:
            self.parts = [b"".join(self.parts)]
        return self.parts[0]
