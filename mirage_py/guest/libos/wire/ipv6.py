# SPDX-License-Identifier: MIT
"""IPv6 headers (RFC 8200) and addresses (RFC 4291, RFC 5952): bytes <-> values. No I/O.

An address is a bytes object of 16 octets in the stack, and text for people.
"""

import struct

HEADER_BYTES = 40
FRAGMENT_BYTES = 8
MIN_MTU = 1280

# Values of Next Header.
HOP_BY_HOP = 0
PROTOCOL_TCP = 6
PROTOCOL_UDP = 17
ROUTING = 43
FRAGMENT = 44
PROTOCOL_ICMP6 = 58
NO_NEXT_HEADER = 59
DESTINATION_OPTIONS = 60

UNSPECIFIED = bytes(16)
LOOPBACK = bytes(15) + b"\x01"
LINK_LOCAL_PREFIX = b"\xfe\x80" + bytes(6)  # with 64 bits of interface identifier behind it
ALL_NODES = b"\xff\x02" + bytes(13) + b"\x01"
ALL_ROUTERS = b"\xff\x02" + bytes(13) + b"\x02"
ALL_MLDV2_ROUTERS = b"\xff\x02" + bytes(13) + b"\x16"

# Scopes (RFC 4291 section 2.7).
SCOPE_INTERFACE = 1
SCOPE_LINK = 2
SCOPE_SITE = 5
SCOPE_GLOBAL = 14

# What to do with a packet that has an option which is not known (RFC 8200 section 4.2): its two highest bits.
ACTION_SKIP = 0
ACTION_DISCARD = 1
ACTION_REPORT = 2
ACTION_REPORT_UNICAST = 3
# A header with more options than a sensible sender has (RFC 8504 section 5.3).
MAX_OPTIONS = 8
_ROUTER_ALERT = b"\x05\x02\x00\x00\x01\x00"  # for MLD (RFC 2711), padded to the header's 8 octets with PadN

_SOLICITED_NODE = b"\xff\x02" + bytes(9) + b"\x01\xff"
_MAPPED = bytes(10) + b"\xff\xff"
_HEX = "0123456789abcdefABCDEF"


def parse(buf, start, length):
    """The fixed header at `start` as (payload_len, next_header, hop_limit, src_ip, dst_ip), or None.

    length: octets there are. None when the packet is short or of another version. payload_len is at most length - 40.
    """
    if length < HEADER_BYTES:
        return None
    word, payload_len, next_header, hop_limit, src_ip, dst_ip = struct.unpack_from(">IHBB16s16s", buf, start)
    if word >> 28 != 6 or payload_len > length - HEADER_BYTES:
        return None
    return (payload_len, next_header, hop_limit, src_ip, dst_ip)


def emit(buf, start, payload_len, next_header, hop_limit, src_ip, dst_ip):
    """Writes a fixed header of 40 octets at `start`, traffic class and flow label zero."""
    struct.pack_into(">IHBB16s16s", buf, start, 0x60000000, payload_len, next_header, hop_limit, src_ip, dst_ip)


def parse_fragment(buf, start, length):
    """(next_header, offset, more, ident) of a fragment header at `start`, or None when it is shorter than 8 octets.

    offset: octets; more: True when further fragments follow.
    """
    if length < FRAGMENT_BYTES:
        return None
    next_header, offset, ident = struct.unpack_from(">BxHI", buf, start)
    return (next_header, offset & 0xFFF8, offset & 1 == 1, ident)


def emit_fragment(buf, start, next_header, offset, more, ident):
    """Writes a fragment header of 8 octets at `start`. offset: octets, a multiple of 8."""
    struct.pack_into(">BBHI", buf, start, next_header, 0, offset | more, ident)


def emit_router_alert(buf, start, next_header):
    """Writes a hop-by-hop header of 8 octets that tells routers to look at an MLD message (RFC 2711)."""
    buf[start] = next_header
    buf[start + 1] = 0
    buf[start + 2 : start + 8] = _ROUTER_ALERT


def check_options(header):
    """Looks for options which we do not know in a hop-by-hop or destination options header, given whole.

    Returns (action, at): ACTION_SKIP when all may be passed over, else the action that the first such option asks for,
    and its offset. None when an option ends beyond the header, or there are more than MAX_OPTIONS.
    """
    at = 2
    end = len(header)
    count = 0
    while at < end:
        kind = header[at]
        if kind == 0:  # Pad1
            at += 1
            continue
        if at + 2 > end or at + 2 + header[at + 1] > end:
            return None
        if kind != 1:  # PadN
            count += 1
            if count > MAX_OPTIONS:
                return None
            if kind >> 6:
                return (kind >> 6, at)
        at += 2 + header[at + 1]
    return (ACTION_SKIP, 0)


