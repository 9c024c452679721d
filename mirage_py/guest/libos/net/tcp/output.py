# SPDX-License-Identifier: MIT
"""What may be sent: `run` decides (windows, Nagle, silly windows, retransmissions first), segments.py writes it."""

from micropython import const

from libos.net.tcp import recovery
from libos.net.tcp.plpmtud import probe
from libos.net.tcp.rack import note_sent
from libos.net.tcp.scoreboard import next_hole, pipe
from libos.net.tcp.segments import emit, resend
from libos.net.tcp.states import CLOSED, ESTABLISHED, SYN_SENT
from libos.wire import tcp as wire

_MASK = const(0xFFFFFFFF)
_FIN = const(0x01)
_PSH_ACK = const(0x18)
_ACK = const(0x10)

_IDLE_CHECK = const(4380)  # a window below the smallest initial one (RFC 5681) need not be reduced after a pause

SILLY_MIN_MS = 500  # how long a window that is open, but hardly, may get better before it is used
SILLY_MAX_MS = 1000


def run(conn, now_ms):
    """Sends what may be sent now. Returns False when buffers ran out: to be called again."""
    is_fast = conn.is_fast
    if not is_fast:
        if conn.state < ESTABLISHED:
            return conn.state == CLOSED or _run_handshake(conn, now_ms)
        if conn.lost_below > conn.rtx_next and not _retransmit(conn, now_ms):
            return False
        search = conn.search
        if search is not None and search.size and not search.end and not conn.recovery and not conn.sacked:
            if probe(conn, now_ms):
                return True if not conn.ack_now else emit(conn, conn.snd_nxt, 0, _ACK, now_ms)
    snd_nxt = conn.snd_nxt
    unsent = conn.tx_end - snd_nxt
    fin = conn.fin_queued
    if unsent > 0 or (fin and unsent == 0):
        snd_una = conn.snd_una
        flight = snd_nxt - snd_una
        cc = conn.cc
        cwnd_room = cc.cwnd - flight
        if cwnd_room > _IDLE_CHECK and not flight and now_ms - conn.sent_ms > conn.rto.rto_ms:
            cc.on_idle()
            cwnd_room = cc.cwnd
        if flight and now_ms != conn.log_ms:
            note_sent(conn, snd_nxt, now_ms)
        mss = conn.mss
        wnd_room = conn.snd_wnd - flight
        if is_fast:
            pass
        elif not unsent:
            cwnd_room = wnd_room  # as in Linux, the last FIN needs no room in the congestion window
        elif conn.recovery:
            cwnd_room += flight - pipe(conn)
        else:
            # What duplicate ACKs say has left the network lets new data out (RFC 3042).
            cwnd_room += conn.sacked_octets + conn.dup_octets
        while True:
            room = wnd_room if wnd_room < cwnd_room else cwnd_room
            count = unsent
            if count > room:
                # Part of what is queued: full segments only, or what a small window has to do with (RFC 9293
                # 3.8.6.2.1).
                count = room
                conn.is_cwnd_limited = cwnd_room < wnd_room
                if count >= mss:
                    count -= count % mss
                elif count <= 0 or count < conn.max_wnd >> 1 or conn.is_cwnd_limited:
                    break
            elif count < mss and conn.small_end > snd_una and not fin and not conn.no_delay:
                break  # Nagle, as Minshall has it: one small segment in the network at a time
            if count > mss and count > conn.max_send:
                count = conn.max_send
            flags = _ACK
            if count == unsent:
                flags = _PSH_ACK
                if fin:
                    # It has a place in the window, like an octet (RFC 9293 section 3.4).
                    if wnd_room > count:
                        flags = _PSH_ACK | _FIN
                    elif not count:
                        break
            if not emit(conn, snd_nxt, count, flags, now_ms):
                return False
            snd_nxt += count
            if count % mss:
                conn.small_end = snd_nxt
            if flags & _FIN:
                snd_nxt += 1
            conn.snd_nxt = snd_nxt
            if not conn.rtt_seq:
                conn.rtt_seq = snd_nxt
                conn.rtt_ms = now_ms
                if count >= mss and not conn.full_end:
                    conn.full_end = snd_nxt
            if conn.persists:
                conn.persists = False
                conn.rtx_deadline = 0
                conn.rto.restart()
            if not conn.rtx_deadline:
                deadline = now_ms + conn.rto.wait_ms
                conn.rtx_deadline = deadline
                if deadline < conn.timer_at:
                    conn.tcp.timers.schedule(conn, deadline)
            if count == unsent:
                if conn.is_cwnd_limited and 2 * (snd_nxt - snd_una) < cc.cwnd:
                    conn.is_cwnd_limited = False
                return True
            unsent -= count
            wnd_room -= count
            cwnd_room -= count
        if snd_nxt == snd_una and not conn.rtx_deadline:
            # Nothing is in the network that could bring a window update: ask for it in a while, a closed one after a
            # retransmission timeout (RFC 9293 SHLD-29), a silly one within a second (section 3.8.6.2.1).
            conn.persists = True
            wait_ms = conn.rto.rto_ms
            if conn.snd_wnd > 0:
                wait_ms = min(max(wait_ms, SILLY_MIN_MS), SILLY_MAX_MS)
            conn.rtx_deadline = now_ms + wait_ms
            conn.arm(conn.rtx_deadline)
    if conn.ack_now:
        return emit(conn, snd_nxt, 0, _ACK, now_ms)
    return True


