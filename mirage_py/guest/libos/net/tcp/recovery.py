# SPDX-License-Identifier: MIT
"""Loss: what acknowledgements say, the SACK scoreboard, fast recovery, and the retransmission timeout.

Three numbers and a list describe what is outstanding in [snd_una, snd_nxt):

    sacked          ranges that the peer reported to have (RFC 2018)
    lost_below      what is below, and not sacked, is taken for lost
    rtx_next        what is below was sent again already
    recover         where snd_nxt was when recovery began; it ends when that is acknowledged
    again_end       where snd_nxt was, at most, when the first hole was last sent again
    mark, mark_end  what was sent again from mark on was sent when snd_nxt was mark_end at least

With SACK, lost_below comes from the scoreboard (RFC 6675). With timestamps too, it also comes from repetitions that
arrive: what was sent before them, and is not there, is lost (what RFC 8985 finds out with a time for each segment).
Without SACK, it is one segment beyond snd_una, and a partial acknowledgement moves it: NewReno (RFC 6582). After a
timeout everything outstanding is below it.
"""

from errno import ETIMEDOUT

from libos.net.tcp import segments, tlp, undo
from libos.net.tcp.rto import MIN_MS
from libos.net.tcp.seq import is_before, unwrap
from libos.net.tcp.states import SYN_RECEIVED, SYN_SENT

DUP_THRESHOLD = 3
MAX_SACKED = 128  # ranges remembered; a report beyond is ignored, which only costs a retransmission
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


def mark_sacked(conn, blocks):
    """Enters a segment's SACK blocks into the scoreboard. Returns True when they said something new."""
    una = conn.snd_una
    before = conn.sacked_octets
    for left, right in blocks:
        left = unwrap(left, una)
        right = unwrap(right, una)
        # Below snd_una it is a D-SACK or old; beyond snd_nxt, a lie.
        if left < una or right <= left or right > conn.snd_nxt:
            continue
        _insert(conn.sacked, left, right)
    _recount(conn)
    return conn.sacked_octets > before


def _insert(ranges, left, right):
    """Adds [left, right) to a sorted list of disjoint ranges."""
    at = 0
    while at < len(ranges) and ranges[at][1] < left:
        at += 1
    until = at
    while until < len(ranges) and ranges[until][0] <= right:
        if ranges[until][0] < left:
            left = ranges[until][0]
        if ranges[until][1] > right:
            right = ranges[until][1]
        until += 1
    if until == at and len(ranges) >= MAX_SACKED:
        return
    ranges[at:until] = [[left, right]]


def _recount(conn):
    """Drops what has been acknowledged from the scoreboard."""
    una = conn.snd_una
    sacked = conn.sacked
    while sacked and sacked[0][1] <= una:
        del sacked[0]
    if sacked and sacked[0][0] < una:
        sacked[0][0] = una
    octets = 0
    for left, right in sacked:
        octets += right - left
    conn.sacked_octets = octets


def _unsacked(conn, start, end):
    """Octets of [start, end) that are not sacked."""
    if end <= start:
        return 0
    octets = end - start
    for left, right in conn.sacked:
        if right <= start:
            continue
        if left >= end:
            break
        octets -= min(right, end) - max(left, start)
    return octets


def pipe(conn):
    """RFC 6675's estimate of the octets in the network during recovery."""
    una = conn.snd_una
    lost_below = max(conn.lost_below, una)
    octets = _unsacked(conn, una, min(conn.rtx_next, lost_below)) + _unsacked(conn, lost_below, conn.snd_nxt)
    return max(octets - conn.dup_octets, 0)


def next_hole(conn):
    """(start, end) of the next range to send again, or None."""
    start = max(conn.rtx_next, conn.snd_una)
    end = conn.lost_below
    for left, right in conn.sacked:
        if left > start:
            end = min(end, left)
            break
        if right > start:
            start = right
    if start >= end:
        conn.rtx_next = max(conn.rtx_next, min(start, conn.lost_below))
        return None
    return (start, end)


