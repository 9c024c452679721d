# SPDX-License-Identifier: MIT
"""ICMPv6 (RFC 4443): answers echo requests, sends some, reports and delivers errors, gives the rest to net.ndp and
net.mld.
"""

from libos.net import errors
from libos.net.ip.control_messages import ControlMessages
from libos.wire import icmp6 as wire
from libos.wire import ipv6 as wire_ipv6

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


class Icmp6(ControlMessages):
    """ICMPv6 over one Ipv6."""

    protocol_number = wire_ipv6.PROTOCOL_ICMP6
    echo_request = wire.ECHO_REQUEST
    echo_reply = wire.ECHO_REPLY
    max_echo_bytes = 65527
    out_echo_replies = "OutEchoReplies"

    def __init__(self, ipv6):
        counters = {
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
        super().__init__(ipv6, counters)
        ipv6.ethernet.parts["icmp6"] = self

    def _pseudo_sum(self, src_ip, dst_ip, length):
        return wire_ipv6.pseudo_sum(src_ip, dst_ip, wire_ipv6.PROTOCOL_ICMP6, length)

    def input(self, frame, packet, now_ms):
        """A received ICMPv6 message."""
        header = self._parse(frame, packet)
        if header is None:
            return
        counters = self.counters
        start = packet.start
        length = packet.length
        kind, code, rest = header
        if kind in _DISCOVERY:
            # RFC 6980: what comes in fragments could not be looked at by who watches over the link.
            if packet.is_reassembled:
                counters["InErrors"] += 1
            else:
                self.ip.neighbours.input(kind, code, frame.take(start, length), packet, now_ms)
        elif kind in _LISTENERS:
            self.ip.mld.input(kind, frame.take(start, length), packet, now_ms)
        elif packet.src_ip == wire_ipv6.UNSPECIFIED:
            counters["InErrors"] += 1
        elif kind == wire.ECHO_REQUEST:
            counters["InEchos"] += 1
            self._answer(frame, packet, rest, now_ms)
        elif kind == wire.ECHO_REPLY:
            counters["InEchoReplies"] += 1
            self._answered(frame, packet, rest, now_ms)
        elif wire.is_error(kind):
            counters[_RECEIVED.get(kind, "InOthers")] += 1
            self._deliver_error(frame, packet, kind, code, rest, now_ms)
        else:
            counters["InOthers"] += 1

    def _answer(self, frame, packet, rest, now_ms):
        src_ip = packet.dst_ip
        if packet.is_broadcast:
            # Section 4.2: answered, from an address of our own; but not to make a flood of a few requests.
            src_ip = self.ip.source_for(packet.src_ip)
            if src_ip is None or not self._may_send(now_ms):
                return
        self._reply(frame, packet, rest, src_ip, now_ms)

    def input_error(self, ip, src_ip, dst_ip, quoted, error, mtu, now_ms):
        """An error about an echo request or an answer of ours."""
        if error == errors.TOO_BIG and quoted[0] in (wire.ECHO_REQUEST, wire.ECHO_REPLY):
            # Nobody remembers what was answered: that the table is bounded, aged, and never goes below 1280, must do.
            ip.lower_path_mtu(dst_ip, mtu, now_ms)
        else:
            super().input_error(ip, src_ip, dst_ip, quoted, error, mtu, now_ms)

    # --- errors ---

    def _deliver_error(self, frame, packet, kind, code, rest, now_ms):
        """The quoted packet must be one that we sent; the transport then looks whether it knows it."""
        quoted = self._data(frame, packet)
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
        if len(quoted) < at + 8 or not self.ip.is_ours(src_ip) or packet.is_broadcast:
            self.counters["InErrors"] += 1
            return
        mtu = 0
        if kind == wire.PACKET_TOO_BIG:
            mtu = rest
            if mtu < wire_ipv6.MIN_MTU:  # RFC 8201 section 4
                self.counters["InErrors"] += 1
                return
        protocol = self.ip.protocol(next_header)
        is_small = mtu != 0 and payload_len + wire_ipv6.HEADER_BYTES <= mtu
        if protocol is None or offset or is_small:  # without its ports nobody can tell whether it was ours
            self.counters["InImplausible"] += 1
        else:
            protocol.input_error(self.ip, src_ip, dst_ip, quoted[at:], _error(kind, code), mtu, now_ms)

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
        src_ip = self.ip.source_for(packet.src_ip) if packet.is_broadcast else packet.dst_ip
        if src_ip is None:
            return
        quoted = frame.take(_PACKET_AT, min(packet.header_len + packet.length, _MAX_QUOTED))
        if self._send(kind, code, rest, quoted, src_ip, packet.src_ip, now_ms):
            self.counters[_SENT[kind]] += 1

    def _is_error(self, frame, packet):
        end = packet.start + packet.length
        upper = self.ip.upper_layer(frame, packet.protocol, packet.start, end)
        if upper is None or upper[0] != wire_ipv6.PROTOCOL_ICMP6 or upper[1] >= end:
            return False
        kind = frame.take(upper[1], 1)[0]
        return wire.is_error(kind) or kind == wire.REDIRECT


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
