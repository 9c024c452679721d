# SPDX-License-Identifier: MIT
"""IPv4 headers (RFC 791) and addresses: bytes <-> values. No I/O.

An address is a 32-bit number in the stack, and dotted decimal text for people.
"""

import struct

HEADER_BYTES = 20
PROTOCOL_ICMP = 1
PROTOCOL_IGMP = 2
PROTOCOL_TCP = 6
PROTOCOL_UDP = 17
DONT_FRAGMENT = 0x4000
MORE_FRAGMENTS = 0x2000
OFFSET_MASK = 0x1FFF
LIMITED_BROADCAST = 0xFFFFFFFF
LOOPBACK_NET = 127  # the first octet
LOOPBACK = 0x7F000001

# What check_options finds.
OPTIONS_SANE = 0
OPTIONS_MALFORMED = 1
OPTIONS_SOURCE_ROUTE = 2

_END_OF_OPTIONS = 0
_NO_OPERATION = 1
_LOOSE_SOURCE_ROUTE = 131
_STRICT_SOURCE_ROUTE = 137


def parse(buf, start, length):
    """The header at `start` as (header_len, total_len, ident, fragment, ttl, protocol, src_ip, dst_ip), or None.

    length: octets there are. fragment: flags and offset as they stand in the header. None when the packet is short, of
    another version, or contradicts itself; the checksum is the caller's to verify (it has the fast one).
    """
    if length < HEADER_BYTES:
        return None
    version_len, total_len, ident, fragment, ttl, protocol, src_ip, dst_ip = struct.unpack_from(
        ">BxHHHBBxxII", buf, start
    )
    header_len = (version_len & 15) << 2
    if version_len >> 4 != 4 or header_len < HEADER_BYTES or not header_len <= total_len <= length:
        return None
    return (header_len, total_len, ident, fragment, ttl, protocol, src_ip, dst_ip)


def emit(buf, start, total_len, ident, fragment, ttl, protocol, src_ip, dst_ip, options=b""):
    """Writes a header of 20 octets at `start`, its checksum included, or more with options (of 4 octets, or 8 …)."""
    version_len = 0x4500 + (len(options) << 6)
    total = version_len + total_len + ident + fragment + (ttl << 8 | protocol) + src_ip + dst_ip
    if options:
        total += int.from_bytes(options, "big")
        buf[start + HEADER_BYTES : start + HEADER_BYTES + len(options)] = options
    struct.pack_into(
        ">HHHHBBHII",
        buf,
        start,
        version_len,
        total_len,
        ident,
        fragment,
        ttl,
        protocol,
        -total % 0xFFFF,
        src_ip,
        dst_ip,
    )


def check_options(buf, start, length):
    """Whether `length` octets of options at `start` make sense (RFC 791 section 3.1): one of the OPTIONS_ numbers."""
    end = start + length
    while start < end:
        kind = buf[start]
        if kind == _END_OF_OPTIONS:
            break
        if kind == _NO_OPERATION:
            start += 1
            continue
        if start + 2 > end or buf[start + 1] < 2 or start + buf[start + 1] > end:
            return OPTIONS_MALFORMED
        if kind == _LOOSE_SOURCE_ROUTE or kind == _STRICT_SOURCE_ROUTE:
            return OPTIONS_SOURCE_ROUTE
        start += buf[start + 1]
    return OPTIONS_SANE


def parse_address(text):
    """0x0A000002 from "10.0.0.2". ValueError when it is not four decimal octets."""
    parts = text.split(".")
    value = 0
    for part in parts:
        if not 1 <= len(part) <= 3 or not part.isdigit() or int(part) > 255:
            raise ValueError("not an IPv4 address: " + text)
        value = value << 8 | int(part)
    if len(parts) != 4:
        raise ValueError("not an IPv4 address: " + text)
    return value


def format_address(ip):
    """The text "10.0.0.2" from 0x0A000002."""
    return "%d.%d.%d.%d" % (ip >> 24, ip >> 16 & 255, ip >> 8 & 255, ip & 255)


def parse_cidr(text):
    """(address, prefix length) from "10.0.0.2/24". ValueError when it is not that."""
    slash = text.find("/")
    prefix = text[slash + 1 :]
    if slash < 0 or not 1 <= len(prefix) <= 2 or not prefix.isdigit() or int(prefix) > 32:
        raise ValueError("not an IPv4 address with a prefix length: " + text)
    return (parse_address(text[:slash]), int(prefix))


def netmask(prefix_len):
    """0xFFFFFF00 from 24."""
    return 0xFFFFFFFF << (32 - prefix_len) & 0xFFFFFFFF


def is_multicast(ip):
    return ip >> 28 == 14


def multicast_mac(ip):
    """The Ethernet address of a multicast group (RFC 1112 section 6.4)."""
    return b"\x01\x00\x5e" + bytes([ip >> 16 & 0x7F, ip >> 8 & 0xFF, ip & 0xFF])


def is_unicast(ip):
    """False for multicast, reserved (class E, limited broadcast), loopback and "this network" addresses."""
    top = ip >> 24
    return 0 < top < 224 and top != 127