def _lost_by_sack(conn):
    """RFC 6675's IsLost: below which sequence number what is not sacked is lost."""
    sacked = conn.sacked
    octets = 0
    for index in range(len(sacked) - 1, -1, -1):
        left, right = sacked[index]
        octets += right - left
        if octets > (DUP_THRESHOLD - 1) * conn.mss or len(sacked) - index >= DUP_THRESHOLD:
            return left
    return conn.snd_una


def on_duplicate(conn, is_new_sack, now_ms):
    """A duplicate acknowledgement, or one that acknowledges nothing but brought new SACK information."""
    conn.dup_acks += 1
    if not conn.sack_on:
        conn.dup_octets = min(conn.dup_octets + conn.mss, conn.snd_nxt - conn.snd_una)
    if conn.recovery:
        update_lost(conn)
        _repeat_again(conn, now_ms)
    else:
        consider_recovery(conn, now_ms)


def consider_recovery(conn, now_ms):
    """Begins fast recovery when three duplicates, or the scoreboard, say so."""
    una = conn.snd_una
    if una < conn.recover:
        return  # RFC 6582: the duplicates are about what was sent before the last recovery
    lost_below = _lost_by_sack(conn) if conn.sack_on else una
    if conn.tlp_end and conn.sacked and conn.sacked[-1][1] >= conn.tlp_end:
        lost_below = conn.sacked[-1][0]  # the probe is there
    if lost_below <= una:
        if conn.dup_acks < DUP_THRESHOLD:
            return
        lost_below = min(una + conn.mss, conn.snd_nxt)
    conn.cc.on_loss(conn.snd_nxt - una, now_ms)  # needs memory: before anything changes
    undo.begin(conn)
    _recover(conn, lost_below)
    conn.tcp.fast_recoveries += 1


def _recover(conn, lost_below):
    una = conn.snd_una
    conn.recovery = FAST
    conn.recover = conn.again_end = conn.mark_end = conn.snd_nxt
    conn.mark = conn.rtx_next = una
    conn.lost_below = lost_below
    conn.rtt_seq = 0
    conn.tlp_end = 0
    conn.is_fast = False


def update_lost(conn):
    """In recovery: more of what is outstanding may have turned out to be lost."""
    if conn.sack_on:
        lost_below = _lost_by_sack(conn)
        if lost_below > conn.lost_below:
            conn.lost_below = lost_below


def _repeat_again(conn, now_ms):
    """Sends the first hole again when what was sent after its repetition has come: the repetition was lost too."""
    sacked = conn.sacked
    if not sacked or conn.recovery != FAST:
        return
    una = conn.snd_una
    if _sacked_above(sacked, conn.again_end) <= (DUP_THRESHOLD - 1) * conn.mss or conn.rtx_next <= una:
        return
    count = min(sacked[0][0] - una, conn.mss)
    if count > 0 and segments.resend(conn, una, count, now_ms):
        conn.again_end = conn.snd_nxt
        conn.tcp.lost_retransmits += 1


def _sacked_above(sacked, start):
    octets = 0
    for index in range(len(sacked) - 1, -1, -1):
        left, right = sacked[index]
        if right <= start:
            break
        octets += right - max(left, start)
    return octets


def is_dsack(blocks, ack):
    """Whether the first SACK block reports a duplicate (RFC 2883 section 4)."""
    left, right = blocks[0]
    if not is_before(ack, right):
        return True
    return len(blocks) > 1 and not is_before(left, blocks[1][0]) and not is_before(blocks[1][1], right)


def on_dsack(conn, block):
    """The peer got something twice."""
    conn.tcp.dsacks += 1
    if undo.covers_all(conn, block):
        conn.tcp.dsack_undos += 1
        _take_back(conn)


