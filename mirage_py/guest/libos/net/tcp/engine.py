# SPDX-License-Identifier: MIT
"""TCP over IPv4 and IPv6: the tables, the way of a segment to its connection, and opening connections.

A connection is found under octets as they stand in a received header: both addresses and both ports (`ip.key`).
"""

from errno import EADDRINUSE, EHOSTUNREACH
from struct import unpack_from

from micropython import const

from libos.net import errors
from libos.net.tcp import plpmtud, recovery, syncookies
from libos.net.tcp.connection import FIN_WAIT_2_MS, Connection
from libos.net.tcp.counters import read as read_counters
from libos.net.tcp.counters import start as start_counters
from libos.net.tcp.input import CHALLENGE_MS, segment_arrives
from libos.net.tcp.isn import PORTS, Secrets
from libos.net.tcp.listener import RTO_MS, HalfOpen, Listener
from libos.net.tcp.output import run
from libos.net.tcp.progress import Progress
from libos.net.tcp.seq import is_before, unwrap
from libos.net.tcp.states import SYN_SENT
from libos.net.tcp.timewait import MAX_TIME_WAITS, TIME_WAIT_MS, TimeWaits
from libos.net.timers import FAR_MS
from libos.net.transport import Transport
from libos.wire import tcp as wire
from libos.wire.ipv4 import PROTOCOL_TCP

_MASK = const(0xFFFFFFFF)
_CSUM_VALID = const(1)  # hal.dma

USER_TIMEOUT_MS = 300000  # RFC 9293 section 3.8.3: R2, at least 100 s; five minutes is the classic user timeout
MAX_CONNECTIONS = 16384
BUFFER_BYTES = 262144  # of a connection's queues, each way
MIN_BUFFER_BYTES = 8192
MEMORY_BYTES = 4 << 20


class Way:
    """Between which addresses a segment goes, and by which layer. local_ip: by default the layer's choice."""

    ts_recent = None  # no connection, so no timestamps

    def __init__(self, ip, remote_ip, local_ip=None):
        self.ip = ip
        self.remote_ip = remote_ip
        self.local_ip = ip.source_for(remote_ip) if local_ip is None else local_ip


