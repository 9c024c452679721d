# SPDX-License-Identifier: MIT
"""RACK (RFC 8985 section 6): a segment is lost when one that was sent later has come, and it is late.

What is late depends on when each segment was sent. Here segments are cut anew each time that they are sent, so there is
nothing that a time could be kept in. Instead a connection notes from which sequence number on it sent in which
millisecond: the last place in `log_from` and `log_ms`, older ones in `log`, a flat list of pairs, not more than
LOG_PAIRS: where they become more, each second one is taken together with the one before, as if it were sent as late as
that one. What is sent while nothing is outstanding, as in an exchange of small messages, is not noted at all: its round
trip is timed, so `rtt_ms` has it. What was sent again is in `Rack.resent`. Only a connection that lost something,
or whose segments overtook each other, has a `Rack`.
"""

from libos.net.tcp.scoreboard import unsacked
from libos.net.tcp.seq import is_before

LOG_PAIRS = 32
PERSIST = 16  # recoveries for which a wider window is kept (section 6.2, step 4)
MAX_STEPS = 64


class Rack:
    """sent_ms, end, rtt_ms: of the segment sent last among those that came (RACK.xmit_ts, .end_seq, .rtt).

    fack: after the highest octet that came. is_reordering: an octet came after a higher one, and was sent only once.
    steps: quarters of a round trip that are waited. resent: [start, end, sent_ms] of what was sent again, and is not
    known to have come or to be lost, in the order of sending; resent_end: the highest end that it ever had.
    """

    def __init__(self):
        self.sent_ms = -1
        self.end = 0
        self.rtt_ms = 0
        self.fack = 0
        self.is_reordering = False
        self.steps = 1
        self.persist = 0
        self.dsack_round = -1
        self.resent = []
        self.resent_end = 0


def of(conn):
    """The connection's Rack, made when it is needed first."""
    if conn.rack is None:
        conn.rack = Rack()
    return conn.rack


def _settle(conn):
    """Notes what was sent last while nothing was outstanding: everything older is acknowledged."""
    if conn.rtt_ms > conn.log_ms:
        conn.log = None
        conn.log_from = conn.snd_una
        conn.log_ms = conn.rtt_ms


def note_sent(conn, seq, now_ms):
    """New octets are about to be sent from `seq` on, others are outstanding."""
    _settle(conn)
    if seq != conn.log_from:
        log = conn.log
        if log is None:
            log = conn.log = []
        una = conn.snd_una
        count = 0
        while count + 2 < len(log) and log[count + 2] <= una:
            count += 2
        if count + 2 == len(log) and conn.log_from <= una:
            count += 2
        if count:
            del log[:count]
        if len(log) >= 2 * LOG_PAIRS:
            half = []
            for index in range(0, len(log), 4):
                half.append(log[index])
                half.append(log[index + 3])
            conn.log = log = half
        log.append(conn.log_from)
        log.append(conn.log_ms)
    conn.log_from = seq
    conn.log_ms = now_ms


def sent_ms(conn, seq):
    """When the octet was sent for the first time."""
    _settle(conn)
    log = conn.log
    if seq >= conn.log_from or not log:
        return conn.log_ms
    index = len(log) - 2
    while index and log[index] > seq:
        index -= 2
    return log[index + 1]


def delivered(conn, left, right, echo, now_ms):
    """[left, right) has come. echo: the timestamp that the acknowledgement answers, or None. Steps 1 and 2."""
    rack = conn.rack
    is_first = True
    # Sooner than that nothing that was sent again has come. Not known: anything may have.
    least_ms = conn.rto.min_ms if conn.rto.srtt_8 else 0
    if rack.resent:
        kept = []
        for part in rack.resent:
            start, end, at_ms = part
            if end <= left or start >= right:
                kept.append(part)
                continue
            if end >= right:
                is_first = False
            # Which of the two came? The first, if it answers that, or if it was too fast for the second.
            if now_ms - at_ms >= least_ms and (
                echo is None or not is_before(echo, (at_ms + conn.ts_offset) & 0xFFFFFFFF)
            ):
                _note_latest(rack, at_ms, min(end, right), now_ms)
            if start < left:
                kept.append([start, left, at_ms])
            if end > right:
                kept.append([right, end, at_ms])
        rack.resent = kept
    if is_first:
        _note_latest(rack, sent_ms(conn, right - 1), right, now_ms)


