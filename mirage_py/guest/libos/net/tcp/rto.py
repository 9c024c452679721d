# SPDX-License-Identifier: MIT
"""The retransmission timeout (RFC 6298) and the probe timeout (RFC 8985 section 7.2), in milliseconds."""

INITIAL_MS = 1000
MIN_MS = 200  # RFC 6298 says 1 s; Linux, FreeBSD and Windows found 200 to 300 ms to do no harm, and losses to cost less
MAX_MS = 60000
MIN_PROBE_MS = 20  # a timer that fires more often than this costs more than a probe gains


class Rto:
    """rto_ms: the timeout now, backed off or not. wait_ms: that, or less: after it the tail of a flight is probed for.

    min_ms: the shortest round trip.

    probes: whether the connection has what probing needs (tlp.py); to be set before the first sample.
    """

    def __init__(self):
        self.srtt_8 = 0  # 8 * SRTT; 0 before the first sample
        self.rttvar_4 = 0  # 4 * RTTVAR
        self.min_ms = INITIAL_MS
        self.base_ms = INITIAL_MS
        self.rto_ms = INITIAL_MS
        self.wait_ms = INITIAL_MS
        self.probes = False

    def sample(self, rtt_ms):
        """A round-trip time, of a segment that was sent once (Karn), or by timestamps."""
        if rtt_ms < 1:
            rtt_ms = 1
        if rtt_ms < self.min_ms:
            self.min_ms = rtt_ms
        if self.srtt_8:
            error = rtt_ms - (self.srtt_8 >> 3)
            self.srtt_8 += error
            if error < 0:
                error = -error
            self.rttvar_4 += error - (self.rttvar_4 >> 2)
        else:
            self.srtt_8 = rtt_ms << 3
            self.rttvar_4 = rtt_ms << 1
        rto_ms = (self.srtt_8 >> 3) + self.rttvar_4
        if rto_ms < MIN_MS:
            rto_ms = MIN_MS
        elif rto_ms > MAX_MS:
            rto_ms = MAX_MS
        self.base_ms = rto_ms
        self.restart()

    def back_off(self):
        """RFC 6298 (5.5)."""
        self.rto_ms = self.wait_ms = min(self.rto_ms * 2, MAX_MS)

    def restart(self):
        """As before it was backed off."""
        rto_ms = self.base_ms
        self.rto_ms = self.wait_ms = rto_ms
        if self.probes and self.srtt_8:
            wait_ms = self.srtt_8 >> 2
            if wait_ms < MIN_PROBE_MS:
                wait_ms = MIN_PROBE_MS
            if wait_ms < rto_ms:
                self.wait_ms = wait_ms
