# SPDX-License-Identifier: MIT
"""Every codec on whole, truncated and damaged messages. CPython and MicroPython must print the same.

A line for each codec: its name, how many messages it took and how many it refused, and a sum over all that it returned.
"""

from hashlib import sha256

from libos.wire import arp, checksum, dhcp, dns, ethernet, icmp, icmp6, igmp, ipv4, ipv6, pcap, tcp, udp

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


def dhcp_options():
    return [(53, b"\5"), (1, b"\xff\xff\xff\0"), (3, bytes(8)), (6, bytes(12)), (51, b"\0\0\0\x14"), (43, b"x" * 300)]


def dns_answers():
    """Answers: an alias with a pointer, addresses of both kinds, an SOA record; one that is cut short."""
    name = dns.encode_name("www.example.com")
    question = dns.emit_query(0x1234, name, 1, False)
    header = b"\x12\x34\x81\x80\0\1\0\3\0\1\0\0"
    alias = b"\xc0\x0c\0\5\0\1\0\0\0\x3c\0\6\3ftp\xc0\x10"
    at = len(question) + 12
    target = bytes([0xC0 | at >> 8, at & 255])
    records = alias + target + b"\0\1\0\1\0\0\0\5\0\4\n\0\0\1" + target + b"\0\x1c\0\1\0\0\0\5\0\x10" + bytes(16)
    soa = b"\xc0\x10\0\6\0\1\0\0\1\0\0\x18\xc0\x0c\xc0\x0c" + bytes(16) + b"\0\0\0\7"
    return [header + question[12:] + records + soa, header[:2] + b"\x83\x80" + header[4:] + question[12:]]


def ipv6_packet(number):
    """The fixed header and a fragment header, options or a router alert."""
    header = emitted(40, ipv6.emit, 24, number, 64, bytes(15) + b"\1", b"\xfd" + bytes(15))
    if number == 44:
        return header + emitted(8, ipv6.emit_fragment, 6, 1448, True, 0xDEADBEEF) + bytes(16)
    if number == 0:
        return header + emitted(8, ipv6.emit_router_alert, 58) + bytes(16)
    return header + b"\x3a\1\1\4\0\0\0\0\xc2\4\0\0\0\0\0\0" + bytes(8)


def parse_ipv6(buf, start, length):
    """The header, and what follows it in each way that it may be read."""
    header = ipv6.parse(buf, start, length)
    if header is None:
        return None
    rest = bytes(buf[start + 40 : start + length])
    said = [header, ipv6.format_address(header[3]), ipv6.format_address(header[4]), ipv6.scope(header[4])]
    said.append(ipv6.parse_fragment(rest, 0, len(rest)))
    if len(rest) >= 16:
        said.append(ipv6.check_options(rest[:16]))
    return said


def icmp6_messages():
    target = b"\xfd" + bytes(14) + b"\2"
    prefix = b"\3\4\x40\xc0\0\0\1\0\0\0\0\x80\0\0\0\0" + target
    servers = b"\x19\3\0\0\0\0\0\x3c" + target
    mtu = b"\5\1\0\0\0\0\5\xdc"
    router = emitted(8, icmp6.emit, 134, 0, 0x40C00708) + bytes(8)
    query = emitted(8, icmp6.emit, 130, 0, 0x90010000)
    return [
        emitted(8, icmp6.emit, 128, 0, 0x12345678) + b"data",
        emitted(32, icmp6.emit_neighbour, 135, 0, target, 1, MAC),
        emitted(24, icmp6.emit_neighbour, 136, 0x60000000, target),
        router + prefix + servers + mtu + emitted(8, icmp6.emit_mac, 1, MAC),
        query + target,
        query + target + b"\x0a\x7d\0\1" + target,
        emitted(48, icmp6.emit_report, [(4, target), (3, target)]),
        emitted(24, icmp6.emit_mld1, 131, target),
    ]


def parse_icmp6(buf, start, length):
    """A message by its type, as net.ndp, net.routers and net.mld read it."""
    header = icmp6.parse(buf, start, length)
    if header is None:
        return None
    message = bytes(buf[start : start + length])
    said = [header, icmp6.is_error(header[0])]
    if header[0] == 134:
        said.append(icmp6.parse_router(message))
    if header[0] in (130, 131):
        said.append(icmp6.parse_query(message))
    options = icmp6.parse_options(message, 16 if header[0] == 134 else 24)
    said.append(options)
    for kind, value in options or []:
        said.append((kind, icmp6.parse_prefix(value), icmp6.parse_mtu(value), icmp6.parse_dns_servers(value)))
    return said


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
        "dhcp": (dhcp.parse, [dhcp.emit(2, 0x1234567, 3, 0x8000, IP, OTHER_IP, MAC, dhcp_options())]),
        "dns": (dns.parse, dns_answers()),
        "ethernet": (ethernet.parse, [emitted(14, ethernet.emit, OTHER_MAC, MAC, 0x0800)]),
        "icmp": (icmp.parse, [emitted(8, icmp.emit, kind, 0, 0x12345678) for kind in (0, 3, 8, 11)]),
        "icmp6": (parse_icmp6, icmp6_messages()),
        "igmp": (igmp.parse, [emitted(8, igmp.emit, 0x16, 0xEF010203)]),
        "ipv6": (parse_ipv6, [ipv6_packet(number) for number in (0, 6, 44, 60)]),
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
        if tried(parse, message, 0) == "None":
            print("a whole message is refused by", name)
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
    print("codec pcap", plain(pcap.emit_header()), plain(pcap.emit_record(b"frame", 5, 1234567891234567)))


main()