class Tcp(Transport):
    """TCP over `ipv4`, `ipv6` (None: without) or both, on one Ethernet. random: bytes(n) from the machine's entropy.
    congestion: an algorithm, see congestion.py.

    memory_bytes: what the queues of all connections may hold, about: a new one's buffers get smaller the more there
    are. timestamps, sack: whether these are offered and accepted.
    """

    def __init__(
        self,
        random,
        congestion,
        ipv4,
        ipv6=None,
        memory_bytes=MEMORY_BYTES,
        buffer_bytes=BUFFER_BYTES,
        max_connections=MAX_CONNECTIONS,
        timestamps=True,
        sack=True,
        max_time_waits=MAX_TIME_WAITS,
    ):
        self.ipv4 = ipv4
        self.ipv6 = ipv6
        eth = (ipv4 or ipv6).ethernet
        self.timestamps = timestamps
        self.sack = sack
        self.congestion = congestion
        self.max_connections = max_connections
        self.user_timeout_ms = USER_TIMEOUT_MS
        self.fin_wait_2_ms = FIN_WAIT_2_MS
        self.window_scale = 0
        while 0xFFFF << self.window_scale < buffer_bytes:
            self.window_scale += 1
        self.by_key = {}
        self.half_open = {}
        self.timers = eth.timers
        self.timers.restorers.append(self._arm_all)
        self.time_waits = TimeWaits(eth.timers, max_time_waits)
        self.listeners = {}
        self.pending = []  # connections whose output wants to run
        self._next_pending = []
        self._buffer_bytes = buffer_bytes
        self._memory_bytes = memory_bytes
        self._secrets = Secrets(random)
        self.cookies = syncookies.Cookies(random)
        self.progress = Progress()
        self.fast = {}  # by what expected.py finds them with
        self.now_ms = 0
        start_counters(self)
        eth.parts["tcp"] = self
        for layer in (ipv4, ipv6):
            if layer is not None:
                layer.register(PROTOCOL_TCP, self)

    # Not a property: those make every attribute of the class slow to store on MicroPython.
    def __getattr__(self, name):
        """counters: name -> value, see counters.py."""
        if name != "counters":
            raise AttributeError(name)
        return read_counters(self)

    # --- opening ---

    def listen(self, port, on_accept, backlog=128):
        """Accepts connections to `port`: on_accept(conn) for each whose handshake is complete.

        backlog: handshakes under way at most. Raises OSError(EADDRINUSE) when the port is taken, ValueError when it
        is none.
        """
        if not 1 <= port <= 65535:
            raise ValueError("not a TCP port: %d" % port)
        if port in self.listeners:
            raise OSError(EADDRINUSE)
        self.listeners[port] = Listener(port, on_accept, max(backlog, 1))

    def unlisten(self, port):
        """Stops accepting; connections live on, half-open ones are dropped. KeyError when nobody listens."""
        listener = self.listeners.pop(port)
        for half_open in list(listener.half_open):
            half_open.drop()

    def connect(self, ip, port, now_ms):
        """Begins a connection to ("10.0.0.1", port) or ("fd00::1", port); returns it at once, on_writable tells when it
        is established.

        Raises ValueError for what is no address or port, OSError(EHOSTUNREACH) when there is no route or the address is
        no host's, OSError(EADDRINUSE) when all ports to there are in use or there are too many connections.
        """
        layer = self.ipv6 if ":" in ip else self.ipv4
        if layer is None:
            raise OSError(EHOSTUNREACH)
        way = Way(layer, layer.parse_address(ip))
        if not 1 <= port <= 65535:
            raise ValueError("not a TCP port: %d" % port)
        if way.local_ip is None or not layer.is_host(way.remote_ip):
            raise OSError(EHOSTUNREACH)
        if not self.has_room():
            raise OSError(EADDRINUSE)
        key, local_port = self._choose_port(way, port)
        conn = Connection(self, way, key, local_port, port)
        conn.state = SYN_SENT
        conn.iss = self._secrets.isn(key, now_ms)
        conn.ts_offset = self._secrets.timestamp_offset(key)
        conn.ts_on = self.timestamps
        conn.snd_una = conn.snd_nxt = conn.iss
        conn.tx_end = conn.iss + 1
        conn.syn_due = True
        self.by_key[key] = conn
        self.active_opens += 1
        conn.want_output()
        return conn

    def _choose_port(self, way, port):
        destination = way.ip.key(way.remote_ip, way.local_ip, port, 0)
        for _ in range(PORTS):
            local_port = self._secrets.next_port(destination)
            key = way.ip.key(way.remote_ip, way.local_ip, port, local_port)
            if key not in self.by_key and key not in self.time_waits.by_key and local_port not in self.listeners:
                return (key, local_port)
        raise OSError(EADDRINUSE)

    def has_room(self):
        """Whether there may be one more connection."""
        return len(self.by_key) < self.max_connections

    def buffer_bytes(self, waiting=0):
        """What a new connection may queue each way: less, the more connections there are, and `waiting` ones."""
        share = self._memory_bytes // (4 * (len(self.by_key) + waiting + 1))
        return max(min(share, self._buffer_bytes), MIN_BUFFER_BYTES)

    def forget(self, conn):
        """A connection ended."""
        self.timers.cancel(conn)
        self.progress.forget(conn)
        if self.by_key.get(conn.key) is conn:
            del self.by_key[conn.key]
        if self.fast.get(conn.fast_key) is conn:
            del self.fast[conn.fast_key]

    def predict(self, conn):
        """A connection is established: `expected.input_batch` may find it, unless it is with ourselves.

        Header prediction sees what comes from the network only, and who sends that must not pass for us.
        """
        if conn.ip.is_self(conn.remote_ip):
            return
        conn.fast_key = conn.ip.low_word(conn.remote_ip) << 29 ^ (conn.remote_port << 16 | conn.local_port)
        self.fast[conn.fast_key] = conn

    # --- receiving ---

    def input(self, frame, packet, now_ms):
        """A received packet, by way of Ipv4."""
        self.in_segs += 1
        start = packet.start
        if packet.is_broadcast:
            self.in_errs += 1  # RFC 9293 section 3.9.2.3: never to more than one
            return
        # The header, options included, must be in the first fragment: there is room for all of it.
        available = frame.length - start
        segment = wire.parse(frame.buf, frame.start + start, min(packet.length, available))
        if segment is None or not segment.src_port or not segment.dst_port:
            self.in_errs += 1
            return
        if not frame.flags & _CSUM_VALID:
            pseudo = packet.ip.pseudo_sum(packet.src_ip, packet.dst_ip, PROTOCOL_TCP, packet.length)
            if frame.checksum(start, packet.length, pseudo) != 0xFFFF:
                self.in_errs += 1
                self.csum_errors += 1
                return
        segment.start = start + segment.header_len
        segment.length = packet.length - segment.header_len
        key = packet.ip.key(packet.src_ip, packet.dst_ip, segment.src_port, segment.dst_port)
        conn = self.by_key.get(key)
        if conn is not None:
            segment_arrives(conn, segment, frame, now_ms)
            return
        half_open = self.half_open.get(key)
        if half_open is not None:
            half_open.input(segment, frame, now_ms)
            return
        iss = None
        if key in self.time_waits.by_key:
            iss = self._time_wait_arrives(key, packet, segment, now_ms)
            if iss is None:
                return
        listener = self.listeners.get(segment.dst_port)
        if listener is not None:
            flags = segment.flags & (wire.SYN | wire.ACK | wire.RST)
            if flags == wire.SYN:
                self._syn_arrives(listener, key, packet, segment, iss, now_ms)
                return
            if flags == wire.ACK and now_ms < self.cookies.until_ms:
                offset = self._secrets.timestamp_offset(key)
                half_open = syncookies.accept(self, listener, key, packet, segment, offset, now_ms)
                if half_open is not None:
                    half_open.complete(segment, frame, now_ms)
                    return
            if not flags:
                self.unacceptable += 1
                return  # RFC 9293 section 3.10.7.2, fourth
        self.reply_reset(Way(packet.ip, packet.src_ip, packet.dst_ip), segment, now_ms)

    def _syn_arrives(self, listener, key, packet, segment, iss, now_ms):
        if not self.has_room():
            self.listen_drops += 1
            return
        offset = self._secrets.timestamp_offset(key)
        if len(listener.half_open) >= listener.backlog:
            self.listen_overflows += 1
            syncookies.answer(self, listener, key, packet, segment, offset, now_ms)
            return
        if iss is None:
            iss = self._secrets.isn(key, now_ms)
        half_open = HalfOpen(self, listener, key, packet, segment, iss, offset, now_ms)
        listener.half_open.append(half_open)
        try:
            self.half_open[key] = half_open
        except MemoryError:
            half_open.drop()
            raise
        self.timers.schedule(half_open, now_ms + RTO_MS)
        half_open.answer(now_ms)

    def _time_wait_arrives(self, key, packet, segment, now_ms):
        """A segment for a connection in TIME_WAIT. Returns the first sequence number of a new one that may come."""
        waits = self.time_waits
        snd_nxt, rcv_nxt, ts_recent, ts_offset, challenged_ms, deadline_ms = waits.by_key[key]
        flags = segment.flags
        if flags & wire.RST:
            return None  # RFC 1337
        ahead = unwrap(segment.seq, rcv_nxt) - rcv_nxt
        end = ahead + segment.length + (flags & wire.FIN)
        has_times = ts_recent is not None and segment.ts_val is not None
        is_old = has_times and is_before(segment.ts_val, ts_recent)
        if flags & wire.SYN:
            if not flags & wire.ACK and segment.dst_port in self.listeners:
                # RFC 6191: later by timestamp, or by sequence number (RFC 1122 section 4.2.2.13).
                if has_times and segment.ts_val != ts_recent:
                    is_new = not is_old
                else:
                    is_new = ahead > 0
                if is_new:
                    waits.remove(key)
                    return (snd_nxt + 65537) & _MASK
        elif not is_old:
            if end == ahead and 0 <= ahead <= 0xFFFF:
                return None  # acceptable, and says nothing
            if flags & wire.FIN and end == 0:
                deadline_ms = now_ms + TIME_WAIT_MS
        if end == ahead or flags & wire.SYN:
            # RFC 9293 section 3.10.7.4, first: an ACK. Not often: the other side may be in TIME-WAIT too.
            if challenged_ms is not None and now_ms - challenged_ms < CHALLENGE_MS:
                self.challenges_skipped += 1
                return None
            challenged_ms = now_ms
            self.challenge_acks += 1
        waits.by_key[key] = (snd_nxt, rcv_nxt, ts_recent, ts_offset, challenged_ms, deadline_ms)
        way = Way(packet.ip, packet.src_ip, packet.dst_ip)
        way.ts_recent = ts_recent
        way.ts_offset = ts_offset
        self.send_segment(
            way,
            segment.dst_port,
            segment.src_port,
            snd_nxt & _MASK,
            rcv_nxt & _MASK,
            wire.ACK,
            0xFFFF >> self.window_scale,
            self.timestamps_of(way, now_ms),
            now_ms,
        )
        return None

    def neighbour_lost(self, ip, hop, _now_ms):
        """Nobody answers for the MAC of a neighbour: attempts to connect through it fail at once, as in Linux."""
        for conn in list(self.by_key.values()):
            if conn.state == SYN_SENT and conn.ip is ip and ip.next_hop(conn.remote_ip) == hop:
                self.attempt_fails += 1
                conn.fail(EHOSTUNREACH)

    def confirms(self, ip, hop, generation):
        """Whether a connection through a neighbour went forward (RFC 4861 section 7.3.1)."""
        return self.progress.is_seen(ip, hop, generation)

    def address_lost(self, ip, address):
        """`address` is ours no more: what used it ends."""
        for conn in list(self.by_key.values()):
            if conn.ip is ip and conn.local_ip == address:
                conn.finish(EHOSTUNREACH)
        for half_open in list(self.half_open.values()):
            if half_open.ip is ip and half_open.local_ip == address:
                half_open.drop()

    def input_error(self, ip, src_ip, dst_ip, quoted, error, mtu, now_ms):
        """ICMP says something about a segment that we sent. quoted: at least 8 octets of it; error: of net.errors.

        Believed only with a sequence number that is outstanding (RFC 5927 section 4). Hard errors end an attempt to
        connect, never an established connection (RFC 1122 section 4.2.3.9, RFC 5927 section 5.2).
        """
        src_port, dst_port, seq32 = unpack_from(">HHI", quoted, 0)
        conn = self.by_key.get(ip.key(dst_ip, src_ip, dst_port, src_port))
        if conn is None:
            return
        seq = unwrap(seq32, conn.snd_una)
        if not conn.snd_una <= seq < conn.snd_nxt:
            self.icmp_errors += 1
            return
        if mtu:
            ip.lower_path_mtu(dst_ip, mtu, now_ms)
            mss = mtu - ip.header_bytes - 20
            if mss < conn.mss + conn.header_len - ip.start - 20:
                plpmtud.resize(conn, max(mss, 536) + ip.header_bytes + 20)
                if conn.cc is not None:
                    plpmtud.begin(conn, now_ms)
                    recovery.lose_all(conn)
        elif conn.state == SYN_SENT:
            conn.soft_error = EHOSTUNREACH
            if error == errors.UNREACHABLE_PROTOCOL or error == errors.UNREACHABLE_PORT:
                self.attempt_fails += 1
                conn.fail(EHOSTUNREACH)

    # --- sending ---

    def reply_reset(self, way, segment, now_ms):
        """RST for a segment that belongs to nothing (RFC 9293 section 3.10.7.1). way: as for timestamps_of."""
        flags = segment.flags
        if flags & wire.RST:
            return
        self.out_rsts += 1
        options = self.timestamps_of(way, now_ms)
        if flags & wire.ACK:
            self.send_segment(way, segment.dst_port, segment.src_port, segment.ack, 0, wire.RST, 0, options, now_ms)
            return
        ack = segment.seq + segment.length
        if flags & wire.SYN:
            ack += 1
        if flags & wire.FIN:
            ack += 1
        flags = wire.RST | wire.ACK
        self.send_segment(way, segment.dst_port, segment.src_port, 0, ack & _MASK, flags, 0, options, now_ms)

    def timestamps_of(self, way, now_ms):
        """The option for a segment without data: RFC 7323 section 3.2 wants it on RST too.

        way: as for send_segment, with ts_recent, None where no timestamps were agreed on, and ts_offset.
        """
        if way.ts_recent is None:
            return b""
        return wire.timestamps_option(now_ms + way.ts_offset, way.ts_recent)

    def send_reset(self, conn):
        """RST for a connection that we give up."""
        self.out_rsts += 1
        self.send_segment(
            conn,
            conn.local_port,
            conn.remote_port,
            conn.snd_nxt & _MASK,
            conn.rcv_nxt & _MASK,
            wire.RST | wire.ACK,
            0,
            self.timestamps_of(conn, self.now_ms),
            self.now_ms,
        )

    def send_segment(self, way, src_port, dst_port, seq, ack, flags, window, options, now_ms):
        """Writes a segment without data, the plain way. Returns False when there is no buffer.

        way: whatever has ip, the layer, and both addresses, local_ip and remote_ip.
        """
        ip = way.ip
        length = wire.HEADER_BYTES + len(options)
        frame = ip.alloc(length)
        if frame is None:
            return False
        start = ip.start
        at = frame.start + start
        try:
            wire.emit(frame.buf, at, src_port, dst_port, seq & _MASK, ack, flags, window, options)
        except MemoryError:
            frame.release()
            raise
        pseudo = ip.pseudo_sum(way.local_ip, way.remote_ip, PROTOCOL_TCP, length)
        check = frame.checksum(start, length, pseudo) ^ 0xFFFF
        frame.buf[at + 16] = check >> 8
        frame.buf[at + 17] = check & 255
        self.out_segs += 1
        ip.send(frame, way.local_ip, way.remote_ip, PROTOCOL_TCP, now_ms)
        return True

    # --- time ---

    def _arm_all(self, now_ms):
        """Memory ran out while a timer was set: sees to it that every connection has its own."""
        for conn in self.by_key.values():
            conn.arm_next()
            if conn.search is not None:
                conn.search.arm()
        for half_open in self.half_open.values():
            if half_open.timer_at == FAR_MS:
                self.timers.schedule(half_open, now_ms + RTO_MS)

    def poll(self, now_ms):
        """The output of every connection that has something to send."""
        self.now_ms = now_ms
        pending = self.pending
        # Two lists take turns: one that is made anew for each poll would cost as much as a third of a segment.
        self.pending = self._next_pending
        self._next_pending = pending
        for conn in pending:
            conn.is_queued = False
            try:
                is_done = run(conn, now_ms)
            except MemoryError:
                self.memory_drops += 1
                is_done = False
            if not is_done:
                conn.want_output()  # no buffers: the rest waits for the next poll
        pending.clear()
