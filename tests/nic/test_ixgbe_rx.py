# SPDX-License-Identifier: MIT
"""Reception of the model: filters, queues, checksums, buffers, coalescing, and what faulty cards write."""

import random
import zlib

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import IPv6, IPv6ExtHdrDestOpt, IPv6ExtHdrFragment
from scapy.layers.l2 import ARP, Dot1Q, Ether
from scapy.packet import Packet as ScapyPacket
from scapy.packet import Raw, raw

from mirage_py.nic.frame import Frame
from mirage_py.nic.ixgbe import registers as r
from mirage_py.nic.ixgbe.filters import toeplitz_tables
from mirage_py.nic.ixgbe.rx import ERROR_IPE, ERROR_L4E, STATUS_IPCS, STATUS_L4I, STATUS_PIF, STATUS_UDPCS, STATUS_VP
from tests.nic.host import BASE, MAC, PEER, RING, RX_RING, Host

OTHER = bytes.fromhex("02aabbccdd99")
CHECKED = STATUS_IPCS | STATUS_L4I


@pytest.fixture
def host() -> Host:
    host = Host()
    host.start()
    return host


def packet(*layers: ScapyPacket, payload: bytes = b"x" * 100, dst: bytes = MAC) -> bytes:
    frame = Ether(src=PEER, dst=dst)
    for layer in layers:
        frame = frame / layer
    return raw(frame / Raw(payload))


UDP_PACKET = packet(IP(src="10.0.0.1", dst="10.0.0.2"), UDP(sport=1, dport=2))


def test_frame_is_stored_and_reported(host: Host) -> None:
    host.arrive(UDP_PACKET)
    ((data, low, high),) = host.received()
    assert data == UDP_PACKET
    assert low >> 4 & 0x1FFF == 0x210, "IPv4, UDP"
    assert high & (CHECKED | STATUS_UDPCS) == CHECKED | STATUS_UDPCS
    assert host.sink.messages == [0]
    assert host[r.RDH] == 1


@pytest.mark.parametrize(
    ("layers", "kind", "status"),
    [
        ((IP(), TCP()), 0x110, CHECKED),
        ((IP(), UDP()), 0x210, CHECKED | STATUS_UDPCS),
        ((IP(), UDP(chksum=0)), 0x210, STATUS_IPCS),
        ((IP(), ICMP()), 0x010, STATUS_IPCS),
        ((IP(frag=3), UDP()), 0x010, STATUS_IPCS),
        ((IP(flags="MF"), UDP()), 0x010, STATUS_IPCS),
        ((IP(options=b"\x01\x01\x01\x01"), TCP()), 0x130, CHECKED),
        ((IPv6(), TCP()), 0x140, STATUS_L4I),
        ((IPv6(), UDP()), 0x240, STATUS_L4I | STATUS_UDPCS),
        ((IPv6(), IPv6ExtHdrDestOpt(), TCP()), 0x1C0, STATUS_L4I),
        ((IPv6(), IPv6ExtHdrFragment(offset=1), UDP()), 0x0C0, 0),
        ((ARP(),), 0, 0),
    ],
)
def test_kind_and_checksum_status(host: Host, layers: tuple[ScapyPacket, ...], kind: int, status: int) -> None:
    host.arrive(packet(*layers))
    ((_, low, high),) = host.received()
    assert low >> 4 & 0x1FFF == kind
    assert high & (STATUS_IPCS | STATUS_L4I | STATUS_UDPCS) == status
    assert not high & (ERROR_IPE | ERROR_L4E)


