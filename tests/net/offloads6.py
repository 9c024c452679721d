# SPDX-License-Identifier: MIT
"""What a device's offloads do to frames of TCP over IPv6 without extension headers."""

import struct

from libos.wire import ipv6

ETHERTYPE = b"\x86\xdd"


def segment6(data, header_len, gso_size, checksum):
    """Cuts a large frame as a device does: packets with the right length, sequence number, flags and checksum."""
    packets = []
    header, payload = data[:header_len], data[header_len:]
    src_ip, dst_ip = bytes(header[22:38]), bytes(header[38:54])
    seq = struct.unpack_from(">I", header, 58)[0]
    given = struct.unpack_from(">H", header, 70)[0]
    assert given % 0xFFFF == ipv6.pseudo_sum(src_ip, dst_ip, 6, len(data) - 54) % 0xFFFF, "the pseudo-header's sum"
    for at in range(0, len(payload), gso_size):
        packet = bytearray(header + payload[at : at + gso_size])
        size = len(packet) - 54
        struct.pack_into(">H", packet, 18, size)
        struct.pack_into(">I", packet, 58, (seq + at) & 0xFFFFFFFF)
        if at + gso_size < len(payload):
            packet[67] &= ~0x09  # FIN and PSH are for the last
        packet[70:72] = b"\0\0"
        total = checksum(packet, 54, size, ipv6.pseudo_sum(src_ip, dst_ip, 6, size))
        struct.pack_into(">H", packet, 70, total ^ 0xFFFF)
        packets.append(bytes(packet))
    return packets


def is_valid6(packet, checksum):
    """What a device with receive checksum offload finds out."""
    if len(packet) < 74 or packet[20] != 6:
        return False
    size = struct.unpack_from(">H", packet, 18)[0]
    if not 20 <= size <= len(packet) - 54:
        return False
    pseudo = ipv6.pseudo_sum(bytes(packet[22:38]), bytes(packet[38:54]), 6, size)
    return checksum(packet, 54, size, pseudo) == 0xFFFF
