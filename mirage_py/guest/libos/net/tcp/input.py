# SPDX-License-Identifier: MIT
"""A segment arrives at a connection: RFC 9293 section 3.10.7, with RFC 5961's defences.

`expected.input_batch` takes the common cases before they come here; everything is handled here as well.
"""

from errno import ECONNREFUSED, ECONNRESET

from libos.net.tcp import plpmtud, recovery, segments, tlp
from libos.net.tcp.seq import is_before, unwrap
from libos.net.tcp.states import (
    CLOSE_WAIT,
    CLOSED,
    CLOSING,
    ESTABLISHED,
    FIN_WAIT_1,
    FIN_WAIT_2,
    LAST_ACK,
    SYN_RECEIVED,
    SYN_SENT,
)
from libos.wire.tcp import ACK, FIN, RST, SYN

CHALLENGE_MS = 500  # RFC 5961 section 7, for one connection, as Linux's tcp_invalid_ratelimit
DELAYED_ACK_MS = 40
PAWS_IDLE_MS = 24 * 24 * 3600 * 1000  # RFC 7323 section 5.5: so old, TS.Recent tells nothing any more
MERGE_CHUNKS = 64  # so many received chunks are joined, if they are small
MAX_REPORTED = 8  # segments out of order that are remembered for the order of SACK blocks
MAX_OOO = 256  # segments out of order that are kept; more where the window is larger than 1024 octets for each


def segment_arrives(conn, segment, frame, now_ms):
    """segment: wire.tcp.Segment with start and length of the payload in `frame` set."""
    if conn.state == SYN_SENT:
        _in_syn_sent(conn, segment, frame, now_ms)
    else:
        _in_order(conn, segment, frame, now_ms)
    if conn.state != CLOSED:
        conn.is_fast = (
            conn.state == ESTABLISHED
            and not conn.recovery
            and conn.lost_below <= conn.rtx_next
            and not conn.ooo
            and not conn.dup_acks
            and not conn.sacked
            and conn.fin_seq is None
            and conn.dsack is None
            and not conn.is_detached
            and not conn.tlp_end
            and (conn.search is None or not conn.search.size)
        )


def _in_syn_sent(conn, segment, frame, now_ms):
    """RFC 9293 section 3.10.7.3."""
    flags = segment.flags
    is_acked = False
    if flags & ACK:
        if unwrap(segment.ack, conn.snd_nxt) != conn.iss + 1 or conn.snd_nxt == conn.iss:
            if not flags & RST:
                conn.tcp.reply_reset(conn, segment, now_ms)
            return
        is_acked = True
    if flags & RST:
        if is_acked:
            conn.tcp.attempt_fails += 1
            conn.fail(ECONNREFUSED)
        return
    if not flags & SYN:
        return
    conn.irs = segment.seq
    conn.rcv_nxt = segment.seq + 1
    conn.rcv_acked = conn.rcv_nxt
    conn.rcv_adv = conn.rcv_nxt + min(conn.rcv_buf, 0xFFFF)
    agree(conn, segment, now_ms)
    if not is_acked:
        # Simultaneous open. Text and FIN wait for ESTABLISHED, as if they had come too early.
        seq = conn.rcv_nxt
        end = seq + segment.length
        conn.ooo.clear()
        conn.fin_seq = None
        if end > seq:
            _queue(conn, seq, min(end, conn.rcv_adv), segment.start, frame)
        if flags & FIN and end <= conn.rcv_adv:
            _queue_fin(conn, end)
        conn.state = SYN_RECEIVED
        conn.syn_due = True
        conn.want_output()
        return
    _synchronize(conn, segment, now_ms)
    conn.ack_now = True
    conn.want_output()
    if segment.length or flags & FIN:
        segment.seq = (segment.seq + 1) & 0xFFFFFFFF
        segment.flags &= ~SYN
        _in_order(conn, segment, frame, now_ms)
    if conn.state != CLOSED and conn.on_writable is not None:
        conn.on_writable()


