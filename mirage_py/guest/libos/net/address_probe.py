# SPDX-License-Identifier: MIT
"""Finding out whether an IPv4 address is in use, and announcing ours (RFC 5227 section 2). No I/O, no clock."""

# RFC 5227 section 1.1
PROBE_WAIT_MS = 1000
PROBE_NUM = 3
PROBE_MIN_MS = 1000
PROBE_MAX_MS = 2000
ANNOUNCE_WAIT_MS = 2000
ANNOUNCE_NUM = 2
ANNOUNCE_INTERVAL_MS = 2000

MAX_PROBES = 8  # addresses asked for at a time

FAR_MS = 1 << 60  # no deadline, as in net.timers


class Probe:
    """One question. on_result(ip, mac): the MAC of whoever uses the address, or None when nobody does."""

    def __init__(self, arp, ip, on_result, random):
        self.arp = arp
        self.ip = ip
        self.on_result = on_result
        self.sent = 0
        self.deadline_ms = 0
        self.timer_at = FAR_MS
        self.timer_serial = 0
        self._random = random

    def next_wait_ms(self):
        """How long after the probe that was sent."""
        if self.sent == PROBE_NUM:
            return ANNOUNCE_WAIT_MS
        return PROBE_MIN_MS + self._random.below(PROBE_MAX_MS - PROBE_MIN_MS)

    def on_timer(self, now_ms):
        self.arp.probe_due(self, now_ms)


class Announcement:
    """The second announcement of an address of ours, some time after the first."""

    def __init__(self, arp, ip):
        self.arp = arp
        self.ip = ip
        self.left = ANNOUNCE_NUM - 1
        self.deadline_ms = 0
        self.timer_at = FAR_MS
        self.timer_serial = 0

    def on_timer(self, now_ms):
        self.arp.announcement_due(self, now_ms)
