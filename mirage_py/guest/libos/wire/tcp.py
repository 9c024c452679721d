# SPDX-License-Identifier: MIT
"""TCP headers and options (RFC 9293 section 3.1, RFC 7323, RFC 2018): bytes <-> values. No I/O."""

import struct

HEADER_BYTES = 20
MAX_HEADER_BYTES = 60
CHECKSUM_OFFSET = 16

FIN = 0x01
SYN = 0x02
RST = 0x04
PSH = 0x08
ACK = 0x10
URG = 0x20
ECE = 0x40
CWR = 0x80

OPTION_END = 0
OPTION_NOP = 1
OPTION_MSS = 2
OPTION_WINDOW_SCALE = 3
OPTION_SACK_PERMITTED = 4
OPTION_SACK = 5
OPTION_TIMESTAMPS = 8

MAX_WINDOW_SCALE = 14  # RFC 7323 section 2.3: a larger one is taken as this
TIMESTAMPS_WORD = 0x0101080A  # NOP, NOP, kind 8, length 10: how RFC 7323 appendix A wants timestamps laid out


class Segment:
    """A parsed header. Numbers as they are on the wire.

    header_len: octets, options included. mss, window_scale: None when not offered. sack: list of (left, right) edges.
    ts_val, ts_ecr: None without timestamps. start, length: where the payload is in the frame; the caller's to set.
    """

    def __init__(self, src_port, dst_port, seq, ack, header_len, flags, window, urgent):
        self.src_port = src_port
        self.dst_port = dst_port
        self.seq = seq
        self.ack = ack
        self.header_len = header_len
        self.flags = flags
        self.window = window
        self.urgent = urgent
        self.mss = None
        self.window_scale = None
        self.sack_permitted = False
        self.sack = ()
        self.ts_val = None
        self.ts_ecr = None
        self.start = 0
        self.length = 0


def parse(buf, start, length):
    """The segment whose `length` octets (payload included) begin at `start` of `buf`, or None when malformed.

    buf must hold the whole header, options included. An option that runs past the header, or has an impossible length,
    makes the segment malformed; unknown options are skipped. The checksum is the caller's to verify.
    """
    if length < HEADER_BYTES:
        return None
    src_port, dst_port, seq, ack, offset_flags, window, urgent = struct.unpack_from(">HHIIHHxxH", buf, start)
    header_len = offset_flags >> 12 << 2
    if not HEADER_BYTES <= header_len <= length:
        return None
    segment = Segment(src_port, dst_port, seq, ack, header_len, offset_flags & 0xFF, window, urgent)
    if header_len > HEADER_BYTES and not _parse_options(segment, buf, start + HEADER_BYTES, start + header_len):
        return None
    return segment


def _parse_options(segment, buf, at, end):
    while at < end:
        kind = buf[at]
        if kind == OPTION_END:
            return True
        if kind == OPTION_NOP:
            at += 1
            continue
        if at + 2 > end:
            return False
        option_len = buf[at + 1]
        if option_len < 2 or at + option_len > end:
            return False
        if not _parse_option(segment, kind, option_len, buf, at + 2):
            return False
        at += option_len
    return True


def _parse_option(segment, kind, option_len, buf, at):
    if kind == OPTION_TIMESTAMPS:
        if option_len != 10:
            return False
        segment.ts_val, segment.ts_ecr = struct.unpack_from(">II", buf, at)
    elif kind == OPTION_SACK:
        if option_len & 7 != 2 or option_len < 10:
            return False
        segment.sack = [struct.unpack_from(">II", buf, at + offset) for offset in range(0, option_len - 2, 8)]
    elif not segment.flags & SYN:
        return True  # the others have a meaning on a SYN only
    elif kind == OPTION_MSS:
        if option_len != 4:
            return False
        segment.mss = buf[at] << 8 | buf[at + 1]
    elif kind == OPTION_WINDOW_SCALE:
        if option_len != 3:
            return False
        segment.window_scale = min(buf[at], MAX_WINDOW_SCALE)
    elif kind == OPTION_SACK_PERMITTED:
        if option_len != 2:
            return False
        segment.sack_permitted = True
    return True


def emit(buf, start, src_port, dst_port, seq, ack, flags, window, options=b""):
    """Writes a header with `options` (a multiple of 4 octets, at most 40) at `start`, its checksum zero.

    Returns the header's length in octets.
    """
    header_len = HEADER_BYTES + len(options)
    struct.pack_into(">HHIIHHHH", buf, start, src_port, dst_port, seq, ack, header_len >> 2 << 12 | flags, window, 0, 0)
    buf[start + HEADER_BYTES : start + header_len] = options
    return header_len


def syn_options(mss, window_scale=None, sack_permitted=False, ts_val=None, ts_ecr=0):
    """The options of a SYN, in the order and with the padding that Linux uses, so that middleboxes know them."""
    options = struct.pack(">BBH", OPTION_MSS, 4, mss)
    if ts_val is not None:
        lead = b"\x04\x02" if sack_permitted else b"\x01\x01"
        options += lead + struct.pack(">BBII", OPTION_TIMESTAMPS, 10, ts_val, ts_ecr)
    elif sack_permitted:
        options += b"\x01\x01\x04\x02"
    if window_scale is not None:
        options += struct.pack(">BBBB", OPTION_NOP, OPTION_WINDOW_SCALE, 3, window_scale)
    return options


def sack_option(blocks):
    """The option for (left, right) edges, most recent first, padded with two NOPs in front."""
    option = struct.pack(">BBBB", OPTION_NOP, OPTION_NOP, OPTION_SACK, 2 + 8 * len(blocks))
    for left, right in blocks:
        option += struct.pack(">II", left & 0xFFFFFFFF, right & 0xFFFFFFFF)
    return option


def timestamps_option(ts_val, ts_ecr):
    """The 12 octets of RFC 7323 appendix A."""
    return struct.pack(">III", TIMESTAMPS_WORD, ts_val & 0xFFFFFFFF, ts_ecr)
