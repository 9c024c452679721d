# SPDX-License-Identifier: MIT
"""Every codec on whole, truncated and damaged messages. CPython and MicroPython must print the same.

A line for each codec: its name, how many messages it took and how many it refused, and a sum over all that it returned.
"""

from hashlib import sha256

from libos.wire import arp, checksum, ethernet, icmp, ipv4, tcp, udp

MUTATIONS = 400
FILLER = 0xA5
MAC, OTHER_MAC = b"\x02\x00\x5e\x10\x00\x01", b"\x02\x00\x5e\x10\x00\x02"
IP, OTHER_IP = 0x0A000001, 0x0A0000FE


class Random:
    """The same on both interpreters."""

    def __init__(self, seed):
        self._state = seed

    def below(self, limit):
        self._state = (self._state * 1103515245 + 12345) & 0x7FFFFFFF
        return (self._state >> 8) % limit


def plain(value):
    """A value as text that both interpreters write alike: objects by their attributes in order, views as octets."""
    if value is None or isinstance(value, (bool, int, str)):
        return repr(value)
    if isinstance(value, (bytes, bytearray, memoryview)):
        return "".join(["%02x" % octet for octet in bytes(value)])
    if isinstance(value, dict):
        return "{" + ",".join(sorted([plain(key) + ":" + plain(value[key]) for key in value])) + "}"
    if isinstance(value, (list, tuple)):
        return "(" + ",".join([plain(item) for item in value]) + ")"
    return "<" + ",".join([name + "=" + plain(value.__dict__[name]) for name in sorted(value.__dict__)]) + ">"


def emitted(count, emit, *arguments):
    """A message, written into a buffer with something around it, which stays as it was."""
    buf = bytearray(bytes([FILLER]) * (count + 16))
    emit(buf, 8, *arguments)
    if buf[:8] != bytes([FILLER]) * 8 or buf[8 + count :] != bytes([FILLER]) * 8:
        print("written beyond", count)
    return bytes(buf[8 : 8 + count])


def samples():
    """name -> (parser, whole messages)."""
    fields = (4096, 80, 0x89ABCDEF, 0xFEDCBA98, 0x18, 65535)
    tcp_options = [
        b"",
        tcp.syn_options(1460),
        tcp.syn_options(536, 14, True, 0xFFFFFFFF, 7),
        tcp.timestamps_option(1, 0xFFFFFFFF) + tcp.sack_option([(1, 2), (0xFFFFFFF0, 5)]),
        tcp.sack_option([(1, 2), (3, 4), (5, 6), (7, 8)]),
    ]
    header = emitted(20, ipv4.emit, 60, 0xBEEF, 0x4000, 64, 6, IP, OTHER_IP)
    return {
        "arp": (arp.parse, [emitted(28, arp.emit, 1, MAC, IP, bytes(6), OTHER_IP)]),
        "ethernet": (ethernet.parse, [emitted(14, ethernet.emit, OTHER_MAC, MAC, 0x0800)]),
        "icmp": (icmp.parse, [emitted(8, icmp.emit, kind, 0, 0x12345678) for kind in (0, 3, 8, 11)]),
        "ipv4": (
            ipv4.parse,
            [
                bytes([0x45 + len(options) // 4]) + header[1:] + options + bytes(40)
                for options in (b"", b"\x94\x04\0\0", b"\1" * 40)
            ],
        ),
        "tcp": (
            tcp.parse,
            [emitted(20 + len(options), tcp.emit, *(fields + (options,))) + b"data" for options in tcp_options],
        ),
        "udp": (udp.parse, [emitted(8, udp.emit, 53, 40000, 12, 0xFFFF) + b"data"]),
    }


def tried(parse, message, start):
    """What a parser makes of a message somewhere in a buffer; the error's name where it raises one."""
    buf = bytearray(bytes([FILLER]) * start + bytes(message) + bytes([FILLER]) * 3)
    try:
        return plain(parse(memoryview(buf), start, len(message)))
    except Exception as error:
        return type(error).__name__


def run(name, parse, messages):
    random = Random(len(name))
    total = sha256()
    taken = refused = 0
    for message in messages:
        variants = [message[:count] for count in range(len(message) + 1)]
        for _ in range(MUTATIONS):
            damaged = bytearray(message)
            for _ in range(1 + random.below(4)):
                damaged[random.below(len(damaged))] = random.below(256)
            variants.append(damaged)
        for variant in variants:
            said = tried(parse, variant, random.below(20))
            if said == "None":
                refused += 1
            else:
                taken += 1
            total.update(said.encode())
        total.update(message)
    print("codec", name, taken, refused, plain(total.digest()))


def sums():
    """Checksums of everything up to a few hundred octets, at even and odd places."""
    random = Random(1)
    data = bytes([random.below(256) for _ in range(600)])
    total = sha256()
    for length in range(300):
        for start in (0, 1, 7):
            total.update(b"%d," % checksum.checksum(data, start, length, length))
    print("codec checksum", plain(total.digest()))


def texts():
    """Addresses as text, right and wrong ones."""
    total = sha256()
    for text in (
        "10.0.0.1",
        "255.255.255.255",
        "1.2.3",
        "1.2.3.4.5",
        "256.1.1.1",
        "01.2.3.4",
        "",
        "a.b.c.d",
        "1.2.3.4/8",
    ):
        for parse in (ipv4.parse_address, ipv4.parse_cidr):
            try:
                said = plain(parse(text))
            except ValueError:
                said = "ValueError"
            total.update(said.encode())
    print("codec texts", plain(total.digest()))


def main():
    for name, (parse, messages) in sorted(samples().items()):
        run(name, parse, messages)
    sums()
    texts()


main()
