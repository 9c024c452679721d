# SPDX-License-Identifier: MIT
"""The window's right edge is announced where the peer looks at it: on the next sequence number (RFC 9293 section
3.10.7.4, SND.WL1). What goes out with an older one, a repetition or a probe, neither moves the edge nor settles an
acknowledgement that is due.
"""

import pytest

from libos.wire import tcp
from libos.wire.tcp import ACK
from tests.net.tcp.conftest import Ends
from tests.net.world import World, pattern

SACK = tcp.syn_options(1000, None, True)
PLAIN = tcp.syn_options(1000)
ALL = tcp.syn_options(1000, 7, True, 1)


class Listening:
    """Hears what a peer hears that got every segment once: the edge moves where SND.WL1 and SND.WL2 let it."""

    def __init__(self, peer, conn):
        self.peer = peer
        self.conn = conn
        self.shift = conn.rcv_wscale
        self.next = peer.rcv_nxt
        self.wl1 = self.acked = self.edge = 0
        self.kinds = []

    def hear(self):
        for segment in self.peer.take():
            end = segment.seq + len(segment.data) + (segment.flags & tcp.FIN)
            at = segment.ack + (segment.window << self.shift)
            is_old = segment.seq < self.next
            self.kinds.append("old" if is_old else "next")
            if end > self.next or segment.seq == self.next:
                if segment.ack > self.acked or segment.seq >= self.wl1:
                    self.edge = max(self.edge, at)
                    self.wl1 = segment.seq
                self.next = max(self.next, end)
                self.acked = max(self.acked, segment.ack)

    def knows_all(self):
        self.hear()
        return self.acked == self.conn.rcv_acked - self.conn.irs and self.edge == self.conn.rcv_adv - self.conn.irs


def full(ends, options=SACK, left=0):
    """A peer that has filled the host's window but for `left` octets, and hears everything."""
    peer = ends.connected(options)
    conn = peer.flow.conn
    peer.listening = Listening(peer, conn)
    while conn.rcv_buf - conn.rx_octets > left:
        count = min(1000, conn.rcv_buf - conn.rx_octets - left)
        peer.send(ACK, data=bytes(count), options=ends.stamp(peer))
    ends.world.run(for_ms=50)
    assert peer.listening.knows_all()
    return peer, conn


def again(ends, peer, conn, what):
    """Something old goes out, as `what` says; the peer acknowledges nothing of it."""
    world = ends.world
    if what == "timeout":
        conn.write(b"x" * 500)
        world.settle()
        peer.listening.hear()
        return lambda: world.run(for_ms=1500)
    if what == "probe of the tail":
        conn.write(b"x" * 3000)
        world.settle()
        peer.listening.hear()
        return lambda: world.run(for_ms=1500)
    if what == "FIN":
        conn.close()
        world.settle()
        peer.listening.hear()
        return lambda: world.run(for_ms=1500)
    if what == "window probe":
        peer.send(ACK, window=0, options=ends.stamp(peer))
        conn.write(b"x")
        world.settle()
        return lambda: world.run(for_ms=700)
    conn.set_keepalive(1000)
    return lambda: world.run(for_ms=1100)


OLD = ["timeout", "probe of the tail", "FIN", "window probe", "keepalive"]


