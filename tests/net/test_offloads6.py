# SPDX-License-Identifier: MIT
"""Offloads and header prediction over IPv6 do what the plain way would do; scapy looks at every header."""

import pytest
from scapy.layers.inet import TCP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Ether

from tests.net.world import ALL_OFFLOADS, RX_CSUM, TX_CSUM, TX_TSO6, World, pattern


def look_at(packet):
    """Everything scapy can find wrong with a TCP packet on the wire."""
    seen = Ether(packet)
    if TCP not in seen:
        return False
    ip = IPv6(bytes(seen[IPv6])[: 40 + seen[IPv6].plen])
    assert (ip.version, ip.tc, ip.fl, ip.nh, ip.hlim) == (6, 0, 0, 6, 64)
    given_sum = ip[TCP].chksum
    del ip[TCP].chksum
    assert IPv6(bytes(ip))[TCP].chksum == given_sum, packet.hex()
    for name, _ in ip[TCP].options:
        assert name in ("MSS", "NOP", "WScale", "SAckOK", "SAck", "Timestamp")
    return True


@pytest.mark.parametrize("features", [0, TX_CSUM, RX_CSUM, TX_CSUM | TX_TSO6, ALL_OFFLOADS])
@pytest.mark.parametrize("tcp_options", [{}, {"timestamps": False, "sack": False}], ids=str)
def test_witness_of_every_header(features, tcp_options):
    world = World(seed=1, loss=0.05, reorder=0.05, delay_ms=3)
    seen = []
    world.filter = lambda device, packet: seen.append(packet)
    a = world.host("fd00::1/64", features=features, tcp=tcp_options)
    b = world.host("fd00::2/64", features=features, tcp=tcp_options)
    b.echo(7)
    flow = a.connect(b, 7)
    data = pattern(200_000)
    flow.send(data, close=True)
    world.run(until=lambda: flow.is_closed)
    assert bytes(flow.received) == data
    assert sum(look_at(packet) for packet in seen) > 250
    world.run(limit_ms=3_600_000)
    assert a.is_clean()
    assert b.is_clean()


def test_prediction_handles_nearly_everything_without_loss():
    world = World(seed=4)
    a, b = world.host("fd00::1/64"), world.host("fd00::2/64")
    b.echo(7)
    flow = a.connect(b, 7)
    flow.send(pattern(300_000))
    world.run(until=lambda: len(flow.received) == 300_000)
    for host in (a, b):
        counters = host.tcp.counters
        assert counters["TCPHPHits"] > 0.9 * counters["InSegs"]


def test_mss_fits_the_mtu():
    world = World(seed=5)
    a, b = world.host("fd00::1/64", mtu=1280), world.host("fd00::2/64")
    b.listen(9)
    flow = a.connect(b, 9)
    world.run(until=lambda: b.accepted)
    assert flow.conn.mss + flow.conn.header_len == 1280 + 14
    assert b.accepted[0].conn.mss + b.accepted[0].conn.header_len == 1280 + 14