def has_router_alert(header):
    """True when a hop-by-hop header, given whole and checked, tells routers to look at an MLD message (RFC 2711)."""
    at = 2
    while at < len(header):
        if header[at] == 5:
            return header[at + 1 : at + 4] == b"\x02\x00\x00"
        at += 1 if not header[at] else 2 + header[at + 1]
    return False


def pseudo_sum(src_ip, dst_ip, protocol, length):
    """The sum over the pseudo-header (RFC 8200 section 8.1), folded. 2**16 is 1 modulo 0xFFFF."""
    total = int.from_bytes(src_ip, "big") + int.from_bytes(dst_ip, "big") + protocol + length
    return total % 0xFFFF or 0xFFFF


def parse_address(text):
    """16 octets from "2001:db8::1" or "::ffff:10.0.0.1". ValueError when it is not an address, or has a zone."""
    if "%" in text:
        raise ValueError("an IPv6 address with a zone is not supported: " + text)
    head, gap, tail = text.partition("::")
    left = _groups(head, text, not gap)
    right = _groups(tail, text, True)
    missing = 8 - len(left) - len(right)
    if missing < 1 if gap else missing != 0:
        raise ValueError("not an IPv6 address: " + text)
    return struct.pack(">8H", *(left + [0] * missing + right))


def _groups(part, text, is_end):
    """The 16-bit numbers of a part between double colons."""
    groups = []
    words = part.split(":") if part else []
    for index in range(len(words)):
        word = words[index]
        if "." in word and is_end and index == len(words) - 1:
            groups += _parse_dotted(word, text)
        elif 1 <= len(word) <= 4 and all([digit in _HEX for digit in word]):
            groups.append(int(word, 16))
        else:
            raise ValueError("not an IPv6 address: " + text)
    return groups


def _parse_dotted(word, text):
    octets = word.split(".")
    for octet in octets:
        # No leading zeros: "010" is eight for some and ten for others.
        if not 1 <= len(octet) <= 3 or not octet.isdigit() or int(octet) > 255 or (octet[0] == "0" and octet != "0"):
            raise ValueError("not an IPv6 address: " + text)
    if len(octets) != 4:
        raise ValueError("not an IPv6 address: " + text)
    return [int(octets[0]) << 8 | int(octets[1]), int(octets[2]) << 8 | int(octets[3])]


def format_address(ip):
    """The canonical text (RFC 5952) of 16 octets: "2001:db8::1"; dotted at its end when it stands for IPv4."""
    if ip[:12] == _MAPPED:
        return "::ffff:%d.%d.%d.%d" % (ip[12], ip[13], ip[14], ip[15])
    groups = struct.unpack(">8H", ip)
    best = best_len = 0
    at = 0
    while at < 8:
        end = at
        while end < 8 and not groups[end]:
            end += 1
        if end - at > best_len:
            best, best_len = at, end - at
        at = end + 1
    words = ["%x" % group for group in groups]
    if best_len < 2:
        return ":".join(words)
    return ":".join(words[:best]) + "::" + ":".join(words[best + best_len :])


def parse_cidr(text):
    """(address, prefix length) from "2001:db8::2/64". ValueError when it is not that."""
    address, slash, prefix = text.partition("/")
    if not slash or not 1 <= len(prefix) <= 3 or not prefix.isdigit() or int(prefix) > 128:
        raise ValueError("not an IPv6 address with a prefix length: " + text)
    return (parse_address(address), int(prefix))


def is_multicast(ip):
    return ip[0] == 0xFF


def is_link_local(ip):
    """fe80::/10."""
    return ip[0] == 0xFE and ip[1] & 0xC0 == 0x80


def is_unicast(ip):
    """False for what is never one host's address on a link: multicast, "::", "::1", and IPv4 in either disguise."""
    return ip[0] != 0xFF and any(ip[:12]) and ip[:12] != _MAPPED


def scope(ip):
    """How far an address reaches (RFC 4291 section 2.7, RFC 6724 section 3.1)."""
    if ip[0] == 0xFF:
        return ip[1] & 15
    if ip[0] == 0xFE and ip[1] & 0x80:
        return SCOPE_SITE if ip[1] & 0x40 else SCOPE_LINK
    return SCOPE_LINK if ip == LOOPBACK else SCOPE_GLOBAL


def solicited_node(ip):
    """The group at which the owner of a unicast address is asked for (RFC 4291 section 2.7.1)."""
    return _SOLICITED_NODE + ip[13:]


def multicast_mac(ip):
    """The Ethernet address of a group (RFC 2464 section 7)."""
    return b"\x33\x33" + ip[12:]


def common_prefix_len(a, b):
    """Leading bits that two addresses have in common."""
    for index in range(16):
        differing = a[index] ^ b[index]
        if differing:
            bits = 8 * index
            while not differing & 0x80:
                differing <<= 1
                bits += 1
            return bits
    return 128


def network(ip, prefix_len):
    """The address with all but its first `prefix_len` bits zero."""
    shift = 128 - prefix_len
    return (int.from_bytes(ip, "big") >> shift << shift).to_bytes(16, "big")
