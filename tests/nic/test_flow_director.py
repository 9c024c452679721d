# SPDX-License-Identifier: MIT
"""The flow director: perfect and signature filters, masks, dropping (82599 datasheet section 7.1.2.7)."""

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Dot1Q, Ether
from scapy.packet import Packet as ScapyPacket
from scapy.packet import Raw, raw

from mirage_py.nic.ixgbe import registers as r
from mirage_py.nic.ixgbe.flow_director import folded_hash, hash_masks
from tests.nic.host import MAC, PEER, RX_RING, Host

PERFECT, REPORT, ALLOCATE = 1 << 4, 1 << 5, 1
UDP4, TCP4, SCTP4, IP4, TCP6 = 1, 2, 3, 0, 6
ADD, REMOVE, QUERY = 1, 2, 3
UPDATE, LAST, DROP, ENABLE = 1 << 3, 1 << 11, 1 << 9, 1 << 15
# What Linux masks for a filter on addresses and ports: destination IPv6, pool, VLAN, flexible octets.
MASK = 0x20 | 0x04 | 0x03 | 0x10
HASH_KEY, SIGNATURE_KEY = 0x3DAD14E2, 0x174D3614
DROP_QUEUE = 127


def start(flags: int) -> Host:
    """Frames to queue 1 show by not showing in queue 0, whose ring is the only one."""
    host = Host()
    host.start()
    host[r.FDIRHKEY], host[r.FDIRSKEY] = HASH_KEY, SIGNATURE_KEY
    host[r.FDIRCTRL] = flags | 6 << 16 | ALLOCATE
    assert host[r.FDIRCTRL] & r.FDIRCTRL_INIT_DONE
    host[r.FDIRM] = MASK
    host[r.FDIRTCPM] = host[r.FDIRUDPM] = 0
    return host


def command(
    host: Host, what: int, number: int, bucket: int = 5, flow: int = TCP4, queue: int = 1, more: int = 0
) -> int:
    host[r.FDIRHASH] = bucket | number << 16
    host[r.FDIRCMD] = what | UPDATE | LAST | ENABLE | flow << 5 | queue << 16 | more
    assert host[r.FDIRCMD] & 3 == 0, "done"
    return host[r.FDIRCMD]


def add(
    host: Host,
    number: int,
    source: int = 0,
    target: int = 0,
    ports: tuple[int, int] = (0, 0),
    vlan: int = 0,
    **more: int,
) -> None:
    host[r.FDIRIPSA], host[r.FDIRIPDA] = source, target
    host[r.FDIRPORT] = ports[1] << 16 | ports[0]
    host[r.FDIRVLAN] = vlan
    command(host, ADD, number, **more)


def frame(*layers: ScapyPacket) -> bytes:
    whole = Ether(src=PEER, dst=MAC)
    for layer in layers:
        whole = whole / layer
    return raw(whole / Raw(bytes(40)))


def arrives(host: Host, data: bytes) -> bool:
    """Whether a frame comes to queue 0."""
    host.arrive(data)
    return bool(host.received())


A, B = 0x0A000001, 0x0A000002
FLOW = frame(IP(src="10.0.0.1", dst="10.0.0.2"), TCP(sport=1000, dport=80))


def test_perfect_filter_takes_its_flow_and_no_other() -> None:
    host = start(PERFECT)
    add(host, 7, A, B, (1000, 80))
    assert not arrives(host, FLOW)
    for other in (
        frame(IP(src="10.0.0.3", dst="10.0.0.2"), TCP(sport=1000, dport=80)),
        frame(IP(src="10.0.0.1", dst="10.0.0.3"), TCP(sport=1000, dport=80)),
        frame(IP(src="10.0.0.1", dst="10.0.0.2"), TCP(sport=1001, dport=80)),
        frame(IP(src="10.0.0.1", dst="10.0.0.2"), TCP(sport=1000, dport=81)),
        frame(IP(src="10.0.0.1", dst="10.0.0.2"), UDP(sport=1000, dport=80)),
        frame(IP(src="10.0.0.1", dst="10.0.0.2"), ICMP()),
        frame(IPv6(), TCP(sport=1000, dport=80)),
        bytes(MAC + PEER) + b"\x88\xb5" + bytes(50),
    ):
        assert arrives(host, other)
    assert host[r.FDIRMATCH] == 1
    assert host[r.FDIRMISS] == 7
    assert host[r.FDIRMISS] == 0, "a read clears"


def test_filter_is_found_and_removed_by_its_number() -> None:
    host = start(PERFECT)
    add(host, 7, A, B, (1000, 80))
    assert host[r.FDIRUSTAT] == 1
    assert command(host, QUERY, 7) & 4
    assert not command(host, QUERY, 8) & 4
    command(host, REMOVE, 8)
    assert host[r.FDIRFSTAT] == 1 << 8
    assert not arrives(host, FLOW)
    command(host, REMOVE, 7)
    assert host[r.FDIRUSTAT] == 1 << 16
    assert arrives(host, FLOW)


