# SPDX-License-Identifier: MIT
"""The retransmission timeout (RFC 6298), in milliseconds."""

INITIAL_MS = 1000
MIN_MS = 200  # RFC 6298 says 1 s; Linux, FreeBSD and Windows found 200 to 300 ms to do no harm, and losses to cost less
MAX_MS = 60000


class Rto:
    """rto_ms: the timeout now, backed off or not."""

    def __init__(self):
        self.srtt_8 = 0  # 8 * SRTT; 0 before the first sample
        self.rttvar_4 = 0  # 4 * RTTVAR
        self.base_ms = INITIAL_MS
        self.rto_ms = INITIAL_MS

    def sample(self, rtt_ms):
        """A round-trip time, of a segment that was sent once (Karn), or by timestamps."""
        if rtt_ms < 1:
            rtt_ms = 1
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
        self.rto_ms = rto_ms

    def back_off(self):
        """RFC 6298 (5.5)."""
        self.rto_ms = min(self.rto_ms * 2, MAX_MS)
