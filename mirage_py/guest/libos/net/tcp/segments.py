# SPDX-License-Identifier: MIT
"""The one place where segments of a connection are written: `emit` writes one frame, which with segmentation offload
is many segments; `resend` and `probe` use it.
"""

from struct import pack, pack_into

from micropython import const

from libos.net.tcp import rack, undo
from libos.wire import tcp as wire
from libos.wire.ipv4 import PROTOCOL_TCP

_MASK = const(0xFFFFFFFF)
_TX_BATCH = const(64)  # net.ethernet.TX_BATCH
_CSUM_PARTIAL = const(2)  # hal.dma
_GSO_TCPV4 = const(1)
_GSO_TCPV6 = const(4)
_DF_TTL_TCP = const(0x40004006)  # don't fragment, offset 0, TTL 64, protocol TCP
_FIN = const(0x01)
_ACK = const(0x10)
_FEATURE_TX_CSUM = const(1)  # of the network device
_FEATURE_TX_TSO4 = const(2)
_FEATURE_TX_TSO6 = const(4)

# What a TCP/IPv4 frame begins with: Ethernet and the IP version; length and ident; flags, offset, TTL and protocol; IP
# checksum; addresses and ports; sequence, acknowledgement, offset and flags, window, checksum and urgent pointer.
_HEADERS = ">16sIIH12sIIHHI"
_HEADERS_TS = ">16sIIH12sIIHHIIII"
# A TCP/IPv6 frame: Ethernet, version, class and flow label; payload length; next header and hop limit; addresses and
# ports; and as above from the sequence on.
_HEADERS6 = ">18sHH36sIIHHI"
_HEADERS6_TS = ">18sHH36sIIHHIIII"

_NEVER = const(1 << 30)  # more than any window

MAX_SACK_BLOCKS = 3  # with timestamps; one more without


def prepare(conn, mss):
    """Precomputes what is the same in every frame of a connection. mss: the peer's offer, or less after ICMP."""
    ip = conn.ip
    offset = 8 if conn.ts_on else 5
    conn.header_len = ip.start + offset * 4
    # Kept reduced modulo 0xFFFF where the C checksum gets it as a start.
    conn.pseudo = ip.pseudo_sum(conn.local_ip, conn.remote_ip, PROTOCOL_TCP, 0) % 0xFFFF
    # Both to be added to the length of a frame without its Ethernet header.
    conn.pseudo_ip = conn.pseudo - ip.header_bytes
    conn.tcp_sum = conn.pseudo_ip + conn.local_port + conn.remote_port
    if conn.ts_on:
        conn.tcp_sum += wire.TIMESTAMPS_WORD
    conn.expected = (
        conn.remote_ip if ip.version == 4 else conn.remote_ip[:12],  # the rest is what it was found by
        conn.local_ip,
        conn.remote_port << 16 | conn.local_port,
        offset << 12 | _ACK,
        ip.header_bytes + offset * 4,
        conn.pseudo,
        conn.snd_wscale,
        conn.ts_on,
    )
    conn.template = None
    conn.route_generation = 0
    set_mss(conn, min(mss, ip.path_mtu(conn.remote_ip) - ip.header_bytes - wire.HEADER_BYTES))


def set_mss(conn, mss):
    """mss: payload octets of a segment without options."""
    conn.mss = max(mss, 48) - (12 if conn.ts_on else 0)
    conn.max_send = conn.mss
    conn.full_end = 0
    eth = conn.eth
    needed = _FEATURE_TX_CSUM | (_FEATURE_TX_TSO4 if conn.ip.version == 4 else _FEATURE_TX_TSO6)
    if eth.features & needed == needed:
        room = min(eth.max_gso_bytes, 65535) - conn.header_len
        conn.max_send = max(room - room % conn.mss, conn.mss)


