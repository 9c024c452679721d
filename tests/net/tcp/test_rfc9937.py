# SPDX-License-Identifier: MIT
"""Proportional rate reduction (RFC 9937, before it RFC 6937)."""

import pytest

from libos.net.tcp.cubic import Cubic
from libos.net.tcp.newreno import NewReno
from libos.net.tcp.rto import Rto
from libos.wire import tcp
from tests.net.peer import Peer
from tests.net.tcp.test_loss_recovery import ack, numbers
from tests.net.world import World, pattern

MSS = 1000


def recovering(flight, target, algorithm=NewReno):
    """A control that has just begun to recover, with so many segments in the network, and so many wanted at the end."""
    control = algorithm().start(MSS, Rto())
    control.cwnd = flight * MSS
    control.begin_recovery(flight * MSS, target * MSS)
    return control


class Network:
    """What is in the network of a control in recovery: each acknowledgement delivers a segment, each room is used."""

    def __init__(self, control, flight, lost):
        self.control = control
        self.pipe = (flight - lost) * MSS
        self.sent = 0

    def deliver(self, segments=1, is_safe=True):
        """Returns how many segments may go out."""
        self.pipe -= segments * MSS
        self.control.on_delivered(segments * MSS, self.sent, self.pipe, is_safe)
        count = max(self.control.cwnd - self.pipe, 0) // MSS
        self.sent += count * MSS
        self.pipe += count * MSS
        return count


def test_window_goes_down_in_proportion():
    """Section 6.2, and the example of RFC 6937 section 5: one goes out for each two that arrive when halving."""
    network = Network(recovering(20, 10), 20, 1)
    sent = [network.deliver(is_safe=False) for _ in range(19)]
    assert sent[0] == 1  # the repetition goes at once
    assert sum(sent) == 10
    assert max(sent[1:]) == 1
    assert network.pipe == 10 * MSS


def test_cubic_sends_seven_for_ten():
    network = Network(recovering(100, 70, Cubic), 100, 1)
    sent = [network.deliver() for _ in range(90)]
    assert sum(sent) == pytest.approx(63, abs=1)
    assert network.pipe == pytest.approx(72 * MSS, abs=2 * MSS)


def test_many_losses_are_made_good_in_slow_start_up_to_the_target():
    """Section 6.2, PRR-SSRB: two for one, as long as the acknowledgements are safe, and not above the target."""
    network = Network(recovering(20, 10), 20, 16)
    assert [network.deliver() for _ in range(12)] == [2] * 6 + [1] * 6
    assert network.pipe == 10 * MSS


def test_losses_that_go_on_are_met_with_packet_conservation():
    """PRR-CRB: one for one, when an acknowledgement tells of more loss."""
    network = Network(recovering(20, 10), 20, 16)
    assert [network.deliver(is_safe=False) for _ in range(6)] == [1] * 6
    assert network.pipe == 4 * MSS


def test_first_repetition_goes_out_whatever_the_numbers_say():
    control = recovering(20, 10)
    control.on_delivered(0, 0, 19 * MSS, False)
    assert control.cwnd == 20 * MSS


def test_nothing_arrives_nothing_goes_out():
    control = recovering(20, 10)
    control.on_delivered(MSS, 0, 18 * MSS, False)
    control.resent_octets = MSS
    control.on_delivered(0, 0, 19 * MSS, False)
    assert control.cwnd <= 19 * MSS


def test_recovery_does_not_end_with_a_burst():
    control = recovering(20, 10)
    control.on_recovered(3 * MSS, 0)
    assert control.cwnd == 4 * MSS
    control = recovering(20, 10)
    control.on_recovered(30 * MSS, 0)
    assert control.cwnd == 10 * MSS


def test_nothing_exceeds_a_small_integer_of_micropython():
    control = recovering(1, 1)
    control.begin_recovery(1 << 30, (1 << 30) - 1)
    control.on_delivered(1 << 30, 0, 1 << 30, True)
    assert (1 << 30) * (1 << 30) < 1 << 62
    assert control.cwnd <= 1 << 31


# --- in a connection ---


def test_one_loss_of_forty_segments(world):
    host = world.host("10.0.0.2/24", tcp={"congestion": NewReno()})
    host.listen(7)
    peer = Peer(world, host)
    peer.connect(options=tcp.syn_options(MSS, 4, True))
    conn = host.accepted[0].conn
    conn.cc.cwnd = 40 * MSS
    conn.sent_ms = world.now_ms
    conn.write(pattern(200 * MSS))
    world.settle()
    assert numbers(peer.take()) == list(range(40))
    world.run(for_ms=15)
    sent = ack(peer, 0, (1, 4))
    assert sent[0] == 0
    bursts = [len(sent)]
    for end in range(5, 41):
        part = ack(peer, 0, (1, end))
        bursts.append(len(part))
        sent += part
    assert max(bursts) <= 2  # the ACK clock goes on: no pause, and no burst
    assert 18 <= len(sent) <= 21
    ack(peer, 40)
    assert conn.cc.ssthresh == 20 * MSS
    assert 20 * MSS <= conn.cc.cwnd <= 21 * MSS


def test_queue_that_overflows_is_met_without_timeouts():
    """Slow start into a short queue: hundreds of segments are lost at once."""
    world = World(seed=1, rate=1250.0, delay_ms=50, queue_bytes=62_500)
    options = {"buffer_bytes": 1 << 20, "memory_bytes": 64 << 20}
    a, b = world.host("10.0.0.1/24", tcp=options), world.host("10.0.0.2/24", tcp=options)
    b.listen(9)
    flow = a.connect(b, 9)
    flow.send(pattern(2 << 20), close=True)
    world.run(until=lambda: b.accepted and b.accepted[0].is_eof)
    assert bytes(b.accepted[0].received) == pattern(2 << 20)
    assert a.tcp.retrans_segs > 100
    assert a.tcp.rto_timeouts == 0
