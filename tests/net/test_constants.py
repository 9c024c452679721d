# SPDX-License-Identifier: MIT
"""Hot modules re-declare numbers of others: MicroPython folds only what a file declares itself. They must be equal."""

import pytest

from libos.hal import dma
from libos.net import udp
from libos.net.link import ethernet
from libos.net.tcp import engine, expected, input, newreno, output, segments
from libos.wire import ethernet as wire_ethernet
from libos.wire import ipv4, tcp


@pytest.mark.parametrize(
    ("declared", "original"),
    [
        (segments._TX_BATCH, ethernet.TX_BATCH),
        (segments._CSUM_PARTIAL, dma.CSUM_PARTIAL),
        (segments._GSO_TCPV4, dma.GSO_TCPV4),
        (segments._GSO_TCPV6, dma.GSO_TCPV6),
        (segments._FIN, tcp.FIN),
        (output._FIN, tcp.FIN),
        (segments._ACK, tcp.ACK),
        (output._ACK, tcp.ACK),
        (output._PSH_ACK, tcp.PSH | tcp.ACK),
        (segments._DF_TTL_TCP, ipv4.DONT_FRAGMENT << 16 | 64 << 8 | ipv4.PROTOCOL_TCP),
        (segments._FEATURE_TX_CSUM, ethernet.FEATURE_TX_CSUM),
        (engine._CSUM_VALID, dma.CSUM_VALID),
        (expected._CSUM_VALID, dma.CSUM_VALID),
        (udp.CSUM_VALID, dma.CSUM_VALID),
        (expected._DELAYED_ACK_MS, input.DELAYED_ACK_MS),
        (expected._MERGE_CHUNKS, input.MERGE_CHUNKS),
        (expected._TIMESTAMPS_WORD, tcp.TIMESTAMPS_WORD),
        (wire_ethernet.ETHERTYPE_IPV4, 0x0800),
    ],
)
def test_declared_twice_is_equal(declared, original):
    assert declared == original


def test_idle_check_is_below_every_initial_window():
    for mss in range(48, 9000, 7):
        assert newreno.NewReno().start(mss, None).cwnd >= min(output._IDLE_CHECK, 10 * mss)