def resend(conn, start, count, now_ms):
    """Sends `count` sequence numbers from `start` again; the last may be the FIN. Returns False as emit does."""
    flags = _ACK
    octets = count
    if start + count > conn.tx_end:
        flags = _ACK | _FIN
        octets = conn.tx_end - start
    conn.rtt_seq = 0  # Karn
    state = rack.of(conn)
    resent = state.resent
    resent.append([start, start + count, now_ms])
    is_sent = False
    try:
        is_sent = _emit_old(conn, start, octets, flags, now_ms)
    finally:
        if not is_sent:
            resent.pop()
    if not is_sent:
        return False
    if len(resent) > 1 and resent[-2][1] == start and resent[-2][2] == now_ms:
        del resent[-1]
        resent[-1][1] = start + count
    state.resent_end = max(state.resent_end, start + count)
    conn.tcp.retrans_segs += 1
    if conn.recovery:
        undo.note_retransmission(conn, count, now_ms)
        conn.cc.resent_octets += count
    if not conn.rtx_deadline:
        conn.rtx_deadline = now_ms + conn.rto.rto_ms
        conn.arm(conn.rtx_deadline)
    return True


def emit(conn, seq, count, flags, now_ms):
    """Writes one frame: `count` octets of the send queue from `seq`, the current acknowledgement and window.

    Returns False, with nothing changed, when there is no buffer.
    """
    if conn.ooo or conn.dsack is not None:
        return _emit_sack(conn, seq, count, flags, now_ms)
    if conn.route_generation != conn.neighbours.generation:
        refresh_route(conn, now_ms)
    header_len = conn.header_len
    eth = conn.eth
    tx_count = eth.tx_count
    if tx_count == _TX_BATCH:
        eth.flush()
        tx_count = eth.tx_count
        if tx_count == _TX_BATCH:
            return False
    total_len = header_len + count
    frame = eth.alloc_frame(total_len)
    if frame is None:
        return False
    frame.length = total_len
    conn.sent_ms = now_ms
    # The window's right edge moves when that is worth it, never back: as in announce().
    rcv_nxt = conn.rcv_nxt
    edge = conn.rcv_adv
    if rcv_nxt + conn.rcv_buf - conn.rx_octets >= edge + conn.window_step:
        edge = move_edge(conn)
    window = (edge - rcv_nxt) >> conn.rcv_wscale
    if window > 0xFFFF:
        window = 0xFFFF
    conn.rcv_acked = rcv_nxt
    conn.ack_now = False
    conn.ack_deadline = 0
    ack = rcv_nxt & _MASK
    seq32 = seq & _MASK
    total_len -= 14
    if header_len == 66 or header_len == 86:
        flags |= 0x8000
        ts_val = (now_ms + conn.ts_offset) & _MASK
        ts_ecr = conn.ts_recent
    else:
        flags |= 0x5000
        ts_val = ts_ecr = 0
    if count:
        index = conn.cur_index
        offset = conn.cur_offset
        chunk = conn.tx_chunks[index]
        if conn.cur_seq == seq and len(chunk) - offset >= count:
            frame.put(header_len, chunk, offset, count)
            conn.cur_offset = offset + count
            conn.cur_seq = seq + count
        else:
            copy(conn, frame, header_len, seq, count)
    if count and eth.has_tx_csum:
        frame.flags = _CSUM_PARTIAL
        frame.csum_start = 34
        frame.csum_offset = 16
        check = (conn.pseudo_ip + total_len) % 0xFFFF
        if count > conn.mss:
            frame.gso_size = conn.mss
            frame.gso_type = _GSO_TCPV4
            frame.hdr_len = header_len
    else:
        # 2**16 is 1 modulo 0xFFFF: numbers of a header add up to its checksum without being taken apart (RFC 1071).
        total = conn.tcp_sum + total_len + seq32 + ack + window + flags + ts_val + ts_ecr
        if count:
            check = frame.checksum(header_len, count, total % 0xFFFF) ^ 0xFFFF
        else:
            check = -total % 0xFFFF
    head, addresses, ip_words = conn.template
    if header_len == 66:
        pack_into(
            _HEADERS_TS, frame.buf, frame.start, head, total_len << 16, _DF_TTL_TCP,
            -(ip_words + total_len) % 0xFFFF, addresses, seq32, ack, flags, window, check << 16,
            0x0101080A, ts_val, ts_ecr,
        )  # fmt: skip
    elif header_len == 54:
        pack_into(
            _HEADERS, frame.buf, frame.start, head, total_len << 16, _DF_TTL_TCP,
            -(ip_words + total_len) % 0xFFFF, addresses, seq32, ack, flags, window, check << 16,
        )  # fmt: skip
    else:
        frame.csum_start = 54
        frame.gso_type = _GSO_TCPV6
        if header_len == 86:
            pack_into(
                _HEADERS6_TS, frame.buf, frame.start, head, total_len - 40, ip_words, addresses, seq32, ack, flags,
                window, check << 16, 0x0101080A, ts_val, ts_ecr,
            )  # fmt: skip
        else:
            pack_into(
                _HEADERS6, frame.buf, frame.start, head, total_len - 40, ip_words, addresses, seq32, ack, flags,
                window, check << 16,
            )  # fmt: skip
    conn.tcp.out_segs += 1
    if conn.next_hop is None:
        eth.tx_frames[tx_count] = frame
        eth.tx_count = tx_count + 1
    else:
        conn.neighbours.send(frame, conn.next_hop, conn.ip.ethertype, now_ms)
    return True


