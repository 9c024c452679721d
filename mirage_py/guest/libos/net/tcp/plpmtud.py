# SPDX-License-Identifier: MIT
"""Packetization layer path MTU discovery (RFC 4821): a path that swallows large packets, and says nothing.

Segments that are sent again and again in vain, timeout after timeout, might be too large: the next is small (BASES).
When that is acknowledged, the path takes small ones, and it is asked at once whether it takes large ones too: a probe
is a segment of new data that is larger than conn.mss, and is acknowledged or not. If the largest gets through it was
loss, and everything is as before. If not, the range between is searched, and tried anew after ten minutes. A probe
that is lost, and nothing else with it, says nothing of congestion (section 7.4).

What is found out is put into the table of paths, where ICMP's news are too (net.ip.pmtu): the next connection begins
with it. As long as it is a guess, that one asks with a probe, too. Sizes are of IP packets.
"""

from libos.net.tcp import rack, segments
from libos.net.tcp.rto import MAX_MS
from libos.net.tcp.scoreboard import unsacked
from libos.net.timers import FAR_MS

BASES = (1280, 576)  # nearly every path takes them; IPv6 has no need of the second
COMMON = 1500
NEAR = 16  # so near to what is too large the search ends
TRIES = 2  # a probe may be lost as anything else
AGAIN_MS = 600000  # RFC 4821 section 7.3: what is too large is asked for anew, as in RFC 1191 section 6.3


class Search:
    """low: gets through; high: not known to be too large; ceiling: what the link and the peer take at all.

    size: what is to be tried; 0: nothing. start, end: the probe on its way; 0: there is none. is_suspect: low is a
    guess, and nothing was acknowledged since.
    """

    def __init__(self, conn, low):
        self.conn = conn
        self.low = low
        self.high = self.ceiling = conn.rcv_mss + conn.ip.header_bytes + 20
        self.size = 0
        self.start = self.end = 0
        self.tries = 0
        self.is_suspect = False
        self.again_ms = 0
        self.timer_at = FAR_MS
        self.timer_place = 0

    def rest(self, now_ms):
        """Nothing is to be tried for some time."""
        self.size = self.start = self.end = self.tries = 0
        self.again_ms = now_ms + AGAIN_MS
        self.arm()

    def arm(self):
        if self.again_ms:
            self.conn.tcp.timers.schedule(self, self.again_ms)

    def end_of_it(self):
        """The connection needs none, or is no more."""
        self.conn.tcp.timers.cancel(self)
        self.conn.search = None

    def on_timer(self, _now_ms):
        self.conn.tcp.timers.cancel(self)
        self.again_ms = 0
        self.high = self.size = self.ceiling
        self.conn.is_fast = False

    def choose(self, now_ms):
        """What to try next."""
        conn = self.conn
        self.start = self.end = self.tries = 0
        if self.high - self.low >= NEAR:
            self.size = COMMON if self.low < COMMON < self.high else (self.low + self.high + 1) >> 1
            return
        conn.ip.raise_path_mtu(conn.remote_ip, self.low, False)
        if self.low >= self.ceiling:
            self.end_of_it()
        else:
            self.rest(now_ms)


def size_of(conn):
    """The size of a full segment's packet."""
    return conn.mss + conn.header_len - 14


def begin(conn, now_ms):
    """A connection begins, or ICMP has made its segments smaller: they may become larger later."""
    search = conn.search
    low = size_of(conn)
    if search is None:
        search = Search(conn, low)
        if low >= search.ceiling:
            return
        conn.search = search
    search.low = min(low, search.ceiling)
    search.is_suspect = False
    search.rest(now_ms)
    if conn.ip.is_path_guessed(conn.remote_ip):
        search.on_timer(now_ms)


