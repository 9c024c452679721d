# SPDX-License-Identifier: MIT
"""An Ethernet frame on its way between the model and a backend, with the work that is still to be done on it."""

from __future__ import annotations

GSO_NONE = 0
GSO_TCPV4 = 1
GSO_TCPV6 = 4
GSO_UDP = 5  # datagrams, of the IP version that the header says (virtio: UDP_L4)

Octets = bytes | bytearray | memoryview


class Frame:
    """parts: the octets, in pieces that need not be joined to be sent (views of guest memory, often).

    length: octets over all parts, without the frame check sequence.
    csum_start, csum_offset: when csum_start is not 0, the transport checksum over csum_start to the end is still to
        be put at csum_start + csum_offset, which holds the pseudo-header's sum (as virtio has it).
    gso_size: when not 0, a packet with more payload than this, to be cut; gso_type and hdr_len say how.
    seed: what the driver put into the transport checksum's field, the pseudo-header's sum without the length; -1 where
        the addresses say it. ip_seed: what the IPv4 header's checksum starts from. Both for cutting: the transport may
        lie in a tunnel, whose addresses are not the outer ones and whose headers are summed with the outer one.
    is_checked: the transport checksum is known to be right.
    """

    __slots__ = (
        "csum_offset",
        "csum_start",
        "gso_size",
        "gso_type",
        "hdr_len",
        "ip_seed",
        "is_checked",
        "length",
        "parts",
        "seed",
    )

    def __init__(self, parts: list[Octets], length: int) -> None:
        self.parts = parts
        self.length = length
        self.csum_start = 0
        self.csum_offset = 0
        self.gso_size = 0
        self.gso_type = GSO_NONE
        self.hdr_len = 0
        self.ip_seed = 0
        self.seed = -1
        self.is_checked = False

    def joined(self) -> Octets:
        """All octets in one piece."""
        if len(self.parts) != 1:
            self.parts = [b"".join(self.parts)]
        return self.parts[0]
