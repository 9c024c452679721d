# SPDX-License-Identifier: MIT
"""DNS messages (RFC 1035, 3596, 6891): bytes <-> values. No I/O.

A name is a bytes object: its labels as on the wire, uncompressed, in lower case, with the root's zero at the end. An
address of either family is the octets of its record: 4 or 16.
"""

import struct

PORT = 53
HEADER_BYTES = 12
# RFC 6891 and the DNS flag day of 2020: fits an IPv6 packet of 1280 octets, so that answers need no fragments.
UDP_BYTES = 1232
MAX_NAME_BYTES = 255  # RFC 1035 section 2.3.4
MAX_LABEL_BYTES = 63
# Records of a message that are looked at; resolvers answer one question with few.
MAX_RECORDS = 100

A = 1
CNAME = 5
SOA = 6
PTR = 12
AAAA = 28
OPT = 41

NO_ERROR = 0
FORMAT_ERROR = 1
SERVER_FAILURE = 2
NO_SUCH_NAME = 3

_CLASS_IN = 1
_RESPONSE = 0x8000
_OPCODE_MASK = 0x7800
_TRUNCATED = 0x0200
_RECURSION_DESIRED = 0x0100
_RCODE_MASK = 15
_POINTER = 0xC0


def encode_name(text):
    """b"\\x03www\\x07example\\x00" from "www.example" or "www.example.". ValueError when it cannot be a name."""
    parts = []
    labels = (text[:-1] if text.endswith(".") else text).lower().split(".")
    for label in labels:
        octets = label.encode()
        if not 1 <= len(octets) <= MAX_LABEL_BYTES or len(octets) != len(label):
            raise ValueError("not a host name: %r" % text)
        for octet in octets:
            if not (0x61 <= octet <= 0x7A or 0x30 <= octet <= 0x39 or octet == 0x2D or octet == 0x5F):
                raise ValueError("not a host name: %r" % text)
        parts.append(bytes((len(octets),)) + octets)
    name = b"".join(parts) + b"\0"
    if len(name) > MAX_NAME_BYTES:
        raise ValueError("not a host name: longer than 253 characters")
    return name


def decode_name(name):
    """The text of a name, "www.example"; octets that no host name has as '?'."""
    labels = []
    at = 0
    while name[at]:
        label = name[at + 1 : at + 1 + name[at]]
        labels.append("".join([chr(octet) if 0x21 <= octet < 0x7F else "?" for octet in label]))
        at += 1 + name[at]
    return ".".join(labels)


def reverse_name(address):
    """The name under which PTR records of an address are (RFC 1035 section 3.5, RFC 3596 section 2.5)."""
    if len(address) == 4:
        return encode_name(".".join(["%d" % octet for octet in reversed(address)]) + ".in-addr.arpa")
    nibbles = ["%x.%x" % (octet & 15, octet >> 4) for octet in reversed(address)]
    return encode_name(".".join(nibbles) + ".ip6.arpa")


def emit_query(ident, name, kind, is_extended=True):
    """The octets of a question that wants recursion.

    is_extended: with EDNS0, which says that answers may have UDP_BYTES. Older servers call that a format error.
    """
    header = struct.pack(">HHHHHH", ident, _RECURSION_DESIRED, 1, 0, 0, 1 if is_extended else 0)
    opt = struct.pack(">BHHIH", 0, OPT, UDP_BYTES, 0, 0) if is_extended else b""
    return header + name + struct.pack(">HH", kind, _CLASS_IN) + opt


class Response:
    """A parsed answer.

    ident, code (RCODE), is_truncated; name, kind: the question it repeats. answers: (owner, type, ttl_s, value) of the
    A, AAAA, CNAME and PTR records, the value an address or a name. negative_ttl_s: how long the absence of what was
    asked for holds (RFC 2308 section 5), None without an SOA record; negative_zone: its owner.
    """

    def __init__(self, ident, code, is_truncated, name, kind):
        self.ident = ident
        self.code = code
        self.is_truncated = is_truncated
        self.name = name
        self.kind = kind
        self.answers = []
        self.negative_ttl_s = None
        self.negative_zone = None


def parse(buf, start, length):
    """The Response at `start`, or None when it is none to one question, or damaged.

    Of a truncated one the records are not read: TCP will bring them whole.
    """
    if length < HEADER_BYTES:
        return None
    ident, flags, questions, answers, authorities, _additional = struct.unpack_from(">HHHHHH", buf, start)
    if not flags & _RESPONSE or flags & _OPCODE_MASK or questions != 1:
        return None
    message = memoryview(buf)[start : start + length]
    name, at = _read_name(message, HEADER_BYTES)
    if name is None or at + 4 > length:
        return None
    kind, klass = struct.unpack_from(">HH", message, at)
    if klass != _CLASS_IN:
        return None
    response = Response(ident, flags & _RCODE_MASK, flags & _TRUNCATED != 0, name, kind)
    if response.is_truncated:
        return response
    at += 4
    for number in range(min(answers + authorities, MAX_RECORDS)):
        at = _read_record(message, at, response, number < answers)
        if at is None:
            return None
    return response


def _read_record(message, at, response, is_answer):
    """Adds the record at `at`; returns where the next one begins, None when it is damaged."""
    owner, at = _read_name(message, at)
    if owner is None or at + 10 > len(message):
        return None
    kind, klass, ttl_s, size = struct.unpack_from(">HHIH", message, at)
    at += 10
    end = at + size
    if end > len(message):
        return None
    if ttl_s >> 31:
        ttl_s = 0  # RFC 2181 section 8
    if klass != _CLASS_IN:
        return end
    if is_answer:
        if kind == A or kind == AAAA:
            if size != (4 if kind == A else 16):
                return None
            response.answers.append((owner, kind, ttl_s, bytes(message[at:end])))
        elif kind == CNAME or kind == PTR:
            target, after = _read_name(message, at)
            if target is None or after != end:
                return None
            response.answers.append((owner, kind, ttl_s, target))
    elif kind == SOA:
        _, at = _read_name(message, at)
        if at is not None:
            _, at = _read_name(message, at)
        if at is None or at + 20 != end:
            return None
        response.negative_ttl_s = min(ttl_s, struct.unpack_from(">I", message, at + 16)[0])
        response.negative_zone = owner
    return end


def _read_name(message, at):
    """(name, where what follows begins), or (None, None) when it is damaged or longer than a name may be.

    Each pointer must lead to before the place that the last one led to (RFC 1035 section 4.1.4: to a *prior*
    occurrence), so that there is an end.
    """
    parts = []
    size = 1
    limit = at
    after = None
    end = len(message)
    while True:
        if at >= end:
            return (None, None)
        count = message[at]
        if count & _POINTER == _POINTER:
            if at + 2 > end:
                return (None, None)
            target = (count & 0x3F) << 8 | message[at + 1]
            if after is None:
                after = at + 2
            if target >= limit or target < HEADER_BYTES:
                return (None, None)
            at = limit = target
            continue
        if count & _POINTER:
            return (None, None)  # RFC 2671's extended labels never came to be
        if not count:
            parts.append(b"\0")
            return (b"".join(parts), at + 1 if after is None else after)
        size += count + 1
        if size > MAX_NAME_BYTES or at + 1 + count > end:
            return (None, None)
        # A length octet is below 'A', so lower() leaves it alone.
        parts.append(bytes(message[at : at + 1 + count]).lower())
        at += 1 + count