def _take_back(conn):
    """Nothing was lost: the window is what it was, and recovery ends."""
    conn.undo_from = undo.NONE
    conn.cc.on_spurious()
    was_timeout = conn.recovery == TIMEOUT
    rtx_next = conn.rtx_next
    conn.recovery = NONE
    conn.recover = conn.snd_una
    conn.lost_below = conn.rtx_next = conn.snd_una
    conn.dup_octets = 0
    if was_timeout and conn.sacked:
        # The timeout came in the middle of a fast recovery, which goes on.
        sent_again = max(rtx_next, conn.undo_rtx)
        lost_below = max(_lost_by_sack(conn), sent_again)
        if lost_below > conn.snd_una:
            _recover(conn, lost_below)
            conn.rtx_next = max(sent_again, conn.snd_una)


def on_new_ack(conn, acked, segment, now_ms):
    """After accept_ack, while anything about loss is going on."""
    una = conn.snd_una
    conn.dup_acks = 0
    if conn.sacked:
        _recount(conn)
    if conn.rtx_ts >= 0 and undo.is_spurious(conn, segment):
        if conn.recovery == TIMEOUT:
            # No time is taken from this timestamp: the first answer may have been lost, and this one be to a later
            # segment. The next new segment is timed.
            conn.tcp.loss_undos += 1
        else:
            conn.tcp.full_undos += 1
        _take_back(conn)
    if not conn.recovery:
        conn.dup_octets = 0
        return
    if una >= conn.recover:
        if conn.recovery == FAST:
            conn.cc.on_recovered(conn.snd_nxt - una, now_ms)
        conn.recovery = NONE
        conn.dup_octets = 0
        conn.lost_below = conn.rtx_next = una
        return
    conn.again_end = conn.snd_nxt
    if conn.recovery == TIMEOUT:
        conn.cc.on_recovery_ack(acked, now_ms)
        return
    # A partial acknowledgement.
    if conn.sack_on:
        lost_below = conn.lost_below
        update_lost(conn)
        # With timestamps, it is known that the repetition has come, and not what it repeated.
        if conn.ts_on and una - acked >= conn.mark and conn.mark_end > conn.lost_below:
            conn.lost_below = conn.mark_end
        if conn.lost_below <= una:
            conn.lost_below = min(una + conn.mss, conn.recover)
        if conn.rtx_next <= una:
            conn.rtx_next = una
        if conn.lost_below > lost_below:
            conn.mark = max(lost_below, una)
            conn.mark_end = conn.snd_nxt
    else:
        conn.dup_octets = max(conn.dup_octets - max(acked - conn.mss, 0), 0)
        conn.lost_below = min(una + conn.mss, conn.recover)
        conn.rtx_next = una


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
    """What is outstanding, and not sacked, is to be sent again, one segment at first."""
    is_first = conn.recovery != TIMEOUT
    conn.cc.on_timeout(conn.snd_nxt - conn.snd_una, is_first, now_ms)
    if is_first:
        undo.begin(conn)
        conn.undo_rtx = conn.rtx_next
    conn.tcp.rto_timeouts += 1
    if not is_first or (conn.sacked and conn.sacked[0][0] <= conn.snd_una):
        # RFC 2018 section 8: the peer may have thrown away what it reported.
        conn.sacked.clear()
        conn.sacked_octets = 0
    conn.recovery = TIMEOUT
    conn.recover = conn.snd_nxt
    conn.lost_below = conn.snd_nxt
    conn.rtx_next = conn.snd_una
    conn.dup_acks = 0
    conn.dup_octets = 0
    conn.rtt_seq = 0
    conn.tlp_end = 0
    conn.is_fast = False


def _ask_for_window(conn, now_ms):
    """Persist: everything is acknowledged, more is queued, and the window is closed or silly."""
    unsent = conn.tx_end - conn.snd_nxt
    if unsent <= 0:
        conn.rtx_deadline = 0
        conn.persists = False
        conn.stalled_ms = 0
        return
    conn.tcp.window_probes += 1
    if conn.snd_wnd > 0:
        # RFC 9293 section 3.8.6.2.1: waited long enough for a better window.
        count = min(unsent, conn.snd_wnd, conn.mss)
        if segments.emit(conn, conn.snd_nxt, count, 0x18, now_ms):
            conn.snd_nxt += count
            conn.persists = False
    else:
        segments.probe(conn, now_ms)
