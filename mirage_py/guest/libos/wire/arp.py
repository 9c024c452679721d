# SPDX-License-Identifier: MIT
"""ARP for IPv4 over Ethernet (RFC 826): bytes <-> values. No I/O.

An IPv4 address is a 32-bit number, a MAC address 6 octets.
"""

import struct

PACKET_BYTES = 28
REQUEST = 1
REPLY = 2

_FORMAT = ">HHBBH6sI6sI"


def parse(buf, start, length):
    """(operation, sender_mac, sender_ip, target_mac, target_ip), or None.

    None for what is short, not Ethernet and IPv4, of an operation other than request and reply, or from a group
    address.
    """
    if length < PACKET_BYTES:
        return None
    hardware, protocol, mac_len, ip_len, operation, sender_mac, sender_ip, target_mac, target_ip = struct.unpack_from(
        _FORMAT, buf, start
    )
    if hardware != 1 or protocol != 0x0800 or mac_len != 6 or ip_len != 4:
        return None
    if operation != REQUEST and operation != REPLY:
        return None
    if sender_mac[0] & 1:
        return None
    return (operation, sender_mac, sender_ip, target_mac, target_ip)


def emit(buf, start, operation, sender_mac, sender_ip, target_mac, target_ip):
    """Writes the 28 octets of a packet at `start`."""
    struct.pack_into(_FORMAT, buf, start, 1, 0x0800, 6, 4, operation, sender_mac, sender_ip, target_mac, target_ip)
