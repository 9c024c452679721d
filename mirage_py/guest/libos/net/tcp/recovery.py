# SPDX-License-Identifier: MIT
"""Loss: what acknowledgements say, fast recovery, and the retransmission timeout.

With SACK, rack.py finds what is lost (RFC 8985); without, three duplicates do, and a partial acknowledgement tells of
the next loss: NewReno (RFC 6582). Either way it is what scoreboard.py has below lost_below. During fast recovery the
window goes down in proportion to what arrives (PRR, congestion.py). recover: where snd_nxt was when recovery began; it
ends when that is acknowledged.
"""

from errno import ETIMEDOUT

from libos.net.tcp import plpmtud, rack, segments, tlp, undo
from libos.net.tcp.rto import MIN_MS
from libos.net.tcp.scoreboard import insert, pipe, recount, unsacked
from libos.net.tcp.seq import is_before, unwrap
from libos.net.tcp.states import SYN_RECEIVED, SYN_SENT

DUP_THRESHOLD = 3  # duplicates, without SACK
SYN_TRIES = 6  # 1 + 2 + 4 + 8 + 16 + 32 + 64 s, as in Linux; RFC 9293 section 3.8.3 wants three minutes

NONE = 0
FAST = 1
TIMEOUT = 2


def accept_ack(conn, acked, now_ms):
    """`acked` sequence numbers from snd_una on are acknowledged: frees them, times, and opens the window."""
    una = conn.snd_una + acked
    conn.snd_una = una
    chunks = conn.tx_chunks
    left = conn.tx_head + acked
    while chunks:
        size = len(chunks[0])
        if left < size:
            break
        left -= size
        del chunks[0]
        if conn.cur_index:
            conn.cur_index -= 1
        else:
            conn.cur_offset = 0
    conn.tx_head = left if chunks else 0
    rto = conn.rto
    if conn.rtt_seq and una >= conn.rtt_seq:
        conn.rtt_seq = 0
        # At the floor, and answered within the millisecond: another such sample changes nothing.
        if now_ms != conn.rtt_ms or rto.rto_ms != MIN_MS:
            rto.sample(now_ms - conn.rtt_ms)
            if conn.is_cwnd_limited:
                conn.cc.on_rtt(now_ms - conn.rtt_ms)
    elif rto.rto_ms != rto.base_ms:
        # What was sent twice tells no time (Karn; nor does its timestamp, where the first answer was lost and the
        # peer's own data brings a late one). It tells that the path works: as in Linux, the timeout is what it was
        # before it was backed off, or a path that loses much would stand still for minutes.
        rto.restart()
    conn.stalled_ms = 0
    if una == conn.snd_nxt:
        conn.rtx_deadline = 0
    else:
        deadline = now_ms + rto.wait_ms
        conn.rtx_deadline = deadline
        if deadline < conn.timer_at:
            conn.tcp.timers.schedule(conn, deadline)
    if conn.is_cwnd_limited and not conn.recovery:
        conn.cc.on_ack(acked, now_ms)
    if conn.is_write_short and conn.tx_end - una <= conn.snd_buf >> 1:
        conn.is_write_short = False
        if conn.on_writable is not None:
            conn.on_writable()


def on_report(conn, segment, now_ms):
    """A segment has SACK blocks: (octets that they are the first to report, whether they report a duplicate)."""
    blocks = segment.sack
    sacked = mark_sacked(conn, blocks, now_ms)
    if not is_dsack(blocks, segment.ack):
        return (sacked, False)
    on_dsack(conn, blocks[0])
    return (sacked, True)


def mark_sacked(conn, blocks, now_ms):
    """Enters a segment's SACK blocks into the scoreboard. Returns how many octets they are the first to report."""
    una = conn.snd_una
    state = rack.of(conn)
    before = conn.sacked_octets
    for left, right in blocks:
        left = unwrap(left, una)
        right = unwrap(right, una)
        # Below snd_una it is a D-SACK or old; beyond snd_nxt, a lie.
        if left < una or right <= left or right > conn.snd_nxt:
            continue
        first = insert(conn.sacked, left, right)
        if first is None:
            continue
        if state.resent_end <= first < state.fack:
            state.is_reordering = True
        rack.delivered(conn, first, right, None, now_ms)
    recount(conn)
    return conn.sacked_octets - before


def is_dsack(blocks, ack):
    """Whether the first SACK block reports a duplicate (RFC 2883 section 4)."""
    left, right = blocks[0]
    if not is_before(ack, right):
        return True
    return len(blocks) > 1 and not is_before(left, blocks[1][0]) and not is_before(blocks[1][1], right)


def on_dsack(conn, block):
    """The peer got something twice."""
    conn.tcp.dsacks += 1
    if not tlp.is_its_dsack(conn, block):
        rack.on_dsack(conn)
    if undo.covers_all(conn, block):
        conn.tcp.dsack_undos += 1
        _take_back(conn)