def on_timeout(conn, now_ms):
    """A retransmission timeout: perhaps it is the size. Called with the timer backed off."""
    search = conn.search
    if search is not None and search.end:
        _lost(search, now_ms)
        return
    mss = conn.mss
    rto = conn.rto
    octets = min(conn.snd_nxt - conn.snd_una, conn.snd_wnd, mss)
    # The second in a row, of two of the same; the third, where segments of that size have come through before, or where
    # it is less than a full one: a message, or what a small window has room for.
    factor = 8 if octets < mss or (conn.full_end and conn.snd_una >= conn.full_end) else 4
    if rto.rto_ms < min(factor * rto.base_ms, MAX_MS):
        return
    for left, right in conn.sacked:
        if right - left >= octets:
            return  # that was a large one
    size = size_of(conn) - mss + octets
    least = 1280 if conn.ip.version == 6 else 576
    for base in BASES:
        if least <= base < size:
            if search is None:
                search = conn.search = Search(conn, base)
            search.low = base
            search.is_suspect = True
            search.size = search.again_ms = 0
            conn.tcp.timers.cancel(search)
            resize(conn, base)
            return


def resize(conn, size):
    """From now on full segments make packets of `size` octets."""
    segments.set_mss(conn, size - conn.ip.header_bytes - 20)
    if conn.cc is not None:
        conn.cc.set_mss(conn.mss)


def on_ack(conn, is_spurious, now_ms):
    """Something was acknowledged. is_spurious: it was sent before the timeout, and so was large."""
    search = conn.search
    if search.is_suspect:
        search.is_suspect = False
        if is_spurious:
            search.end_of_it()
            resize(conn, search.ceiling)
            return
        conn.tcp.mtu_suspicions += 1
        conn.ip.lower_path_mtu(conn.remote_ip, search.low, now_ms, True)
        search.on_timer(now_ms)  # is it true?
    elif search.end and conn.snd_una >= search.end:
        conn.tcp.mtu_probe_successes += 1
        search.low = search.size
        resize(conn, search.size)
        conn.ip.raise_path_mtu(conn.remote_ip, search.size, True)
        search.choose(now_ms)


def on_loss(conn, lost, now_ms):
    """Loss was found, of `lost` octets, and a probe is on its way. Returns True when it is all that was lost."""
    search = conn.search
    start, end = search.start, search.end
    if conn.lost_below <= start:
        search.start = search.end = 0
        search.tries -= 1  # it will be sent again as other octets are, and say nothing
        return False
    _lost(search, now_ms)
    return lost == unsacked(conn, max(start, conn.snd_una), min(end, conn.lost_below))


def _lost(search, now_ms):
    search.start = search.end = 0
    if search.tries >= TRIES:
        search.conn.tcp.mtu_probe_failures += 1
        search.high = search.size - 1
        search.choose(now_ms)


def probe(conn, now_ms):
    """Sends the probe that is wanted, if there is room and enough to follow it.

    Returns True when nothing else is to be sent now: there will be room.
    """
    search = conn.search
    mss = conn.mss
    size = search.size - conn.header_len + 14
    snd_nxt = conn.snd_nxt
    flight = snd_nxt - conn.snd_una
    needed = size + mss  # what follows it shows whether it has come
    if conn.tx_end - snd_nxt < needed or conn.snd_wnd - flight < needed or conn.cc.cwnd < needed:
        return False
    if conn.cc.cwnd - flight < needed:
        return True
    if flight:
        rack.note_sent(conn, snd_nxt, now_ms)
    else:
        conn.rtt_ms = now_ms
        conn.rtt_seq = snd_nxt + size
    conn.mss = size  # one segment, not to be cut
    try:
        is_sent = segments.emit(conn, snd_nxt, size, 0x10, now_ms)
    finally:
        conn.mss = mss
    if is_sent:
        search.start = snd_nxt
        search.end = conn.snd_nxt = snd_nxt + size
        search.tries += 1
        if conn.persists or not conn.rtx_deadline:
            conn.persists = False
            conn.rtx_deadline = now_ms + conn.rto.wait_ms
            conn.arm(conn.rtx_deadline)
    return False
