# SPDX-License-Identifier: MIT
"""What is known of the MTU of paths (RFC 1191, RFC 8201), for either IP layer. No I/O, no clock.

TCP's probing (net.tcp.plpmtud) puts its finds into the same table, for paths on which ICMP is lost.

Only destinations are in the table whose path is narrower than the link. An entry is forgotten some time after it was
last lowered (RFC 1191 section 6.3): so a path that became wider is found out, and so is a forged message.
"""

from libos.net.timers import FAR_MS

MAX_PATHS = 256
AGE_MS = 600000  # RFC 1191 section 6.3: ten minutes

# RFC 1191 section 7.1: what links there are, for routers that do not tell their MTU.
PLATEAUS = (32000, 17914, 8166, 4352, 2002, 1492, 1006, 508, 296, 68)


def plateau_below(length):
    """The next smaller MTU to try after a packet of `length` octets did not get through."""
    for plateau in PLATEAUS:
        if plateau < length:
            return plateau
    return PLATEAUS[-1]


class PathMtus:
    """The table. timers: net.timers.Timers. link_mtu: of every path that is not in it; min_mtu: below it we never go.

    Addresses are whatever the layer uses as such.
    """

    def __init__(self, timers, link_mtu, min_mtu):
        self.link_mtu = link_mtu
        self.min_mtu = min_mtu
        self.timer_at = FAR_MS
        self.timer_place = 0
        self._timers = timers
        self._table = {}  # address -> (mtu, deadline_ms, is_guess)
        timers.restorers.append(self._rearm)

    def __len__(self):
        return len(self._table)

    def lookup(self, ip):
        """The MTU of the path to an address."""
        entry = self._table.get(ip)
        return self.link_mtu if entry is None else entry[0]

    def is_guess(self, ip):
        """Whether what `lookup` says may be too little: it was not a router that said so, nor was it tried."""
        entry = self._table.get(ip)
        return entry is not None and entry[2]

    def lower(self, ip, mtu, now_ms, is_guess=False):
        """A router says that the path has this MTU. Returns True when that is news: paths only become narrower."""
        mtu = max(mtu, self.min_mtu)
        if mtu >= self.lookup(ip):
            return False
        if ip not in self._table and len(self._table) >= MAX_PATHS:
            del self._table[self._oldest()]
        self._table[ip] = (mtu, now_ms + AGE_MS, is_guess)
        if self.timer_at == FAR_MS:
            self._timers.schedule(self, now_ms + AGE_MS)
        return True

    def widen(self, ip, mtu, is_guess):
        """Packets of `mtu` octets were seen to get through; is_guess: perhaps larger ones do. No effect on others."""
        entry = self._table.get(ip)
        if entry is None or mtu < entry[0]:
            return
        if mtu >= self.link_mtu:
            del self._table[ip]
        else:
            self._table[ip] = (mtu, entry[1], is_guess)

    def _oldest(self):
        oldest = None
        for ip, entry in self._table.items():
            if oldest is None or entry[1] < self._table[oldest][1]:
                oldest = ip
        return oldest

    def _rearm(self, _now_ms):
        if self._table:
            self._timers.schedule(self, self._table[self._oldest()][1])

    def on_timer(self, now_ms):
        for ip, entry in list(self._table.items()):
            if entry[1] <= now_ms:
                del self._table[ip]
        self._rearm(now_ms)
