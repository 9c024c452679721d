# SPDX-License-Identifier: MIT
"""ICMPv6 (RFC 4443): answers echo requests, sends some, reports and delivers errors, gives the rest to net.ndp and
net.mld.
"""

from libos.net import errors
from libos.net.icmp import MAX_PINGS, PING_TIMEOUT_MS, Ping
from libos.net.transport import Transport
from libos.wire import checksum as wire_checksum
from libos.wire import icmp6 as wire
from libos.wire import ipv6 as wire_ipv6

# Errors that we send, and answers to groups: a bucket, so that a flood is not answered by a flood (section 2.4 f).
ERRORS_BURST = 20
ERRORS_PER_SECOND = 20

_START = 54  # of our header in a frame to send
_PACKET_AT = 14  # of an IPv6 header in a received frame
_MAX_QUOTED = wire_ipv6.MIN_MTU - wire_ipv6.HEADER_BYTES - wire.HEADER_BYTES

_DISCOVERY = (
    wire.ROUTER_SOLICITATION,
    wire.ROUTER_ADVERTISEMENT,
    wire.NEIGHBOUR_SOLICITATION,
    wire.NEIGHBOUR_ADVERTISEMENT,
    wire.REDIRECT,
)
_LISTENERS = (wire.MLD_QUERY, wire.MLD1_REPORT, wire.MLD1_DONE, wire.MLD2_REPORT)
_RECEIVED = {
    wire.DESTINATION_UNREACHABLE: "InDestUnreachs",
    wire.PACKET_TOO_BIG: "InPktTooBigs",
    wire.TIME_EXCEEDED: "InTimeExcds",
    wire.PARAMETER_PROBLEM: "InParmProblems",
}
_SENT = {
    wire.DESTINATION_UNREACHABLE: "OutDestUnreachs",
    wire.TIME_EXCEEDED: "OutTimeExcds",
    wire.PARAMETER_PROBLEM: "OutParmProblems",
}


