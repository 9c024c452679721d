# SPDX-License-Identifier: MIT
"""NewReno's congestion avoidance (RFC 5681 section 3.1, with the byte counting of RFC 3465)."""

from libos.net.tcp.congestion import Control


class NewReno:
    """The algorithm, for Tcp."""

    def start(self, mss, rto, is_first_lost=False):
        return NewRenoControl(mss, rto, is_first_lost)


class NewRenoControl(Control):
    """One segment more for each window acknowledged; half of what was in the network after a loss."""

    def __init__(self, mss, rto, is_first_lost=False):
        super().__init__(mss, rto, is_first_lost)
        self._counted = 0

    def avoid(self, acked, _now_ms):
        counted = self._counted + acked
        cwnd = self.cwnd
        if counted >= cwnd:
            counted -= cwnd
            self.cwnd = cwnd + self.mss
        self._counted = counted

    def reduced(self, flight):
        self._counted = 0
        return flight >> 1
