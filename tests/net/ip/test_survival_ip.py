# SPDX-License-Identifier: MIT
"""What must be survived below TCP and beside it, over IPv4 and IPv6: fragments, ICMP, UDP, short frames."""

import struct

import pytest

from libos.hal import dma
from libos.net.ip import reassembly
from libos.net.tcp import engine
from libos.wire import icmp, ipv4, ipv6
from tests.net.peer import checksummed
from tests.net.survival import FAMILIES, Siege, assert_it_shows
from tests.net.world import pattern

UDP = 17
# (type, code) of ICMP errors, by family.
UNREACHABLE_PORT = {4: (3, 3), 6: (1, 4)}
TOO_BIG = {4: (3, 4), 6: (2, 0)}
ERRORS = {
    4: [(3, 0), (3, 1), (3, 2), (3, 3), (3, 4), (11, 0), (12, 0), (4, 0)],
    6: [(1, 0), (1, 1), (1, 3), (1, 4), (2, 0), (3, 0), (4, 0), (4, 1)],
}
NEVER_BELOW = {4: 576 - 40, 6: 1280 - 60}  # of what "too big" makes of a segment's data


def datagram(siege, data, src_port=5, dst_port=53, src_ip=None, length=None, check=None):
    """A UDP datagram, a packet's payload."""
    body = struct.pack(">HHHH", src_port, dst_port, 8 + len(data) if length is None else length, 0) + data
    body = checksummed(body, UDP, src_ip or siege.ip, siege.host_ip)
    return body if check is None else body[:6] + check.to_bytes(2, "big") + body[8:]


def piece(siege, body, offset, end, ident, has_more=None, protocol=UDP, src_ip=None):
    """A frame with body[offset:end] of a fragmented payload. has_more: by default, whether that is not its end."""
    more = end < len(body) if has_more is None else has_more
    part = body[offset:end]
    if siege.family == 4:
        return siege.packet(part, protocol, src_ip, fragment=more << 13 | offset >> 3, ident=ident & 0xFFFF)
    header = bytearray(8)
    ipv6.emit_fragment(header, 0, protocol, offset, more, ident)
    return siege.packet(bytes(header) + part, ipv6.FRAGMENT, src_ip)


def pieces(siege, body, size=1208, ident=77, **options):
    return [piece(siege, body, at, min(at + size, len(body)), ident, **options) for at in range(0, len(body), size)]


class Listening(Siege):
    """A siege of a host that also receives datagrams, on port 53; large ones are `got`."""

    def __enter__(self):
        self.got = []
        self.host.udp.listen(53, lambda data, ip, port: self.got.append(data) if len(data) > 100 else None)
        return super().__enter__()

    def whole(self, ident=60_000):
        """Fragments of an honest datagram are put together, whatever came before."""
        before = len(self.got)
        data = pattern(3000, ident)
        self.inject(*pieces(self, datagram(self, data), ident=ident))
        assert self.got[before:] == [data]
        del self.got[before:]


# --- fragments ---


@FAMILIES
def test_tiny_fragments(family):
    with Listening("ip.ReasmFails", family) as siege:
        for turn in range(30):
            siege.inject(*pieces(siege, datagram(siege, pattern(200)), size=8, ident=turn))
        siege.talk()
        siege.whole()
        assert not siege.got


@FAMILIES
@pytest.mark.parametrize("shift", [-8, 8, 400], ids=["before", "after", "far"])
def test_overlapping_fragments(family, shift):
    """RFC 5722: nothing of the datagram is delivered, not even when all of it comes again."""
    with Listening("ip.ReasmOverlaps", family) as siege:
        body = datagram(siege, pattern(3000))
        for ident in range(50):
            first, second, last = pieces(siege, body, ident=ident)
            at = 1208 + shift
            siege.inject(first, piece(siege, body, at, at + 1208 - abs(shift) - shift % 8, ident), second, last)
            siege.inject(first, second, last)
        siege.talk()
        siege.whole()
        assert not siege.got


@FAMILIES
def test_fragments_that_contradict_each_other(family):
    """Two ends; other octets in the same place; an end before what came."""
    with Listening("ip.ReasmOverlaps", family) as siege:
        body, other = datagram(siege, pattern(3000)), datagram(siege, pattern(3000, 2))
        for ident in range(20):
            first, second, last = pieces(siege, body, ident=ident)
            siege.inject(last, piece(siege, body, 2416, 2600, ident, has_more=False), first, second)
            siege.inject(second, pieces(siege, other, ident=ident + 100)[1], pieces(siege, body, ident=ident + 100)[1])
            siege.inject(last, piece(siege, body, 1208, 1400, ident + 200, has_more=False), first, second)
        siege.whole()
        assert not siege.got


