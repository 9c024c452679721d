# SPDX-License-Identifier: MIT
"""Segmentation beyond plain TCP: datagrams, tunnels, and SCTP's checksum. scapy says what the frames must be."""

import random

import pytest
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Ether
from scapy.layers.sctp import SCTP, SCTPChunkData
from scapy.layers.vxlan import VXLAN
from scapy.packet import Packet as ScapyPacket
from scapy.packet import Raw, raw

from mirage_py.nic.checksum import crc32c, ones_sum
from mirage_py.nic.frame import GSO_UDP
from mirage_py.nic.ixgbe import registers as r
from tests.nic.host import MAC, PEER, Host
from tests.nic.test_ixgbe_rx import ERROR_IPE, ERROR_L4E
from tests.nic.test_ixgbe_tx import CC, IPV4, IXSM, L4_TCP, TSE, TXSM, VLE, packet, pseudo_sum, unfinished

L4_UDP, L4_SCTP = 0, 2 << 11
V4, V6 = IP(src="10.0.0.1", dst="10.0.0.2", id=0xFFFE), IPv6(src="fd00::1", dst="fd00::2")


def datagrams(ip: ScapyPacket, payload: bytes, size: int) -> list[bytes]:
    """What cutting must give, built datagram by datagram."""
    out = []
    for number, start in enumerate(range(0, len(payload), size)):
        copy = ip.copy()
        if isinstance(copy, IP):
            copy.id = (ip.id + number) & 0xFFFF
        out.append(packet(copy, UDP(sport=4433, dport=443), payload=payload[start : start + size]))
    return out


@pytest.mark.parametrize("size", [100, 1200, 1472])
@pytest.mark.parametrize("ip", [V4, V6], ids=["v4", "v6"])
@pytest.mark.parametrize("offloads", [False, True])
def test_large_datagram_becomes_datagrams(ip: ScapyPacket, size: int, offloads: bool) -> None:
    """UDP_SEGMENT of Linux: every one whole, with lengths and checksums of its own, wherever it is cut."""
    host = Host(offloads=offloads)
    host.start()
    payload = random.Random(size).randbytes(9 * size + 57)
    whole = packet(ip, UDP(sport=4433, dport=443), payload=payload)
    ip_len = 20 if isinstance(ip, IP) else 40
    l4 = 14 + ip_len
    host.context(14, ip_len, 8, size, L4_UDP | (IPV4 if ip_len == 20 else 0))
    draft = unfinished(whole, 14, l4, 6, with_length=False)
    host.queue_packet(draft, options=TXSM | CC | (IXSM if ip_len == 20 else 0), command=TSE, paylen=len(payload))
    host.doorbell()
    frames = host.sent()
    expected = datagrams(ip, payload, size)
    if offloads:
        (frame,) = frames
        assert (frame.gso_type, frame.gso_size, frame.hdr_len, frame.length) == (GSO_UDP, size, l4 + 8, len(whole))
        # What a TAP's kernel goes by: the length of all, and the pseudo-header's sum with it.
        data = bytes(frame.joined())
        assert data[l4 + 4 : l4 + 6] == (8 + len(payload)).to_bytes(2, "big")
        assert int.from_bytes(data[l4 + 6 : l4 + 8], "big") == pseudo_sum(whole, 14, l4)
        # And what another card makes of it.
        other = Host(offloads=True)
        other.start()
        other.arrive(frame)
        got = other.received()
        assert [data for data, _, _ in got] == expected
        assert not any(high & (ERROR_IPE | ERROR_L4E) for _, _, high in got)
    else:
        assert [bytes(frame.joined()) for frame in frames] == expected
    assert host[r.GPTC] == len(expected)
    assert host.nic.tx.bad_descriptors == 0


def test_large_datagram_with_a_vlan_tag() -> None:
    host = Host()
    host.start()
    payload = bytes(range(250)) * 10
    whole = packet(V4, UDP(sport=4433, dport=443), payload=payload)
    host.context(14, 20, 8, 1000, L4_UDP | IPV4, vlan=7)
    draft = unfinished(whole, 14, 34, 6, with_length=False)
    sent = host.transmit(draft, options=TXSM | IXSM | CC, command=TSE | VLE, paylen=len(payload))
    assert sent == [one[:12] + b"\x81\x00\x00\x07" + one[12:] for one in datagrams(V4, payload, 1000)]