def test_dropping_filter_drops_and_says_nothing() -> None:
    host = start(PERFECT | DROP_QUEUE << 8)
    add(host, 1, A, B, (1000, 80), queue=DROP_QUEUE, more=DROP)
    messages = len(host.sink.messages)
    assert not arrives(host, FLOW)
    assert len(host.sink.messages) == messages
    assert host[r.GPRC] == 1, "it passed the filters of the MAC"


@pytest.mark.parametrize(("bit", "is_caught"), [(0, True), (1, True), (8, False), (15, False)])
def test_port_masks_are_mirrored(bit: int, is_caught: bool) -> None:
    """Bit 0 of the mask leaves out bit 15 of the port, as drivers write it."""
    host = start(PERFECT)
    host[r.FDIRTCPM] = (
        0xFF00_0000 | 0xFF
    )  # the ports' upper octets are not compared, in the source; lower in the target
    add(host, 1, A, B, (0x1234, 0x5600))
    other = frame(IP(src="10.0.0.1", dst="10.0.0.2"), TCP(sport=0x1234 ^ 1 << 15 - bit, dport=0x56FF))
    assert arrives(host, other) is not is_caught


def test_masks_of_addresses_and_transport() -> None:
    host = start(PERFECT)
    host[r.FDIRM] = MASK | 8
    host[r.FDIRSIP4M] = 0xFF
    host[r.FDIRDIP4M] = 0xFFFF_FFFF
    add(host, 1, 0x0A000000, flow=IP4)
    for packet in (TCP(sport=1, dport=2), UDP(sport=3, dport=4), ICMP()):
        assert not arrives(host, frame(IP(src="10.0.0.77", dst="1.2.3.4"), packet))
        assert arrives(host, frame(IP(src="10.0.1.77", dst="1.2.3.4"), packet))


def test_vlan_and_flexible_octets_are_compared_where_they_are_not_masked() -> None:
    host = start(PERFECT)
    host[r.FDIRM] = MASK & ~0x01
    add(host, 1, A, B, (1000, 80), vlan=5)
    tagged = IP(src="10.0.0.1", dst="10.0.0.2"), TCP(sport=1000, dport=80)
    assert not arrives(host, frame(Dot1Q(vlan=5, prio=3), *tagged))
    assert arrives(host, frame(Dot1Q(vlan=6), *tagged))
    assert arrives(host, FLOW)
    host[r.FDIRM] = MASK & ~0x10
    add(host, 1, A, B, (1000, 80), vlan=int.from_bytes(b"\x08\x00", "little") << 16)
    assert not arrives(host, FLOW), "word 6 of the frame is the ethertype"
    add(host, 1, A, B, (1000, 80), vlan=int.from_bytes(b"\x08\x01", "little") << 16)
    assert arrives(host, FLOW)


def test_match_is_reported_where_it_is_wanted() -> None:
    host = start(PERFECT | REPORT)
    add(host, 0x123, A, B, (1000, 80), bucket=0x456, queue=0)
    host.arrive(FLOW)
    ((_, low, high),) = host.received()
    assert low & 0xF == 15
    assert low >> 32 == 0x123 << 16 | 0x456
    assert high & 1 << 2, "FLM"
    assert host.get(RX_RING, 1)


def test_table_has_an_end_and_is_emptied_by_making_it_anew() -> None:
    host = start(PERFECT)
    room = host[r.FDIRFREE]
    assert room == 2046
    for number in range(room + 3):
        add(host, number, number, bucket=number & 0x7FFF)
    assert host[r.FDIRFREE] == 0
    assert host[r.FDIRFSTAT] == 3
    host[r.FDIRCTRL] = PERFECT | ALLOCATE
    assert host[r.FDIRFREE] == room
    add(host, 1, A, B, (1000, 80))
    host[r.FDIRCMD] = 1 << 8
    assert host[r.FDIRFREE] == room
    add(host, 1, A, B, (1000, 80))
    host[r.CTRL] = r.CTRL_RST
    assert not host.nic.filters.director.is_active


@pytest.mark.parametrize("version", [4, 6])
def test_signature_filter_takes_its_flow(version: int) -> None:
    """That the hashes are the driver's, test_linux.py shows: Linux computes them for each flow that it sends."""
    host = start(0)
    common = (1000 ^ 0x0800) << 16 ^ 80 ^ A ^ B
    flow, data = TCP4, FLOW
    if version == 6:
        common = (1000 ^ 0x86DD) << 16 ^ 80 ^ 0xFD00_0000 ^ 0xFD00_0000 ^ 1 ^ 2
        flow, data = TCP6, frame(IPv6(src="fd00::1", dst="fd00::2"), TCP(sport=1000, dport=80))
    bucket, signature = (folded_hash(hash_masks(key), common, flow << 16) for key in (HASH_KEY, SIGNATURE_KEY))
    assert arrives(host, data)
    command(host, ADD, signature, bucket, flow)
    for _ in range(2):
        assert not arrives(host, data)
    assert host[r.FDIRMATCH] == 2
    assert arrives(host, frame(IP(src="10.0.0.1", dst="10.0.0.2"), TCP(sport=1001, dport=80)))
    command(host, REMOVE, signature, bucket)
    assert arrives(host, data)
