# SPDX-License-Identifier: MIT
"""SYN cookies (RFC 4987 section 3.6): a handshake that costs the listener nothing until it is complete.

With the backlog full, what a HalfOpen would remember goes into the initial sequence number of the SYN and ACK, which
the peer's ACK brings back: 5 bits of time, 3 for the MSS, and 24 of a keyed hash; the peer's own number is added, so
that numbers of one client go up. Window scale and SACK-permitted are in the lowest bits of our timestamp, which comes
back too (as in Linux); a peer without timestamps gets neither.
"""

import hashlib
from struct import pack

from libos.net.tcp.input import default_mss
from libos.net.tcp.listener import HalfOpen
from libos.wire.tcp import HEADER_BYTES, SYN, Segment

TICK_MS = 64000
TICKS = 2  # so many are believed: a cookie is good for 64 to 128 s
# What links have, less than 512 and jumbo frames at the ends; the peer's offer is rounded down.
MSS = (216, 536, 1220, 1360, 1400, 1440, 1460, 8940)

_NO_SCALE = 15  # RFC 7323 ends at 14
_SACK = 16
_BITS = 31
_MASK = 0xFFFFFFFF


class Cookies:
    """The key, and when cookies were sent last. random: bytes(n)."""

    def __init__(self, random):
        self._key = random.bytes(16)
        self.until_ms = 0  # nobody has a good cookie later than this

    def make(self, key, seq, mss, now_ms):
        """The number for a SYN `seq` that offers `mss`, from the connection with this table key."""
        index = len(MSS) - 1
        while index and MSS[index] > mss:
            index -= 1
        tick = now_ms // TICK_MS
        self.until_ms = (tick + TICKS) * TICK_MS
        return (self._cookie(key, seq, tick, index) + seq) & _MASK

    def check(self, key, seq, iss, now_ms):
        """The MSS of the SYN `seq` that we are said to have answered with `iss`; 0 when we have not, or long ago."""
        cookie = (iss - seq) & _MASK
        index = cookie >> 24 & 7
        tick = now_ms // TICK_MS
        age = (tick - (cookie >> 27)) & 31
        if age >= TICKS or cookie != self._cookie(key, seq, tick - age, index):
            return 0
        return MSS[index]

    def _cookie(self, key, seq, tick, index):
        digest = hashlib.sha256(self._key + key + pack(">IIB", seq, tick & _MASK, index)).digest()
        return (tick & 31) << 27 | index << 24 | digest[0] << 16 | digest[1] << 8 | digest[2]


def answer(tcp, listener, key, packet, syn, ts_offset, now_ms):
    """Answers a SYN without remembering it."""
    has_timestamps = tcp.timestamps and syn.ts_val is not None
    if not has_timestamps:
        syn.window_scale = None
        syn.sack_permitted = False
    iss = tcp.cookies.make(key, syn.seq, syn.mss or default_mss(packet.ip), now_ms)
    half_open = HalfOpen(tcp, listener, key, packet, syn, iss, ts_offset, now_ms)
    if has_timestamps:
        half_open.stamp = stamp(now_ms + ts_offset, syn.window_scale, tcp.sack and syn.sack_permitted)
    half_open.answer(now_ms)
    tcp.cookies_sent += 1


def stamp(ts_val, window_scale, sack_permitted):
    """The last timestamp not after `ts_val` whose lowest bits say what the peer offered."""
    bits = (_NO_SCALE if window_scale is None else window_scale) | (_SACK if sack_permitted else 0)
    return (ts_val - ((ts_val - bits) & _BITS)) & _MASK


def accept(tcp, listener, key, packet, segment, ts_offset, now_ms):
    """The handshake that `segment`, an ACK for a connection that nobody knows, completes; None when it does not."""
    seq = (segment.seq - 1) & _MASK
    iss = (segment.ack - 1) & _MASK
    mss = tcp.cookies.check(key, seq, iss, now_ms)
    if not mss:
        tcp.cookies_failed += 1
        return None
    syn = Segment(segment.src_port, segment.dst_port, seq, 0, HEADER_BYTES, SYN, segment.window, 0)
    syn.mss = mss
    if tcp.timestamps and segment.ts_val is not None:
        syn.ts_val = segment.ts_val
        scale = segment.ts_ecr & _NO_SCALE
        syn.window_scale = None if scale == _NO_SCALE else scale
        syn.sack_permitted = bool(segment.ts_ecr & _SACK)
    tcp.cookies_received += 1
    return HalfOpen(tcp, listener, key, packet, syn, iss, ts_offset, None)
