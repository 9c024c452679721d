# SPDX-License-Identifier: MIT
"""ICMP for IPv4 (RFC 792; RFC 1122 section 3.2.2): answers echo requests, reports and delivers errors."""

from libos.net import errors
from libos.net.transport import Transport
from libos.wire import icmp as wire
from libos.wire import ipv4 as wire_ipv4

# Errors that we send: a bucket, so that a flood is not answered by a flood (RFC 1812 section 4.3.2.8).
ERRORS_BURST = 20
ERRORS_PER_SECOND = 20
# How much of the offending packet an error carries beyond its IP header: the ports, and for people a bit more.
QUOTED_BYTES = 28

_START = 34  # of our header in a frame to send
_MIN_PMTU = 68  # RFC 791


class Icmp(Transport):
    """ICMP over one Ipv4. Errors go to the protocol of the packet that they are about (net.transport)."""

    def __init__(self, ipv4):
        self.ipv4 = ipv4
        self.counters = {
            "InMsgs": 0,  # RFC 4293 / Linux names from here
            "InErrors": 0,
            "InCsumErrors": 0,
            "InEchos": 0,
            "InEchoReps": 0,
            "InDestUnreachs": 0,
            "InTimeExcds": 0,
            "InOthers": 0,
            "OutEchoReps": 0,
            "OutDestUnreachs": 0,
            "OutRateLimited": 0,
            "OutErrors": 0,
        }
        self._tokens = ERRORS_BURST
        self._refilled_ms = None
        ipv4.register(wire_ipv4.PROTOCOL_ICMP, self)
        ipv4.icmp = self
        ipv4.ethernet.parts["icmp"] = self

    def input(self, frame, packet, now_ms):
        """A received ICMP message."""
        counters = self.counters
        counters["InMsgs"] += 1
        start = packet.start
        header = wire.parse(frame.buf, frame.start + start, min(packet.length, frame.length - start))
        if header is None:
            counters["InErrors"] += 1
            return
        if frame.checksum(start, packet.length, 0) != 0xFFFF:
            counters["InErrors"] += 1
            counters["InCsumErrors"] += 1
            return
        kind, code, rest = header
        if kind == wire.ECHO_REQUEST:
            counters["InEchos"] += 1
            if not packet.is_broadcast:  # RFC 1122 section 3.2.2.6 allows silence; answering helps smurfs only
                self._reply(frame, packet, rest, now_ms)
        elif kind == wire.ECHO_REPLY:
            counters["InEchoReps"] += 1
        elif wire.is_error(kind):
            if kind == wire.DESTINATION_UNREACHABLE:
                counters["InDestUnreachs"] += 1
            elif kind == wire.TIME_EXCEEDED:
                counters["InTimeExcds"] += 1
            self._deliver_error(frame, packet, kind, code, rest, now_ms)
        else:
            counters["InOthers"] += 1

    def _reply(self, frame, packet, rest, now_ms):
        data = frame.take(packet.start + wire.HEADER_BYTES, packet.length - wire.HEADER_BYTES)
        reply = self.ipv4.alloc(packet.length)
        if reply is None:
            self.counters["OutErrors"] += 1
            return
        wire.emit(reply.buf, reply.start + _START, wire.ECHO_REPLY, 0, rest)
        reply.put(_START + wire.HEADER_BYTES, data, 0, len(data))
        self._send(reply, packet.dst_ip, packet.src_ip, now_ms)
        self.counters["OutEchoReps"] += 1

    def _send(self, message, src_ip, dst_ip, now_ms):
        total = message.checksum(_START, message.length - _START, 0) ^ 0xFFFF
        at = message.start + _START + 2
        message.buf[at] = total >> 8
        message.buf[at + 1] = total & 255
        return self.ipv4.send(message, src_ip, dst_ip, wire_ipv4.PROTOCOL_ICMP, now_ms)

    def _deliver_error(self, frame, packet, kind, code, rest, now_ms):
        """The quoted packet must be one that we sent; the transport then looks whether it knows it."""
        quoted = frame.take(packet.start + wire.HEADER_BYTES, packet.length - wire.HEADER_BYTES)
        if len(quoted) < wire_ipv4.HEADER_BYTES + 8 or quoted[0] >> 4 != 4:
            self.counters["InErrors"] += 1
            return
        header_len = (quoted[0] & 15) << 2
        if not wire_ipv4.HEADER_BYTES <= header_len <= len(quoted) - 8:
            self.counters["InErrors"] += 1
            return
        src_ip = int.from_bytes(quoted[12:16], "big")
        dst_ip = int.from_bytes(quoted[16:20], "big")
        protocol = self.ipv4.protocol(quoted[9])
        if not self.ipv4.is_ours(src_ip) or packet.is_broadcast or protocol is None:
            return
        mtu = 0
        error = _error(kind, code)
        if error == errors.TOO_BIG:
            mtu = max(rest & 0xFFFF, _MIN_PMTU)
        protocol.input_error(self.ipv4, src_ip, dst_ip, quoted[header_len:], error, mtu, now_ms)

    def port_unreachable(self, frame, packet, now_ms):
        """Answers a datagram that no port takes."""
        self._unreachable(wire.PORT_UNREACHABLE, frame, packet, now_ms)

    def protocol_unreachable(self, frame, packet, now_ms):
        """Answers a packet of a protocol that nobody registered."""
        self._unreachable(wire.PROTOCOL_UNREACHABLE, frame, packet, now_ms)

    def _unreachable(self, code, frame, packet, now_ms):
        # RFC 1122 section 3.2.2: never about a broadcast, in an Ethernet frame to a group or in an IP address.
        if packet.is_broadcast:
            return
        if not self._may_send_error(now_ms):
            self.counters["OutRateLimited"] += 1
            return
        quoted_len = min(packet.header_len + packet.length, packet.header_len + QUOTED_BYTES)
        quoted = frame.take(packet.start - packet.header_len, quoted_len)
        message = self.ipv4.alloc(wire.HEADER_BYTES + quoted_len)
        if message is None:
            self.counters["OutErrors"] += 1
            return
        wire.emit(message.buf, message.start + _START, wire.DESTINATION_UNREACHABLE, code, 0)
        message.put(_START + wire.HEADER_BYTES, quoted, 0, quoted_len)
        self._send(message, packet.dst_ip, packet.src_ip, now_ms)
        self.counters["OutDestUnreachs"] += 1

    def _may_send_error(self, now_ms):
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