def on_duplicate(conn, sacked, now_ms):
    """A duplicate acknowledgement, or one that acknowledges nothing but reports `sacked` octets for the first time."""
    conn.dup_acks += 1
    if not conn.sack_on:
        before = conn.dup_octets
        conn.dup_octets = min(before + conn.mss, conn.snd_nxt - conn.snd_una)
        sacked = conn.dup_octets - before
        una = conn.snd_una
        # RFC 6582: not, when the duplicates are about what was sent before the last recovery.
        if not conn.recovery and conn.dup_acks >= DUP_THRESHOLD and una >= conn.recover:
            conn.lost_below = min(una + conn.mss, conn.snd_nxt)
    _react(conn, sacked, False, now_ms)


def on_new_ack(conn, acked, sacked, segment, now_ms):
    """After accept_ack, off the fast path. sacked: octets that the segment is the first to report."""
    una = conn.snd_una
    conn.dup_acks = 0
    state = conn.rack
    delivered = acked + sacked
    if state is not None:
        old_una = una - acked
        if state.resent_end <= old_una < state.fack:
            state.is_reordering = True
        if conn.sacked or conn.recovery or state.resent:
            rack.delivered(conn, old_una, una, segment.ts_ecr if conn.ts_on else None, now_ms)
    if conn.sacked:
        delivered -= conn.sacked_octets
        recount(conn)
        delivered += conn.sacked_octets
    is_spurious = conn.rtx_ts >= 0 and undo.is_spurious(conn, segment)
    if is_spurious:
        if conn.recovery == TIMEOUT:
            # No time is taken from this timestamp: the first answer may have been lost, and this one be to a later
            # segment. The next new segment is timed.
            conn.tcp.loss_undos += 1
        else:
            conn.tcp.full_undos += 1
            state.is_reordering = True
        _take_back(conn)
    if not conn.recovery:
        conn.dup_octets = 0
    elif una >= conn.recover:
        if conn.recovery == FAST:
            conn.cc.on_recovered(conn.snd_nxt - una, now_ms)
        rack.on_recovered(conn)
        conn.recovery = NONE
        conn.dup_octets = 0
        conn.lost_below = conn.rtx_next = una
    elif conn.recovery == TIMEOUT:
        conn.cc.on_recovery_ack(acked, now_ms)
    elif not conn.sack_on:
        # A partial acknowledgement: what comes next is lost too.
        before = conn.dup_octets
        conn.dup_octets = max(before - max(acked - conn.mss, 0), 0)
        delivered += conn.dup_octets - before
        conn.lost_below = min(una + conn.mss, conn.recover)
        conn.rtx_next = una
    if conn.search is not None:
        plpmtud.on_ack(conn, is_spurious, now_ms)
    if state is not None:
        _react(conn, delivered, True, now_ms)


def on_reordering_timeout(conn, now_ms):
    """What might have been overtaken is late."""
    conn.want_output()
    _react(conn, 0, False, now_ms)


def _react(conn, delivered, is_advance, now_ms):
    """Something was learnt: begins recovery when something is lost, or adapts the window to `delivered` octets.

    is_advance: snd_una moved.
    """
    is_lost = False
    if conn.sack_on:
        state = conn.rack
        if conn.sacked or conn.recovery or state.resent:
            is_lost = rack.detect(conn, now_ms)
        else:
            conn.reo_deadline = 0
        state.fack = max(state.fack, conn.sacked[-1][1] if conn.sacked else conn.snd_una)
    if conn.recovery == NONE:
        octets = unsacked(conn, conn.snd_una, conn.lost_below)
        if not octets:
            return
        search = conn.search
        if search is not None and search.end and plpmtud.on_loss(conn, octets, now_ms):
            lose_without_blame(conn, delivered)
            return
        conn.cc.on_loss(conn.snd_nxt - conn.snd_una, now_ms)  # needs memory: before anything changes
        undo.begin(conn)
        conn.tcp.fast_recoveries += 1
        _recover(conn, delivered, conn.cc.ssthresh)
    if conn.recovery == FAST:
        sent = conn.snd_nxt - conn.recover
        conn.cc.on_delivered(delivered, sent, pipe(conn), is_advance and not is_lost)


def lose_without_blame(conn, delivered=0):
    """What is lost was too large for the path: it is sent again, and the window stays as it is."""
    if conn.recovery == NONE:
        conn.undo_from = undo.NONE
        _recover(conn, delivered, conn.cc.cwnd)
    if conn.recovery == FAST:
        conn.cc.on_delivered(delivered, conn.snd_nxt - conn.recover, pipe(conn), True)
    conn.want_output()


