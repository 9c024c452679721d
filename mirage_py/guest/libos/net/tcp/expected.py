# SPDX-License-Identifier: MIT
"""Header prediction: the expected segments of a batch, from their Ethernet frames in one go.

Does what ethernet, ipv4 or ipv6, and input.segment_arrives would do, for segments with the next sequence number that
bring data or acknowledge some, without anything unusual about them. Segments of one connection that follow each other
in a batch are checked one by one, and taken together: one acknowledgement of everything, one look at what to
acknowledge, one wake-up, as when a card has joined them. Whatever is not expected goes the plain way, after what came
before it: so a duplicate acknowledgement is still one. (That a frame came to our MAC is the device's to see to.)
"""

from struct import unpack_from

from micropython import const

from libos.net.tcp.recovery import accept_ack

_MASK = const(0xFFFFFFFF)
_CSUM_VALID = const(1)  # hal.dma
_DELAYED_ACK_MS = const(40)  # net.tcp.input
_MERGE_CHUNKS = const(64)
_TIMESTAMPS_WORD = const(0x0101080A)

# What begins with the ethertype, IPv4 and TCP without IP options, at once: ethertype and version and TOS; total
# length and ident; fragment and TTL and protocol; IP checksum; addresses; ports; sequence, acknowledgement, offset
# and flags, window; checksum and urgent pointer; and what is a timestamps option if the offset says so.
_HEADERS = ">IIIHIIIIIHHIII"
_HEADERS_BYTES = const(62)
# The same of IPv6: ethertype; version, class and flow label; payload length, next header, hop limit; addresses, of the
# source's the last word apart; and as above from the ports on.
_HEADERS6 = ">HIHBB12sI16sIIIHHIII"
_HEADERS6_BYTES = const(82)


