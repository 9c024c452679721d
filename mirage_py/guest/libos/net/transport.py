# SPDX-License-Identifier: MIT
"""What an IP layer tells the protocols above it. Each overrides what it wants to know.

input(frame, packet, now_ms)    a received packet; the frame is the caller's
"""


class Transport:
    """Base of whoever registers at an IP layer (`ip`, the first argument, says at which)."""

    def input_error(self, ip, src_ip, dst_ip, quoted, error, mtu, now_ms):
        """The network says something about a packet that we sent.

        quoted: at least 8 octets of its payload. error: of net.errors; mtu: with TOO_BIG, else 0.
        """

    def neighbour_lost(self, ip, hop, now_ms):
        """Nobody answers for the MAC of the neighbour `hop`."""

    def confirms(self, ip, hop, generation):
        """True with proof that what was sent to the neighbour `hop` arrived, since its table had this generation."""
        return False

    def address_lost(self, ip, address):
        """`address` is ours no more."""
