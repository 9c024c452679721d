# SPDX-License-Identifier: MIT
"""Finding out whether an IPv4 address is in use, and announcing ours (RFC 5227 section 2). No I/O, no clock.

Both are errands of Arp's: it calls `due` when deadline_ms has come, until that returns False.
"""

from libos.net.timers import FAR_MS

# RFC 5227 section 1.1
PROBE_WAIT_MS = 1000
PROBE_NUM = 3
PROBE_MIN_MS = 1000
PROBE_MAX_MS = 2000
ANNOUNCE_WAIT_MS = 2000
ANNOUNCE_NUM = 2
ANNOUNCE_INTERVAL_MS = 2000


class Probe:
    """Is `ip` in use? on_result(ip, mac, now_ms): the MAC of whoever uses it, or None when nobody does."""

    is_probe = True

    def __init__(self, arp, ip, on_result):
        self.arp = arp
        self.ip = ip
        self.on_result = on_result
        self.deadline_ms = 0
        self._sent = -1  # not even the wait before the first has begun

    def due(self, now_ms):
        if self._sent == PROBE_NUM:
            self.deadline_ms = FAR_MS
            self.on_result(self.ip, None, now_ms)
            return False
        below = self.arp.random.below
        if self._sent < 0:
            self._sent = 0
            self.deadline_ms = now_ms + below(PROBE_WAIT_MS)
        elif self.arp.send_probe(self.ip):
            self._sent += 1
            is_last = self._sent == PROBE_NUM
            wait_ms = ANNOUNCE_WAIT_MS if is_last else PROBE_MIN_MS + below(PROBE_MAX_MS - PROBE_MIN_MS)
            self.deadline_ms = now_ms + wait_ms
        else:
            self.deadline_ms = now_ms + PROBE_MIN_MS  # no buffer
        return True


class Announcement:
    """Tells the network our MAC, twice, for tables that remember an earlier owner of `ip`."""

    is_probe = False

    def __init__(self, arp, ip):
        self.arp = arp
        self.ip = ip
        self.deadline_ms = 0
        self._left = ANNOUNCE_NUM

    def due(self, now_ms):
        self.arp.announce(self.ip)
        self._left -= 1
        self.deadline_ms = now_ms + ANNOUNCE_INTERVAL_MS
        return self._left > 0
