# SPDX-License-Identifier: MIT
"""IEEE 1588: SYSTIM counts, and packets' times are kept (82599 datasheet section 7.9)."""

import struct

import pytest
from scapy.layers.inet import IP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Ether
from scapy.packet import Packet as ScapyPacket
from scapy.packet import Raw, raw

from mirage_py.nic.ixgbe import registers as r
from tests.nic.host import MAC, PEER, Host

# Linux's setting at 10 Gbit/s: 6.4 * 2**21 per period.
INCREMENT = 1 << 24 | 0xCCCCCC
TIME_STAMP = 1 << 19
STATUS_TS = 1 << 16
EVENT_V2, L4_V1, L2_L4_V2 = 5 << 1, 1 << 1, 2 << 1
SECOND = 1_000_000_000


@pytest.fixture
def host() -> Host:
    host = Host()
    host.start()
    host[r.TIMINCA] = INCREMENT
    return host


def systim(host: Host) -> int:
    low = host[r.SYSTIML]
    return host[r.SYSTIMH] << 32 | low


def ns(value: int) -> float:
    return value / (1 << 21)


def test_clock_stands_still_until_it_is_given_an_increment() -> None:
    host = Host()
    host.start()
    host.timers.advance(SECOND)
    assert systim(host) == 0
    host[r.TIMINCA] = INCREMENT
    host.timers.advance(SECOND)
    assert ns(systim(host)) == pytest.approx(SECOND, rel=1e-6)


def test_clock_is_set_sped_up_and_adjusted(host: Host) -> None:
    host[r.SYSTIML], host[r.SYSTIMH] = 7, 1
    assert systim(host) == 1 << 32 | 7
    host.timers.advance(1000)
    before = systim(host)
    host[r.TIMINCA] = 1 << 24 | 0xCCCCCC // 2
    host.timers.advance(SECOND)
    assert ns(systim(host) - before) == pytest.approx(SECOND / 2, rel=1e-6)
    before = systim(host)
    host[r.TIMADJL], host[r.TIMADJH] = 500, 0
    host[r.TIMADJL], host[r.TIMADJH] = 100, 1 << 31
    assert systim(host) == before + 400
    host[r.TIMINCA] = 0
    before = systim(host)
    host.timers.advance(SECOND)
    assert systim(host) == before


def test_upper_half_belongs_to_the_lower_one_that_was_read(host: Host) -> None:
    host[r.SYSTIMH], host[r.SYSTIML] = 0, 0xFFFF_FFFF
    low = host[r.SYSTIML]
    host.timers.advance(SECOND)
    assert (host[r.SYSTIMH], low) == (0, 0xFFFF_FFFF)
    assert systim(host) >> 32 > 0


def test_clock_starts_anew_with_a_reset(host: Host) -> None:
    host.timers.advance(SECOND)
    host[r.CTRL] = r.CTRL_RST
    assert systim(host) == 0


def test_sent_packets_time_is_kept_until_it_is_read(host: Host) -> None:
    data = bytes(PEER + MAC) + b"\x88\xf7" + bytes(60)
    host.transmit(data, command=TIME_STAMP)
    assert not host[r.TSYNCTXCTL] & r.TSYNC_VALID, "nobody asked for times"
    host[r.TSYNCTXCTL] = r.TSYNC_ENABLE
    host.transmit(data)
    assert not host[r.TSYNCTXCTL] & r.TSYNC_VALID, "nor for this one's"
    host.timers.advance(SECOND)
    host.transmit(data, command=TIME_STAMP)
    assert host[r.TSYNCTXCTL] == r.TSYNC_ENABLE | r.TSYNC_VALID
    host.timers.advance(SECOND)
    host.transmit(data, command=TIME_STAMP)
    low = host[r.TXSTMPL]
    assert ns(host[r.TXSTMPH] << 32 | low) == pytest.approx(SECOND, rel=1e-6), "the first one's"
    assert host[r.TSYNCTXCTL] == r.TSYNC_ENABLE


def ptp(message: int, version: int = 2) -> bytes:
    body = bytearray(44)
    body[0], body[1] = message, version
    body[20:30] = b"identity10"
    struct.pack_into(">H", body, 30, 0x1234)
    body[32] = message
    return bytes(body)


def over(*layers: ScapyPacket, message: bytes) -> bytes:
    frame = Ether(src=PEER, dst=MAC)
    for layer in layers:
        frame = frame / layer
    return raw(frame / Raw(message))


@pytest.mark.parametrize(
    ("kind", "match", "frame", "is_wanted"),
    [
        (EVENT_V2, 0, over(IP(), UDP(dport=319), message=ptp(0)), True),
        (EVENT_V2, 0, over(IPv6(), UDP(dport=319), message=ptp(3)), True),
        (EVENT_V2, 0, over(IP(), UDP(dport=320), message=ptp(0)), False),
        (EVENT_V2, 0, over(IP(), UDP(dport=319), message=ptp(0xB)), False),
        (EVENT_V2, 0, over(IP(), UDP(dport=319), message=b"short"), False),
        (EVENT_V2, 0, bytes(MAC + PEER) + b"\x88\xf7" + ptp(1), True),
        (EVENT_V2, 0, bytes(MAC + PEER) + b"\x88\xf8" + ptp(1), False),
        (L4_V1, 1, over(IP(), UDP(dport=319), message=ptp(1, 1)), True),
        (L4_V1, 1, over(IP(), UDP(dport=319), message=ptp(0, 1)), False),
        (L4_V1, 1, bytes(MAC + PEER) + b"\x88\xf7" + ptp(1), False),
        (L2_L4_V2, 1 << 8, over(IP(), UDP(dport=319), message=ptp(1)), True),
        (L2_L4_V2, 1 << 8, over(IP(), UDP(dport=319), message=ptp(2)), False),
        (0, 1 << 8, bytes(MAC + PEER) + b"\x88\xf7" + ptp(1), True),
        (0, 1 << 8, over(IP(), UDP(dport=319), message=ptp(1)), False),
    ],
)
def test_received_packets_time_is_kept_where_it_is_wanted(
    host: Host, kind: int, match: int, frame: bytes, is_wanted: bool
) -> None:
    host[r.ETQF + 12] = 1 << 31 | 1 << 30 | 0x88F7
    host[r.RXMTRL] = 319 << 16 | match
    host.arrive(frame)
    assert not host[r.TSYNCRXCTL] & r.TSYNC_VALID
    host[r.TSYNCRXCTL] = r.TSYNC_ENABLE | kind
    host.timers.advance(SECOND)
    host.arrive(frame)
    status = [bool(high & STATUS_TS) for _, _, high in host.received()]
    assert status == [False, is_wanted]
    assert bool(host[r.TSYNCRXCTL] & r.TSYNC_VALID) is is_wanted
    if is_wanted:
        host.timers.advance(SECOND)
        host.arrive(frame)
        assert not host.received()[0][2] & STATUS_TS, "the register is not read yet"
        assert host[r.RXSATRH] >> 16 == int.from_bytes(b"\x12\x34", "little")
        low = host[r.RXSTMPL]
        assert ns(host[r.RXSTMPH] << 32 | low) == pytest.approx(SECOND, rel=1e-6)
        host.arrive(frame)
        assert host.received()[0][2] & STATUS_TS