def move_edge(conn):
    """The new right edge of the window: what the buffer has room for. Called when that is worth announcing."""
    edge = conn.rcv_nxt + conn.rcv_buf - conn.rx_octets
    conn.rcv_adv = edge
    # When this is reached the window is nearly used up: read() then tells the peer of room at once.
    conn.update_at = edge - (conn.rcv_buf >> 3)
    return edge


def announce(conn):
    """The window field of the next segment. The right edge moves by window_step or more, and never back."""
    edge = conn.rcv_adv
    if conn.rcv_nxt + conn.rcv_buf - conn.rx_octets >= edge + conn.window_step:
        edge = move_edge(conn)
    return min((edge - conn.rcv_nxt) >> conn.rcv_wscale, 0xFFFF)


def copy(conn, frame, at, seq, count):
    """Copies `count` octets of the send queue from `seq` into the frame, and leaves the cursor behind them."""
    if conn.cur_seq != seq:
        conn.find(seq)
    chunks = conn.tx_chunks
    index = conn.cur_index
    offset = conn.cur_offset
    conn.cur_seq = seq + count
    while True:
        chunk = chunks[index]
        size = len(chunk) - offset
        if size >= count:
            # Even when the chunk ends here the cursor stays in it: a small write may still make it longer.
            frame.put(at, chunk, offset, count)
            offset += count
            break
        if size:
            frame.put(at, chunk, offset, size)
            at += size
            count -= size
        index += 1
        offset = 0
    conn.cur_index = index
    conn.cur_offset = offset


def refresh_route(conn, now_ms):
    """The neighbour table changed: looks up the next hop's MAC again. next_hop stays set while it is not known.

    Makes conn.template: what a frame begins with; addresses and ports; of IPv4 the sum of what is the same in every
    header, of IPv6 next header and hop limit.
    """
    ip = conn.ip
    neighbours = conn.neighbours
    hop = ip.next_hop(conn.remote_ip)
    generation = neighbours.generation
    mac = None if hop is None else neighbours.lookup(hop, now_ms)
    if mac is None:
        conn.next_hop = conn.remote_ip if hop is None else hop
        generation = 0  # ask again with the next segment
        mac = b"\0\0\0\0\0\0"
    else:
        conn.next_hop = None
    macs = mac + conn.eth.mac
    ports = pack(">HH", conn.local_port, conn.remote_port)
    if ip.version == 6:
        addresses = conn.local_ip + conn.remote_ip + ports
        conn.template = (macs + b"\x86\xdd\x60\x00\x00\x00", addresses, PROTOCOL_TCP << 8 | ip.hop_limit)
    else:
        conn.template = (
            macs + b"\x08\x00\x45\x00",
            pack(">II", conn.local_ip, conn.remote_ip) + ports,
            0x4500 + _DF_TTL_TCP + conn.local_ip + conn.remote_ip,
        )
    if generation:
        conn.tcp.progress.begin(conn, generation)
    # Last: whatever of this found no memory is done anew.
    conn.route_generation = generation