def agree(conn, segment, now_ms):
    """Takes over what a SYN offers and we offered too."""
    tcp = conn.tcp
    conn.ts_on = tcp.timestamps and segment.ts_val is not None
    if conn.ts_on:
        conn.ts_recent = segment.ts_val
    conn.heard_ms = conn.ts_recent_ms = now_ms
    conn.sack_on = conn.rto.probes = tcp.sack and segment.sack_permitted
    if segment.window_scale is not None:
        conn.snd_wscale = segment.window_scale
        conn.rcv_wscale = tcp.window_scale
    conn.rcv_buf = min(conn.rcv_buf, 0xFFFF << conn.rcv_wscale)
    mss = segment.mss or default_mss(conn.ip)
    segments.prepare(conn, mss)
    conn.rcv_mss = min(mss, conn.ip.mtu - conn.ip.header_bytes - 20)
    conn.window_step = min(conn.rcv_mss, conn.rcv_buf >> 1)
    conn.update_at = conn.rcv_adv - (conn.rcv_buf >> 3)
    conn.ack_octets = 2 * (conn.rcv_mss - (12 if conn.ts_on else 0))
    if conn.mss < conn.rcv_mss - (12 if conn.ts_on else 0):
        plpmtud.begin(conn, now_ms)
    conn.snd_wnd = segment.window  # never scaled on a SYN
    conn.max_wnd = segment.window
    conn.snd_wl1 = segment.seq


def default_mss(ip):
    """What a peer takes that does not say so, or says 0 (RFC 9293 section 3.7.1)."""
    return 536 if ip.version == 4 else 1220


def _synchronize(conn, segment, now_ms):
    """Our SYN is acknowledged."""
    conn.cc = conn.tcp.congestion.start(conn.mss, conn.rto, conn.syn_tries > 0)
    conn.stalled_ms = 0
    conn.snd_una = conn.iss + 1
    conn.rtx_deadline = 0
    if conn.rtt_seq:
        conn.rto.sample(now_ms - conn.rtt_ms)
        conn.rtt_seq = 0
    elif conn.rto.rto_ms > 3000 or conn.syn_tries:
        conn.rto.base_ms = 3000  # RFC 6298 (5.7)
        conn.rto.restart()
    conn.recover = conn.iss
    conn.lost_below = conn.rtx_next = conn.snd_una
    conn.cur_seq = -1
    conn.established(now_ms)


def _in_order(conn, segment, frame, now_ms):
    """The other states: sequence, RST, SYN, ACK, text, FIN: in this order. Nothing changes before ACK was checked."""
    flags = segment.flags
    rcv_nxt = conn.rcv_nxt
    seq = unwrap(segment.seq, rcv_nxt)
    length = segment.length
    if conn.ts_on and not _passes_paws(conn, segment, now_ms):
        return
    if flags & RST:
        _reset_arrives(conn, seq, now_ms)
        return
    if conn.state == SYN_RECEIVED and flags & SYN and seq == conn.irs:
        # Simultaneous open: the peer's SYN again, now with an ACK.
        if not flags & ACK:
            conn.syn_due = True
            conn.want_output()
            return
        seq += 1
        flags &= ~SYN
    if flags & SYN:
        # RFC 5961 section 4: whatever its number. A peer that lost the connection answers the challenge with RST.
        challenge(conn, now_ms)
        return
    is_acceptable = _is_acceptable(conn, seq, length, flags)
    if not is_acceptable:
        conn.tcp.unacceptable += 1
        if seq != rcv_nxt or not flags & ACK:
            _answer_unacceptable(conn, seq, length, flags, now_ms)
            return
        # Section 3.10.7.4: our window is closed. What the segment acknowledges counts all the same.
    if not flags & ACK:
        return
    ack = unwrap(segment.ack, conn.snd_una)
    if not _may_acknowledge(conn, segment, ack, now_ms):
        return
    if conn.ts_on and seq <= conn.rcv_acked and segment.ts_val is not None:
        conn.ts_recent = segment.ts_val
        conn.ts_recent_ms = now_ms
    conn.heard_ms = now_ms
    conn.keepalives = 0
    if not _ack_arrives(conn, segment, ack, seq, length, flags, now_ms):
        return
    if not is_acceptable:
        _answer_unacceptable(conn, seq, length, flags, now_ms)
        return
    if flags & FIN and seq + length <= conn.rcv_adv and not conn.is_fin_received and conn.state <= FIN_WAIT_2:
        _fin_seen(conn, seq, length, now_ms)
    if length and not _text_arrives(conn, segment, frame, seq, now_ms):
        return
    if conn.state == CLOSED:
        return  # the application aborted in a callback
    if conn.fin_seq is not None and conn.fin_seq == conn.rcv_nxt and not conn.is_fin_received:
        _fin_arrives(conn, now_ms)


