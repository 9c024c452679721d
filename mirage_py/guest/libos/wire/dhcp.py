# SPDX-License-Identifier: MIT
"""DHCP messages and options (RFC 2131, 2132, 3396, 3442): bytes <-> values. No I/O.

A message is a datagram from or to port 67. Addresses are 32-bit numbers, an option's value is a bytes object.
"""

import struct

CLIENT_PORT = 68
SERVER_PORT = 67

REQUEST = 1  # op
REPLY = 2
BROADCAST = 0x8000  # flags: answer to 255.255.255.255

# Message types, option 53.
DISCOVER = 1
OFFER = 2
REQUEST_LEASE = 3
DECLINE = 4
ACK = 5
NAK = 6
RELEASE = 7

OPTION_MASK = 1
OPTION_ROUTER = 3
OPTION_DNS = 6
OPTION_HOST_NAME = 12
OPTION_MTU = 26
OPTION_REQUESTED_ADDRESS = 50
OPTION_LEASE_TIME = 51
OPTION_OVERLOAD = 52
OPTION_TYPE = 53
OPTION_SERVER = 54
OPTION_PARAMETERS = 55
OPTION_MESSAGE = 56
OPTION_MAX_SIZE = 57
OPTION_T1 = 58
OPTION_T2 = 59
OPTION_CLIENT_ID = 61
OPTION_ROUTES = 121  # RFC 3442
OPTION_MS_ROUTES = 249  # the same, of servers that know only its number before it had one

INFINITE_S = 0xFFFFFFFF  # a lease that never ends

# Longer than any answer to a client that says what it takes (option 57); it bounds the work of reading one.
MAX_BYTES = 1500
_FIXED_BYTES = 240  # all before the options, the cookie included
_MIN_BYTES = 300  # RFC 1542 section 2.1: a BOOTP relay may drop what is shorter
_COOKIE = b"\x63\x82\x53\x63"
_FORMAT = ">BBBBIHHIIII6s"
_SNAME_AT = 44
_FILE_AT = 108
_FILE_END = 236
_PAD = 0
_END = 255


class Message:
    """A parsed message. options: code -> octets, split ones joined (RFC 3396)."""

    def __init__(self, op, xid, ciaddr, yiaddr, chaddr, options):
        self.op = op
        self.xid = xid
        self.ciaddr = ciaddr
        self.yiaddr = yiaddr
        self.chaddr = chaddr
        self.options = options

    def number(self, code, size):
        """The value of an option that is a number of `size` (1, 2 or 4) octets; None when it is not that."""
        value = self.options.get(code)
        if value is None or len(value) != size:
            return None
        return int.from_bytes(value, "big")

    def routes(self):
        """The classless routes, in order: [(prefix length, network, router)], router 0 for a network on this link.

        None where there are none; ValueError when they are damaged. Bits of a network beyond its prefix are 0.
        """
        value = self.options.get(OPTION_ROUTES) or self.options.get(OPTION_MS_ROUTES)
        if not value:
            return None
        found = []
        at = 0
        while at < len(value):
            prefix_len = value[at]
            network_end = at + 1 + ((prefix_len + 7) >> 3)  # only the octets that count are there
            end = network_end + 4
            if prefix_len > 32 or end > len(value):
                raise ValueError
            network = int.from_bytes(value[at + 1 : network_end] + bytes(4), "big") >> 8 * (network_end - at - 1)
            network &= 0xFFFFFFFF << (32 - prefix_len) & 0xFFFFFFFF
            found.append((prefix_len, network, int.from_bytes(value[network_end:end], "big")))
            at = end
        return found

    def text(self, code):
        """An option that is text, as far as a console may show it: at most 64 printable ASCII characters."""
        value = self.options.get(code, b"")[:64]
        return "".join([chr(octet) for octet in value if 32 <= octet < 127])

    def addresses(self, code, limit):
        """The first `limit` addresses of an option that lists some; none when it is not there, or is no list."""
        value = self.options.get(code, b"")
        if len(value) % 4:
            return []
        count = min(len(value) // 4, limit)
        return list(struct.unpack(">%dI" % count, value[: 4 * count]))


def parse(buf, start, length):
    """The Message at `start`; None when it is short, long, not for Ethernet, or its options contradict themselves."""
    if not _FIXED_BYTES <= length <= MAX_BYTES:
        return None
    op, htype, hlen, _hops, xid, _secs, _flags, ciaddr, yiaddr, _siaddr, _giaddr, chaddr = struct.unpack_from(
        _FORMAT, buf, start
    )
    if op != REQUEST and op != REPLY:
        return None
    if htype != 1 or hlen != 6 or bytes(buf[start + _FILE_END : start + _FIXED_BYTES]) != _COOKIE:
        return None
    options = {}
    if not _collect(buf, start + _FIXED_BYTES, start + length, options):
        return None
    overload = options.get(OPTION_OVERLOAD)
    if overload is not None:
        if len(overload) != 1 or not 1 <= overload[0] <= 3:
            return None
        # RFC 3396 section 5: the options field, then file, then sname.
        if overload[0] & 1 and not _collect(buf, start + _FILE_AT, start + _FILE_END, options):
            return None
        if overload[0] & 2 and not _collect(buf, start + _SNAME_AT, start + _FILE_AT, options):
            return None
    return Message(op, xid, ciaddr, yiaddr, chaddr, options)


def _collect(buf, at, end, options):
    """Adds the options of one field. False when one goes beyond its end."""
    while at < end:
        code = buf[at]
        at += 1
        if code == _PAD:
            continue
        if code == _END:
            return True
        if at == end or at + 1 + buf[at] > end:
            return False
        value = bytes(buf[at + 1 : at + 1 + buf[at]])
        at += 1 + buf[at]
        options[code] = options[code] + value if code in options else value
    return True


def emit(op, xid, secs, flags, ciaddr, yiaddr, chaddr, options):
    """The octets of a message. options: (code, octets) in order; a value longer than 255 is split (RFC 3396)."""
    parts = []
    for code, value in options:
        at = 0
        while True:
            part = value[at : at + 255]
            parts.append(bytes((code, len(part))) + part)
            at += 255
            if at >= len(value):
                break
    parts.append(bytes((_END,)))
    tail = b"".join(parts)
    head = struct.pack(_FORMAT, op, 1, 6, 0, xid, secs, flags, ciaddr, yiaddr, 0, 0, chaddr)
    data = head + bytes(_FILE_END - len(head)) + _COOKIE + tail
    return data + bytes(max(_MIN_BYTES - len(data), 0))