@FAMILIES
def test_endless_fragments(family):
    """Fragments of many datagrams without their rest, and of one that never ends."""
    with Listening("ip.ReasmFails", family) as siege:
        body = datagram(siege, bytes(60_000))
        for ident in range(300):
            src_ip = siege.stranger(ident % 50)
            siege.inject(piece(siege, body, 1208 * (ident & 1), 1208 * (ident & 1) + 1208, ident, src_ip=src_ip))
        assert siege.tables()["reassembling"] <= 64
        siege.talk()
        for at in range(0, 60_000, 256):
            siege.inject(piece(siege, body, at, at + 256, 5000, has_more=True))
        siege.whole()
        assert not siege.got


@FAMILIES
def test_fragments_beyond_the_largest_packet(family):
    with Listening("ip.ReasmFails", family) as siege:
        body = bytes(70_000)
        for ident in range(50):
            siege.inject(
                piece(siege, body, 0, 1208, ident),
                piece(siege, body, 65_528, 65_528 + 1208, ident, has_more=False),
                piece(siege, body, 65_520, 65_520 + 1203, ident, has_more=True),
            )
        siege.whole()


@FAMILIES
def test_segments_in_fragments(family):
    """A reset and data in the name of the friend, cut so that nobody on the way sees what they are."""
    with Siege("ip.ReasmOKs", family) as siege:
        for number in range(20):
            body = siege.forge(4, 5000 + number, data=b"evil" * 20)[siege.at :]
            siege.inject(*[
                piece(siege, body, at, min(at + 48, len(body)), number, protocol=6, src_ip=siege.friend_ip)
                for at in range(0, len(body), 48)
            ])  # fmt: skip
        assert siege.victim.error is None


# --- extension headers, of IPv6 alone ---


def behind(siege, headers, body, protocol=6, src_ip=None):
    """A frame with the payload behind extension headers: [(their number, their octets from the second on)]."""
    chain = b""
    numbers = [number for number, _ in headers] + [protocol]
    for index, (_, octets) in enumerate(headers):
        chain += bytes([numbers[index + 1]]) + octets
    return siege.packet(chain + body, numbers[0], src_ip)


HOP_BY_HOP, ROUTING, DESTINATION = 0, 43, 60
PADDED = b"\x00\x01\x04\0\0\0\0"  # one PadN

CHAINS = {
    "more than a host looks at": [(DESTINATION, PADDED)] * 9,
    "more than one packet has": [(DESTINATION, PADDED)] * 170,
    "longer than a host looks at": [(DESTINATION, bytes([127]) + bytes(1022))],
    "longer than the packet": [(DESTINATION, b"\xff" + bytes(6))],
    "hop-by-hop options not at the beginning": [(DESTINATION, PADDED), (HOP_BY_HOP, PADDED)],
    "hop-by-hop options twice": [(HOP_BY_HOP, PADDED), (HOP_BY_HOP, PADDED)],
    "a source route": [(ROUTING, b"\x02\x00\x01\0\0\0\0" + bytes(16))],
    "an option to be told of": [(HOP_BY_HOP, b"\x00\x85\x04\0\0\0\0")],
    "an option to be dropped for": [(DESTINATION, b"\x00\x45\x04\0\0\0\0")],
    "an option past the end": [(DESTINATION, b"\x00\x05\x05\0\0\0\0")],
    "an option without a length": [(DESTINATION, b"\x00\x01\x03\0\0\0\x05")],
    "more options than anybody has": [(DESTINATION, b"\x02" + b"\x05\x00" * 11)],
}


@pytest.mark.parametrize("name", CHAINS)
def test_extension_headers(name):
    """Before a reset with the right number, in the name of the friend: what is refused is not looked through."""
    with Siege("ipv6.InHdrErrors", 6) as siege:
        reset = siege.forge(4)[siege.at :]
        for _ in range(50):
            siege.inject(behind(siege, CHAINS[name], reset, src_ip=siege.friend_ip))
        assert siege.victim.error is None


def test_extension_headers_cut_off():
    with Siege("ipv6.InHdrErrors", 6) as siege:
        whole = behind(siege, [(HOP_BY_HOP, PADDED), (ROUTING, bytes(7)), (DESTINATION, PADDED)], siege.forge(16)[54:])
        for length in range(24):
            siege.inject(siege.cut(whole, length))
        for number in (HOP_BY_HOP, ROUTING, ipv6.FRAGMENT, DESTINATION):
            for length in range(8):
                siege.inject(
                    siege.packet(bytes([6]) + bytes(length)[1:], number) if length else siege.packet(b"", number)
                )