def _passes_paws(conn, segment, now_ms):
    """RFC 7323 section 5.3."""
    ts_val = segment.ts_val
    if ts_val is None:
        # Section 3.2 says that it should be dropped. Who agrees to timestamps and leaves them out later (a load
        # balancer between two who do not know) would never be heard again: as in Linux, it is taken, and counted.
        if not segment.flags & (RST | SYN):
            conn.tcp.ts_missing += 1
        return True
    if is_before(ts_val, conn.ts_recent) and not segment.flags & RST:
        if now_ms - conn.ts_recent_ms >= PAWS_IDLE_MS:
            return True
        conn.tcp.paws_drops += 1
        if _is_overtaken_report(conn, segment):
            sacked, _ = recovery.on_report(conn, segment, now_ms)
            if sacked:
                recovery.on_duplicate(conn, sacked, now_ms)
            conn.want_output()
        challenge(conn, now_ms, (segment.length or segment.flags & FIN) and not segment.flags & SYN)
        return False
    return True


def _is_overtaken_report(conn, segment):
    """Whether what PAWS drops is an ACK of just now with SACK blocks, that a later segment has overtaken.

    RFC 7323 section 5.3 has it answered and dropped; its report may be told only once, and RFC 6675 section 4 wants
    all that come. It is read where it is too young to be from before the numbers wrapped, as in Linux.
    """
    return (
        segment.flags & (ACK | SYN | FIN) == ACK
        and conn.sack_on
        and conn.state >= ESTABLISHED
        and segment.sack
        and not segment.length
        and unwrap(segment.seq, conn.rcv_nxt) == conn.rcv_nxt
        and 0 <= conn.snd_una - unwrap(segment.ack, conn.snd_una) <= conn.max_wnd
        and (conn.ts_recent - segment.ts_val) & 0xFFFFFFFF <= conn.rto.rto_ms
    )


def _is_acceptable(conn, seq, length, flags):
    """RFC 9293 section 3.4: something of the segment is in the window.

    An empty one, or a FIN alone, may also stand right behind it: peers who filled the window send their ACKs from
    there, and some their FIN, for which we need no room.
    """
    rcv_nxt = conn.rcv_nxt
    if not length:
        return rcv_nxt <= seq <= conn.rcv_adv
    return seq < conn.rcv_adv and seq + length + (flags & FIN) > rcv_nxt


def _answer_unacceptable(conn, seq, length, flags, now_ms):
    end = seq + length + (flags & FIN)
    if end == seq:
        challenge(conn, now_ms)
        return
    if conn.sack_on and seq < conn.rcv_nxt:
        # A repetition: our ACK was lost. RFC 2883: say of what. A FIN is an octet of it.
        conn.dsack = (seq, min(end, conn.rcv_nxt))
    acknowledge(conn, now_ms)


def acknowledge(conn, now_ms):
    """An ACK at once, that cannot wait for the next poll to be merged with others: senders count duplicates."""
    # A SYN and ACK that is due says the same, and before it an ACK would say nothing.
    if not conn.syn_due and segments.emit(conn, conn.snd_nxt, 0, ACK, now_ms):
        return
    conn.ack_now = True
    conn.want_output()


def challenge(conn, now_ms, has_data=0):
    """RFC 5961 section 7: an ACK, but not often: two broken ends must not answer each other for ever."""
    if conn.challenged_ms is not None and now_ms - conn.challenged_ms < CHALLENGE_MS and not has_data:
        conn.tcp.challenges_skipped += 1
        return
    conn.challenged_ms = now_ms
    conn.tcp.challenge_acks += 1
    acknowledge(conn, now_ms)


