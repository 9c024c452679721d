# SPDX-License-Identifier: MIT
"""Congestion control: what every algorithm has in common. newreno.py and cubic.py have the rest.

An algorithm is an object with start(mss, rto, is_first_lost), which returns the Control of one connection;
`Tcp(congestion=...)` chooses it. Numbers are octets and milliseconds; all of it is integer arithmetic, below 2**62.
"""

INITIAL_SEGMENTS = 10  # RFC 6928
UNLIMITED = 1 << 30

# HyStart++, RFC 9406 section 4.3.
MIN_RTT_THRESH_MS = 4
MAX_RTT_THRESH_MS = 16
MIN_RTT_DIVISOR = 8
CSS_GROWTH_DIVISOR = 4
CSS_ROUNDS = 5


class Control:
    """The congestion window of one connection, and slow start: RFC 5681 section 3.1, with HyStart++ (RFC 9406).

    cwnd: octets that may be in the network. ssthresh: below it the window doubles in a round trip. An algorithm adds
    avoid(acked, now_ms), reduced(flight) and, if it has state of its own, extends save and restore.

    HyStart++ wants the least of eight round-trip times of each round. Here one segment is timed in a round, the first
    one sent in it, which is the one that meets the shortest queue.
    """

    # In the object once they are set: what most connections never need would make the table of their attributes larger.
    undo = None  # the state before the last reduction
    # Proportional rate reduction; set by begin_recovery.
    target = 0
    resent_octets = 0  # sent again since then
    _flight = 0
    _delivered = 0

    def __init__(self, mss, rto, is_first_lost=False):
        """rto: the connection's rto.Rto, for its srtt_8.

        is_first_lost: the SYN had to be repeated; then one segment is enough (RFC 5681 section 3.1).
        """
        self.mss = mss
        self.rto = rto
        self.cwnd = mss if is_first_lost else min(INITIAL_SEGMENTS * mss, max(2 * mss, 14600))
        self.initial = self.cwnd
        self.ssthresh = UNLIMITED
        self._round_rtt_ms = 0  # of the round before; 0: not known
        self._css_rounds = 0  # left of conservative slow start; 0: not in it
        self._css_rtt_ms = 0

    def set_mss(self, mss):
        """The path takes smaller segments than was thought."""
        self.mss = mss

    def on_ack(self, acked, now_ms):
        """New data acknowledged while cwnd was the limit, outside loss recovery."""
        cwnd = self.cwnd
        if cwnd >= self.ssthresh:
            self.avoid(acked, now_ms)
        elif self._css_rounds:
            self.cwnd = cwnd + acked // CSS_GROWTH_DIVISOR
        else:
            # RFC 3465 limits this to 2 * MSS for one ACK; an ACK may stand for 64 KiB here, so the limit is on what it
            # acknowledged: the window doubles in a round trip, as with one ACK for each segment.
            self.cwnd = cwnd + acked

    def on_rtt(self, rtt_ms):
        """The round-trip time of the first segment of a round in which cwnd was the limit."""
        if self.ssthresh != UNLIMITED:
            return  # only the first slow start does not know where it ends
        if not self._css_rounds:
            last_ms = self._round_rtt_ms
            self._round_rtt_ms = rtt_ms
            if last_ms and rtt_ms >= last_ms + min(
                max(last_ms // MIN_RTT_DIVISOR, MIN_RTT_THRESH_MS), MAX_RTT_THRESH_MS
            ):
                self._css_rounds = CSS_ROUNDS
                self._css_rtt_ms = rtt_ms
        elif rtt_ms < self._css_rtt_ms:
            # It was not the queue: on with slow start.
            self._css_rounds = 0
            self._round_rtt_ms = rtt_ms
        else:
            self._css_rounds -= 1
            if not self._css_rounds:
                self.ssthresh = self.cwnd

    def on_loss(self, flight, _now_ms):
        """Fast recovery begins, `flight` octets outstanding."""
        self.undo = self.save()
        self.ssthresh = self.target = max(self.reduced(flight), 2 * self.mss)
        self.cwnd = self.ssthresh

    def begin_recovery(self, flight, target):
        """Fast recovery begins (RFC 9937). flight: octets in the network before the segment that tells so came;

        target: those that shall be there when it ends, usually ssthresh.
        """
        self.target = target
        self.resent_octets = 0
        self._flight = max(flight, 1)
        self._delivered = 0

    def on_delivered(self, delivered, sent, pipe, is_safe):
        """Fast recovery goes on: `delivered` octets more have come, `pipe` are in the network.

        sent: new octets sent since it began. is_safe: snd_una moved, and nothing more is lost.
        """
        target = self.target
        total = self._delivered + delivered
        self._delivered = total
        sent += self.resent_octets
        if pipe > target:
            # Proportional: as the target is to the flight.
            room = -(-total * target // self._flight) - sent
        else:
            # Slow start, but not above the target; packet conservation where losses go on.
            room = max(total - sent, delivered)
            if is_safe:
                room += self.mss
            room = min(room, target - pipe)
        if not sent and room < self.mss:
            room = self.mss  # the fast retransmission
        self.cwnd = pipe + max(room, 0)

    def on_recovered(self, flight, _now_ms):
        """Fast recovery ends."""
        # RFC 6582 section 3.2 (3): not a burst of everything that the window now allows.
        self.cwnd = min(self.target, max(flight, self.mss) + self.mss)

    def on_timeout(self, flight, is_first, _now_ms):
        """The retransmission timer fired; is_first: not a repetition."""
        if is_first:
            self.undo = self.save()
            self.ssthresh = max(self.reduced(flight), 2 * self.mss)
        self.cwnd = self.mss

    def on_recovery_ack(self, acked, now_ms):
        """New data acknowledged while recovering from a timeout."""
        self.on_ack(min(acked, 2 * self.mss), now_ms)

    def on_spurious(self):
        """Nothing was lost when the window was last reduced: as it was before (RFC 4015, RFC 9438 section 4.9.2)."""
        if self.undo is not None:
            self.restore(self.undo)
            self.undo = None

    def on_idle(self):
        """Nothing was sent for a retransmission timeout."""
        # RFC 5681 section 4.1: the ACK clock is gone.
        self.cwnd = min(self.cwnd, self.initial)

    def save(self):
        return (self.cwnd, self.ssthresh)

    def restore(self, saved):
        self.cwnd = max(self.cwnd, saved[0])
        self.ssthresh = saved[1]
