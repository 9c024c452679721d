# SPDX-License-Identifier: MIT
"""One connection: its state, its two queues, and what the application calls."""

from errno import ECONNABORTED, ECONNRESET, ETIMEDOUT

from libos.net.tcp import recovery, segments
from libos.net.tcp.rto import Rto
from libos.net.tcp.states import (
    CLOSE_WAIT,
    CLOSED,
    ESTABLISHED,
    FIN_WAIT_1,
    FIN_WAIT_2,
    LAST_ACK,
    NAMES,
    SYN_RECEIVED,
    SYN_SENT,
)
from libos.net.timers import FAR_MS

FIN_WAIT_2_MS = 60000  # how long a peer may take to close after an application that has gone (Linux's tcp_fin_timeout)
KEEPALIVE_INTERVAL_MS = 75000
KEEPALIVE_PROBES = 9

_LARGE = 16384  # a received chunk of this size is read by itself
_SMALL = 512  # writes below this size share a chunk
_CHUNK_MAX = 2048  # which grows to this
_MERGE_BYTES = 16384  # received chunks (MERGE_CHUNKS of input.py) that hold no more than this are joined


class Connection:
    """A TCP connection, made by Tcp. Numbers are octets, sequence numbers never wrap (see the package).

    Application's part: read, write, close, abort, detach; is_eof: the peer has closed its side and everything was read;
    can_write: write() would take something; error: None or an errno; local, remote: (ip, port); state_name; callbacks
    without arguments, or None: on_readable (data came to an empty queue, the end, an error), on_writable (there is room
    again after a write that was cut short; also: an outgoing connection is established, or failed), on_flushed (once,
    when after close() everything is acknowledged, or the connection is no more), on_closed (once, when the connection
    is no more: error says why).
    """

    def __init__(self, tcp, way, key, local_port, remote_port):
        """way: whatever has ip, the layer, and both addresses, local_ip and remote_ip."""
        self.tcp = tcp
        self.ip = way.ip
        self.eth = way.ip.ethernet
        self.neighbours = way.ip.neighbours
        self.key = key
        self.local_ip = way.local_ip
        self.local_port = local_port
        self.remote_ip = way.remote_ip
        self.remote_port = remote_port
        self.state = CLOSED
        self.error = None
        self.is_eof = False
        self.on_readable = None
        self.on_writable = None
        self.on_flushed = None
        self.on_closed = None
        self.is_fast = False  # header prediction may handle what arrives: established, nothing lost or reordered
        self.is_queued = False  # in tcp.pending: output wants to run
        self.is_detached = False
        self.timer_at = FAR_MS
        self.timer_place = 0
        # Options, as agreed.
        self.mss = 536  # payload octets of a full segment that we send
        self.rcv_mss = 536  # of one that we have seen
        self.ts_on = False
        self.ts_offset = 0
        self.ts_recent = None  # before it is agreed on
        self.ts_recent_ms = 0  # when it was set; also when header prediction last took something
        self.sack_on = False
        self.snd_wscale = 0
        self.rcv_wscale = 0
        # Sending. tx_chunks: what is not acknowledged; the first tx_head octets of chunk 0 are.
        self.iss = 0
        self.snd_una = 0
        self.snd_nxt = 0
        self.snd_wnd = 0
        self.snd_wl1 = 0
        self.max_wnd = 0
        self.tx_chunks = []
        self.tx_head = 0
        self.tx_end = 0  # the sequence number after the last octet queued
        self.cur_seq = 0  # where the next octets to send are: chunk cur_index, from cur_offset
        self.cur_index = 0
        self.cur_offset = 0
        self.snd_buf = tcp.buffer_bytes()
        self.is_writable = True  # not closed, not failed
        self.is_write_short = False  # the application waits for on_writable
        self.fin_queued = False
        self.full_end = 0  # after the first segment that was full: acknowledged, such ones get through
        self.search = None  # plpmtud.py
        self.no_delay = False
        self.small_end = 0  # after the last segment that was not full: Nagle
        self.max_send = 536  # payload octets of one frame: many segments where the device cuts them
        # Receiving. rx_chunks: in order, not read; the first rx_head octets of chunk 0 are. ooo: [seq, end, data],
        # sorted.
        self.irs = 0
        self.rcv_nxt = 0
        self.rcv_adv = 0  # the right edge of the window that we announced: never moves back
        self.update_at = 0  # where the window is nearly used up
        self.window_step = 536  # by how much the edge moves at least: a segment, or half the buffer
        self.rcv_acked = 0
        self.rcv_buf = tcp.buffer_bytes()
        self.rx_chunks = []
        self.rx_head = 0
        self.rx_octets = 0
        self.rx_merged = 0  # chunks at the front that were looked at for merging
        self.ack_octets = 1072  # unacknowledged octets that are worth an ACK at once: two full segments
        self.ooo = []
        self.ooo_recent = ()  # where the last ones came, the latest first: the order of RFC 2018's blocks
        self.dsack = None
        self.fin_seq = None  # of the peer's FIN, as soon as it was seen
        self.is_fin_received = False
        # Acknowledging.
        self.ack_now = False
        self.ack_deadline = 0
        self.challenged_ms = None
        self.heard_ms = 0
        # Round-trip time, loss, congestion.
        self.rto = Rto()
        self.rtt_seq = 0  # the octet whose acknowledgement is timed, 0 for none
        self.rtt_ms = 0
        self.dup_acks = 0
        self.dup_octets = 0  # what duplicate ACKs say has left the network, without SACK
        self.log = None  # rack.py: when what was sent
        self.log_from = 0
        self.log_ms = -1
        self.rack = None
        self.sacked = []  # scoreboard.py: [start, end], sorted
        self.sacked_octets = 0
        self.lost_below = 0
        self.rtx_next = 0
        self.recover = 0
        self.recovery = 0
        self.is_cwnd_limited = False
        self.tlp_end = 0  # tlp.py
        self.tlp_is_rtx = False
        self.tlp_flight = 0
        self.undo_from = -1  # undo.py
        self.undo_octets = 0
        self.rtx_ts = -1
        self.cc = None
        self.sent_ms = 0  # when we sent last, if only an ACK
        # Timers; 0 for none.
        self.rtx_deadline = 0
        self.rto_deadline = 0  # when rtx_deadline is this, no probe comes before the retransmission timeout
        self.reo_deadline = 0  # when what may have been overtaken is lost: rack.py
        self.persists = False  # rtx_deadline asks for a window, nothing is in the network
        self.stalled_ms = 0  # since when nothing was heard although it was due
        self.user_timeout_ms = tcp.user_timeout_ms
        self.idle_deadline = 0
        self.keepalive_ms = 0
        self.keepalives = 0
        self.soft_error = None  # what ICMP said about a connection attempt
        self.syn_due = False
        self.syn_tries = 0
        # The frame's constant parts; segments.prepare fills them in.
        self.route_generation = 0
        self.next_hop = None
        self.template = None
        self.tcp_sum = 0
        self.pseudo = 0
        self.pseudo_ip = 0
        self.header_len = 54
        self.expected = None
        self.fast_key = 0

    # --- what the application calls ---

    # No property in this class: on MicroPython a class with one pays 700 instructions for every attribute stored.
    def __getattr__(self, name):
        if name == "can_write":
            return self.is_writable and self.tx_end - self.snd_una < self.snd_buf
        if name == "local":
            return (self.ip.format_address(self.local_ip), self.local_port)
        if name == "remote":
            return (self.ip.format_address(self.remote_ip), self.remote_port)
        if name == "state_name":
            return NAMES[self.state]
        raise AttributeError(name)

    def read(self, n):
        """Up to n received octets; b"" when there is nothing now."""
        octets = self.rx_octets
        if not octets or n <= 0:
            return b""
        chunks = self.rx_chunks
        if octets <= n and len(chunks) == 1 and not self.rx_head:
            data = chunks.pop()
            self.rx_octets = 0
            self.rx_merged = 0
        else:
            data = self._read_some(n)
        if self.is_fin_received:
            self.is_eof = not self.rx_octets
        elif self.rcv_nxt > self.update_at and self.rx_octets <= self.rcv_buf >> 1:
            # The window is nearly used up, and half the buffer is free: worth a segment (RFC 9293 section 3.8.6.2.2).
            self.ack_now = True
            if not self.is_queued:
                self.tcp.pending.append(self)
                self.is_queued = True
        return data

    def _read_some(self, n):
        """As many whole chunks as fit, or a part of the first one. A large one is given as it is: joining copies."""
        chunks = self.rx_chunks
        head = self.rx_head
        data = chunks[0]
        size = len(data) - head
        if size > n:
            data = data[head : head + n]
            self.rx_head = head + n
            self.rx_octets -= n
            return data
        if head:
            data = data[head:]
        taken = 1
        if size < _LARGE:
            if self.rx_octets <= n:
                taken = len(chunks)
                size = self.rx_octets
            else:
                while size + len(chunks[taken]) <= n:
                    size += len(chunks[taken])
                    taken += 1
        left = chunks[taken:]
        if taken > 1:
            parts = chunks[:taken]
            parts[0] = data
            data = b"".join(parts)
        # What needs memory is done: from here on nothing gets lost.
        self.rx_chunks = left
        self.rx_merged = 0
        self.rx_head = 0
        self.rx_octets -= size
        return data

    def write(self, data, start=0):
        """Queues data[start:], as much as the send buffer takes; returns how many octets those were.

        A bytes object is kept by reference and must not, and cannot, change; other buffers are copied.
        Raises OSError with `error` when the connection failed, ECONNABORTED when it was closed for writing.
        """
        if not self.is_writable:
            raise OSError(self.error or ECONNABORTED)
        count = len(data) - start
        room = self.snd_una + self.snd_buf - self.tx_end
        if count > room:
            count = room
            self.is_write_short = True
        if count <= 0:
            return 0
        chunks = self.tx_chunks
        if count < _SMALL and chunks and len(chunks[-1]) < _CHUNK_MAX:
            self._extend(data, start, count)
        elif start == 0 and count == len(data) and type(data) is bytes:
            chunks.append(data)
        elif type(data) is bytes and count >= _SMALL:
            chunks.append(memoryview(data)[start : start + count])
        else:
            chunks.append(bytes(memoryview(data)[start : start + count]))
        self.tx_end += count
        if not self.is_queued:
            self.tcp.pending.append(self)
            self.is_queued = True
        return count

    def _extend(self, data, start, count):
        """A small write behind other data: chunks must not become many."""
        chunks = self.tx_chunks
        last = chunks[-1]
        if type(last) is not bytearray:
            if len(last) > _SMALL:
                chunks.append(bytearray(memoryview(data)[start : start + count]))
                return
            last = bytearray(last)
            chunks[-1] = last
        last.extend(memoryview(data)[start : start + count])

    def close(self):
        """Sends FIN after what is queued. Reading goes on until the peer closes too. Closing twice is nothing."""
        if self.fin_queued or self.state == CLOSED:
            return
        if self.state == SYN_SENT:
            self.finish(None)
            return
        self.fin_queued = True
        self.is_writable = False
        self.is_fast = False
        if self.state == CLOSE_WAIT:
            self.state = LAST_ACK
        else:
            # In SYN_RECEIVED too: the FIN goes out behind the handshake.
            if self.state == ESTABLISHED:
                self.state = FIN_WAIT_1
        self.want_output()

    def detach(self):
        """close(), and nobody will read any more: data that still comes is answered with RST (RFC 1122 section
        4.2.2.13).

        The peer then has FIN_WAIT_2_MS to close its side.
        """
        if self.state == CLOSED:
            return
        self.is_detached = True
        self.on_readable = None
        self.on_writable = None
        if self.rx_octets:
            # RFC 2525 section 2.17: the peer must learn that what it sent was not read.
            self.abort()
            return
        self.close()
        if self.state == FIN_WAIT_2:
            self.arm_idle(self.last_heard_ms() + FIN_WAIT_2_MS)

    def abort(self):
        """Sends RST and forgets everything. error becomes ECONNABORTED."""
        if self.state == CLOSED:
            return
        if self.state >= SYN_RECEIVED:
            self.tcp.send_reset(self)
        self.finish(ECONNABORTED)

    def give_up(self):
        """abort(), after waiting in vain for the peer to acknowledge what was sent before close()."""
        if self.state != CLOSED:
            self.tcp.aborts_on_linger += 1
            self.abort()

    def flushed(self):
        """The peer has acknowledged our FIN."""
        callback = self.on_flushed
        if callback is not None:
            self.on_flushed = None
            callback()

    def set_user_timeout(self, timeout_ms):
        """Gives up with ETIMEDOUT when nothing was acknowledged for timeout_ms; 0: the default of five minutes."""
        self.user_timeout_ms = timeout_ms or self.tcp.user_timeout_ms

    def set_no_delay(self, is_on):
        """Switches Nagle's algorithm off (True) or on."""
        self.no_delay = is_on
        self.want_output()

    def set_keepalive(self, idle_ms):
        """Asks a silent peer whether it is there after idle_ms (RFC 9293 section 3.8.4); 0: never, the default."""
        self.keepalive_ms = idle_ms
        self.keepalives = 0
        self.arm_idle(self.last_heard_ms() + idle_ms if idle_ms else 0)

    # --- what the rest of the package calls ---

    def last_heard_ms(self):
        """When the peer was last heard, by header prediction or otherwise."""
        return max(self.heard_ms, self.ts_recent_ms)

    def want_output(self):
        """Has `output` run at the next poll."""
        if not self.is_queued:
            self.tcp.pending.append(self)
            self.is_queued = True

    def arm(self, deadline_ms):
        """Has on_timer run at deadline_ms at the latest."""
        if deadline_ms < self.timer_at:
            self.tcp.timers.schedule(self, deadline_ms)

    def arm_idle(self, deadline_ms):
        self.idle_deadline = deadline_ms
        if deadline_ms:
            self.arm(deadline_ms)

    def merge_chunks(self):
        """Joins the last chunks when they hold little: a peer that sends single octets must not cost an object each."""
        chunks = self.rx_chunks
        tail = chunks[self.rx_merged :]
        if sum([len(chunk) for chunk in tail]) <= _MERGE_BYTES:
            if self.rx_head and not self.rx_merged:
                tail[0] = tail[0][self.rx_head :]
                self.rx_head = 0
            del chunks[self.rx_merged :]
            chunks.append(b"".join(tail))
        self.rx_merged = len(chunks)

    def find(self, seq):
        """Points the cursor at the queued octet with sequence number `seq`."""
        index = 0
        offset = seq - self.snd_una + self.tx_head
        for chunk in self.tx_chunks:
            if offset < len(chunk):
                break
            offset -= len(chunk)
            index += 1
        self.cur_seq = seq
        self.cur_index = index
        self.cur_offset = offset

    def established(self, now_ms):
        """The handshake is complete."""
        self.state = FIN_WAIT_1 if self.fin_queued else ESTABLISHED
        self.is_fast = not self.fin_queued
        self.tcp.predict(self)
        self.heard_ms = now_ms
        if self.keepalive_ms:
            self.arm_idle(now_ms + self.keepalive_ms)

    def finish(self, error):
        """The connection is no more. Its tables and buffers are given up, the application is told."""
        if self.state == CLOSED:
            return
        self.state = CLOSED
        self.is_fast = False
        self.is_writable = False
        if error is not None:
            self.error = error
        self.tx_chunks = []
        self.ooo = []
        self.sacked = []
        self.log = self.rack = None
        self.reo_deadline = 0
        if self.search is not None:
            self.search.end_of_it()
        self.tx_end = self.snd_nxt = self.snd_una
        self.tcp.forget(self)
        for callback in (self.on_readable, self.on_writable, self.on_flushed, self.on_closed):
            if callback is not None:
                callback()
        self.on_readable = self.on_writable = self.on_flushed = self.on_closed = None

    def fail(self, error):
        """The peer or the network ended it."""
        if error == ECONNRESET:
            self.tcp.estab_resets += 1
        self.finish(error)

    def on_timer(self, now_ms):
        """The timer entry fired: does what is due, and arms for what is next."""
        # A deadline is given up when what it was for is done: memory may run out before.
        if self.ack_deadline and self.ack_deadline <= now_ms:
            self.want_output()
            self.ack_now = True
            self.ack_deadline = 0
        if self.rtx_deadline and self.rtx_deadline <= now_ms:
            recovery.on_timeout(self, now_ms)
        if self.reo_deadline and self.reo_deadline <= now_ms:
            recovery.on_reordering_timeout(self, now_ms)
        due_ms = self.idle_deadline
        if due_ms and due_ms <= now_ms:
            self._idle(now_ms)
            if self.idle_deadline == due_ms:
                self.idle_deadline = 0
        self.arm_next()

    def arm_next(self):
        """Sets the timer entry to the earliest deadline."""
        if self.state == CLOSED:
            return
        deadline_ms = FAR_MS
        for due_ms in (self.ack_deadline, self.rtx_deadline, self.reo_deadline, self.idle_deadline):
            if due_ms and due_ms < deadline_ms:
                deadline_ms = due_ms
        if deadline_ms < self.timer_at:
            self.tcp.timers.schedule(self, deadline_ms)

    def _idle(self, now_ms):
        if self.state == FIN_WAIT_2 and self.is_detached:
            self.finish(None)
            return
        if not self.keepalive_ms:
            return
        last_ms = self.last_heard_ms()
        if now_ms - last_ms < self.keepalive_ms:
            self.keepalives = 0
            self.arm_idle(last_ms + self.keepalive_ms)
        elif self.keepalives >= KEEPALIVE_PROBES:
            self.tcp.timeouts += 1
            self.tcp.send_reset(self)
            self.fail(ETIMEDOUT)
        else:
            self.keepalives += 1
            segments.probe(self, now_ms)
            self.arm_idle(now_ms + min(KEEPALIVE_INTERVAL_MS, self.keepalive_ms))