@pytest.mark.parametrize("options", [PLAIN, SACK, ALL], ids=["plain", "SACK", "all"])
@pytest.mark.parametrize("what", OLD)
def test_old_number_does_not_move_the_edge(ends, options, what):
    peer, conn = full(ends, options)
    act = again(ends, peer, conn, what)
    conn.read(conn.rcv_buf // 3)  # not yet worth a segment of its own
    del peer.listening.kinds[:]
    act()
    assert peer.listening.knows_all()
    assert "old" in peer.listening.kinds
    # Now it is: the peer hears of it at once, not when it asks.
    conn.read(conn.rcv_buf // 3)
    ends.world.settle()
    assert peer.listening.knows_all()
    assert peer.listening.edge - peer.listening.acked >= conn.rcv_buf // 2


@pytest.mark.parametrize("left", [0, 3000])
def test_window_that_opens_with_a_fast_retransmission(ends, left):
    """Both are due in one turn: the repetition goes first, the news with the next number."""
    peer, conn = full(ends, left=left)
    conn.write(pattern(5000))
    ends.world.settle()
    peer.listening.hear()
    seq = conn.iss + 1
    option = tcp.sack_option([(seq + 1000 & 0xFFFFFFFF, seq + 5000 & 0xFFFFFFFF)])
    peer.send(ACK, options=option, settle=False)
    ends.host.stack.poll(ends.world.now_ms)
    conn.read(conn.rcv_buf)
    del peer.listening.kinds[:]
    ends.world.settle()
    assert peer.listening.knows_all()
    assert peer.listening.edge - peer.listening.acked == conn.rcv_buf >> conn.rcv_wscale << conn.rcv_wscale


@pytest.mark.parametrize("what", ["timeout", "FIN"])
def test_old_number_does_not_settle_an_acknowledgement(ends, what):
    """A peer that has all octets of a segment drops it, with its acknowledgement: that still comes."""
    peer = ends.connected(SACK)
    conn = peer.flow.conn
    peer.listening = Listening(peer, conn)
    act = again(ends, peer, conn, what)
    while peer.listening.kinds.count("old") < 1:
        # Just before: the delayed acknowledgement is not due yet.
        wait_ms = ends.host.stack.next_deadline_ms() - ends.world.now_ms
        ends.world.run(for_ms=max(wait_ms - 1, 0))
        peer.send(ACK, data=b"y", options=ends.stamp(peer))
        ends.world.run(for_ms=1)
        peer.listening.hear()
        act = None
    ends.world.run(for_ms=45)
    assert act is None
    assert peer.listening.knows_all()
    assert peer.listening.acked == peer.seq


@pytest.mark.parametrize("loss", [0.0, 0.05])
@pytest.mark.parametrize("address", [4, 6])
def test_both_send_and_read_slowly_without_asking_for_windows(address, loss):
    """Data both ways, applications that read now and then: nobody has to wait for the persist timer."""
    names = ("10.0.0.1/24", "10.0.0.2/24") if address == 4 else ("fd00::1/64", "fd00::2/64")
    world = World(seed=5, delay_ms=5.0, loss=loss)
    a, b = (world.host(name, tcp={"buffer_bytes": 16384}) for name in names)
    b.listen(7, reads=False)
    flow = a.connect(b, 7)
    flow.reads = False
    world.run(until=lambda: b.accepted)
    flows = (flow, b.accepted[0])
    text = pattern(300_000)
    for one in flows:
        one.send(text)
    got = [bytearray(), bytearray()]
    while len(got[0]) < len(text) or len(got[1]) < len(text):
        for index, one in enumerate(flows):
            got[index] += one.conn.read(5000)
        world.run(for_ms=20)
        assert world.now_ms < 60_000
    assert bytes(got[0]) == bytes(got[1]) == text
    assert a.tcp.window_probes + b.tcp.window_probes <= 2


@pytest.mark.parametrize("address", ["10.0.0.2/24", "fd00::2/64"])
def test_window_of_the_handshake_is_not_taken_back(world, address):
    """Others connect before the handshake is complete, and there is less memory for each."""
    ends = Ends(world, address, tcp={"memory_bytes": 1 << 20})
    peer = ends.peer(port=4999)
    peer.send(tcp.SYN, options=SACK)
    window = peer.expect("SA").window
    windows = [window]
    for number in range(30):
        other = ends.peer(port=5000 + number)
        other.send(tcp.SYN, options=SACK)
        windows.append(other.expect("SA").window)
        if number % 2:
            other.send(ACK)
    assert windows == sorted(windows, reverse=True)
    assert windows[-1] == 8192  # what is promised is bounded
    peer.send(ACK, seq=5)
    peer.send(tcp.RST | ACK, seq=9)
    assert [segment.window for segment in peer.take()] == [window]  # of the challenge
    peer.seq = 1
    peer.send(ACK)
    conn = ends.host.accepted[-1].conn
    for at in range(0, window, 1024):
        peer.send(ACK, data=bytes(min(1024, window - at)))
    world.run(for_ms=50)
    assert conn.rx_octets == window
    assert peer.take()[-1].ack == window + 1