def _emit_sack(conn, seq, count, flags, now_ms):
    """emit() while octets are missing: the plain way, with a SACK option (RFC 2018, RFC 2883)."""
    blocks = sack_blocks(conn) if conn.sack_on else ()
    options = b""
    if conn.ts_on:
        options = wire.timestamps_option(now_ms + conn.ts_offset, conn.ts_recent)
    if blocks:
        options += wire.sack_option(blocks)
    if blocks and count:
        # Data travels without the report: it would not fit a full segment, and a segment with data is no duplicate ACK.
        blocks = ()
        options = options[:12] if conn.ts_on else b""
    frame = conn.ip.alloc(wire.HEADER_BYTES + len(options) + count)
    if frame is None:
        return False
    start = conn.ip.start
    at = frame.start + start
    window = announce(conn)
    try:
        header_len = wire.emit(
            frame.buf, at, conn.local_port, conn.remote_port, seq & _MASK, conn.rcv_nxt & _MASK, flags, window, options
        )
        if count:
            copy(conn, frame, start + header_len, seq, count)
    except MemoryError:
        frame.release()
        raise
    tcp_len = header_len + count
    pseudo = (conn.pseudo + tcp_len) % 0xFFFF
    if count > conn.mss:
        frame.flags = _CSUM_PARTIAL
        frame.csum_start = start
        frame.csum_offset = 16
        frame.gso_size = conn.mss
        frame.gso_type = _GSO_TCPV4 if conn.ip.version == 4 else _GSO_TCPV6
        frame.hdr_len = start + header_len
        check = pseudo
    else:
        check = frame.checksum(start, tcp_len, pseudo) ^ 0xFFFF
    pack_into(">H", frame.buf, at + wire.CHECKSUM_OFFSET, check)
    conn.rcv_acked = conn.rcv_nxt
    conn.sent_ms = now_ms
    if not count:
        conn.ack_now = False
        conn.ack_deadline = 0
        conn.dsack = None
    conn.tcp.out_segs += 1
    conn.ip.send(frame, conn.local_ip, conn.remote_ip, PROTOCOL_TCP, now_ms)
    return True


def sack_blocks(conn):
    """The blocks to report (RFC 2018 section 4): a duplicate first (RFC 2883), then where the last segments came, the
    latest first, then others.

    So each block is in as many reports in a row as a report has room for blocks.
    """
    limit = MAX_SACK_BLOCKS if conn.ts_on else MAX_SACK_BLOCKS + 1
    blocks = []
    if conn.dsack is not None:
        blocks.append(conn.dsack)
        limit -= 1
    ranges = []
    for seq, end, _data in conn.ooo:
        if ranges and ranges[-1][1] == seq:
            ranges[-1][1] = end
        else:
            ranges.append([seq, end])
    for recent in conn.ooo_recent:
        if not limit or not ranges:
            break
        for index in range(len(ranges)):
            left, right = ranges[index]
            if left <= recent < right:
                blocks.append((left, right))
                limit -= 1
                del ranges[index]
                break
    for left, right in ranges[:limit]:
        blocks.append((left, right))
    return blocks


def probe(conn, now_ms):
    """An empty segment that is one octet out of place: whoever is there must answer it with its state."""
    return _emit_old(conn, conn.snd_una - 1, 0, _ACK, now_ms)


def _emit_old(conn, seq, count, flags, now_ms):
    """emit(), below snd_nxt: the window's edge stays where it was announced, and an ACK that is due stays due.

    The peer may have heard a later segment: then it does not look at the window of this one (SND.WL1, RFC 9293 section
    3.10.7.4); or have all of its octets: then it looks at nothing in it. What is news goes with the next number.
    """
    step, is_due, deadline, acked, dsack = (
        conn.window_step, conn.ack_now, conn.ack_deadline, conn.rcv_acked, conn.dsack
    )  # fmt: skip
    conn.window_step = _NEVER
    try:
        return emit(conn, seq, count, flags, now_ms)
    finally:
        conn.window_step = step
        conn.ack_now = is_due
        conn.ack_deadline = deadline
        conn.rcv_acked = acked
        conn.dsack = dsack
