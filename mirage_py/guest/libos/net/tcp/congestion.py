# SPDX-License-Identifier: MIT
"""Congestion control. An algorithm is a class with these methods; `Tcp(congestion=...)` chooses it.

cwnd                              octets that may be in the network
on_ack(acked, now_ms)             new data acknowledged while cwnd was the limit, outside loss recovery
on_loss(flight, now_ms)           fast recovery begins, `flight` octets outstanding
on_recovered(flight, now_ms)      it ends
on_timeout(flight, is_first, now_ms)  the retransmission timer fired; is_first: not a repetition
on_recovery_ack(acked, now_ms)    new data acknowledged while recovering from a timeout
on_idle()                         nothing was sent for a retransmission timeout
"""

INITIAL_SEGMENTS = 10  # RFC 6928


class NewReno:
    """Slow start and congestion avoidance (RFC 5681, with appropriate byte counting as of RFC 3465, L = 2)."""

    def __init__(self, mss, is_first_lost=False):
        """is_first_lost: the SYN had to be repeated; then one segment is enough (RFC 5681 section 3.1)."""
        self.mss = mss
        self.cwnd = mss if is_first_lost else min(INITIAL_SEGMENTS * mss, max(2 * mss, 14600))
        self.initial = self.cwnd
        self.ssthresh = 1 << 30
        self._counted = 0

    def set_mss(self, mss):
        """The path takes smaller segments than was thought."""
        self.mss = mss

    def on_ack(self, acked, _now_ms):
        cwnd = self.cwnd
        if cwnd < self.ssthresh:
            # RFC 3465 limits this to 2 * MSS for one ACK; an ACK may stand for 64 KiB here, so the limit is on what it
            # acknowledged: the window doubles in a round trip, as with one ACK for each segment.
            self.cwnd = cwnd + acked
        else:
            counted = self._counted + acked
            if counted >= cwnd:
                counted -= cwnd
                self.cwnd = cwnd + self.mss
            self._counted = counted

    def on_loss(self, flight, _now_ms):
        self.ssthresh = max(flight >> 1, 2 * self.mss)
        self.cwnd = self.ssthresh
        self._counted = 0

    def on_recovered(self, flight, _now_ms):
        # RFC 6582 section 3.2 (3): not a burst of everything that the window now allows.
        self.cwnd = min(self.ssthresh, max(flight, self.mss) + self.mss)

    def on_timeout(self, flight, is_first, _now_ms):
        if is_first:
            self.ssthresh = max(flight >> 1, 2 * self.mss)
        self.cwnd = self.mss
        self._counted = 0

    def on_recovery_ack(self, acked, now_ms):
        self.on_ack(min(acked, 2 * self.mss), now_ms)

    def on_idle(self):
        # RFC 5681 section 4.1: the ACK clock is gone.
        self.cwnd = min(self.cwnd, self.initial)
