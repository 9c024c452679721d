# SPDX-License-Identifier: MIT
"""D-SACK: the figures of RFC 2883 section 4, and what else comes twice. Numbers count from 0, as there."""

import pytest

from libos.wire import tcp
from libos.wire.tcp import ACK, FIN

OPTIONS = {"SACK": tcp.syn_options(1460, None, True), "all": tcp.syn_options(1460, 7, True, 1)}


@pytest.fixture(params=OPTIONS.values(), ids=OPTIONS)
def peer(ends, request):
    return ends.connected(request.param)


def arrives(peer, left, right, flags=ACK):
    """[left, right) arrives; what the last answer acknowledges, and its blocks."""
    peer.send(flags, seq=1 + left, data=bytes(right - left), options=peer.ts_options(peer.answer))
    peer.world.run(for_ms=45)
    segment = peer.take()[-1]
    start = peer.iss + 1
    return segment.ack - 1, [((a - start) & 0xFFFFFFFF, (b - start) & 0xFFFFFFFF) for a, b in segment.sack]


def test_4_1_1_duplicate_segment(peer):
    arrives(peer, 0, 3000)
    assert arrives(peer, 3000, 3500) == (3500, [])
    assert arrives(peer, 3500, 4000) == (4000, [])
    assert arrives(peer, 3000, 3500) == (4000, [(3000, 3500)])


def test_4_1_2_out_of_order_segment_and_a_duplicate(peer):
    arrives(peer, 0, 4000)
    assert arrives(peer, 4500, 5000) == (4000, [(4500, 5000)])
    assert arrives(peer, 3000, 3500) == (4000, [(3000, 3500), (4500, 5000)])


def test_4_1_3_duplicate_of_an_out_of_order_segment(peer):
    arrives(peer, 0, 4000)
    assert arrives(peer, 4500, 5000) == (4000, [(4500, 5000)])
    assert arrives(peer, 5000, 5500) == (4000, [(4500, 5500)])
    assert arrives(peer, 5000, 5500) == (4000, [(5000, 5500), (4500, 5500)])


def test_4_2_1_partial_duplicate(peer):
    arrives(peer, 0, 1000)
    assert arrives(peer, 1500, 2000) == (1000, [(1500, 2000)])
    assert arrives(peer, 1000, 2000) == (2000, [(1500, 2000)])


def test_4_2_2_partial_duplicate_above_the_acknowledgement(peer):
    arrives(peer, 0, 1000)
    arrives(peer, 1500, 2000)
    assert arrives(peer, 2500, 3000) == (1000, [(2500, 3000), (1500, 2000)])
    assert arrives(peer, 2000, 3000) == (1000, [(2500, 3000), (1500, 3000)])


@pytest.mark.parametrize("right", [3000, 3500])
def test_4_2_3_of_two_duplicate_parts_the_first(peer, right):
    arrives(peer, 0, 1000)
    arrives(peer, 1500, 2000)
    arrives(peer, 2500, 3000)
    assert arrives(peer, 1000, right) == (right, [(1500, 2000)])


def test_first_part_was_acknowledged_and_another_is_queued(peer):
    arrives(peer, 0, 1000)
    arrives(peer, 1500, 2000)
    assert arrives(peer, 500, 2500) == (2500, [(500, 1000)])


def test_first_of_two_parts_above_the_acknowledgement(peer):
    arrives(peer, 0, 1000)
    arrives(peer, 2000, 2500)
    arrives(peer, 3000, 3500)
    assert arrives(peer, 1500, 4000) == (1000, [(2000, 2500), (1500, 4000)])


def test_duplicate_with_new_octets_behind_it(peer):
    arrives(peer, 0, 1000)
    assert arrives(peer, 500, 1500) == (1500, [(500, 1000)])


def test_fin_that_comes_twice(peer):
    arrives(peer, 0, 1000)
    assert arrives(peer, 1000, 1500, FIN | ACK) == (1501, [])
    assert arrives(peer, 1000, 1500, FIN | ACK) == (1501, [(1000, 1501)])
    assert arrives(peer, 1500, 1500, FIN | ACK) == (1501, [(1500, 1501)])