def test_first_fragments_that_hide_what_they_are():
    """RFC 7112: the headers are in the second fragment."""
    with Siege("ipv6.InHdrErrors", 6) as siege:
        reset = siege.forge(4)[siege.at :]
        body = behind(siege, [(DESTINATION, b"\x0b" + bytes(94))], reset)[siege.at :]
        for ident in range(50):
            siege.inject(*pieces(siege, body, size=64, ident=ident, protocol=DESTINATION, src_ip=siege.friend_ip))
        assert siege.victim.error is None


def test_fragments_of_fragments():
    with Siege("ipv6.InHdrErrors", 6) as siege:
        reset = siege.forge(4)[siege.at :]
        header = bytearray(8)
        ipv6.emit_fragment(header, 0, 6, 0, False, 1)
        body = bytes(header) + reset + bytes(100)
        for ident in range(50):
            siege.inject(*pieces(siege, body, size=64, ident=ident, protocol=ipv6.FRAGMENT, src_ip=siege.friend_ip))
        assert siege.victim.error is None


# --- UDP ---


@FAMILIES
def test_flood_of_datagrams(family):
    """To a port that is open, one that is not (answered, but not each), and from a hundred strangers."""
    with Listening("icmp.OutRateLimited", family, heap_slack=64 << 10) as siege:
        for turn in range(10):
            packets = []
            for number in range(50):
                src_ip = siege.stranger(siege.rng.randrange(100))
                port = siege.rng.choice([53, 54, 7])
                packets.append(siege.packet(datagram(siege, b"x" * number, number, port, src_ip), UDP, src_ip))
            siege.inject(*packets)
            siege.world.run(for_ms=5)
            if turn % 5 == 0:
                siege.talk()
        siege.whole()


@FAMILIES
def test_datagrams_that_contradict_their_packet(family):
    with Listening("udp.InErrors", family) as siege:
        whole = siege.packet(datagram(siege, b"x" * 200), UDP)
        for length in range(8):
            siege.inject(siege.cut(whole, length))
        for length in (0, 1, 7, 209, 1480, 65_535):
            siege.inject(siege.packet(datagram(siege, b"x" * 200, length=length), UDP))
        for check in (1, 0x1234, 0xFFFF):
            siege.inject(siege.packet(datagram(siege, b"x" * 200, check=check), UDP))
        assert not siege.got


@FAMILIES
def test_padding_is_nobodys_data(family):
    with Listening("udp.InDatagrams", family) as siege:
        short = siege.packet(datagram(siege, b"short"), UDP)
        siege.inject(short + b"padding that is not ours" * 6)
        siege.inject(siege.claim(short, 13) + b"secret" * 30)
        siege.inject(siege.packet(b"", UDP) + b"secret" * 30)
        assert not siege.got


# --- packets ---


@FAMILIES
def test_packets_cut_short_and_of_another_version(family):
    with Siege("ip.InHdrErrors", family) as siege:
        whole = siege.forge(4, 5000)
        for length in range(14, siege.at):
            siege.inject(whole[:length] if length == 14 else whole[:length] + bytes(3))
        for version in range(16):
            packet = bytearray(whole)
            packet[14] = version << 4 | packet[14] & 15
            if version != family:
                siege.inject(packet)
        siege.talk()


@FAMILIES
def test_packets_of_unknown_protocols(family):
    with Siege("ip.InUnknownProtos", family) as siege:
        for protocol in range(256):
            if protocol not in (0, 1, 2, 6, 17, 43, 44, 58, 59, 60):
                siege.inject(siege.packet(siege.rng.randbytes(40), protocol, siege.stranger(protocol % 50)))


# --- ICMP ---


def quoting(siege, kind, code, rest, seq, length=8):
    """An ICMP error about a segment of the healthy connection."""
    conn = siege.victim
    quoted = bytearray(siege.at - 14)
    if siege.family == 6:
        ipv6.emit(quoted, 0, 1460, 6, 64, siege.host_ip, siege.friend_ip)
    else:
        ipv4.emit(quoted, 0, 1500, 1, 0x4000, 64, 6, siege.host_ip, siege.friend_ip)
    quoted += struct.pack(">HHI", conn.local_port, conn.remote_port, seq)[:length]
    body = bytearray(8)
    icmp.emit(body, 0, kind, code, rest)
    return siege.control(bytes(body + quoted))


def outstanding(siege):
    """The healthy connection has something in the network that nobody gets."""
    siege.world.is_silent = True
    siege.host.accepted[0].send(pattern(20_000))
    siege.world.settle()


def goes_on(siege):
    siege.world.is_silent = False
    assert siege.victim.error is None
    siege.world.run(until=lambda: len(siege.healthy.received) >= 6000 + 20_000)
    siege.world.run(for_ms=1000)