def _reset_arrives(conn, seq, now_ms):
    """RFC 5961 section 3: only the exact number resets; another one in the window is asked back.

    The number alone counts: text that explains why (RFC 1122 section 4.2.2.12) needs no room in the window.
    """
    if seq != conn.rcv_nxt:
        if conn.rcv_nxt < seq < conn.rcv_adv:
            challenge(conn, now_ms)
        else:
            conn.tcp.unacceptable += 1
        return
    if conn.state == SYN_RECEIVED:
        conn.tcp.attempt_fails += 1
        conn.fail(ECONNREFUSED)
    elif conn.state in (CLOSING, LAST_ACK) or (conn.fin_queued and conn.is_fin_received):
        conn.finish(None)
    else:
        conn.fail(ECONNRESET)


def _may_acknowledge(conn, segment, ack, now_ms):
    """Fifth check, first part: whether `ack` can be the peer's. If not, the segment is answered and ends here."""
    if conn.state == SYN_RECEIVED:
        if ack == conn.iss + 1 and conn.snd_nxt != conn.iss:
            return True
        conn.tcp.reply_reset(conn, segment, now_ms)
        return False
    if conn.snd_una - conn.max_wnd <= ack <= conn.snd_nxt:
        return True
    # RFC 5961 section 5: acknowledges what was not sent, or is too old to be true.
    conn.tcp.ack_errors += 1
    challenge(conn, now_ms)
    return False


def _ack_arrives(conn, segment, ack, seq, length, flags, now_ms):
    """Fifth check: `ack` is a number that the peer may acknowledge. Returns False when the segment ends here."""
    if conn.state == SYN_RECEIVED:
        window = segment.window << conn.snd_wscale
        _synchronize(conn, segment, now_ms)
        conn.snd_wnd = conn.max_wnd = window
        conn.snd_wl1 = seq
        if conn.on_writable is not None:
            conn.on_writable()
        if conn.ooo and conn.state != CLOSED:
            _deliver_queued(conn, now_ms)  # what came with the SYN
            conn.ack_now = True
        conn.want_output()
        if conn.state == CLOSED:
            return False
    snd_una = conn.snd_una
    sacked = 0
    is_dsack = False
    if segment.sack and conn.sack_on:
        sacked, is_dsack = recovery.on_report(conn, segment, now_ms)
    if ack < snd_una:
        # Overtaken: it acknowledges nothing, but what it reports (RFC 6675 section 4) and its data may be news.
        if sacked:
            recovery.on_duplicate(conn, sacked, now_ms)
            conn.want_output()
        return True
    if conn.tlp_end and ack >= conn.tlp_end:
        tlp.on_ack(conn, ack, segment, is_dsack, now_ms)
    window = segment.window << conn.snd_wscale
    has_same_window = window == conn.snd_wnd
    # Newer than the last one heard. By the acknowledgement too, as in Linux: were snd_una to move without the
    # window, its right edge would.
    if ack > snd_una or seq >= conn.snd_wl1:
        _window_arrives(conn, window, seq)
    if ack > snd_una:
        acked = ack - snd_una
        recovery.accept_ack(conn, acked, now_ms)
        if conn.state == CLOSED:
            return False  # the application aborted in a callback
        recovery.on_new_ack(conn, acked, sacked, segment, now_ms)
        if conn.tx_end + 1 == ack:
            _our_fin_acknowledged(conn, now_ms)
            if conn.state == CLOSED:
                return False
        conn.want_output()
    elif conn.snd_nxt > snd_una:
        if sacked or (not length and not flags & FIN and has_same_window and not conn.sack_on):
            recovery.on_duplicate(conn, sacked, now_ms)
        if conn.persists or not window:
            conn.stalled_ms = 0  # it is there, and has no room: it may even have taken room back (MUST-35, MUST-36)
        conn.want_output()
    else:
        conn.stalled_ms = 0
        if conn.tx_end > conn.snd_nxt or not has_same_window:
            conn.want_output()
    return True


