# SPDX-License-Identifier: MIT
"""ICMP for IPv4 (RFC 792; RFC 1122 section 3.2.2): answers echo requests, sends some, reports and delivers errors.

Redirects are ignored: on a network where a router has to send them, a route can be configured; elsewhere they are an
attack (RFC 6274 section 4.2). So are source quench (RFC 6633), timestamps and the rest.
"""

from libos.net import errors
from libos.net.ip.control_messages import ControlMessages
from libos.net.ip.pmtu import plateau_below
from libos.wire import icmp as wire
from libos.wire import ipv4 as wire_ipv4

# How much of the offending packet an error carries beyond its IP header: the ports, and for people a bit more.
QUOTED_BYTES = 28


class Icmp(ControlMessages):
    """ICMP over one Ipv4."""

    protocol_number = wire_ipv4.PROTOCOL_ICMP
    echo_request = wire.ECHO_REQUEST
    echo_reply = wire.ECHO_REPLY
    max_echo_bytes = 65507
    out_echo_replies = "OutEchoReps"

    def __init__(self, ipv4):
        counters = {
            "InMsgs": 0,  # RFC 4293 / Linux names from here
            "InErrors": 0,
            "InCsumErrors": 0,
            "InEchos": 0,
            "InEchoReps": 0,
            "InDestUnreachs": 0,
            "InTimeExcds": 0,
            "InParmProbs": 0,
            "InSrcQuenchs": 0,
            "InRedirects": 0,
            "InTimestamps": 0,
            "InOthers": 0,
            "InImplausible": 0,
            "OutEchos": 0,
            "OutEchoReps": 0,
            "OutDestUnreachs": 0,
            "OutTimeExcds": 0,
            "OutRateLimited": 0,
            "OutErrors": 0,
        }
        super().__init__(ipv4, counters)
        ipv4.ethernet.parts["icmp"] = self

    def _pseudo_sum(self, src_ip, dst_ip, length):
        return 0

    def _refused(self):
        self.counters["OutErrors"] += 1

    def input(self, frame, packet, now_ms):
        """A received ICMP message."""
        header = self._parse(frame, packet)
        if header is None:
            return
        counters = self.counters
        kind, code, rest = header
        if kind == wire.ECHO_REQUEST:
            counters["InEchos"] += 1
            if not packet.is_broadcast:  # RFC 1122 section 3.2.2.6 allows silence; answering helps smurfs only
                self._reply(frame, packet, rest, packet.dst_ip, now_ms)
        elif kind == wire.ECHO_REPLY:
            counters["InEchoReps"] += 1
            self._answered(frame, packet, rest, now_ms)
        elif kind in _IGNORED:
            counters[_IGNORED[kind]] += 1
        elif wire.is_error(kind):
            counters[_ERRORS[kind]] += 1
            self._deliver_error(frame, packet, kind, code, rest, now_ms)
        else:
            counters["InOthers"] += 1

    # --- errors ---

    def _deliver_error(self, frame, packet, kind, code, rest, now_ms):
        """The quoted packet must be one that we sent; the transport then looks whether it knows it."""
        quoted = self._data(frame, packet)
        if len(quoted) < wire_ipv4.HEADER_BYTES + 8 or quoted[0] >> 4 != 4:
            self.counters["InErrors"] += 1
            return
        header_len = (quoted[0] & 15) << 2
        if not wire_ipv4.HEADER_BYTES <= header_len <= len(quoted) - 8:
            self.counters["InErrors"] += 1
            return
        if (quoted[6] << 8 | quoted[7]) & wire_ipv4.OFFSET_MASK:
            self.counters["InImplausible"] += 1  # no ports in it: nobody can tell whether it was ours
            return
        src_ip = int.from_bytes(quoted[12:16], "big")
        dst_ip = int.from_bytes(quoted[16:20], "big")
        protocol = self.ip.protocol(quoted[9])
        if not self.ip.is_ours(src_ip) or packet.is_broadcast or protocol is None:
            self.counters["InImplausible"] += 1
            return
        mtu = 0
        error = _error(kind, code)
        if error == errors.TOO_BIG:
            total_len = quoted[2] << 8 | quoted[3]
            mtu = rest & 0xFFFF or plateau_below(total_len)
            if mtu >= total_len:
                self.counters["InImplausible"] += 1  # it would have fitted
                return
        protocol.input_error(self.ip, src_ip, dst_ip, quoted[header_len:], error, mtu, now_ms)

    def port_unreachable(self, frame, packet, now_ms):
        """Answers a datagram that no port takes."""
        self._unreachable(wire.PORT_UNREACHABLE, frame, packet, now_ms)

    def protocol_unreachable(self, frame, packet, now_ms):
        """Answers a packet of a protocol that nobody registered."""
        self._unreachable(wire.PROTOCOL_UNREACHABLE, frame, packet, now_ms)

    def reassembly_time_exceeded(self, frame, packet, now_ms):
        """Tells the sender of a datagram that not all fragments of it came."""
        if self._report(wire.TIME_EXCEEDED, wire.REASSEMBLY_TIME_EXCEEDED, frame, packet, now_ms):
            self.counters["OutTimeExcds"] += 1

    def _unreachable(self, code, frame, packet, now_ms):
        if self._report(wire.DESTINATION_UNREACHABLE, code, frame, packet, now_ms):
            self.counters["OutDestUnreachs"] += 1

    def _report(self, kind, code, frame, packet, now_ms):
        # RFC 1122 section 3.2.2: never about a broadcast, in an Ethernet frame to a group or in an IP address, and
        # never about an error.
        if packet.is_broadcast or not packet.src_ip:
            return False
        if packet.protocol == wire_ipv4.PROTOCOL_ICMP and wire.is_error(frame.buf[frame.start + packet.start]):
            return False
        if not self._may_send(now_ms):
            self.counters["OutRateLimited"] += 1
            return False
        quoted_len = min(packet.header_len + packet.length, packet.header_len + QUOTED_BYTES)
        quoted = frame.take(packet.start - packet.header_len, quoted_len)
        return self._send(kind, code, 0, quoted, packet.dst_ip, packet.src_ip, now_ms)


_ERRORS = {
    wire.DESTINATION_UNREACHABLE: "InDestUnreachs",
    wire.TIME_EXCEEDED: "InTimeExcds",
    wire.PARAMETER_PROBLEM: "InParmProbs",
}
_IGNORED = {
    wire.SOURCE_QUENCH: "InSrcQuenchs",
    wire.REDIRECT: "InRedirects",
    wire.TIMESTAMP_REQUEST: "InTimestamps",
    wire.TIMESTAMP_REPLY: "InTimestamps",
}
_UNREACHABLE = {
    wire.PROTOCOL_UNREACHABLE: errors.UNREACHABLE_PROTOCOL,
    wire.PORT_UNREACHABLE: errors.UNREACHABLE_PORT,
    wire.FRAGMENTATION_NEEDED: errors.TOO_BIG,
}


def _error(kind, code):
    """The neutral form of type and code."""
    if kind == wire.DESTINATION_UNREACHABLE:
        return _UNREACHABLE.get(code, errors.UNREACHABLE_HOST)
    return errors.TIME_EXCEEDED if kind == wire.TIME_EXCEEDED else errors.OTHER