@FAMILIES
def test_forged_icmp_with_wrong_numbers(family):
    with Siege("OutOfWindowIcmps", family) as siege:
        mss = siege.victim.mss
        outstanding(siege)
        for _ in range(200):
            kind, code = siege.rng.choice(ERRORS[family])
            rest = siege.rng.choice([0, 68, 500, 1280, 1400])
            siege.inject(quoting(siege, kind, code, rest, siege.rng.getrandbits(32)))
        assert siege.victim.mss == mss
        assert siege.tables()["paths"] == 0
        goes_on(siege)


@FAMILIES
def test_forged_icmp_with_right_numbers_ends_nothing_and_takes_no_more_than_the_segment_size(family):
    with Siege("icmp.InDestUnreachs", family) as siege:
        outstanding(siege)
        seq = siege.victim.snd_una & 0xFFFFFFFF
        for kind, code in ERRORS[family]:
            for rest in (0, 1, 68, 576, 1279, 1280) if (kind, code) == TOO_BIG[family] else (0,):
                siege.inject(quoting(siege, kind, code, rest, seq))
        assert siege.victim.mss >= NEVER_BELOW[family] - 12
        goes_on(siege)


@FAMILIES
def test_icmp_cut_short(family):
    with Siege("icmp.InErrors", family) as siege:
        kind, code = UNREACHABLE_PORT[family]
        for length in range(8):
            siege.inject(quoting(siege, kind, code, 0, siege.victim.snd_una & 0xFFFFFFFF, length=length))
        whole = quoting(siege, kind, code, 0, 0)
        for length in range(len(whole) - siege.at):
            siege.inject(siege.cut(whole, length))


@FAMILIES
def test_icmp_with_a_bad_checksum(family):
    with Siege("icmp.InCsumErrors", family) as siege:
        kind, code = UNREACHABLE_PORT[family]
        for bit in range(16):
            packet = bytearray(quoting(siege, kind, code, 0, siege.victim.snd_una & 0xFFFFFFFF))
            packet[siege.at + 2 + bit // 8] ^= 1 << bit % 8
            siege.inject(packet)


@FAMILIES
def test_icmp_of_every_type_and_code(family):
    with Siege("icmp.InOthers", family) as siege:
        for kind in range(256):
            # Those of Neighbour Discovery and MLD have counters and attacks of their own.
            if family == 4 or (kind not in range(130, 138) and kind != 143):
                siege.inject(siege.control(struct.pack(">BBHI", kind, siege.rng.randrange(256), 0, 0) + bytes(60)))
        siege.talk()


@FAMILIES
def test_flood_of_echo_requests(family):
    with Siege("icmp.InEchos", family, heap_slack=64 << 10) as siege:
        kind = 8 if family == 4 else 128
        for turn in range(10):
            packets = []
            for number in range(50):
                body = struct.pack(">BBHI", kind, 0, 0, number) + bytes(number)
                packets.append(siege.control(body, siege.stranger(siege.rng.randrange(100))))
            siege.inject(*packets)
            siege.world.run(for_ms=5)
            if turn % 5 == 0:
                siege.talk()


# --- the attacks again, with the defence taken away: what is above can fail ---


WITHOUT = {
    "an overlap costs its fragment only": (
        lambda: test_overlapping_fragments(6, -8),
        lambda patch: patch.setattr(reassembly.Reassembly, "_refuse", lambda self, datagram: None),
    ),
    "fragments of any size": (
        lambda: test_tiny_fragments(6),
        lambda patch: patch.setattr(reassembly, "MIN_FRAGMENT_BYTES", 1),
    ),
    "no limit on datagrams": (
        lambda: test_endless_fragments(6),
        lambda patch: patch.setattr(reassembly, "MAX_DATAGRAMS", 1 << 30),
    ),
    "any number will do": (
        lambda: test_forged_icmp_with_wrong_numbers(6),
        lambda patch: patch.setattr(engine, "unwrap", lambda seq, una: una),
    ),
    "a path may be as narrow as a router says": (
        lambda: test_forged_icmp_with_right_numbers_ends_nothing_and_takes_no_more_than_the_segment_size(6),
        lambda patch: patch.setattr("libos.wire.ipv6.MIN_MTU", 68),
    ),
    "no checksums": (
        lambda: test_icmp_with_a_bad_checksum(6),
        lambda patch: patch.setattr(dma, "_checksum", lambda *args: 0xFFFF),
    ),
}


@pytest.mark.parametrize("name", WITHOUT)
def test_without_the_defence_it_shows(monkeypatch, name):
    assert_it_shows(monkeypatch, *WITHOUT[name])
