# SPDX-License-Identifier: MIT
"""CUBIC (RFC 9438): the window as a cubic function of the time since the last loss.

With t in seconds and windows in segments, section 4.2 has W_cubic(t) = 0.4 * (t - K)**3 + W_max and
K = cbrt((W_max - cwnd_epoch) / 0.4). Here t is in milliseconds and windows in octets, and no float is needed.
"""

from libos.net.tcp.congestion import Control

# beta_cubic is 7 / 10; alpha_cubic, 3 * (1 - beta) / (1 + beta), is 9 / 17 (section 4.3).
FAR_MS = 1000000  # |t - K| is taken for no more: its third power stays below 2**60
RTT_MS = 100  # where none was measured


class Cubic:
    """The algorithm, for Tcp."""

    def start(self, mss, rto, is_first_lost=False):
        return CubicControl(mss, rto, is_first_lost)


class CubicControl(Control):
    """w_max: the window when the last loss came; 0: slow start ended without one, or after a timeout."""

    # In the object once they are set: of most connections, never.
    w_max = 0
    _prior = 0  # cwnd then
    _epoch_ms = None  # when this congestion avoidance began
    _k_ms = 0
    _w_est = 0
    _est_counted = 0
    _limited_ms = 0
    _remainder = 0

    def avoid(self, acked, now_ms):
        cwnd = self.cwnd
        mss = self.mss
        rtt_ms = (self.rto.srtt_8 >> 3) or RTT_MS
        if self._epoch_ms is None:
            self._begin(now_ms)
        elif now_ms - self._limited_ms > 2 * rtt_ms + 40:
            # Section 5.8: time in which cwnd was not the limit does not count. No ACK comes then, of those that do.
            self._epoch_ms += now_ms - self._limited_ms - rtt_ms
        self._limited_ms = now_ms
        acked = min(acked, cwnd)
        # Section 4.3: what Reno would have by now.
        counted = self._est_counted + (9 if self._w_est < self._prior else 17) * acked
        if counted >= 17 * cwnd:
            counted -= 17 * cwnd
            self._w_est += mss
        self._est_counted = counted
        # Section 4.2: where the cubic function is a round trip from now.
        target = self.w_max + cubic(now_ms + rtt_ms - self._epoch_ms - self._k_ms, mss)
        if target < self._w_est:
            self.cwnd = max(cwnd, self._w_est)
            return
        target = min(max(target, cwnd), cwnd + (cwnd >> 1))
        growth = (target - cwnd) * acked + self._remainder
        self.cwnd = cwnd + growth // cwnd
        self._remainder = growth % cwnd

    def _begin(self, now_ms):
        """Congestion avoidance begins."""
        cwnd = self.cwnd
        self._epoch_ms = now_ms
        self._w_est = cwnd
        self._est_counted = 0
        self._remainder = 0
        if self.w_max > cwnd:
            # Octets to segments, by 0.4, seconds to milliseconds: all under the root.
            self._k_ms = cube_root((self.w_max - cwnd) * 2500000 // self.mss * 1000)
        else:
            # Sections 4.8 and 4.10.
            self._k_ms = 0
            self.w_max = cwnd

    def reduced(self, flight):
        cwnd = self.cwnd
        # Section 4.7, fast convergence: a flow that did not get back to where it was leaves room for others.
        self.w_max = cwnd * 17 // 20 if cwnd < self.w_max else cwnd
        self._prior = cwnd
        self._epoch_ms = None
        return min(flight, cwnd) * 7 // 10

    def on_timeout(self, flight, is_first, now_ms):
        super().on_timeout(flight, is_first, now_ms)
        self.w_max = 0
        self._epoch_ms = None

    def on_idle(self):
        super().on_idle()
        self._epoch_ms = None

    def save(self):
        return (self.cwnd, self.ssthresh, self.w_max, self._prior, self._epoch_ms, self._k_ms, self._w_est)

    def restore(self, saved):
        super().restore(saved)
        _, _, self.w_max, self._prior, self._epoch_ms, self._k_ms, self._w_est = saved


def cubic(t_ms, mss):
    """0.4 * t**3 segments, as octets; t_ms may be negative."""
    if t_ms < 0:
        return -cubic(-t_ms, mss)
    t_ms = min(t_ms, FAR_MS)
    return t_ms * t_ms * t_ms // 1000000 * 4 * mss // 10000


def cube_root(number):
    """The largest integer whose third power is not more than `number`, below 2**62."""
    root = 0
    bit = 1 << 20
    while bit:
        trial = root | bit
        if trial * trial * trial <= number:
            root = trial
        bit >>= 1
    return root
