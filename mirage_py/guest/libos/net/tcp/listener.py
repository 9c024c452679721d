# SPDX-License-Identifier: MIT
"""Listening ports, and connections whose handshake is not complete (RFC 9293 section 3.10.7.2).

A half-open connection is a small object, not a Connection: a flood of SYNs costs little, and cannot cost more than the
backlog allows. When the backlog is full, SYNs are answered with cookies: syncookies.py.
"""

from libos.net.tcp.connection import Connection
from libos.net.tcp.input import CHALLENGE_MS, agree, segment_arrives
from libos.net.tcp.seq import is_before, unwrap
from libos.net.tcp.states import CLOSED
from libos.net.timers import FAR_MS
from libos.wire.tcp import ACK, FIN, RST, SYN, syn_options

SYN_ACK_TRIES = 5  # Linux's tcp_synack_retries
RTO_MS = 1000
ANSWER_MS = 500  # a repeated SYN is answered at most so often


class Listener:
    """One listening port. half_open: HalfOpen, the oldest first."""

    def __init__(self, port, on_accept, backlog):
        self.port = port
        self.on_accept = on_accept
        self.backlog = backlog
        self.half_open = []


class HalfOpen:
    """SYN_RECEIVED, come from LISTEN."""

    def __init__(self, tcp, listener, key, packet, segment, iss, ts_offset, now_ms):
        self.tcp = tcp
        self.listener = listener
        self.key = key
        self.ip = packet.ip
        self.local_ip = packet.dst_ip
        self.remote_ip = packet.src_ip
        self.syn = segment
        self.iss = iss
        self.ts_offset = ts_offset
        self.ts_recent = segment.ts_val if tcp.timestamps else None
        self.challenged_ms = None
        self.tries = 0
        self.answered_ms = now_ms  # None: not known
        self.window = 0  # what was announced
        self.stamp = None  # our timestamp, if it is not to be the time
        self.timer_at = FAR_MS
        self.timer_place = 0

    def answer(self, now_ms):
        """Sends SYN and ACK."""
        self.answered_ms = now_ms
        tcp = self.tcp
        syn = self.syn
        has_timestamps = self.ts_recent is not None
        stamp = now_ms + self.ts_offset if self.stamp is None else self.stamp
        options = syn_options(
            self.ip.mtu - self.ip.header_bytes - 20,
            None if syn.window_scale is None else tcp.window_scale,
            tcp.sack and syn.sack_permitted,
            stamp & 0xFFFFFFFF if has_timestamps else None,
            self.ts_recent or 0,
        )
        ack = (syn.seq + 1) & 0xFFFFFFFF
        # A promise: so those that others of us have got already count too.
        window = self.window = max(self.window, min(tcp.buffer_bytes(len(tcp.half_open)), 0xFFFF))
        port = self.listener.port
        tcp.send_segment(self, port, syn.src_port, self.iss, ack, SYN | ACK, window, options, now_ms)

    def on_timer(self, now_ms):
        if self.tries >= SYN_ACK_TRIES:
            self.tcp.attempt_fails += 1
            self.drop()
            return
        self.tries += 1
        self.tcp.timers.schedule(self, now_ms + (RTO_MS << self.tries))
        self.tcp.retrans_segs += 1
        self.answer(now_ms)

    def drop(self):
        """Forgets it, without a word to the peer."""
        self.tcp.timers.cancel(self)
        self.tcp.half_open.pop(self.key, None)
        self.listener.half_open.remove(self)

    def challenge(self, now_ms):
        """Answers what is not acceptable with an ACK, but not often (RFC 5961 section 7)."""
        tcp = self.tcp
        if self.challenged_ms is not None and now_ms - self.challenged_ms < CHALLENGE_MS:
            tcp.challenges_skipped += 1
            return
        self.challenged_ms = now_ms
        tcp.challenge_acks += 1
        syn = self.syn
        window = self.window
        if syn.window_scale is not None:
            window >>= tcp.window_scale
        ack = (syn.seq + 1) & 0xFFFFFFFF
        options = tcp.timestamps_of(self, now_ms)
        tcp.send_segment(self, self.listener.port, syn.src_port, self.iss + 1, ack, ACK, window, options, now_ms)

    def input(self, segment, frame, now_ms):
        """A segment for it arrives: RFC 9293 section 3.10.7.4."""
        flags = segment.flags
        tcp = self.tcp
        rcv_nxt = self.syn.seq + 1
        ahead = unwrap(segment.seq, rcv_nxt) - rcv_nxt
        if flags & RST:
            # RFC 5961 section 3. Whoever sends RST to our SYN and ACK knows the number.
            if ahead == 0:
                tcp.attempt_fails += 1
                self.drop()
            elif 0 < ahead < 0xFFFF:
                self.challenge(now_ms)
            else:
                tcp.unacceptable += 1
            return
        if flags & SYN:
            if now_ms - self.answered_ms >= ANSWER_MS:
                self.answer(now_ms)
            return
        if self.ts_recent is not None and segment.ts_val is not None and is_before(segment.ts_val, self.ts_recent):
            tcp.paws_drops += 1
            self.challenge(now_ms)
            return
        length = segment.length + (flags & FIN)
        if not (ahead < 0xFFFF and ahead + length > 0 if length else 0 <= ahead <= 0xFFFF):
            tcp.unacceptable += 1
            self.challenge(now_ms)
            return
        if not flags & ACK:
            return
        if segment.ack != (self.iss + 1) & 0xFFFFFFFF:
            tcp.reply_reset(self, segment, now_ms)
            return
        self.drop()
        self.complete(segment, frame, now_ms)

    def complete(self, segment, frame, now_ms):
        """`segment` completes the handshake."""
        try:
            conn = self.promote(now_ms)
            if conn is not None:
                self.listener.on_accept(conn)
        except MemoryError:
            # A connection that nobody owns must not stay in the table.
            conn = self.tcp.by_key.get(self.key)
            if conn is not None:
                conn.abort()
            raise
        if conn is not None and conn.state != CLOSED:
            segment_arrives(conn, segment, frame, now_ms)

    def promote(self, now_ms):
        """The handshake is complete: makes the Connection. None when there are too many."""
        tcp = self.tcp
        if not tcp.has_room():
            tcp.listen_drops += 1
            tcp.out_rsts += 1
            options = tcp.timestamps_of(self, now_ms)
            tcp.send_segment(self, self.listener.port, self.syn.src_port, self.iss + 1, 0, RST, 0, options, now_ms)
            return None
        syn = self.syn
        conn = Connection(tcp, self, self.key, self.listener.port, syn.src_port)
        conn.iss = self.iss
        conn.ts_offset = self.ts_offset
        conn.irs = syn.seq
        conn.rcv_nxt = conn.rcv_acked = syn.seq + 1
        # There may be more connections by now, and less memory for each: the window is not taken back.
        conn.rcv_buf = max(conn.rcv_buf, self.window)
        conn.rcv_adv = conn.rcv_nxt + min(conn.rcv_buf, 0xFFFF)
        agree(conn, syn, now_ms)
        conn.cc = tcp.congestion.start(conn.mss, conn.rto, self.tries > 0)
        start = self.iss + 1
        conn.snd_una = conn.snd_nxt = conn.tx_end = start
        conn.lost_below = conn.rtx_next = start
        conn.recover = self.iss
        conn.cur_seq = -1
        if self.tries == 0 and self.answered_ms is not None:
            conn.rto.sample(now_ms - self.answered_ms)
        tcp.by_key[self.key] = conn
        tcp.passive_opens += 1
        conn.established(now_ms)
        return conn