def test_datagram_segmentation_with_impossible_headers_is_counted() -> None:
    host = Host()
    host.start()
    whole = packet(V4, UDP(sport=1, dport=2), payload=bytes(3000))
    for l4_len, l4_type in ((20, L4_UDP), (4, L4_UDP), (8, L4_SCTP)):
        host.context(14, 20, l4_len, 1000, l4_type | IPV4)
        assert host.transmit(whole, options=TXSM | IXSM | CC, command=TSE, paylen=3000) == []
    assert host.nic.tx.bad_descriptors == 3


@pytest.mark.parametrize("inner_ip", [V4, V6], ids=["v4", "v6"])
@pytest.mark.parametrize("outer_ip", [V4, V6], ids=["over v4", "over v6"])
@pytest.mark.parametrize("offloads", [False, True])
def test_segments_inside_a_tunnel_have_the_checksums_of_the_inner_addresses(
    outer_ip: ScapyPacket, inner_ip: ScapyPacket, offloads: bool
) -> None:
    """IPLEN spans the tunnel: the seeds in the checksum fields decide, as Linux's GSO_PARTIAL relies on.

    The software has filled in everything between the outer IP header and TCP for segments of full size.
    """
    host = Host(offloads=offloads)
    host.start()
    mss, count = 1000, 5
    payload = random.Random(5).randbytes(mss * count)

    def build(number: int, part: bytes) -> bytes:
        outer, inner = outer_ip.copy(), inner_ip.copy()
        outer.src, outer.dst = ("192.168.7.1", "192.168.7.2") if isinstance(outer, IP) else ("fd77::1", "fd77::2")
        if isinstance(outer, IP):
            outer.id = (outer_ip.id + number) & 0xFFFF
        tcp = TCP(sport=1, dport=2, seq=1000 + mss * number, flags="PA" if number == count - 1 else "A")
        tunnel = UDP(sport=5, dport=4789, chksum=0) / VXLAN(vni=3)
        return raw(Ether(src=MAC, dst=PEER) / outer / tunnel / Ether(src=MAC, dst=PEER) / inner / tcp / Raw(part))

    expected = [build(n, payload[mss * n : mss * (n + 1)]) for n in range(count)]
    outer_len = 20 if isinstance(outer_ip, IP) else 40
    l3_inner = 14 + outer_len + 8 + 8 + 14
    l4 = l3_inner + (20 if isinstance(inner_ip, IP) else 40)
    header = bytearray(expected[0][: l4 + 20])
    header[l4 + 13] = 0x18
    header[l4 + 16 : l4 + 18] = pseudo_sum(expected[0], l3_inner, l4, with_length=False).to_bytes(2, "big")
    if outer_len == 20:
        header[16:18] = b"\0\0"
        # What cancels the tunnel's headers out of the sum over IPLEN.
        header[24:26] = (~ones_sum(header[34:l4]) & 0xFFFF).to_bytes(2, "big")
    host.context(14, l4 - 14, 20, mss, L4_TCP | (IPV4 if outer_len == 20 else 0))
    options = TXSM | CC | (IXSM if outer_len == 20 else 0)
    assert host.transmit(bytes(header) + payload, options=options, command=TSE, paylen=len(payload)) == expected


def test_sctp_checksum_is_filled_in() -> None:
    """Linux leaves it to the card (NETIF_F_SCTP_CRC)."""
    assert crc32c(b"123456789") == 0xE306_9283
    host = Host()
    host.start()
    chunk = SCTP(sport=1, dport=2, tag=7) / SCTPChunkData(data=b"x" * 300)
    whole = raw(Ether(src=MAC, dst=PEER) / V4 / chunk)
    draft = bytearray(whole)
    draft[34 + 8 : 34 + 12] = b"\xde\xad\xbe\xef"
    host.context(14, 20, 0, 0, L4_SCTP | IPV4)
    expected = bytearray(whole)
    expected[42:46] = bytes(4)
    expected[42:46] = crc32c(expected[34:]).to_bytes(4, "little")
    assert host.transmit(bytes(draft), options=TXSM | CC) == [bytes(expected)]
    host.context(14, 290, 0, 0, L4_SCTP | IPV4)
    assert host.transmit(bytes(draft[:300]), options=TXSM | CC) == []
    assert host.nic.tx.bad_descriptors == 1
