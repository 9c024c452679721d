# SPDX-License-Identifier: MIT
"""ICMPv6 (RFC 4443), Neighbour Discovery (RFC 4861, RFC 8106), MLD (RFC 2710, RFC 3810): bytes <-> values. No I/O."""

import struct

HEADER_BYTES = 8
DESTINATION_UNREACHABLE = 1
PACKET_TOO_BIG = 2
TIME_EXCEEDED = 3
PARAMETER_PROBLEM = 4
ECHO_REQUEST = 128
ECHO_REPLY = 129
MLD_QUERY = 130
MLD1_REPORT = 131
MLD1_DONE = 132
ROUTER_SOLICITATION = 133
ROUTER_ADVERTISEMENT = 134
NEIGHBOUR_SOLICITATION = 135
NEIGHBOUR_ADVERTISEMENT = 136
REDIRECT = 137
MLD2_REPORT = 143

# Codes of DESTINATION_UNREACHABLE, TIME_EXCEEDED and PARAMETER_PROBLEM.
NO_ROUTE = 0
ADDRESS_UNREACHABLE = 3
PORT_UNREACHABLE = 4
REASSEMBLY_TIME = 1
ERRONEOUS_FIELD = 0
UNKNOWN_NEXT_HEADER = 1
UNKNOWN_OPTION = 2
INCOMPLETE_HEADERS = 3  # RFC 7112

# Options of Neighbour Discovery.
SOURCE_MAC = 1
TARGET_MAC = 2
PREFIX_INFORMATION = 3
MTU = 5
DNS_SERVERS = 25
MAX_OPTIONS = 64

# Flags of a neighbour advertisement.
ROUTER = 0x80000000
SOLICITED = 0x40000000
OVERRIDE = 0x20000000

# Flags of a prefix.
ON_LINK = 0x80
AUTONOMOUS = 0x40

NEIGHBOUR_BYTES = 24  # of a solicitation or an advertisement without options
MAC_OPTION_BYTES = 8
ROUTER_BYTES = 16  # of a router advertisement without options
SOLICIT_ROUTER_BYTES = 8

# Records of an MLDv2 report, and their size without sources.
MODE_IS_EXCLUDE = 2
CHANGE_TO_INCLUDE = 3
CHANGE_TO_EXCLUDE = 4
RECORD_BYTES = 20
MLD1_BYTES = 24
MLD2_QUERY_BYTES = 28


def parse(buf, start, length):
    """(type, code, rest) of the message at `start`, or None when it is shorter than 8 octets.

    rest: the second 32-bit word: identifier and sequence number of an echo, the MTU of "packet too big", flags of a
    neighbour advertisement. The checksum is the caller's to verify.
    """
    if length < HEADER_BYTES:
        return None
    return struct.unpack_from(">BBxxI", buf, start)


def emit(buf, start, kind, code, rest):
    """Writes the 8 octets of a header at `start`, the checksum zero; it covers a pseudo-header and what follows."""
    struct.pack_into(">BBHI", buf, start, kind, code, 0, rest)


def is_error(kind):
    """True for the messages about a packet, which must never be answered with another error."""
    return kind < 128


def parse_options(message, at):
    """The options of a Neighbour Discovery message from offset `at`: a list of (type, octets after type and length).

    None when one has the length 0 or ends beyond the message (RFC 4861 section 4.6: the message is to be dropped), or
    there are more than MAX_OPTIONS.
    """
    options = []
    end = len(message)
    while at < end:
        if at + 8 > end or not message[at + 1] or at + 8 * message[at + 1] > end or len(options) == MAX_OPTIONS:
            return None
        following = at + 8 * message[at + 1]
        options.append((message[at], message[at + 2 : following]))
        at = following
    return options


def find_mac(options, kind):
    """The 6 octets of the first option SOURCE_MAC or TARGET_MAC, or None when there is none that a host can have."""
    for option, value in options:
        if option == kind:
            mac = bytes(value)
            return mac if len(mac) == 6 and not mac[0] & 1 and any(mac) else None
    return None


def emit_neighbour(buf, start, kind, flags, target_ip, mac_option=0, mac=None):
    """Writes a neighbour solicitation or advertisement, checksum zero. mac: for an option mac_option, or None."""
    struct.pack_into(">BBHI16s", buf, start, kind, 0, 0, flags, target_ip)
    if mac is not None:
        emit_mac(buf, start + NEIGHBOUR_BYTES, mac_option, mac)


def emit_mac(buf, start, option, mac):
    """Writes an option SOURCE_MAC or TARGET_MAC of 8 octets."""
    struct.pack_into(">BB6s", buf, start, option, 1, mac)


def parse_router(message):
    """(hop_limit, flags, lifetime_s, reachable_ms, retrans_ms) of a router advertisement; None when it is short."""
    if len(message) < ROUTER_BYTES:
        return None
    return struct.unpack_from(">4xBBHII", message, 0)


def parse_prefix(value):
    """(prefix_len, flags, valid_s, preferred_s, prefix) of PREFIX_INFORMATION, or None when it contradicts itself."""
    if len(value) != 30:
        return None
    prefix_len, flags, valid_s, preferred_s, prefix = struct.unpack_from(">BBII4x16s", value, 0)
    if prefix_len > 128 or preferred_s > valid_s:
        return None
    return (prefix_len, flags, valid_s, preferred_s, prefix)


def parse_mtu(value):
    """The number of octets in an option MTU, or None when it has another size."""
    return struct.unpack_from(">2xI", value, 0)[0] if len(value) == 6 else None


def parse_dns_servers(value):
    """(lifetime_s, [address, …]) of an option DNS_SERVERS (RFC 8106 section 5.1), or None when it is none."""
    if len(value) < 22 or (len(value) - 6) % 16:
        return None
    lifetime_s = struct.unpack_from(">2xI", value, 0)[0]
    return (lifetime_s, [bytes(value[at : at + 16]) for at in range(6, len(value), 16)])


def parse_query(message):
    """(version, delay_ms, group, robustness, sources) of a multicast listener query, or None when it is none.

    version: 1 or 2. delay_ms: within which to answer. group: "::" for all. sources: how many it asks for.
    """
    size = len(message)
    if size < MLD1_BYTES or MLD1_BYTES < size < MLD2_QUERY_BYTES:
        return None
    code, group = struct.unpack_from(">4xH2x16s", message, 0)
    if size == MLD1_BYTES:
        return (1, code, group, 0, 0)
    robustness, sources = struct.unpack_from(">BxH", message, 24)
    if MLD2_QUERY_BYTES + 16 * sources > size:
        return None
    if code >= 0x8000:  # RFC 3810 section 5.1.3: a number with an exponent
        code = (code & 0xFFF | 0x1000) << (code >> 12 & 7) + 3
    return (2, code, group, robustness & 7, sources)


def emit_report(buf, start, records):
    """Writes an MLDv2 report, checksum zero. records: (type, group) each; a record names no sources."""
    struct.pack_into(">BBHHH", buf, start, MLD2_REPORT, 0, 0, 0, len(records))
    at = start + HEADER_BYTES
    for kind, group in records:
        struct.pack_into(">BBH16s", buf, at, kind, 0, 0, group)
        at += RECORD_BYTES


def emit_mld1(buf, start, kind, group):
    """Writes an MLDv1 report or "done", checksum zero."""
    struct.pack_into(">BBHHH16s", buf, start, kind, 0, 0, 0, 0, group)
