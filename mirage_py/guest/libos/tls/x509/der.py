# SPDX-License-Identifier: MIT
"""Reading DER (ITU-T X.690 section 10), strictly: one encoding for each value, and nothing after it."""

from micropython import const

BOOLEAN = const(0x01)
INTEGER = const(0x02)
BIT_STRING = const(0x03)
OCTET_STRING = const(0x04)
NULL = const(0x05)
OID = const(0x06)
SEQUENCE = const(0x30)
SET = const(0x31)

_BAD_CERTIFICATE = const(42)


class CertificateError(ValueError):
    """A certificate or a chain that is not accepted. alert: TLS's number for it; reason: for people, one line."""

    def __init__(self, alert, reason):
        super().__init__(reason)
        self.alert = alert
        self.reason = reason


def malformed(what):
    """The error for octets that are no DER, or not what they should be."""
    return CertificateError(_BAD_CERTIFICATE, "malformed: " + what)


class Reader:
    """The elements of data[at:end], one after the other. data: bytes or a memoryview.

    All methods raise CertificateError for what is not DER.
    """

    def __init__(self, data, at=0, end=None):
        self.data = data
        self.at = at
        self.end = len(data) if end is None else end

    def peek(self):
        """The next element's tag; -1 at the end."""
        return self.data[self.at] if self.at < self.end else -1

    def skip(self, tag=None):
        """Passes an element, of that tag unless None; returns where its content begins. `at` is where it ends then."""
        data = self.data
        at = self.at + 2
        if at > self.end:
            raise malformed("an element is missing")
        found = data[at - 2]
        if found != tag and tag is not None:
            raise malformed("tag 0x%02x where 0x%02x is due" % (found, tag))
        if found & 31 == 31:
            raise malformed("a tag of several octets")
        length = data[at - 1]
        if length > 127:
            count = length - 128
            if not 1 <= count <= 3:
                raise malformed("a length of %d octets" % count)
            if at + count > self.end:
                raise malformed("an element is cut off")
            length = 0
            for octet in data[at : at + count]:
                length = length << 8 | octet
            if length < 128 or length >> 8 * (count - 1) == 0:
                raise malformed("a length that is longer than it needs to be")
            at += count
        if at + length > self.end:
            raise malformed("an element is cut off")
        self.at = at + length
        return at

    def enter(self, tag):
        """A reader of an element's content."""
        start = self.skip(tag)
        return Reader(self.data, start, self.at)

    def take(self, tag):
        """The content of an element, as bytes."""
        start = self.skip(tag)
        return bytes(self.data[start : self.at])

    def whole(self, tag=None):
        """An element with its header, as bytes."""
        start = self.at
        self.skip(tag)
        return bytes(self.data[start : self.at])

    def integer(self):
        """The content of an INTEGER: big-endian, two's complement, as bytes."""
        content = self.take(INTEGER)
        if not content or (len(content) > 1 and (content[0], content[1] >> 7) in ((0, 0), (255, 1))):
            raise malformed("an INTEGER that is not the shortest")
        return content

    def unsigned(self):
        """The octets of a positive INTEGER or zero, without a leading zero."""
        content = self.integer()
        if content[0] > 127:
            raise malformed("a negative INTEGER")
        return content[1:] if content[0] == 0 and len(content) > 1 else content

    def small(self):
        """The value of an INTEGER from 0 to 32767."""
        content = self.unsigned()
        if len(content) > 2 or (len(content) == 2 and content[0] > 127):
            raise malformed("an INTEGER that is too large")
        return int.from_bytes(content, "big")

    def boolean(self):
        """The value of a BOOLEAN that is DEFAULT FALSE and may be missing.

        An explicit FALSE is no DER, and issuers in use write it: it is taken.
        """
        if self.peek() != BOOLEAN:
            return False
        content = self.take(BOOLEAN)
        if content != b"\xff" and content != b"\0":
            raise malformed("a BOOLEAN that is neither TRUE nor FALSE")
        return content == b"\xff"

    def octets(self, tag=BIT_STRING):
        """The content of a BIT STRING of whole octets, as bytes."""
        content = self.take(tag)
        if not content or content[0]:
            raise malformed("a BIT STRING that is not whole octets")
        return content[1:]

    def bits(self):
        """The named bits of a BIT STRING, as a number: bit n of the number is bit n of the string (X.690 11.2).

        Zeros at the end are no DER, and authorities in use write them: they are taken.
        """
        content = self.take(BIT_STRING)
        if not 2 <= len(content) <= 3 or content[0] > 7:
            raise malformed("a BIT STRING of no known bits")
        if content[-1] & (1 << content[0]) - 1:
            raise malformed("a BIT STRING whose unused bits are set")
        value = 0
        for position in range(8 * (len(content) - 1)):
            if content[1 + position // 8] & 128 >> position % 8:
                value |= 1 << position
        return value

    def finish(self):
        """There must be nothing more."""
        if self.at != self.end:
            raise malformed("octets after the end")


def oid_text(content):
    """ "2.5.29.17" of an OBJECT IDENTIFIER's content, for messages. What is no such thing is shown in hexadecimal."""
    if not 1 <= len(content) <= 32 or content[-1] > 127:
        return content.hex() or ""  # MicroPython: b"".hex() is bytes
    numbers = []
    value = 0
    for octet in content:
        value = value << 7 | octet & 127
        if octet < 128:
            if not numbers:
                first = min(value // 40, 2)
                numbers.append(first)
                value -= 40 * first
            numbers.append(value)
            value = 0
    return ".".join([str(number) for number in numbers])
