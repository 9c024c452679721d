# SPDX-License-Identifier: MIT
"""Ethernet II framing (RFC 894), and the tags of IEEE 802.1Q: bytes <-> values. No I/O.

A MAC address is a bytes object of 6 octets.
"""

import struct

HEADER_BYTES = 14
ETHERTYPE_IPV4 = 0x0800
ETHERTYPE_ARP = 0x0806
ETHERTYPE_IPV6 = 0x86DD
ETHERTYPE_VLAN = 0x8100  # a tag: four octets between the MACs and the ethertype
TAG_BYTES = 4
BROADCAST = b"\xff\xff\xff\xff\xff\xff"
UNKNOWN_MAC = b"\0\0\0\0\0\0"


def parse(buf, start, length):
    """(dst_mac, src_mac, ethertype) of the frame in buf[start : start + length], or None when it is too short.

    A value below 0x0600 in the place of the ethertype is an 802.3 length; no protocol of ours has such a number.
    """
    if length < HEADER_BYTES:
        return None
    return struct.unpack_from(">6s6sH", buf, start)


def emit(buf, start, dst_mac, src_mac, ethertype):
    """Writes the 14 octets of a header at `start`."""
    struct.pack_into(">6s6sH", buf, start, dst_mac, src_mac, ethertype)


def parse_tag(buf, start):
    """(VLAN, ethertype behind the tag) of a frame of at least 18 octets whose ethertype is ETHERTYPE_VLAN."""
    tag, ethertype = struct.unpack_from(">HH", buf, start + HEADER_BYTES)
    return (tag & 0x0FFF, ethertype)


def remove_tag(buf, start):
    """Moves both MACs over the tag: the frame without it begins TAG_BYTES later."""
    buf[start + 4 : start + 16] = bytes(buf[start : start + 12])


def is_multicast(mac):
    """True for group addresses, broadcast among them."""
    return mac[0] & 1 == 1


def parse_mac(text):
    """b"RT\\0..." from "52:54:00:12:34:56". ValueError when it is not such a text."""
    parts = text.split(":")
    if len(parts) != 6 or not all(1 <= len(part) <= 2 for part in parts):
        raise ValueError("not a MAC address: " + text)
    return bytes([int(part, 16) for part in parts])


def format_mac(mac):
    """The text "52:54:00:12:34:56" from 6 octets."""
    return ":".join(["%02x" % octet for octet in mac])