def lose_all(conn):
    """Everything outstanding was larger than the path takes, as ICMP says."""
    if conn.snd_nxt == conn.snd_una:
        return
    conn.lost_below = conn.snd_nxt
    conn.rtx_next = conn.snd_una
    if conn.rack is not None:
        conn.rack.resent.clear()
    lose_without_blame(conn)


def _recover(conn, delivered, target):
    """Fast recovery begins. target: the octets that shall be in the network when it ends."""
    una = conn.snd_una
    conn.recovery = FAST
    conn.recover = conn.snd_nxt
    conn.rtx_next = una
    conn.rtt_seq = 0
    conn.tlp_end = 0
    conn.is_fast = False
    conn.cc.begin_recovery(conn.snd_nxt - una - conn.sacked_octets + delivered, target)


def _take_back(conn):
    """Nothing was lost: the window is what it was, and recovery ends. (What is lost all the same shows at once.)"""
    conn.undo_from = undo.NONE
    conn.cc.on_spurious()
    conn.recovery = NONE
    conn.recover = conn.lost_below = conn.rtx_next = conn.snd_una
    conn.dup_octets = 0


def on_timeout(conn, now_ms):
    """The retransmission timer fired (RFC 6298 section 5), the one that asks for a window, or the probe's."""
    if tlp.is_due(conn):
        tlp.on_probe_timeout(conn, now_ms)
        return
    rto = conn.rto
    state = conn.state
    if not conn.stalled_ms:
        conn.stalled_ms = max(now_ms - rto.rto_ms, 1)  # when the timer was set
    if now_ms - conn.stalled_ms >= conn.user_timeout_ms:
        conn.tcp.timeouts += 1
        if state >= SYN_RECEIVED:
            conn.tcp.send_reset(conn)
        conn.fail(ETIMEDOUT)
        return
    conn.want_output()  # needs memory: before anything changes
    rto.back_off()
    conn.rtx_deadline = min(now_ms + rto.rto_ms, conn.stalled_ms + conn.user_timeout_ms)
    if state == SYN_SENT or state == SYN_RECEIVED:
        conn.syn_tries += 1
        if conn.syn_tries > SYN_TRIES:
            conn.fail(conn.soft_error or ETIMEDOUT)
            return
        conn.syn_due = True
    elif conn.snd_nxt == conn.snd_una:
        _ask_for_window(conn, now_ms)
    else:
        _lose_everything(conn, now_ms)
    if rto.rto_ms > 2 * rto.base_ms:
        # The second timeout in a row: perhaps the neighbour has another MAC now.
        hop = conn.ip.next_hop(conn.remote_ip)
        if hop is not None:
            conn.neighbours.doubt(hop, now_ms)


def _lose_everything(conn, now_ms):
    """What is outstanding, not sacked, and old enough, is to be sent again, one segment at first."""
    is_first = conn.recovery != TIMEOUT
    conn.cc.on_timeout(conn.snd_nxt - conn.snd_una, is_first, now_ms)
    if is_first:
        undo.begin(conn)
    conn.tcp.rto_timeouts += 1
    if not is_first or (conn.sacked and conn.sacked[0][0] <= conn.snd_una):
        # RFC 2018 section 8: the peer may have thrown away what it reported.
        conn.sacked.clear()
        conn.sacked_octets = 0
    conn.recovery = TIMEOUT
    conn.recover = conn.snd_nxt
    conn.dup_acks = 0
    conn.dup_octets = 0
    conn.rtt_seq = 0
    conn.tlp_end = 0
    conn.is_fast = False
    if conn.sack_on:
        rack.lose_old(conn, now_ms)
    else:
        conn.lost_below = conn.snd_nxt
        conn.rtx_next = conn.snd_una
        if conn.rack is not None:
            conn.rack.resent.clear()
    plpmtud.on_timeout(conn, now_ms)
    conn.rto.min_ms = max(conn.rto.srtt_8 >> 3, 1)  # perhaps it is another path


def _ask_for_window(conn, now_ms):
    """Persist: everything is acknowledged, more is queued, if only the FIN, and the window is closed or silly."""
    unsent = conn.tx_end - conn.snd_nxt
    if unsent < 0 or (not unsent and not conn.fin_queued):
        conn.rtx_deadline = 0
        conn.persists = False
        conn.stalled_ms = 0
        return
    conn.tcp.window_probes += 1
    if conn.snd_wnd > 0 and unsent:
        # RFC 9293 section 3.8.6.2.1: waited long enough for a better window.
        count = min(unsent, conn.snd_wnd, conn.mss)
        if segments.emit(conn, conn.snd_nxt, count, 0x18, now_ms):
            conn.snd_nxt += count
            conn.rtt_seq = conn.snd_nxt
            conn.rtt_ms = now_ms
            conn.persists = False
    else:
        segments.probe(conn, now_ms)