class Icmp6(Transport):
    """ICMPv6 over one Ipv6. Errors go to the protocol of the packet that they are about (net.errors)."""

    def __init__(self, ipv6):
        self.ipv6 = ipv6
        self.counters = {
            "InMsgs": 0,  # RFC 4293 / Linux names from here
            "InErrors": 0,
            "InCsumErrors": 0,
            "InEchos": 0,
            "InEchoReplies": 0,
            "InDestUnreachs": 0,
            "InPktTooBigs": 0,
            "InTimeExcds": 0,
            "InParmProblems": 0,
            "InOthers": 0,
            "InImplausible": 0,
            "OutEchos": 0,
            "OutEchoReplies": 0,
            "OutDestUnreachs": 0,
            "OutTimeExcds": 0,
            "OutParmProblems": 0,
            "OutRateLimited": 0,
            "OutErrors": 0,
        }
        self._pings = {}
        self._random = ipv6.random
        self._timers = ipv6.ethernet.timers
        self._timers.restorers.append(self._rearm)
        self._tokens = ERRORS_BURST
        self._refilled_ms = None
        ipv6.register(wire_ipv6.PROTOCOL_ICMP6, self)
        ipv6.icmp = self
        ipv6.ethernet.parts["icmp6"] = self

    def input(self, frame, packet, now_ms):
        """A received ICMPv6 message."""
        counters = self.counters
        counters["InMsgs"] += 1
        start = packet.start
        length = packet.length
        header = wire.parse(frame.buf, frame.start + start, min(length, frame.length - start))
        if header is None:
            counters["InErrors"] += 1
            return
        pseudo = wire_ipv6.pseudo_sum(packet.src_ip, packet.dst_ip, wire_ipv6.PROTOCOL_ICMP6, length)
        if frame.checksum(start, length, pseudo) != 0xFFFF:
            counters["InErrors"] += 1
            counters["InCsumErrors"] += 1
            return
        kind, code, rest = header
        if kind in _DISCOVERY:
            # RFC 6980: what comes in fragments could not be looked at by who watches over the link.
            if packet.is_reassembled:
                counters["InErrors"] += 1
            else:
                self.ipv6.neighbours.input(kind, code, frame.take(start, length), packet, now_ms)
        elif kind in _LISTENERS:
            self.ipv6.mld.input(kind, frame.take(start, length), packet, now_ms)
        elif packet.src_ip == wire_ipv6.UNSPECIFIED:
            counters["InErrors"] += 1
        elif kind == wire.ECHO_REQUEST:
            counters["InEchos"] += 1
            self._reply(frame, packet, rest, now_ms)
        elif kind == wire.ECHO_REPLY:
            counters["InEchoReplies"] += 1
            self._answered(frame, packet, rest, now_ms)
        elif wire.is_error(kind):
            counters[_RECEIVED.get(kind, "InOthers")] += 1
            self._deliver_error(frame, packet, kind, code, rest, now_ms)
        else:
            counters["InOthers"] += 1

    def _reply(self, frame, packet, rest, now_ms):
        src_ip = packet.dst_ip
        if packet.is_broadcast:
            # Section 4.2: answered, from an address of our own; but not to make a flood of a few requests.
            src_ip = self.ipv6.source_for(packet.src_ip)
            if src_ip is None or not self._may_send(now_ms):
                return
        data = frame.take(packet.start + wire.HEADER_BYTES, packet.length - wire.HEADER_BYTES)
        if self._send(wire.ECHO_REPLY, 0, rest, data, src_ip, packet.src_ip, now_ms):
            self.counters["OutEchoReplies"] += 1

    def _send(self, kind, code, rest, data, src_ip, dst_ip, now_ms):
        length = wire.HEADER_BYTES + len(data)
        if length > self.ipv6.path_mtu(dst_ip) - wire_ipv6.HEADER_BYTES:
            return self._send_large(kind, code, rest, data, src_ip, dst_ip, now_ms)
        message = self.ipv6.alloc(length)
        if message is None:
            self.counters["OutErrors"] += 1
            return False
        at = message.start + _START
        wire.emit(message.buf, at, kind, code, rest)
        message.put(_START + wire.HEADER_BYTES, data, 0, len(data))
        pseudo = wire_ipv6.pseudo_sum(src_ip, dst_ip, wire_ipv6.PROTOCOL_ICMP6, length)
        total = message.checksum(_START, length, pseudo) ^ 0xFFFF
        message.buf[at + 2] = total >> 8
        message.buf[at + 3] = total & 255
        return self.ipv6.send(message, src_ip, dst_ip, wire_ipv6.PROTOCOL_ICMP6, now_ms)

    def _send_large(self, kind, code, rest, data, src_ip, dst_ip, now_ms):
        """The same for what does not fit a frame."""
        header = bytearray(wire.HEADER_BYTES)
        wire.emit(header, 0, kind, code, rest)
        length = wire.HEADER_BYTES + len(data)
        total = wire_ipv6.pseudo_sum(src_ip, dst_ip, wire_ipv6.PROTOCOL_ICMP6, length) + (kind << 8 | code) + rest
        total = wire_checksum.fold(total + wire_checksum.total(data, 0, len(data))) ^ 0xFFFF
        header[2] = total >> 8
        header[3] = total & 255
        return self.ipv6.send_large(bytes(header), data, src_ip, dst_ip, wire_ipv6.PROTOCOL_ICMP6, now_ms)

    # --- asking others ---

    def ping(self, ip, on_result, now_ms, size=56, timeout_ms=PING_TIMEOUT_MS):
        """Sends an echo request to "fd00::1", with `size` octets of data.

        on_result(rtt_ms): how long the answer took, or None when there was none in time. Returns False, and calls
        nothing, when the request could not be sent. ValueError when `ip` or the size is none, or too many are under
        way.
        """
        dst_ip = wire_ipv6.parse_address(ip)
        if not 0 <= size <= 65527:
            raise ValueError("not a size of an echo request: %d" % size)
        if len(self._pings) >= MAX_PINGS:
            raise ValueError("more than %d echo requests" % MAX_PINGS)
        src_ip = self.ipv6.source_for(dst_ip)
        if src_ip is None:
            return False
        number = self._random.u32()
        while number in self._pings:
            number = self._random.u32()
        data = number.to_bytes(4, "big") * ((size + 3) >> 2)
        ping = Ping(self, number, dst_ip, on_result, data[:size], now_ms)
        if not self._send(wire.ECHO_REQUEST, 0, number, ping.data, src_ip, dst_ip, now_ms):
            return False
        self.counters["OutEchos"] += 1
        self._pings[number] = ping
        ping.deadline_ms = now_ms + timeout_ms
        self._timers.schedule(ping, ping.deadline_ms)
        return True

    def _rearm(self, _now_ms):
        for ping in self._pings.values():
            self._timers.schedule(ping, ping.deadline_ms)

    def end_ping(self, ping, rtt_ms):
        """An echo request is answered, or will not be."""
        self._timers.cancel(ping)
        del self._pings[ping.number]
        ping.on_result(rtt_ms)

    def _answered(self, frame, packet, number, now_ms):
        ping = self._pings.get(number)
        if ping is None or ping.dst_ip != packet.src_ip or packet.is_broadcast:
            return
        if frame.take(packet.start + wire.HEADER_BYTES, packet.length - wire.HEADER_BYTES) == ping.data:
            self.end_ping(ping, now_ms - ping.sent_ms)

    def input_error(self, ip, src_ip, dst_ip, quoted, error, mtu, now_ms):
        """An error about an echo request or an answer of ours."""
        kind, _code, number = wire.parse(quoted, 0, len(quoted))
        ping = self._pings.get(number)
        if error == errors.TOO_BIG and kind in (wire.ECHO_REQUEST, wire.ECHO_REPLY):
            # Nobody remembers what was answered: that the table is bounded, aged, and never goes below 1280, must do.
            ip.lower_path_mtu(dst_ip, mtu, now_ms)
        elif kind != wire.ECHO_REQUEST or ping is None or ping.dst_ip != dst_ip:
            self.counters["InImplausible"] += 1
        else:
            self.end_ping(ping, None)

    # --- errors ---

    def _deliver_error(self, frame, packet, kind, code, rest, now_ms):
        """The quoted packet must be one that we sent; the transport then looks whether it knows it."""
        quoted = frame.take(packet.start + wire.HEADER_BYTES, packet.length - wire.HEADER_BYTES)
        header = wire_ipv6.parse(quoted, 0, 1 << 17) if len(quoted) >= wire_ipv6.HEADER_BYTES else None
        if header is None:
            self.counters["InErrors"] += 1
            return
        payload_len, next_header, _hop_limit, src_ip, dst_ip = header
        at = wire_ipv6.HEADER_BYTES
        offset = 0
        if next_header == wire_ipv6.FRAGMENT and len(quoted) >= at + wire_ipv6.FRAGMENT_BYTES:
            next_header, offset, _has_more, _ident = wire_ipv6.parse_fragment(quoted, at, wire_ipv6.FRAGMENT_BYTES)
            at += wire_ipv6.FRAGMENT_BYTES
        if len(quoted) < at + 8 or not self.ipv6.is_ours(src_ip) or packet.is_broadcast:
            self.counters["InErrors"] += 1
            return
        mtu = 0
        if kind == wire.PACKET_TOO_BIG:
            mtu = rest
            if mtu < wire_ipv6.MIN_MTU:  # RFC 8201 section 4
                self.counters["InErrors"] += 1
                return
        protocol = self.ipv6.protocol(next_header)
        is_small = mtu != 0 and payload_len + wire_ipv6.HEADER_BYTES <= mtu
        if protocol is None or offset or is_small:  # without its ports nobody can tell whether it was ours
            self.counters["InImplausible"] += 1
        else:
            protocol.input_error(self.ipv6, src_ip, dst_ip, quoted[at:], _error(kind, code), mtu, now_ms)

    def port_unreachable(self, frame, packet, now_ms):
        """Answers a datagram that no port takes."""
        self._report(wire.DESTINATION_UNREACHABLE, wire.PORT_UNREACHABLE, 0, frame, packet, now_ms)

    def parameter_problem(self, code, pointer, frame, packet, now_ms):
        """Answers a packet with headers that we do not understand. pointer: offset of what it is about."""
        self._report(wire.PARAMETER_PROBLEM, code, pointer, frame, packet, now_ms)

    def time_exceeded(self, code, frame, packet, now_ms):
        """Answers a datagram whose fragments did not come."""
        self._report(wire.TIME_EXCEEDED, code, 0, frame, packet, now_ms)

    def _report(self, kind, code, rest, frame, packet, now_ms):
        # Section 2.4 e: never about an error, to who is not one host, or about what went to many, with one exception.
        is_exception = kind == wire.PARAMETER_PROBLEM and code == wire.UNKNOWN_OPTION
        if not wire_ipv6.is_unicast(packet.src_ip) or (packet.is_broadcast and not is_exception):
            return
        if self._is_error(frame, packet):
            return
        if not self._may_send(now_ms):
            self.counters["OutRateLimited"] += 1
            return
        src_ip = self.ipv6.source_for(packet.src_ip) if packet.is_broadcast else packet.dst_ip
        if src_ip is None:
            return
        quoted = frame.take(_PACKET_AT, min(packet.header_len + packet.length, _MAX_QUOTED))
        if self._send(kind, code, rest, quoted, src_ip, packet.src_ip, now_ms):
            self.counters[_SENT[kind]] += 1

    def _is_error(self, frame, packet):
        end = packet.start + packet.length
        upper = self.ipv6.upper_layer(frame, packet.protocol, packet.start, end)
        if upper is None or upper[0] != wire_ipv6.PROTOCOL_ICMP6 or upper[1] >= end:
            return False
        kind = frame.take(upper[1], 1)[0]
        return wire.is_error(kind) or kind == wire.REDIRECT

    def _may_send(self, now_ms):
        if self._refilled_ms is None:
            self._refilled_ms = now_ms
        earned = (now_ms - self._refilled_ms) * ERRORS_PER_SECOND // 1000
        if earned:
            self._tokens = min(ERRORS_BURST, self._tokens + earned)
            self._refilled_ms = now_ms
        if not self._tokens:
            return False
        self._tokens -= 1
        return True


_ERRORS = {
    (wire.DESTINATION_UNREACHABLE, wire.PORT_UNREACHABLE): errors.UNREACHABLE_PORT,
    (wire.PARAMETER_PROBLEM, wire.UNKNOWN_NEXT_HEADER): errors.UNREACHABLE_PROTOCOL,
}


def _error(kind, code):
    """The neutral form of type and code."""
    if kind == wire.PACKET_TOO_BIG:
        return errors.TOO_BIG
    if kind == wire.TIME_EXCEEDED:
        return errors.TIME_EXCEEDED
    known = _ERRORS.get((kind, code))
    if known is not None:
        return known
    return errors.UNREACHABLE_HOST if kind == wire.DESTINATION_UNREACHABLE else errors.OTHER