def _note_latest(rack, at_ms, end, now_ms):
    if at_ms > rack.sent_ms or (at_ms == rack.sent_ms and end > rack.end):
        rack.sent_ms = at_ms
        rack.end = end
        rack.rtt_ms = now_ms - at_ms


def window_ms(conn):
    """How long reordering is waited for: step 4."""
    rack = conn.rack
    if not rack.is_reordering and (
        conn.recovery or conn.sacked_octets > 2 * conn.mss or len(conn.sacked) >= 3
    ):  # DupThresh segments
        return 0
    rto = conn.rto
    return min((rack.steps * rto.min_ms + 3) >> 2, rto.srtt_8 >> 3)


def on_dsack(conn):
    """The peer got something twice: more patience is needed, once in a round trip."""
    rack = of(conn)
    if conn.snd_una >= rack.dsack_round:
        rack.dsack_round = conn.snd_nxt
        rack.steps = min(rack.steps + 1, MAX_STEPS)
        rack.persist = PERSIST


def on_recovered(conn):
    """A recovery is over."""
    rack = conn.rack
    if rack is not None and rack.steps > 1:
        rack.persist -= 1
        if rack.persist <= 0:
            rack.steps = 1


def detect(conn, now_ms):
    """Moves lost_below, and takes what was lost again out of `resent`: step 5. Returns True when there was such.

    Sets reo_deadline to when something will be late next; 0: nothing.
    """
    _settle(conn)
    rack = conn.rack
    conn.reo_deadline = 0
    late_ms = now_ms - rack.rtt_ms - window_ms(conn)  # what was sent then, or before, and is not there, is late
    wait_ms = 0
    is_lost = False
    una = conn.snd_una
    # Sent once: later ones have higher numbers.
    log = conn.log or ()
    index = 0
    lost_below = conn.lost_below
    while index <= len(log):
        if index < len(log):
            at_ms = log[index + 1]
            end = log[index + 2] if index + 2 < len(log) else conn.log_from
        else:
            at_ms = conn.log_ms
            end = conn.snd_nxt
        index += 2
        if at_ms > rack.sent_ms:
            break
        if at_ms == rack.sent_ms:
            end = min(end, rack.end)
        start = max(lost_below, una)
        if end <= start:
            continue
        octets = unsacked(conn, start, end)
        if octets and at_ms > late_ms:
            wait_ms = at_ms - late_ms
            break
        lost_below = end
        is_lost = is_lost or octets > 0
    conn.lost_below = lost_below
    # Sent again.
    if rack.resent:
        kept = []
        for part in rack.resent:
            at_ms = part[2]
            # Of the same millisecond what came may have been sent before it.
            if at_ms < rack.sent_ms:
                if at_ms <= late_ms:
                    is_lost = True
                    conn.tcp.lost_retransmits += 1
                    conn.rtx_next = min(conn.rtx_next, part[0])
                    continue
                if not wait_ms or at_ms - late_ms < wait_ms:
                    wait_ms = at_ms - late_ms
            kept.append(part)
        rack.resent = kept
    if wait_ms:
        conn.reo_deadline = now_ms + wait_ms
        conn.arm(conn.reo_deadline)
    return is_lost


def lose_old(conn, now_ms):
    """The retransmission timer fired (section 6.3): the first segment is lost, and what was sent a round trip ago."""
    _settle(conn)
    rack = of(conn)
    first = min(conn.snd_una + conn.mss, conn.snd_nxt)
    late_ms = now_ms - max(rack.rtt_ms, conn.rto.srtt_8 >> 3) - window_ms(conn)
    log = conn.log or ()
    lost_below = first
    if conn.log_ms <= late_ms:
        lost_below = conn.snd_nxt
    else:
        for index in range(0, len(log), 2):
            if log[index + 1] <= late_ms:
                lost_below = max(lost_below, log[index + 2] if index + 2 < len(log) else conn.log_from)
    conn.lost_below = lost_below
    conn.rtx_next = conn.snd_una
    conn.reo_deadline = 0
    rack.resent = [part for part in rack.resent if part[2] > late_ms and part[0] >= first]