def _window_arrives(conn, window, seq):
    if window > conn.snd_wnd:
        if conn.persists:
            # The answer to a probe: what waits goes out at once, and that probes were far apart tells nothing of loss.
            conn.persists = False
            conn.rtx_deadline = 0
            conn.rto.restart()
        elif not conn.snd_wnd and conn.recovery == recovery.TIMEOUT:
            # The same where the peer had taken back the room of what is outstanding.
            conn.rtx_next = conn.snd_una
            if conn.rack is not None:
                conn.rack.resent.clear()
            conn.rtx_deadline = 0
            conn.rto.restart()
            conn.want_output()
    conn.snd_wnd = window
    conn.snd_wl1 = seq
    if window > conn.max_wnd:
        conn.max_wnd = window


def _our_fin_acknowledged(conn, now_ms):
    conn.flushed()
    if conn.state == FIN_WAIT_1:
        conn.state = FIN_WAIT_2
        if conn.is_detached:
            conn.arm_idle(now_ms + conn.tcp.fin_wait_2_ms)
    elif conn.state == CLOSING:
        _time_wait(conn, now_ms)
    elif conn.state == LAST_ACK:
        conn.finish(None)


def _text_arrives(conn, segment, frame, seq, now_ms):
    """Seventh step: the data. Returns False when the connection ended over it."""
    if conn.state not in (ESTABLISHED, FIN_WAIT_1, FIN_WAIT_2):
        return True
    if conn.is_detached:
        # RFC 1122 section 4.2.2.13: nobody will read it.
        conn.tcp.aborts_on_data += 1
        conn.tcp.send_reset(conn)
        conn.fail(ECONNRESET)
        return False
    start = segment.start
    end = seq + segment.length
    rcv_nxt = conn.rcv_nxt
    if seq < rcv_nxt:
        if conn.sack_on:
            conn.dsack = (seq, min(rcv_nxt, end))
        start += rcv_nxt - seq
        seq = rcv_nxt
    if end > conn.rcv_adv:
        end = conn.rcv_adv
    if conn.fin_seq is not None and end > conn.fin_seq:
        end = conn.fin_seq
    length = end - seq
    if length <= 0:
        return True
    if seq == rcv_nxt:
        data = frame.take(start, length)
        if conn.ooo and start == segment.start:
            _note_duplicate(conn, 0, seq, end)  # else what comes first of it is noted already
        deliver(conn, data, now_ms)
        if conn.ooo:
            _deliver_queued(conn, now_ms)
            # RFC 5681 section 4.2: at once when a gap closes, wholly or partly.
            conn.ack_now = True
            conn.want_output()
    else:
        conn.tcp.ofo_queued += 1
        _note_early(conn, seq)
        _queue(conn, seq, end, start, frame)
        acknowledge(conn, now_ms)
    return True


def deliver(conn, data, now_ms):
    """Appends in-order data to what the application reads, and sees to its acknowledgement."""
    length = len(data)
    was_empty = not conn.rx_octets
    conn.rx_chunks.append(data)
    conn.rx_octets += length
    rcv_nxt = conn.rcv_nxt + length
    conn.rcv_nxt = rcv_nxt
    if len(conn.rx_chunks) - conn.rx_merged >= MERGE_CHUNKS:
        conn.merge_chunks()
    if rcv_nxt - conn.rcv_acked >= conn.ack_octets:
        conn.ack_now = True
        conn.want_output()
    elif not conn.ack_deadline:
        deadline = now_ms + DELAYED_ACK_MS
        conn.ack_deadline = deadline
        conn.arm(deadline)
    if was_empty and conn.on_readable is not None:
        conn.on_readable()


def _note_early(conn, seq):
    """What came last is reported first."""
    if not conn.ooo_recent:
        conn.ooo_recent = []
    conn.ooo_recent.insert(0, seq)
    del conn.ooo_recent[MAX_REPORTED:]


