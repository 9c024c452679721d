# SPDX-License-Identifier: MIT
"""Recoveries that were mistakes: reordering or delay taken for loss. The window becomes what it was before.

Two witnesses: a timestamp that is older than the retransmission which it would otherwise answer (RFC 3522, Eifel), and
D-SACKs for everything that was sent again (RFC 3708).

    undo_from       snd_una when recovery began; -1: nothing to undo
    undo_octets     sent again since then, and not reported as duplicate
    rtx_ts          the timestamp of the first retransmission; -2: not sent yet; -1: the answer to it has come
"""

from libos.net.tcp.seq import is_before, unwrap

NONE = -1
NOT_YET = -2


def begin(conn):
    """Recovery begins."""
    conn.undo_from = conn.snd_una
    conn.undo_octets = 0
    conn.rtx_ts = NOT_YET


def note_retransmission(conn, count, now_ms):
    conn.undo_octets += count
    if conn.rtx_ts == NOT_YET:
        conn.rtx_ts = (now_ms + conn.ts_offset) & 0xFFFFFFFF


def is_spurious(conn, segment):
    """Whether the first acknowledgement of new data after a retransmission answers what was sent before it."""
    rtx_ts = conn.rtx_ts
    conn.rtx_ts = NONE
    return conn.ts_on and conn.undo_from != NONE and bool(segment.ts_ecr) and is_before(segment.ts_ecr, rtx_ts)


def covers_all(conn, block):
    """Counts a D-SACK. True when with it everything that was sent again is known to have been superfluous."""
    if conn.undo_from == NONE:
        return False
    left = unwrap(block[0], conn.snd_una)
    right = unwrap(block[1], conn.snd_una)
    if not conn.undo_from <= left < right <= conn.recover:
        return False
    conn.undo_octets -= right - left
    return conn.undo_octets <= 0