@pytest.mark.parametrize("seed", range(20))
def test_any_flipped_bit_under_a_checksum_is_noticed(host: Host, seed: int) -> None:
    rng = random.Random(seed)
    layers = rng.choice([(IP(), TCP()), (IP(), UDP()), (IPv6(), TCP()), (IPv6(), UDP())])
    good = packet(*layers, payload=rng.randbytes(rng.randrange(1, 200)))
    for _ in range(50):
        bad = bytearray(good)
        position = rng.randrange(14, len(good))
        bad[position] ^= 1 << rng.randrange(8)
        if isinstance(layers[0], IPv6) and position < 54 and not position >= 22:
            continue  # version, class, lengths, hop limit: no checksum covers them
        host.arrive(bytes(bad))
        ((_, low, high),) = host.received()
        wrong = high & (ERROR_IPE | ERROR_L4E)
        known = high & (STATUS_IPCS | STATUS_L4I)
        assert wrong or not known & STATUS_L4I or not low >> 4, f"octet {position}"


def test_malformed_headers_are_stored_without_claims(host: Host) -> None:
    rng = random.Random(5)
    for base in (
        UDP_PACKET,
        packet(IP(), TCP()),
        packet(IPv6(), IPv6ExtHdrDestOpt(), TCP()),
        packet(Dot1Q(vlan=2), IP(), TCP()),
    ):
        for end in range(14, len(base)):
            host.arrive(base[:end])
            assert host.received()[0][0] == base[:end].ljust(60, b"\0")
        for _ in range(300):
            broken = bytearray(base)
            for _ in range(rng.randrange(1, 6)):
                broken[rng.randrange(12, 60)] = rng.randrange(256)
            host.arrive(bytes(broken))
            assert host.received()[0][0] == broken