def _queue(conn, seq, end, start, frame):
    """Keeps a segment that came too early: only those of its octets that are not there yet."""
    ooo = conn.ooo
    at = len(ooo)
    is_noted = False
    while at and ooo[at - 1][0] > seq:
        at -= 1
    if at and ooo[at - 1][1] > seq:
        known = ooo[at - 1][1]
        is_noted = _note_duplicate(conn, at - 1, seq, end)
        start += known - seq
        seq = known
    while seq < end:
        until = min(end, ooo[at][0]) if at < len(ooo) else end
        if until > seq:
            if len(ooo) >= MAX_OOO and len(ooo) >= conn.rcv_buf >> 10:
                conn.tcp.ofo_dropped += 1
                return
            ooo.insert(at, [seq, until, frame.take(start, until - seq)])
            at += 1
        if at == len(ooo):
            return
        known = max(ooo[at][1], until)
        is_noted = is_noted or _note_duplicate(conn, at, seq, end)
        start += known - seq
        seq = known
        at += 1


def _note_duplicate(conn, at, seq, end):
    """Of a segment [seq, end), what is queued from place `at` on came twice: to be reported (RFC 2883 section 4).

    Returns True when there is such. Only the first part of a segment that came twice is reported.
    """
    ooo = conn.ooo
    left, right, _ = ooo[at]
    if left >= end or not conn.sack_on:
        return False
    while right < end and at + 1 < len(ooo) and ooo[at + 1][0] == right:
        at += 1
        right = ooo[at][1]
    conn.dsack = (max(left, seq), min(right, end))
    return True


def _deliver_queued(conn, now_ms):
    ooo = conn.ooo
    while ooo and ooo[0][0] <= conn.rcv_nxt and conn.state != CLOSED:
        seq, end, data = ooo[0]
        del ooo[0]
        if end > conn.rcv_nxt and data:
            if seq < conn.rcv_nxt:
                data = data[conn.rcv_nxt - seq :]
            deliver(conn, data, now_ms)


def _fin_seen(conn, seq, length, now_ms):
    """A segment has a FIN, which we know from now on. Its text, if any, is still to be taken."""
    fin_seq = seq + length
    is_early = seq > conn.rcv_nxt
    if conn.fin_seq is None:
        if is_early:
            _queue_fin(conn, fin_seq)
        conn.fin_seq = fin_seq
    elif is_early and seq == conn.fin_seq and conn.sack_on:
        conn.dsack = (seq, seq + 1)
    if is_early and not length:
        acknowledge(conn, now_ms)  # RFC 5681 section 4.2: at once, as every segment out of order


def _queue_fin(conn, fin_seq):
    """A FIN that came too early is an octet, and as such in the queue: SACK reports it."""
    ooo = conn.ooo
    ooo.append([fin_seq, fin_seq + 1, b""])
    conn.fin_seq = fin_seq
    _note_early(conn, fin_seq)
    # Whoever sent something behind a FIN did not mean it.
    while len(ooo) > 1 and ooo[-2][1] > fin_seq:
        del ooo[-2]


def _fin_arrives(conn, now_ms):
    """Eighth step: the peer has closed, and everything before that has come."""
    if conn.ooo:
        conn.ooo.clear()  # the FIN, and what is behind it
    conn.rcv_nxt += 1
    if conn.rcv_nxt > conn.rcv_adv:
        conn.rcv_adv = conn.rcv_nxt  # it stood right behind the window
    conn.is_fin_received = True
    conn.is_eof = not conn.rx_octets
    conn.ack_now = True
    conn.want_output()
    state = conn.state
    if state == ESTABLISHED:
        conn.state = CLOSE_WAIT
    elif state == FIN_WAIT_1:
        conn.state = CLOSING
    elif state == FIN_WAIT_2:
        _time_wait(conn, now_ms)
        return
    if conn.on_readable is not None:
        conn.on_readable()


def _time_wait(conn, now_ms):
    if conn.ack_now:
        segments.emit(conn, conn.snd_nxt, 0, ACK, now_ms)
    conn.tcp.time_waits.add(conn, now_ms)
    conn.finish(None)