def input_batch(tcp, frames, count, now_ms, otherwise):
    """Takes the expected segments among frames[0:count]; gives the other frames to otherwise(frame, now_ms).

    All of them are released. Returns how many could not be handled for want of memory.
    """
    # A function's first sixteen variables, its arguments among them, are the cheap ones in MicroPython: the busiest.
    conn = frame = None  # conn: whose segments are collected; its state, with them, is in variables of their own
    is_expected = False
    index = start = total_len = length = acked = una = rcv_nxt = window = 0
    by_key = tcp.fast
    conn_key = acked_before = rx_before = hits = drops = 0
    while index < count:
        frame = frames[index]
        index += 1
        try:
            is_expected = False
            start = frame.start
            room = frame.size - start
            if frame.length >= 54 and room >= _HEADERS_BYTES:
                (
                    kind, size_ident, rest, ip_check, src_ip, dst_ip, ports, seq, ack, flags, window, check, option,
                    ts_val,
                ) = unpack_from(_HEADERS, frame.buf, start + 12)  # fmt: skip
                if kind >> 8 == 0x080045:
                    key = src_ip << 29 ^ ports
                    total_len = size_ident >> 16
                    at = 34
                    # No fragment; TCP. 2**16 is 1 modulo 0xFFFF: the sum is 0 when the IP header's checksum is right.
                    is_expected = (
                        rest & 0x3FFF00FF == 6
                        and not ((kind & 0xFFFF) + size_ident + rest + ip_check + src_ip + dst_ip) % 0xFFFF
                    )
                elif kind >> 16 == 0x86DD and room >= _HEADERS6_BYTES:
                    (
                        kind, version, total_len, protocol, rest, src_ip, low_word, dst_ip,
                        ports, seq, ack, flags, window, check, option, ts_val,
                    ) = unpack_from(_HEADERS6, frame.buf, start + 12)  # fmt: skip
                    key = low_word << 29 ^ ports
                    total_len += 40
                    at = 54
                    is_expected = version >> 28 == 6 and protocol == 6
            if is_expected:
                if conn is None or key != conn_key:
                    if conn is not None:
                        found, conn = conn, None
                        _take(found, una, rcv_nxt, rx_before, acked_before, now_ms)
                    # Two connections may have this number in common: then one of them takes the plain way.
                    found = by_key.get(key)
                    if found is not None and found.is_fast:
                        conn = found
                        conn_key = key
                        remote_ip, local_ip, its_ports, its_flags, header_len, pseudo, scale, ts_on = found.expected
                        acked_before = una = found.snd_una
                        rx_before = rcv_nxt = found.rcv_nxt
                        snd_nxt = found.snd_nxt
                        rcv_adv = found.rcv_adv
                        snd_wnd = found.snd_wnd
                        chunks = found.rx_chunks
                is_expected = False
                if conn is not None:
                    length = total_len - header_len
                    acked = (ack - una) & _MASK
                    if (
                        seq == rcv_nxt & _MASK
                        and flags & 0xFFF7 == its_flags  # PSH may be set or not
                        and (length or acked)
                        and acked <= snd_nxt - una
                        and 0 <= length <= rcv_adv - rcv_nxt
                        and ports == its_ports
                        and src_ip == remote_ip
                        and dst_ip == local_ip
                        and total_len + 14 <= (frame.length if frame.next is None else frame.total())
                        and not (
                            ts_on and (option != _TIMESTAMPS_WORD or (ts_val - conn.ts_recent) & _MASK >= 0x80000000)
                        )
                    ):
                        size = total_len + 14 - at
                        if frame.flags & _CSUM_VALID:
                            is_expected = True
                        elif length or ts_on:
                            is_expected = frame.checksum(at, size, pseudo + size) == 0xFFFF
                        else:
                            # All of it is at hand: its numbers add up as the IP header's did.
                            is_expected = not (pseudo + size + ports + seq + ack + flags + window + check) % 0xFFFF
                        if is_expected:
                            if length:
                                # Both may raise MemoryError: before anything changed.
                                chunks.append(frame.take(header_len + 14, length))
                            hits += 1
                            if ts_on and conn.rcv_acked == rcv_nxt:
                                conn.ts_recent = ts_val
                            window <<= scale
                            if acked or rcv_nxt >= conn.snd_wl1:
                                # Not one that was overtaken by a later word on the window.
                                conn.snd_wl1 = rcv_nxt
                                if window != snd_wnd:
                                    conn.snd_wnd = snd_wnd = window
                                    if window > conn.max_wnd:
                                        conn.max_wnd = window
                            una += acked
                            rcv_nxt += length
            if not is_expected:
                if conn is not None:
                    found, conn = conn, None
                    _take(found, una, rcv_nxt, rx_before, acked_before, now_ms)
                otherwise(frame, now_ms)
        except MemoryError:
            drops += 1
        frame.release()
    tcp.in_fast += hits
    if conn is not None:
        try:
            _take(conn, una, rcv_nxt, rx_before, acked_before, now_ms)
        except MemoryError:
            drops += 1
    return drops


def _take(conn, una, rcv_nxt, rx_before, acked_before, now_ms):
    """Enters what was collected for a connection: its data is in rx_chunks already, and its window is known.

    una, rcv_nxt: what they become; acked_before, rx_before: what they were.
    """
    length = rcv_nxt - rx_before
    if not length and una == acked_before:
        return  # none was expected
    tcp = conn.tcp
    octets = conn.rx_octets
    conn.rx_octets = octets + length
    conn.rcv_nxt = rcv_nxt
    conn.ts_recent_ms = now_ms
    try:
        if una != acked_before:
            accept_ack(conn, una - acked_before, now_ms)
        # The window may have opened without an acknowledgement.
        if conn.tx_end != conn.snd_nxt and not conn.is_queued:
            tcp.pending.append(conn)
            conn.is_queued = True
    finally:
        # Where memory runs out, the application is woken all the same.
        if length:
            try:
                if rcv_nxt - conn.rcv_acked >= conn.ack_octets:
                    conn.ack_now = True
                    if not conn.is_queued:
                        tcp.pending.append(conn)
                        conn.is_queued = True
                elif not conn.ack_deadline:
                    deadline = now_ms + _DELAYED_ACK_MS
                    conn.ack_deadline = deadline
                    if deadline < conn.timer_at:
                        tcp.timers.schedule(conn, deadline)
            finally:
                if not octets:
                    if conn.on_readable is not None:
                        conn.on_readable()
                elif len(conn.rx_chunks) - conn.rx_merged >= _MERGE_CHUNKS:
                    conn.merge_chunks()