def test_large_frame_spans_descriptors(host: Host) -> None:
    host[r.MAXFRS] = 9018 << 16
    host[r.HLREG0] = host[r.HLREG0] | r.HLREG0_JUMBOEN
    data = packet(IP(), UDP(), payload=bytes(range(256)) * 34)
    for _ in range(3 * RING // 5):
        host.arrive(data)
        ((got, _, _),) = host.received()
        assert got == data


def test_oversized_frame_is_counted_and_dropped(host: Host) -> None:
    host.arrive(packet(payload=bytes(1501)), packet(payload=bytes(1500)), packet(Dot1Q(vlan=1), payload=bytes(1500)))
    assert len(host.received()) == 2
    assert host[r.ROC] == 1


def test_check_sequence_is_kept_when_not_stripped(host: Host) -> None:
    host[r.HLREG0] = host[r.HLREG0] & ~r.HLREG0_RXCRCSTRP
    host[r.RDRXCTL] = 0
    host.arrive(UDP_PACKET)
    assert host.received()[0][0] == UDP_PACKET + zlib.crc32(UDP_PACKET).to_bytes(4, "little")


def test_legacy_descriptors_keep_the_buffer_address(host: Host) -> None:
    host[r.SRRCTL] = 2
    host.arrive(packet(IP(chksum=1), TCP()))
    low, high = (int.from_bytes(host.get(RX_RING + offset, 8), "little") for offset in (0, 8))
    assert low == host.buffer(0)
    assert high >> 40 & 0x80, "IP checksum error"
    assert high >> 32 & 3 == 3


def test_full_ring_holds_frames_back_until_it_is_refilled(host: Host) -> None:
    frames = [packet(payload=bytes([n]) * 50) for n in range(100)]
    host.arrive(*frames)
    first = host.received(refill=False)
    assert len(first) == RING - 1
    assert host.nic.wants_frames, "a cable delivers whether there is room or not"
    for index in range(RING - 1):
        host.refill(index)
    host[r.RDT] = RING - 2
    rest = host.received()
    assert [data for data, _, _ in first + rest] == [one.ljust(60, b"\0") for one in frames]
    assert host[r.MPC] == 0


def test_full_ring_drops_when_it_is_told_to(host: Host) -> None:
    host[r.SRRCTL] = host[r.SRRCTL] | r.SRRCTL_DROP_EN
    host.arrive(*[UDP_PACKET] * 70)
    assert len(host.received(refill=False)) == RING - 1
    assert host[r.QPRDC] == 7


def test_nothing_is_stored_before_enable_or_after_disable(host: Host) -> None:
    host[r.RXCTRL] = 0
    host.arrive(UDP_PACKET)
    host[r.RXCTRL] = r.RXCTRL_RXEN
    host[r.RXDCTL] = 0
    host.arrive(UDP_PACKET)
    assert host.received() == []


# Filters.


def plain(host: Host) -> None:
    host[r.FCTRL] = 0


def test_unicast_needs_a_receive_address(host: Host) -> None:
    plain(host)
    host.arrive(packet(dst=OTHER), packet(dst=MAC))
    assert len(host.received()) == 1
    host[r.RAL + 8], host[r.RAH + 8] = (
        int.from_bytes(OTHER[:4], "little"),
        int.from_bytes(OTHER[4:], "little") | r.RAH_AV,
    )
    host.arrive(packet(dst=OTHER))
    assert len(host.received()) == 1
    host[r.RAH + 8] = 0
    host.arrive(packet(dst=OTHER))
    assert host.received() == []
    host[r.FCTRL] = r.FCTRL_UPE
    host.arrive(packet(dst=OTHER))
    assert len(host.received()) == 1


def test_broadcast_and_multicast_need_their_switches(host: Host) -> None:
    plain(host)
    broadcast, multicast = b"\xff" * 6, bytes.fromhex("01005e0000fb")
    host.arrive(packet(dst=broadcast), packet(dst=multicast))
    assert host.received() == []
    host[r.FCTRL] = r.FCTRL_BAM
    host.arrive(packet(dst=broadcast), packet(dst=multicast))
    assert len(host.received()) == 1
    host[r.FCTRL] = r.FCTRL_MPE
    host.arrive(packet(dst=multicast))
    assert len(host.received()) == 1
    assert (host[r.BPRC], host[r.MPRC]) == (1, 1)


@pytest.mark.parametrize(("offset", "shift"), [(0, 4), (1, 3), (2, 2), (3, 0)])
def test_multicast_table_is_indexed_as_told(host: Host, offset: int, shift: int) -> None:
    plain(host)
    address = bytes.fromhex("01005e12345a")
    bits = (address[4] | address[5] << 8) >> shift & 0xFFF
    host[r.MTA + 4 * (bits >> 5)] = 1 << (bits & 31)
    host[r.MCSTCTRL] = offset
    host.arrive(packet(dst=address))
    assert host.received() == [], "the table is off"
    host[r.MCSTCTRL] = offset | r.MCSTCTRL_MFE
    host.arrive(packet(dst=address), packet(dst=bytes.fromhex("01005e12745b")))
    ((_, _, high),) = host.received()
    assert high & STATUS_PIF


def test_unicast_table(host: Host) -> None:
    plain(host)
    bits = (OTHER[4] | OTHER[5] << 8) >> 4 & 0xFFF
    host[r.UTA + 4 * (bits >> 5)] = 1 << (bits & 31)
    host.arrive(packet(dst=OTHER))
    assert host.received()[0][2] & STATUS_PIF


def test_vlan_filter_and_stripping(host: Host) -> None:
    tagged = packet(Dot1Q(vlan=100, prio=3), IP(), UDP())
    host.arrive(tagged)
    ((data, _, high),) = host.received()
    assert data == tagged
    assert not high & STATUS_VP
    host[r.RXDCTL] = r.RXDCTL_ENABLE | r.RXDCTL_VME
    host.arrive(tagged)
    ((data, _, high),) = host.received()
    assert data == tagged[:12] + tagged[16:]
    assert high & STATUS_VP
    assert high >> 48 == 3 << 13 | 100
    host[r.VLNCTRL] = r.VLNCTRL_VFE | 0x8100
    host.arrive(tagged, UDP_PACKET)
    assert len(host.received()) == 1
    host[r.VFTA + 4 * 3] = 1 << 4
    host.arrive(tagged)
    assert len(host.received()) == 1


# Queues.


def second_queue(host: Host, number: int) -> int:
    """Enables another receive queue with a ring of its own; returns the ring's address."""
    ring = BASE + 0x8000
    base = r.QUEUE_STRIDE * number
    host[r.RDBAL + base], host[r.RDLEN + base] = ring, RING * 16
    host[r.SRRCTL + base] = 2 | 1 << 25
    host[r.RXDCTL + base] = r.RXDCTL_ENABLE
    for index in range(RING):
        host.put(ring + 16 * index, (BASE + 0x300000 + 2048 * index).to_bytes(16, "little"))
    host[r.RDT + base] = RING - 1
    return ring


# Microsoft's verification suite for RSS, as the datasheet repeats it (7.1.2.8.3).
RSS_KEY = bytes.fromhex("6d5a56da255b0ec24167253d43a38fb0d0ca2bcbae7b30b477cb2da38030f20c6a42b73bbeac01fa")
RSS_CASES = [
    ("66.9.149.187", "161.142.100.80", 2794, 1766, 0x323E8FC2, 0x51CCC178),
    ("199.92.111.2", "65.69.140.83", 14230, 4739, 0xD718262A, 0xC626B0EA),
    ("24.19.198.95", "12.22.207.184", 12898, 38024, 0xD2D0A5DE, 0x5C2B394A),
    ("38.27.205.30", "209.142.163.6", 48228, 2217, 0x82989176, 0xAFC7327F),
]


@pytest.mark.parametrize(("src", "dst", "sport", "dport", "ip_hash", "tcp_hash"), RSS_CASES)
def test_rss_hash_of_the_verification_suite(
    host: Host, src: str, dst: str, sport: int, dport: int, ip_hash: int, tcp_hash: int
) -> None:
    for index in range(10):
        host[r.RSSRK + 4 * index] = int.from_bytes(RSS_KEY[4 * index : 4 * index + 4], "little")
    for mode, kind, expected in ((1 << 16, 1, tcp_hash), (1 << 17, 2, ip_hash)):
        host[r.MRQC] = 1 | mode
        host.arrive(packet(IP(src=src, dst=dst), TCP(sport=sport, dport=dport)))
        ((_, low, _),) = host.received()
        assert (low & 0xF, low >> 32) == (kind, expected)


def test_rss_spreads_by_the_indirection_table(host: Host) -> None:
    src, dst, sport, dport, _, value = RSS_CASES[0]
    for index in range(10):
        host[r.RSSRK + 4 * index] = int.from_bytes(RSS_KEY[4 * index : 4 * index + 4], "little")
    host[r.MRQC] = 1 | 1 << 16
    entry = value & 127
    host[r.RETA + 4 * (entry >> 2)] = 3 << 8 * (entry & 3)
    ring = second_queue(host, 3)
    host.arrive(packet(IP(src=src, dst=dst), TCP(sport=sport, dport=dport)))
    assert host.received() == []
    assert host.get(ring + 8, 1)[0] & 1


def test_toeplitz_tables_are_the_bitwise_definition() -> None:
    data = random.Random(1).randbytes(36)
    key = int.from_bytes(RSS_KEY, "big")
    expected = 0
    for bit in range(len(data) * 8):
        if data[bit // 8] >> (7 - bit % 8) & 1:
            expected ^= key >> (320 - 32 - bit) & 0xFFFF_FFFF
    got = 0
    for table, octet in zip(toeplitz_tables(RSS_KEY, 36), data, strict=True):
        got ^= table[octet]
    assert got == expected


def test_ethertype_syn_and_five_tuple_filters_name_a_queue(host: Host) -> None:
    ring = second_queue(host, 5)

    def arrives_there(data: bytes) -> bool:
        before = host[r.RDH + 5 * r.QUEUE_STRIDE]
        host.arrive(data)
        host.received()
        return host[r.RDH + 5 * r.QUEUE_STRIDE] != before

    syn = packet(IP(src="1.2.3.4", dst="5.6.7.8"), TCP(sport=10, dport=20, flags="S"))
    assert not arrives_there(syn)
    host[r.SYNQF] = 1 | 5 << 1
    assert arrives_there(syn)
    assert not arrives_there(packet(IP(src="1.2.3.4", dst="5.6.7.8"), TCP(sport=10, dport=20, flags="A")))
    host[r.SYNQF] = 0
    host[r.ETQF] = 1 << 31 | 0x0806
    host[r.ETQS] = 1 << 31 | 5 << 16
    assert arrives_there(packet(ARP()))
    host[r.ETQF] = 0
    assert not arrives_there(packet(ARP()))
    host[r.SAQF] = int.from_bytes(bytes([1, 2, 3, 4]), "little")
    host[r.DAQF] = int.from_bytes(bytes([5, 6, 7, 8]), "little")
    host[r.SDPQF] = int.from_bytes((10).to_bytes(2, "big") + (20).to_bytes(2, "big"), "little")
    host[r.L34TIMIR] = 5 << 21
    host[r.FTQF] = 1 << 31 | 3 << 2
    assert arrives_there(syn)
    assert not arrives_there(packet(IP(src="1.2.3.4", dst="5.6.7.8"), TCP(sport=10, dport=21)))
    assert not arrives_there(packet(IP(src="1.2.3.4", dst="5.6.7.8"), UDP(sport=10, dport=20)))
    assert ring


# Large segments and coalescing.


V4 = IP(src="10.0.0.1", dst="10.0.0.2")
V6 = IPv6(src="fd00::1", dst="fd00::2")


def stream(count: int, mss: int = 1000, ip: ScapyPacket = V4) -> tuple[list[bytes], bytes]:
    payload = random.Random(count).randbytes(count * mss)
    options = [("NOP", None), ("NOP", None), ("Timestamp", (7, 8))]
    frames = []
    for n in range(count):
        layer = ip.copy()
        if isinstance(layer, IP):
            layer.id = n
        tcp = TCP(sport=1, dport=2, seq=100 + n * mss, ack=50 + n, flags="A", window=500 + n, options=options)
        frames.append(packet(layer, tcp, payload=payload[n * mss : (n + 1) * mss]))
    return frames, payload


def coalescing(host: Host, descriptors: int = 3) -> None:
    host[r.RSCCTL] = r.RSCCTL_RSCEN | descriptors << 2


def large_segment(payload: bytes, mss: int, ip: ScapyPacket = V4) -> Frame:
    """What a TAP with offloads delivers."""
    l4 = 34 if isinstance(ip, IP) else 54
    data = packet(ip, TCP(sport=1, dport=2, seq=100, flags="A"), payload=payload)
    frame = Frame([data], len(data))
    frame.gso_size, frame.gso_type, frame.hdr_len = mss, 1 if isinstance(ip, IP) else 4, l4 + 20
    frame.csum_start, frame.csum_offset = l4, 16
    return frame


@pytest.mark.parametrize("ip", [V4, V6], ids=["v4", "v6"])
def test_segments_in_order_become_one_packet(host: Host, ip: ScapyPacket) -> None:
    coalescing(host)
    frames, payload = stream(10, ip=ip)
    host.arrive(*frames)
    rsc_counts = [host.get(RX_RING + 16 * n, 4) for n in range(6)]
    ((data, low, high),) = host.received()
    got = Ether(data)[1]
    assert bytes(got[TCP].payload) == payload
    assert (got[TCP].ack, got[TCP].window, got[TCP].seq) == (59, 509, 100)
    if isinstance(ip, IP):
        again = got.copy()
        del again.chksum
        assert raw(again) == raw(got)
        assert got.len == len(data) - 14
        assert high & CHECKED == CHECKED
    else:
        assert got.plen == len(data) - 54
        assert high & CHECKED == CHECKED & ~STATUS_IPCS
    assert sum((int.from_bytes(word, "little") >> 17 & 0xF) - 1 for word in rsc_counts[:5]) == 10
    assert low >> 17 & 0xF


def test_pieces_name_the_next_descriptor(host: Host) -> None:
    coalescing(host)
    frames, _ = stream(10)
    host.arrive(*frames)
    for index in range(4):
        word = int.from_bytes(host.get(RX_RING + 16 * index + 8, 4), "little")
        assert word & 3 == 1
        assert word >> 4 & 0xFFFF == index + 1


@pytest.mark.parametrize("reason", ["gap", "flags", "other flow", "push"])
def test_coalescing_ends_where_it_must(host: Host, reason: str) -> None:
    coalescing(host)
    frames, _ = stream(6)
    third = Ether(frames[3])
    if reason == "gap":
        third[TCP].seq += 1
    elif reason == "flags":
        third[TCP].flags = "AU"
    elif reason == "push":
        third[TCP].flags = "AP"
    elif reason == "other flow":
        third[TCP].sport = 9
    del third[TCP].chksum
    frames[3] = raw(third)
    host.arrive(*frames)
    lengths = [len(data) - 66 for data, _, _ in host.received()]
    assert (
        lengths
        == {
            "gap": [3000, 1000, 2000],
            "flags": [3000, 1000, 2000],
            "other flow": [3000, 1000, 2000],
            "push": [4000, 2000],
        }[reason]
    )
    assert sum(lengths) == 6000


def test_damaged_segment_is_not_coalesced(host: Host) -> None:
    coalescing(host)
    frames, _ = stream(3)
    damaged = bytearray(frames[1])
    damaged[-1] ^= 1
    frames[1] = bytes(damaged)
    host.arrive(*frames)
    results = host.received()
    assert any(high & ERROR_L4E and len(data) == 1066 for data, _, high in results)
    assert sum(len(data) - 66 for data, _, _ in results) == 3000


def test_coalesced_packet_stays_within_its_descriptors(host: Host) -> None:
    coalescing(host, descriptors=1)  # four of 2 KiB
    frames, payload = stream(40)
    host.arrive(*frames)
    results = host.received()
    assert b"".join(data[66:] for data, _, _ in results) == payload
    assert max(len(data) for data, _, _ in results) <= 8192


@pytest.mark.parametrize("ip", [V4, V6], ids=["v4", "v6"])
def test_large_segment_is_cut_where_coalescing_is_off(ip: ScapyPacket) -> None:
    host = Host(offloads=True)
    host.start()
    payload = random.Random(1).randbytes(10_500)
    host.arrive(large_segment(payload, 1000, ip))
    results = host.received()
    header = 54 if isinstance(ip, IP) else 74
    assert [len(data) - header for data, _, _ in results] == [1000] * 10 + [500]
    for data, _, high in results:
        copy = Ether(data)
        if isinstance(ip, IP):
            del copy[IP].chksum, copy[IP].len
        else:
            del copy[IPv6].plen
        del copy[TCP].chksum
        assert raw(copy) == data
        assert not high & (ERROR_IPE | ERROR_L4E)
    assert b"".join(data[header:] for data, _, _ in results) == payload
    assert host[r.GPRC] == 11


@pytest.mark.parametrize("ip", [V4, V6], ids=["v4", "v6"])
def test_large_segment_is_delivered_whole_or_in_few_pieces_where_coalescing_is_on(ip: ScapyPacket) -> None:
    host = Host(offloads=True)
    host.start()
    coalescing(host)
    payload = random.Random(1).randbytes(60_000)
    host.arrive(large_segment(payload, 1000, ip))
    results = host.received()
    assert len(results) == 2
    assert b"".join(data[54 if isinstance(ip, IP) else 74 :] for data, _, _ in results) == payload


def test_partial_checksum_is_finished() -> None:
    host = Host(offloads=True)
    host.start()
    good = packet(IP(src="10.0.0.1", dst="10.0.0.2"), UDP(sport=1, dport=2))
    draft = bytearray(good)
    copy = Ether(good)
    total = sum(int.from_bytes(good[i : i + 2], "big") for i in range(26, 34, 2)) + 17 + copy[UDP].len
    total = (total & 0xFFFF) + (total >> 16)
    draft[40:42] = total.to_bytes(2, "big")
    frame = Frame([bytes(draft)], len(draft))
    frame.csum_start, frame.csum_offset = 34, 6
    host.arrive(frame)
    ((data, _, high),) = host.received()
    assert data == good
    assert not high & ERROR_L4E


# Loopback, memory, faults.


def test_loopback_brings_back_what_is_sent(host: Host) -> None:
    host[r.HLREG0] = host[r.HLREG0] | r.HLREG0_LPBK
    assert host.transmit(UDP_PACKET) == []
    ((data, _, _),) = host.received()
    assert data == UDP_PACKET
    host.arrive(UDP_PACKET)
    assert host.received() == [], "the wire is cut off"


def test_buffer_outside_memory_stops_the_queue(host: Host) -> None:
    host.put(RX_RING, (0xDEAD_0000_0000).to_bytes(8, "little"))
    host.arrive(UDP_PACKET, UDP_PACKET)
    assert not host[r.RXDCTL] & r.RXDCTL_ENABLE
    assert host.nic.rx.bad_descriptors == 1


@pytest.mark.parametrize(
    ("name", "check"),
    [
        ("wrong-length", lambda data, low, high: high >> 32 & 0xFFFF == 0xFFFF),
        ("zero-length", lambda data, low, high: high >> 32 & 0xFFFF == 0),
    ],
)
def test_faulty_write_backs_are_what_their_switch_says(host: Host, name: str, check: object) -> None:
    host.nic.faults.set(name, 2)
    host.arrive(UDP_PACKET, UDP_PACKET)
    results = host.received()
    assert [bool(check(*result)) for result in results] == [False, True]  # type: ignore[operator]
    assert host.nic.faults.counts[name] == 1
    host.nic.faults.set(name, 0)
    host.arrive(UDP_PACKET)
    assert host.received()[0][0] == UDP_PACKET


def test_other_faults_act(host: Host) -> None:
    faults = host.nic.faults
    faults.set("drop", 2)
    host.arrive(UDP_PACKET, UDP_PACKET)
    assert len(host.received()) == 1
    faults.set("drop", 0)
    faults.set("bit-flip", 1)
    host.arrive(UDP_PACKET)
    ((data, _, high),) = host.received()
    assert sum(bin(a ^ b).count("1") for a, b in zip(data, UDP_PACKET, strict=True)) == 1
    assert high & (ERROR_L4E | ERROR_IPE) or not high & STATUS_L4I
    faults.set("bit-flip", 0)
    faults.set("no-end", 1)
    host.arrive(UDP_PACKET)
    assert host.received() == []
    faults.set("no-end", 0)
    faults.set("rx-stall", 1)
    host.arrive(UDP_PACKET)
    assert host.received() == []
    faults.set("rx-stall", 0)
    assert len(host.received()) == 1
    with pytest.raises(ValueError, match="fault"):
        faults.set("no-such", 1)


def test_link_flaps_as_often_as_it_is_told(host: Host) -> None:
    host.nic.faults.set("link-flap", 200)
    for _ in range(3):
        host.timers.advance(200_000_000)
        assert not host[r.LINKS] & r.LINKS_UP
        host.timers.advance(50_000_000)
        assert host[r.LINKS] & r.LINKS_UP
    host.nic.faults.set("link-flap", 0)
    host.timers.advance(1_000_000_000)
    assert host[r.LINKS] & r.LINKS_UP
    assert host.nic.faults.counts["link-flap"] == 3
