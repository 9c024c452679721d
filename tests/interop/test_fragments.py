# SPDX-License-Identifier: MIT
"""Packets beyond the MTU, both ways: the kernel's fragments and ours, and some that no kernel sends."""

from __future__ import annotations

import struct
import time

import pytest
from scapy.layers.inet import ICMP, IP, fragment
from scapy.layers.inet6 import ICMPv6EchoRequest, IPv6, IPv6ExtHdrFragment
from scapy.layers.l2 import Ether
from scapy.packet import Packet, Raw
from scapy.utils import checksum

from tests.interop import marks, pattern
from tests.interop.capture import capturing
from tests.interop.guest import Guest
from tests.interop.network import Family
from tests.interop.peer import RawPeer, raw_peer
from tests.interop.test_icmp_udp import echoes, exchange, ping
from tests.interop.witness import Witness

pytestmark = marks.UNIX
SIZES = [1453, 1473, 2000, 2960, 2961, 9000, 32_768, 65_000]


@pytest.mark.parametrize("size", SIZES)
def test_ping_in_fragments_is_answered_in_fragments(guest: Guest, family: Family, size: int) -> None:
    ping(guest, family, 5, "-i", "0.05", "-s", str(size), "-p", "a55a0ff0")


@pytest.mark.parametrize("size", [1473, 5000, 65_000, 65_507])
def test_datagram_in_fragments_comes_back(guest: Guest, family: Family, size: int) -> None:
    if ":" in family.guest:
        size = min(size, 65_487)
    assert exchange(guest, family, pattern.octets(size)) == pattern.octets(size)


def test_every_fragment_that_we_send_is_right(guest: Guest, family: Family) -> None:
    with capturing(guest.near) as capture:
        ping(guest, family, 3, "-i", "0.05", "-s", "20001")
        exchange(guest, family, pattern.octets(30_001))
    witness = Witness()
    witness.hear(capture.ours)
    assert not witness.faults, "\n".join(witness.faults[:5])
    count = witness.counts["IPv6 fragment" if ":" in family.guest else "IPv4 fragment"]
    # 1480 octets of a payload fit a packet by IPv4, 1448 by IPv6.
    assert count == 3 * 14 + 21, witness.counts


def test_hundred_large_pings_at_once_are_all_answered(guest: Guest, family: Family) -> None:
    ping(guest, family, 100, "-i", "0.002", "-s", "8000")


def echo_fragments(peer: RawPeer, identifier: int, size: int = 3000) -> list[Packet]:
    """An echo request in pieces of 1000 octets."""
    if ":" not in peer.family.near:
        return fragment(peer.ip(id=identifier) / ICMP(id=identifier, seq=1) / Raw(pattern.octets(size)), 1000)
    whole = peer.ip() / ICMPv6EchoRequest(id=identifier, seq=1, data=pattern.octets(size))
    body = bytes(whole)[40:]
    pieces = []
    for start in range(0, len(body), 1000):
        more = int(start + 1000 < len(body))
        header = IPv6ExtHdrFragment(nh=58, offset=start // 8, m=more, id=identifier)
        pieces.append(peer.ip() / header / Raw(body[start : start + 1000]))
    return pieces


def answered(guest: Guest, family: Family, send: object) -> int:
    """How many echo replies the guest sends after `send()`, within half a second."""
    assert callable(send)
    before = echoes(guest, family)[1]
    send()
    time.sleep(0.5)
    return echoes(guest, family)[1] - before


def test_fragments_backwards_and_repeated_are_put_together(guest: Guest, family: Family) -> None:
    with raw_peer(guest, family) as peer:
        pieces = echo_fragments(peer, 0x1234)

        def send() -> None:
            for piece in [*reversed(pieces[1:]), pieces[1], pieces[0]]:
                peer.send(piece)

        assert answered(guest, family, send) == 1


def test_fragments_that_overlap_are_no_packet(guest: Guest, family: Family) -> None:
    with raw_peer(guest, family) as peer:
        pieces = echo_fragments(peer, 0x2345)
        other = pieces[1].copy()
        if isinstance(other, IP):
            other.frag -= 1
            del other.chksum
        else:
            other[IPv6ExtHdrFragment].offset -= 1
        before = guest.counters()[family.name]["ReasmOverlaps"]

        def send() -> None:
            for piece in [pieces[0], other, pieces[1], *pieces[2:]]:
                peer.send(IP(bytes(piece)) if isinstance(piece, IP) else IPv6(bytes(piece)))

        assert answered(guest, family, send) == 0
        assert guest.counters()[family.name]["ReasmOverlaps"] == before + 1


def test_flood_of_first_fragments_leaves_room_for_whole_packets(guest: Guest, family: Family) -> None:
    heap = guest.order("heap")["heap"]
    with raw_peer(guest, family) as peer:
        frame = bytearray(bytes(Ether(src=peer.src_mac, dst=peer.dst_mac) / echo_fragments(peer, 0, 1500)[0]))
        is_ipv6 = ":" in family.guest
        identification = 14 + 46 if is_ipv6 else 14 + 4
        for number in range(2000):
            struct.pack_into(">H", frame, identification, number)
            if not is_ipv6:
                struct.pack_into(">H", frame, 24, 0)
                struct.pack_into(">H", frame, 24, checksum(bytes(frame[14:34])))
            peer.send_frame(bytes(frame))
        assert guest.counters()[family.name]["ReasmReqds"] >= 1000
        ping(guest, family, 3, "-s", "5000")
    # MAX_OCTETS of net/ip/reassembly.py, and something for what is around it.
    assert guest.order("heap")["heap"] - heap < 700_000
