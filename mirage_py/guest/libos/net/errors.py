# SPDX-License-Identifier: MIT
"""What the network says about a packet that we sent, in one form for ICMP (RFC 792) and ICMPv6 (RFC 4443).

Protocols are told by `input_error` (net.transport).
"""

OTHER = 0
UNREACHABLE_HOST = 1  # or its network, or administratively prohibited
UNREACHABLE_PROTOCOL = 2
UNREACHABLE_PORT = 3
TOO_BIG = 4  # mtu: octets of an IP packet that the next link takes
TIME_EXCEEDED = 5


class AddressError(ValueError):
    """An address among the boot arguments that cannot be ours, or does not go with another. str() says why."""