def _retransmit(conn, now_ms):
    """Sends again what is known to be lost, as the congestion window allows."""
    room = conn.cc.cwnd - pipe(conn)
    while True:
        hole = next_hole(conn)
        if hole is None:
            return True
        start, end = hole
        # The first one goes whatever the window says (RFC 6675 section 5 (4.3), RFC 6582, RFC 9937 section 6).
        if room < conn.mss and start > conn.snd_una:
            return True
        count = min(end - start, conn.mss)
        # RFC 9293 section 3.8.6: the peer may have taken back what it had room for.
        if start + count > conn.snd_una + conn.snd_wnd and start > conn.snd_una:
            return True
        if not resend(conn, start, count, now_ms):
            return False
        if start == conn.snd_una and conn.recovery == recovery.FAST:
            # It has to queue up behind everything else: as in Linux, the timeout is its own.
            conn.rtx_deadline = conn.rto_deadline = now_ms + conn.rto.rto_ms
        conn.rtx_next = start + count
        room -= count


def _run_handshake(conn, now_ms):
    """Sends SYN, or SYN and ACK after a simultaneous open, when it is due."""
    if not conn.syn_due:
        return True
    tcp = conn.tcp
    is_first = conn.state == SYN_SENT
    options = wire.syn_options(
        conn.ip.mtu - conn.ip.header_bytes - wire.HEADER_BYTES,
        tcp.window_scale if is_first or conn.rcv_wscale else None,
        tcp.sack if is_first else conn.sack_on,
        (now_ms + conn.ts_offset) & _MASK if conn.ts_on else None,
        conn.ts_recent or 0,
    )
    window = min(conn.rcv_buf, 0xFFFF)
    flags = wire.SYN if is_first else wire.SYN | wire.ACK
    ack = 0 if is_first else conn.rcv_nxt & _MASK
    ports = (conn.local_port, conn.remote_port)
    if not tcp.send_segment(conn, *ports, conn.iss, ack, flags, window, options, now_ms):
        return False
    conn.syn_due = False
    conn.ack_now = False
    if not is_first:
        conn.rcv_adv = max(conn.rcv_adv, conn.rcv_nxt + window)
    if conn.snd_nxt == conn.iss:
        conn.snd_nxt = conn.iss + 1
        conn.rtt_seq = conn.snd_nxt
        conn.rtt_ms = now_ms
    else:
        conn.rtt_seq = 0
        tcp.retrans_segs += 1
    if not conn.rtx_deadline:
        conn.rtx_deadline = now_ms + conn.rto.rto_ms
        conn.arm(conn.rtx_deadline)
    return True
