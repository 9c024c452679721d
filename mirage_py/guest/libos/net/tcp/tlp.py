# SPDX-License-Identifier: MIT
"""Tail loss probes (RFC 8985 section 7): one segment more when no acknowledgement comes for two round trips.

The answer shows what of the end of a flight is missing, long before the retransmission timeout would: a probe was sent
so much later than everything else that for rack.py what is below it, and not there when it is, is lost.

    tlp_end         the sequence number after the probe; 0: there is none on its way
    tlp_is_rtx      it repeats the end of what was sent
    tlp_flight      octets that were outstanding with it
"""

from libos.net.tcp import rack, segments, undo
from libos.net.tcp.states import ESTABLISHED


def is_due(conn):
    """Whether what fired is a probe timeout: the retransmission timeout comes later."""
    rto = conn.rto
    return (
        rto.wait_ms < rto.rto_ms
        and conn.rtx_deadline != conn.rto_deadline
        and not conn.persists
        and conn.snd_nxt != conn.snd_una
        and conn.state >= ESTABLISHED
    )


def on_probe_timeout(conn, now_ms):
    """Sends a probe if the RFC has one sent, and sets the retransmission timeout in any case."""
    rto = conn.rto
    flight = conn.snd_nxt - conn.snd_una
    mss = conn.mss
    if conn.recovery or conn.sacked or conn.tlp_end or flight <= mss:
        # Section 7.2. A single segment may wait for the peer's delayed ACK: the retransmission timeout is sooner than
        # a probe might be.
        conn.rtx_deadline = conn.rto_deadline = conn.rtx_deadline + rto.rto_ms - rto.wait_ms
        return
    conn.rtx_deadline = conn.rto_deadline = now_ms + rto.rto_ms
    count = min(conn.tx_end - conn.snd_nxt, mss)
    if 0 < count <= conn.snd_wnd - flight:
        rack.note_sent(conn, conn.snd_nxt, now_ms)
        if not segments.emit(conn, conn.snd_nxt, count, 0x18, now_ms):
            return
        conn.snd_nxt += count
        conn.small_end = conn.snd_nxt
        conn.tlp_is_rtx = False
    else:
        if not segments.resend(conn, conn.snd_nxt - mss, mss, now_ms):
            return
        conn.tlp_is_rtx = True
    conn.tlp_end = conn.snd_nxt
    conn.tlp_flight = flight
    conn.is_fast = False
    conn.tcp.loss_probes += 1


def is_its_dsack(conn, block):
    """Whether a D-SACK is about the probe on its way."""
    return conn.tlp_end and conn.tlp_is_rtx and block[1] == conn.tlp_end & 0xFFFFFFFF


def on_ack(conn, ack, segment, is_dsack, now_ms):
    """`segment` acknowledges `ack`, at or above tlp_end, while a probe is on its way."""
    if not conn.tlp_is_rtx or (is_dsack and segment.sack[0][1] == conn.tlp_end & 0xFFFFFFFF):
        conn.tlp_end = 0  # nothing had been lost
    elif ack > conn.tlp_end:
        # The probe made good a loss that nobody saw: it tells of congestion all the same.
        conn.tlp_end = 0
        conn.tcp.loss_probe_recoveries += 1
        conn.undo_from = undo.NONE
        conn.cc.on_loss(conn.tlp_flight, now_ms)
    elif ack == conn.snd_una and not segment.length and not segment.sack:
        conn.tlp_end = 0
